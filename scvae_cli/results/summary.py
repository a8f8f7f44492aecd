"""What many runs say together: a row a run, means over seeds, differences, figures, one page.

Everything here is computed from run folders, so that any set of them can be summed up again.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from scipy import stats

from scvae_cli.analysis.stats import LEAST, LEVEL, Ranking, rank
from scvae_cli.atomic import write_file
from scvae_cli.errors import InputError, unknown_choice
from scvae_cli.runs.folder import (
    CIRCUMSTANCES,
    LOSSES,
    csv_of,
    read_json,
    read_settings,
    read_table,
)
from scvae_cli.runs.provenance import codes
from scvae_cli.visible import visible

SPACES = {"tsne": "2-D map", "latent": "latent space"}
MEASURES = ["nmi", "ari", "hom", "com"]
SILHOUETTES = [f"{space}_silhouette" for space in SPACES]
SCORES = [f"{space}_{measure}" for space in SPACES for measure in [*MEASURES, "silhouette"]]
# Settings that no score depends on, or that the data's fingerprint stands for.
HIDDEN = {*CIRCUMSTANCES, "checkpoint.every", "map_3d", "data.dir"}
MARKUP = re.compile(r"[\\`*<>|\[\]&$~]|\b_|_\b")  # what Markdown takes for more than text
MOST_MAPS = 12
MOST_LINES = 6


@dataclass(frozen=True)
class Run:
    """One run, as its folder tells it.

    Attributes:
        path: the folder.
        record: run.json.
        settings: config.yaml, flat (`tsne.perplexity`); `model` and `data` are their names,
            `experiment` that of the preset, if there is one.
        scores: by names such as `tsne_nmi`; empty where there are none.
        losses: the last epoch's reconstruction error and KL, if there was one.
    """

    path: Path
    record: Mapping[str, Any]
    settings: Mapping[str, Any]
    scores: Mapping[str, float]
    losses: Mapping[str, float]

    @property
    def status(self) -> str:
        """`done`, `failed`, or `unfinished` where it was killed or still runs."""
        status = str(self.record["status"])
        return status if status in ("done", "failed") else "unfinished"

    @property
    def warnings(self) -> list[str]:
        """What to know before its result is believed."""
        return list(self.record.get("warnings", []))

    @property
    def data(self) -> Mapping[str, Any]:
        """Of run.json: what its cells were, as far as it got to know."""
        return self.record.get("data") or {}


def open_run(path: Path) -> Run:
    """The run in that folder.

    Raises:
        InputError: there is none (`MissingError`), or a file of it is damaged.
    """
    record = read_json(path, "run")
    settings, scores, losses = {}, {}, {}
    if (path / "config.yaml").exists():
        settings = {**_flat(read_settings(path)), "experiment": _experiment(record)}
        for key, kind in {"model": str, "data": str, "seed": int}.items():
            if not isinstance(settings.get(key), kind):
                raise InputError(f"{path / 'config.yaml'}: damaged (it names no {key})")
    if (path / "scores.json").exists():
        found = read_json(path, "scores")
        scores = {f"{space}_{m}": value for space in SPACES for m, value in found[space].items()}
    if (path / "history.csv").exists():
        last = read_table(path, "history", LOSSES).tail(1)
        losses = {name: float(v) for name in ("reconstruction", "kl") for v in last[name]}
    return Run(path, record, settings, scores, losses)


def read_run(path: Path) -> Run | None:
    """The run in that folder; None where there is none that can be read."""
    with suppress(InputError):
        return open_run(path)
    return None


def find_runs(paths: Iterable[Path], damaged: list[str] | None = None) -> list[Run]:
    """The runs in these folders and below, each once, in order of their paths.

    Args:
        paths: where to look.
        damaged: gets a line for each run that cannot be read.
    """
    folders: dict[Path, None] = {}
    for path in paths:
        for record in sorted(path.rglob("run.json")):
            if "attempts" not in record.relative_to(path).parts:
                folders[record.parent.resolve()] = None
    runs = []
    for folder in folders:
        try:
            runs.append(open_run(folder))
        except InputError as error:
            if damaged is not None:
                damaged.append(str(error))
    return runs


def results(runs: Sequence[Run]) -> pd.DataFrame:
    """A row a run: its folder, the settings that vary, status, scores, losses, seconds.

    `data_sha` is a column where data of one name are not the same cells, genes and labels.
    """
    settings = pd.DataFrame([dict(run.settings) for run in runs])
    table = pd.DataFrame({"run": [run.path.name for run in runs]})
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
    there = {name for run in runs for name in run.scores} or {*SCORES} - {*SILHOUETTES}
    for name in [name for name in SCORES if name in there]:
        table[name] = [run.scores.get(name, np.nan) for run in runs]
    for name in ("reconstruction", "kl"):
        table[name] = [run.losses.get(name, np.nan) for run in runs]
    table["seconds"] = [
        round(sum(run.record["seconds"].values()), 2) if "seconds" in run.record else np.nan
        for run in runs
    ]
    table["overrides"] = [" ".join(run.record.get("overrides", [])) for run in runs]
    return table


def varied(settings: pd.DataFrame) -> list[str]:
    """Keys that make a setting: `model` and `seed`, and those that differ for one model and data.

    A seed that only follows the run's is not one of them, nor is a width that differs because
    the models do. Where each run is of a preset, and there are several, presets stand for the
    models and for all that they set.
    """
    if not {"model", "seed"} <= set(settings):
        return [key for key in ("model", "seed") if key in settings]
    known = settings.dropna(subset=["model"])
    presets = known["experiment"].notna().all() and known["experiment"].nunique() > 1
    known = known.map(lambda v: json.dumps(v, default=str))
    what = "experiment" if presets else "model"
    keys = [what] + (["data"] if known["data"].nunique() > 1 else [])
    for key in known.columns:
        follows = key.endswith(".seed") and (known[key] == known["seed"]).all()
        if key in (*keys, "model", "experiment", "seed", "data") or key in HIDDEN or follows:
            continue
        if known.groupby([what, "data"])[key].nunique().gt(1).any():
            keys.append(key)
    return [*keys, "seed"]


def scores_of(table: pd.DataFrame) -> list[str]:
    """The scores that some run has: silhouettes where cells have no types."""
    return [name for name in SCORES if name in table]


def main_score(table: pd.DataFrame, asked: str | None) -> str:
    """What settings are compared by: what was asked for, or the NMI on the map if there is one.

    Raises:
        InputError: no run has that score.
    """
    there = scores_of(table)
    if asked is not None and asked not in there:
        raise InputError(unknown_choice("--score", asked, there))
    return asked or there[0]


def settings_of(table: pd.DataFrame) -> list[str]:
    """The columns of `results` that make a setting, seeds aside."""
    columns = list(table.columns)
    return [c for c in columns[1 : columns.index("status")] if c != "seed"]


def summarise(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """A row a setting: n, failed, and mean, sd and 95 % interval of each score.

    Args:
        table: from `results`.
        by: the columns that make a setting.

    Returns:
        Columns `by`, n, failed, SCORE_mean, SCORE_sd, SCORE_low, SCORE_high. With one run alone
        there is no sd and no interval.
    """
    rows = []
    for values, group in table.groupby(list(by), dropna=False, sort=False):
        good = group[group["status"] == "done"]
        row = dict(zip(by, values, strict=True))
        row |= {"n": len(good), "failed": int((group["status"] != "done").sum())}
        for score in scores_of(table):
            mean, sd, half = _interval(good[score].to_numpy()[:, None])
            row |= {
                f"{score}_mean": mean[0],
                f"{score}_sd": sd[0],
                f"{score}_low": mean[0] - half[0],
                f"{score}_high": mean[0] + half[0],
            }
        rows.append(row)
    return pd.DataFrame(rows)


def differences(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Every setting against every other, paired by seed.

    Args:
        table: from `results`.
        by: the columns that make a setting.

    Returns:
        A row for two settings and a score: a, b, score, n (seeds in common, two at least), the
        mean of a - b, and its 95 % interval. Settings on other data are not compared.
    """
    columns = ["a", "b", "score", "n", "mean", "low", "high"]
    parts = []
    good = table[table["status"] == "done"]
    on = [c for c in ("data", "data_sha") if c in good]
    for _, same in good.groupby(on, dropna=False, sort=False) if on else [(None, good)]:
        for score in scores_of(table):
            names, values = _by_seed(same, by, score)
            first, second = np.triu_indices(len(names), 1)
            gaps = values[:, first] - values[:, second]
            n = np.isfinite(gaps).sum(0)
            mean, _, half = _interval(gaps)
            part = pd.DataFrame(
                {
                    "a": np.array(names)[first], "b": np.array(names)[second], "score": score,
                    "n": n, "mean": mean, "low": mean - half, "high": mean + half,
                }
            )  # fmt: skip
            parts.append(part[n > 1])
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def label(row: Mapping[str, Any] | pd.Series, by: Sequence[str]) -> str:
    """A setting in words: `vae, beta 2`."""
    words = []
    for key in by:
        value = row[key]
        if key in ("model", "data", "data_sha"):
            words.append(str(value))
        elif not pd.isna(value):
            words.append(f"{key} {_shown(value)}")
    return ", ".join(words)


