"""Means over seeds and how sure they are."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
LEAST = 3  # seeds that a setting, and a pair of settings, must have to be compared
DIGITS = 9  # of a score; what differs behind them is rounding


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


def difference(a: np.ndarray, b: np.ndarray, *, level: float = LEVEL) -> Estimate:
    """Mean of a (n,) minus mean of b (m,), with Welch's interval, for independent values."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    mean = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return Estimate(mean, 0.0, np.inf, min(len(a), len(b)))
    parts = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
    if not parts.any():
        return Estimate(mean, 0.0, 0.0, len(a))
    freedom = parts.sum() ** 2 / (parts**2 / [len(a) - 1, len(b) - 1]).sum()
    half = stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(parts.sum())
    return Estimate(mean, float(np.sqrt(parts.sum())), float(half), min(len(a), len(b)))


def paired(a: np.ndarray, b: np.ndarray) -> Estimate:
    """Mean of a - b, (n,) each, with the t interval of the differences."""
    return estimate(np.asarray(a, dtype=float) - np.asarray(b, dtype=float))


def holm(p: np.ndarray) -> np.ndarray:
    """P values (m,) adjusted so that at most one family of m tests in twenty has a false one.

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6, 65 (1979). It holds however the tests depend on each other.
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


@dataclass(frozen=True)
class Ranking:
    """Settings compared with the one of the highest mean; all are positions among the settings.

    Attributes:
        top: the setting with the highest mean of those with enough values; None if none has.
        lower: told from it, and lower.
        level: cannot be told from it.
        higher: told from it, and higher on the seeds that both have.
        few: have too few seeds in common with it (or too few values) to be compared.
        n_pairs: of all settings, how many pairs Holm's correction is for.
    """

    top: int | None
    lower: tuple[int, ...]
    level: tuple[int, ...]
    higher: tuple[int, ...]
    few: tuple[int, ...]
    n_pairs: int


def rank(values: np.ndarray, *, least: int = LEAST) -> Ranking:
    """Tells settings from the one of the highest mean, by t-tests paired by seed.

    The highest of many is the highest by luck too, so that testing it against each other setting
    at 5 % finds false differences more often than that. Any pair could have been the one that is
    looked at: Holm's correction is over all pairs of settings with enough seeds in common, and a
    false difference appears in at most one of twenty rankings.

    Args:
        values: (n_seeds, n_settings); NaN where a setting has no value for a seed.
        least: seeds that a setting, and a pair, must have.
    """
    values = np.asarray(values, dtype=float)
    n = np.isfinite(values).sum(0)
    n_settings = values.shape[1]
    if not (n >= least).any():
        return Ranking(None, (), (), (), tuple(range(n_settings)), 0)
    sums = np.where(np.isfinite(values), values, 0.0).sum(0)
    top = int(np.argmax(np.where(n >= least, sums / np.maximum(n, 1), -np.inf)))
    first, second = np.triu_indices(n_settings, 1)
    gaps = (values[:, first] - values[:, second]).round(DIGITS)
    enough = np.isfinite(gaps).sum(0) >= least
    first, second, gaps = first[enough], second[enough], gaps[:, enough]
    mean, p = _paired_tests(gaps)
    told = holm(p) <= 1 - LEVEL
    groups: dict[str, list[int]] = {"lower": [], "level": [], "higher": []}
    for i in np.flatnonzero((first == top) | (second == top)):
        other, ahead = (second[i], mean[i]) if first[i] == top else (first[i], -mean[i])
        group = "level" if not told[i] else "lower" if ahead > 0 else "higher"
        groups[group].append(int(other))
    compared = {top}.union(*groups.values())
    few = tuple(i for i in range(n_settings) if i not in compared)
    found = {name: tuple(sorted(some)) for name, some in groups.items()}
    return Ranking(top, **found, few=few, n_pairs=len(p))


def _paired_tests(gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and two-sided p of each column of differences (n, m); NaN are left out."""
    n = np.isfinite(gaps).sum(0)
    there = np.where(np.isfinite(gaps), gaps, 0.0)
    mean = there.sum(0) / n
    variance = (np.where(np.isfinite(gaps), gaps - mean, 0.0) ** 2).sum(0) / (n - 1)
    error = np.sqrt(variance / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(mean == 0, 0.0, np.abs(mean) / error)
    return mean, 2 * stats.t.sf(t, n - 1)
