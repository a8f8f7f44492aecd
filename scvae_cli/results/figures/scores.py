"""Figures of scores: of many settings, and against one setting."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scvae_cli.results.colours import COLOURS
from scvae_cli.results.figures.legends import width_of, wrapped
from scvae_cli.results.figures.style import (
    MARKERS,
    PAGE,
    SMALL,
    TEXT,
    open_axes,
    text_at,
)
from scvae_cli.visible import visible

NUMBER = 0.34  # inches of three decimals
NAME = 2.2  # inches of the name of a setting, at most
INTERVALS = "Dots: means over seeds. Bars: 95 % intervals of the means (Student's t)."
FEW = "Dots: means over seeds, of which there are too few for intervals (three at least)."
DASHES = ("--", ":", "-.")

Lines = Mapping[tuple[str, str], Mapping[str, pd.DataFrame]]


def score_heat(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw heat maps of scores, models by measures, on one scale of colour.

    Args:
        tables: title to scores between 0 and 1, a row a model and a column a measure.
    """
    import seaborn  # takes a second

    models = list(dict.fromkeys(model for table in tables.values() for model in table.index))
    values = np.concatenate([table.to_numpy(dtype=float).ravel() for table in tables.values()])
    scale = {"vmin": np.nanmin(values) - 0.02, "vmax": np.nanmax(values) + 0.02}
    names = _names(models)
    height = 0.06 * len(names) + 0.12 * len(_lines(names)) + 0.75
    figure = Figure(figsize=(PAGE, height), layout="constrained")
    widths = [len(table.columns) for table in tables.values()]
    panels = figure.subplots(1, len(tables), squeeze=False, width_ratios=widths)[0]
    cell = (PAGE - 0.5 - max(width_of(line, SMALL) for line in _lines(names))) / sum(widths)
    heads = [str(name) for table in tables.values() for name in table.columns]
    upright = max(width_of(name, SMALL) for name in heads) > cell - 0.05
    for axes, (title, table) in zip(panels, tables.items(), strict=True):
        scores = table.reindex(models).astype(float)
        seaborn.heatmap(
            scores, ax=axes, annot=True, fmt=".3f" if cell > NUMBER else ".2f",
            cmap="viridis", cbar=False, **scale,
            yticklabels=names if axes is panels[0] else False, annot_kws={"fontsize": SMALL - 0.5},
        )  # fmt: skip
        axes.tick_params(length=0, rotation=0, labelsize=SMALL)
        axes.tick_params(axis="x", rotation=90 if upright else 0)
        axes.set(xlabel="", ylabel="")
        axes.set_title(title, fontsize=TEXT + 1)
    return figure


def _names(models: Sequence[object]) -> list[str]:
    """Return names of settings in lines that leave room for what is drawn."""
    return [wrapped(visible(name), SMALL, NAME) for name in models]


def _lines(names: Sequence[str]) -> list[str]:
    """Return all lines of these names."""
    return [line for name in names for line in name.split("\n")]


def score_dots(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw means with their intervals as dots in rows, a panel a score, the first row on top.

    Args:
        panels: title to mean, low and high (NaN where there is no interval), a row a name.
    """
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel.index))
    figure = Figure(figsize=(PAGE, 0.22 * len(names) + 0.7), layout="constrained")
    columns = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (title, panel) in zip(columns, panels.items(), strict=True):
        at = [names.index(name) for name in panel.index]
        axes.errorbar(
            panel["mean"], at, xerr=_errors(panel), fmt="o", color=COLOURS[0], markersize=3.5,
            linewidth=1.1, capsize=2.5,
        )  # fmt: skip
        axes.set_title(visible(title), fontsize=TEXT + 1)
        axes.set_yticks(range(len(names)), _names(names))
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.locator_params(axis="x", nbins=4)
        open_axes(axes)
    _explain(figure, list(panels.values()))
    return figure


def score_lines(
    lines: Lines, label: str, reference: Mapping[tuple[str, str], Mapping[str, float]]
) -> Figure:
    """Draw scores against a setting, a row a score and a column a space; see `_draw_lines`.

    Args:
        lines: score and space to name of a line to its mean, low and high (NaN where there is
            no interval); indexed by setting.
        label: what the setting is.
        reference: score and space to names and values of lines without a setting, drawn dashed.
    """
    every = [panel for of_score in lines.values() for panel in of_score.values()]
    names = [*dict.fromkeys(name for of_score in lines.values() for name in of_score)]
    settings = sorted({float(v) for panel in every for v in panel.index})
    scores, spaces = (list(dict.fromkeys(part)) for part in zip(*lines, strict=True))
    figure = Figure(figsize=(PAGE, 1.9 * len(scores) + 0.5), layout="constrained")
    grid = figure.subplots(len(scores), len(spaces), squeeze=False, sharex=True, sharey="row")
    handles: dict[str, Any] = {}
    for (score, space), panel in lines.items():
        axes = grid[scores.index(score), spaces.index(space)]
        _draw_lines(axes, panel, names, settings)
        dashed = reference.get((score, space), {})
        for dash, (name, value) in zip(DASHES * len(dashed), dashed.items(), strict=False):
            axes.axhline(value, color="#555555", linestyle=dash, linewidth=1, label=visible(name))
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    for row, score in zip(grid, scores, strict=True):
        row[0].set_ylabel(score, fontsize=TEXT)
    for column, space in zip(grid.T, spaces, strict=True):
        column[0].set_title(space, fontsize=TEXT + 1)
        column[-1].set_xlabel(visible(label), fontsize=TEXT)
    _name_lines(figure, handles)
    _explain(figure, every)
    return figure


def _name_lines(figure: Figure, handles: Mapping[str, Any]) -> None:
    """Name lines above a figure, where they have names: one line for all settings has none."""
    if not handles:
        return
    labels = [wrapped(name, SMALL, PAGE / 2 - 0.6) for name in handles]
    widest = max(width_of(line, SMALL) for line in _lines(labels)) + 0.6
    figure.legend(
        list(handles.values()), labels, loc="outside upper center", frameon=False, fontsize=SMALL,
        ncols=max(1, min(len(labels), int(PAGE / widest))),
    )  # fmt: skip


def _explain(figure: Figure, panels: Sequence[pd.DataFrame]) -> None:
    """Say below a figure what its dots and bars are."""
    some = any(panel["low"].notna().any() for panel in panels)
    text_at(figure, 0.06, figure.get_figheight() + 0.05, INTERVALS if some else FEW,
            color="#555555", fontsize=SMALL)  # fmt: skip


def _errors(line: pd.DataFrame) -> np.ndarray:
    """Return lengths of bars below and above the means: (2, n), 0 where there is no interval."""
    lengths = np.array([line["mean"] - line["low"], line["high"] - line["mean"]])
    errors: np.ndarray = np.nan_to_num(lengths.astype(float))
    return errors


def _draw_lines(
    axes: Axes,
    lines: Mapping[str, pd.DataFrame],
    names: Sequence[str],
    settings: Sequence[float],
) -> None:
    """Draw the lines of a panel, their intervals side by side; a logarithmic axis where it asks.

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
        axes.errorbar(
            at, line["mean"], _errors(line), color=COLOURS[i], marker=MARKERS[i % len(MARKERS)],
            markersize=3.5, linewidth=1.1, capsize=2.5, label=visible(name),
        )  # fmt: skip
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(settings, [f"{v:g}" for v in settings])
    axes.minorticks_off()
    axes.tick_params(labelleft=True)
    open_axes(axes)
