"""Legends that fit, and names or letters at the centres of groups that do not collide."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.textpath import text_to_path

from scvae_cli.results.figures.style import (
    LONGEST,
    SMALL,
    TEXT,
    Groups,
    Style,
    missing_glyphs_are_boxes,
)

HALO = [withStroke(linewidth=1.8, foreground="white")]
HANDLE = 0.15  # inches of a marker and the space behind it
GAP = 0.12  # inches between two columns
ROW = 1.42  # height of a row, in sizes of its letters
MOST_COLUMNS, MOST_ROWS = 6, 30
SHORTEST = 10  # characters of a name
NEAR, FAR = 0.22, 1.2  # inches that a name, and a letter, may be away from its place
NAME_LINE = 16  # characters of a name on the map, of which it may have two lines
FEW, LIFT = 30, 0.09  # cells that their name would hide, and inches that it stands above them
MANY = 10  # groups that colours alone tell apart


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
    *,
    centred: bool = False,
) -> None:
    """Draw a legend at this place of a figure.

    Args:
        figure: that it belongs to.
        styles: of its rows.
        left: of the place.
        top: of the place.
        width: of the place.
        title: above it.
        centred: whether it stands in the middle of the place, and not at its left.
    """
    n_columns, labels = legend_shape(styles, width)
    across, down = figure.get_size_inches()
    handles = [
        Line2D([], [], linestyle="", marker=style.marker, color=style.colour, label=label,
               markersize=4.5, markeredgewidth=0)
        for style, label in zip(styles, labels, strict=True)
    ]  # fmt: skip
    drawn = figure.legend(
        handles=handles, title=title or None, frameon=False, fontsize=SMALL, title_fontsize=TEXT,
        loc="upper center" if centred else "upper left", alignment="left", ncols=n_columns,
        bbox_to_anchor=((left + width / 2 * centred) / across, 1 - top / down),
        borderpad=0, borderaxespad=0, handlelength=0.9, handletextpad=0.5, labelspacing=0.25,
        columnspacing=GAP * 72 / SMALL,
    )  # fmt: skip
    drawn.set_in_layout(True)


def label_groups(axes: Axes, places: np.ndarray, groups: Groups) -> Groups:
    """Write at the centre of each group its name, where all fit, or else a letter.

    Args:
        axes: of the map.
        places: (n_cells, 2).
        groups: of the cells.

    Returns:
        The groups, with letters if there are some on the map.
    """
    if len(groups.styles) == 1:
        return groups
    at = centres(places, groups)
    lift = np.where(np.bincount(groups.codes, minlength=len(at)) < FEW, LIFT, 0.0)
    names = [_in_two_lines(style.name) for style in groups.styles]
    if all(names) and _write(axes, at, names, SMALL, NEAR, whole=True, lift=lift):
        return groups
    lettered = groups.lettered()
    write_marks(axes, at, lettered, lift=lift)
    return lettered


def write_marks(
    axes: Axes, at: np.ndarray, groups: Groups, size: float = TEXT, lift: Any = 0.0
) -> None:
    """Write the marks of groups at their places, or near: none is on another.

    Args:
        axes: with their final place and limits.
        at: (n_groups, 2) in data; NaN for none.
        groups: that have marks.
        size: of the letters.
        lift: inches, or (n_groups,), by which they stand higher.
    """
    marks = [style.mark for style in groups.styles]
    _write(axes, at, marks, size, FAR, whole=False, lift=lift)


def _in_two_lines(name: str) -> str:
    """Return a name in a line or two; empty where it is longer."""
    if len(name) <= NAME_LINE:
        return name
    breaks = [i for i, c in enumerate(name) if c == " "]
    middle = min(breaks, key=lambda i: abs(i - len(name) / 2), default=len(name))
    first, second = name[:middle], name[middle + 1 :]
    return f"{first}\n{second}" if max(len(first), len(second)) <= NAME_LINE else ""


def centres(places: np.ndarray, groups: Groups) -> np.ndarray:
    """Return the cell nearest to the median of each group: (n_groups, 2); NaN for none."""
    found = np.full((len(groups.styles), 2), np.nan)
    for i in np.unique(groups.codes):
        own = places[groups.codes == i]
        found[i] = own[((own - np.median(own, axis=0)) ** 2).sum(1).argmin()]
    return found


def _write(
    axes: Axes,
    goals: np.ndarray,
    texts: Sequence[str],
    size: float,
    reach: float,
    *,
    whole: bool,
    lift: Any,
) -> bool:
    """Write texts at their goals or as near as there is room, a line leading there if far.

    Args:
        axes: with their final place and limits.
        goals: (n_texts, 2) in data; NaN for none.
        texts: to write.
        size: of the letters.
        reach: inches that a text may be away from its goal.
        whole: whether to write none where one has no room.
        lift: inches, or (n_texts,), by which they stand above their goals.

    Returns:
        Whether all had room.
    """
    figure = axes.figure
    assert isinstance(figure, Figure)
    window = axes.get_window_extent()
    corner, extent = np.array([window.x0, window.y0]), np.array([window.width, window.height])
    at = (axes.transData.transform(goals) - corner) / figure.dpi
    at[:, 1] += lift
    taken: list[np.ndarray] = []
    found = []
    for i in np.flatnonzero(np.isfinite(goals).all(1)).tolist():
        lines = texts[i].split("\n")
        widest = max(width_of(line, size, "bold") for line in lines)
        half = np.array([widest + 0.03, 1.2 * len(lines) * size / 72]) / 2
        spot = _free_spot(at[i], half, extent / figure.dpi, taken, reach)
        if spot is None:
            if whole:
                return False
            continue
        taken.append(np.concatenate([spot - half, spot + half]))
        found.append((i, spot))
    for i, spot in found:
        far = np.hypot(*(spot - at[i])) > 1.3 * size / 72
        axes.annotate(
            texts[i], tuple(goals[i]), tuple(spot * figure.dpi / extent),
            textcoords="axes fraction", ha="center", va="center", fontsize=size, weight="bold",
            linespacing=1.0, path_effects=HALO, zorder=5, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
            if far and not whole else None,
        )  # fmt: skip
    return len(found) == int(np.isfinite(goals).all(1).sum())


def _free_spot(
    centre: np.ndarray, half: np.ndarray, extent: np.ndarray, taken: Sequence[np.ndarray],
    reach: float,
) -> np.ndarray | None:  # fmt: skip
    """Return the place nearest to a centre where a box is inside the axes and on no other box."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rings = [radius * circle for radius in np.arange(0.03, reach + 0.001, 0.03)]
    spots = centre + np.concatenate([np.zeros((1, 2)), *rings])
    free = ((spots - half >= 0) & (spots + half <= extent)).all(1)
    for box in taken:
        free &= ((spots + half <= box[:2]) | (spots - half >= box[2:])).any(1)
    return spots[free.argmax()] if free.any() else None
