"""A report on runs as one page of HTML that opens from disk and loads nothing.

Whatever comes from data is escaped, and the page runs no scripts but those whose hashes its
Content-Security-Policy names. Its template is report.html.jinja, report.css is the style.
report_draw.js draws the points of a map, report_picture.js saves pictures of it, report_map.js
is what a reader can do with it; report.js sorts, filters and unfolds the tables.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from scvae_cli.results.curves import Panel
from scvae_cli.results.html_tables import Shown, table_of
from scvae_cli.results.map_data import map_data
from scvae_cli.visible import visible

OF_MAPS = (
    "report_steer.js", "report_draw.js", "report_picture.js", "report_map.js", "report_legend.js",
)  # fmt: skip
MOST_WARNINGS = 3  # that are not folded


def html(
    *,
    title: str,
    lead: Sequence[str],
    tables: Mapping[str, pd.DataFrame | Shown],
    figures: Mapping[str, bytes],
    maps: Mapping[str, pd.DataFrame],
    provenance: Mapping[str, str],
    genes: Mapping[str, pd.DataFrame | None] | None = None,
    command: str = "",
    warnings: Sequence[str] = (),
    links: Mapping[str, str] | None = None,
    curves: Sequence[Panel] = (),
    sweep: str = "",
) -> str:
    """Return the page: title, warnings, map, beside it the lead, then tables and figures.

    Args:
        title: of the page.
        lead: paragraphs of plain text.
        tables: caption to table, the most telling first; the index is not shown.
        figures: caption to PNG.
        maps: title of a run to its cells.csv, the run to show first being the first.
        provenance: what the page was made from.
        genes: title of a run to its expression.csv, or None where it has none.
        command: the command line that made it; empty where there is not one.
        warnings: what to know before anything else.
        links: addresses of the pages of the runs that have a map, by their titles.
        curves: from `curves.loss_curves`.
        sweep: the address of the page of the sweep that the run is part of; empty without one.
    """
    scripts = [_asset(name) for name in (*(OF_MAPS if maps else ()), "report.js")]
    texts = {"title": title, "lead": lead, "command": command, "warnings": warnings}
    return _template().render(
        **texts,
        policy=_policy(scripts),
        sweep=sweep,
        tables=[table_of(caption, table) for caption, table in tables.items()],
        figures={text: base64.b64encode(png).decode() for text, png in figures.items()},
        maps=list(maps),
        map_data=map_data(maps, links or {}, genes or {}) if maps else {},
        curves=curves,
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
    environment.globals |= {"style": _asset("report.css"), "most_warnings": MOST_WARNINGS}
    return environment.get_template("report.html.jinja")


def _asset(name: str) -> str:
    return (files("scvae_cli.results") / name).read_text(encoding="utf-8")


def _policy(scripts: Iterable[str]) -> str:
    """Return the policy by which only these scripts run; blob: is for saving a map as PNG.

    Args:
        scripts: as they stand in the page.
    """
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    allowed = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    return (
        f"default-src 'none'; script-src {' '.join(allowed)}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
