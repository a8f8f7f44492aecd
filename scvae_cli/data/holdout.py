"""Keep a part of the data from training, to see how well a model predicts it."""

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from scvae_cli.data.dataset import Dataset

MOST_CELLS = 5000  # that a validation loss is computed on


def split_cells(n_cells: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw cells to hold out: a share of all, but at most `MOST_CELLS`.

    Returns:
        Rising indices of the other cells, (n_cells - n_held,), and of those held out, (n_held,).
    """
    n_held = min(max(1, round(share * n_cells)), MOST_CELLS)
    order = np.random.default_rng(seed).permutation(n_cells)
    return np.sort(order[n_held:]), np.sort(order[:n_held])


def split_molecules(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, csr_array]:
    """Draw molecules of each cell to hold out; what is left is one more sample of the same cells.

    Molecular cross-validation: Batson, Royer & Webber, bioRxiv 786269 (2019). Each molecule is
    held out with the same probability, those of genes that the model does not get among them.

    Args:
        dataset: cells with whole counts that were not scaled.
        share: the probability.
        seed: of the draw.

    Returns:
        The cells with the molecules that are left, and counts (n_cells, n_genes) of the others.
    """
    counts, recipe = dataset.counts(), dataset.recipe
    assert counts is not None
    assert recipe.totals is not None
    assert recipe.target_sum is not None
    rng = np.random.default_rng(seed)
    numbers = counts.data.astype(np.int64)
    held = rng.binomial(numbers, share)
    elsewhere = np.rint(recipe.totals - counts.sum(axis=1)).astype(np.int64).clip(0)
    lost = np.add.reduceat(np.append(held, 0), counts.indptr[:-1]) * (np.diff(counts.indptr) > 0)
    totals = recipe.totals - lost - rng.binomial(elsewhere, share)
    scale = np.repeat(recipe.target_sum / totals.clip(1), np.diff(counts.indptr))
    x = _like(counts, np.log1p((numbers - held) * scale))
    kept = replace(dataset, x=x, recipe=replace(recipe, totals=totals))
    return kept, _like(counts, held)


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
