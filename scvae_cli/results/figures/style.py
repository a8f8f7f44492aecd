"""What figures share: sizes, the looks of groups of cells, their points, and the finished file.

A figure is as wide as a column of a journal, or as two. Lengths are in inches from its upper left
corner, sizes of letters in points.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from scvae_cli.results.colours import Look, by_size, cluster_looks, main_types, type_looks
from scvae_cli.visible import UNLABELLED, visible

# Names are text: no formula begins at a dollar sign, whatever the user's matplotlibrc says. Text
# in a PDF stays text (TrueType), and a figure drawn once more has the same bytes.
rcParams.update({
    "text.parse_math": False, "text.usetex": False, "pdf.fonttype": 42, "svg.hashsalt": "scvae",
})  # fmt: skip

COLUMN, PAGE = 88 / 25.4, 180 / 25.4  # inches
TITLE, TEXT, SMALL = 8.0, 7.0, 6.5  # points
DPI = 200  # of a PNG, and of points in PDF and SVG, where nobody says another
PAD = 0.04  # inches above and below
LONGEST = 48  # characters of a name, of which the middle is left out
MARKERS = "o^sDvP*X"
INK = 0.1  # share of a map that its points cover together, were none on another
METADATA = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}  # no time of day


class Style(NamedTuple):
    """How a group of cells looks, and what the legend says of it.

    Attributes:
        colour: of its points.
        marker: of its points.
        name: the whole name.
        note: what stands behind the name: the number of cells.
        mark: what stands before it, and on the map: the cluster's number, or a letter.
    """

    colour: str
    marker: str
    name: str
    note: str = ""
    mark: str = ""

    def label(self, longest: int = LONGEST) -> str:
        """Return what the legend says, the name in so many characters or fewer."""
        parts = (self.mark and f"{self.mark} ", short(self.name, longest), self.note)
        return " ".join(filter(None, parts))


class Groups(NamedTuple):
    """Cells by type, cluster or batch.

    Attributes:
        codes: (n_cells,) group of each cell.
        styles: of the groups.
        order: of the groups in a legend.
        title: of the legend.
    """

    codes: np.ndarray
    styles: Sequence[Style]
    order: Sequence[int]
    title: str

    @property
    def keys(self) -> list[Style]:
        """The styles in the order of the legend."""
        return [self.styles[i] for i in self.order]

    def lettered(self) -> "Groups":
        """Return the same with a letter as the mark of each group, `a` for the first."""
        styles = list(self.styles)
        for rank, i in enumerate(self.order):
            styles[i] = styles[i]._replace(mark=letter(rank))
        return self._replace(styles=styles)


def letter(n: int) -> str:
    """Return `a` for 0, `z` for 25, `aa` for 26."""
    before, last = divmod(n, 26)
    return (letter(before - 1) if before else "") + chr(ord("a") + last)


def short(name: object, longest: int = LONGEST) -> str:
    """Return a name in so many characters or fewer: its beginning and its end."""
    text = visible(name)
    if len(text) <= longest:
        return text
    ending = longest * 3 // 8
    return f"{text[: longest - ending - 1]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - ending :]}"


def by_type(labels: np.ndarray, names: Sequence[str], title: str = "cell type (cells)") -> Groups:
    """Return cells by type, the largest type first in the legend; batches look alike.

    Args:
        labels: (n_cells,) types.
        names: of the types.
        title: of the legend.
    """
    sizes = np.bincount(labels, minlength=len(names))
    styles = [
        _style(look, name, f"({size})")
        for name, size, look in zip(names, sizes, type_looks(sizes, names), strict=True)
    ]
    return Groups(labels, styles, by_size(sizes, names).tolist(), title)


def by_cluster(labels: np.ndarray, names: Sequence[str], clusters: np.ndarray) -> Groups:
    """Return cells by cluster, each with its main type and that type's share of its cells.

    Args:
        labels: (n_cells,) types.
        names: of the types; `unlabelled` alone where none is known.
        clusters: (n_cells,) clusters, from 0.
    """
    counts = np.zeros((clusters.max() + 1, len(names)), dtype=int)
    np.add.at(counts, (clusters, labels), 1)
    mains = main_types(counts, names)
    looks = cluster_looks(mains, type_looks(counts.sum(0), names), names)
    typed = list(names) != [UNLABELLED]
    styles = []
    for i, (main, look) in enumerate(zip(mains, looks, strict=True)):
        n_cells = counts[i].sum()
        share = f"({100 * counts[i, main] / max(n_cells, 1):.0f} % of {n_cells})"
        name, note = (names[main], share) if typed else ("", f"({n_cells})")
        styles.append(_style(look, name, note, str(i)))
    what = "cluster, its main type (share of its cells)" if typed else "cluster (cells)"
    return Groups(clusters, styles, range(len(styles)), what)


def _style(look: Look, name: object, note: str, mark: str = "") -> Style:
    return Style(look.colour, MARKERS[look.marker], visible(name), note, mark)


def scatter(axes: Axes, places: np.ndarray, groups: Groups, *, order: Any = None) -> None:
    """Draw points, in a vector file too as pixels.

    Args:
        axes: where to draw.
        places: (n_cells, 2).
        groups: of the cells.
        order: (n_cells,) the last cell is on top; None for a random order, always the same, in
            which no group hides another.
    """
    window = axes.get_window_extent()
    points = window.width * window.height * (72 / axes.figure.dpi) ** 2
    size = float(np.clip(INK * points / len(places), 0.5, 10))
    colours = np.array([style.colour for style in groups.styles])
    markers = np.array([style.marker for style in groups.styles])
    if order is None:
        order = np.random.default_rng(0).permutation(len(places))
    for marker in dict.fromkeys(markers):
        chosen = order[markers[groups.codes[order]] == marker]
        axes.scatter(
            places[chosen, 0], places[chosen, 1], c=colours[groups.codes[chosen]],
            marker=marker, s=size, linewidths=0, rasterized=True, clip_on=False,
        )  # fmt: skip


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Return new axes at this place of a figure."""
    across, down = figure.get_size_inches()
    return figure.add_axes(
        (left / across, 1 - (top + height) / down, width / across, height / down)
    )


