"""The figures of a run; the only module that uses matplotlib. Each function returns a PNG.

A type has one colour in every figure, a cluster that of its most frequent type. The colours are
those of Petroff, Accessible Color Sequences for Data Visualization (2021), told apart with any
colour vision; markers and shades change where types or clusters share a colour.
"""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from io import BytesIO
from textwrap import wrap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullFormatter

from scvae_cli.visible import UNLABELLED, visible

# Names are text: no formula begins at a dollar sign, whatever the user's matplotlibrc says.
rcParams.update({"text.parse_math": False, "text.usetex": False})

COLOURS = [
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
    "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
]  # fmt: skip
GREY = "#bbbbbb"  # of cells without a type, where others have one
MARKERS = "o^sDvP*X"
SHADES = [1.0, 0.65, 0.4, 0.85]
MINUS = "\N{MINUS SIGN}"
NOTABLE = 0.1  # log1p of counts: a tenth more, of a gene that is well expressed
GENE_LINE = 70  # characters
LONGEST = 48  # characters of a name, of which the middle is left out
DENSITY = 14  # characters to an inch of a legend
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
    types, groups = _types(labels, cell_types), _clusters(labels, cell_types, clusters)
    n_rows = max(_fitting(styles, 2, 5.5)[1] for styles in (types, groups))
    figure = Figure(figsize=(11, 5.3 * shape + 0.2 * n_rows + 0.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    _scatter(left, places, labels, types)
    _legend(left, [types[i] for i in _by_size(labels, cell_types)], "cell type (cells)")
    left.set_title(visible(title), fontsize=11)
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
    types = _types(labels, cell_types)
    n_columns, n_rows = _fitting(types, 4, 11)
    height = 5.4 + 0.2 * n_rows
    figure = Figure(figsize=(11, height))
    # By hand: constrained layout leaves broad margins around 3-D axes.
    bottom = (0.2 * n_rows + 0.3) / height - 0.07
    figure.subplots_adjust(left=0.01, right=0.96, bottom=bottom, top=1.04, wspace=0.04)
    figure.text(0.5, 0.97, visible(title), fontsize=11, ha="center")
    for axes, view in zip(
        figure.subplots(1, 2, subplot_kw={"projection": "3d"}), VIEWS, strict=True
    ):
        _scatter(axes, places, labels, types)
        _bare_3d(axes, view)
    keys = [types[i] for i in _by_size(labels, cell_types)]
    _legend(figure, keys, "cell type (cells)", ncols=n_columns)
    return _png(figure)


def map_grid(
    maps: Mapping[str, tuple[np.ndarray, np.ndarray]],
    labels: np.ndarray,
    cell_types: Sequence[str],
) -> bytes:
    """2-D maps side by side, by cell type above and by cluster below.

    Args:
        maps: title to places (n_cells, 2) and clusters (n_cells,).
        labels: (n_cells,) types.
        cell_types: their names.
    """
    types = _types(labels, cell_types)
    n_columns, n_rows = _fitting(types, 5, 3.7 * len(maps))
    figure = Figure(figsize=(3.7 * len(maps), 7.2 + 0.22 * n_rows), layout="constrained")
    axes = figure.subplots(2, len(maps), squeeze=False)
    halo = [withStroke(linewidth=3, foreground="white")]
    for (above, below), (title, (places, clusters)) in zip(axes.T, maps.items(), strict=True):
        _scatter(above, places, labels, types)
        _scatter(below, places, clusters, _clusters(labels, cell_types, clusters))
        above.set_title(visible(title), fontsize=11)
        for i in range(clusters.max() + 1):
            below.annotate(
                str(i), places[clusters == i].mean(0), ha="center", va="center", weight="bold",
                fontsize=10, path_effects=halo, zorder=4,
            )  # fmt: skip
        for panel in (above, below):
            panel.set(xticks=[], yticks=[], box_aspect=1)
            panel.set_aspect("equal", adjustable="datalim")
    axes[0, 0].set_ylabel("by cell type")
    axes[1, 0].set_ylabel("by k-means cluster")
    keys = [types[i] for i in _by_size(labels, cell_types)]
    _legend(figure, keys, "", ncols=n_columns, outside=True)
    return _png(figure, dpi=110)


def map_grid_3d(
    maps: Mapping[str, np.ndarray], labels: np.ndarray, cell_types: Sequence[str]
) -> bytes:
    """3-D maps side by side, by cell type.

    Args:
        maps: title to places (n_cells, 3).
        labels: (n_cells,) types.
        cell_types: their names.
    """
    types = _types(labels, cell_types)
    n_columns, n_rows = _fitting(types, 5, 3.9 * len(maps))
    height = 3.7 + 0.22 * n_rows
    figure = Figure(figsize=(3.9 * len(maps), height))
    bottom = (0.22 * n_rows - 0.25) / height
    figure.subplots_adjust(left=0.01, right=0.96, bottom=bottom, top=1.0, wspace=0.06)
    panels = figure.subplots(1, len(maps), subplot_kw={"projection": "3d"}, squeeze=False)[0]
    for axes, (title, places) in zip(panels, maps.items(), strict=True):
        _scatter(axes, places, labels, types)
        _bare_3d(axes, VIEWS[0])
        axes.set_title(visible(title), fontsize=11, y=0.93)
    keys = [types[i] for i in _by_size(labels, cell_types)]
    _legend(figure, keys, "", ncols=n_columns)
    return _png(figure, dpi=110)


def score_heat(tables: Mapping[str, pd.DataFrame]) -> bytes:
    """Heat maps of scores, models by measures, on one scale of colour.

    Args:
        tables: title to scores between 0 and 1, a row a model and a column a measure.
    """
    models = list(dict.fromkeys(model for table in tables.values() for model in table.index))
    values = np.concatenate([table.to_numpy(dtype=float).ravel() for table in tables.values()])
    low, high = np.nanmin(values) - 0.02, np.nanmax(values) + 0.02
    tables = {title: table.reindex(models) for title, table in tables.items()}
    n_rows = len(models)
    named = 0.085 * max(len(name) for name in models)
    size = (2.7 * len(tables) + named, 0.4 * n_rows + 1.0)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    for axes, (title, table) in zip(panels, tables.items(), strict=True):
        axes.imshow(table, cmap="viridis", vmin=low, vmax=high, aspect="auto")
        axes.set_xticks(range(table.shape[1]), table.columns)
        axes.set_yticks(
            range(n_rows), list(map(visible, models)) if axes is panels[0] else [""] * n_rows
        )
        axes.tick_params(length=0)
        axes.set_title(title, fontsize=11)
        axes.spines[:].set_visible(False)
        for (row, column), value in np.ndenumerate(table.to_numpy(dtype=float)):
            if np.isnan(value):
                continue
            colour = "white" if value < low + 0.6 * (high - low) else "black"
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", color=colour)
    return _png(figure, dpi=130)


def score_lines(
    lines: Mapping[str, Mapping[str, pd.DataFrame]],
    label: str,
    reference: Mapping[str, Mapping[str, float]],
) -> bytes:
    """Scores against a setting, with intervals; on a logarithmic axis where the setting asks.

    Args:
        lines: title of a panel to name of a line to its mean, low and high (NaN where there is
            no interval); indexed by setting.
        label: what the setting is.
        reference: title of a panel to names and values of lines without a setting, drawn dashed.
    """
    names = [*dict.fromkeys(name for panel in lines.values() for name in panel)]
    n_columns = min(len(lines), 2) if len(lines) > 3 else len(lines)
    n_rows = -(-len(lines) // n_columns)
    figure = Figure(figsize=(4.2 * n_columns, 3.1 * n_rows + 0.3), layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    settings = sorted(
        {float(v) for panel in lines.values() for x in panel.values() for v in x.index}
    )
    logarithmic = settings[0] > 0 and settings[-1] >= 4 * settings[0]
    apart = 0.06 if logarithmic else 0.02 * (settings[-1] - settings[0])
    for axes, (title, panel) in zip(panels, lines.items(), strict=False):
        for name, line in panel.items():
            i = names.index(name)
            shift = apart * (i - (len(names) - 1) / 2)  # so that intervals lie side by side
            at = line.index.to_numpy(dtype=float)
            at = at * (1 + shift) if logarithmic else at + shift
            errors = np.array([line["mean"] - line["low"], line["high"] - line["mean"]])
            axes.errorbar(
                at, line["mean"], np.nan_to_num(errors), color=COLOURS[i], marker=MARKERS[i],
                markersize=5, linewidth=1.4, capsize=3, label=visible(name),
            )  # fmt: skip
        for i, (name, value) in enumerate(reference.get(title, {}).items()):
            axes.axhline(value, color="#555555", linestyle=["--", ":", "-."][i % 3], linewidth=1,
                         label=visible(name))  # fmt: skip
        if logarithmic:
            axes.set_xscale("log")
        axes.set_xticks(settings, [f"{v:g}" for v in settings])
        axes.minorticks_off()
        axes.set_title(title, fontsize=11)
        axes.set_xlabel(visible(label))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e5e5e5", linewidth=0.6)
    for axes in panels[len(lines) :]:
        axes.set_axis_off()
    handles: dict[str, Any] = {}
    for axes in panels[: len(lines)]:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    columns = min(len(handles), 2 * n_columns)
    figure.legend(
        list(handles.values()),
        [*handles],
        loc="outside lower center",
        ncols=columns,
        frameon=False,
    )
    return _png(figure, dpi=130)


def map_table(maps: Mapping[str, pd.DataFrame]) -> bytes:
    """2-D maps by cell type, four in a row.

    Args:
        maps: title to cells.csv of a run.
    """
    of_cells = [cells["cell_type"].fillna(UNLABELLED).astype(str) for cells in maps.values()]
    types = sorted(set().union(*of_cells), key=lambda name: (name == UNLABELLED, name))
    n_columns = min(len(maps), 4)
    n_rows = -(-len(maps) // n_columns)
    labels = pd.Categorical(pd.concat(of_cells), types).codes
    styles = [
        style._replace(name=_short(name))
        for style, name in zip(_types(labels, types), types, strict=True)
    ]
    n_beside, n_keys = _fitting(styles, n_columns, 3.0 * n_columns)
    size = (3.0 * n_columns, 3.2 * n_rows + 0.2 * n_keys + 0.2)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes, names, (title, cells) in zip(panels, of_cells, maps.items(), strict=False):
        shown = cells.dropna(subset=["tsne_1"])
        groups = pd.Categorical(names[shown.index], types).codes
        _scatter(axes, shown[["tsne_1", "tsne_2"]].to_numpy(), groups, styles)
        axes.set_title("\n".join(wrap(visible(title), 34)), fontsize=10)
        axes.set(xticks=[], yticks=[], box_aspect=1)
        axes.set_aspect("equal", adjustable="datalim")
    for axes in panels[len(maps) :]:
        axes.set_axis_off()
    _legend(figure, styles, "", ncols=n_beside, outside=True)
    return _png(figure, dpi=110)


def sparsity(latents: pd.DataFrame, drivers: pd.DataFrame, title: str) -> bytes:
    """In which cell types each latent is on, by sign, beside the genes that it raises there.

    Args:
        latents: latents.csv, from `sparsity.by_type`.
        drivers: drivers.csv, from `sparsity.drivers`; what it does not have is hardly ever on.
        title: what was run.
    """
    types = [_short(name) for name in dict.fromkeys(latents["cell_type"])]
    rows, genes = _programmes(latents, drivers)
    shares = np.array(list(rows.values()))
    cell, (n_rows, n_types) = 0.27, shares.shape  # inches
    figure = Figure(figsize=(cell * n_types, cell * n_rows))
    axes = figure.add_axes((0, 0, 1, 1))  # all else is around it, and `_png` makes room
    shades = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(n_types), types, rotation=90, fontsize=8)
    axes.set_yticks(range(n_rows), list(rows), fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(0.5, n_types - 1), minor=True)
    axes.set_yticks(np.arange(0.5, n_rows - 1), minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.05:
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=6.5,
                      color="white" if share > 0.6 else "black")  # fmt: skip
    beside: dict[str, Any] = {
        "textcoords": "offset points", "xytext": (10, 0), "va": "center", "fontsize": 8,
        "annotation_clip": False,
    }  # fmt: skip
    for row, text in enumerate(genes):
        axes.annotate(text, (n_types - 0.5, row), **beside)
    head = "genes raised most, the first by how much (log1p of normalised counts)"
    axes.annotate(head, (n_types - 0.5, -1), style="italic", **beside)
    axes.set_title(visible(title), fontsize=11, loc="left", pad=12)
    scale = figure.add_axes((0, -0.8 / n_rows, 1.2 / (cell * n_types), 0.3 / n_rows))
    figure.colorbar(shades, cax=scale, orientation="horizontal")
    scale.set_xticks([0, 0.5, 1], ["0", "50", "100"], fontsize=7)
    scale.annotate("% of the type's cells in which it is on (gamma > 1/2)", (1, 0.5), **beside)
    return _png(figure)


def loss_curves(histories: Mapping[str, Sequence[pd.DataFrame]]) -> bytes:
    """Reconstruction error and KL over epochs, a line a seed.

    Args:
        histories: name of a model to one history for each seed; see `train.COLUMNS`.
    """
    with_kl = {name: runs for name, runs in histories.items() if runs[0]["kl"].any()}
    panels = {"reconstruction": histories, **({"kl": with_kl} if with_kl else {})}
    figure = Figure(figsize=(4.6 * len(panels), 3.3), layout="constrained")
    for axes, (term, models) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for name, runs in models.items():
            colour = COLOURS[list(histories).index(name)]
            for i, history in enumerate(runs):
                axes.plot(
                    history["epoch"], history[term], color=colour, linewidth=0.9, alpha=0.8,
                    label=name if i == 0 else None,
                )  # fmt: skip
        axes.set_title("squared error" if term == "reconstruction" else "KL", fontsize=11)
        axes.set_xlabel("epoch")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e5e5e5", linewidth=0.6, which="both")
        axes.legend(frameon=False)
    figure.supylabel("mean over cells", fontsize=10)
    return _png(figure, dpi=130)


def _programmes(
    latents: pd.DataFrame, drivers: pd.DataFrame
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Name of each programme to its share in each type (n_types,), and its genes in a line."""
    shares: dict[str, np.ndarray] = {}
    genes = []
    raised = drivers[drivers["change"] == "raised"]
    for latent, by_type in latents.groupby("latent", sort=False):
        found = [
            (sign, top)
            for sign, top in raised[raised["latent"] == latent].groupby("sign", sort=False)
        ]
        for sign, top in found:
            shares[f"{latent} {'+' if sign == 'positive' else MINUS}"] = by_type[sign].to_numpy()
            genes.append(_gene_line(top))
        if not found:
            shares[str(latent)] = by_type["on"].to_numpy()
            genes.append("(off)")
    return shares, genes


def _gene_line(top: pd.DataFrame) -> str:
    """Genes that change by `NOTABLE` or more, as many as a line has room for."""
    notable = top[top["effect"] >= NOTABLE]
    if not len(notable):
        return f"(none by {NOTABLE:g})"
    names = [_short(gene) for gene in notable["gene"]]
    text = f"{names[0]} (+{notable['effect'].iloc[0]:.1f})"
    for name in names[1:]:
        if len(text) + len(name) > GENE_LINE:
            break
        text += f"  {name}"
    return text


class Style(NamedTuple):
    """How a group of cells looks, and what the legend says of it."""

    colour: str
    marker: str
    name: str


def _short(name: object) -> str:
    """A name as there is room for it in a figure: its beginning and its end."""
    text = visible(name)
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - 18]}\N{HORIZONTAL ELLIPSIS}{text[-17:]}"


def _fitting(styles: Sequence[Style], most: int, inches: float) -> tuple[int, int]:
    """Columns, and so rows, of a legend that is this wide."""
    lengths = [len(style.name) + 5 for style in styles]  # with a marker and what is between
    for n_columns in range(most, 0, -1):
        n_rows = -(-len(styles) // n_columns)
        longest = [max(lengths[i : i + n_rows]) for i in range(0, len(lengths), n_rows)]
        if sum(longest) <= inches * DENSITY:
            break
    return n_columns, n_rows


def _by_size(groups: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Groups by number of cells, those of cells without a type last."""
    sizes = np.bincount(groups, minlength=len(names))
    none = np.array([name == UNLABELLED for name in names])
    return np.argsort(np.where(none, 1, -sizes), kind="stable")


def _types(labels: np.ndarray, cell_types: Sequence[str]) -> list[Style]:
    """A look for each type, the colours furthest apart for the largest; then the next marker."""
    sizes = np.bincount(labels, minlength=len(cell_types))
    rank = np.argsort(_by_size(labels, cell_types))
    n = len(COLOURS)
    return [
        Style(GREY, MARKERS[0], f"{_short(name)} ({size})")
        if name == UNLABELLED and len(cell_types) > 1
        else Style(COLOURS[r % n], MARKERS[r // n % len(MARKERS)], f"{_short(name)} ({size})")
        for name, size, r in zip(cell_types, sizes, rank, strict=True)
    ]


def _clusters(labels: np.ndarray, cell_types: Sequence[str], clusters: np.ndarray) -> list[Style]:
    """A look for each cluster: its main type's colour, in another shade where that is taken."""
    types = _types(labels, cell_types)
    styles: list[Style] = []
    taken: Counter[str] = Counter()
    for i in range(clusters.max() + 1):
        sizes = np.bincount(labels[clusters == i], minlength=len(cell_types))
        typed = np.where([name == UNLABELLED for name in cell_types], 0, sizes)
        main = int((typed if typed.any() else sizes).argmax())
        colour = types[main].colour
        nth = taken[colour]
        taken[colour] += 1
        name = (
            f"{i}  {_short(cell_types[main])} "
            f"({100 * sizes[main] / sizes.sum():.0f} % of {sizes.sum()})"
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


def _bare_3d(axes: Any, view: tuple[int, int]) -> None:
    """Pale walls without numbers, which mean nothing on a t-SNE map, seen from `view`."""
    axes.view_init(*view)
    axes.set_box_aspect(None, zoom=0.95)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_ticklabels([])
        axis.set_pane_color((0.97, 0.97, 0.97))
        axis.labelpad = -8
    axes.set(xlabel="t-SNE 1", ylabel="t-SNE 2", zlabel="t-SNE 3")


def _legend(
    owner: Axes | Figure,
    styles: Sequence[Style],
    title: str,
    *,
    ncols: int = 4,
    outside: bool = False,
) -> None:
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
        options["loc"] = "outside lower center" if outside else "lower center"
        owner.legend(ncols=ncols, **options)
    else:
        ncols, _ = _fitting(styles, 2, 5.5)
        owner.legend(loc="upper center", bbox_to_anchor=(0.5, -0.05), ncols=ncols, **options)


def _png(figure: Figure, dpi: int = 160) -> bytes:
    FigureCanvasAgg(figure)
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")  # it is a box then
        figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight")
    return buffer.getvalue()
