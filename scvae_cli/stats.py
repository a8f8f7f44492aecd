"""Means over seeds and how sure they are."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean with its uncertainty.

    Attributes:
        mean: of the values, or of their differences.
        sd: standard deviation of one value; 0 where there is one alone.
        half: half the width of the 95 % confidence interval; infinite where there is one value.
        n: number of values.
    """

    mean: float
    sd: float
    half: float
    n: int

    @property
    def single(self) -> float:
        """Half the width of the 95 % prediction interval of one further value."""
        return self.half * float(np.sqrt(self.n + 1))

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + self.half


def estimate(values: np.ndarray) -> Estimate:
    """Mean of values (n,), with Student's t interval."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    mean = float(values.mean())
    if n < 2:
        return Estimate(mean, 0.0, np.inf, n)
    sd = float(values.std(ddof=1))
    return Estimate(mean, sd, float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * sd / np.sqrt(n)), n)


def difference(a: np.ndarray, b: np.ndarray) -> Estimate:
    """Mean of a (n,) minus mean of b (m,), with Welch's interval, for independent values."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    mean = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return Estimate(mean, 0.0, np.inf, min(len(a), len(b)))
    parts = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
    if not parts.any():
        return Estimate(mean, 0.0, 0.0, len(a))
    freedom = parts.sum() ** 2 / (parts**2 / [len(a) - 1, len(b) - 1]).sum()
    half = stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(parts.sum())
    return Estimate(mean, float(np.sqrt(parts.sum())), float(half), min(len(a), len(b)))


def paired(a: np.ndarray, b: np.ndarray) -> Estimate:
    """Mean of a - b, (n,) each, with the t interval of the differences."""
    return estimate(np.asarray(a, dtype=float) - np.asarray(b, dtype=float))
