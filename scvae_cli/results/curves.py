"""Curves of loss over many runs, as lines that the template draws as SVG."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from scvae_cli.errors import InputError
from scvae_cli.results.colours import type_looks
from scvae_cli.results.table import setting_name
from scvae_cli.runs.files import LOSSES
from scvae_cli.runs.run import Run

WIDTH, HEIGHT = 520, 240  # of a panel
MOST_CURVES = 120
MOST_POINTS = 160  # of a curve
BEGINNING = 0.05  # share of the epochs whose losses may lie above the panel


class Curve(NamedTuple):
    """The loss of one run.

    Attributes:
        name: of the run.
        setting: of the run, in words.
        points: `x,y x,y ...` in the panel.
        colour: of the setting, on light paper.
        dark: on dark paper.
        dashes: for `stroke-dasharray`, where settings share a colour; empty for a whole line.
        last: the loss at the end, as text.
    """

    name: str
    setting: str
    points: str
    colour: str
    dark: str
    dashes: str
    last: str


class Panel(NamedTuple):
    """Curves with one pair of axes; `settings` has one curve of each setting, for the legend."""

    title: str
    curves: list[Curve]
    settings: list[Curve]
    epochs: int
    low: str
    high: str


def loss_curves(runs: Sequence[Run], table: pd.DataFrame, by: Sequence[str]) -> list[Panel]:
    """Return a panel a model and data set, for losses of others have another scale.

    Args:
        runs: the runs.
        table: their `results`.
        by: the columns that make a setting.
    """
    panels: dict[str, list[tuple[str, str, np.ndarray]]] = {}
    for run, (_, row) in zip(runs, table.iterrows(), strict=True):
        losses = _losses(run)
        if losses is not None and sum(map(len, panels.values())) < MOST_CURVES:
            config = run.flat_settings
            what = [config["model"], config.get("model.likelihood"), f"on {config['data']}"]
            title = " ".join(str(word) for word in what if word)
            panels.setdefault(title, []).append((row["run"], setting_name(row, by), losses))
    return [_panel(title, lines) for title, lines in panels.items()]


def _losses(run: Run) -> np.ndarray | None:
    """Return the loss of each epoch, mean of members; None where there are not two."""
    if run.status != "done":
        return None
    try:
        history = run.table("history", LOSSES)
    except InputError:  # a page of other runs need not end here; `scvae verify` says so
        return None
    losses: np.ndarray = history.groupby("epoch")["total"].mean().to_numpy(float)
    return losses if len(losses) > 1 and np.isfinite(losses).all() else None


def _panel(title: str, lines: Sequence[tuple[str, str, np.ndarray]]) -> Panel:
    """Return these runs' curves on one pair of axes."""
    settings = list(dict.fromkeys(setting for _, setting, _ in lines))
    looks = type_looks(np.arange(len(settings), 0, -1), settings)
    low = min(losses.min() for _, _, losses in lines)
    high = max(losses[int(BEGINNING * (len(losses) - 1)) :].max() for _, _, losses in lines)
    epochs = max(len(losses) for _, _, losses in lines)
    curves = []
    for name, setting, losses in lines:
        at = np.unique(np.linspace(0, len(losses) - 1, MOST_POINTS).round().astype(int))
        x = at / (epochs - 1) * WIDTH
        y = np.clip((high - losses[at]) / ((high - low) or 1), -1, 1) * HEIGHT
        points = " ".join(f"{a:.0f},{b:.0f}" for a, b in zip(x, y, strict=True))
        look = looks[settings.index(setting)]
        dashes = f"{2 * look.marker} 3" if look.marker else ""
        curves.append(
            Curve(name, setting, points, look.colour, look.dark, dashes, f"{losses[-1]:.4g}")
        )
    firsts = list({curve.setting: curve for curve in reversed(curves)}.values())[::-1]
    return Panel(title, curves, firsts, epochs, f"{low:.4g}", f"{high:.4g}")
