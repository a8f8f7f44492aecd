"""Means over seeds and how sure they are: intervals, t-tests, and rankings of many settings."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

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
        sd: standard deviation of one value, or standard error of a difference of means; 0 where
            there is one value.
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
    """Return the mean of values (n,), with Student's t interval."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    mean = float(values.mean())
    if n < 2:
        return Estimate(mean, 0.0, np.inf, n)
    with nearly_equal_values():
        test = stats.ttest_1samp(values, 0)
    return Estimate(mean, float(values.std(ddof=1)), _half(test, LEVEL), n)


def difference(a: np.ndarray, b: np.ndarray, *, level: float = LEVEL) -> Estimate:
    """Return mean of a (n,) minus mean of b (m,), with Welch's interval: independent values."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    mean = float(a.mean() - b.mean())
    n = min(len(a), len(b))
    if n < 2:
        return Estimate(mean, 0.0, np.inf, n)
    error = float(np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)))
    if error == 0:
        return Estimate(mean, 0.0, 0.0, len(a))
    with nearly_equal_values():
        test = stats.ttest_ind(a, b, equal_var=False)
    return Estimate(mean, error, _half(test, level), n)


def paired(a: np.ndarray, b: np.ndarray) -> Estimate:
    """Return the mean of a - b, (n,) each, with the t interval of the differences."""
    return estimate(np.asarray(a, dtype=float) - np.asarray(b, dtype=float))


class Columns(NamedTuple):
    """What `by_column` says of each column: arrays (m,), NaN where there are too few values.

    Attributes:
        n: number of values.
        mean: of the values.
        sd: standard deviation of one value.
        low: lower end of Student's 95 % interval of the mean.
        high: upper end.
        p: of the two-sided t-test that the mean is 0; 1 where all values are 0.
    """

    n: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray


def by_column(values: np.ndarray) -> Columns:
    """Return mean, interval and t-test of each column of values (n, m); NaN are left out."""
    values = np.where(np.isfinite(values), values, np.nan)
    n = np.isfinite(values).sum(0)
    mean, sd, low, high, p = np.full((5, values.shape[1]), np.nan)
    mean[n > 0] = np.nanmean(values[:, n > 0], axis=0)
    sd[n > 1] = np.nanstd(values[:, n > 1], axis=0, ddof=1)
    ordered = np.sort(values, axis=0)  # NaN come last
    # Columns of as many values at once: SciPy's own `nan_policy` takes one column at a time.
    for size in np.unique(n[n > 1]):
        with nearly_equal_values():
            test = stats.ttest_1samp(ordered[:size, n == size], 0)
        low[n == size], high[n == size] = test.confidence_interval(LEVEL)
        p[n == size] = np.where(np.isnan(test.pvalue), 1.0, test.pvalue)
    return Columns(n, mean, sd, low, high, p)


@contextmanager
def nearly_equal_values() -> Iterator[None]:
    """Silence SciPy on values that are all the same: their interval has no width."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        yield


def _half(test: Any, level: float) -> float:
    """Return half the width of the confidence interval of SciPy's t-test."""
    low, high = test.confidence_interval(level)
    return float(high - low) / 2


def holm(p: np.ndarray) -> np.ndarray:
    """Return p values (m,) adjusted so that at most one family of m tests in 20 has a false one.

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
        lower: differ from it by more than chance, and are lower.
        level: cannot be told from it.
        higher: differ from it, and are higher on the seeds that both have.
        few: have too few seeds in common with it (or too few values) to be compared.
        n_pairs: of all settings, how many pairs Holm's correction is for.
        same: like it, have one model whatever the seed, so that seeds do not tell the two apart.
    """

    top: int | None
    lower: tuple[int, ...]
    level: tuple[int, ...]
    higher: tuple[int, ...]
    few: tuple[int, ...]
    n_pairs: int
    same: tuple[int, ...] = ()


def rank(values: np.ndarray, *, one_fit: np.ndarray | None = None, least: int = LEAST) -> Ranking:
    """Tell settings from the one of the highest mean, by t-tests paired by seed.

    The highest of many is the highest by luck too, so that testing it against each other setting
    at 5 % finds false differences more often than that. Any pair could have been the one that is
    looked at: Holm's correction is over all pairs of settings with enough seeds in common, and a
    false difference appears in at most one of twenty rankings.

    Args:
        values: (n_seeds, n_settings); NaN where a setting has no value for a seed.
        one_fit: (n_settings,) whether a setting has one model whatever the seed. Two such are
            not compared: their values are no independent ones. None for no such setting.
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
    fixed = np.zeros(n_settings, bool) if one_fit is None else one_fit
    enough = (np.isfinite(gaps).sum(0) >= least) & ~(fixed[first] & fixed[second])
    first, second, gaps = first[enough], second[enough], gaps[:, enough]
    test = by_column(gaps)
    differs = holm(test.p) <= 1 - LEVEL
    groups: dict[str, list[int]] = {"lower": [], "level": [], "higher": []}
    for i in np.flatnonzero((first == top) | (second == top)):
        other, ahead = (second[i], test.mean[i]) if first[i] == top else (first[i], -test.mean[i])
        group = "level" if not differs[i] else "lower" if ahead > 0 else "higher"
        groups[group].append(int(other))
    same = tuple(i for i in np.flatnonzero(fixed & fixed[top]).tolist() if i != top)
    compared = {top}.union(same, *groups.values())
    few = tuple(i for i in range(n_settings) if i not in compared)
    ordered = {name: tuple(sorted(some)) for name, some in groups.items()}
    return Ranking(top, **ordered, few=few, n_pairs=len(test.p), same=same)