def verdict(table: pd.DataFrame, by: Sequence[str], score: str) -> list[str]:
    """Says which setting has the highest mean and which are told from it; a line a data set.

    Settings are compared on the seeds that both have, three at least: `stats.rank`. Settings that
    are not compared, and runs without a result, are named.
    """
    lines = []
    on = [c for c in ("data", "data_sha") if c in table]
    for values, same in table.groupby(on, dropna=False, sort=False) if on else [((), table)]:
        names, scores = _by_seed(same, by, score)
        n = np.isfinite(scores).sum(0)
        if len(names) < 2 or not n.any():
            continue
        ranking = rank(scores)
        means = np.where(n > 0, np.nansum(scores, 0) / np.maximum(n, 1), -np.inf)
        top = int(np.argmax(means)) if ranking.top is None else ranking.top
        where = f" on {', '.join(map(str, values))}" if values else ""
        seeds = f"{n[top]} seed{'s' if n[top] > 1 else ''}"
        line = f"Highest {words(score)}{where}: {names[top]} ({means[top]:.3f}, {seeds})"
        lines.append(" ".join([line + _compared(ranking, names), *_without(same, by)]))
    return lines


def _compared(ranking: Ranking, names: Sequence[str]) -> str:
    """What a ranking says of the other settings, as the end of a sentence about the first."""
    if ranking.top is None:
        return (
            f"; with fewer than {LEAST} seeds nobody can say by chance or not "
            "(seed=range(0,5) gives five)."
        )
    how = "95 %, on common seeds"
    if ranking.n_pairs > 1:
        how += f", Holm's correction for {ranking.n_pairs} pairs"
    if not (ranking.level or ranking.higher or ranking.few):
        return f", above every other setting by more than chance ({how})."
    groups = {
        "Cannot be told from it": ranking.level,
        "Lower than it": ranking.lower,
        "Higher than it on the seeds in common": ranking.higher,
    }
    said = ". ".join(f"{what}: {_some(group, names)}" for what, group in groups.items() if group)
    parts = ["."]
    if said:
        parts.append(f"{said} ({how}).")
    if ranking.few:
        few = _some(ranking.few, names)
        parts.append(f"Not compared, fewer than {LEAST} seeds in common: {few}.")
    return " ".join(parts)


