"""Measure how well programmes tell cell types apart, and how well seeds agree on them."""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from benchmarks.sparsity.programmes import CPU, TOP, Programmes, Truth, programmes
from scvae_cli.analysis.sparsity import infer_gates
from scvae_cli.data.dataset import Dataset
from scvae_cli.models.vsc import VSC
from scvae_cli.trained import TrainedRun

ROTATIONS = 5  # random ones of each latent space
MARKS = 0.9  # AUROC from which a programme marks a type
MEASURES = {
    "latents": "latents in use",
    "auroc": "AUROC of a type by the programme that tells it best",
    "marked": f"types marked (AUROC {MARKS:g}), of 10",
    "own": "that programme's genes that are markers of the type, %",
    "other": "that are markers of another type, %",
    "gain": "own minus other, %",
    "canonical": "textbook markers found, %",
    "jaccard": "match between seeds (Jaccard)",
}


def tabulate(
    runs: Sequence[TrainedRun], dataset: Dataset, known: Truth, *, turned: bool
) -> pd.DataFrame:
    """Measure the runs of a model.

    Args:
        runs: one for each seed.
        dataset: their cells.
        known: what is known of the cells.
        turned: whether to measure random rotations of each latent space instead.

    Returns:
        A row for each seed, with the columns of `MEASURES`; of random axes the mean over
        `ROTATIONS` draws.
    """
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(ROTATIONS if turned else 1):
        n = runs[0].config.latent_dim
        axes = [np.linalg.qr(rng.normal(size=(n, n)))[0] if turned else None for _ in runs]
        read = [programmes(run, dataset, a) for run, a in zip(runs, axes, strict=True)]
        rows = pd.DataFrame([measure(some, known) for some in read])
        draws.append(rows.assign(jaccard=matches(read)))
    return sum(draws[1:], draws[0]) / len(draws)


def measure(read: Programmes, known: Truth) -> dict[str, float]:
    """Return what `MEASURES` names, except the match between seeds.

    Means are over types, each with the programme that tells it best, and not over programmes: a
    model that uses few latents would have few programmes, and means over them would favour it.
    """
    if not read.genes:
        return dict.fromkeys([*MEASURES][:-1], 0.0) | {"auroc": 0.5}
    areas = aurocs(read.levels, known.labels)
    best = areas.argmax(1)
    hits = np.array([[len(g & m) / TOP for m in known.markers] for g in read.genes])[best]
    own = np.diagonal(hits)
    other = (hits.sum(1) - own) / (len(known.cell_types) - 1)
    pairs = zip(areas.argmax(0), read.genes, strict=True)
    seen = {(kind, gene) for kind, genes in pairs for gene in genes}
    return {
        "latents": len(np.unique(read.latents)),
        "auroc": areas.max(1).mean(),
        "marked": int((areas.max(1) >= MARKS).sum()),
        "own": 100 * own.mean(),
        "other": 100 * other.mean(),
        "gain": 100 * (own - other).mean(),
        "canonical": 100 * len(known.textbook & seen) / len(known.textbook),
    }


def aurocs(levels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of each type against all other cells, by each column.

    Args:
        levels: (n_cells, n).
        labels: number of the type of each cell (n_cells,).

    Returns:
        (n_types, n).
    """
    ranks = rankdata(levels, axis=0)
    n = len(labels)
    sizes = np.bincount(labels)
    sums = np.stack([ranks[labels == kind].sum(0) for kind in range(len(sizes))])
    shape = (sizes * (n - sizes))[:, None]
    areas: np.ndarray = (sums - (sizes * (sizes + 1) / 2)[:, None]) / shape
    return areas


def matches(seeds: Sequence[Programmes]) -> list[float]:
    """Return, for each seed, how well its programmes match the most similar of another seed.

    The match of two programmes is the Jaccard index of their genes; means are over programmes,
    then over the other seeds.
    """
    values: dict[int, list[float]] = {}
    for i, j in permutations(range(len(seeds)), 2):
        best = [
            max(len(a & b) / len(a | b) for b in seeds[j].genes) if seeds[j].genes else 0.0
            for a in seeds[i].genes
        ]
        values.setdefault(i, []).append(float(np.mean(best)) if best else 0.0)
    return [float(np.mean(v)) for v in values.values()]


def n_on(runs: Sequence[TrainedRun], dataset: Dataset) -> list[float]:
    """Return how many latents are on in a cell, on average, in each run of a VSC."""
    return [
        infer_gates(run.model, dataset.x, batch_size=256, device=CPU).n_on
        for run in runs
        if isinstance(run.model, VSC)
    ]
