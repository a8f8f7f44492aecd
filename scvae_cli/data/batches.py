"""Reads the batch of each cell, and numeric covariates, from columns of obs or a csv file."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from scvae_cli.covariates import Covariates, covariates
from scvae_cli.data.labels import named_by_numbers, obs_column, read_column
from scvae_cli.data.wording import Wording
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.visible import UNLABELLED

MOST_BATCHES = 0.5  # batches a cell: more are names of cells
SUSPECTS = re.compile(
    r"batch|sample|donor|patient|plate|protocol|librar|lane|channel|replicate|chemistry|assay"
    r"|orig\.?ident|experiment|individual|subject|run\b",
    re.IGNORECASE,
)
FEW, MANY = 2, 50  # values of a column that looks like a batch


def read_covariates(
    cells: anndata.AnnData,
    *,
    path: Path,
    batch_key: Sequence[str] | None,
    batches: str | None,
    numbers: Sequence[str],
    label_key: str | None,
) -> Covariates | None:
    """Return the covariates that are asked for; None where none is.

    Args:
        cells: the cells.
        path: where they come from.
        batch_key: columns of obs with batches.
        batches: or a csv file whose first two columns are barcode and batch.
        numbers: columns of obs with numbers.
        label_key: the column of obs with the cell types.

    Raises:
        InputError: a column is not there, or is not what it should be; or they contradict each
            other.
    """
    if batch_key is not None and batches is not None:
        given = Given("data.batches", batches)
        asked = ", ".join(batch_key)
        raise InputError(Kind.CONFLICT, given, f"give it or data.batch_key={asked}, not both")
    columns: dict[str, np.ndarray] = {}
    for key in distinct("data.batch_key", batch_key or []):
        if key == label_key:
            given = Given("data.batch_key", key)
            reason = "is data.label_key too: a model told of the types would not look for them"
            raise InputError(Kind.CONFLICT, given, reason, "give the column of the batches")
        columns[key] = _batches_of(cells, key, path)
    if batches is not None:
        what = Given("data.batches", batches)
        columns["batch"] = read_column(what, cells.obs_names.to_numpy(dtype=str), "batch")
        _check_batches(columns["batch"], what)
    numeric = {key: _numbers_of(cells, key, path) for key in distinct("data.covariates", numbers)}
    return covariates(columns, numeric) if columns or numeric else None


def distinct(key: str, names: Sequence[str]) -> Sequence[str]:
    """Return the names, no two of which are the same.

    Raises:
        InputError: two are.
    """
    for name in names:
        if list(names).count(name) > 1:
            raise InputError(Kind.VALUE, Given(key, name), "is given twice")
    return names


def _column(cells: anndata.AnnData, key: str, name: str, path: Path) -> pd.Series:
    """Return a column of obs, in which no value is missing.

    Raises:
        InputError: there is none, or values are missing.
    """
    column = obs_column(cells, key, name, path)
    missing = column.isna() | (column.astype(str) == "")
    if missing.any():
        first = cells.obs_names[missing.to_numpy()][0]
        raise InputError(
            Kind.MISSING,
            Given(key, name),
            f"{int(missing.sum())} of {len(column)} cells, such as {first}, have no value",
            "fill it in or leave these cells out",
        )
    return column


def _batches_of(cells: anndata.AnnData, name: str, path: Path) -> np.ndarray:
    """Return the batch (n_cells,) of each cell; whole numbers are names of batches."""
    given = Given("data.batch_key", name)
    column = _column(cells, "data.batch_key", name, path)
    if pd.api.types.is_float_dtype(column):
        if (broken := column[column % 1 != 0]).size:
            raise InputError(
                Kind.VALUE,
                given,
                f"holds numbers such as {broken.iloc[0]}, which are no batches",
                f"data.covariates={name} takes numbers",
            )
        column = column.astype(int)
    values: np.ndarray = column.astype(str).to_numpy(dtype=str)
    _check_batches(values, given)
    return values


def _check_batches(values: np.ndarray, given: Given) -> None:
    """Refuse batches (n_cells,) that say nothing.

    Raises:
        InputError: there is one only, or about one for each cell.
    """
    n = len(np.unique(values))
    if n == 1:
        reason = f"all {len(values)} cells have one value, {values[0]}"
        raise InputError(Kind.EMPTY, given, reason, "leave it out")
    if n > max(FEW, MOST_BATCHES * len(values)):
        reason = f"has {n} values for {len(values)} cells, so these are no batches"
        raise InputError(Kind.VALUE, given, reason, "give the column of samples, plates or donors")


def _numbers_of(cells: anndata.AnnData, name: str, path: Path) -> np.ndarray:
    """Return the numbers (n_cells,) of a column of obs."""
    given = Given("data.covariates", name)
    column = _column(cells, "data.covariates", name, path)
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        raise InputError(
            Kind.VALUE,
            given,
            f"holds texts such as {column.iloc[0]}",
            f"data.batch_key={name} takes them",
        )
    numbers: np.ndarray = column.to_numpy(dtype=float)
    if not np.isfinite(numbers).all() or np.ptp(numbers) == 0:
        what = "one value in all cells" if np.isfinite(numbers).all() else "infinite values"
        raise InputError(Kind.VALUE, given, f"has {what}", "leave it out")
    return numbers


def covariates_like(obs: pd.DataFrame, run: Covariates, wording: Wording) -> Covariates:
    """Return the covariates of other cells, as a run's network got those of its own.

    Args:
        obs: columns of the cells, among them those that the run was told of.
        run: the covariates of the run's cells.
        wording: what errors call the cells.

    Raises:
        InputError: a column is not there, or a batch is not one of the run's.
    """
    codes = np.empty((len(obs), len(run.keys)), np.int64)
    for i, (key, values) in enumerate(zip(run.keys, run.values, strict=True)):
        column = _obs_column(obs, key, wording)
        texts = _as_texts(column)
        codes[:, i] = pd.Index(values).get_indexer(pd.Index(texts))
        if (codes[:, i] < 0).any():
            new = texts[codes[:, i] < 0].iloc[0]
            raise InputError(
                Kind.UNKNOWN,
                wording.cells,
                f"{key} {new} is no batch of the run ({', '.join(values[:5])}), whose encoder is "
                "told of batches",
                "train with model.encode_covariates=false to embed cells of any batch",
            )
    numbers = np.empty((len(obs), len(run.names)), np.float32)
    for i, name in enumerate(run.names):
        column = _obs_column(obs, name, wording)
        if not pd.api.types.is_numeric_dtype(column):
            raise InputError(Kind.CONTENT, wording.cells, f"{name} has no numbers in obs")
        numbers[:, i] = (column - run.mean[i]) / run.sd[i]
    return replace(run, codes=codes, numbers=numbers)


def batches_like(
    obs: pd.DataFrame, run: Covariates, names: Sequence[str], say: Callable[[str], None]
) -> np.ndarray:
    """Return which of a run's batches other cells are of, (n_cells,); -1 where of none.

    Args:
        obs: columns of the cells.
        run: the covariates of the run's cells.
        names: of the run's batches, as `Covariates.batches` has them.
        say: called with a line where cells are of none.
    """
    stay = "the places of these cells are not aligned with the run's"
    if missing := [key for key in run.keys if key not in obs]:
        say(f"obs has no {', '.join(missing)}: {stay}")
        return np.full(len(obs), -1)
    columns = [_as_texts(obs[key]) for key in run.keys]
    known = {name: number for number, name in enumerate(names)}
    each = [", ".join(values) for values in zip(*columns, strict=True)]
    batch = np.array([known.get(name, -1) for name in each], np.int64)
    if (n := int((batch < 0).sum())) > 0:
        new = each[int(np.flatnonzero(batch < 0)[0])]
        what = f"{n:,} of {len(obs):,} cells are of no batch of the run ({new})"
        say(f"{what}: {stay}")
    return batch


def _as_texts(column: pd.Series) -> pd.Series:
    """Return the names of batches as a run has them: of whole numbers without decimals."""
    column = named_by_numbers(column)
    texts = column.astype(str)
    if pd.api.types.is_float_dtype(column):  # whole numbers beside missing ones are floats
        whole = (column % 1 == 0).to_numpy(bool)
        texts[whole] = column[whole].astype(int).astype(str)
    return texts


def _obs_column(obs: pd.DataFrame, name: str, wording: Wording) -> pd.Series:
    """Return a column in which no value is missing.

    Raises:
        InputError: there is none, or values are missing.
    """
    if name not in obs or obs[name].isna().any():
        what = "lacks it" if name not in obs else "has cells without it"
        raise InputError(
            Kind.MISSING, wording.cells, f"the run's encoder is told of {name}, and obs {what}",
            "add it, or train with model.encode_covariates=false",
        )  # fmt: skip
    return obs[name]


def suspects(obs: pd.DataFrame, asked: Sequence[str | None]) -> list[str]:
    """Return names of columns that look like batches: by their name, with 2 to 50 values.

    Args:
        obs: columns of the cells.
        asked: columns that are used already.
    """
    return [
        str(name)
        for name in obs
        if name not in asked
        and SUSPECTS.search(str(name))
        and FEW <= obs[name].nunique() <= min(MANY, len(obs) // 2)
    ]


def warn_of_confounding(told: Covariates, types: np.ndarray, warn: Callable[[str], None]) -> None:
    """Warn where batches and cell types cannot be told apart.

    Args:
        told: the covariates.
        types: (n_cells,) names, `UNLABELLED` where a cell has none.
        warn: called with what is so.
    """
    if not told.keys:
        return
    batch, names = told.batches
    known = types != UNLABELLED
    table = pd.crosstab(types[known], batch[known])
    if len(table) < 2:
        return
    own = [str(t) for t, row in table.iterrows() if (row > 0).sum() == 1]
    if len(own) == len(table):
        warn(
            "each cell type occurs in one batch only: what differs between batches and what "
            "differs between types cannot be told apart"
        )
    elif own:
        some = ", ".join(own[:5]) + (f" and {len(own) - 5} more" if len(own) > 5 else "")
        whose = names[int(np.argmax(table.loc[own[0]].to_numpy()))]
        where = f" ({whose})" if len(own) == 1 else ""
        warn(
            f"{len(own)} of {len(table)} cell types occur in one batch only{where}: {some}; a "
            "model that mixes batches may mix them with other types"
        )
