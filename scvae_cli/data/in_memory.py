"""Writes cells in memory to a file that a run reads; people call it as `scvae_cli.fit`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import issparse

from scvae_cli.columns import AUTO
from scvae_cli.data.labels import obs_column
from scvae_cli.data.selection import elsewhere
from scvae_cli.errors import Given, InputError, Kind

FEWEST = 3  # cells: what maps and clusters ask for, too
OF_OBS = ("label_key", "batch_key", "covariates", "keep")  # settings that name columns of obs


def check_cells(adata: Any) -> None:
    """Refuse what is no AnnData, has too few cells, or names that no table can hold.

    Raises:
        InputError: it is such.
    """
    if not isinstance(adata, anndata.AnnData):
        fix = "give an AnnData: anndata.read_h5ad(FILE) reads one"
        raise InputError(Kind.VALUE, "adata", f"is a {type(adata).__name__}", fix)
    if adata.n_obs < FEWEST:
        raise InputError(Kind.EMPTY, "adata", f"has {adata.n_obs} cells; {FEWEST} are the fewest")
    for index, what in ((adata.obs_names, "cells"), (adata.var_names, "genes")):
        _check_names(index, what)


def write_cells(
    adata: anndata.AnnData, layer: str | None, settings: Mapping[str, Any], file: Path
) -> None:
    """Write what the run reads of the cells: values, names, and columns of obs.

    Raises:
        InputError: there is no such layer, or no values, or what are no numbers, or negative
            ones, or names that are not unique.
    """
    if layer is not None and layer not in adata.layers:
        there = ", ".join(adata.layers) or "none"
        given = Given("layer", layer)
        raise InputError(Kind.MISSING, given, "no such layer", f"there are: {there}")
    values = adata.X if layer is None else adata.layers[layer]
    if values is None:
        raise InputError(Kind.EMPTY, "adata", "has no X", "give layer=NAME")
    if values.dtype.kind not in "fiub":
        reason = f"its values are {values.dtype}, and not numbers"
        raise InputError(Kind.CONTENT, "adata", reason)
    _check_not_scaled(adata, values)
    if not adata.obs_names.astype(str).is_unique:
        fix = "call adata.obs_names_make_unique()"
        raise InputError(Kind.CONTENT, "adata", "names of cells are not unique", fix)
    tables = _obs(adata, settings), _ids(adata)
    if layer is None:
        cells = anndata.AnnData(values, *tables)
    else:
        cells = anndata.AnnData(None, *tables, layers={layer: values})
    cells.write_h5ad(file)


def _ids(adata: anndata.AnnData) -> pd.DataFrame:
    """Return the columns of var that may hold other names of the genes."""
    texts = {
        name: column.astype(str)
        for name, column in adata.var.items()
        if _writable(name, column) and not pd.api.types.is_numeric_dtype(column)
    }
    return pd.DataFrame(texts, index=adata.var_names.rename(None))


def _check_names(index: pd.Index, what: str) -> None:
    """Refuse names (InputError) that are missing, or that no table can hold."""
    if index.isna().any():
        reason = f"names of {what} are missing ({int(index.isna().sum())} of {len(index)})"
        raise InputError(Kind.CONTENT, "adata", reason)
    for name in index.astype(str):
        if "\0" in name or name.encode(errors="ignore").decode() != name:
            reason = f"has {what} called {name!r}, which no table can hold"
            raise InputError(Kind.CONTENT, "adata", reason)


def _check_not_scaled(adata: anndata.AnnData, values: Any) -> None:
    """Refuse values (n_cells, n_genes) below 0 (InputError), of which scaling leaves some in all.

    What the run reads has no other values, so that it cannot say which to take.
    """
    lowest = 0.0
    for start in range(0, adata.n_obs, 4096):  # of a backed file too
        part = values[start : start + 4096]
        part = part.data if issparse(part) else np.asarray(part)
        lowest = min(lowest, float(part.min())) if part.size else lowest
    if lowest < 0:
        others = {f"layer={name!r}": layer for name, layer in adata.layers.items()}
        if adata.raw is not None:
            others["adata.raw.to_adata()"] = adata.raw.X
        reason = f"has negative values ({lowest:.4g}), so it was scaled"
        raise InputError(Kind.CONTENT, "adata", reason, elsewhere(others))


def _obs(adata: anndata.AnnData, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Return the columns of obs that an h5ad can hold; mixed values become text if they are named.

    Raises:
        InputError: there is no column of a name that settings have.
    """
    named: set[str] = set()
    for key in OF_OBS:
        value = settings.get(f"data.{key}")
        names = value if isinstance(value, list | tuple) else [] if value is None else [value]
        for name in map(str, names):
            if key != "keep" or not (name == AUTO or name in adata.var_names):  # a gene
                obs_column(adata, f"data.{key}", name, Path("adata"))
                named.add(name)
    columns = {}
    for name, column in adata.obs.items():
        if _writable(name, column):
            columns[name] = column
        elif name in named and pd.api.types.is_float_dtype(column):
            columns[name] = pd.Series(column.to_numpy(float, na_value=np.nan), column.index)
        elif name in named:
            gone = zip(column, column.isna(), strict=True)
            texts = [None if missing else str(value) for value, missing in gone]
            columns[name] = pd.Series(texts, column.index, dtype=object)
    return pd.DataFrame(columns, index=adata.obs_names.rename(None))


def _writable(name: Any, column: pd.Series) -> bool:
    """Return whether an h5ad can hold a column."""
    if not isinstance(name, str) or name == "_index" or "/" in name:
        return False
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _writable(name, pd.Series(dtype.categories))
    if isinstance(dtype, np.dtype) and dtype.kind != "O":
        return dtype.kind in "fiub"
    if isinstance(dtype, pd.SparseDtype | pd.ArrowDtype):
        return False
    types = pd.api.types
    is_whole = types.is_integer_dtype(dtype) or types.is_bool_dtype(dtype)
    return bool(is_whole or types.infer_dtype(column, skipna=True) == "string")
