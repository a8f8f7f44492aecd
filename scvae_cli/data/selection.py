"""Takes the values asked for from cells in memory, and refuses what no model should see."""

import warnings
from collections.abc import Collection, Mapping
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, issparse, vstack

from scvae_cli.data.headers import check_sparse
from scvae_cli.data.values import recognise
from scvae_cli.data.wording import Wording
from scvae_cli.errors import InputError, Kind

DISTINCT = 0.9  # a column of var with this share of different values, or more, names genes
INDEX = "var_names"  # the index of var, kept as a column where another one names the genes


def elements(
    *,
    layer: str | None,
    raw: bool,
    gene_names: str | None = None,
    obs: Collection[str | None] = (),
) -> set[str]:
    """Return names of the elements of an h5ad or zarr that these settings need."""
    var = "raw/var" if raw else "var"
    values = "raw/X" if raw else "X" if layer is None else f"layers/{layer}"
    names = [] if gene_names is None else [f"{var}/{gene_names}"]
    return {var, values, *names, *(f"obs/{column}" for column in obs if column is not None)}


def select(
    cells: anndata.AnnData,
    wording: Wording,
    *,
    layer: str | None,
    raw: bool,
    gene_names: str | None,
) -> anndata.AnnData:
    """Take the values asked for and check them; `cells` stay as they are.

    Args:
        cells: what was read.
        wording: what errors call the cells and these settings.
        layer: a layer to take in place of X.
        raw: whether to take `.raw`.
        gene_names: a column of `var` with the names to use; None for its index.

    Returns:
        AnnData (n_cells, n_genes) whose X is sparse, rows in order.

    Raises:
        InputError: they are not there; names occur twice; values are not finite, or negative.
    """
    if cells.isbacked:
        raise InputError(
            Kind.FORMAT, wording.cells, "is backed by a file", "give adata.to_memory()"
        )
    values, var = _values_and_genes(cells, wording, layer, raw)
    if gene_names is not None:
        var = renamed(var, gene_names, wording)
    x = _sparse(values, wording)
    x.sum_duplicates()
    x.eliminate_zeros()
    with warnings.catch_warnings():  # of names that occur twice, which `_check` refuses
        warnings.simplefilter("ignore")
        selected = anndata.AnnData(x, cells.obs, var)
    _check(selected, wording, cells)
    return selected


def other_names(cells: anndata.AnnData) -> np.ndarray | None:
    """Return other names (n_genes,) of the genes (ids, or symbols) from var; None if it has none.

    The first column of var that is not numeric, whose values are distinct, and which does not
    merely repeat the names, has them.
    """
    for column in cells.var:
        names = cells.var[column]
        if pd.api.types.is_numeric_dtype(names) or names.nunique() < DISTINCT * len(names):
            continue
        others: np.ndarray = names.astype(str).to_numpy(dtype=str)
        if (others != cells.var_names.to_numpy(dtype=str)).any():
            return others
    return None


def _values_and_genes(
    cells: anndata.AnnData, wording: Wording, layer: str | None, raw: bool
) -> tuple[Any, pd.DataFrame]:
    """Return X, a layer or raw, which are numbers, and the table of their genes.

    Raises:
        InputError: there is none, it is empty, or its values are not numbers.
    """
    values, var = cells.X, cells.var
    if raw:
        if cells.raw is None:
            raise InputError(
                Kind.MISSING, wording.setting("raw", True), f"{wording.source} has no raw"
            )
        values, var = cells.raw.X, cells.raw.var
    if layer is not None:
        setting = wording.setting("layer", layer)
        if layer not in cells.layers:
            there = ", ".join(cells.layers) or "none"
            raise InputError(
                Kind.UNKNOWN,
                setting,
                f"no such layer in {wording.source} (there are {there}; {wording.value(None)} "
                "is X)",
            )
        if raw:
            raise InputError(
                Kind.CONFLICT, setting, f"give it or {wording.setting('raw', True)}, not both"
            )
        values = cells.layers[layer]
    if values is None:
        raise InputError(
            Kind.MISSING, wording.cells, f"has no X (layers: {', '.join(cells.layers) or 'none'})",
            f"name a layer with {wording.key('layer')}",
        )  # fmt: skip
    if 0 in values.shape:
        reason = f"is empty: {values.shape[0]} cells x {values.shape[1]} genes"
        raise InputError(Kind.EMPTY, wording.cells, reason)
    values = values if issparse(values) else np.asarray(values)
    if values.dtype.kind not in "fiub":
        raise InputError(
            Kind.CONTENT, wording.cells, f"its values are {values.dtype}, and not numbers"
        )
    return values, var


