"""Keep a part of the cells from training, to measure how well the model predicts it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array

from scvae_cli.config import Config
from scvae_cli.covariates import Covariates
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.holdout import MOST_CELLS, split_cells, split_molecules
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.mapped import is_mapped
from scvae_cli.models.model import Model
from scvae_cli.models.validation import HeldOutCells, HeldOutMolecules
from scvae_cli.rows import Rows, Values


class TrainingData(NamedTuple):
    """What is trained on, and what measures how well the model predicts the rest."""

    x: Values
    counts: Values | None
    covariates: Covariates | None
    validate: Callable[[Model], float] | None


def hold_out(
    config: Config, dataset: Dataset, device: torch.device, folder: Path | None = None
) -> TrainingData:
    """Keep a share of the cells or of the molecules from training, if asked to.

    Args:
        config: of the run.
        dataset: all cells.
        device: where models compute.
        folder: on whose disk the rest of the molecules goes, where all of them lie on disk.

    Raises:
        InputError: the share is so small or so large that one part has no molecules.
        OSError: the disk is full.
    """
    of_counts = config.likelihood not in (None, "gaussian")
    told = dataset.covariates
    if config.validation is None:
        counts = dataset.counts_by_row() if of_counts else None
        return TrainingData(dataset.x, counts, told, None)
    share, seed = config.validation_share, config.seeds.held_out
    assert share is not None
    batches: dict[str, Any] = {"batch_size": config.batch_size, "device": device}
    if config.validation == "molecules":
        kept, held = split_molecules(
            dataset, share, seed, folder if is_mapped(dataset.x) else None
        )
        some = np.sort(np.random.default_rng(seed).permutation(dataset.n_cells)[:MOST_CELLS])
        assert isinstance(kept.x, csr_array)
        assert kept.recipe.target_sum is not None
        rest = kept.x[some], held[some], None if told is None else told.some(some)
        if not (rest[0].nnz and rest[1].nnz):
            reason = (
                f"holds out {'all' if rest[1].nnz else 'none'} of the molecules of these cells"
            )
            given = Given("validation_share", share)
            raise InputError(Kind.VALUE, given, reason, "give another, or validation=null")
        molecules = HeldOutMolecules(*rest, target_sum=kept.recipe.target_sum, **batches)
        return TrainingData(kept.x, kept.counts_by_row() if of_counts else None, told, molecules)
    ours, theirs = split_cells(dataset.n_cells, share, seed)
    held = HeldOutCells(*_of_cells(dataset, theirs, of_counts), seed=seed, **batches)
    return TrainingData(*_of_cells(dataset, ours, of_counts), held)


def _of_cells(
    dataset: Dataset, cells: np.ndarray, of_counts: bool
) -> tuple[Values, Values | None, Covariates | None]:
    """Return values, counts and covariates of the cells of these indices; sparse ones stay put."""
    told, counts = dataset.covariates, dataset.counts_by_row() if of_counts else None
    x = dataset.x[cells] if isinstance(dataset.x, np.ndarray) else Rows(dataset.x, cells)
    return (
        x,
        None if counts is None else Rows(counts.x, cells, counts.scales),
        None if told is None else told.some(cells),
    )
