"""Legends that fit, whatever the groups are called."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from scvae_cli.results.figures.style import (
    LONGEST,
    SMALL,
    TEXT,
    Style,
    missing_glyphs_are_boxes,
)

HANDLE = 0.15  # inches of a marker and the space behind it
GAP = 0.12  # inches between two columns
ROW = 1.42  # height of a row, in sizes of its letters
MOST_COLUMNS, MOST_ROWS = 6, 30
SHORTEST = 10  # characters of a name


def width_of(text: str, size: float, weight: str = "normal") -> float:
    """Return the width of a line of text in inches."""
    return sum(_width(character, weight) for character in text) * size


@cache
def _width(character: str, weight: str) -> float:
    """Return the width of a character in inches, where letters have a size of a point."""
    font = FontProperties(size=100, weight=weight)
    with missing_glyphs_are_boxes():
        width, _, _ = text_to_path.get_text_width_height_descent(character, font, ismath=False)
    return float(width) / 7200


def wrapped(text: str, size: float, inches: float, most: int = 3) -> str:
    """Return a text in lines no longer than this, broken at spaces where there are some."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and width_of(f"{lines[-1]} {word}", size) <= inches:
            lines[-1] += f" {word}"
            continue
        lines.append("")
        for character in word:
            if lines[-1] and width_of(lines[-1] + character, size) > inches:
                lines.append("")
            lines[-1] += character
    if len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1][:-1] + "\N{HORIZONTAL ELLIPSIS}"]
    return "\n".join(lines)


def legend_shape(styles: Sequence[Style], inches: float) -> tuple[int, list[str]]:
    """Return the columns of a legend, as many as fit, and its labels, shortened if they must be.

    Args:
        styles: of its rows.
        inches: its width.
    """
    most = min(MOST_COLUMNS, len(styles))
    labels = [style.label() for style in styles]
    n_columns = next((n for n in range(most, 0, -1) if _fit(labels, n, inches)), 0)
    if n_columns and -(-len(styles) // n_columns) <= MOST_ROWS:
        return n_columns, labels
    for n_columns in range(min(most, -(-len(styles) // MOST_ROWS)), 0, -1):
        room = (inches + GAP) / n_columns - GAP - HANDLE
        labels = [_shortened(style, room) for style in styles]
        if _fit(labels, n_columns, inches):
            break
    return n_columns, labels


def _fit(labels: Sequence[str], n_columns: int, inches: float) -> bool:
    """Return whether labels fit in so many columns, which matplotlib fills as here."""
    widths = [width_of(label, SMALL) + HANDLE for label in labels]
    columns = [max(column) for column in np.array_split(widths, n_columns)]
    return bool(sum(columns) + GAP * (n_columns - 1) <= inches)


def _shortened(style: Style, inches: float) -> str:
    """Return a label that is no wider than this, if its name may be that short."""
    for longest in range(LONGEST, SHORTEST - 1, -2):
        label = style.label(longest)
        if width_of(label, SMALL) <= inches:
            break
    return label


def legend_height(styles: Sequence[Style], inches: float, title: str = "") -> float:
    """Return the height of a legend in inches."""
    n_columns, _ = legend_shape(styles, inches)
    n_rows = -(-len(styles) // n_columns) + bool(title)
    return n_rows * ROW * SMALL / 72


def legend(
    figure: Figure,
    styles: Sequence[Style],
    left: float,
    top: float,
    width: float,
    title: str = "",
) -> None:
    """Draw a legend at this place of a figure.

    Args:
        figure: that it belongs to.
        styles: of its rows.
        left: of the place.
        top: of the place.
        width: of the place.
        title: above it.
    """
    n_columns, labels = legend_shape(styles, width)
    across, down = figure.get_size_inches()
    handles = [
        Line2D([], [], linestyle="", marker=style.marker, color=style.colour, label=label,
               markersize=4.5, markeredgewidth=0)
        for style, label in zip(styles, labels, strict=True)
    ]  # fmt: skip
    figure.legend(
        handles=handles, title=title or None, frameon=False, fontsize=SMALL, title_fontsize=TEXT,
        loc="upper left", alignment="left", ncols=n_columns,
        bbox_to_anchor=(left / across, 1 - top / down),
        borderpad=0, borderaxespad=0, handlelength=0.9, handletextpad=0.5, labelspacing=0.25,
        columnspacing=GAP * 72 / SMALL,
    )  # fmt: skip
