"""The figures of a run; the only module that uses matplotlib. Each function returns a PNG.

A type has one colour in every figure, a cluster that of its most frequent type. The colours are
those of Petroff, Accessible Color Sequences for Data Visualization (2021), told apart with any
colour vision; markers and shades change where types or clusters share a colour.
"""

from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

COLOURS = [
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
    "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
]  # fmt: skip
MARKERS = "o^sDvP*X"
SHADES = [1.0, 0.65, 0.4, 0.85]
VIEWS = [(20, -60), (20, 30)]  # elevation and azimuth, a right angle apart


def loss_terms(history: pd.DataFrame, beta: float | None) -> bytes:
    """Each term of the loss over epochs, a panel a term as their sizes differ.

    Args:
        history: epoch, total, reconstruction, kl; a row per epoch.
        beta: weight of the KL term, or None where there is none.
    """
    terms = {"reconstruction": "reconstruction"}
    if beta is not None:
        terms = {"total": f"reconstruction + {beta:g} KL", **terms, "kl": "KL"}
    figure = Figure(figsize=(3.4 * len(terms), 2.9), layout="constrained")
    for axes, (term, title) in zip(figure.subplots(1, len(terms), squeeze=False)[0], terms.items(),
                                   strict=True):  # fmt: skip
        axes.plot(history["epoch"], history[term], color="#333333", linewidth=1.2)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e5e5e5", linewidth=0.6)
    figure.supylabel("mean over cells", fontsize=10)
    return _png(figure)


