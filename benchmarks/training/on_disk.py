"""Measure what batches take whose values lie on disk: `python -m benchmarks.training.on_disk`.

Writes docs/performance/on_disk.csv, and the part of docs/performance.md that shows it. The
system is asked to forget the file before each batch, as where memory does not hold it.
"""

import argparse
import mmap
import os
import tempfile
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array

from benchmarks.command import DOCS, answer
from benchmarks.training.growth import PAGE, with_part
from benchmarks.training.hardware import machine
from scvae_cli import mapped
from scvae_cli.mapped import Collected
from scvae_cli.models.batches import OnHost
from scvae_cli.results.markdown import table
from scvae_cli.rows import Rows

TABLE, TITLE = DOCS / "performance" / "on_disk.csv", "## Values on disk"
N_CELLS, N_GENES, N_VALUES, BATCH = 250_000, 2000, 200, 256
BLOCK, BUFFER = 64, 64  # rows of a block, blocks of a buffer
ROUNDS, BATCHES = 3, 48
STEP = 0.025  # seconds that stand for what a model computes with a batch
CPU = torch.device("cpu")
# Name: whether on disk, whether forgotten before, whether rows are asked for ahead, in blocks.
KINDS = {
    "in memory": (False, False, False, False),
    "on disk, in the page cache": (True, False, True, False),
    "on disk, in the page cache, no rows asked for ahead": (True, False, False, False),
    "on disk, not in memory": (True, True, True, False),
    "on disk, not in memory, no rows asked for ahead": (True, True, False, False),
    "on disk, not in memory, shuffled in blocks": (True, True, False, True),
}


def main() -> None:
    """Measure all kinds in turns; write the table and its part of the page."""
    parser = argparse.ArgumentParser("python -m benchmarks.training.on_disk", description=__doc__)
    parser.add_argument("--folder", type=Path, help="on whose disk values lie (a temporary one)")
    with tempfile.TemporaryDirectory(dir=parser.parse_args().folder) as folder:
        measured = measure(Path(folder))
    measured.to_csv(TABLE, index=False)
    PAGE.write_text(with_part(PAGE.read_text(), part(measured), TITLE))


def measure(folder: Path) -> pd.DataFrame:
    """Return a row a kind: milliseconds to get a batch, median, least and most of the rounds."""
    stored = _Stored(folder)
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(ROUNDS):
        for kind, how in KINDS.items():
            times[kind].append(1000 * stored.seconds(*how))
            print(f"{kind}: {times[kind][-1]:.1f} ms a batch", flush=True)
    rows = [
        {"kind": kind, "ms": float(np.median(of)), "least": min(of), "most": max(of)}
        for kind, of in times.items()
    ]
    return pd.DataFrame(rows).assign(machine=machine(), others=os.getloadavg()[1])


class _Stored:
    """Counts of cells, in memory and on disk."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        shape = N_CELLS, N_GENES
        n_values = N_CELLS * N_VALUES
        with Collected(shape, n_values, folder) as ours, Collected(shape, n_values, None) as x:
            for _ in range(0, N_CELLS, 1000):
                drawn = _drawn(rng, 1000)
                ours.add(drawn)
                x.add(drawn)
            self.files = [os.dup(part._file.fileno()) for part in ours._parts]  # type: ignore[union-attr]
            self.x, self.on_disk = x.matrix(), ours.matrix()
        for file in self.files:
            os.fsync(file)

    def forget(self) -> None:
        """Have the system drop the files from memory."""
        for values, file in zip(
            (self.on_disk.data, self.on_disk.indices), self.files, strict=True
        ):
            pages = mapped._map_of(values)
            assert pages is not None
            pages.madvise(mmap.MADV_DONTNEED)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)

    def seconds(self, on_disk: bool, forgotten: bool, ahead: bool, blocks: bool) -> float:
        """Return the seconds that getting a batch takes, beside what a model computes."""
        rng = np.random.default_rng(0)
        x = self.on_disk if on_disk else self.x
        batches = OnHost(x, Rows(x, scales=np.full(N_CELLS, 1e-4)), None, CPU)
        order = torch.from_numpy(_in_blocks(rng) if blocks else rng.permutation(N_CELLS))
        if on_disk and not forgotten:
            _ = self.on_disk.data.max(), self.on_disk.indices.max()  # now it is in memory
        seconds, buffer = 0.0, BLOCK * BUFFER // BATCH if blocks else 1
        for number, index in enumerate(order.split(BATCH)[:BATCHES]):
            if forgotten and number % buffer == 0:
                self.forget()
            start = perf_counter()
            if ahead:
                batches.expect(index)
            asked = perf_counter()
            sleep(STEP)
            ready = perf_counter()
            batches.take(index)
            seconds += asked - start + perf_counter() - ready
        return seconds / BATCHES


def _drawn(rng: np.random.Generator, n: int) -> csr_array:
    """Return logarithms of ones, twos and threes of some genes, (n, N_GENES)."""
    genes = np.sort(rng.random((n, N_GENES)).argpartition(N_VALUES)[:, :N_VALUES], axis=1)
    data = np.log1p(rng.integers(1, 4, n * N_VALUES) * 1e4).astype(np.float32)
    ends = np.arange(n + 1) * N_VALUES
    return csr_array((data, genes.ravel(), ends), shape=(n, N_GENES))


def _in_blocks(rng: np.random.Generator) -> np.ndarray:
    """Return the order of all cells: blocks at random, and then cells of `BUFFER` blocks."""
    blocks = rng.permutation(N_CELLS // BLOCK)
    cells = (blocks[:, None] * BLOCK + np.arange(BLOCK)).ravel()
    size = BLOCK * BUFFER
    return np.concatenate(
        [rng.permutation(cells[i : i + size]) for i in range(0, len(cells), size)]
    )


def part(measured: pd.DataFrame) -> str:
    """Return the part of the page on values that lie on disk.

    Args:
        measured: on_disk.csv.
    """
    first = measured.iloc[0]
    rows = [
        [row["kind"], f"{row['ms']:.1f} ({row['least']:.1f} to {row['most']:.1f})"]
        for _, row in measured.iterrows()
    ]
    sizes = f"{N_CELLS:,} cells of {N_VALUES} values each in {N_GENES:,} genes"
    return f"""{TITLE}

Made by `python -m benchmarks.training.on_disk`: {first["machine"]}, with other
work beside it (load average {first["others"]:.1f}). What getting a batch takes, of
{sizes} ({8 * N_CELLS * N_VALUES / 1e6:,.0f} MB); medians of {ROUNDS} turns of {BATCHES} batches.
A pause of {1000 * STEP:.0f} ms, while rows that were asked for are read, stands for what the
model computes with the batch before. *Not in memory*: the system is asked to forget the file
before each batch. *Shuffled in blocks*: {BLOCK} consecutive cells are a block, blocks come in
random order, and cells of {BUFFER} blocks are shuffled; the system forgets the file before each of
these parts, whose rows are not asked for ahead.

{table(["values", "milliseconds a batch of 256 (least to most)"], rows)}

All cells are shuffled wherever they lie, so that results do not depend on `data.on_disk`: the rows
of the next batch are asked for while one is computed with. Without that, the system reads 128 KB
around each of them. Shuffling in blocks was not built: it takes no less time here, and results
would depend on where values lie and on the order of the cells in the file. A disk with moving
parts, or one across a network, was not measured."""


if __name__ == "__main__":
    answer(main, "on_disk")
