"""Compare how models join batches: `make batches`.

Trains each method with five seeds on each set, and writes docs/batches.md from docs/batches/.
What is in the folder --runs is not repeated.
"""

import argparse
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from benchmarks.batches.figure import maps
from benchmarks.batches.page import render
from benchmarks.batches.runs import correct, dataset_of, latents, peers, sweep, train_peers
from benchmarks.batches.scores import scored
from benchmarks.batches.sets import HARMONY, OURS, SCVI_HARMONY, UNTOLD, all_sets
from benchmarks.command import DOCS, ROOT, answer, with_scvi
from scvae_cli.errors import InputError, Kind

DRAWN = "protocols"  # the set whose maps the page shows, also without telling of batches


def main() -> None:
    """Run what is missing, and write the table, the figure and the page."""
    asked = _parse()
    if asked.page:
        render(asked.to)
        return
    if asked.data is None or not asked.data.is_dir():
        raise InputError(Kind.MISSING, "SCVAE_DATA_DIR", "names no folder", "see --data")
    peer = with_scvi(asked.peer)
    folder = asked.to / "batches"
    folder.mkdir(parents=True, exist_ok=True)
    parts, titles = [], {}
    for name, cells in all_sets(asked.data.absolute()).items():
        runs, dataset = asked.runs.absolute() / name, dataset_of(cells)
        for method in OURS:
            if method != UNTOLD or name == DRAWN:
                sweep(cells, method, runs / method)
        if peer:
            train_peers(peer, dataset, runs)
        correct(dataset, latents(runs / "pca-sqrt"), runs / HARMONY)
        correct(dataset, peers(runs), runs / SCVI_HARMONY)
        parts.append(scored(dataset, runs).assign(set=name))
        titles[name] = cells.title
        if name == DRAWN:
            (folder / "maps.png").write_bytes(maps(dataset, runs))
    pd.concat(parts).round(6).to_csv(folder / "scores.csv", index=False)
    libraries = ("torch", "scikit-learn", "harmonypy")
    versions = {"Python": platform.python_version()} | {name: _version(name) for name in libraries}
    about = {"sets": titles, "versions": versions}
    (folder / "about.json").write_text(json.dumps(about, indent=2) + "\n")
    render(asked.to)


def _version(library: str) -> str:
    """Return the version of a library, or that it is not installed."""
    try:
        return version(library)
    except ImportError:
        return "not installed"


def _parse() -> argparse.Namespace:
    """Return the options that were given."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.batches",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    folder = os.environ.get("SCVAE_DATA_DIR")
    parser.add_argument("--data", type=Path, default=folder and Path(folder))
    parser.add_argument("--runs", type=Path, default=ROOT / "outputs" / "batches")
    parser.add_argument("--to", type=Path, default=DOCS)
    parser.add_argument("--peer", default=sys.executable, help="a Python that has scvi-tools")
    parser.add_argument("--page", action="store_true", help="only write the page again")
    return parser.parse_args()


if __name__ == "__main__":
    answer(main, "batches")
