"""`scvae compare`: any runs and sweeps in one table, with intervals."""

import argparse
from pathlib import Path

from scvae_cli.commands.arguments import Parser
from scvae_cli.console import Console
from scvae_cli.errors import InputError, unknown_choice
from scvae_cli.results import summary
from scvae_cli.results.terminal import show, sortable
from scvae_cli.runs.folder import claim

NAMED = 3  # runs that a line names


def compare(arguments: list[str]) -> None:
    """`scvae compare` with these arguments.

    Raises:
        InputError: they are not allowed, or there are no runs.
    """
    asked = _parse(arguments)
    runs, damaged = _runs(asked.paths)
    console = Console()
    runs, repeated = _once(runs)
    table = summary.results(runs)
    score = summary.main_score(table, asked.score)
    settings = summary.settings_of(table)
    known = [*settings, "seed"]
    for key in asked.by or []:
        if key not in known:
            raise InputError(unknown_choice("--by", key, known))
    by = asked.by or settings
    for key in ("data", "data_sha"):  # never averaged over
        if key in settings and key not in by:
            by = [*by, key]
    order = table.sort_values([*by, "seed"], key=sortable, kind="stable").index
    runs = [runs[i] for i in order]
    notes = []
    if "data_sha" in table:
        notes.append(
            "Data of one name are other cells, genes or labels in some runs; see data_sha."
        )
    if repeated:
        notes.append(f"{repeated} runs repeat others, seed and all, and count once.")
    if over := [key for key in settings if key not in by]:
        notes.append(f"Means are over {', '.join(over)} too, and not over seeds alone.")
    lost = [run for run in runs if run.status != "done"]
    if lost:
        notes.append(f"{len(lost)} of {len(runs)} runs have no result.")
    notes += [f"Left out: {line}." for line in damaged]
    show(runs, console, by=by, score=score, sort=asked.sort)
    for note in notes:
        console.line(note)
    for run in lost:
        console.line(f"  {run.path.name}: {run.status}, {run.record.get('reason') or 'killed'}")
    for text, names in _warnings(runs).items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        console.warn(f"{text} ({', '.join(names[:NAMED])}{more})")
    if asked.to:
        folder, _ = claim(Path(asked.to), exact=True)
        title = f"{len(runs)} runs compared"
        summary.write(folder, runs, title=title, notes=notes, by=by, score=score)
        console.folder(folder)


def _runs(paths: list[str]) -> tuple[list[summary.Run], list[str]]:
    """The runs in and below these folders; a line for each of which a file is damaged."""
    damaged: list[str] = []
    found: dict[Path, summary.Run] = {}
    for path in paths:
        if not Path(path).exists():
            raise InputError(f"{path}: no such folder")
        before = len(damaged)
        runs = summary.find_runs([Path(path)], damaged)
        if not runs and len(damaged) > before:
            raise InputError(damaged[-1])
        if not runs:
            raise InputError(f"{path}: no run there (a run's folder has a run.json)")
        found |= {run.path: run for run in runs}
    runs = [run for run in found.values() if run.settings]
    if not runs:
        raise InputError(f"{paths[0]}: its runs ended before they began; see their run.json")
    return runs, damaged


def _warnings(runs: list[summary.Run]) -> dict[str, list[str]]:
    """What the runs warn of, and which do."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for text in run.warnings:
            found.setdefault(text, []).append(run.path.name)
    return found


def _once(runs: list[summary.Run]) -> tuple[list[summary.Run], int]:
    """Runs that have a result, less those that are another again; and how many those were."""
    known: set[str] = set()
    kept = []
    for run in runs:
        what = {k: v for k, v in run.settings.items() if k not in {*summary.HIDDEN, "experiment"}}
        sha = run.data.get("fingerprint")
        key = f"{sha} {sorted(what.items())} {run.status == 'done' or run.path}"
        if key not in known:
            known.add(key)
            kept.append(run)
    return kept, len(runs) - len(kept)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        "scvae compare",
        description="Sum up runs and sweeps: means over seeds, 95 % intervals, what is best.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="folder of a run, or of many")
    parser.add_argument(
        "--by", action="append", metavar="KEY", help="a setting to tell apart (all that vary)"
    )
    parser.add_argument(
        "--score",
        help="what to compare by (tsne_nmi); tsne or latent, then nmi, ari, hom or com",
    )
    parser.add_argument("--sort", metavar="COLUMN", help="a score, a setting, or n")
    parser.add_argument("--to", metavar="FOLDER", help="write tables, figures and report.html")

    asked = parser.parse_args(arguments)
    if asked.score not in (None, *summary.SCORES):
        raise InputError(unknown_choice("--score", asked.score, summary.SCORES))
    return asked
