"""Markdown: tables, and texts that come from data."""

import re
from collections.abc import Sequence

from scvae_cli.visible import visible

MARKUP = re.compile(r"[\\`*<>|\[\]&$~]|\b_|_\b")  # what Markdown takes for more than text


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table.

    Args:
        header: names of the columns, in Markdown; `escaped` makes it of a text.
        rows: the cells of each row, in Markdown, as many as there are columns.
    """
    assert all(len(row) == len(header) for row in rows)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def escaped(text: object) -> str:
    """Return Markdown that shows a text as it is."""
    return MARKUP.sub(r"\\\g<0>", visible(text))
