"""Keeps columns of obs for cells.csv, cells.h5ad and the colours of maps; no model sees them."""

from collections.abc import Sequence
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from scvae_cli.columns import OWN
from scvae_cli.covariates import Covariates
from scvae_cli.data.batches import distinct
from scvae_cli.data.labels import obs_column
from scvae_cli.errors import Given, InputError, Kind


def read_kept(
    cells: anndata.AnnData,
    told: Covariates | None,
    *,
    path: Path,
    keep: Sequence[str],
    batches: str | None,
    numbers: Sequence[str],
) -> pd.DataFrame | None:
    """Return the columns that are kept: batches, covariates, and those that are asked for.

    Batches are text. Of other columns, numbers stay numbers, and all else becomes text; a text
    that is missing or empty is None.

    Args:
        cells: the cells.
        told: their batches and covariates.
        path: where they come from.
        keep: names of columns of obs.
        batches: the csv file that has the batches, if any; they are called `batch`.
        numbers: names of the columns that are covariates.

    Returns:
        A row a cell, in their order; None where nothing is kept.

    Raises:
        InputError: there is no such column, or its name is that of another column of cells.csv.
    """
    columns: dict[str, np.ndarray] = {}
    if told is not None:
        for key, values, codes in zip(told.keys, told.values, told.codes.T, strict=True):
            _check_name("data.batch_key", key)
            columns[key] = np.array(values, dtype=object)[codes]
    taken = () if batches is None else ("batch",)
    for setting, names in (("data.covariates", numbers), ("data.keep", keep)):
        for name in distinct(setting, names):
            _check_name(setting, name, taken)
            column = obs_column(cells, setting, name, path)
            columns.setdefault(name, _values(column))
    return pd.DataFrame(columns) if columns else None


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


def _values(column: pd.Series) -> np.ndarray:
    """Return numbers (n_cells,) as they are, all else as text or None."""
    types = pd.api.types
    is_other = types.is_bool_dtype(column) or types.is_complex_dtype(column)
    if types.is_numeric_dtype(column) and not is_other:
        is_nullable = not isinstance(column.dtype, np.dtype)
        options = {"dtype": float, "na_value": np.nan} if is_nullable else {}
        numbers: np.ndarray = column.to_numpy(**options)
        return numbers
    texts = column.astype(object).where(column.notna(), "")
    return np.array([str(text) or None for text in texts], dtype=object)
