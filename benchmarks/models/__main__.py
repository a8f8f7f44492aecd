"""Compare models on several sets of cells: `make benchmark`, which writes docs/benchmark.md.

Every preset of conf/experiment/benchmark is run on every data set with several seeds, as sweeps
of scvae's own, which are resumed if they are there. scVI is trained beside them where scvi-tools
is installed. All latent spaces and maps are clustered alike and scored against the types.
The folder --runs has:

    FACS, PBMC3k, ...   a sweep for each data set; `scvae compare` reads them
    peer/               counts for scVI, and a folder for each of its trainings
    scores/             scores of each run, so that the next call computes only new ones
    cost/, race/        trainings with the machine to itself, for time and memory
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.command import DOCS, ROOT, answer
from benchmarks.models.cells import data_sets
from benchmarks.models.cost import costs, measure, race, race_epochs
from benchmarks.models.page import write
from benchmarks.models.runs import failures, sweep, train_peers
from benchmarks.models.scores import all_scores


def main() -> None:
    """Run what is missing and write the page."""
    asked = _parse()
    runs = asked.runs.absolute()
    sets = data_sets(asked.data)
    measured = next(iter(sets))
    has_peer = subprocess.run([asked.peer, "-c", "import scvi"], capture_output=True, check=False)
    python = None if has_peer.returncode else asked.peer
    if python is None:
        print("scvi-tools is not installed (pip install '.[peer]'): no scVI", file=sys.stderr)
    if not asked.page:
        for name, data in sets.items():
            sweep(name, data, asked.seeds, runs)
        if python:
            train_peers(python, sets, asked.seeds, runs)
        measure(measured, sets[measured], python, runs)
        if python:
            race(python, runs)
    scores, failed = all_scores(sets, runs), failures(sets, runs)
    print(
        write(scores, costs(measured, runs), measured, race_epochs(runs), sets, failed, asked.to)
    )


def _parse() -> argparse.Namespace:
    """Return the options that were given."""
    parser = argparse.ArgumentParser("python -m benchmarks.models", description=__doc__)
    folder = os.environ.get("SCVAE_DATA_DIR")
    parser.add_argument("--data", type=Path, default=folder and Path(folder))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=ROOT / "outputs" / "benchmark")
    parser.add_argument("--to", type=Path, default=DOCS)
    parser.add_argument("--peer", default=sys.executable, help="a Python that has scvi-tools")
    parser.add_argument("--page", action="store_true", help="only the page, of what is there")
    return parser.parse_args()


if __name__ == "__main__":
    answer(main, "models")
