"""Keeps columns of obs, and genes, for cells.csv, cells.h5ad and the colours of maps.

No model sees them.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from scvae_cli.columns import AUTO, OWN
from scvae_cli.covariates import Covariates
from scvae_cli.data.batches import distinct
from scvae_cli.data.dataset import UNWRITABLE
from scvae_cli.errors import Given, InputError, Kind

MOST_COLUMNS = 12  # that are kept without being named
MOST_VALUES = 50  # of a column of texts: more have no colours that one can tell apart
MOST_CELLS = 100_000  # beyond, cells.csv and the page would grow by megabytes a column
MOST_GENES = 50


def read_kept(
    cells: anndata.AnnData,
    told: Covariates | None,
    *,
    path: Path,
    keep: Sequence[str],
    batches: str | None,
    numbers: Sequence[str],
    label_key: str | None,
    x: csr_array,
    ids: np.ndarray | None,
    say: Callable[[str], None],
) -> pd.DataFrame | None:
    """Return the columns that are kept, a row a cell: batches, covariates, and what is asked for.

    None where nothing is kept. Batches are text; other numbers stay numbers, and all else becomes
    text, or None where it is missing or empty. Genes are logarithms.

    Args:
        cells: the cells.
        told: their batches and covariates.
        path: of their file.
        keep: columns of obs, or else genes; `AUTO` stands for those of obs that a map can show.
        batches: the csv file with the batches, if any; they are called `batch`.
        numbers: names of the columns that are covariates.
        label_key: the column of obs with the types, which cells.csv has anyway.
        x: (n_cells, n_genes) logarithms.
        ids: (n_genes,) other names of the genes, if there are.
        say: called with a line about the columns that nobody named.

    Raises:
        InputError: there is no such column or gene, or cells.csv has another of its name.
    """
    taken = () if batches is None else ("batch",)
    columns, genes = _of_covariates(cells, told, numbers, taken), _genes(keep, cells.obs)
    for name in keep:
        if name == AUTO:
            showable = _showable(cells.obs, {label_key, *OWN, *taken, *columns, "_index"})
            first = _first(showable, cells.n_obs, path, say)
            columns |= {column: _values(cells.obs[column]) for column in first}
            continue
        _check_name("data.keep", name, taken)
        gene = _gene(cells, name, x, ids, path) if name in genes else None
        columns.setdefault(name, _values(cells.obs[name]) if gene is None else gene)
    return pd.DataFrame(columns) if columns else None


def _genes(keep: Sequence[str], obs: pd.DataFrame) -> list[str]:
    """Return those of the names that are genes, or nothing.

    Raises:
        InputError: one is there twice, or they are too many.
    """
    genes = [name for name in distinct("data.keep", keep) if name not in (AUTO, *obs)]
    if len(genes) > MOST_GENES:
        given = Given("data.keep", keep, f"[{keep[0]},...]")
        raise InputError(Kind.VALUE, given, f"names {len(genes)} genes", f"{MOST_GENES} at most")
    return genes


def _of_covariates(
    cells: anndata.AnnData, told: Covariates | None, numbers: Sequence[str], taken: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the batches (n_cells,) as text, and the columns that are covariates, by name."""
    columns: dict[str, np.ndarray] = {}
    if told is not None:
        for key, values, codes in zip(told.keys, told.values, told.codes.T, strict=True):
            _check_name("data.batch_key", key)
            columns[key] = np.array(values, dtype=object)[codes]
    for name in distinct("data.covariates", numbers):
        _check_name("data.covariates", name, taken)
        columns.setdefault(name, _values(cells.obs[name]))
    return columns


def _first(
    showable: Iterator[str], n_cells: int, path: Path, say: Callable[[str], None]
) -> list[str]:
    """Return the first columns that a map can show, not too many, and name them.

    Args:
        showable: names of columns.
        n_cells: of many cells, none is kept.
        path: where they come from.
        say: called with a line.
    """
    if n_cells > MOST_CELLS:
        say(
            f"{path.name}: of more than {MOST_CELLS:,} cells, data.keep=[COLUMN] names the "
            "columns of obs for the colours of the map"
        )
        return []
    names = [*showable]
    first = names[:MOST_COLUMNS]
    if first:
        of = f" (the first {len(first)} of {len(names)})" if len(names) > len(first) else ""
        say(f"{path.name}: the map can take the colours of {', '.join(first)}{of}; see data.keep")
    return first


def _showable(obs: pd.DataFrame, others: set[str | None]) -> Iterator[str]:
    """Name columns with 2 to `MOST_VALUES` texts, and then those with numbers that differ."""
    numeric = []
    for name, column in obs.items():
        if name in others or UNWRITABLE.search(str(name)):
            continue
        if _is_number(column):
            if column.nunique() > 1:
                numeric.append(str(name))
            continue
        values = pd.unique(_values(column))
        texts = [value for value in values if value is not None]
        if 2 <= len(texts) <= MOST_VALUES and not any(map(UNWRITABLE.search, texts)):
            yield str(name)
    yield from numeric


def _gene(
    cells: anndata.AnnData, name: str, x: csr_array, ids: np.ndarray | None, path: Path
) -> np.ndarray:
    """Return the values (n_cells,) of a gene, by its name, or else by its other one.

    Raises:
        InputError: there is no such gene, or column of obs.
    """
    for names in (cells.var_names.to_numpy(dtype=str), ids):
        if names is not None and (found := np.flatnonzero(names == name)).size:
            values: np.ndarray = x[:, found[:1]].toarray()[:, 0]
            return values
    there = ", ".join(map(str, cells.obs)) or "none"
    reason = f"no such column of obs in {path} (there are {there}), and no such gene"
    raise InputError(Kind.UNKNOWN, Given("data.keep", name), reason)


def _check_name(setting: str, name: str, taken: Sequence[str] = ()) -> None:
    """Refuse a column that cells.csv or cells.h5ad cannot hold beside others.

    Raises:
        InputError: its name is taken.
    """
    if name in (*OWN, *taken):
        what = "scvae writes a column of this name to cells.csv"
    elif name == "_index":
        what = "an h5ad has this name for the names of cells"
    else:
        return
    raise InputError(Kind.CONFLICT, Given(setting, name), what, "rename it in obs")


def _is_number(column: pd.Series) -> bool:
    types = pd.api.types
    is_other = types.is_bool_dtype(column) or types.is_complex_dtype(column)
    return bool(types.is_numeric_dtype(column)) and not is_other


def _values(column: pd.Series) -> np.ndarray:
    """Return numbers (n_cells,) as they are, all else as text or None."""
    if _is_number(column):
        is_nullable = not isinstance(column.dtype, np.dtype)
        options = {"dtype": float, "na_value": np.nan} if is_nullable else {}
        numbers: np.ndarray = column.to_numpy(**options)
        return numbers
    texts = column.astype(object).where(column.notna(), "")
    return np.array([str(text) or None for text in texts], dtype=object)
