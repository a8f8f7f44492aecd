"""Measure speed, memory and growth of training on this machine: `make bench`.

Prints and writes docs/performance.md. Ratios come from epochs that take turns, so that other work
of the machine weighs on both sides; seconds are of this machine. What is said of a GPU is measured
where there is one, and is what docs/performance/cuda.csv has of another machine elsewhere; so is
what is said of scVI (scvi.csv) where scvi-tools is not installed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import pandas as pd
import torch
from scipy.sparse import csr_array

from benchmarks.command import DOCS, answer
from benchmarks.training import beside, cuda, growth, on_disk
from benchmarks.training.contest import contest
from benchmarks.training.hardware import lower_bound, machine
from benchmarks.training.memory import growth as memory_growth
from benchmarks.training.memory import memory
from benchmarks.training.page import Measured, text
from benchmarks.training.whole_runs import answers, stages
from scvae_cli.data.sources import load
from scvae_cli.launch.compose import compose


def main() -> None:
    """Measure everything and write the page."""
    parser = argparse.ArgumentParser("python -m benchmarks.training", description=__doc__)
    parser.add_argument("--cells", type=int, nargs="*", default=[3000, 30000, 300000])
    parser.add_argument("--python", default=sys.executable, help="one with scvi-tools")
    parser.add_argument("--to", type=Path, default=DOCS / "performance.md")
    asked = parser.parse_args()
    page = growth.with_part(text(measure(asked.cells)), growth.part(growth.measure()))
    page = growth.with_part(page, beside.part(beside.measure(asked.python)), beside.TITLE)
    page = growth.with_part(page, on_disk.part(pd.read_csv(on_disk.TABLE)), on_disk.TITLE)
    asked.to.write_text(page)
    print(page)


def measure(sizes: list[int]) -> Measured:
    """Measure everything.

    Args:
        sizes: numbers of cells of the synthetic data sets.
    """
    x: csr_array = load(**compose(["data=pbmc3k"]).data.model_dump()).x
    epochs = [[kind.upper(), *contest(kind, x, "plain")] for kind in ("ae", "vae", "vsc")]
    epochs.append(["VAE, theirs 800 wide", *contest("vae", x, "loader")])
    notes = lower_bound(x, float(epochs[1][1]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        answered = answers()
        shares = [stages(overrides, folder) for overrides in ([], ["model=vae", "data=pbmc3k"])]
        rows = [memory(x, folder), *memory_growth(sizes, folder)]
    if torch.cuda.is_available():
        cuda.measure()
    on_a_gpu = pd.read_csv(cuda.TABLE)
    return Measured(machine(), x.nnz, epochs, notes, rows, shares, answered, on_a_gpu)


if __name__ == "__main__":
    answer(main, "training")
