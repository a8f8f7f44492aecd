"""Names, letters or numbers on a map, at the centres of groups of cells: none is on another."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from scvae_cli.results.figures.legends import width_of
from scvae_cli.results.figures.style import SMALL, TEXT, Groups
from scvae_cli.visible import UNLABELLED

HALO = [withStroke(linewidth=1.8, foreground="white")]
NEAR, FAR = 0.22, 1.2  # inches that a name, and a letter, may be away from its place
STEP = 0.03  # inches between places that are tried
NAME_LINE = 16  # characters of a name, of which it may have two lines
FEW, LIFT = 30, 0.09  # cells that their name would hide, and inches that it stands above them
MANY = 10  # groups that colours alone tell apart


def label_groups(axes: Axes, places: np.ndarray, groups: Groups) -> Groups:
    """Write at the centre of each group its name, where all fit, or else a letter.

    Args:
        axes: of the map, with their final place and limits.
        places: (n_cells, 2).
        groups: of the cells.

    Returns:
        The groups, with letters if there are some on the map.
    """
    if len(groups.styles) == 1:
        return groups
    at = centres(places, groups)
    at[[style.name == UNLABELLED for style in groups.styles]] = np.nan
    lift = np.where(np.bincount(groups.codes, minlength=len(at)) < FEW, LIFT, 0.0)
    names = [_in_two_lines(style.name) for style in groups.styles]
    spots = _free_spots(axes, at, names, SMALL, NEAR, lift)
    if all(names) and len(spots) == np.isfinite(at).all(1).sum():
        _draw(axes, spots, at, names, SMALL)
        return groups
    lettered = groups.lettered()
    write_marks(axes, at, lettered, lift=lift)
    return lettered


def write_marks(
    axes: Axes, at: np.ndarray, groups: Groups, size: float = TEXT, lift: Any = 0.0
) -> None:
    """Write the marks of groups at their places, or near with a line that leads there.

    A mark for which there is no room is left out.

    Args:
        axes: with their final place and limits.
        at: (n_groups, 2) in data; NaN for none.
        groups: that have marks.
        size: of the letters.
        lift: inches, or (n_groups,), by which they stand higher.
    """
    marks = [style.mark for style in groups.styles]
    spots = _free_spots(axes, at, marks, size, FAR, lift)
    _draw(axes, spots, at, marks, size, far=1.3 * size / 72 + np.max(lift))


def centres(places: np.ndarray, groups: Groups) -> np.ndarray:
    """Return the cell nearest to the median of each group: (n_groups, 2); NaN for none."""
    found = np.full((len(groups.styles), 2), np.nan)
    for i in np.unique(groups.codes):
        own = places[groups.codes == i]
        found[i] = own[((own - np.median(own, axis=0)) ** 2).sum(1).argmin()]
    return found


def _in_two_lines(name: str) -> str:
    """Return a name in a line or two; empty where it is longer."""
    if len(name) <= NAME_LINE:
        return name
    breaks = [i for i, c in enumerate(name) if c == " "]
    middle = min(breaks, key=lambda i: abs(i - len(name) / 2), default=len(name))
    first, second = name[:middle], name[middle + 1 :]
    return f"{first}\n{second}" if max(len(first), len(second)) <= NAME_LINE else ""


def _free_spots(
    axes: Axes, goals: np.ndarray, texts: Sequence[str], size: float, reach: float, lift: Any
) -> dict[int, np.ndarray]:
    """Return a place for each text, as near to its goal as there is room; none for some.

    Args:
        axes: with their final place and limits.
        goals: (n_texts, 2) in data; NaN for none.
        texts: to place.
        size: of the letters.
        reach: inches that a text may be away from its goal.
        lift: inches, or (n_texts,), by which it should stand above the goal.

    Returns:
        Position of a text to its middle, in inches from the lower left corner of the axes.
    """
    at = _inches(axes, goals)
    at[:, 1] += lift
    taken: list[np.ndarray] = []
    found = {}
    for i in np.flatnonzero(np.isfinite(goals).all(1)).tolist():
        lines = texts[i].split("\n")
        widest = max(width_of(line, size, "bold") for line in lines)
        half = np.array([widest + 0.03, 1.2 * len(lines) * size / 72]) / 2
        spot = _free_spot(at[i], half, _extent(axes), taken, reach)
        if spot is not None:
            taken.append(np.concatenate([spot - half, spot + half]))
            found[i] = spot
    return found


def _free_spot(
    centre: np.ndarray, half: np.ndarray, extent: np.ndarray, taken: Sequence[np.ndarray],
    reach: float,
) -> np.ndarray | None:  # fmt: skip
    """Return the place nearest to a centre where a box is inside the axes and on no other box."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rings = [radius * circle for radius in np.arange(STEP, reach + STEP / 2, STEP)]
    spots = centre + np.concatenate([np.zeros((1, 2)), *rings])
    free = ((spots - half >= 0) & (spots + half <= extent)).all(1)
    for box in taken:
        free &= ((spots + half <= box[:2]) | (spots - half >= box[2:])).any(1)
    return spots[free.argmax()] if free.any() else None


def _draw(
    axes: Axes,
    spots: Mapping[int, np.ndarray],
    goals: np.ndarray,
    texts: Sequence[str],
    size: float,
    far: float = np.inf,
) -> None:
    """Write texts at their spots, with a line to the goal from those that are farther from it."""
    at = _inches(axes, goals)
    leading = {"arrowstyle": "-", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
    for i, spot in spots.items():
        axes.annotate(
            texts[i], tuple(goals[i]), tuple(spot / _extent(axes)), textcoords="axes fraction",
            ha="center", va="center", fontsize=size, weight="bold", linespacing=1.0,
            path_effects=HALO, zorder=5, annotation_clip=False,
            arrowprops=leading if np.hypot(*(spot - at[i])) > far else None,
        )  # fmt: skip


def _extent(axes: Axes) -> np.ndarray:
    """Return width and height of axes in inches."""
    window = axes.get_window_extent()
    return np.array([window.width, window.height]) / _dpi(axes)


def _inches(axes: Axes, places: np.ndarray) -> np.ndarray:
    """Return places (n, 2) in inches from the lower left corner of the axes."""
    window = axes.get_window_extent()
    at: np.ndarray = axes.transData.transform(places) - [window.x0, window.y0]
    return at / _dpi(axes)


def _dpi(axes: Axes) -> float:
    assert isinstance(axes.figure, Figure)
    return axes.figure.dpi
