"""Prepares cells of one's own: what values are, which cells and genes are kept, logarithms."""

from dataclasses import dataclass, replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from scvae_cli.covariates import Covariates
from scvae_cli.data.announcer import Announcer
from scvae_cli.data.asked import Options
from scvae_cli.data.batches import read_covariates, suspects
from scvae_cli.data.dataset import Recipe
from scvae_cli.data.kept import read_kept
from scvae_cli.data.values import Values, doubt, recognise
from scvae_cli.data.wording import command_line
from scvae_cli.errors import Given, InputError, Kind


@dataclass(frozen=True, eq=False)
class Prepared:
    """Cells whose values a model can be given.

    Attributes:
        cells: the tables of the cells and of all genes; values are not looked for here.
        x: (n_cells, n_kept) logarithms of the genes that are kept.
        genes: (n_kept,) their names.
        recipe: how values were treated.
        told: batches and covariates, if any.
        kept: columns for cells.csv, if any; see `kept.read_kept`.
    """

    cells: anndata.AnnData
    x: csr_array
    genes: np.ndarray
    recipe: Recipe
    told: Covariates | None
    kept: pd.DataFrame | None


def read_whole(asked: Options, announcer: Announcer) -> Prepared:
    """Read all values of a file, and prepare them.

    Raises:
        InputError: the file cannot be read, or is not what it should be.
    """
    cells = _read(asked, announcer)
    seen = recognise(cells.X)  # of all genes: totals tell, and genes may be left out below
    cells = _filtered(cells, asked)
    kind = kind_of(seen, asked, announcer)
    check_n_genes(cells.n_vars, kind, asked)
    if asked.values == "logged":  # whoever says so has them as they are
        seen = seen._replace(natural=1.0, total=None)
    x = _logged(cells, kind, seen, asked.target_sum)
    recipe = recipe_of(cells, kind, seen, asked.target_sum, np.ravel(cells.X.sum(axis=1)))
    told = covariates_of(cells, asked, announcer)
    kept = kept_of(cells, asked, told, x, recipe.ids, announcer)
    x, genes = _chosen(cells, x, asked, told)
    return Prepared(cells, x, genes, recipe, told, kept)


def _read(asked: Options, announcer: Announcer) -> anndata.AnnData:
    """Read the values asked for (n_cells, n_genes); the rest of the file is freed on return."""
    from scvae_cli.data.files import read  # and with it h5py, zarr and the readers
    from scvae_cli.data.selection import select

    path = Path(asked.path)
    which = asked.which
    cells = read(
        path,
        transpose=asked.transpose,
        genome=asked.genome,
        needed=asked.elements,
        say=announcer.say,
    )
    return select(cells, command_line(path), **which)


def covariates_of(
    cells: anndata.AnnData, asked: Options, announcer: Announcer
) -> Covariates | None:
    """Return what a network is told of the cells, and name columns that look like batches.

    Raises:
        InputError: a column is not what it should be.
    """
    told = read_covariates(
        cells,
        path=Path(asked.path),
        batch_key=asked.batch_key,
        batches=asked.batches,
        numbers=asked.covariates,
        label_key=asked.label_key,
    )
    if (told is None or not told.keys) and (found := suspects(cells.obs, asked.columns)):
        sizes = ", ".join(f"{name} ({cells.obs[name].nunique()} values)" for name in found)
        announcer.warn(
            f"{Path(asked.path).name}: {sizes} may say in which batch cells were measured; "
            f"data.batch_key={found[0]} tells the model, and scores how well batches mix"
        )
    return told


def kept_of(
    cells: anndata.AnnData,
    asked: Options,
    told: Covariates | None,
    x: csr_array,
    ids: np.ndarray | None,
    announcer: Announcer,
) -> pd.DataFrame | None:
    """Return the columns that cells.csv keeps; see `read_kept`."""
    return read_kept(
        cells, told, path=Path(asked.path), keep=asked.keep, batches=asked.batches,
        numbers=asked.covariates, label_key=asked.label_key, x=x, ids=ids, say=announcer.say,
    )  # fmt: skip


def _filtered(cells: anndata.AnnData, asked: Options) -> anndata.AnnData:
    """Return the cells and genes that are kept.

    Raises:
        InputError: none is kept, or a cell without counts.
    """
    from scvae_cli.data.preprocess import filter_counts

    kept = filter_counts(cells, min_genes=asked.min_genes, min_cells=asked.min_cells)
    check_left(kept.n_obs, kept.n_vars, asked)
    check_full(kept.X.getnnz(axis=1), asked)
    return kept


