"""The verdict on many settings, in words: which has the highest mean, and by more than chance?"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from scvae_cli.analysis.stats import LEAST, Ranking, rank
from scvae_cli.measures import score_name
from scvae_cli.results.means import by_seed, has_one_fit, within_data
from scvae_cli.results.table import setting_name

MOST_NAMED = 6  # settings that a sentence names
# Of settings that have one model whatever the seed, such as principal components.
ONE_FIT = "another seed changes nothing of these but the map and where k-means starts"


def verdict(table: pd.DataFrame, by: Sequence[str], score: str) -> list[str]:
    """Return which setting has the highest mean and which differ from it; a line a data set.

    Settings are compared on the seeds that both have, three at least: `stats.rank`. Two whose
    models no seed changes are not: their runs repeat one. Settings that are not compared, and
    runs without a result, are named.

    Args:
        table: from `results`.
        by: the columns that make a setting.
        score: what settings are compared by.
    """
    lines = []
    for values, same in within_data(table):
        names, scores = by_seed(same, by, score)
        n = np.isfinite(scores).sum(0)
        if len(names) < 2 or not n.any():
            continue
        one_fit = has_one_fit(same, by, names)
        ranking = rank(scores, one_fit=one_fit)
        means = np.where(n > 0, np.nansum(scores, 0) / np.maximum(n, 1), -np.inf)
        top = int(np.argmax(means)) if ranking.top is None else ranking.top
        where = f" on {', '.join(map(str, values))}" if values else ""
        seeds = f"{n[top]} seed{'s' if n[top] > 1 else ''}"
        line = f"Highest {score_name(score)}{where}: {names[top]} ({means[top]:.3f}, {seeds})"
        lines.append(" ".join([line + _compared(ranking, names, one_fit), *_without(same, by)]))
    return lines


def _compared(ranking: Ranking, names: Sequence[str], one_fit: np.ndarray) -> str:
    """Return what a ranking says of the other settings: the end of a sentence on the first."""
    if one_fit.all():
        return f". Chance is not measured: {ONE_FIT}."
    if ranking.top is None:
        return (
            f"; fewer than {LEAST} seeds are too few to tell a difference from chance "
            "(seed=range(0,5) gives five)."
        )
    how = "95 %, paired by seed"
    if ranking.n_pairs > 1:
        how += f", Holm's correction for {ranking.n_pairs} pairs"
    if not (ranking.level or ranking.higher or ranking.few or ranking.same):
        return f", above every other setting by more than chance ({how})."
    groups = {
        "Cannot be told from it": ranking.level,
        "Lower than it": ranking.lower,
        "Higher than it on the seeds in common": ranking.higher,
    }
    compared = ". ".join(f"{what}: {_some(some, names)}" for what, some in groups.items() if some)
    parts = ["."]
    if compared:
        parts.append(f"{compared} ({how}).")
    if ranking.same:
        same = _some(ranking.same, names)
        parts.append(f"Chance is not measured between it and {same}: {ONE_FIT}.")
    if ranking.few:
        few = _some(ranking.few, names)
        parts.append(f"Not compared, fewer than {LEAST} seeds in common: {few}.")
    return " ".join(parts)


def _without(table: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """Return a sentence on runs without a result, where there are any."""
    named = table.assign(setting=[setting_name(row, by) for _, row in table.iterrows()])
    lost = [
        f"{n_failed} of {len(group)} of {name}"
        for name, group in named.groupby("setting", sort=False)
        if (n_failed := int((group["status"] != "done").sum()))
    ]
    return [f"Runs without a result, in no mean: {_some(range(len(lost)), lost)}."] if lost else []


def _some(group: Iterable[int], names: Sequence[str]) -> str:
    """Return names of settings, not more than a reader wants."""
    listed = [names[i] for i in group]
    more = len(listed) - MOST_NAMED
    return "; ".join(listed[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
