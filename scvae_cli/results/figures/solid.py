"""A 3-D map on paper: cells in a box, seen from afar, the nearer ones on top.

matplotlib's own 3-D axes leave a third of the paper empty, and no text keeps its place there.
"""

from itertools import product

import numpy as np
from matplotlib.axes import Axes

from scvae_cli.results.figures.labels import centres, write_marks
from scvae_cli.results.figures.style import SMALL, Groups, scatter

VIEWS = ((20, -60), (20, 30))  # elevation and azimuth in degrees, a right angle apart
CORNERS = np.array(list(product((0, 1), repeat=3)))  # of a box
EDGES = [
    (i, j) for i in range(8) for j in range(i + 1, 8)
    if np.abs(CORNERS[i] - CORNERS[j]).sum() == 1
]  # fmt: skip
MARGIN = 0.075  # of the width, for the names of the axes
SMALLEST = 6.0  # points of a letter


def draw_solid(
    axes: Axes, places: np.ndarray, groups: Groups, view: tuple[int, int], name: str
) -> None:
    """Draw a 3-D map.

    Args:
        axes: as wide to high as `size_of` says.
        places: (n_cells, 3).
        groups: of the cells; their marks, if any, stand at their centres.
        view: elevation and azimuth.
        name: of its axes, before their numbers.
    """
    low, high = places.min(0), places.max(0)
    corners = seen(low + CORNERS * (high - low), view)
    flat = seen(places, view)
    limits = _limits(places, view)
    axes.set(xlim=limits[0], ylim=limits[1])
    axes.set_axis_off()
    nearest = corners[:, 2].argmax()
    for i, j in EDGES:
        if nearest not in (i, j):  # the three that would be before the cells
            axes.plot(*corners[[i, j], :2].T, color="#c8c8c8", linewidth=0.6, zorder=0.5)
    _name_axes(axes, corners, int(nearest), name)
    scatter(axes, flat[:, :2], groups, order=np.argsort(flat[:, 2], kind="stable"))
    if any(style.mark for style in groups.styles):
        write_marks(axes, centres(flat[:, :2], groups), groups, SMALLEST)


def seen(places: np.ndarray, view: tuple[int, int]) -> np.ndarray:
    """Return places (n, 3) as they are seen: to the right, upwards, towards the eye."""
    up, around = np.radians(view)
    right = [-np.sin(around), np.cos(around), 0]
    eye = [np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)]
    turned: np.ndarray = places @ np.array([right, np.cross(eye, right), eye]).T
    return turned


def size_of(places: np.ndarray, view: tuple[int, int]) -> tuple[float, float]:
    """Return width and height that a map takes, in units of the places."""
    (left, right), (bottom, top) = _limits(places, view)
    return right - left, top - bottom


def _limits(places: np.ndarray, view: tuple[int, int]) -> tuple[tuple[float, float], ...]:
    """Return limits around the box, with room for the names of its axes left, right and below."""
    low, high = places.min(0), places.max(0)
    corners = seen(low + CORNERS * (high - low), view)[:, :2]
    (left, bottom), (right, top) = corners.min(0), corners.max(0)
    margin = MARGIN * max(right - left, 1e-9)
    return (left - margin, right + margin / 3), (bottom - margin / 2, top + margin / 4)


def _name_axes(axes: Axes, corners: np.ndarray, nearest: int, name: str) -> None:
    """Write the names of the axes outside the box, along its lowest or leftmost edges."""
    middle = corners[:, :2].mean(0)
    for axis in range(3):
        along = [
            corners[[i, j], :2] for i, j in EDGES
            if nearest not in (i, j) and CORNERS[i, axis] != CORNERS[j, axis]
        ]  # fmt: skip
        ends = min(along, key=lambda ends: ends[:, 1].sum() if axis < 2 else ends[:, 0].sum())
        ends = ends[np.argsort(ends[:, 0], kind="stable")]
        at = ends.mean(0)
        away = at - middle
        if axis < 2:
            direction = ends[1] - ends[0]
            away = np.array(
                [direction[1], -direction[0]]
            )  # downwards, at right angles to the edge
            angle = float(np.degrees(np.arctan2(direction[1], direction[0])))
        else:
            away, angle = np.array([-1.0, 0.0]), 90.0
        away = away / max(np.hypot(*away), 1e-9) * 0.6 * MARGIN * np.ptp(axes.get_xlim())
        axes.text(
            at[0] + away[0], at[1] + away[1], f"{name} {axis + 1}", rotation=angle,
            ha="center", va="center", fontsize=SMALL, color="#555555",
        )  # fmt: skip
