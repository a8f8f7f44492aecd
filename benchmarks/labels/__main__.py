"""Measure `scvae embed --labels` on cells that the runs have not seen: `make labels`.

Trains on one part of each set and labels the other, with all types and without some, and writes
docs/labels.md from docs/labels/*.csv. Runs that are in --runs are not repeated.
"""

import argparse
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

from benchmarks.command import DOCS, ROOT, answer
from benchmarks.labels.page import render
from benchmarks.labels.runs import train
from benchmarks.labels.scores import measure
from benchmarks.labels.sets import divide
from scvae_cli.errors import InputError, Kind


def main() -> None:
    """Train what is missing, label, and write the tables and the page."""
    asked = _parse()
    if not asked.page:
        if asked.data is None or not asked.data.is_dir():
            raise InputError(Kind.MISSING, "SCVAE_DATA_DIR", "names no folder", "see --data")
        runs = asked.runs.absolute()
        splits = divide(asked.data, runs / "cells")
        if not asked.measure:
            train(splits, runs / "cells", runs)
        folder = asked.to / "labels"
        folder.mkdir(exist_ok=True)
        for name, table in measure(splits, runs / "cells", runs).items():
            table.round(6).to_csv(folder / f"{name}.csv", index=False)
        libraries = ("torch", "scikit-learn")
        versions = {"Python": platform.python_version()} | {n: version(n) for n in libraries}
        (folder / "about.json").write_text(json.dumps({"versions": versions}, indent=2) + "\n")
    render(asked.to)


def _parse() -> argparse.Namespace:
    """Return the options that were given."""
    parser = argparse.ArgumentParser("python -m benchmarks.labels", description=__doc__)
    folder = os.environ.get("SCVAE_DATA_DIR")
    parser.add_argument("--data", type=Path, default=folder and Path(folder))
    parser.add_argument("--runs", type=Path, default=ROOT / "outputs" / "labels")
    parser.add_argument("--to", type=Path, default=DOCS)
    parser.add_argument(
        "--measure", action="store_true", help="train nothing: runs that are there"
    )
    parser.add_argument("--page", action="store_true", help="only the page, of what is there")
    return parser.parse_args()


if __name__ == "__main__":
    answer(main, "labels")
