"""What figures share: the style of groups of cells, their points and legends, and the PNG."""

import warnings
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scvae_cli.results.colours import by_size, cluster_looks, main_types, type_looks
from scvae_cli.visible import visible

# Names are text: no formula begins at a dollar sign, whatever the user's matplotlibrc says.
rcParams.update({"text.parse_math": False, "text.usetex": False})

MARKERS = "o^sDvP*X"
LONGEST = 48  # characters of a name, of which the middle is left out
DENSITY = 14  # characters to an inch of a legend


class Style(NamedTuple):
    """How a group of cells looks, and what the legend says of it."""

    colour: str
    marker: str
    name: str


def short(name: object) -> str:
    """Return a name as there is room for it in a figure: its beginning and its end."""
    text = visible(name)
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - 18]}\N{HORIZONTAL ELLIPSIS}{text[-17:]}"


def type_styles(labels: np.ndarray, cell_types: Sequence[str]) -> list[Style]:
    """Return a style for each type, whose name tells its cells: `B (120)`.

    Args:
        labels: (n_cells,) types.
        cell_types: their names.
    """
    sizes = np.bincount(labels, minlength=len(cell_types))
    return [
        Style(look.colour, MARKERS[look.marker], f"{short(name)} ({size})")
        for name, size, look in zip(cell_types, sizes, type_looks(sizes, cell_types), strict=True)
    ]


def types_by_size(labels: np.ndarray, cell_types: Sequence[str]) -> list[Style]:
    """Return the styles of `type_styles` in the order of a legend, the largest type first."""
    sizes = np.bincount(labels, minlength=len(cell_types))
    styles = type_styles(labels, cell_types)
    return [styles[i] for i in by_size(sizes, cell_types)]


def cluster_styles(
    labels: np.ndarray, cell_types: Sequence[str], clusters: np.ndarray
) -> list[Style]:
    """Return a style for each cluster, whose name tells its main type: `0  B (94 % of 128)`.

    Args:
        labels: (n_cells,) types.
        cell_types: their names.
        clusters: (n_cells,) clusters, from 0.
    """
    counts = np.zeros((clusters.max() + 1, len(cell_types)), dtype=int)
    np.add.at(counts, (clusters, labels), 1)
    mains = main_types(counts, cell_types)
    looks = cluster_looks(mains, type_looks(counts.sum(0), cell_types))
    styles = []
    for i, (main, look) in enumerate(zip(mains, looks, strict=True)):
        n_cells = counts[i].sum()
        share = f"{100 * counts[i, main] / n_cells:.0f} % of {n_cells}"
        name = f"{i}  {short(cell_types[main])} ({share})"
        styles.append(Style(look.colour, MARKERS[look.marker], name))
    return styles


def scatter(axes: Any, places: np.ndarray, groups: np.ndarray, styles: Sequence[Style]) -> None:
    """Draw points in a random order that is always the same, so that no group hides another.

    Args:
        axes: where to draw, in 2-D or 3-D.
        places: (n_cells, n_dims).
        groups: (n_cells,) group of each cell.
        styles: of the groups.
    """
    size = float(np.clip(9000 / len(places), 3, 16))
    colours = np.array([style.colour for style in styles])
    markers = np.array([style.marker for style in styles])
    order = np.random.default_rng(0).permutation(len(places))
    for marker in dict.fromkeys(markers):
        chosen = order[markers[groups[order]] == marker]
        axes.scatter(
            *places[chosen].T, c=colours[groups[chosen]], marker=marker, s=size, linewidths=0
        )


def legend_shape(styles: Sequence[Style], most: int, inches: float) -> tuple[int, int]:
    """Return the columns, `most` or fewer, and so the rows, of a legend that is this wide."""
    lengths = [len(style.name) + 5 for style in styles]  # with a marker and what is between
    for n_columns in range(most, 0, -1):
        n_rows = -(-len(styles) // n_columns)
        longest = [max(lengths[i : i + n_rows]) for i in range(0, len(lengths), n_rows)]
        if sum(longest) <= inches * DENSITY:
            break
    return n_columns, n_rows


def legend(
    owner: Axes | Figure,
    styles: Sequence[Style],
    title: str,
    *,
    ncols: int = 4,
    outside: bool = False,
) -> None:
    """Draw a legend below the axes, or below the whole figure: never on the points."""
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
        options["loc"] = "outside lower center" if outside else "lower center"
        owner.legend(ncols=ncols, **options)
    else:
        ncols, _ = legend_shape(styles, 2, 5.5)
        owner.legend(loc="upper center", bbox_to_anchor=(0.5, -0.05), ncols=ncols, **options)


def open_axes(axes: Axes, which: Literal["major", "both"] = "major") -> None:
    """Leave of the frame only its left and lower side, and draw a pale grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e5e5", linewidth=0.6, which=which)


def png(figure: Figure, dpi: int = 160) -> bytes:
    """Draw a figure, with as much paper as it needs."""
    FigureCanvasAgg(figure)
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")  # it is a box then
        figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight")
    return buffer.getvalue()
