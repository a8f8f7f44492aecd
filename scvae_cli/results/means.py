"""Means over seeds of each setting, and the differences between settings, paired by seed."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from scvae_cli.analysis.stats import LEAST, by_column
from scvae_cli.results.table import scores_of, setting_name, shown


def summarise(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return a row a setting: n, failed, and mean, sd and 95 % interval of each score.

    Args:
        table: from `results`.
        by: the columns that make a setting.

    Returns:
        Columns `by`, n (seeds with a result), failed (runs without one), SCORE_mean, SCORE_sd,
        SCORE_low, SCORE_high. Runs of one seed, which may share a model, count as their mean.
        With one seed there is no sd, with fewer than three no interval.
    """
    rows = []
    for values, group in table.groupby(list(by), dropna=False, sort=False):
        good = group[group["status"] == "done"]
        row = dict(zip(by, values, strict=True))
        row |= {"n": good["seed"].nunique(), "failed": int((group["status"] != "done").sum())}
        for score in scores_of(table):
            columns = by_column(good.groupby("seed")[score].mean().to_numpy()[:, None])
            for name in ("mean", "sd", "low", "high"):
                known = columns.n[0] >= LEAST or name in ("mean", "sd")
                row[f"{score}_{name}"] = getattr(columns, name)[0] if known else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def differences(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return every setting against every other, paired by seed.

    Args:
        table: from `results`.
        by: the columns that make a setting.

    Returns:
        A row for two settings and a score: a, b, score, n (seeds in common, two at least), the
        mean of a - b, and its 95 % interval, from three seeds on, unless both have one model
        whatever the seed. Settings on other data are not compared.
    """
    parts = []
    good = table[table["status"] == "done"]
    for _, same in within_data(good):
        for score in scores_of(table):
            names, values = by_seed(same, by, score)
            first, second = np.triu_indices(len(names), 1)
            gaps = by_column(values[:, first] - values[:, second])
            fixed = has_one_fit(same, by, names)
            known = (gaps.n >= LEAST) & ~(fixed[first] & fixed[second])
            part = pd.DataFrame(
                {
                    "a": np.array(names)[first], "b": np.array(names)[second], "score": score,
                    "n": gaps.n, "mean": gaps.mean,
                    "low": np.where(known, gaps.low, np.nan),
                    "high": np.where(known, gaps.high, np.nan),
                }
            )  # fmt: skip
            parts.append(part[gaps.n > 1])
    columns = ["a", "b", "score", "n", "mean", "low", "high"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def within_data(table: pd.DataFrame) -> Iterable[tuple[tuple[object, ...], pd.DataFrame]]:
    """Return the runs on each data set, after its name; all, after (), where there is but one."""
    on = [c for c in ("data", "data_sha") if c in table]
    return table.groupby(on, dropna=False, sort=False) if on else [((), table)]


def by_seed(table: pd.DataFrame, by: Sequence[str], score: str) -> tuple[list[str], np.ndarray]:
    """Return names of settings, and scores (n_seeds, n_settings): NaN where there is none."""
    named = table.assign(setting=[setting_name(row, by) for _, row in table.iterrows()])
    names = list(dict.fromkeys(named["setting"]))
    good = named[named["status"] == "done"]
    wide = good.pivot_table(score, "seed", "setting", sort=False, dropna=False)
    return names, wide.reindex(columns=names).to_numpy(float)


def has_one_fit(table: pd.DataFrame, by: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Return (n_settings,) whether each of these settings has one model whatever the seed."""
    good = table[table["status"] == "done"]
    kinds = [
        (setting_name(row, by), bool(row.get("one_fit", False))) for _, row in good.iterrows()
    ]
    only = [{kind for of, kind in kinds if of == name} == {True} for name in names]
    return np.array(only, dtype=bool)  # also of none


def has_intervals(means: pd.DataFrame) -> bool:
    """Return whether a setting has seeds enough for an interval."""
    return bool((means["n"] >= LEAST).any())


def about_means(means: pd.DataFrame) -> str:
    """Return a sentence on the means of `brief`, and on their intervals where there are some."""
    if not has_intervals(means):
        return f"Means over n seeds; with fewer than {LEAST} there is no interval."
    half = "half of the 95 % confidence interval (Student's t)"
    return f"Means over n seeds \N{PLUS-MINUS SIGN} {half}."


def interval_in_words(low: float, high: float) -> str:
    """Return `-0.100 to +0.200`; a dash where there is no interval."""
    return "-" if np.isnan(low) else f"{low:+.3f} to {high:+.3f}"


def brief(means: pd.DataFrame, by: Sequence[str], scores: Sequence[str]) -> list[dict[str, str]]:
    """Return means as a person reads them: the setting, n, and mean ± half of the interval.

    Args:
        means: from `summarise`.
        by: the columns that make a setting.
        scores: which to show.
    """
    rows = []
    for values in means.to_dict("records"):  # a row by itself may make floats of integers
        row = {key: shown(values[key]) for key in by}
        row["n"] = str(values["n"]) + (f" (-{values['failed']})" if values["failed"] else "")
        for score in scores:
            mean, high = values[f"{score}_mean"], values[f"{score}_high"]
            text = "-" if np.isnan(mean) else f"{mean:.3f}"
            row[score] = text if np.isnan(high) else f"{text} ±{high - mean:.3f}"
        rows.append(row)
    return rows
