"""The table of many runs, results.csv: a row a run, and which of their settings vary."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scvae_cli.atomic import write_file
from scvae_cli.columns import MAP_NAMES
from scvae_cli.errors import unknown_choice, written
from scvae_cli.measures import SCORES, USUAL
from scvae_cli.runs.files import csv_of
from scvae_cli.runs.run import Run
from scvae_cli.runs.same import CIRCUMSTANCES

# Settings that no score depends on, or that the data's fingerprint stands for.
HIDDEN = {*CIRCUMSTANCES, "checkpoint.every", "figures.format", "figures.dpi", "map_3d",
          "data.dir", "data.keep"}  # fmt: skip
UNSEEDED = ("pca",)  # models whose parameters follow from the cells alone


def results(runs: Sequence[Run]) -> pd.DataFrame:
    """Return a row a run: its folder, the settings that vary, status, scores, losses, seconds.

    `data_sha` is a column where data of one name are not the same cells, genes and labels,
    `one_fit` where some runs have the same model with any seed, which it then says of each.
    """
    settings = pd.DataFrame([dict(run.flat_settings) for run in runs])
    table = pd.DataFrame({"run": names_of(runs)})
    for key in varied(settings):
        table[key] = settings[key]
    data = pd.DataFrame(
        {
            "name": settings.get("data"),
            "sha": [run.data.get("fingerprint") for run in runs],
        }
    )
    if data.dropna().groupby("name")["sha"].nunique().gt(1).any():
        table["data_sha"] = data["sha"].str[:8]
    table["status"] = [run.status for run in runs]
    table["reason"] = [run.record.get("reason") for run in runs]
    table["warnings"] = ["; ".join(run.warnings) or None for run in runs]
    if any(one_fit := [_has_one_fit(run.flat_settings) for run in runs]):
        table["one_fit"] = one_fit
    known = {name for run in runs for name in run.flat_scores} or {*USUAL}
    for name in [name for name in SCORES if name in known]:
        table[name] = [run.flat_scores.get(name, np.nan) for run in runs]
    for name in ("reconstruction", "kl"):
        table[name] = [run.losses.get(name, np.nan) for run in runs]
    table["seconds"] = [
        round(sum(run.record["seconds"].values()), 2) if "seconds" in run.record else np.nan
        for run in runs
    ]
    table["overrides"] = [" ".join(run.record.get("overrides", [])) for run in runs]
    return table


def names_of(runs: Sequence[Run]) -> list[str]:
    """Return the name of each run's folder, after those above it where others have the name too.

    Jobs of two sweeps may be called the same: `a/000-vae-pbmc3k` and `b/000-vae-pbmc3k`.
    """
    parts = [run.path.absolute().parts for run in runs]
    lengths = [1] * len(runs)
    while True:
        names = ["/".join(path[-n:]) for path, n in zip(parts, lengths, strict=True)]
        count = Counter(names)
        longer = [
            min(n + (count[name] > 1), len(path))
            for name, n, path in zip(names, lengths, parts, strict=True)
        ]
        if longer == lengths:
            return names
        lengths = longer


def _has_one_fit(settings: Mapping[str, Any]) -> bool:
    """Return whether another seed would give the same model, and the same latent space."""
    return settings.get("model") in UNSEEDED and settings.get("validation") is None


def varied(settings: pd.DataFrame) -> list[str]:
    """Return the keys that make a setting: the model, the seed, and what differs for one model.

    A key counts where its values differ for one model and data. A seed that only follows the
    run's does not, nor does a width that differs because the models do. Of a key of a map only
    the runs with that map count. Where each run is of a preset, and there are several, presets
    stand for the models and for all that they set.
    """
    if not {"model", "seed"} <= set(settings):
        return [key for key in ("model", "seed") if key in settings]
    known = settings.dropna(subset=["model"]).drop(columns=[*MAP_NAMES], errors="ignore")
    presets = known["experiment"].notna().all() and known["experiment"].nunique() > 1
    known = known.map(lambda v: json.dumps(v, default=str))
    what = "experiment" if presets else "model"
    keys = [what] + (["data"] if known["data"].nunique() > 1 else [])
    for key in known.columns:
        top = key.partition(".")[0]
        having = known[known["map"] == json.dumps(top)] if top in MAP_NAMES else known
        seeds = settings.loc[having.index]  # numbers: 0.0, beside runs that have none, is 0
        follows = key.endswith(".seed") and (seeds[key] == seeds["seed"]).all()
        if key in (*keys, "model", "experiment", "seed", "data") or key in HIDDEN or follows:
            continue
        if having.groupby([what, "data"])[key].nunique().gt(1).any():
            keys.append(key)
    return [*keys, "seed"]


def scores_of(table: pd.DataFrame) -> list[str]:
    """Return the scores that some run has: silhouettes where cells have no types."""
    return [name for name in SCORES if name in table]


def main_score(table: pd.DataFrame, asked: str | None) -> str:
    """Return what settings are compared by: what was asked for, else the first that there is.

    Raises:
        InputError: no run has that score.
    """
    known = scores_of(table)
    if asked is not None and asked not in known:
        raise unknown_choice("--score", asked, known)
    return asked or known[0]


def settings_of(table: pd.DataFrame) -> list[str]:
    """Return the columns of `results` that make a setting, without the seed."""
    columns = list(table.columns)
    return [c for c in columns[1 : columns.index("status")] if c != "seed"]


def setting_name(row: Mapping[str, Any] | pd.Series, by: Sequence[str]) -> str:
    """Return a setting in words: `vae, beta 2`."""
    words = []
    for key in by:
        value = row[key]
        if key in ("model", "data", "data_sha"):
            words.append(str(value))
        elif not pd.isna(value):
            words.append(f"{key} {shown(value)}")
    return ", ".join(words)


def shown(value: Any) -> str:
    """Return the value of a setting as a person reads it."""
    if isinstance(value, float):
        return "-" if np.isnan(value) else _number(value)
    if isinstance(value, list):
        return written(value)
    if isinstance(value, bool | np.bool_):
        return written(bool(value))
    return "-" if value is None else str(value)


def _number(value: float) -> str:
    """Return a number in six digits, or in as many as tell it from any other."""
    short = f"{value:g}"
    if float(short) == value:
        return short
    return str(int(value)) if value.is_integer() else repr(float(value))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table, whole or not at all, its numbers to the last digit."""
    write_file(path, csv_of(table))
