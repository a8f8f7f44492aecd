"""Validate `scvae choose` on cells whose types are known: `make choice`.

Runs `scvae choose` on every set and scVI beside it, scores all latent spaces against the types,
and writes docs/choice.md from docs/choice/*.csv. What is in --runs is not repeated.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from benchmarks.choice.joined import joined
from benchmarks.choice.page import render
from benchmarks.choice.scores import scored, trainings
from benchmarks.choice.sets import Cells, all_sets
from benchmarks.choice.tables import CONTROLS
from benchmarks.command import DOCS, ROOT, answer
from benchmarks.models.runs import counts_file, train_peer
from scvae_cli.choice.criteria import CRITERIA
from scvae_cli.choice.plan import QUICK as QUICK_MAPS
from scvae_cli.data.sources import load
from scvae_cli.errors import InputError, Kind
from scvae_cli.results.runs import find_runs
from scvae_cli.trained import load as load_run

SEEDS = 3
PEERS = {
    "scvi": ["--epochs", "400"],  # as it ships, for so few cells
    "scvi-early": ["--epochs", "400", "--early-stopping", "--warmup", "50"],
}
QUICK = ("CEL-seq2", "Drop-seq")


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
    for name, cells in sets.items():
        _choose(cells, runs / name)
        _train_peers(asked.peer, runs / name, runs / "peer" / name)
        _train_controls(runs / name, runs / "controls" / name)
    _write(sets, runs, asked.to)
    render(asked.to)


def _parse() -> argparse.Namespace:
    """Return the options that were given."""
    parser = argparse.ArgumentParser("python -m benchmarks.choice", description=__doc__)
    folder = os.environ.get("SCVAE_DATA_DIR")
    parser.add_argument("--data", type=Path, default=folder and Path(folder))
    parser.add_argument("--runs", type=Path, default=ROOT / "outputs" / "choice")
    parser.add_argument("--to", type=Path, default=DOCS)
    parser.add_argument("--peer", default=sys.executable, help="a Python that has scvi-tools")
    parser.add_argument("--quick", action="store_true", help=f"only {' and '.join(QUICK)}")
    parser.add_argument("--page", action="store_true", help="only the page, of what is there")
    return parser.parse_args()


def _choose(cells: Cells, folder: Path) -> None:
    """Run `scvae choose`, or what is left of it; results stay when code changes elsewhere."""
    again = ["force=true"] if (folder / "sweep.json").exists() else []
    command = [sys.executable, "-m", "scvae_cli", "choose", *cells.words, *again]
    subprocess.run([*command, "--to", str(folder)], cwd=ROOT, check=True)


def _train_peers(python: str, folder: Path, to: Path) -> None:
    """Train scVI on the counts that the candidates had, if scvi-tools is there."""
    there = subprocess.run([python, "-c", "import scvi"], capture_output=True, check=False)
    if there.returncode:
        print("scvi-tools is not installed (pip install '.[peer]'): no scVI", file=sys.stderr)
        return
    run = next(r for r in find_runs([folder]) if r.path.name.startswith("chosen-"))
    config = load_run(run.path).config
    counts = counts_file(load(**config.data.model_dump()), to / "counts.h5ad")
    for seed in range(SEEDS):
        for name, options in PEERS.items():
            train_peer(python, counts, to / f"{name}-{seed}", "--seed", str(seed), *options)


def _train_controls(folder: Path, to: Path) -> None:
    """Run networks that learn nothing, on the cells that the candidates had."""
    presets = ",".join(f"benchmark/{name}" for name in CONTROLS)
    recommended = next(r for r in find_runs([folder]) if r.path.name.startswith("chosen-"))
    cells = [word for word in recommended.record["overrides"] if word.startswith("data")]
    again = [f"resume={to}", "force=true"] if (to / "sweep.json").exists() else []
    command = [sys.executable, "-m", "scvae_cli", "train", "-m", f"experiment={presets}"]
    place = again or [f"hydra.sweep.dir={to}"]
    seeds = f"seed=range(0,{SEEDS})"
    subprocess.run([*command, seeds, *QUICK_MAPS, *cells, *place], cwd=ROOT, check=True)


def _write(sets: Mapping[str, Cells], runs: Path, to: Path) -> None:
    """Write the tables that the page is made from."""
    folder = to / "choice"
    folder.mkdir(exist_ok=True)
    scores, criteria, seeds = [], [], []
    for name, cells in sets.items():
        folders = runs / name, runs / "controls" / name, runs / "peer" / name
        some = list(trainings(*folders))
        scores.append(scored(cells, some).assign(set=name))
        seeds.append(joined(cells, some).assign(set=name))
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
    about = {
        "labels": labels,
        "versions": {"Python": platform.python_version()}
        | {library: version(library) for library in libraries},
    }
    (folder / "about.json").write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    answer(main, "choice")