def map_2d(
    places: np.ndarray,
    labels: np.ndarray,
    cell_types: Sequence[str],
    clusters: np.ndarray,
    centroids: np.ndarray,
    title: str,
    result: str,
) -> bytes:
    """The map by cell type beside the map by cluster.

    Args:
        places: (n_cells, 2).
        labels: (n_cells,) types.
        cell_types: their names.
        clusters: (n_cells,) clusters.
        centroids: (n_clusters, 2).
        title: what was run.
        result: how well the clusters match the types.
    """
    width, height = np.ptp(places, axis=0)
    shape = float(np.clip(height / width, 0.6, 1.1))
    n_rows = -(-max(len(cell_types), len(centroids)) // 2)
    figure = Figure(figsize=(11, 5.3 * shape + 0.2 * n_rows + 0.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    types, groups = _types(labels, cell_types), _clusters(labels, cell_types, clusters)
    _scatter(left, places, labels, types)
    _legend(left, [types[i] for i in _by_size(labels)], "cell type (cells)")
    left.set_title(title, fontsize=11)
    _scatter(right, places, clusters, groups)
    _legend(right, groups, "cluster, its main type (share of its cells)")
    right.set_title(f"k-means on the map: {result}", fontsize=11)
    halo = [withStroke(linewidth=3, foreground="white")]
    right.scatter(*centroids.T, marker="+", s=60, color="black", path_effects=halo, zorder=3)
    for i, (x, y) in enumerate(centroids):
        right.annotate(
            str(i), (x, y), xytext=(6, 5), textcoords="offset points", weight="bold",
            fontsize=11, path_effects=halo, zorder=4,
        )  # fmt: skip
    for axes in (left, right):
        axes.set(xticks=[], yticks=[], box_aspect=shape, xlabel="t-SNE 1", ylabel="t-SNE 2")
        axes.set_aspect("equal", adjustable="datalim")
    return _png(figure)


def map_3d(places: np.ndarray, labels: np.ndarray, cell_types: Sequence[str], title: str) -> bytes:
    """The 3-D map by cell type, from two sides.

    Args:
        places: (n_cells, 3).
        labels: (n_cells,) types.
        cell_types: their names.
        title: what was run.
    """
    n_rows = -(-len(cell_types) // 4)
    height = 5.4 + 0.2 * n_rows
    figure = Figure(figsize=(11, height))
    # By hand: constrained layout leaves broad margins around 3-D axes.
    bottom = (0.2 * n_rows + 0.3) / height - 0.07
    figure.subplots_adjust(left=0.01, right=0.96, bottom=bottom, top=1.04, wspace=0.04)
    figure.text(0.5, 0.97, title, fontsize=11, ha="center")
    types = _types(labels, cell_types)
    for axes, view in zip(
        figure.subplots(1, 2, subplot_kw={"projection": "3d"}), VIEWS, strict=True
    ):
        _scatter(axes, places, labels, types)
        axes.view_init(*view)
        axes.set_box_aspect(None, zoom=0.95)
        for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
            axis.set_ticklabels([])
            axis.set_pane_color((0.97, 0.97, 0.97))
            axis.labelpad = -8
        axes.set(xlabel="t-SNE 1", ylabel="t-SNE 2", zlabel="t-SNE 3")
    _legend(figure, [types[i] for i in _by_size(labels)], "cell type (cells)")
    return _png(figure)


class Style(NamedTuple):
    """How a group of cells looks, and what the legend says of it."""

    colour: str
    marker: str
    name: str


def _by_size(groups: np.ndarray) -> np.ndarray:
    return np.argsort(-np.bincount(groups), kind="stable")


def _types(labels: np.ndarray, cell_types: Sequence[str]) -> list[Style]:
    """A look for each type, the colours furthest apart for the largest; then the next marker."""
    sizes = np.bincount(labels)
    rank = np.argsort(_by_size(labels))
    n = len(COLOURS)
    return [
        Style(COLOURS[r % n], MARKERS[r // n % len(MARKERS)], f"{name} ({size})")
        for name, size, r in zip(cell_types, sizes, rank, strict=True)
    ]


def _clusters(labels: np.ndarray, cell_types: Sequence[str], clusters: np.ndarray) -> list[Style]:
    """A look for each cluster: its main type's colour, in another shade where that is taken."""
    types = _types(labels, cell_types)
    styles: list[Style] = []
    taken: Counter[str] = Counter()
    for i in range(clusters.max() + 1):
        sizes = np.bincount(labels[clusters == i])
        main = int(sizes.argmax())
        colour = types[main].colour
        nth = taken[colour]
        taken[colour] += 1
        name = (
            f"{i}  {cell_types[main]} ({100 * sizes[main] / sizes.sum():.0f} % of {sizes.sum()})"
        )
        red, green, blue = np.array(to_rgb(colour)) * SHADES[nth % len(SHADES)]
        shade = to_hex((red, green, blue))
        styles.append(Style(shade, MARKERS[nth % len(MARKERS)], name))
    return styles


def _scatter(axes: Any, places: np.ndarray, groups: np.ndarray, styles: Sequence[Style]) -> None:
    """Points in a random order that is always the same, so that no group hides another."""
    size = float(np.clip(9000 / len(places), 3, 16))
    colours = np.array([style.colour for style in styles])
    markers = np.array([style.marker for style in styles])
    order = np.random.default_rng(0).permutation(len(places))
    for marker in dict.fromkeys(markers):
        chosen = order[markers[groups[order]] == marker]
        axes.scatter(
            *places[chosen].T, c=colours[groups[chosen]], marker=marker, s=size, linewidths=0
        )


def _legend(owner: Axes | Figure, styles: Sequence[Style], title: str) -> None:
    """Below the axes, or below the whole figure: never on the points."""
    handles = [
        Line2D([], [], linestyle="", marker=style.marker, color=style.colour, label=style.name)
        for style in styles
    ]
    options: dict[str, Any] = {
        "handles": handles,
        "title": title,
        "frameon": False,
        "fontsize": 8.5,
    }
    if isinstance(owner, Figure):
        owner.legend(loc="lower center", ncols=4, **options)
    else:
        owner.legend(loc="upper center", bbox_to_anchor=(0.5, -0.05), ncols=2, **options)


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=160, bbox_inches="tight")
    return buffer.getvalue()
