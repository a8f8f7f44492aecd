"""Ask the tables of the benchmark: scores, criteria, and what each rule of choice costs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from benchmarks.latents.methods import METHODS, PEERS
from benchmarks.latents.sets import CIRCULAR
from scvae_cli.analysis.stats import LEVEL, difference
from scvae_cli.choice.criteria import CRITERIA
from scvae_cli.choice.plan import CANDIDATES
from scvae_cli.choice.verdict import Verdict, judge

BY = ("k-means", "Leiden")
WIDTHS = ("pca-10", "pca-20", "pca-50")
MEASURES = ("nmi", "ari")


class Tables(NamedTuple):
    """What docs/benchmark has.

    Attributes:
        scores: a row a training, labels, space and way of clustering; methods in order.
        criteria: a row a training of a candidate.
        joined: a row a model, labels, and way of joining its seeds.
        about: labels (set, kind, source), versions, and what was measured of time and memory.
    """

    scores: pd.DataFrame
    criteria: pd.DataFrame
    joined: pd.DataFrame
    about: Mapping[str, Any]

    @property
    def labels(self) -> dict[str, dict[str, str]]:
        """Return set, kind and source of each set of labels."""
        labels: dict[str, dict[str, str]] = self.about["labels"]
        return labels


def read(folder: Path) -> Tables:
    """Read the tables of a folder."""
    scores, criteria, joined = (
        pd.read_csv(folder / f"{name}.csv") for name in ("scores", "criteria", "joined")
    )
    scores = scores[scores["method"].isin(METHODS)]
    return Tables(scores, criteria, joined, json.loads((folder / "about.json").read_text()))


def values(
    tables: Tables, labels: str, space: str, by: str, measure: str
) -> dict[str, np.ndarray]:
    """Return the scores (n_seeds,) of each method that has two or more."""
    s = tables.scores
    some = s[(s["labels"] == labels) & (s["space"] == space) & (s["by"] == by)]
    groups = some.groupby("method", sort=False)[measure]
    return {str(name): v.to_numpy() for name, v in groups if len(v) > 1}


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


def verdicts(tables: Tables) -> dict[str, Verdict]:
    """Return what is recommended for each set of cells, by its name."""
    groups = tables.criteria.groupby("set", sort=False)
    return {str(name): judge(table, CANDIDATES) for name, table in groups}


def means(tables: Tables, space: str, by: str) -> pd.DataFrame:
    """Return the mean of NMI and ARI, over seeds: a row a method, a column a set of labels."""
    some = tables.scores[(tables.scores["space"] == space) & (tables.scores["by"] == by)]
    both = some.assign(value=(some["nmi"] + some["ari"]) / 2)
    wide = both.pivot_table("value", "method", "labels", sort=False)
    return wide[list(tables.labels)]


def regrets(tables: Tables, space: str, by: str) -> pd.DataFrame:
    """Return how far below the best candidate each rule of choice is.

    Returns:
        A row a set of labels: `highest` (the best candidate), `score` (its mean of NMI and ARI),
        and a column a rule with what it loses.
    """
    table = means(tables, space, by)
    ours = table.loc[[name for name in CANDIDATES if name in table.index]]
    chosen = {name: verdict.chosen for name, verdict in verdicts(tables).items()}
    rows = {}
    for labels, about in tables.labels.items():
        column = ours[labels].dropna()
        top = float(column.max())
        rules = {
            "scvae choose": chosen[about["set"]],
            "best, left out": left_out(tables, about["set"]),
            "always pca-20": "pca-20",
            "always pca-sqrt": "pca-sqrt",
            "always vae-nb": "vae-nb",
        }
        lost = {rule: top - float(column[method]) for rule, method in rules.items()}
        lost["PCA, best width"] = top - float(column[list(WIDTHS)].max())
        lost |= {
            p: top - float(table.at[p, labels])
            for p in PEERS
            if p in table.index and table.loc[p].notna().all()
        }
        rows[labels] = {"highest": str(column.idxmax()), "score": top, **lost}
    return pd.DataFrame.from_dict(rows, orient="index")


def by_set(tables: Tables, values: pd.Series) -> pd.Series:
    """Return the mean of each set of cells whose types are no clusters of the same counts.

    Args:
        tables: all.
        values: by labels; a set of which a value is missing is left out.
    """
    sets = {n: a["set"] for n, a in tables.labels.items() if a["kind"] != CIRCULAR}
    means: pd.Series = (
        values[list(sets)].groupby(sets, sort=False).agg(lambda some: some.mean(skipna=False))
    )
    return means.dropna()


def overall(tables: Tables, methods: Sequence[str]) -> pd.DataFrame:
    """Return each method's mean of NMI, ARI, k-means and Leiden in the latent space.

    Returns:
        A row a method that was run on all of them, a column a set of cells; the highest mean
        comes first. Only types that are no clusters of the same counts count.
    """
    both = sum(means(tables, "latent", by) for by in BY) / len(BY)
    rows = {m: by_set(tables, both.loc[m]) for m in methods if m in both.index}
    table = pd.DataFrame.from_dict(rows, orient="index").dropna()
    order = table.mean(axis=1).sort_values(ascending=False, kind="stable").index
    return table.loc[order]


def ranking(tables: Tables, without: str | None = None) -> pd.Series:
    """Return the candidates' mean over sets of cells, the highest first.

    Args:
        tables: all.
        without: a set of cells that has no say.
    """
    table = overall(tables, CANDIDATES).drop(columns=without or [], errors="ignore")
    order: pd.Series = table.mean(axis=1).sort_values(ascending=False, kind="stable")
    return order


def left_out(tables: Tables, name: str) -> str:
    """Return the candidate that is highest on all sets but one."""
    return str(ranking(tables, name).index[0])


def correlations(tables: Tables) -> pd.DataFrame:
    """Return Spearman's correlation of criteria with scores over candidates, a row labels.

    It is NaN where all candidates have one score.
    """
    rows = {}
    for labels, about in tables.labels.items():
        of_set = tables.criteria[tables.criteria["set"] == about["set"]]
        criteria = of_set.groupby("candidate")[list(CRITERIA)].mean()
        score = sum(means(tables, "latent", by)[labels] for by in BY).reindex(criteria.index)
        level = score.round(6).nunique() == 1
        rows[labels] = {
            name: np.nan if level else float(spearmanr(criteria[name], score).statistic)
            for name in CRITERIA
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def joining(tables: Tables) -> pd.DataFrame:
    """Return what joining seeds gains over a single one: way, labels, method, by, gain.

    The gain is that of the mean of NMI and ARI.
    """
    table = tables.joined
    value = (table["nmi"] + table["ari"]) / 2
    single = {by: means(tables, "latent", by) for by in BY}
    alone = [
        float(single[str(by)].at[method, labels])
        for by, method, labels in zip(table["by"], table["method"], table["labels"], strict=True)
    ]
    return table.assign(gain=value - np.array(alone))
