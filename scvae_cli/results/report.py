"""A report on runs as one page of HTML that opens from disk and loads nothing.

Whatever comes from data is escaped, and the page runs no scripts but those whose hashes its
Content-Security-Policy names. Its template is report.html.jinja; report.js draws the maps and
sorts the tables, report.css is the style.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from scvae_cli.results.map_data import MANY, map_data
from scvae_cli.visible import visible

MISSING = "\N{EN DASH}"
LONG = 40  # characters beyond which a cell of a table may take several lines


def html(
    *,
    title: str,
    lead: Sequence[str],
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, bytes],
    maps: Mapping[str, pd.DataFrame],
    provenance: Mapping[str, str],
) -> str:
    """Return the page: title, lead, first table, figures, maps, other tables, provenance.

    Args:
        title: of the page.
        lead: paragraphs of plain text under the title.
        tables: caption to table, the most telling first; the index is not shown.
        figures: caption to PNG.
        maps: title of a run to its cells.csv, the run to show first being the first.
        provenance: what the page was made from.

    Returns:
        HTML, to be written as UTF-8.
    """
    scripts = [_asset("scvae_cli.results", "report.js")]
    large = any(len(cells) > MANY for cells in maps.values())
    if maps:
        scripts.insert(0, _asset("plotly", "package_data/plotly.min.js"))
    return _template().render(
        policy=_policy(scripts, large),
        title=title,
        style=_asset("scvae_cli.results", "report.css"),
        lead=lead,
        tables=[_table(caption, table) for caption, table in tables.items()],
        figures={text: base64.b64encode(png).decode() for text, png in figures.items()},
        maps=list(maps),
        map_data=map_data(maps) if maps else {},
        provenance=provenance,
        scripts=scripts,
    )


@cache
def _template() -> Template:
    """Return the template, which escapes every text, and makes it visible to a person.

    What is marked as `safe` in the template stands as it is.
    """
    environment = Environment(
        loader=PackageLoader("scvae_cli", "results"),
        autoescape=True,
        finalize=lambda value: value if hasattr(value, "__html__") else visible(value),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html.jinja")


def _asset(package: str, path: str) -> str:
    return (files(package) / path).read_text(encoding="utf-8")


def _policy(scripts: Iterable[str], large: bool) -> str:
    """Return the policy by which only these scripts run; blob: is for saving a map as PNG.

    Args:
        scripts: as they stand in the page.
        large: whether there are maps for Plotly's scattergl, which compiles its own functions.
    """
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    allowed = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    if large:
        allowed.append("'unsafe-eval'")
    return (
        f"default-src 'none'; script-src {' '.join(allowed)}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


class Cell(NamedTuple):
    """A cell of a table, or the head of a column.

    Attributes:
        text: what it shows.
        style: its class in report.css, `n` for numbers; empty for none.
        value: the number that report.js sorts by, where it is not the text.
        missing: whether there is no value.
    """

    text: str
    style: str = ""
    value: str = ""
    missing: bool = False


class Table(NamedTuple):
    """A table as the template takes it."""

    caption: str
    heads: list[Cell]
    rows: list[tuple[Cell, ...]]


def _table(caption: str, table: pd.DataFrame) -> Table:
    columns = [column.infer_objects() for _, column in table.items()]
    heads = [
        Cell(str(name), "n" if _is_numeric(column) else "")
        for name, column in zip(table, columns, strict=True)
    ]
    return Table(caption, heads, list(zip(*map(_cells, columns), strict=True)))


def _is_numeric(column: pd.Series) -> bool:
    types = pd.api.types
    return bool(types.is_numeric_dtype(column) and not types.is_bool_dtype(column))


def _cells(column: pd.Series) -> list[Cell]:
    style = "n" if _is_numeric(column) else ""
    # pandas turns integers into floats where some are missing.
    whole = style and column.hasnans and (column.dropna() % 1 == 0).all()
    cells = []
    for value in column:
        if pd.isna(value):
            cells.append(Cell(MISSING, style, missing=True))
        elif isinstance(value, float):
            text = str(int(value)) if whole else _decimal(value)
            cells.append(Cell(text, style, json.dumps(value)))
        else:
            text = str(value)
            cells.append(Cell(text, style or ("long" if len(text) > LONG else "")))
    return cells


def _decimal(value: float) -> str:
    """Return three decimals, or three digits where that leaves too little: a learning rate."""
    return f"{value:.3g}" if 0 < abs(value) < 0.01 else f"{value:.3f}"
