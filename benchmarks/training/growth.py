"""Measure whole runs on more and more cells of a file: `python -m benchmarks.training.growth`.

Writes a row to docs/performance/growth.csv after each run, and the part of docs/performance.md
that shows them. Runs whose row is there are not done again, unless `--again` is given. The files
of the cells, up to some gigabytes, go to `--folder` and are removed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import h5py
import pandas as pd

from benchmarks.command import DOCS, ROOT, answer
from benchmarks.training.hardware import machine
from benchmarks.training.many_cells import N_GENES, write
from scvae_cli.results.markdown import table

TABLE, PAGE = DOCS / "performance" / "growth.csv", DOCS / "performance.md"
TITLE = "## Many cells, from file to page"
SIZES = (10_000, 100_000, 250_000, 1_000_000, 2_000_000)
WIDE = 13_714  # genes of a file of which the model gets all, PBMC3k's number
CASES = (*((n_cells, N_GENES) for n_cells in SIZES), (300_000, WIDE))
SETTINGS = [
    "data.label_key=cell_type", "model=vae", "likelihood=nb", "epochs=1", "map_3d=false",
    "tsne.max_cells=2000", "tsne.max_iter=250", "cluster.n_init=10",
]  # fmt: skip
SOME = "data.genes=2000"
STAGES = {
    "load": "read", "train": "train", "embed": "embed", "tsne_2d": "map", "cluster": "k-means",
    "figures": "figures",
}  # fmt: skip


def main() -> None:
    """Measure the sizes that are asked for, and write the table and its part of the page."""
    parser = argparse.ArgumentParser("python -m benchmarks.training.growth", description=__doc__)
    parser.add_argument("--cells", type=int, nargs="*", help="measure these sizes only")
    parser.add_argument("--folder", type=Path, help="where files of cells go (a temporary one)")
    parser.add_argument("--again", action="store_true", help="measure what is in the table, too")
    asked = parser.parse_args()
    cases = [case for case in CASES if not asked.cells or case[0] in asked.cells]
    measured = measure(cases, asked.folder, again=asked.again)
    PAGE.write_text(with_part(PAGE.read_text(), part(measured)))


def measure(
    cases: Sequence[tuple[int, int]] = CASES, folder: Path | None = None, *, again: bool = False
) -> pd.DataFrame:
    """Measure the sizes that the table lacks, or all; write the table after each.

    Args:
        cases: numbers of cells and of genes of each file.
        folder: where files of cells go; None for a temporary one.
        again: whether to measure those that the table has.

    Returns:
        The table.
    """
    rows = pd.read_csv(TABLE).to_dict("records") if TABLE.exists() else []
    for case in cases:
        others = [row for row in rows if (row["n_cells"], row["n_genes"]) != case]
        if len(others) < len(rows) and not again:
            continue
        with tempfile.TemporaryDirectory(dir=folder) as name:
            row = _run(*case, Path(name))
        rows = sorted([*others, row], key=lambda r: (r["n_genes"], r["n_cells"]))
        TABLE.parent.mkdir(exist_ok=True)
        pd.DataFrame(rows).to_csv(TABLE, index=False)
        print(pd.Series(row).to_string(), flush=True)
    return pd.read_csv(TABLE)


def _run(n_cells: int, n_genes: int, folder: Path) -> dict[str, Any]:
    """Return the row of one run."""
    path, run = folder / "cells.h5ad", folder / "run"
    write(path, n_cells, n_genes)
    with h5py.File(path) as file:
        n_values = file["X/data"].shape[0]
    command = [
        sys.executable, "-m", "scvae_cli", "train", f"data.path={path}", "data=file", *SETTINGS,
        *([] if n_genes == WIDE else [SOME]), f"hydra.run.dir={run}",
    ]  # fmt: skip
    start = perf_counter()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
    wall = perf_counter() - start
    if status:
        raise SystemExit((folder / "log").read_text())
    record = json.loads((run / "run.json").read_text())
    said = record.get("expected", {})
    return {
        "n_cells": n_cells, "n_genes": n_genes, "non_zeros": n_values,
        "file_mb": path.stat().st_size / 1e6, "wall": wall, "peak_mb": used.ru_maxrss / 1024,
        **{stage: record["seconds"].get(stage) for stage in STAGES},
        "folder_mb": sum(f.stat().st_size for f in run.rglob("*") if f.is_file()) / 1e6,
        "page_mb": (run / "report.html").stat().st_size / 1e6,
        "said_seconds": said.get("seconds"), "said_mb": said.get("bytes", float("nan")) / 2**20,
        "machine": machine(), "scvae": version("scvae-cli"), "others": os.getloadavg()[1],
    }  # fmt: skip


def with_part(page: str, new: str, title: str = TITLE) -> str:
    """Return the page with its part of this title in place of the older one, or at its end."""
    before, _, rest = page.partition(f"{title}\n")
    after = rest.partition("\n## ")[2]
    ending = f"\n## {after}" if after else ""
    return f"{before.rstrip()}\n\n{new}\n{ending}"


def part(measured: pd.DataFrame) -> str:
    """Return the part of the page on growth.

    Args:
        measured: growth.csv.
    """
    names = [
        f"{row['n_cells']:,}" + (f" x {WIDE:,}" if row["n_genes"] == WIDE else "")
        for _, row in measured.iterrows()
    ]
    times = [
        [
            name, f"{row['wall']:.0f}",
            *(f"{1e6 * row[stage] / row['n_cells']:,.0f}" for stage in STAGES),
            f"{1e6 * row['wall'] / row['n_cells']:,.0f}", f"{row['others']:.1f}",
        ]
        for name, (_, row) in zip(names, measured.iterrows(), strict=True)
    ]  # fmt: skip
    sizes = [
        [
            name, f"{row['non_zeros'] / 1e6:,.0f}", f"{row['file_mb']:,.0f}",
            f"{row['peak_mb']:,.0f}", f"{row['folder_mb']:,.0f}", f"{row['page_mb']:.1f}",
            _over(row["wall"] - row["load"], row["said_seconds"]),
            _over(row["peak_mb"], row["said_mb"]),
        ]
        for name, (_, row) in zip(names, measured.iterrows(), strict=True)
    ]  # fmt: skip
    machines = ", ".join(dict.fromkeys(measured["machine"]))
    return f"""{TITLE}

