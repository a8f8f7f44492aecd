"""Keep a part of the cells from training, to measure how well the model predicts it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array

from scvae_cli.config import Config
from scvae_cli.covariates import Covariates
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.holdout import MOST_CELLS, split_cells, split_molecules
from scvae_cli.models.model import Model
from scvae_cli.models.validation import HeldOutCells, HeldOutMolecules


class TrainingData(NamedTuple):
    """What is trained on, and what measures how well the model predicts the rest."""

    x: csr_array | np.ndarray
    counts: csr_array | None
    covariates: Covariates | None
    validate: Callable[[Model], float] | None


def hold_out(config: Config, dataset: Dataset, device: torch.device) -> TrainingData:
    """Keep a share of the cells or of the molecules from training, if asked to."""
    of_counts = config.likelihood not in (None, "gaussian")
    told = dataset.covariates
    if config.validation is None:
        return TrainingData(dataset.x, dataset.counts() if of_counts else None, told, None)
    share, seed = config.validation_share, config.seeds.held_out
    assert share is not None
    batches: dict[str, Any] = {"batch_size": config.batch_size, "device": device}
    if config.validation == "molecules":
        kept, held = split_molecules(dataset, share, seed)
        some = np.sort(np.random.default_rng(seed).permutation(dataset.n_cells)[:MOST_CELLS])
        assert isinstance(kept.x, csr_array)
        assert kept.recipe.target_sum is not None
        rest = kept.x[some], held[some], None if told is None else told.some(some)
        molecules = HeldOutMolecules(*rest, target_sum=kept.recipe.target_sum, **batches)
        return TrainingData(kept.x, kept.counts() if of_counts else None, told, molecules)
    counts = dataset.counts() if of_counts else None
    ours, theirs = split_cells(dataset.n_cells, share, seed)
    parts = [
        (
            dataset.x[i],
            None if counts is None else counts[i],
            None if told is None else told.some(i),
        )
        for i in (ours, theirs)
    ]
    return TrainingData(*parts[0], HeldOutCells(*parts[1], seed=seed, **batches))