def renamed(var: pd.DataFrame, column: str, wording: Wording) -> pd.DataFrame:
    """Return the table of genes with the names in this column as its index.

    Raises:
        InputError: there is no such column, or it names no gene or two genes alike.
    """
    if column not in var:
        there = ", ".join(map(str, var)) or "none"
        raise InputError(
            Kind.UNKNOWN,
            wording.setting("gene_names", column),
            f"no such column of var in {wording.source} (there are {there}; "
            f"{wording.value(None)} is its index)",
        )
    names, given = var[column], wording.setting("gene_names", column)
    fix = f"mend the column, or give {wording.setting('gene_names', None)}"
    if missing := int(names.isna().sum()):
        raise InputError(Kind.NAMES, given, f"{missing} of {len(var)} genes have no name", fix)
    if names.duplicated().any():
        twice = names[names.duplicated()].iloc[0]
        raise InputError(Kind.NAMES, given, f"the gene {twice} is there twice", fix)
    return var.set_index(names.astype(str)).assign(**{INDEX: var.index})


def _sparse(values: Any, wording: Wording) -> csr_matrix:
    """Return a copy of values (n_cells, n_genes) as a sparse matrix in single precision.

    Raises:
        InputError: they are sparse, and their indices lead out of them.
    """
    if not issparse(values):  # in pieces: the indices of all would take ten times the memory
        step = max(1, 2**24 // values.shape[1])
        parts = [values[i : i + step] for i in range(0, len(values), step)]
        return vstack([csr_matrix(part, dtype=np.float32) for part in parts], format="csr")
    try:
        arrays = (values.data, values.indices, values.indptr)
        shell = type(values)(arrays, shape=values.shape)  # so that `values` stay as they are
        check_sparse(shell)
    except (AttributeError, ValueError) as error:
        raise InputError(Kind.DAMAGED, wording.cells, f"is damaged: {error}") from error
    return csr_matrix(shell.astype(np.float32, copy=True))


def _check(selected: anndata.AnnData, wording: Wording, cells: anndata.AnnData) -> None:
    """Refuse selected cells that no model should see.

    Args:
        selected: the values asked for.
        wording: what errors call the cells.
        cells: all that was read, in which other values may be.

    Raises:
        InputError: names occur twice, or values are not finite, or negative.
    """
    check_names(selected, wording)
    values = selected.X.data
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise InputError(Kind.CONTENT, wording.cells, f"{bad} values are NaN or infinite")
    if len(values) and values.min() < 0:
        raise InputError(
            Kind.CONTENT,
            wording.cells,
            f"has negative values ({values.min():.4g}), so it was scaled",
            elsewhere(_others(cells, wording)),
        )


def check_names(cells: anndata.AnnData, wording: Wording) -> None:
    """Refuse cells or genes of one name (InputError)."""
    for names, what, hint in (
        (cells.obs_names, "cell", "make them unique (adata.obs_names_make_unique())"),
        (cells.var_names, "gene", "make them unique (adata.var_names_make_unique())"),
    ):
        if names.has_duplicates:
            twice = names[names.duplicated()][0]
            raise InputError(Kind.NAMES, wording.cells, f"the {what} {twice} is there twice", hint)


def _others(cells: anndata.AnnData, wording: Wording) -> dict[str, Any]:
    """Return the other values (n_cells, n_genes) by the settings that take them."""
    others = {str(wording.setting("layer", name)): values for name, values in cells.layers.items()}
    if cells.raw is not None:
        others[str(wording.setting("raw", True))] = cells.raw.X
    return others


def elsewhere(others: Mapping[str, Any]) -> str:
    """Return the settings that take values which a model can use, counts first; see `_others`."""
    settings: dict[str, list[str]] = {"counts": [], "normalized": [], "logged": []}
    for setting, values in others.items():
        some = csr_matrix(values[:1000], dtype=np.float32)
        if np.isfinite(some.data).all() and (some.data >= 0).all():
            settings[recognise(some).kind].append(setting)
    kind = next((kind for kind, usable in settings.items() if usable), None)
    if kind is None:
        return "give counts, or logarithms of them; no layer has them, nor raw"
    return f"give {' or '.join(settings[kind])}, where there are {kind} values"