Made by `python -m benchmarks.training.growth`: {machines}.
`scvae train FILE {" ".join([SOME, *SETTINGS])}`
on synthetic counts of {N_GENES:,} genes, of which a cell has a tenth; of {WIDE:,} genes where that
is said, all of which the model gets. From 50 million values on, a file is read in pieces. t-SNE
takes as long for all sizes, and 2,000 cells stand for the 20,000 that it maps by default; the
others are placed beside them. k-means fits 100,000 cells.

Microseconds a cell, by stage. *Load* is the load average of the last five minutes. A run alone
makes it 1 to 2; where it is higher, other programs took time from the run:

{table(["cells", "seconds in all", *STAGES.values(), "in all", "load"], times)}

Memory and disk, and what the run took over what it said beforehand that it would take (from
50,000 cells on; seconds from that line to the end). The estimate of time was fitted to
runs on 1,000,000 and 2,000,000 cells, with a look at others on a busy machine; these rows were
measured afterwards:

{
        table(
            [
                "cells",
                "M non-zeros",
                "file, MB",
                "peak memory, MB",
                "folder of the run, MB",
                "report.html, MB",
                "seconds, of those said",
                "memory, of that said",
            ],
            sizes,
        )
    }"""


def _over(taken: float, said: float) -> str:
    """Return what was taken over what was said, or nothing where nothing was said."""
    return "" if pd.isna(said) else f"{taken / said:.2f}"


if __name__ == "__main__":
    answer(main, "growth")
