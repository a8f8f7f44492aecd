"""How wide the columns of a table are, so that a terminal shows all of its numbers."""

import re
from collections.abc import Callable, Sequence

# 0.624 ±0.002, 3 (-1), 1e-05, 84 %, and a dash where there is none
NUMBER = re.compile(r"[-+±\d.,:%()e\s]*")
FOLDED = 12  # characters of a text in a narrow column, which takes several lines
SPACES = (4, 2, 1)  # between columns, the widest that fits


def fitted(
    columns: Sequence[Sequence[str]], room: int | None, length: Callable[[str], int] = len
) -> tuple[list[int], int] | None:
    """Return the width of each column, and the spaces between two; None where they do not fit.

    Numbers and the words of heads are never cut: where there is little room, heads and texts take
    several lines.

    Args:
        columns: the head and the cells of each.
        room: characters of a line; None for as many as it takes.
        length: how many a text takes.
    """
    widths = [max(map(length, column)) for column in columns]
    for spaces in SPACES if len(columns) < 6 else SPACES[1:]:
        if room is None or sum(widths) + spaces * len(columns) <= room:
            return widths, spaces
    least = [
        min(width, _least(length, *column)) for width, column in zip(widths, columns, strict=True)
    ]
    assert room is not None  # else the widest spaces fit
    while sum(widths) + len(columns) > room:
        spare = [width - low for width, low in zip(widths, least, strict=True)]
        if not any(spare):
            return None
        widths[spare.index(max(spare))] -= 1
    return widths, 1


def _least(length: Callable[[str], int], head: str, *cells: str) -> int:
    """Return the fewest characters of a column that can be read."""
    numbers = all(NUMBER.fullmatch(cell) for cell in cells)
    longest = max(map(length, cells), default=0)
    words = max(map(length, head.split()), default=0)
    return max(words, longest if numbers else min(longest, FOLDED))
