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
SIZES = (10_000, 100_000, 250_000, 1_000_000)
EARLIER = (10_000, 1_000_000)  # rows of a version that kept counts, and copies of all values
SETTINGS = [
    "data.genes=2000", "data.label_key=cell_type", "model=vae", "likelihood=nb",
    "epochs=1", "map_3d=false", "tsne.max_cells=2000", "tsne.max_iter=250", "cluster.n_init=10",
]  # fmt: skip
STAGES = {
    "load": "read", "train": "train", "embed": "embed", "tsne_2d": "map", "cluster": "k-means",
    "figures": "figures",
}  # fmt: skip


def main() -> None:
    """Measure the sizes that are asked for, and write the table and its part of the page."""
    parser = argparse.ArgumentParser("python -m benchmarks.training.growth", description=__doc__)
    parser.add_argument("--cells", type=int, nargs="*", default=SIZES)
    parser.add_argument("--folder", type=Path, help="where files of cells go (a temporary one)")
    parser.add_argument("--again", action="store_true", help="measure what is in the table, too")
    asked = parser.parse_args()
    measured = measure(asked.cells, asked.folder, again=asked.again)
    PAGE.write_text(with_part(PAGE.read_text(), part(measured)))


def measure(
    cells: Sequence[int] = SIZES, folder: Path | None = None, *, again: bool = False
) -> pd.DataFrame:
    """Measure the sizes that the table lacks, or all; write the table after each.

    Args:
        cells: numbers of cells.
        folder: where files of cells go; None for a temporary one.
        again: whether to measure those that the table has.

    Returns:
        The table.
    """
    rows = pd.read_csv(TABLE).to_dict("records") if TABLE.exists() else []
    for n_cells in cells:
        if any(row["n_cells"] == n_cells for row in rows) and not again:
            continue
        with tempfile.TemporaryDirectory(dir=folder) as name:
            row = _run(n_cells, Path(name))
        rows = [*(r for r in rows if r["n_cells"] != n_cells), row]
        rows.sort(key=lambda r: int(r["n_cells"]))
        TABLE.parent.mkdir(exist_ok=True)
        pd.DataFrame(rows).to_csv(TABLE, index=False)
        print(pd.Series(row).to_string(), flush=True)
    return pd.read_csv(TABLE)


def _run(n_cells: int, folder: Path) -> dict[str, Any]:
    """Return the row of one run."""
    path, run = folder / "cells.h5ad", folder / "run"
    write(path, n_cells)
    with h5py.File(path) as file:
        n_values = file["X/data"].shape[0]
    command = [
        sys.executable, "-m", "scvae_cli", "train", f"data.path={path}", "data=file", *SETTINGS,
        f"hydra.run.dir={run}",
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
        "n_cells": n_cells, "n_genes": N_GENES, "non_zeros": n_values,
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
    times = [
        [
            f"{row['n_cells']:,}", f"{row['wall']:.0f}",
            *(f"{1e6 * row[stage] / row['n_cells']:,.0f}" for stage in STAGES),
            f"{1e6 * row['wall'] / row['n_cells']:,.0f}",
        ]
        for _, row in measured.iterrows()
    ]  # fmt: skip
    sizes = [
        [
            f"{row['n_cells']:,}", f"{row['non_zeros'] / 1e6:,.0f}", f"{row['file_mb']:,.0f}",
            f"{row['peak_mb']:,.0f}", f"{row['folder_mb']:,.0f}", f"{row['page_mb']:.1f}",
            *(
                ["", ""]
                if pd.isna(row["said_seconds"])
                else [f"{(row['wall'] - row['load']) / row['said_seconds']:.2f}",
                      f"{row['peak_mb'] / row['said_mb']:.2f}"]
            ),
        ]
        for _, row in measured.iterrows()
    ]  # fmt: skip
    machines = ", ".join(dict.fromkeys(measured["machine"]))
    old = [f"{n:,}" for n in EARLIER if (measured["n_cells"] == n).any()]
    earlier = f"""
The rows of {" and ".join(old)} cells are of an earlier version, which kept counts beside the
values and copied both once; what it said beforehand is of that version, too."""
    loads = f"{measured['others'].min():.1f} to {measured['others'].max():.1f}"
    return f"""{TITLE}

Made by `python -m benchmarks.training.growth`: {machines}, with other work beside it
(load average {loads}). `scvae train FILE {" ".join(SETTINGS)}` on
synthetic counts of {N_GENES:,} genes, of which a cell has a tenth. From 50 million values on, a
file is read in pieces. t-SNE takes as long for all sizes, and 2,000 cells stand for the 20,000
that it maps by default; the others are placed beside them. k-means fits 100,000 cells.{earlier}

Microseconds a cell, by stage:

{table(["cells", "seconds in all", *STAGES.values(), "in all"], times)}

Memory and disk, and what the run took over what it said beforehand that it would take (from
50,000 cells on; seconds from that line to the end):

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


if __name__ == "__main__":
    answer(main, "growth")
