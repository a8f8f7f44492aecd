"""Figures of scores: of many settings, and against one setting."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scvae_cli.results.colours import COLOURS
from scvae_cli.results.figures.style import MARKERS, open_axes, png
from scvae_cli.visible import visible


def score_heat(tables: Mapping[str, pd.DataFrame]) -> bytes:
    """Draw heat maps of scores, models by measures, on one scale of colour.

    Args:
        tables: title to scores between 0 and 1, a row a model and a column a measure.
    """
    import seaborn  # takes a second

    models = list(dict.fromkeys(model for table in tables.values() for model in table.index))
    values = np.concatenate([table.to_numpy(dtype=float).ravel() for table in tables.values()])
    scale = {"vmin": np.nanmin(values) - 0.02, "vmax": np.nanmax(values) + 0.02}
    widest = 0.085 * max(len(name) for name in models)
    size = (2.7 * len(tables) + widest, 0.4 * len(models) + 1.0)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    for axes, (title, table) in zip(panels, tables.items(), strict=True):
        scores = table.reindex(models).astype(float)
        names = list(map(visible, models)) if axes is panels[0] else False
        seaborn.heatmap(
            scores, ax=axes, annot=True, fmt=".3f", cmap="viridis", cbar=False, **scale,
            yticklabels=names,
        )  # fmt: skip
        axes.tick_params(length=0, rotation=0)
        axes.set(xlabel="", ylabel="")
        axes.set_title(title, fontsize=11)
    return png(figure, dpi=130)


def score_dots(panels: Mapping[str, pd.DataFrame]) -> bytes:
    """Draw means with their intervals as dots in rows, a panel a score, the first row on top.

    Args:
        panels: title to mean, low and high (NaN where there is no interval), a row a name.
    """
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel.index))
    widest = 0.085 * max(len(name) for name in names)
    size = (2.6 * len(panels) + widest, 0.32 * len(names) + 1.0)
    figure = Figure(figsize=size, layout="constrained")
    columns = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (title, panel) in zip(columns, panels.items(), strict=True):
        at = [names.index(name) for name in panel.index]
        errors = np.array([panel["mean"] - panel["low"], panel["high"] - panel["mean"]])
        axes.errorbar(
            panel["mean"], at, xerr=np.nan_to_num(errors), fmt="o", color=COLOURS[0],
            markersize=5, linewidth=1.4, capsize=3,
        )  # fmt: skip
        axes.set_title(visible(title), fontsize=11)
        axes.set_yticks(range(len(names)), list(map(visible, names)))
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(axis="x", color="#dddddd", linewidth=0.8)
        axes.locator_params(axis="x", nbins=4)
        open_axes(axes)
    return png(figure, dpi=130)


def score_lines(
    lines: Mapping[str, Mapping[str, pd.DataFrame]],
    label: str,
    reference: Mapping[str, Mapping[str, float]],
) -> bytes:
    """Draw scores against a setting, with intervals; a logarithmic axis where the setting asks.

    Args:
        lines: title of a panel to name of a line to its mean, low and high (NaN where there is
            no interval); indexed by setting.
        label: what the setting is.
        reference: title of a panel to names and values of lines without a setting, drawn dashed.
    """
    names = [*dict.fromkeys(name for panel in lines.values() for name in panel)]
    settings = sorted(
        {float(v) for panel in lines.values() for x in panel.values() for v in x.index}
    )
    n_columns = min(len(lines), 2) if len(lines) > 3 else len(lines)
    n_rows = -(-len(lines) // n_columns)
    figure = Figure(figsize=(4.2 * n_columns, 3.1 * n_rows + 0.3), layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes, (title, panel) in zip(panels, lines.items(), strict=False):
        _draw_lines(axes, panel, names, settings)
        for i, (name, value) in enumerate(reference.get(title, {}).items()):
            axes.axhline(value, color="#555555", linestyle=["--", ":", "-."][i % 3], linewidth=1,
                         label=visible(name))  # fmt: skip
        axes.set_title(title, fontsize=11)
        axes.set_xlabel(visible(label))
        open_axes(axes)
    for axes in panels[len(lines) :]:
        axes.set_axis_off()
    handles: dict[str, Any] = {}
    for axes in panels[: len(lines)]:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(
        list(handles.values()), [*handles], loc="outside lower center",
        ncols=min(len(handles), 2 * n_columns), frameon=False,
    )  # fmt: skip
    return png(figure, dpi=130)


def _draw_lines(
    axes: Axes,
    lines: Mapping[str, pd.DataFrame],
    names: Sequence[str],
    settings: Sequence[float],
) -> None:
    """Draw the lines of a panel, their intervals side by side, and the axis of the setting.

    Args:
        axes: where to draw.
        lines: name to mean, low and high, indexed by setting.
        names: of the lines of all panels, which say the colour.
        settings: the values of the setting in all panels, in order.
    """
    logarithmic = settings[0] > 0 and settings[-1] >= 4 * settings[0]
    apart = 0.06 if logarithmic else 0.02 * (settings[-1] - settings[0])
    for name, line in lines.items():
        i = names.index(name)
        shift = apart * (i - (len(names) - 1) / 2)
        at = line.index.to_numpy(dtype=float)
        at = at * (1 + shift) if logarithmic else at + shift
        errors = np.array([line["mean"] - line["low"], line["high"] - line["mean"]])
        axes.errorbar(
            at, line["mean"], np.nan_to_num(errors), color=COLOURS[i], marker=MARKERS[i],
            markersize=5, linewidth=1.4, capsize=3, label=visible(name),
        )  # fmt: skip
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(settings, [f"{v:g}" for v in settings])
    axes.minorticks_off()
