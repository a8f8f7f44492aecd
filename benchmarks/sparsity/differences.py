"""Compare models in each measure, with Holm's correction for the number of comparisons."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import ttest_ind, ttest_rel

from scvae_cli.analysis.stats import (
    DIGITS,
    LEAST,
    LEVEL,
    Estimate,
    difference,
    holm,
    nearly_equal_values,
    paired,
)

# The measures that are compared, as sentences name them.
WORDS = {
    "auroc": "AUROC",
    "marked": "types marked",
    "gain": "own minus other markers",
    "canonical": "textbook markers",
    "jaccard": "match between seeds",
}


class Gap(NamedTuple):
    """A difference of two models in one measure.

    Attributes:
        a: name of a model.
        b: name of the model that is subtracted.
        measure: of `WORDS`.
        estimate: mean of a minus mean of b.
        says: `higher`, `lower` or `not significant`, after Holm's correction.
    """

    a: str
    b: str
    measure: str
    estimate: Estimate
    says: str


def pairs_of(sparse: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Return the pairs that are compared, by family: Holm's correction is within a family.

    Args:
        sparse: names of the sparse models.
    """
    return {
        "VAE": [(name, "VAE") for name in sparse],
        "PCA": [(name, "PCA") for name in sparse],
        "turned": [(name, f"{name}, turned") for name in [*sparse, "VAE", "PCA"]],
    }


def gaps(values: Mapping[str, pd.DataFrame], pairs: Sequence[tuple[str, str]]) -> list[Gap]:
    """Return the differences of each pair in each measure, corrected for all of them.

    A model and its own turned version are the same trainings, so that they are paired by seed.

    Args:
        values: measures by name of the model, a row for each seed.
        pairs: names of the models.
    """
    estimates, p = [], []
    for a, b in pairs:
        same = b == f"{a}, turned"
        for name in WORDS:
            x, y = (values[model][name].to_numpy(dtype=float) for model in (a, b))
            estimates.append((a, b, name, (paired if same else difference)(x, y)))
            p.append(p_of(x, y, same=same))
    differ = holm(np.array(p)) <= 1 - LEVEL
    return [
        Gap(*row, ("higher" if row[3].mean > 0 else "lower") if sure else "not significant")
        for row, sure in zip(estimates, differ, strict=True)
    ]


def p_of(a: np.ndarray, b: np.ndarray, *, same: bool) -> float:
    """Return the two-sided p of the difference of means.

    Values that differ only behind `DIGITS` are equal: the rest is rounding.

    Args:
        a: a value for each seed (n,).
        b: a value for each seed (m,).
        same: whether both are of the same trainings: paired by seed then, and else Welch's.

    Returns:
        0 to 1; 1 with fewer than `LEAST` seeds.
    """
    a, b = a.round(DIGITS), b.round(DIGITS)
    if min(len(a), len(b)) < LEAST:
        return 1.0
    p = np.nan
    with nearly_equal_values():
        if same and np.ptp((a - b).round(DIGITS)) > 0:
            p = float(ttest_rel(a, b).pvalue)
        if not same and np.ptp(a) + np.ptp(b) > 0:
            p = float(ttest_ind(a, b, equal_var=False).pvalue)
    return p if np.isfinite(p) else float(a.mean() == b.mean())


def by_verdict(some: Sequence[Gap], a: str, b: str) -> dict[str, list[str]]:
    """Return the measures in which a is higher than b, lower, and not significantly different."""
    names: dict[str, list[str]] = {"higher": [], "lower": [], "not significant": []}
    for gap in some:
        if (gap.a, gap.b) == (a, b):
            names[gap.says].append(WORDS[gap.measure])
    return names


def above(some: Sequence[Gap], a: str, b: str) -> bool:
    """Return whether a is higher than b in one measure at least, and lower in none."""
    names = by_verdict(some, a, b)
    return bool(names["higher"]) and not names["lower"]