def text_at(figure: Figure, left: float, top: float, text: str, **options: Any) -> None:
    """Write a text at this place of a figure."""
    across, down = figure.get_size_inches()
    options = {"fontsize": TEXT, "va": "top", "linespacing": 1.15, **options}
    figure.text(left / across, 1 - top / down, text, **options)


def open_axes(axes: Axes, which: Literal["major", "both"] = "major") -> None:
    """Leave of the frame only its left and lower side, and draw a pale grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL)
    axes.grid(color="#e5e5e5", linewidth=0.6, which=which)


def render(figure: Figure, form: str = "png", dpi: int = DPI) -> bytes:
    """Return a figure as a file on white paper: as wide as it is, as high as it needs.

    Args:
        figure: to draw.
        form: png, pdf or svg.
        dpi: dots in an inch of PNG, and of what is pixels in the others.
    """
    canvas: Any = FigureCanvasAgg(figure)
    buffer = BytesIO()
    with missing_glyphs_are_boxes():
        figure.draw_without_rendering()  # which puts what has no place of its own there
        inked = figure.get_tightbbox(canvas.get_renderer())
        paper = Bbox([[0, inked.y0 - PAD], [figure.get_figwidth(), inked.y1 + PAD]])
        figure.savefig(
            buffer, format=form, dpi=dpi, bbox_inches=paper, facecolor="white",
            metadata=METADATA[form],
        )  # fmt: skip
    return _with_a_palette(buffer) if form == "png" else buffer.getvalue()


def files_of_figure(
    name: str, figure: Figure, form: str = "png", dpi: int = DPI
) -> Iterator[tuple[str, bytes]]:
    """Yield name and contents of a figure's files: the PNG, and what else was asked for.

    Args:
        name: without an ending.
        figure: to draw.
        form: png, pdf or svg.
        dpi: see `render`.
    """
    for each in dict.fromkeys(["png", form]):
        yield f"{name}.{each}", render(figure, each, dpi)


def _with_a_palette(file: BytesIO) -> bytes:
    """Return a PNG in 256 colours, which takes a third of the bytes and looks the same."""
    picture = Image.open(file)
    how: dict[str, Any] = {"method": Image.Quantize.MAXCOVERAGE, "dither": Image.Dither.NONE}
    drawn = picture.convert("RGB").quantize(256, **how)
    buffer = BytesIO()
    drawn.save(buffer, "png", optimize=True, dpi=picture.info["dpi"])
    return buffer.getvalue()


@contextmanager
def missing_glyphs_are_boxes() -> Iterator[None]:
    """Silence matplotlib on glyphs that its font lacks: it draws a box."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        yield
