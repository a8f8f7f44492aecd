"""`scvae compare`: any runs and sweeps in one table, with intervals."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from scvae_cli.commands.arguments import Parser
from scvae_cli.commands.json_output import add_json, print_json
from scvae_cli.console import Console
from scvae_cli.errors import InputError, Kind, unknown_choice
from scvae_cli.launch.execute import FAILED
from scvae_cli.launch.places import at_home
from scvae_cli.measures import MEASURES, SCORES
from scvae_cli.results.as_json import comparison_json
from scvae_cli.results.pages import SUMMARY, write_summary
from scvae_cli.results.runs import find_runs
from scvae_cli.results.table import HIDDEN, main_score, names_of, results, settings_of
from scvae_cli.results.terminal import show, sortable
from scvae_cli.runs.claim import claim, discard, lock, unlock
from scvae_cli.runs.run import UNENDED, Run

MOST_NAMED = 3  # runs that a line names

EXAMPLES = {
    "outputs": "all runs and sweeps there are",
    "outputs/2026-11-21 outputs/2026-11-22": "those of two days",
    "outputs --by model --score latent_ari": "models, by the latent space",
    "outputs --to comparison": "tables, figures and a page too",
}


def compare(arguments: list[str]) -> None:
    """Run `scvae compare` with these arguments.

    Raises:
        InputError: they are not allowed, or there are no runs.
    """
    asked = _parse(arguments)
    runs, damaged = _runs(asked.paths)
    console = Console()
    runs, n_repeated = _without_repeats(runs)
    table = results(runs)
    score = main_score(table, asked.score)
    by = _settings(table, asked.by)
    order = table.sort_values([*by, "seed"], key=sortable, kind="stable").index
    runs = [runs[i] for i in order]
    notes = [
        *_notes(table, by, n_repeated, [run.status for run in runs]),
        *(f"Left out: {line}." for line in damaged),
    ]
    if not asked.json:
        show(runs, console, by=by, score=score, sort=asked.sort)
        _show_notes(runs, notes, console)
    if asked.to:
        with _new_folder(asked.to, console) as folder:
            title = f"{len(runs)} runs compared"
            write_summary(folder, runs, title=title, notes=notes, by=by, score=score)
        if not asked.json:
            console.folder(folder)
    if asked.json:
        told = {"kind": "comparison", **comparison_json(runs, by, score), "notes": notes}
        print_json({**told, "written": str(folder) if asked.to else None})


@contextmanager
def _new_folder(path: Path, console: Console) -> Iterator[Path]:
    """Yield a new folder, which is removed if the block does not end well.

    Raises:
        SystemExit: the block cannot write there.
    """
    folder, created = claim(path, exact=True, named_by="--to")
    file_lock = lock(folder)
    try:
        yield folder
        unlock(file_lock)
    except BaseException as error:
        unlock(file_lock)
        discard(created, beside=SUMMARY)
        if not isinstance(error, OSError):
            raise
        what = f"{error.filename or folder}: {error.strerror or error}"
        console.error(f"{what}; nothing was kept; give another with --to FOLDER")
        raise SystemExit(FAILED) from error


def _show_notes(runs: list[Run], notes: list[str], console: Console) -> None:
    """Show what to know of the means, which runs have no result, and what runs warn of."""
    for note in notes:
        console.line(note)
    for name, run in zip(names_of(runs), runs, strict=True):
        if run.status != "done":
            reason = run.record.get("reason") or UNENDED
            console.line(f"  {name}: {run.status}, {reason}")
    for text, names in _warnings(runs).items():
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        console.warn(f"{text} ({', '.join(names[:MOST_NAMED])}{more})")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        "scvae compare",
        description="Sum up runs and sweeps: means over seeds, 95 % intervals, what is best.",
        examples=EXAMPLES,
    )
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", type=at_home, help="folder of a run, or of many"
    )
    parser.add_argument(
        "--by",
        action="append",
        metavar="KEY",
        help="a setting to tell apart, such as model; may be given again (all that vary)",
    )
    parser.add_argument(
        "--score",
        metavar="SCORE",
        help="what to compare by (tsne_nmi): tsne_ for the 2-D map, by UMAP too, or latent_ for "
        f"the latent space, and then one of {', '.join(MEASURES)}",
    )
    parser.add_argument("--sort", metavar="COLUMN", help="a score, a setting, or n")
    parser.add_argument(
        "--to", metavar="FOLDER", type=at_home, help="write tables, figures and report.html"
    )
    add_json(parser)
    asked = parser.parse_args(arguments)
    if asked.score not in (None, *SCORES):
        raise unknown_choice("--score", asked.score, SCORES)
    return asked


def _runs(paths: list[Path]) -> tuple[list[Run], list[InputError]]:
    """Return the runs in and below these folders, and an error for each whose file is damaged.

    Raises:
        InputError: there is no such folder, or it has no run with settings.
    """
    damaged: list[InputError] = []
    by_path: dict[Path, Run] = {}
    for path in paths:
        if not path.exists():
            raise InputError(Kind.MISSING, path, "no such folder")
        before = len(damaged)
        runs = find_runs([path], damaged)
        if not runs and len(damaged) > before:
            raise damaged[-1]
        if not runs:
            raise InputError(Kind.MISSING, path, "no run there (a run's folder has a run.json)")
        by_path |= {run.path: run for run in runs}
    runs = [run for run in by_path.values() if run.flat_settings]
    if not runs:
        raise InputError(
            Kind.EMPTY, paths[0], "all its runs ended before they began", "see their run.json"
        )
    return runs, damaged


def _without_repeats(runs: list[Run]) -> tuple[list[Run], int]:
    """Return the runs, each that is done and that others repeat once; and how many repeat one."""
    known: set[str] = set()
    kept = []
    for run in runs:
        settings = {k: v for k, v in run.flat_settings.items() if k not in {*HIDDEN, "experiment"}}
        sha = run.data.get("fingerprint")
        key = f"{sha} {sorted(settings.items())} {run.status == 'done' or run.path}"
        if key not in known:
            known.add(key)
            kept.append(run)
    return kept, len(runs) - len(kept)


def _settings(table: pd.DataFrame, asked: list[str] | None) -> list[str]:
    """Return the columns that make a setting: those asked for and the data, else all that vary.

    Raises:
        InputError: there is no such column.
    """
    settings = settings_of(table)
    for key in asked or []:
        if key not in [*settings, "seed"]:
            raise unknown_choice("--by", key, [*settings, "seed"])
    by = list(dict.fromkeys(asked or settings))
    data = [key for key in ("data", "data_sha") if key in settings and key not in by]
    return [*by, *data]  # data are never averaged over


def _notes(table: pd.DataFrame, by: list[str], n_repeated: int, states: list[str]) -> list[str]:
    """Return what a reader of the means should know of the runs that they are of."""
    notes = []
    if "data_sha" in table:
        notes.append(
            "Data of one name are other cells, genes or labels in some runs; see data_sha."
        )
    if n_repeated:
        notes.append(f"{n_repeated} runs repeat others, seed and all, and count once.")
    rest = [key for key in settings_of(table) if key not in by]
    if over := [key for key in rest if table[key].nunique(dropna=False) > 1]:
        notes.append(f"Means are over {', '.join(over)} too, and not only over seeds.")
    if n_lost := sum(status != "done" for status in states):
        notes.append(f"{n_lost} of {len(states)} runs have no result.")
    return notes


def _warnings(runs: list[Run]) -> dict[str, list[str]]:
    """Return what the runs warn of, and the names of those that do."""
    names: dict[str, list[str]] = {}
    for name, run in zip(names_of(runs), runs, strict=True):
        for text in run.warnings:
            names.setdefault(text, []).append(name)
    return names
