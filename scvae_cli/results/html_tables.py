"""Tables as report.html shows them: their cells as text, and what of them is folded."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

MISSING = "\N{EN DASH}"
LONG = 40  # characters beyond which a cell of a table may take several lines
NUMBER = re.compile(r"[+-]?\d[\d.,]*( ±[\d.]+)?( %)?( \(-\d+\))?|-")  # as text


@dataclass(frozen=True)
class Shown:
    """A table, and how a page shows it.

    Attributes:
        table: the index is not shown.
        beside: whether it stands beside the map, which has room for four narrow columns.
        folded: whether a reader has to unfold it.
        note: what to know of it, below its caption.
        few: the columns that are shown, and come first; the others unfold. Empty for all.
        filters: columns by whose values a reader can choose rows.
        links: addresses by what the first column shows.
        shaded: whether a number's background says what share of its row it is.
    """

    table: pd.DataFrame
    beside: bool = False
    folded: bool = False
    note: str = ""
    few: Sequence[str] = ()
    filters: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    shaded: bool = False


class Cell(NamedTuple):
    """A cell of a table, or the head of a column.

    Attributes:
        text: what it shows.
        style: its class in report.css, `n` for numbers; empty for none.
        value: the number that report.js sorts by, where it is not the text.
        missing: whether there is no value.
        link: the address that the text leads to; empty for none.
        share: per cent of its row; empty where that is not shown.
    """

    text: str
    style: str = ""
    value: str = ""
    missing: bool = False
    link: str = ""
    share: str = ""


class Table(NamedTuple):
    """A table as the template takes it; `few` columns of it are shown, 0 for all."""

    caption: str
    heads: list[Cell]
    rows: list[tuple[Cell, ...]]
    few: int
    filters: list[int]
    how: Shown


def table_of(caption: str, how: Shown | pd.DataFrame) -> Table:
    """Return a table as the template takes it.

    Args:
        caption: its heading.
        how: the table, or the table and how to show it.
    """
    how = Shown(how) if isinstance(how, pd.DataFrame) else how
    few = [name for name in how.few if name in how.table]
    names = [*few, *(name for name in how.table if name not in few)] if few else [*how.table]
    columns = [how.table[name].infer_objects() for name in names]
    heads = [
        Cell(str(name), "n" if _is_numeric(column) else "")
        for name, column in zip(names, columns, strict=True)
    ]
    rows = list(zip(*map(_cells, columns), strict=True))
    if how.links:
        rows = [(row[0]._replace(link=how.links.get(row[0].text, "")), *row[1:]) for row in rows]
    if how.shaded:
        rows = [_shaded(row) for row in rows]
    filters = [names.index(name) for name in how.filters if name in names]
    return Table(caption, heads, rows, len(few) % len(names) if names else 0, filters, how)


def _is_numeric(column: pd.Series) -> bool:
    """Return whether a column holds numbers, or texts that all are numbers."""
    types = pd.api.types
    if types.is_numeric_dtype(column):
        return not types.is_bool_dtype(column)
    return bool(len(column)) and all(isinstance(v, str) and NUMBER.fullmatch(v) for v in column)


def _cells(column: pd.Series) -> list[Cell]:
    style = "n" if _is_numeric(column) else ""
    # pandas turns integers into floats where some are missing.
    floats = pd.api.types.is_float_dtype(column)
    whole = floats and column.hasnans and (column.dropna() % 1 == 0).all()
    cells = []
    for value in column:
        if pd.isna(value):
            cells.append(Cell(MISSING, style, missing=True))
        elif isinstance(value, float):
            text = str(int(value)) if whole else _decimal(value)
            cells.append(Cell(text, style, json.dumps(value)))
        else:
            text = str(value)
            cells.append(
                Cell(text, style or ("long" if len(text) > LONG else ""), missing=text == "-")
            )
    return cells


def _shaded(row: tuple[Cell, ...]) -> tuple[Cell, ...]:
    """Return a row of counts with the share that each has in it; the first cell is its name."""
    total = sum(int(cell.text) for cell in row[1:]) or 1
    shares = [round(100 * int(cell.text) / total) for cell in row[1:]]
    return (
        row[0],
        *(c._replace(share=str(s)) if s else c for c, s in zip(row[1:], shares, strict=True)),
    )


def _decimal(value: float) -> str:
    """Return three decimals, or three digits where that leaves too little: a learning rate."""
    return f"{value:.3g}" if 0 < abs(value) < 0.01 else f"{value:.3f}"
