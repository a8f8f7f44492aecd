"""Draw the maps of docs/batches.md: with and without telling the model of batches."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.batches.runs import latents
from scvae_cli.data.dataset import Dataset
from scvae_cli.results.figures.style import legend, open_axes, png, scatter, type_styles
from scvae_cli.runs.files import read_table

SHOWN = {"pca-sqrt": "principal components", "not told": "not told of batches",
         "batches": "told of batches"}  # fmt: skip


def maps(dataset: Dataset, runs: Path) -> bytes:
    """Draw a t-SNE map of the first run of some methods, by cell type and by batch.

    Returns:
        A PNG file.
    """
    assert dataset.covariates is not None
    batch, names = dataset.covariates.batches
    groups = {"cell type": (dataset.labels, dataset.cell_types), "batch": (batch, names)}
    figure = Figure(figsize=(9.6, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    for row, (kind, (values, titles)) in zip(axes, groups.items(), strict=True):
        styles = type_styles(values, titles)
        for panel, (method, title) in zip(row, SHOWN.items(), strict=True):
            cells = read_table(next(latents(runs / method))[1], "cells").set_index("cell")
            places = cells.loc[dataset.cells, ["tsne_1", "tsne_2"]].to_numpy(float)
            there = np.isfinite(places).all(1)
            scatter(panel, places[there], values[there], styles)
            open_axes(panel)
            panel.set_title(f"{title}, by {kind}", fontsize=10)
            panel.set_xticks([])
            panel.set_yticks([])
        legend(row[1], styles, kind)
    return png(figure, dpi=130)
