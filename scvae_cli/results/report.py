"""A report on runs as one page of HTML that opens from disk and loads nothing.

Whatever comes from data is escaped, and the page runs no scripts but those whose hashes its
Content-Security-Policy names. What the scripts and the style do is in report.js and report.css.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from math import floor, isnan, log10
from typing import Any

import numpy as np
import pandas as pd

from scvae_cli.visible import UNLABELLED, visible

MISSING = "\N{EN DASH}"
LONG = 40  # characters beyond which a cell of a table may take several lines
MANY = 5000  # cells beyond which SVG is slow


def html(
    *,
    title: str,
    lead: Sequence[str],
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, bytes],
    maps: Mapping[str, pd.DataFrame],
    provenance: Mapping[str, str],
) -> str:
    """The page: title, lead, first table, figures, maps, other tables, provenance.

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
    first, *others = [_table(caption, table) for caption, table in tables.items()] or [""]
    scripts = [_asset("scvae_cli.results", "report.js")]
    large = any(len(cells) > MANY for cells in maps.values())
    if maps:
        scripts.insert(0, _asset("plotly", "package_data/plotly.min.js"))
    body = [
        f"<h1>{_text(title)}</h1>",
        *(f'<p class="lead">{_text(paragraph)}</p>' for paragraph in lead),
        first,
        _figures(figures),
        _maps(maps),
        *others,
        _provenance(provenance),
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy(scripts, large)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_text(title)}</title>
<style>
{_asset("scvae_cli.results", "report.css")}</style>
</head>
<body>
<main>
{_lines(*body)}
</main>
{_lines(*(f"<script>{script}</script>" for script in scripts))}
</body>
</html>
"""


def _text(text: object) -> str:
    """A text as HTML shows it, and as a person can see it."""
    return escape(visible(text))


def _asset(package: str, path: str) -> str:
    return (files(package) / path).read_text(encoding="utf-8")


def _policy(scripts: Iterable[str], large: bool) -> str:
    """Only these scripts run; blob: is for saving a map as PNG.

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


def _table(caption: str, table: pd.DataFrame) -> str:
    heads, columns = [], []
    for name, column in table.items():
        align = ' class="n"' if _is_numeric(column.infer_objects()) else ""
        heads.append(f'<th scope="col"{align}><button>{_text(name)}</button></th>')
        columns.append(_cells(column, align))
    rows = "\n".join(f"<tr>{''.join(row)}</tr>" for row in zip(*columns, strict=True))
    name = _text(caption)
    return f"""<section>
<h2>{name}</h2>
<div class="scroll" role="region" aria-label="{name}" tabindex="0">
<table>
<thead><tr>{"".join(heads)}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
</section>"""


def _is_numeric(column: pd.Series) -> bool:
    types = pd.api.types
    return bool(types.is_numeric_dtype(column) and not types.is_bool_dtype(column))


def _cells(column: pd.Series, align: str) -> list[str]:
    column = column.infer_objects()
    # pandas turns integers into floats where some are missing.
    whole = _is_numeric(column) and column.hasnans and (column.dropna() % 1 == 0).all()
    cells = []
    for value in column:
        if pd.isna(value):
            cells.append(f"<td{align} data-none>{MISSING}</td>")
        elif isinstance(value, float):
            text = str(int(value)) if whole else _decimal(value)
            cells.append(f'<td{align} data-value="{json.dumps(value)}">{text}</td>')
        else:
            text = str(value)
            wrap = ' class="long"' if len(text) > LONG else ""
            cells.append(f"<td{align or wrap}>{_text(text)}</td>")
    return cells


def _decimal(value: float) -> str:
    """Three decimals, or three digits where that leaves too little, as of a learning rate."""
    return f"{value:.3g}" if 0 < abs(value) < 0.01 else f"{value:.3f}"


def _figures(figures: Mapping[str, bytes]) -> str:
    shown = []
    for caption, png in figures.items():
        text, data = _text(caption), base64.b64encode(png).decode()
        image = f'<img src="data:image/png;base64,{data}" alt="{text}">'
        shown.append(
            f'<figure><div class="scroll">{image}</div><figcaption>{text}</figcaption></figure>'
        )
    return _lines("<section>", "<h2>Figures</h2>", *shown, "</section>") if shown else ""


