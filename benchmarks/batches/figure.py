"""Draw the maps of docs/batches.md: with and without telling the model of batches."""

from pathlib import Path

import numpy as np

from benchmarks.batches.runs import latents
from scvae_cli.data.dataset import Dataset
from scvae_cli.results.figures.many_maps import Cell, map_rows
from scvae_cli.results.figures.style import by_type, render
from scvae_cli.runs.files import read_table

SHOWN = {"pca-sqrt": "principal components", "not told": "not told of batches",
         "batches": "told of batches, aligned"}  # fmt: skip


def maps(dataset: Dataset, runs: Path) -> bytes:
    """Draw a t-SNE map of the first run of some methods, by cell type and by batch.

    Returns:
        A PNG file.
    """
    assert dataset.covariates is not None
    batch, names = dataset.covariates.batches
    by_kind = {
        "cell type": by_type(dataset.labels, dataset.cell_types),
        "batch": by_type(batch, names, "batch (cells)"),
    }
    rows: list[list[Cell]] = []
    for kind, groups in by_kind.items():
        rows.append([])
        for method, title in SHOWN.items():
            cells = read_table(next(latents(runs / method))[1], "cells").set_index("cell")
            places = cells.loc[dataset.cells, ["tsne_1", "tsne_2"]].to_numpy(float)
            there = np.isfinite(places).all(1)
            own = groups._replace(codes=groups.codes[there])
            rows[-1].append(Cell(f"{title}, by {kind}", places[there], own))
    return render(map_rows(rows, list(by_kind.values())))
