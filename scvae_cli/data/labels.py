"""Reads the cell types that people give: from a table of their own, or from a column of obs."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from scvae_cli.data.tables import other_separator, read_texts
from scvae_cli.errors import Given, InputError, Kind, written
from scvae_cli.visible import UNLABELLED

# What tables have in place of a type that is missing or not known.
NO_TYPES = {"<na>", "n/a", "na", "nan", "none", "null", "unassigned", "unknown", "unlabeled"}


def read_labels(path: str, cells: np.ndarray, *, partly: bool = False) -> np.ndarray:
    """Read the type of each cell from a table of two columns, barcode and type.

    Args:
        path: a csv file; its first line is a header unless it begins with one of the cells.
        cells: (n_cells,) barcodes.
        partly: whether cells may be missing.

    Returns:
        (n_cells,) types as they are written, empty for cells that are not in the table.

    Raises:
        InputError: it is no such table, has a barcode twice, or none of the cells, or not all.
    """
    return read_column(Given("data.labels", path), cells, "label", partly=partly)


def read_column(
    what: Given, cells: np.ndarray, column: str, *, partly: bool = False
) -> np.ndarray:
    """Read a text for each cell from a table; see `read_labels`.

    Args:
        what: the setting that names the table.
        cells: (n_cells,) barcodes.
        column: what the texts are.
        partly: whether cells may be missing.
    """
    path = Path(str(what.value))
    rows = read_texts(path, what)
    if not rows:
        raise InputError(Kind.EMPTY, what, "is empty", f"give two columns, barcode and {column}")
    if short := next((row for row in rows if len(row) < 2), None):
        hint = f" ({other_separator(short, path)})" if short is rows[0] else ""
        raise InputError(
            Kind.FORMAT, what, f"needs two columns, barcode and {column}; has {short[0]!r}{hint}"
        )
    if wide := next((row for row in rows if len(row) > 2), None):
        raise InputError(
            Kind.FORMAT,
            what,
            f"has {len(wide)} columns ({', '.join(rows[0][:5])}{', ...' if wide[5:] else ''})",
            f"keep two: barcode and {column}",
        )
    known = set(cells)
    labels: dict[str, str] = {}
    for barcode, label in rows if rows[0][0] in known else rows[1:]:
        if barcode in labels:
            raise InputError(Kind.NAMES, what, f"the barcode {barcode} is there twice")
        labels[barcode] = label
    missing = [cell for cell in cells if not labels.get(cell)]
    if len(missing) == len(cells) or (missing and not partly):
        none = f"no {column} for {len(missing)} of {len(cells)} cells, such as {missing[0]}"
        if labels and len(missing) == len(cells):
            none += f"; its barcodes are such as {next(iter(labels))}"
        raise InputError(Kind.MISSING, what, none)
    return np.array([labels.get(cell, "") for cell in cells], dtype=object)


def labels_of(cells: anndata.AnnData, key: str, path: Path) -> np.ndarray:
    """Return the type (n_cells,) of each cell, from a column of obs; empty where it has none.

    Whole numbers are names of types, as of clusters, also where missing ones made them 1.0, 2.0.

    Args:
        cells: the cells.
        key: the column.
        path: where the cells come from.

    Raises:
        InputError: there is no such column, or it holds other numbers.
    """
    column = obs_column(cells, "data.label_key", key, path)
    if pd.api.types.is_float_dtype(column):
        numbers = column.dropna()
        if (broken := numbers[numbers % 1 != 0]).size:
            raise InputError(
                Kind.VALUE,
                Given("data.label_key", key),
                f"holds numbers such as {broken.iloc[0]}, which are no types",
                "give a column of names or whole numbers",
            )
        column = column.astype("Int64")
    known = column.notna().to_numpy()
    types = np.full(len(column), "", dtype=object)
    types[known] = column[known].astype(str)
    return types


def obs_column(cells: anndata.AnnData, setting: str, name: str, path: Path) -> pd.Series:
    """Return a column of obs.

    Args:
        cells: the cells.
        setting: what names the column.
        name: of the column.
        path: where the cells come from.

    Raises:
        InputError: there is no such column.
    """
    if name not in cells.obs:
        there = list(map(str, cells.obs))
        near = get_close_matches(name, there, n=1)
        reason = f"no such column of obs in {path} (there are {', '.join(there) or 'none'})"
        fix = f"did you mean {near[0]}?" if near else ""
        raise InputError(Kind.UNKNOWN, Given(setting, name), reason, fix)
    if isinstance(column := cells.obs[name], pd.DataFrame):
        reason = f"{column.shape[1]} columns of obs have this name"
        raise InputError(Kind.NAMES, Given(setting, name), reason, "rename all but one")
    return named_by_numbers(column)


def named_by_numbers(column: pd.Series) -> pd.Series:
    """Return a column whose categories are 1.0, 2.0, ... as these numbers; another as it is.

    Categories are floats where a column of whole numbers had missing values.
    """
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return column
    names = column.cat.categories
    whole = pd.api.types.is_float_dtype(names) and (names % 1 == 0).all()
    return column.astype(float) if whole else column


def doubt_types(
    types: np.ndarray, given: Given, unlabelled: Collection[str] = ()
) -> Iterator[str]:
    """Yield what to say of types (n_cells,) that may be clusters, or that may stand for none.

    Args:
        types: texts.
        given: the setting that gave the types.
        unlabelled: what is known to stand for none.
    """
    names, sizes = np.unique(types.astype(str), return_counts=True)
    if all(re.fullmatch(r"\d*", name) for name in names):
        yield (
            f"{given} has whole numbers, as a clustering has: if they are no cell types, scores "
            "say how well k-means finds that clustering again"
        )
    none = [n for n in names if n.casefold() in NO_TYPES and n not in unlabelled]
    if none:
        n_cells = int(sizes[np.isin(names, none)].sum())
        yield (
            f"{given} has {', '.join(none)} ({n_cells:,} cells), which scores take for a type: if "
            f'no type is meant, give "data.unlabelled={written([*unlabelled, *none])}"'
        )


def mark_unlabelled(
    types: np.ndarray,
    cells: np.ndarray,
    given: Given,
    *,
    unlabelled: Sequence[str] = (),
    say: Callable[[str], None],
) -> np.ndarray:
    """Put `UNLABELLED` in place of what stands for no type.

    Args:
        types: (n_cells,) texts.
        cells: (n_cells,) names.
        given: the setting that gave the types.
        unlabelled: what stands for no type, beside no text and `UNLABELLED` itself, which is what
            runs write.
        say: called with the number of cells that have no type.

    Returns:
        (n_cells,) types.

    Raises:
        InputError: none has a type, or each has another one.
    """
    none = np.isin(types.astype(object), ["", UNLABELLED, *unlabelled])
    if none.all():
        raise InputError(Kind.EMPTY, given, f"{len(cells)} of {len(cells)} cells have no label")
    if len(cells) > 2 and len(np.unique(types)) == len(cells):
        reason = f"has another value for each of the {len(cells)} cells, so these are no types"
        raise InputError(Kind.VALUE, given, reason, "give the column of the cell types")
    for text in unlabelled:
        if text not in types:
            say(f"data.unlabelled={text}: no cell has this label")
    if none.any():
        say(
            f"{none.sum():,} of {len(cells):,} cells have no label, such as {cells[none][0]}; "
            "they are trained on, and left out of the scores"
        )
    return np.where(none, UNLABELLED, types)
