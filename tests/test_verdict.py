"""What is said of many settings: true by construction, and rarely false where nothing differs."""

import numpy as np
import pandas as pd
import pytest
from conftest import representative
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests

from scvae_cli.analysis.stats import by_column, holm, rank
from scvae_cli.results.means import differences
from scvae_cli.results.verdict import verdict


def runs(**settings):
    """A row a run of each model: scores by seed, None for a run that failed."""
    rows = [
        {
            "run": f"{model}{seed}", "model": model, "seed": seed,
            "status": "failed" if value is None else "done",
            "tsne_nmi": np.nan if value is None else value,
        }
        for model, scores in settings.items()
        for seed, value in (scores.items() if isinstance(scores, dict) else enumerate(scores))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def said(table) -> str:
    (line,) = verdict(table, ["model"], "tsne_nmi")
    return line


def test_settings_that_no_seed_changes_are_not_told_apart_by_seeds():
    """Two models without randomness, whose runs differ by the starts of k-means only."""
    table = runs(pca6=[0.624, 0.624, 0.624], pca10=[0.601, 0.600, 0.599])
    assert "by more than chance" in said(table)
    table["one_fit"] = True
    line = said(table)
    assert line.startswith("Highest NMI on the 2-D map: pca6 (0.624, 3 seeds). Chance is not mea")
    assert "by more than chance" not in line
    assert differences(table, ["model"])[["low", "high"]].isna().all(axis=None)
    table = pd.concat([table, runs(vae=[None] * 3).assign(one_fit=False)])
    assert "Not compared, fewer than 3 seeds in common: vae." in said(table)
    few = table[(table["seed"] == 0) & table["one_fit"]]
    assert "range(0,5)" not in said(few)


def test_a_setting_that_no_seed_changes_is_told_from_trained_ones():
    table = runs(pca6=[0.624] * 4, pca10=[0.6] * 4, vae=scattered(0.5, 4), ae=scattered(0.4, 4, 1))
    table["one_fit"] = table["model"].isin(["pca6", "pca10"])
    line = said(table)
    assert "Lower than it: vae; ae (95 %, paired by seed, Holm's correction for 5 pairs)." in line
    assert "Chance is not measured between it and pca10: " in line
    known = differences(table, ["model"]).set_index(["a", "b"])["low"].notna()
    assert not known.pop(("pca6", "pca10"))
    assert known.all()


def scattered(mean, n=5, seed=0):
    return list(mean + 0.01 * np.random.default_rng(seed).normal(size=n))


def test_holm_is_that_of_statsmodels():
    p = np.random.default_rng(0).uniform(size=40) ** 4
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], rel=1e-12)
    assert len(holm(np.empty(0))) == 0


def test_two_settings_are_told_apart_by_the_paired_t_test():
    rng = np.random.default_rng(1)
    for _ in range(200):
        values = rng.normal(size=(4, 2)) + rng.normal(size=(4, 1)) + [0.0, 2.0]
        a, b = values.T
        ranking = rank(values)
        told = scipy_stats.ttest_rel(a, b).pvalue <= 0.05
        assert bool(ranking.lower) == told
        assert bool(ranking.level) != told


def test_columns_with_gaps_are_those_of_scipy():
    values = np.random.default_rng(2).normal(size=(6, 5))
    values[[0, 3, 4], [1, 1, 2]] = np.nan
    columns = by_column(values)
    for i, column in enumerate(values.T):
        test = scipy_stats.ttest_1samp(column[np.isfinite(column)], 0)
        low, high = test.confidence_interval(0.95)
        ours = [columns.low[i], columns.high[i], columns.p[i]]
        assert ours == pytest.approx([low, high, test.pvalue], rel=1e-12)
    assert list(columns.n) == [6, 4, 5, 6, 6]


def test_columns_with_few_or_equal_values():
    columns = by_column(np.array([[0.3, 0.0, 0.3, np.nan], [0.3, 0.0, np.nan, np.nan]]))
    assert list(columns.mean[:3]) == [0.3, 0.0, 0.3]
    assert list(columns.low[:2]) == list(columns.high[:2]) == [0.3, 0.0]
    assert list(columns.p[:2]) == [0.0, 1.0]
    assert np.isnan([columns.low[2], columns.sd[2], columns.mean[3]]).all()


