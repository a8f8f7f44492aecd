"""Compare latent spaces on cells whose types are known: `make benchmark`.

Runs `scvae choose` on every set, a sweep of other presets and scVI beside it, scores all latent
spaces against the types, and writes docs/benchmark.md from docs/benchmark/. What is in the folder
--runs is not repeated:

    FACS, lines5, ...   of `scvae choose` on each set; `scvae compare` reads them
    others/             a sweep of the other presets for each set
    peer/               counts for scVI, and a folder for each of its trainings
    scores/             scores of each training
    cost/, race/        trainings with the machine to itself, for time and memory
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from benchmarks.command import DOCS, ROOT, answer, with_scvi
from benchmarks.latents.cost import costs, measure, race, race_seconds
from benchmarks.latents.joined import joined
from benchmarks.latents.page import render
from benchmarks.latents.runs import choose, sweep, train_peers, trainings
from benchmarks.latents.scores import scored
from benchmarks.latents.sets import Cells, all_sets
from scvae_cli.choice.criteria import CRITERIA
from scvae_cli.errors import InputError, Kind

QUICK = ("CEL-seq2", "Drop-seq")
MEASURED = "FACS"  # the set on which time and memory are measured


def main() -> None:
    """Run what is missing, and write the tables and the page."""
    asked = _parse()
    if asked.page:
        render(asked.to)
        return
    if asked.data is None or not asked.data.is_dir():
        raise InputError(Kind.MISSING, "SCVAE_DATA_DIR", "names no folder", "see --data")
    runs = asked.runs.absolute()
    sets = all_sets(asked.data.absolute(), runs)
    if asked.quick:
        sets = {name: sets[name] for name in QUICK if name in sets}
    if asked.tables:
        sets = {name: one for name, one in sets.items() if (runs / name / "choice.csv").exists()}
    else:
        _run(sets, runs, None if asked.quick else with_scvi(asked.peer), asked.quick)
    _write(sets, runs, asked.to)
    render(asked.to)


def _run(sets: Mapping[str, Cells], runs: Path, python: str | None, quick: bool) -> None:
    """Run what is missing; with `quick`, neither other presets nor scVI, and measure no costs."""
    for name, cells in sets.items():
        choose(cells, runs / name)
        sweep(runs / name, runs / "others" / name, few=quick or cells.circular)
        if python:
            train_peers(python, runs / name, runs / "peer" / name, few=cells.circular)
    if MEASURED in sets and not quick:
        measure(runs / MEASURED, python, runs)
        if python:
            race(python, runs)


def _parse() -> argparse.Namespace:
    """Return the options that were given."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.latents",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    folder = os.environ.get("SCVAE_DATA_DIR")
    parser.add_argument("--data", type=Path, default=folder and Path(folder))
    parser.add_argument("--runs", type=Path, default=ROOT / "outputs" / "benchmark")
    parser.add_argument("--to", type=Path, default=DOCS)
    parser.add_argument("--peer", default=sys.executable, help="a Python that has scvi-tools")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"only {' and '.join(QUICK)}, candidates and controls",
    )
    parser.add_argument("--tables", action="store_true", help="run nothing, score what is there")
    parser.add_argument("--page", action="store_true", help="only write the page again")
    return parser.parse_args()


def _write(sets: Mapping[str, Cells], runs: Path, to: Path) -> None:
    """Write the tables that the page is made from."""
    folder = to / "benchmark"
    folder.mkdir(parents=True, exist_ok=True)
    scores, criteria, seeds = [], [], []
    for name, cells in sets.items():
        some = list(trainings(runs / name, runs / "others" / name, runs / "peer" / name))
        scores.append(scored(cells, some, runs / "scores" / name).assign(set=name))
        seeds.append(joined(cells, some, runs / "scores" / f"{name}-joined.csv").assign(set=name))
        table = pd.read_csv(runs / name / "choice.csv")
        criteria.append(table[["candidate", "seed", *CRITERIA, "seconds"]].assign(set=name))
    for table, parts in (("scores", scores), ("criteria", criteria), ("joined", seeds)):
        pd.concat(parts).round(6).to_csv(folder / f"{table}.csv", index=False)
    labels = {
        label: {"set": name, "kind": one.kind, "source": one.source}
        for name, cells in sets.items()
        for label, one in cells.labels.items()
    }
    libraries = ("torch", "scikit-learn", "igraph")
    file = folder / "about.json"
    last = json.loads(file.read_text()) if file.exists() else {}
    about = {
        "labels": labels,
        "versions": {"Python": platform.python_version()}
        | {library: version(library) for library in libraries},
        "measured": MEASURED,
        # Where these runs have none, those of the last measurement stay.
        "cost": costs(runs) or last.get("cost", []),
        "race": race_seconds(runs) or last.get("race", {}),
    }
    file.write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    answer(main, "benchmark")
