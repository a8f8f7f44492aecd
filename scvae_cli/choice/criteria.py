"""Measure trained candidates by the criteria of `analysis.choosing`, without looking at types."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from scvae_cli.analysis.choosing import agreements, kept_neighbours, nearest, predicted
from scvae_cli.choice.plan import CANDIDATES
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.holdout import halves, split_molecules
from scvae_cli.data.neighbours import communities, shared_neighbours
from scvae_cli.data.sources import load as load_cells
from scvae_cli.runs.run import Run
from scvae_cli.saved import load
from scvae_cli.trained import TrainedRun

# Columns of the table, and what they are called; higher is better in all.
CRITERIA = {
    "predicted": "predicted",
    "agreement": "agreement",
    "neighbours": "kept",
}
MOST_CELLS = 5000  # that the criteria are computed on
N_NEIGHBOURS, PRUNE = 20, 1 / 15  # Seurat's, of the graph for Leiden at resolution 1


class Measured(NamedTuple):
    """A trained candidate.

    Attributes:
        candidate: its name in `plan.CANDIDATES`.
        seed: of the training.
        predicted: see `analysis.choosing.predicted`.
        neighbours: see `analysis.choosing.kept_neighbours`.
        clusters: (n_measured,) of Leiden in its latent space.
        run: the run.
    """

    candidate: str
    seed: int
    predicted: float
    neighbours: float
    clusters: np.ndarray
    run: Run


def measure(runs: Sequence[Run]) -> pd.DataFrame:
    """Measure all runs of a sweep over candidates.

    Args:
        runs: those that are done.

    Returns:
        A row a run, in the order of `CANDIDATES`: candidate, seed, the `CRITERIA`, seconds of
        training, and the run's scores where types are known. Agreement is missing where a
        candidate has one run.
    """
    genes = _common_genes(runs)
    measured = [_measured(load(run.path), genes) for run in runs]
    _divided.cache_clear()
    rows = []
    for candidate in CANDIDATES:
        ours = [one for one in measured if one.candidate == candidate]
        clusters = [one.clusters for one in ours]
        agreement = agreements(clusters) if len(ours) > 1 else [np.nan] * len(ours)
        rows += [_row(*each) for each in zip(ours, agreement, strict=True)]
    return pd.DataFrame(rows)


def _common_genes(runs: Sequence[Run]) -> frozenset[str]:
    """Return the genes that all runs use, so that all are measured by the same molecules."""
    tables = [run.table("genes", ["gene", "used"]) for run in runs]
    return frozenset.intersection(*(frozenset(t["gene"][t["used"]]) for t in tables))


def _measured(trained: TrainedRun, genes: frozenset[str]) -> Measured:
    """Measure a run on some of its cells, the same for all runs."""
    config = trained.config
    dataset = load_cells(**config.data.model_dump())
    cells = _sample(dataset)
    assert config.validation_share is not None
    parts = _divided(dataset, config.validation_share, config.seeds.held_out, config.seed)
    common = np.flatnonzero(np.isin(dataset.genes, list(genes)))
    index = nearest(trained.places(parts.x[cells]))
    both = [trained.places(half[cells]) for half in parts.halves]
    graph = shared_neighbours(trained.latent.to_numpy()[cells], N_NEIGHBOURS, PRUNE)
    return Measured(
        str(trained.run.flat_settings["experiment"]).removeprefix("choose/"),
        config.seed,
        predicted(index, parts.kept[cells][:, common], parts.held[cells][:, common]),
        kept_neighbours(*map(nearest, both)),
        communities(graph, resolution=1.0, seed=config.seed),
        trained.run,
    )


class Parts(NamedTuple):
    """The molecules of cells, divided: matrices (n_cells, n_genes).

    Attributes:
        x: values of those that were not held out.
        kept: their counts.
        held: counts of those held out.
        halves: values of each half of all molecules.
    """

    x: csr_array
    kept: csr_array
    held: csr_array
    halves: tuple[csr_array, csr_array]


@lru_cache(maxsize=2)  # the candidates of a seed share them, but for those with other genes
def _divided(dataset: Dataset, share: float, seed: int, seed_of_halves: int) -> Parts:
    """Divide the molecules as a run did, and into halves."""
    kept, held = split_molecules(dataset, share, seed)
    counts = kept.counts()
    assert counts is not None
    assert isinstance(kept.x, csr_array)
    return Parts(kept.x, counts, held, halves(dataset, seed_of_halves))


def _sample(dataset: Dataset) -> np.ndarray:
    """Return the cells to measure on: all, or `MOST_CELLS` of them at random, by rising index."""
    order = np.random.default_rng(0).permutation(dataset.n_cells)
    return np.sort(order[:MOST_CELLS])


def _row(one: Measured, agreement: float) -> dict[str, Any]:
    """Return the row of a run."""
    seconds = one.run.record.get("seconds", {})
    return {
        "candidate": one.candidate,
        "seed": one.seed,
        "predicted": one.predicted,
        "agreement": agreement,
        "neighbours": one.neighbours,
        "seconds": seconds.get("train", np.nan),
        **one.run.flat_scores,
    }
