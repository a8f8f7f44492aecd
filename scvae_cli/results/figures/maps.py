"""Figures of maps: cells by type and by cluster, in 2-D and 3-D, of one run and of several."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from scvae_cli.results.figures.style import (
    Style,
    cluster_styles,
    legend,
    legend_shape,
    png,
    scatter,
    short,
    type_styles,
    types_by_size,
)
from scvae_cli.visible import UNLABELLED, visible

VIEWS = [(20, -60), (20, 30)]  # elevation and azimuth, a right angle apart
HALO = [withStroke(linewidth=3, foreground="white")]


def map_2d(
    places: np.ndarray,
    labels: np.ndarray,
    cell_types: Sequence[str],
    clusters: np.ndarray,
    centroids: np.ndarray,
    title: str,
    result: str,
) -> bytes:
    """Draw the map by cell type beside the map by cluster.

    Args:
        places: (n_cells, 2).
        labels: (n_cells,) types.
        cell_types: their names.
        clusters: (n_cells,) clusters.
        centroids: (n_clusters, 2).
        title: what was run.
        result: how well the clusters match the types.
    """
    groups = cluster_styles(labels, cell_types, clusters)
    by_cluster = Panel(
        clusters, groups, groups, "cluster, its main type (share of its cells)",
        f"k-means on the map: {result}",
    )  # fmt: skip
    figure, right = _beside_types(places, labels, cell_types, visible(title), by_cluster)
    right.scatter(*centroids.T, marker="+", s=60, color="black", path_effects=HALO, zorder=3)
    for i, at in enumerate(centroids):
        _number(right, i, at, xytext=(6, 5), textcoords="offset points", fontsize=11)
    return png(figure)


def map_batch(
    places: np.ndarray,
    labels: np.ndarray,
    cell_types: Sequence[str],
    batches: np.ndarray,
    names: Sequence[str],
    title: str,
    result: str,
) -> bytes:
    """Draw the map by cell type beside the map by batch.

    Args:
        places: (n_cells, 2).
        labels: (n_cells,) types.
        cell_types: their names.
        batches: (n_cells,) batches.
        names: of the batches.
        title: what was run.
        result: how well the batches mix.
    """
    styles, keys = type_styles(batches, names), types_by_size(batches, names)
    by_batch = Panel(batches, styles, keys, "batch (cells)", result)
    figure, _ = _beside_types(places, labels, cell_types, visible(title), by_batch)
    return png(figure)


class Panel(NamedTuple):
    """A map by groups of cells.

    Attributes:
        groups: (n_cells,) group of each cell.
        styles: of the groups.
        keys: the same in the order of the legend.
        legend: title of the legend.
        title: of the map.
    """

    groups: np.ndarray
    styles: Sequence[Style]
    keys: Sequence[Style]
    legend: str
    title: str


def _beside_types(
    places: np.ndarray, labels: np.ndarray, cell_types: Sequence[str], title: str, other: Panel
) -> tuple[Figure, Any]:
    """Draw the map by cell type, and beside it by other groups; return the axes of these too."""
    width, height = np.ptp(places, axis=0)
    shape = float(np.clip(height / width, 0.6, 1.1))
    types, keys = type_styles(labels, cell_types), types_by_size(labels, cell_types)
    by_type = Panel(labels, types, keys, "cell type (cells)", title)
    n_rows = max(legend_shape(panel.keys, 2, 5.5)[1] for panel in (by_type, other))
    figure = Figure(figsize=(11, 5.3 * shape + 0.2 * n_rows + 0.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, panel in ((left, by_type), (right, other)):
        scatter(axes, places, panel.groups, panel.styles)
        legend(axes, panel.keys, panel.legend)
        axes.set_title(panel.title, fontsize=11)
        _bare(axes, shape)
        axes.set(xlabel="t-SNE 1", ylabel="t-SNE 2")
    return figure, right


def map_3d(places: np.ndarray, labels: np.ndarray, cell_types: Sequence[str], title: str) -> bytes:
    """Draw the 3-D map by cell type, from two sides.

    Args:
        places: (n_cells, 3).
        labels: (n_cells,) types.
        cell_types: their names.
        title: what was run.
    """
    types = type_styles(labels, cell_types)
    n_columns, n_rows = legend_shape(types, 4, 11)
    height = 5.4 + 0.2 * n_rows
    figure = Figure(figsize=(11, height))
    # By hand: constrained layout leaves broad margins around 3-D axes.
    bottom = (0.2 * n_rows + 0.3) / height - 0.07
    figure.subplots_adjust(left=0.01, right=0.96, bottom=bottom, top=1.04, wspace=0.04)
    figure.text(0.5, 0.97, visible(title), fontsize=11, ha="center")
    panels = figure.subplots(1, 2, subplot_kw={"projection": "3d"})
    for axes, view in zip(panels, VIEWS, strict=True):
        scatter(axes, places, labels, types)
        _bare_3d(axes, view)
    keys = types_by_size(labels, cell_types)
    legend(figure, keys, "cell type (cells)", ncols=n_columns)
    return png(figure)


def map_grid(
    maps: Mapping[str, tuple[np.ndarray, np.ndarray]],
    labels: np.ndarray,
    cell_types: Sequence[str],
) -> bytes:
    """Draw 2-D maps side by side, by cell type above and by cluster below.

    Args:
        maps: title to places (n_cells, 2) and clusters (n_cells,).
        labels: (n_cells,) types.
        cell_types: their names.
    """
    types = type_styles(labels, cell_types)
    n_columns, n_rows = legend_shape(types, 5, 3.7 * len(maps))
    figure = Figure(figsize=(3.7 * len(maps), 7.2 + 0.22 * n_rows), layout="constrained")
    axes = figure.subplots(2, len(maps), squeeze=False)
    for (above, below), (title, (places, clusters)) in zip(axes.T, maps.items(), strict=True):
        scatter(above, places, labels, types)
        scatter(below, places, clusters, cluster_styles(labels, cell_types, clusters))
        above.set_title(visible(title), fontsize=11)
        for i in range(clusters.max() + 1):
            middle = places[clusters == i].mean(0)
            _number(below, i, middle, ha="center", va="center", fontsize=10)
        for panel in (above, below):
            _bare(panel, 1)
    axes[0, 0].set_ylabel("by cell type")
    axes[1, 0].set_ylabel("by k-means cluster")
    legend(figure, types_by_size(labels, cell_types), "", ncols=n_columns, outside=True)
    return png(figure, dpi=110)


def map_grid_3d(
    maps: Mapping[str, np.ndarray], labels: np.ndarray, cell_types: Sequence[str]
) -> bytes:
    """Draw 3-D maps side by side, by cell type.

    Args:
        maps: title to places (n_cells, 3).
        labels: (n_cells,) types.
        cell_types: their names.
    """
    types = type_styles(labels, cell_types)
    n_columns, n_rows = legend_shape(types, 5, 3.9 * len(maps))
    height = 3.7 + 0.22 * n_rows
    figure = Figure(figsize=(3.9 * len(maps), height))
    bottom = (0.22 * n_rows - 0.25) / height
    figure.subplots_adjust(left=0.01, right=0.96, bottom=bottom, top=1.0, wspace=0.06)
    panels = figure.subplots(1, len(maps), subplot_kw={"projection": "3d"}, squeeze=False)[0]
    for axes, (title, places) in zip(panels, maps.items(), strict=True):
        scatter(axes, places, labels, types)
        _bare_3d(axes, VIEWS[0])
        axes.set_title(visible(title), fontsize=11, y=0.93)
    legend(figure, types_by_size(labels, cell_types), "", ncols=n_columns)
    return png(figure, dpi=110)


def map_table(maps: Mapping[str, pd.DataFrame]) -> bytes:
    """Draw 2-D maps by cell type, four in a row.

    Args:
        maps: title to cells.csv of a run.
    """
    of_cells = [cells["cell_type"].fillna(UNLABELLED).astype(str) for cells in maps.values()]
    types = sorted(set().union(*of_cells), key=lambda name: (name == UNLABELLED, name))
    n_columns = min(len(maps), 4)
    n_rows = -(-len(maps) // n_columns)
    labels = pd.Categorical(pd.concat(of_cells), types).codes
    styles = [
        style._replace(name=short(name))
        for style, name in zip(type_styles(labels, types), types, strict=True)
    ]
    n_beside, n_keys = legend_shape(styles, n_columns, 3.0 * n_columns)
    size = (3.0 * n_columns, 3.2 * n_rows + 0.2 * n_keys + 0.2)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes, names, (title, cells) in zip(panels, of_cells, maps.items(), strict=False):
        mapped = cells.dropna(subset=["tsne_1"])
        groups = pd.Categorical(names[mapped.index], types).codes
        scatter(axes, mapped[["tsne_1", "tsne_2"]].to_numpy(), groups, styles)
        axes.set_title("\n".join(wrap(visible(title), 34)), fontsize=10)
        _bare(axes, 1)
    for axes in panels[len(maps) :]:
        axes.set_axis_off()
    legend(figure, styles, "", ncols=n_beside, outside=True)
    return png(figure, dpi=110)


def _number(axes: Axes, cluster: int, at: np.ndarray, **options: Any) -> None:
    """Write the number of a cluster on its map."""
    axes.annotate(str(cluster), tuple(at), weight="bold", path_effects=HALO, zorder=4, **options)


def _bare(axes: Axes, shape: float) -> None:
    """Leave out the numbers, which mean nothing on a t-SNE map; both axes have one scale.

    Args:
        axes: of the map.
        shape: height of the panel by its width.
    """
    axes.set(xticks=[], yticks=[], box_aspect=shape)
    axes.set_aspect("equal", adjustable="datalim")


def _bare_3d(axes: Any, view: tuple[int, int]) -> None:
    """Draw pale walls without numbers, which mean nothing on a t-SNE map, seen from `view`."""
    axes.view_init(*view)
    axes.set_box_aspect(None, zoom=0.95)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_ticklabels([])
        axis.set_pane_color((0.97, 0.97, 0.97))
        axis.labelpad = -8
    axes.set(xlabel="t-SNE 1", ylabel="t-SNE 2", zlabel="t-SNE 3")
