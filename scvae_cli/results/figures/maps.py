"""Figures of one run's maps: cells by type, cluster and batch, in 2-D and 3-D."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scvae_cli.results.figures.labels import MANY, label_groups, write_marks
from scvae_cli.results.figures.legends import legend, legend_height, wrapped
from scvae_cli.results.figures.solid import VIEWS, draw_solid, size_of
from scvae_cli.results.figures.style import (
    COLUMN,
    PAGE,
    TITLE,
    Groups,
    axes_at,
    by_cluster,
    by_type,
    scatter,
    text_at,
)
from scvae_cli.visible import UNLABELLED, visible

EDGE = 0.06  # inches left and right
BETWEEN = 0.18  # inches between two panels
AXIS = 0.16  # inches below a map, for its axis
SPACE = 0.1  # inches between a map and its legend
LINE = 1.3 * TITLE / 72  # inches of a line of a title


class Panel(NamedTuple):
    """A map by groups of cells.

    Attributes:
        groups: of the cells.
        title: of the map.
        centres: (n_groups, 2) where their marks are; None to write names or letters.
    """

    groups: Groups
    title: str
    centres: np.ndarray | None = None


def map_2d(
    places: np.ndarray,
    labels: np.ndarray,
    cell_types: Sequence[str],
    clusters: np.ndarray,
    centroids: np.ndarray,
    title: str,
    axis: str,
    result: str,
) -> Figure:
    """Draw the map by cell type beside the map by cluster; only that where no type is known.

    Args:
        places: (n_cells, 2).
        labels: (n_cells,) types.
        cell_types: their names.
        clusters: (n_cells,) clusters.
        centroids: (n_clusters, 2).
        title: what was run.
        axis: what the axes are of: `t-SNE`.
        result: how well the clusters match the types.
    """
    found = f"k-means on the map: {result}"
    groups = by_cluster(labels, cell_types, clusters)
    if list(cell_types) == [UNLABELLED]:
        return _flat(places, [Panel(groups, f"{visible(title)}; {found}", centroids)], axis)
    types = Panel(by_type(labels, cell_types), visible(title))
    return _flat(places, [types, Panel(groups, found, centroids)], axis)


def map_batch(
    places: np.ndarray,
    labels: np.ndarray,
    cell_types: Sequence[str],
    batches: np.ndarray,
    names: Sequence[str],
    title: str,
    axis: str,
    result: str,
) -> Figure:
    """Draw the map by cell type beside the map by batch.

    Args:
        places: (n_cells, 2).
        labels: (n_cells,) types.
        cell_types: their names.
        batches: (n_cells,) batches.
        names: of the batches.
        title: what was run.
        axis: what the axes are of.
        result: how well the batches mix.
    """
    nowhere = np.full((len(names), 2), np.nan)  # batches lie on each other: their names too would
    types = Panel(by_type(labels, cell_types), visible(title))
    batch = Panel(by_type(batches, names, "batch (cells)"), result, nowhere)
    return _flat(places, [types, batch], axis)


def _flat(places: np.ndarray, panels: Sequence[Panel], axis: str) -> Figure:
    """Draw 2-D maps of the same cells side by side, each with its legend below it."""
    page = PAGE if len(panels) > 1 else COLUMN
    width = (page - 2 * EDGE - BETWEEN * (len(panels) - 1)) / len(panels)
    extent = np.ptp(places, axis=0)
    height = width * float(np.clip(extent[1] / max(extent[0], 1e-9), 0.6, 1.1))
    titles = [wrapped(panel.title, TITLE, width) for panel in panels]
    top = LINE * max(title.count("\n") + 1 for title in titles) + 0.04
    below = top + height + AXIS + SPACE
    keys = max(legend_height(panel.groups.keys, width, "cells") for panel in panels)
    figure = Figure(figsize=(page, below + keys))
    for i, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        left = EDGE + i * (width + BETWEEN)
        text_at(figure, left, 0, title, fontsize=TITLE)
        axes = axes_at(figure, left, top, width, height)
        set_limits(axes, places, height / width)
        scatter(axes, places, panel.groups)
        groups = panel.groups
        if panel.centres is None:
            groups = label_groups(axes, places, groups)
        else:
            write_marks(axes, panel.centres, groups)
        bare(axes)
        name = f"{axis} 1 \N{RIGHTWARDS ARROW}, {axis} 2 \N{UPWARDS ARROW}"
        text_at(figure, left, top + height + 0.03, name, color="#555555")
        legend(figure, groups.keys, left, below, width, groups.title)
    return figure


def set_limits(axes: Axes, places: np.ndarray, shape: float) -> None:
    """Set limits around all places, both axes of one scale.

    Args:
        axes: of the map.
        places: (n_cells, 2).
        shape: height of the axes by their width.
    """
    low, high = places.min(0), places.max(0)
    width = 1.08 * max(high[0] - low[0], (high[1] - low[1]) / shape, 1e-9)
    middle, half = (low + high) / 2, np.array([width, width * shape]) / 2
    (left, bottom), (right, top) = middle - half, middle + half
    axes.set(xlim=(left, right), ylim=(bottom, top))


def bare(axes: Axes) -> None:
    """Draw a thin frame without numbers, which mean nothing on a map."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(linewidth=0.6, color="#888888")


def map_3d(
    places: np.ndarray,
    labels: np.ndarray,
    cell_types: Sequence[str],
    clusters: np.ndarray,
    title: str,
    axis: str,
) -> Figure:
    """Draw the 3-D map from two sides, by cell type; by cluster where no type is known.

    Args:
        places: (n_cells, 3).
        labels: (n_cells,) types.
        cell_types: their names.
        clusters: (n_cells,) clusters on the 2-D map.
        title: what was run.
        axis: what the axes are of.
    """
    if list(cell_types) == [UNLABELLED]:
        groups = by_cluster(labels, cell_types, clusters)
        groups = groups._replace(title="cluster on the 2-D map (cells)")
    else:
        groups = by_type(labels, cell_types)
        groups = groups.lettered() if len(cell_types) > MANY else groups
    sizes = [size_of(places, view) for view in VIEWS]
    scale = (PAGE - 2 * EDGE - BETWEEN) / sum(width for width, _ in sizes)
    sizes = [(scale * width, scale * height) for width, height in sizes]
    height = max(height for _, height in sizes)
    name = wrapped(visible(title), TITLE, PAGE - 2 * EDGE, 2)
    top = LINE * (name.count("\n") + 1) + 0.02
    keys = legend_height(groups.keys, PAGE - 2 * EDGE, "cells")
    figure = Figure(figsize=(PAGE, top + height + SPACE + keys))
    text_at(figure, EDGE, 0, name, fontsize=TITLE)
    for left, size, view in zip((EDGE, EDGE + BETWEEN + sizes[0][0]), sizes, VIEWS, strict=True):
        place = left, top + (height - size[1]) / 2
        draw_solid(axes_at(figure, *place, *size), places, groups, view, axis)
    legend(figure, groups.keys, EDGE, top + height + SPACE, PAGE - 2 * EDGE, groups.title)
    return figure
