"""Draw the figure of docs/benchmark.md."""

from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.latents.methods import CONTROLS, METHODS, OTHERS, PEERS
from benchmarks.latents.tables import MEASURES, Tables, values
from scvae_cli.analysis.stats import estimate
from scvae_cli.choice.plan import CANDIDATES

COLOURS = (
    (CANDIDATES, "#3f90da", "candidates of scvae choose"),
    (OTHERS, "#e08a00", "other presets"),
    (PEERS, "#bd1f01", "scVI"),
    (CONTROLS, "#717581", "controls that learn nothing"),
)
MARKS = ((0.17, "k-means", "o"), (-0.17, "Leiden", "D"))


def dots(tables: Tables) -> bytes:
    """Draw the mean of NMI and ARI of each method, a panel for each set of labels.

    Returns:
        A PNG file.
    """
    names = [method for method in METHODS if method in {*tables.scores["method"]}]
    n_columns = min(3, len(tables.labels))
    n_rows = -(-len(tables.labels) // n_columns)
    figure = Figure(figsize=(3.9 * n_columns, (0.21 * len(names) + 0.7) * n_rows + 0.5),
                    layout="constrained")  # fmt: skip
    FigureCanvasAgg(figure)
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True).ravel()
    for axes, labels in zip(panels, tables.labels, strict=False):
        _panel(axes, tables, labels, names)
    for axes in panels[len(tables.labels) :]:
        axes.set_axis_off()
    handles = [
        Line2D([], [], marker="o", linestyle="", color=colour, label=kind)
        for some, colour, kind in COLOURS
        if {*some} & {*names}
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False, fontsize=10)
    figure.supxlabel(
        "mean of NMI and ARI; filled circles: k-means, open diamonds: Leiden", fontsize=10
    )
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def _panel(axes: Any, tables: Tables, labels: str, names: list[str]) -> None:
    """Draw the scores against one set of labels, the first method at the top."""
    for shift, by, marker in MARKS:
        each = [values(tables, labels, "latent", by, measure) for measure in MEASURES]
        for y, method in enumerate(reversed(names)):
            if method in each[0]:
                mean = estimate(np.mean([some[method] for some in each], axis=0))
                colour = next(colour for some, colour, _ in COLOURS if method in some)
                axes.errorbar(
                    mean.mean, y + shift, xerr=mean.half, marker=marker, markersize=4, capsize=2,
                    linewidth=1.1, color=colour,
                    markerfacecolor="white" if by == "Leiden" else None,
                )  # fmt: skip
    axes.set_title(labels, fontsize=10)
    axes.set_yticks(range(len(names)), names[::-1], fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlim(0.0, 1.05)
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
