"""Recommend a candidate by what was measured, and say why in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scvae_cli.analysis.stats import DIGITS, LEAST, LEVEL, Estimate, by_column, holm, paired
from scvae_cli.choice.plan import CONTROL

MAIN = "predicted"  # the criterion that candidates are chosen by


@dataclass(frozen=True)
class Verdict:
    """What is recommended, and why.

    Attributes:
        chosen: the candidate.
        better: candidates that predict held-out molecules better than the control by more than
            chance, the best first.
        gap: of the criterion, the highest candidate minus the control, paired by seed; None
            where the control is the highest, has no result, or shares too few seeds with it.
        highest: the candidate with the highest mean.
        n_seeds: the most trainings of a candidate.
    """

    chosen: str
    better: tuple[str, ...]
    gap: Estimate | None
    highest: str
    n_seeds: int

    def in_words(self) -> list[str]:
        """Return the verdict, a sentence or two a line."""
        if self.chosen != CONTROL and not self.better:
            return [f"{self.chosen} predicts best; {CONTROL} has no result to compare it with."]
        if self.n_seeds < LEAST:
            return [
                f"Highest: {self.highest}. Fewer than {LEAST} seeds are too few to tell a "
                f"difference from chance, so {self.chosen} is recommended; --seeds 3 trains three."
            ]
        if self.gap is None and self.highest == CONTROL:
            return [f"Nothing predicts held-out molecules better than {CONTROL}."]
        if self.gap is None:
            return [
                f"Highest: {self.highest}. It has fewer than {LEAST} seeds in common with "
                f"{CONTROL}, too few to tell a difference from chance, so {self.chosen} is "
                "recommended."
            ]
        size = f"by {self.gap.mean:.4f} ± {self.gap.half:.4f} nats per molecule"
        if not self.better:
            return [
                f"Nothing beats {CONTROL} beyond chance: {self.highest} is ahead {size} "
                f"(95 %, {self.gap.n} seeds), which may be luck."
            ]
        others = f"; so do {', '.join(self.better[1:])}" if self.better[1:] else ""
        return [
            f"{self.chosen} predicts held-out molecules better than {CONTROL}, {size} "
            f"(95 %, {self.gap.n} seeds, paired){others}."
        ]


def judge(table: pd.DataFrame, order: Sequence[str]) -> Verdict:
    """Recommend the candidate that predicts held-out molecules best, if it beats the control.

    Each candidate is compared with the control on the seeds that both have, on which the same
    molecules are held out (unless the genes differ): paired t-tests, Holm's correction for the
    number of candidates. Where none is better at 5 %, the control is recommended.

    Args:
        table: from `criteria.measure`.
        order: the candidates, the simplest first, which is taken among equals.
    """
    wide = table.pivot_table(MAIN, "seed", "candidate", dropna=False)
    wide = wide[[name for name in order if name in wide]]
    means = wide.mean()
    highest = str(means.idxmax())
    n_seeds = int(wide.notna().sum().max())
    if CONTROL not in wide:
        return Verdict(highest, (), None, highest, n_seeds)
    better = _better(wide)
    chosen = better[0] if better else CONTROL
    shown = chosen if better else highest
    both = wide[[shown, CONTROL]].dropna()
    few = shown == CONTROL or len(both) < LEAST
    gap = None if few else paired(*both.to_numpy().T)
    return Verdict(chosen, tuple(better), gap, highest, n_seeds)


def _better(wide: pd.DataFrame) -> list[str]:
    """Return the candidates that beat the control by more than chance, the best first."""
    others = wide.drop(columns=CONTROL)
    gaps = by_column((others.to_numpy() - wide[[CONTROL]].to_numpy()).round(DIGITS))
    compared = gaps.n >= LEAST
    p = np.ones(len(compared))
    p[compared] = holm(gaps.p[compared])
    beats = compared & (p <= 1 - LEVEL) & (gaps.mean > 0)
    ranked = others.mean()[beats].sort_values(ascending=False, kind="stable")
    return [str(name) for name in ranked.index]