@pytest.mark.parametrize("n_seeds", [3, 5, 10])
@pytest.mark.parametrize("n_settings", representative([5, 2, 25]))
def test_equal_settings_are_rarely_told_apart(n_settings, n_seeds):
    """Of 600 rankings of equal settings, at most one in twenty has a false difference."""
    rng = np.random.default_rng(n_settings + n_seeds)
    draws = rng.normal(size=(600, n_seeds, n_settings)) + rng.normal(size=(600, n_seeds, 1))
    false = [bool((r := rank(values)).lower or r.higher) for values in draws]
    assert np.mean(false) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)


def test_settings_that_differ_are_told_apart():
    rng = np.random.default_rng(0)
    means = np.array([0.6, 0.5, 0.4, 0.3, 0.2])
    found = [rank(means + 0.02 * rng.normal(size=(5, 5))) for _ in range(200)]
    assert np.mean([r.top == 0 and len(r.lower) >= 3 for r in found]) > 0.9


def test_a_setting_above_all_others():
    line = said(runs(a=scattered(0.9), b=scattered(0.5, seed=1), c=scattered(0.4, seed=2)))
    assert "a (0.900, 5 seeds), above every other setting by more than chance (95 %" in line
    assert "paired by seed, Holm's correction for 3 pairs)" in line


def test_a_shared_seed_counts():
    """What settings share by their seed does not hide a small difference."""
    shared = np.random.default_rng(0).normal(size=8)
    other = 0.5 * (-1.0) ** np.arange(8)
    table = runs(
        a=0.5 + 0.02 * shared, b=0.499 + 0.02 * (shared + other), c=0.4 + 0.02 * (shared + other)
    )
    line = said(table)
    assert line.startswith("Highest NMI on the 2-D map: a (")
    assert "Cannot be told from it: b. Lower than it: c (95 %" in line


def test_other_seeds_are_not_compared():
    table = runs(a=dict(enumerate(scattered(0.9))), b={9 + i: 0.5 for i in range(5)})
    assert "more than chance" not in said(table)
    assert "Not compared, fewer than 3 seeds in common: b." in said(table)


def test_two_seeds_are_not_enough():
    line = said(runs(a=[0.6001, 0.6102], b=[0.6, 0.61]))
    assert "more than chance" not in line
    assert "fewer than 3 seeds are too few to tell" in line


def test_one_run_is_not_the_highest_over_three():
    line = said(runs(lucky=[0.99], a=scattered(0.6, 3), b=scattered(0.5, 3, seed=1)))
    assert line.startswith("Highest NMI on the 2-D map: a (")
    assert "Not compared, fewer than 3 seeds in common: lucky." in line


def test_lower_on_every_common_seed_is_not_above():
    """Two good seeds of its own make a's mean the highest; b is higher wherever both ran."""
    a = {0: 0.50, 1: 0.51, 2: 0.49, 3: 0.50, 8: 0.99, 9: 0.99}
    b = {seed: a[seed] + 0.02 + 0.0001 * seed for seed in range(4)}
    line = said(runs(a=a, b=b))
    assert line.startswith("Highest NMI on the 2-D map: a (0.663, 6 seeds).")
    assert "Higher than it on the seeds in common: b" in line
    assert "more than chance" not in line


def test_failed_seeds_are_counted_and_named():
    a = [*scattered(0.9, 8), None, None]
    line = said(runs(a=a, b=scattered(0.5, 10, seed=1)))
    assert "Runs without a result, in no mean: 2 of 10 of a." in line
    assert "paired by seed" in line
    line = said(runs(a=[None] * 3, b=[0.5, 0.6, 0.4]))
    assert "Highest NMI on the 2-D map: b (0.500, 3 seeds)." in line
    assert "Not compared, fewer than 3 seeds in common: a." in line
    assert "3 of 3 of a." in line
    assert verdict(runs(a=[None] * 3, b=[None] * 3), ["model"], "tsne_nmi") == []


def test_rounding_is_no_difference():
    line = said(runs(a=[0.1 + 0.2] * 4, b=[0.3] * 4))
    assert "Cannot be told from it: b" in line
