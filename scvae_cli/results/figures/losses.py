"""Figures of the loss while training."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from scvae_cli.results.colours import COLOURS
from scvae_cli.results.figures.style import open_axes, png


def loss_terms(history: pd.DataFrame, beta: float | None) -> bytes:
    """Draw each term of the loss over epochs or updates, a panel a term as their sizes differ.

    Args:
        history: epoch, total, reconstruction, kl; updates and validation, if it has them.
        beta: weight of the KL term, or None where there is none.
    """
    terms = {"reconstruction": "reconstruction"}
    if beta is not None:
        terms = {"total": f"reconstruction + {beta:g} KL", **terms, "kl": "KL"}
    if "validation" in history:
        terms["validation"] = "held out (dot: weights kept)"
    time = "updates" if "updates" in history else "epoch"
    figure = Figure(figsize=(3.4 * len(terms), 2.9), layout="constrained")
    panels = figure.subplots(1, len(terms), squeeze=False)[0]
    for axes, (term, title) in zip(panels, terms.items(), strict=True):
        for _, rows in history.groupby("member") if "member" in history else [(1, history)]:
            axes.plot(rows[time], rows[term], color="#333333", linewidth=1.2)
            if term == "validation":
                kept = rows.loc[rows[term].idxmin()]
                axes.plot(kept[time], kept[term], "o", color=COLOURS[0], markersize=5)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(time)
        open_axes(axes)
    figure.supylabel("mean over cells", fontsize=10)
    return png(figure)


def loss_curves(histories: Mapping[str, Sequence[pd.DataFrame]]) -> bytes:
    """Draw reconstruction error and KL over epochs, a line a seed.

    Args:
        histories: name of a model to one history for each seed; see `train.COLUMNS`.
    """
    with_kl = {name: runs for name, runs in histories.items() if runs[0]["kl"].any()}
    terms = {"reconstruction": histories, **({"kl": with_kl} if with_kl else {})}
    figure = Figure(figsize=(4.6 * len(terms), 3.3), layout="constrained")
    panels = figure.subplots(1, len(terms), squeeze=False)[0]
    for axes, (term, models) in zip(panels, terms.items(), strict=True):
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
        open_axes(axes, which="both")
        axes.legend(frameon=False)
    figure.supylabel("mean over cells", fontsize=10)
    return png(figure, dpi=130)