def _maps(maps: Mapping[str, pd.DataFrame]) -> str:
    """Controls and data of the maps, which report.js draws."""
    if not maps:
        return ""
    options = "".join(f'<option value="{i}">{_text(t)}</option>' for i, t in enumerate(maps))
    single = "" if len(maps) > 1 else " hidden"
    data = (
        f'<script type="application/json" id="{key}">{block}</script>'
        for key, block in _map_data(maps).items()
    )
    return f"""<section id="maps">
<h2>Maps</h2>
<form autocomplete="off">
<label{single}>Run <select name="run">{options}</select></label>
{f"<span>{_text(next(iter(maps)))}</span>" if single else ""}
<fieldset><legend>Colour</legend>
<label><input type="radio" name="by" value="type" checked> cell type</label>
<label><input type="radio" name="by" value="cluster"> cluster</label>
</fieldset>
</form>
<noscript>The maps need JavaScript.</noscript>
<div class="maps"><div id="flat" role="figure"></div><div id="deep" role="figure"></div></div>
<p id="lost" hidden>This browser has no WebGL, which the 3-D map needs.</p>
<ul id="legend"></ul>
<p class="note">Drag to zoom in, double-click to see all of the map, hold Shift to move it; drag
the 3-D map to turn it. By touch, choose what a drag does with the buttons above a map. Click on a
group to hide it, double-click to see it alone.</p>
{_lines(*data)}
</section>"""


def _map_data(maps: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """JSON by id: `look` of the types, `cells-N` that runs on the same data share, `run-N`."""
    from scvae_cli.results.figures import COLOURS, SHADES

    labels = {title: _texts(cells["cell_type"]) for title, cells in maps.items()}
    types = sorted(set().union(*labels.values()), key=lambda name: (name == UNLABELLED, name))
    code = {name: i for i, name in enumerate(types)}
    sizes = np.zeros(len(types), dtype=int)
    cells_blocks: dict[str, int] = {}  # runs on the same data share their cells
    run_blocks = []
    for title, cells in maps.items():
        codes = [code[name] for name in labels[title]]
        block = _json({"names": _texts(cells["cell"]), "types": codes})
        if block not in cells_blocks:
            cells_blocks[block] = len(cells_blocks)
            sizes += np.bincount(codes, minlength=len(types))
        clusters, names = pd.factorize(cells["cluster"], sort=True)
        run = {
            "cells": cells_blocks[block],
            "flat": _places(cells, "tsne_"),
            "deep": _places(cells, "tsne3d_"),
            "clusters": clusters.tolist(),
            "names": [str(name).removesuffix(".0") for name in names],
        }
        run_blocks.append(_json(run))
    none = types.index(UNLABELLED) if UNLABELLED in types and len(types) > 1 else -1
    if none >= 0:  # cells without a type come last
        sizes[none] = 0
    rank = np.argsort(np.argsort(-sizes, kind="stable"))
    look = {
        "colours": COLOURS,
        "shades": SHADES,
        "types": types,
        "ranks": rank.tolist(),  # the largest type is 0
        "none": none,  # which of them is no type
        "many": MANY,
    }
    return {
        "look": _json(look),
        **{f"cells-{i}": block for block, i in cells_blocks.items()},
        **{f"run-{i}": block for i, block in enumerate(run_blocks)},
    }


def _texts(column: pd.Series) -> list[str]:
    return [UNLABELLED if pd.isna(text) else visible(text) for text in column]


def _places(cells: pd.DataFrame, prefix: str) -> list[list[float | None]]:
    """Coordinates axis by axis, to a thousandth or better of the largest; none if no such map."""
    places = cells.filter(regex=f"^{prefix}").to_numpy(dtype=float)
    largest = np.abs(places[np.isfinite(places)]).max(initial=0) or 1
    digits = 3 - floor(log10(largest))
    return [[None if isnan(v) else round(v, digits) for v in axis] for axis in places.T.tolist()]


def _json(value: Any) -> str:
    """JSON that cannot end the script element it is in; ASCII, so no odd line ends either."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&"})


def _provenance(provenance: Mapping[str, str]) -> str:
    if not provenance:
        return ""
    items = (f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in provenance.items())
    return _lines(
        "<details>", "<summary>Provenance</summary>", "<dl>", *items, "</dl>", "</details>"
    )


def _lines(*parts: str) -> str:
    return "\n".join(filter(None, parts))
