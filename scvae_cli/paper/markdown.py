"""Write tables as Markdown."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of cells that are Markdown already: nothing in them is escaped.

    Args:
        header: names of the columns.
        rows: each with as many cells as the header.
    """
    width = len(header)
    assert all(len(row) == width for row in rows)
    lines = [header, ["---"] * width, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