def _without(table: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """A sentence on runs without a result, where there are any."""
    summary = summarise(table, by)
    lost = [
        f"{row['failed']} of {row['n'] + row['failed']} of {label(row, by)}"
        for _, row in summary.iterrows()
        if row["failed"]
    ]
    return [f"Runs without a result, in no mean: {_some(range(len(lost)), lost)}."] if lost else []


def _some(group: Iterable[int], names: Sequence[str]) -> str:
    """Names of settings, not more than a reader wants."""
    listed = [names[i] for i in group]
    more = len(listed) - MOST_LINES
    return "; ".join(listed[:MOST_LINES]) + (f" and {more} more" if more > 0 else "")


def _by_seed(table: pd.DataFrame, by: Sequence[str], score: str) -> tuple[list[str], np.ndarray]:
    """Names of settings, and their scores (n_seeds, n_settings): NaN where there is none."""
    named = table.assign(setting=[label(row, by) for _, row in table.iterrows()])
    names = list(dict.fromkeys(named["setting"]))
    good = named[named["status"] == "done"]
    wide = good.pivot_table(score, "seed", "setting", sort=False, dropna=False)
    return names, wide.reindex(columns=names).to_numpy(float)


def words(score: str) -> str:
    """`tsne_nmi` as a person says it."""
    space, _, measure = score.partition("_")
    return f"{measure if measure == 'silhouette' else measure.upper()} on the {SPACES[space]}"


def brief(summary: pd.DataFrame, by: Sequence[str], scores: Sequence[str]) -> list[dict[str, str]]:
    """The summary as it is read: a column a setting, n, mean and half of the interval."""
    rows = []
    for _, values in summary.iterrows():
        row = {key: _shown(values[key]) for key in by}
        row["n"] = str(values["n"]) + (f" (-{values['failed']})" if values["failed"] else "")
        for score in scores:
            mean, high = values[f"{score}_mean"], values[f"{score}_high"]
            text = "-" if np.isnan(mean) else f"{mean:.3f}"
            row[score] = text if np.isnan(high) else f"{text} ±{high - mean:.3f}"
        rows.append(row)
    return rows


def write(
    folder: Path,
    runs: Sequence[Run],
    *,
    title: str,
    notes: Sequence[str],
    by: Sequence[str] | None,
    score: str | None,
) -> None:
    """Writes results.csv, summary.csv, summary.md, differences.csv, figures/ and report.html.

    Args:
        folder: where.
        runs: what to sum up.
        title: what they are.
        notes: what else to know.
        by: the columns that make a setting; None for all that vary.
        score: what settings are compared by; None for the NMI on the map, if there is one.
    """
    table = results(runs)
    score = main_score(table, score)
    by = list(by or settings_of(table))
    summary, pairs = summarise(table, by), differences(table, by)
    write_csv(folder / "results.csv", table)
    write_csv(folder / "summary.csv", summary)
    write_csv(folder / "differences.csv", pairs)
    found = verdict(table, by, score)
    drawn = figures(runs, table, summary, by)
    (folder / "figures").mkdir(exist_ok=True)
    for name, (_, png) in drawn.items():
        write_file(folder / "figures" / f"{name}.png", png)
    wrong = table[table["status"] != "done"][["run", "status", "reason"]]
    warned = table[table["warnings"].notna()][["run", "warnings"]]
    keys = [key for key in [*by, "seed"] if table[key].nunique(dropna=False) > 1]
    what = [f"Varied: {', '.join(keys)}."] if keys else []
    lead = [*found, *what, *notes]
    page = _markdown(title, lead, summary, by, pairs, wrong, warned, drawn)
    write_file(folder / "summary.md", page.encode())
    from scvae_cli.results.report import html

    tables = {
        "Means over seeds, with 95 % intervals": pd.DataFrame(brief(summary, by, scores_of(table)))
    }
    if len(wrong):
        tables["Runs without a result"] = wrong
    if len(warned):
        tables["Warnings"] = warned
    tables["All runs"] = table.drop(columns=["reason", "warnings", "overrides"])
    if len(pairs):
        tables["Differences between settings, paired by seed"] = pairs
    maps = {run.path.name: _cells(run) for run in _examples(runs, table, by).values()}
    report = html(
        title=title, lead=lead, tables=tables,
        figures=dict(drawn.values()), maps=maps,
        provenance=_provenance(runs),
    )  # fmt: skip
    write_file(folder / "report.html", report.encode())


def run_page(run: Run) -> str:
    """report.html of one run that is done.

    Raises:
        InputError: a file that it is made from is missing or damaged.
    """
    from scvae_cli.results.report import html

    if not run.settings or not run.data:
        raise InputError(f"{run.path}: its run.json and config.yaml do not say what was run")
    scores = read_json(run.path, "scores")
    rows = [{"k-means on": name, **scores[space]} for space, name in SPACES.items()]
    taken = run.record.get("seconds", {}).items()
    seconds = pd.DataFrame(taken, columns=["stage", "seconds"])
    settings = pd.DataFrame(
        [{"key": key, "value": _shown(value)} for key, value in run.settings.items()]
    )
    captions = {
        "map_2d": "2-D map",
        "map_3d": "3-D map",
        "sparsity": "Latents on by cell type, and the genes that they raise",
        "loss": "Loss while training",
    }
    return html(
        title=f"{run.settings['model']} on {run.settings['data']}, seed {run.settings['seed']}",
        lead=[
            f"{cells_of(run.data)}, {run.settings.get('latent_dim')} latent features.",
            *(f"Warning: {text}" for text in run.warnings),
        ],
        tables={
            "Scores": pd.DataFrame(rows),
            "Time": seconds,
            "Settings": settings,
        },
        figures={
            caption: (run.path / "figures" / f"{name}.png").read_bytes()
            for name, caption in captions.items()
            if (run.path / "figures" / f"{name}.png").exists()
        },
        maps={run.path.name: _cells(run)},
        provenance=_provenance([run]),
    )


def _cells(run: Run) -> pd.DataFrame:
    """cells.csv of a run that is done."""
    return read_table(run.path, "cells", ["cell", "cell_type", "cluster", "tsne_1", "tsne_2"])


def cells_of(data: Mapping[str, Any]) -> str:
    """What run.json says of the cells, in words."""
    n_types = len(data["cell_types"])
    types = f"{n_types} cell types" if n_types > 1 else "no known types"
    if data.get("n_unlabelled"):
        types += f", {data['n_unlabelled']:,} cells without a label"
    return f"{data['n_cells']:,} cells x {data['n_genes']:,} genes, {types}"


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """A table, whole or not at all, its numbers to the last digit."""
    write_file(path, csv_of(table))


def figures(
    runs: Sequence[Run], table: pd.DataFrame, summary: pd.DataFrame, by: Sequence[str]
) -> dict[str, tuple[str, bytes]]:
    """The figures that fit these runs: name to caption and PNG."""
    from scvae_cli.results import figures as draw

    drawn = {}
    labelled = "tsne_nmi" in table
    shown = summary.dropna(subset=[f"{scores_of(table)[0]}_mean"])
    for key in [k for k in by if _is_axis(summary[k])][:3]:
        panels, reference = _lines(shown, by, key)
        if panels:
            drawn[re.sub(r"[^\w.-]", "_", f"scores_by_{key}")] = (
                f"Scores against {key}, mean over seeds and 95 % interval",
                draw.score_lines(panels, key, reference),
            )
    if labelled and 1 < len(shown) <= 40:
        index = [label(row, by) for _, row in shown.iterrows()]
        heat = {
            title: pd.DataFrame(
                {m.upper(): shown[f"{space}_{m}_mean"].to_numpy() for m in MEASURES}, index
            )
            for space, title in SPACES.items()
        }
        drawn["scores"] = ("Scores of each setting, mean over seeds", draw.score_heat(heat))
    examples = dict(list(_examples(runs, table, by).items())[:MOST_MAPS])
    if examples:
        maps = {name: _cells(run) for name, run in examples.items()}
        drawn["maps"] = (
            "2-D maps by cell type, the first run of each setting",
            draw.map_table(maps),
        )
    return drawn


def _examples(runs: Sequence[Run], table: pd.DataFrame, by: Sequence[str]) -> dict[str, Run]:
    """The first good run of each setting."""
    found: dict[str, Run] = {}
    for run, (_, row) in zip(runs, table.iterrows(), strict=True):
        if run.status == "done":
            found.setdefault(label(row, by), run)
    return found


def _lines(
    summary: pd.DataFrame, by: Sequence[str], key: str
) -> tuple[dict[str, dict[str, pd.DataFrame]], dict[str, dict[str, float]]]:
    """Lines of scores against a key: those that have no value of it are for reference."""
    rest = [k for k in by if k != key]
    names = pd.Series([label(row, rest) for _, row in summary.iterrows()], summary.index)
    panels: dict[str, dict[str, pd.DataFrame]] = {}
    reference: dict[str, dict[str, float]] = {}
    for space, where in SPACES.items():
        for measure in ("nmi", "ari", "silhouette"):
            if f"{space}_{measure}_mean" not in summary:
                continue
            name_of = measure if measure == "silhouette" else measure.upper()
            score, title = f"{space}_{measure}", f"{name_of}, {where}"
            for name, group in summary.groupby(names, sort=False):
                line = group.dropna(subset=[key])
                if len(line) < len(group):
                    alone = group[group[key].isna()].iloc[0]
                    reference.setdefault(title, {})[str(name)] = float(alone[f"{score}_mean"])
                if len(line) and len(panels.get(title, {})) < MOST_LINES:
                    values = line.set_index(key)[[f"{score}_{s}" for s in ("mean", "low", "high")]]
                    values.columns = pd.Index(["mean", "low", "high"])
                    panels.setdefault(title, {})[str(name)] = values.sort_index()
    return panels, reference


def _is_axis(values: pd.Series) -> bool:
    """Whether values are numbers, and several."""
    types = pd.api.types
    numbers = types.is_numeric_dtype(values) and not types.is_bool_dtype(values)
    return bool(numbers and values.dropna().nunique() > 1)


def _interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, sd and half of Student's 95 % interval of each column (n, m); NaN are left out."""
    n = np.isfinite(values).sum(0)
    mean = np.full(values.shape[1], np.nan)
    sd = mean.copy()
    mean[n > 0] = np.nanmean(values[:, n > 0], axis=0)
    sd[n > 1] = np.nanstd(values[:, n > 1], axis=0, ddof=1)
    half = stats.t.ppf((1 + LEVEL) / 2, np.maximum(n - 1, 1)) * sd / np.sqrt(np.maximum(n, 1))
    return mean, sd, half


def _provenance(runs: Sequence[Run]) -> dict[str, str]:
    """Versions, commits and data, each value once."""
    facts: dict[str, dict[str, None]] = {}

    def add(key: str, value: object) -> None:
        if value is not None:
            facts.setdefault(key, {})[str(value)] = None

    for run in runs:
        for code in codes(run.record):
            git = code.get("git") or {}
            changed = ", with uncommitted changes" if git.get("dirty") else ""
            add("commit", f"{git['commit'][:10]}{changed}" if git else None)
            for name, version in code["versions"].items():
                add(name, version)
        data = run.data
        add("data", f"{data['name']}, sha256 {data['fingerprint'][:16]}" if data else None)
        add("device", run.record.get("device"))
        add("threads", run.record.get("threads"))
        add("first run started", run.record.get("started") if run is runs[0] else None)
        add("command", run.record.get("command") if len(runs) == 1 else None)
    return {key: "; ".join(values) for key, values in facts.items()}


def _markdown(
    title: str, lead: Sequence[str], summary: pd.DataFrame, by: Sequence[str],
    pairs: pd.DataFrame, wrong: pd.DataFrame, warned: pd.DataFrame,
    drawn: Mapping[str, tuple[str, bytes]],
) -> str:  # fmt: skip
    parts = [f"# {_plain(title)}", *map(_plain, lead)]
    rows = brief(summary, by, [c[:-5] for c in summary if c.endswith("_mean")])
    parts.append(_table(rows))
    parts.append(
        "Mean over n runs ± half of the 95 % confidence interval (Student's t); after n, those "
        "without a result."
    )
    parts += [
        f"![{_plain(caption)}](figures/{quote(name)}.png)" for name, (caption, _) in drawn.items()
    ]
    main = pairs[pairs["score"].isin(["tsne_nmi", "latent_nmi"])]
    if 0 < len(main) <= 60:
        parts.append("## Differences in NMI, paired by seed")
        rows = [
            {
                "a": str(row["a"]), "b": str(row["b"]), "on the": SPACES[row["score"][:-4]],
                "n": str(row["n"]), "a - b": f"{row['mean']:+.3f}",
                "95 %": f"{row['low']:+.3f} to {row['high']:+.3f}",
            }
            for _, row in main.iterrows()
        ]  # fmt: skip
        parts.append(_table(rows))
    if len(pairs):
        parts.append(
            "All differences are in differences.csv. Their intervals are not corrected for their "
            "number."
        )
    if len(wrong):
        parts.append("## Without a result")
        parts += [
            f"- {_plain(r['run'])}: {r['status']}, {_plain(r['reason'] or 'killed')}"
            for _, r in wrong.iterrows()
        ]
    if len(warned):
        parts.append("## Warnings")
        parts += [f"- {_plain(r['run'])}: {_plain(r['warnings'])}" for _, r in warned.iterrows()]
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(
        "| " + " | ".join(cell if x is lines[1] else _plain(cell) for cell in x) + " |"
        for x in lines
    )


def _plain(text: str) -> str:
    """A text that Markdown shows as it is."""
    return MARKUP.sub(r"\\\g<0>", visible(text))


def _experiment(record: Mapping[str, Any]) -> str | None:
    """The preset that a run was asked for, if any."""
    words = [word.partition("=") for word in record.get("overrides", [])]
    return next((value for key, _, value in reversed(words) if key == "experiment"), None)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted keys; a block's `name` by the block's own."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            name = prefix.rstrip(".") if key == "name" and prefix else f"{prefix}{key}"
            flat[name] = str(value) if isinstance(value, list) else value
    return flat


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return "-" if np.isnan(value) else f"{value:g}"
    return "-" if value is None else str(value)
