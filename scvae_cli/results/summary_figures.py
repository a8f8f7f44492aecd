"""The figures that fit a set of runs: scores against a setting, scores of each, maps of each."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scvae_cli.atomic import write_file
from scvae_cli.measures import AGREEMENT, MEASURE_NAMES, SPACES, TOTALS
from scvae_cli.results.means import has_intervals
from scvae_cli.results.table import scores_of, setting_name
from scvae_cli.runs.run import Run

MOST_AXES = 3  # settings that scores are drawn against
MOST_LINES = 6
MOST_ROWS = 40
MOST_MAPS = 12

Lines = dict[tuple[str, str], dict[str, pd.DataFrame]]
References = dict[tuple[str, str], dict[str, float]]


def write_figures(
    folder: Path, runs: Sequence[Run], table: pd.DataFrame, means: pd.DataFrame, by: Sequence[str]
) -> dict[str, tuple[str, bytes]]:
    """Draw the figures that fit these runs, in the format that the first run asks for, or PNG.

    Args:
        folder: where, made if it is not there.
        runs: the runs.
        table: their `results`.
        means: from `summarise`.
        by: the columns that make a setting.

    Returns:
        Name of each figure to its caption and PNG.
    """
    from scvae_cli.results.figures.style import DPI, files_of_figure  # matplotlib

    folder.mkdir(exist_ok=True)
    asked = next((run.flat_settings for run in runs if run.flat_settings), {})
    how = asked.get("figures.format") or "png", asked.get("figures.dpi", DPI)
    drawn = {}
    for name, (caption, figure) in _draw(runs, table, means, by).items():
        files = dict(files_of_figure(name, figure, *how))
        for file, contents in files.items():
            write_file(folder / file, contents)
        drawn[name] = caption, files[f"{name}.png"]
    return drawn


def _draw(
    runs: Sequence[Run], table: pd.DataFrame, means: pd.DataFrame, by: Sequence[str]
) -> dict[str, tuple[str, Any]]:
    """Return name of each figure to its caption and the figure."""
    from scvae_cli.results.figures.many_maps import map_table  # matplotlib
    from scvae_cli.results.figures.scores import score_heat, score_lines

    drawn: dict[str, tuple[str, Any]] = {}
    complete = means.dropna(subset=[f"{scores_of(table)[0]}_mean"])
    intervals = ", with 95 % intervals" if has_intervals(complete) else ""
    for key in [k for k in by if _is_axis(means[k])][:MOST_AXES]:
        lines, references = _lines(complete, by, key)
        if lines:
            drawn[re.sub(r"[^\w.-]", "_", f"scores_by_{key}")] = (
                f"Scores against {key}, means over seeds{intervals}",
                score_lines(lines, key, references),
            )
    if "tsne_nmi" in table and 1 < len(complete) <= MOST_ROWS:
        heat = _heat(complete, by)
        drawn["scores"] = ("Scores of each setting, mean over seeds", score_heat(heat))
    examples = dict(list(first_runs(runs, table, by).items())[:MOST_MAPS])
    if examples:
        maps = {name: run.cells() for name, run in examples.items()}
        caption = "2-D maps by cell type, the first run of each setting"
        drawn["maps"] = (caption, map_table(maps))
    return drawn


def first_runs(runs: Sequence[Run], table: pd.DataFrame, by: Sequence[str]) -> dict[str, Run]:
    """Return the first run of each setting that is done."""
    first: dict[str, Run] = {}
    for run, (_, row) in zip(runs, table.iterrows(), strict=True):
        if run.status == "done":
            first.setdefault(setting_name(row, by), run)
    return first


def _heat(means: pd.DataFrame, by: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return tables of scores, a row a setting and a column a measure, a table a space."""
    index = [setting_name(row, by) for _, row in means.iterrows()]
    return {
        title: pd.DataFrame(
            {
                MEASURE_NAMES[m]: means[f"{space}_{m}_mean"].to_numpy()
                for m in (*AGREEMENT, *TOTALS)
                if f"{space}_{m}_mean" in means
            },
            index,
        )
        for space, title in SPACES.items()
    }


def _lines(means: pd.DataFrame, by: Sequence[str], key: str) -> tuple[Lines, References]:
    """Return lines of scores against a setting, a panel a score; see `score_lines`.

    Settings that have no value of this key are references: a score without a place on the axis.
    """
    rest = [k for k in by if k != key]
    names = pd.Series([setting_name(row, rest) for _, row in means.iterrows()], means.index)
    lines: Lines = {}
    references: References = {}
    for measure in ("nmi", "ari", "silhouette"):
        for space, where in SPACES.items():
            score, title = f"{space}_{measure}", (MEASURE_NAMES[measure], where)
            if f"{score}_mean" not in means:
                continue
            for name, group in means.groupby(names, sort=False):
                line = group.dropna(subset=[key])
                if len(line) < len(group):
                    without = group[group[key].isna()].iloc[0]
                    references.setdefault(title, {})[str(name)] = float(without[f"{score}_mean"])
                if len(line) and len(lines.get(title, {})) < MOST_LINES:
                    values = line.set_index(key)[[f"{score}_{s}" for s in ("mean", "low", "high")]]
                    values.columns = pd.Index(["mean", "low", "high"])
                    lines.setdefault(title, {})[str(name)] = values.sort_index()
    return lines, references


def _is_axis(values: pd.Series) -> bool:
    """Return whether values are numbers, and several."""
    types = pd.api.types
    numbers = types.is_numeric_dtype(values) and not types.is_bool_dtype(values)
    return bool(numbers and values.dropna().nunique() > 1)
