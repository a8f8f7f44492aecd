"""Draw the figure of docs/benchmark.md."""

from io import BytesIO
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.models.presets import CONTROLS, COUNTS, LOGS, PEERS
from benchmarks.models.table import Table
from scvae_cli.analysis.stats import estimate

KINDS = {"control": CONTROLS, "logs": LOGS, "counts": COUNTS, "peer": list(PEERS)}
KIND_OF = {method: kind for kind, methods in KINDS.items() for method in methods}
COLOURS = {"control": "#717581", "logs": "#ffa90e", "counts": "#3f90da", "peer": "#bd1f01"}


def dots(table: Table) -> bytes:
    """Draw NMI and ARI of each method, a panel for each set of labels.

    Returns:
        A PNG file.
    """
    there = set(table.scores["method"])
    names = [method for method in KIND_OF if method in there]
    n_columns = min(3, len(table.labels))
    n_rows = -(-len(table.labels) // n_columns)
    figure = Figure(figsize=(3.9 * n_columns, (0.22 * len(names) + 1.0) * n_rows),
                    layout="constrained")  # fmt: skip
    FigureCanvasAgg(figure)
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True).ravel()
    for axes, labels in zip(panels, table.labels, strict=False):
        _panel(axes, table, labels, names)
    for axes in panels[len(table.labels) :]:
        axes.set_axis_off()
    figure.supxlabel("filled circles: NMI, open diamonds: ARI", fontsize=9)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def _panel(axes: Any, table: Table, labels: str, names: list[str]) -> None:
    """Draw the scores against one set of labels, the first method at the top."""
    marks = ((0.17, "nmi", "o"), (-0.17, "ari", "D"))
    for y, method in enumerate(reversed(names)):
        for shift, measure, marker in marks:
            values = table.values(method, labels, "latent", "k-means", measure)
            if not len(values):
                continue
            mean = estimate(values)
            half = mean.half if mean.n > 1 else 0.0
            axes.errorbar(
                mean.mean, y + shift, xerr=half, marker=marker, markersize=4, capsize=2,
                linewidth=1.1, color=COLOURS[KIND_OF[method]],
                markerfacecolor="white" if measure == "ari" else None,
            )  # fmt: skip
    axes.set_title(labels, fontsize=10)
    axes.set_yticks(range(len(names)), names[::-1], fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlim(left=0.0)
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
