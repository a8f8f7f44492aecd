"""Matches the genes of other cells to a model's, and puts their values in the model's order."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from scvae_cli.data.wording import Wording
from scvae_cli.errors import InputError, Kind

LEAST = 0.5  # of a model's genes, the share that cells must have
FEW = 0.1  # the share that names of another kind may have in common by chance
VERSION = re.compile(r"(ENS[A-Z]*\d+)\.\d+")  # of an Ensembl id, which changes while the id stays
KINDS = {"gene": "name", "id": "id"}  # what the columns of genes.csv hold


class _Match(NamedTuple):
    """Names that the model's genes and those of the cells have in common.

    Attributes:
        column: the column of the model's table.
        place: where the cells have theirs: `var_names`, or a column of var.
        n_genes: how many of the genes that the model gets are among them.
    """

    column: str
    place: str
    n_genes: int


def match_genes(
    cells: anndata.AnnData,
    genes: pd.DataFrame,
    *,
    named: bool,
    say: Callable[[str], None],
    wording: Wording,
) -> np.ndarray:
    """Find the row in a model's table of genes of each gene of the cells, by names or ids.

    Of all pairs of a column here and a column there, the one with most genes in common counts.
    Where a name occurs several times, the first one is meant.

    Args:
        cells: (n_cells, n_cell_genes) other cells.
        genes: the model's genes.csv: gene, id (where known), used; a row for each gene.
        named: whether the index of var has the names to use, and no column is looked at.
        say: called with how many genes were found, and by what.
        wording: what errors call the cells.

    Returns:
        (n_cell_genes,) rows of `genes`; -1 for a gene that is not among them.

    Raises:
        InputError: less than a share of `LEAST` of the genes that the model gets is there.
    """
    used = genes["used"].to_numpy(dtype=bool)
    ours = {column: _bare(genes[column]) for column in KINDS if column in genes}
    theirs = _names_in(cells, named)
    best = _best(ours, theirs, used)
    n_used = int(used.sum())
    if best.n_genes < LEAST * n_used:
        raise _too_few(best, ours, theirs, used, wording)
    rest = "" if best.n_genes == n_used else "; the others count as zero"
    say(
        f"{best.n_genes:,} of the model's {n_used:,} genes found, by {KINDS[best.column]} in "
        f"{best.place}{rest}"
    )
    return _rows(ours[best.column], theirs[best.place])


def _too_few(
    best: _Match,
    ours: dict[str, pd.Index],
    theirs: dict[str, pd.Index],
    used: np.ndarray,
    wording: Wording,
) -> InputError:
    """Return the error for cells that lack most genes of the model: names those that differ."""
    names, others = ours[best.column][used], theirs[best.place]
    missing, new = names[~names.isin(others)][0], others[~others.isin(names)]
    few = (
        f"{best.n_genes:,} of the model's {len(names):,} genes are there, and {LEAST:.0%} must be"
    )
    if new.empty or best.n_genes > FEW * len(names):  # names of one kind
        return InputError(
            Kind.NAMES, wording.cells, f"{few} ({missing} is missing)",
            "give the cells with all genes that were measured",
        )  # fmt: skip
    kinds = f"the model's have names such as {missing}, these cells' are such as {new[0]}"
    fix = f"{wording.key('gene_names')}=COLUMN takes names from var"
    return InputError(Kind.NAMES, wording.cells, f"{few} ({kinds})", fix)


def arrange(x: Any, rows: np.ndarray, n_genes: int) -> csr_array:
    """Put the columns of x in the order of a model's genes; genes that x lacks are 0.

    Args:
        x: (n_cells, n_cell_genes) sparse values by row, as `csr_matrix`.
        rows: (n_cell_genes,) the column that each column goes to, or -1 to leave it out.
        n_genes: number of the model's genes.

    Returns:
        (n_cells, n_genes) values.

    Example:
        >>> x = csr_array(np.array([[1, 2, 3]]))
        >>> arrange(x, np.array([2, -1, 0]), 4).toarray()
        array([[3, 0, 1, 0]])
    """
    to = rows[x.indices]
    kept = to >= 0
    ends = np.concatenate([[0], np.cumsum(kept)])[x.indptr]
    parts = (x.data[kept], to[kept], ends)
    arranged = csr_array(parts, shape=(x.shape[0], n_genes))
    arranged.sort_indices()
    return arranged


def _names_in(cells: anndata.AnnData, named: bool) -> dict[str, pd.Index]:
    """Return the names of the cells' genes, by the place in which they are."""
    names = {"var_names": _bare(cells.var_names)}
    if not named:
        names |= {
            f"var[{column!r}]": _bare(cells.var[column])
            for column in cells.var
            if not pd.api.types.is_numeric_dtype(cells.var[column])
        }
    return names


def _best(ours: dict[str, pd.Index], theirs: dict[str, pd.Index], used: np.ndarray) -> _Match:
    """Return the names with most of the used genes in common; the first ones of equals."""
    matches = [
        _Match(column, place, int(names[used].isin(others).sum()))
        for column, names in ours.items()
        for place, others in theirs.items()
    ]
    return max(matches, key=lambda match: match.n_genes)


def _rows(ours: pd.Index, theirs: pd.Index) -> np.ndarray:
    """Return the place in `ours` of each of `theirs`, or -1; the first of a name is meant."""
    rows = pd.Series(np.arange(len(ours)), index=ours)
    rows = rows[~rows.index.duplicated()].reindex(theirs)
    rows[theirs.duplicated()] = np.nan
    places: np.ndarray = rows.fillna(-1).to_numpy(dtype=np.int64)
    return places


def _bare(names: Any) -> pd.Index:
    """Return names of genes, Ensembl's without their version."""
    return pd.Index([VERSION.sub(r"\1", str(name)) for name in names])
