"""Measure whether the sparse latents of the VSC are programmes of genes: `make sparsity`.

Trains VSC, VAE and PCA on cells sorted by antibodies, writes what it measures to docs/sparsity.csv
and sparsity.json, the figure, and docs/sparsity.md from these two files (`--page`: only that).
Runs that are in outputs/sparsity are not repeated. $SCVAE_DATA_DIR has the cells, in
zheng_facs/zheng_facs_raw.h5ad.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.command import DOCS, ROOT, answer
from benchmarks.sparsity.measures import n_on, tabulate
from benchmarks.sparsity.page import render
from benchmarks.sparsity.programmes import CPU, TOP, Truth, symbols_of, truth
from benchmarks.sparsity.runs import MODELS, trained_run
from scvae_cli.analysis.sparsity import describe_gates
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.sources import load
from scvae_cli.errors import InputError, Kind
from scvae_cli.models.vsc import VSC
from scvae_cli.results.figures.sparsity import programme_map
from scvae_cli.results.figures.style import render as rendered
from scvae_cli.trained import TrainedRun


def main() -> None:
    """Train what is missing, measure everything and write the page."""
    asked = _parse()
    if asked.page:
        render(asked.to)
        return
    data = _sorted_cells()
    runs = {
        name: [trained_run(name, seed, data, asked.runs) for seed in range(asked.seeds)]
        for name in MODELS
    }
    dataset = load(**runs["VAE"][0].config.data.model_dump())
    known = truth(dataset, symbols_of(runs["VAE"][0], dataset))
    facts = {
        "n_cells": dataset.n_cells, "n_genes": dataset.n_genes, "n_textbook": len(known.textbook)
    }  # fmt: skip
    measured(runs, dataset, known).to_csv(asked.to / "sparsity.csv", index=False)
    (asked.to / "sparsity.json").write_text(json.dumps(facts, indent=2) + "\n")
    sparse = next(name for name in runs if name.startswith("VSC"))
    draw(runs[sparse][0], dataset, asked.to / "sparsity.png")
    render(asked.to)


def _parse() -> argparse.Namespace:
    """Return the options that were given."""
    parser = argparse.ArgumentParser("python -m benchmarks.sparsity", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="of each model (%(default)s)")
    parser.add_argument("--runs", type=Path, default=ROOT / "outputs" / "sparsity")
    parser.add_argument("--to", type=Path, default=DOCS)
    parser.add_argument("--page", action="store_true", help="only the page, of what is there")
    return parser.parse_args()


def _sorted_cells() -> Path:
    """Return the file of the sorted cells.

    Raises:
        InputError: it is not there.
    """
    folder = os.environ.get("SCVAE_DATA_DIR", ".")
    data = Path(folder, "zheng_facs", "zheng_facs_raw.h5ad").absolute()
    if not data.exists():
        fix = "set SCVAE_DATA_DIR to their folder"
        raise InputError(Kind.MISSING, data, "the sorted cells are not there", fix)
    return data


def measured(
    runs: Mapping[str, Sequence[TrainedRun]], dataset: Dataset, known: Truth
) -> pd.DataFrame:
    """Return the rows of sparsity.csv: each model and its turned version, seed by seed."""
    tables = []
    for name, some in runs.items():
        on = n_on(some, dataset) or [np.nan] * len(some)
        for turned in (False, True):
            table = tabulate(some, dataset, known, turned=turned)
            table.insert(0, "model", f"{name}, turned" if turned else name)
            table.insert(1, "seed", range(len(some)))
            table["on"] = np.nan if turned else on
            tables.append(table)
    return pd.concat(tables)


def draw(run: TrainedRun, dataset: Dataset, to: Path) -> None:
    """Write the figure of a VSC's run, with symbols for names of genes."""
    assert isinstance(run.model, VSC)
    sparsity = describe_gates(
        run.model, dataset.x, labels=dataset.labels, cell_types=dataset.cell_types,
        genes=symbols_of(run, dataset), n_top=TOP, target_sum=1e4, sd=None, batch_size=256,
        device=CPU,
    )  # fmt: skip
    title = f"VSC on sorted PBMCs, alpha {run.config.model_options['alpha']:g}, seed 0"
    to.write_bytes(rendered(programme_map(sparsity.latents, sparsity.genes, title)))


if __name__ == "__main__":
    answer(main, "sparsity")
