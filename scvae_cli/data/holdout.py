"""Keep a part of the data from training, to see how well a model predicts it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from scvae_cli.data.dataset import Dataset
from scvae_cli.mapped import Collected
from scvae_cli.rows import Rows

MOST_CELLS = 5000  # that a validation loss is computed on


def split_cells(n_cells: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw cells to hold out: a share of all, but at most `MOST_CELLS`.

    Returns:
        Rising indices of the other cells, (n_cells - n_held,), and of those held out, (n_held,).
    """
    n_held = min(max(1, round(share * n_cells)), MOST_CELLS, n_cells - 1)
    order = np.random.default_rng(seed).permutation(n_cells)
    return np.sort(order[n_held:]), np.sort(order[:n_held])


def split_molecules(
    dataset: Dataset, share: float, seed: int, folder: Path | None = None
) -> tuple[Dataset, csr_array]:
    """Draw molecules of each cell to hold out; what is left is one more sample of the same cells.

    Molecular cross-validation: Batson, Royer & Webber, bioRxiv 786269 (2019). Each molecule is
    held out with the same probability, those of genes that the model does not get among them.

    Args:
        dataset: cells with whole counts that were not scaled.
        share: the probability.
        seed: of the draw.
        folder: on whose disk both parts are to lie; None for memory.

    Returns:
        The cells with the molecules that are left, and counts (n_cells, n_genes) of the others.

    Raises:
        OSError: the disk is full.
    """
    rows, recipe = dataset.counts_by_row(), dataset.recipe
    assert rows is not None
    assert recipe.totals is not None
    assert recipe.target_sum is not None
    room: tuple[Any, ...] = (rows.shape, rows.nnz, folder)
    with Collected(*room) as held, Collected(*room) as left:
        totals = recipe.totals - _held_out(rows, recipe.totals, share, seed, held)
        scales = recipe.target_sum / totals.clip(1)
        rng = np.random.default_rng(seed)  # once more, which takes less than to keep what it drew
        for some, counts in rows.pieces():
            numbers = counts.data.astype(np.int64)
            scale = np.repeat(scales[some], np.diff(counts.indptr))
            left.add(_like(counts, np.log1p((numbers - rng.binomial(numbers, share)) * scale)))
        kept = replace(dataset, x=left.matrix(), recipe=replace(recipe, totals=totals))
        return kept, held.matrix()


def _held_out(
    rows: Rows, totals: np.ndarray, share: float, seed: int, held: Collected
) -> np.ndarray:
    """Draw molecules to hold out, and collect them; return how many each cell (n_cells,) loses.

    Args:
        rows: counts (n_cells, n_genes).
        totals: (n_cells,) counts of each cell in all genes.
        share: see `split_molecules`.
        seed: see `split_molecules`.
        held: gets the molecules in these genes.
    """
    rng, lost, elsewhere = np.random.default_rng(seed), [], []
    for some, counts in rows.pieces():
        out = rng.binomial(counts.data.astype(np.int64), share)
        lost.append(csr_array((out, counts.indices, counts.indptr), counts.shape).sum(axis=1))
        elsewhere.append(np.rint(totals[some] - counts.sum(axis=1)))
        held.add(_like(counts, out))
    others = np.concatenate(elsewhere).astype(np.int64).clip(0)
    result: np.ndarray = np.concatenate(lost) + rng.binomial(others, share)
    return result


def halves(dataset: Dataset, seed: int) -> tuple[csr_array, csr_array]:
    """Divide each cell's molecules into two halves at random: two measurements of the same cells.

    Args:
        dataset: cells with whole counts that were not scaled.
        seed: of the draw.

    Returns:
        The values (n_cells, n_genes) of each half, as a model takes them.
    """
    first, counts = split_molecules(dataset, 0.5, seed)
    totals, target_sum = dataset.recipe.totals, dataset.recipe.target_sum
    assert totals is not None
    assert first.recipe.totals is not None
    assert target_sum is not None
    assert isinstance(first.x, csr_array)
    scale = target_sum / (totals - first.recipe.totals).clip(1)
    logs = np.log1p(counts.data * np.repeat(scale, np.diff(counts.indptr)))
    return first.x, _like(counts, logs)


def _like(x: csr_array, data: np.ndarray) -> csr_array:
    """Return a matrix with other values at the non-zeros of x, its zeros left out."""
    parts = data.astype(np.float32), x.indices.copy(), x.indptr.copy()
    matrix = csr_array(parts, shape=x.shape)
    matrix.eliminate_zeros()
    return matrix
