"""A term of the loss over a training, in axes of matplotlib, of which no setting is changed."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from scvae_cli.errors import InputError, Kind, unknown_choice
from scvae_cli.results.colours import COLOURS

Panel = Axes  # what `plot_term` draws in
INK, PALE = "#333333", "#9aa5b1"
TERMS = ("total", "reconstruction", "kl", "validation")
MEAN = "mean over cells"  # what values are


def title_of(term: str, beta: float | None, history: pd.DataFrame) -> str:
    """Return what a term is, in words.

    Args:
        term: of `TERMS`.
        beta: weight of the KL term, or None where there is none.
        history: what is drawn.
    """
    if term == "total":
        return "reconstruction error" if beta is None else f"loss: reconstruction + {beta:g} KL"
    if term == "kl":
        return "KL" + (" (pale: of each latent)" if _latents(history) else "")
    return {"validation": "held out (dot: weights kept)"}.get(term, "reconstruction error")


def draw_term(
    axes: Axes, history: pd.DataFrame, term: str, title: str, size: float | None = None
) -> None:
    """Draw a term, a line for each member of an ensemble.

    Of what was held out, a dot is where the weights were kept; of the KL, that of each latent is
    drawn pale.

    Args:
        axes: where.
        history: epoch, total, reconstruction, kl; updates, validation, member, kl_z1, ... if it
            has them.
        term: of `TERMS`.
        title: of the panel.
        size: of its letters, in points; None for matplotlib's.
    """
    time = "updates" if "updates" in history else "epoch"
    for _, own in history.groupby("member") if "member" in history else [(1, history)]:
        for latent in _latents(own) if term == "kl" else []:
            axes.plot(own[time], own[latent], color=PALE, linewidth=0.7)
        axes.plot(own[time], own[term], color=INK, linewidth=1.1)
        if term == "validation":
            kept = own.loc[own[term].idxmin()]
            axes.plot(kept[time], kept[term], "o", color=COLOURS[0], markersize=4)
    axes.set_title(title, fontsize=size, loc="left")
    axes.set_xlabel(time, fontsize=size)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.ticklabel_format(axis="y", useOffset=False)


def plot_term(history: pd.DataFrame, term: str, beta: float | None, axes: Axes | None) -> Axes:
    """Draw a term in axes, or in those of a new figure of pyplot.

    Raises:
        InputError: the history has no such term, or fewer than two rows.
    """
    if len(history) < 2:
        fix = "pca and projection are not trained; a network needs two epochs"
        raise InputError(Kind.EMPTY, "history", "has no curve", fix)
    if term not in history or term not in TERMS:
        raise unknown_choice("term", term, [name for name in TERMS if name in history])
    if axes is None:
        from matplotlib import pyplot

        axes = pyplot.subplots(layout="constrained")[1]
    draw_term(axes, history, term, title_of(term, beta, history))
    axes.set_ylabel(MEAN)
    return axes


def _latents(history: pd.DataFrame) -> Sequence[str]:
    """Return the columns with the KL of each latent, where it has them."""
    return [name for name in history if str(name).startswith("kl_z")]
