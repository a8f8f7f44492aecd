"""Ask the table of all scores, and tell methods apart."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from benchmarks.models.cells import TRUTH
from scvae_cli.analysis.stats import LEVEL, Estimate, difference

MEASURES = {"nmi": "NMI", "ari": "ARI"}


class Table:
    """Scores by method, set of labels, space, way of clustering and measure.

    Attributes:
        scores: a row for each training, set of labels, space and way of clustering.
        labels: names of the sets of labels, in the order of the page.
    """

    def __init__(self, scores: pd.DataFrame) -> None:
        self.scores = scores
        there = set(scores["labels"])
        self.labels = [labels for labels in TRUTH if labels in there]

    def methods(self, labels: str) -> list[str]:
        """Return the methods that have scores against these labels, best first.

        The order is by the mean of latent NMI and ARI of k-means.
        """
        some = self._some(labels, "latent", "k-means")
        means = some.groupby("method")[["nmi", "ari"]].mean().mean(axis=1)
        ordered = means.sort_values(ascending=False, kind="stable")
        return [str(name) for name in ordered.index]

    def values(self, method: str, labels: str, space: str, by: str, measure: str) -> np.ndarray:
        """Return a score for each seed (n,)."""
        some = self._some(labels, space, by)
        values: np.ndarray = some.loc[some["method"] == method, measure].to_numpy()
        return values

    def top(
        self, labels: str, space: str, by: str, measure: str, among: Sequence[str]
    ) -> tuple[str, list[str]]:
        """Return the method with the highest mean, and those `level` with it."""
        values = {m: self.values(m, labels, space, by, measure) for m in among}
        values = {m: v for m, v in values.items() if len(v) > 1}
        best = max(values, key=lambda m: float(values[m].mean()))
        return best, level(values, best)

    def _some(self, labels: str, space: str, by: str) -> pd.DataFrame:
        s = self.scores
        return s[(s["labels"] == labels) & (s["space"] == space) & (s["by"] == by)]


def level(values: Mapping[str, np.ndarray], best: str) -> list[str]:
    """Return the methods that cannot be told from the one with the highest mean.

    A method that is as good as the best is left out in 5 % of cases at most: the highest of k is
    compared at 5 % / (k - 1), one-sided (Welch), as each of the others could have been the
    highest. Plain 95 % intervals leave out one in six of 25 equal methods with five seeds.

    Args:
        values: a score for each seed (n,), by method.
        best: the method with the highest mean.
    """
    tests = max(len(values) - 1, 1)
    wide = 1 - 2 * (1 - LEVEL) / tests
    return [
        m for m in values
        if m != best and difference(values[best], values[m], level=wide).low <= 0
    ]  # fmt: skip


def better_or_worse(gap: Estimate) -> str:
    """Return what a difference says, by its interval."""
    return "better" if gap.low > 0 else "worse" if gap.high < 0 else "cannot be told"