def check_left(n_cells: int, n_genes: int, asked: Options) -> None:
    """Refuse to leave no cell or no gene (InputError)."""
    if n_cells and n_genes:
        return
    key = "min_cells" if n_cells else "min_genes"
    left = f"leaves {n_cells} cells x {n_genes} genes of {asked.path}"
    given = Given(f"data.{key}", getattr(asked, key))
    raise InputError(Kind.EMPTY, given, left, "give a smaller number")


def check_full(n_values: np.ndarray, asked: Options) -> None:
    """Refuse cells without counts (InputError); `n_values` (n_cells,) are the counts of each."""
    if empty := int((n_values == 0).sum()):
        raise InputError(
            Kind.CONTENT,
            Given("data.path", asked.path),
            f"{empty} cells have no counts",
            "leave them out with data.min_genes=1"
            if asked.min_genes < 1
            else f"give less than data.min_cells={asked.min_cells}, which leaves out their genes",
        )


def kind_of(seen: Values, asked: Options, announcer: Announcer) -> str:
    """Return what values are taken to be; announce it where no setting says it."""
    if asked.values != "auto":
        return asked.values
    name = Path(asked.path).name
    scaled = f"brought to {asked.target_sum:,g} and " if seen.total else ""
    done = {
        "counts": "normalized and logged here",
        "normalized": f"{scaled}logged here",
        "logged": "left as they are" if seen.natural == 1 else "made natural logarithms here",
    }[seen.kind]
    announcer.say(f"{name}: values are {seen.kind}: {seen.why}; {done}")
    if text := doubt(seen, seen.kind, command_line(asked.path)):
        announcer.warn(f"{name}: {text}")
    return seen.kind


def check_n_genes(n_genes: int, kind: str, asked: Options) -> None:
    """Refuse to choose genes where there are no counts to choose by, or not more genes.

    Raises:
        InputError: it is so.
    """
    if asked.genes is None:
        return
    if kind != "counts":
        raise InputError(
            Kind.CONFLICT,
            Given("data.genes", asked.genes),
            f"genes are chosen by counts, and {asked.path} has {kind} values",
            "leave it out, or give counts (data.layer=NAME, data.raw=true)",
        )
    if asked.genes >= n_genes:
        raise InputError(
            Kind.VALUE,
            Given("data.genes", asked.genes),
            f"must be less than the number of genes, which is {n_genes} in {asked.path}",
            "leave it out to keep all",
        )


def _logged(cells: anndata.AnnData, kind: str, seen: Values, target_sum: float) -> csr_array:
    """Return the logarithms (n_cells, n_genes) of values of this kind, normalised."""
    from scvae_cli.data.preprocess import log_normalize, logarithm

    x = csr_array(cells.X)
    if kind == "counts":
        return log_normalize(x, target_sum=target_sum)
    if kind == "normalized":
        return logarithm(x, factor=target_sum / seen.total if seen.total else 1.0)
    return x if seen.natural == 1 else csr_array(x * np.float32(seen.natural))


def recipe_of(
    cells: anndata.AnnData, kind: str, seen: Values, target_sum: float, totals: np.ndarray
) -> Recipe:
    """Return how values were treated, for other cells.

    Args:
        cells: the cells, of which only the names of their genes are looked at.
        kind: what values are taken to be.
        seen: what they look like.
        target_sum: see `Options`.
        totals: (n_cells,) sum of the values of each cell.
    """
    from scvae_cli.data.selection import other_names

    names = cells.var_names.to_numpy(dtype=str)
    recipe = Recipe(
        kind, counted=names, ids=other_names(cells), whole=seen.whole, total=seen.total,
        sure=seen.sure or kind != seen.kind,
    )  # fmt: skip
    if kind == "counts":
        return replace(recipe, target_sum=target_sum, totals=totals)
    if kind == "normalized" and seen.total:
        return replace(recipe, target_sum=target_sum)
    return replace(recipe, natural=seen.natural) if kind == "logged" else recipe


def _chosen(
    cells: anndata.AnnData, x: csr_array, asked: Options, told: Covariates | None
) -> tuple[csr_array, np.ndarray]:
    """Return the logarithms (n_cells, n_kept) and names (n_kept,) of the genes that are kept."""
    from scvae_cli.data.preprocess import chosen_genes

    names = cells.var_names.to_numpy(dtype=str)
    if asked.genes is None:
        return x, names
    batches = told.batches[0] if told is not None and told.keys else None
    kept = chosen_genes(cells, asked.genes, by=asked.genes_by, batches=batches)
    return csr_array(x[:, kept]), names[kept]
