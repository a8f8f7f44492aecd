"""Figures of the loss while training."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from scvae_cli.results.colours import COLOURS
from scvae_cli.results.figures.loss_panel import MEAN, draw_term, title_of
from scvae_cli.results.figures.style import PAGE, SMALL, TEXT, open_axes

HEIGHT = 1.9  # inches


def loss_terms(history: pd.DataFrame, beta: float | None) -> Figure:
    """Draw what was made small, its second half closer, the KL of each latent, what was held out.

    The second half shows whether it still fell when training ended. What was held out shows that
    too, and stands in its place.

    Args:
        history: epoch, total, reconstruction, kl; updates, validation, member, kl_z1, ... if it
            has them.
        beta: weight of the KL term, or None where there is none.
    """
    time = "updates" if "updates" in history else "epoch"
    later = history[history[time] >= history[time].max() / 2]
    panels = {title_of("total", beta, history): (history, "total")}
    if "validation" in history:
        panels[title_of("validation", beta, history)] = history, "validation"
    elif 2 < later[time].nunique() < history[time].nunique():
        panels["the same, second half"] = later, "total"
    if beta is not None:
        panels[title_of("kl", beta, history)] = history, "kl"
    figure = Figure(figsize=(PAGE, HEIGHT), layout="constrained")
    for axes, (title, (rows, term)) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        draw_term(axes, rows, term, title, TEXT)
        open_axes(axes)
    figure.supylabel(MEAN, fontsize=TEXT)
    return figure


def loss_curves(histories: Mapping[str, Sequence[pd.DataFrame]]) -> Figure:
    """Draw reconstruction error and KL over epochs, a line a seed.

    Args:
        histories: name of a model to one history for each seed; see `train.COLUMNS`.
    """
    with_kl = {name: runs for name, runs in histories.items() if runs[0]["kl"].any()}
    terms = {"reconstruction": histories, **({"kl": with_kl} if with_kl else {})}
    figure = Figure(figsize=(PAGE, 2.6), layout="constrained")
    panels = figure.subplots(1, len(terms), squeeze=False)[0]
    for axes, (term, models) in zip(panels, terms.items(), strict=True):
        for name, runs in models.items():
            colour = COLOURS[list(histories).index(name)]
            for i, history in enumerate(runs):
                axes.plot(
                    history["epoch"], history[term], color=colour, linewidth=0.9, alpha=0.8,
                    label=name if i == 0 else None,
                )  # fmt: skip
        axes.set_title("squared error" if term == "reconstruction" else "KL", fontsize=TEXT + 1)
        axes.set_xlabel("epoch", fontsize=TEXT)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        open_axes(axes, which="both")
        axes.legend(frameon=False, fontsize=SMALL)
    figure.supylabel("mean over cells", fontsize=TEXT)
    return figure
