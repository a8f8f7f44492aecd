"""What can be said of a latent space without cell types: three criteria.

Each is a number per training, higher is better. None of them looks at the model's own decoder, so
that principal components and autoencoders of any likelihood are measured alike.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

N_NEIGHBOURS = 15  # of a cell, scanpy's default
PRIOR = 300.0  # molecules of the mean cell that are added to those of a cell's neighbours
BLOCK = 1000  # cells at a time


def nearest(points: np.ndarray) -> np.ndarray:
    """Return the `N_NEIGHBOURS` nearest other cells of each cell, (n_cells, n_neighbours).

    Args:
        points: (n_cells, n_dims), more cells than `N_NEIGHBOURS`.
    """
    index: np.ndarray = (
        NearestNeighbors(n_neighbors=N_NEIGHBOURS).fit(points).kneighbors(return_distance=False)
    )
    return index


def predicted(index: np.ndarray, kept: csr_array, held: csr_array) -> float:
    """Tell how well a cell's neighbours predict of which genes its held-out molecules are.

    Molecular cross-validation (Batson, Royer & Webber, bioRxiv 786269, 2019), where the
    prediction is the mean of the neighbours: a space in which cells lie beside cells that are
    alike predicts well, whatever its dimensions are.

    Args:
        index: (n_cells, n_neighbours) neighbours, found without the molecules held out.
        kept: (n_cells, n_genes) counts of the other molecules.
        held: (n_cells, n_genes) counts of those held out.

    Returns:
        Mean log ratio of the predicted share of a molecule's gene to its share in all cells, in
        nats per molecule; below 0 where neighbours tell less than the mean of all cells.
    """
    shares = np.ravel(kept.sum(axis=0)) + 1.0
    shares /= shares.sum()
    gain = 0.0
    for cells in np.split(np.arange(len(index)), range(BLOCK, len(index), BLOCK)):
        pooled = csr_array(_lists(index[cells], len(index)) @ kept).toarray()
        expected = (pooled / shares + PRIOR) / (pooled.sum(axis=1, keepdims=True) + PRIOR)
        part = held[cells].tocoo()
        gain += float(part.data @ np.log(expected[part.coords]))
    return gain / float(held.sum())


def kept_neighbours(first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of a cell's neighbours that it has in both of two lists, mean over cells.

    Ahlmann-Eltze & Huber, Nature Methods 20, 665 (2023), compare transformations like this.

    Args:
        first: (n_cells, n_neighbours) from `nearest`, of one half of the molecules.
        second: the same of the other half.
    """
    width = int(max(first.max(), second.max())) + 1
    return float(_lists(first, width).multiply(_lists(second, width)).sum()) / first.size


def _lists(index: np.ndarray, width: int) -> csr_array:
    """Return lists of neighbours (n, n_neighbours) as a matrix (n, width) of ones."""
    starts = np.arange(0, index.size + 1, index.shape[1])
    return csr_array((np.ones(index.size), index.ravel(), starts), shape=(len(index), width))


def agreements(clusters: Sequence[np.ndarray]) -> np.ndarray:
    """Return how well each of several clusterings agrees with the others: its mean ARI, (n,).

    Args:
        clusters: (n_cells,) each, of the same cells; two or more.
    """
    n = len(clusters)
    ari = np.full((n, n), np.nan)
    for i in range(n):
        for j in range(i):
            ari[i, j] = ari[j, i] = adjusted_rand_score(clusters[i], clusters[j])
    means: np.ndarray = np.nanmean(ari, axis=1)
    return means
