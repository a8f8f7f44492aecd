"""Nearest neighbours of cells, and the graphs and scores made of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import NearestNeighbors

BLOCK = 250  # cells at a time
STEPS = 64  # of a bisection
TOLERANCE = 1e-8  # of what it looks for


@dataclass(frozen=True)
class Near:
    """The nearest other cells of each cell, nearest first.

    Attributes:
        index: (n_cells, n_neighbours) their rows.
        distances: (n_cells, n_neighbours) Euclidean.
    """

    index: np.ndarray
    distances: np.ndarray

    def first(self, n: int) -> "Near":
        """Return the `n` nearest of them, or all where there are fewer."""
        return Near(self.index[:, :n], self.distances[:, :n])


def nearest(points: np.ndarray, n_neighbours: int) -> Near:
    """Find the nearest other cells of each cell, exactly, by brute force in blocks.

    Args:
        points: (n_cells, n_dims) float64, around 0; two cells or more.
        n_neighbours: how many; all other cells where there are fewer.
    """
    n = min(n_neighbours, len(points) - 1)
    fit = NearestNeighbors(n_neighbors=n, algorithm="brute").fit(points)
    index: np.ndarray = fit.kneighbors(return_distance=False)
    # scikit-learn's own distances come from scalar products, and are not 0 between equal cells.
    distances = np.empty(index.shape)
    for start in range(0, len(points), BLOCK):
        rows = slice(start, start + BLOCK)
        distances[rows] = np.linalg.norm(points[index[rows]] - points[rows, None], axis=2)
    return Near(index, distances)


def lists(values: np.ndarray, columns: np.ndarray, width: int) -> csr_array:
    """Add up values in columns: a matrix (n, width) of rows (n, k) of values and their columns."""
    starts = np.arange(0, columns.size + 1, columns.shape[1])
    parts = (values.ravel(), columns.ravel(), starts)
    matrix = csr_array(parts, shape=(len(columns), width), copy=True)
    matrix.sum_duplicates()  # sorts in place
    return matrix


def lisi_weights(distances: np.ndarray, perplexity: float) -> np.ndarray:
    """Weigh neighbours for `lisi`: exp(-rate * distance), with an entropy of log(perplexity).

    Args:
        distances: (n_cells, n_neighbours), nearest first.
        perplexity: effective number of neighbours, from 2 to less than n_neighbours.

    Returns:
        (n_cells, n_neighbours), each row adding up to 1.
    """
    further = distances - distances[:, :1]  # the same weights, without underflow
    rates = _bisect(_entropy, further, np.log(perplexity))
    weights: np.ndarray = np.exp(-rates[:, None] * further)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def lisi(weights: np.ndarray, index: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Compute the local inverse Simpson index: how many groups a cell's neighbours are of.

    1 / sum_g p_g^2, where p_g is the weight of the neighbours in group g. Korsunsky et al.,
    Nature Methods 16, 1289 (2019), as scib-metrics computes it.

    Args:
        weights: (n_cells, n_neighbours) from `lisi_weights`.
        index: (n_cells, n_neighbours) rows of the neighbours.
        groups: (n_cells,) batches or types, from 0.

    Returns:
        (n_cells,), from 1 to the number of groups.
    """
    shares = lists(weights, groups[index], int(groups.max()) + 1)
    inverse: np.ndarray = 1 / shares.multiply(shares).sum(axis=1)
    return inverse


def connectivity(index: np.ndarray, types: np.ndarray) -> float:
    """Compute graph connectivity: the share of a type in its largest component, mean over types.

    The graph leads from each cell to its neighbours, and a component is strongly connected.
    Luecken et al., Nature Methods 19, 41 (2022), as scib-metrics computes it.

    Args:
        index: (n_cells, n_neighbours) rows of the neighbours.
        types: (n_cells,) from 0, each with a cell.
    """
    graph = lists(np.ones(index.shape), index, len(index))
    shares = []
    for number in range(int(types.max()) + 1):
        cells = np.flatnonzero(types == number)
        _, parts = connected_components(graph[cells][:, cells], connection="strong")
        shares.append(np.bincount(parts).max() / len(cells))
    return float(np.mean(shares))


def fuzzy_graph(near: Near) -> csr_array:
    """Weigh the edges between neighbours as UMAP does, from 0 to 1, the same in both directions.

    McInnes, Healy & Melville, arXiv 1802.03426, section 3.1; the nearest neighbour has weight 1,
    and the weights of a cell's neighbours add up to log2 of how many there are with the cell.

    Args:
        near: neighbours of each cell, one or more.

    Returns:
        (n_cells, n_cells) weights.
    """
    index, distances = near.index, near.distances
    n_cells, n = index.shape
    apart = np.where(distances > 0, distances, np.inf).min(axis=1)
    further = np.maximum(distances - np.where(np.isinf(apart), 0, apart)[:, None], 0)
    rates = _bisect(_total, further, np.log2(n + 1))
    # UMAP's bound, for cells with many others as near; its mean counts the cell itself.
    own, all_cells = distances.sum(axis=1) / (n + 1), distances.sum() / distances.size
    mean = np.where(np.isinf(apart), all_cells * n / (n + 1), own)
    rates = np.minimum(rates, 1 / np.maximum(1e-3 * mean, np.finfo(float).tiny))
    one_way = lists(np.exp(-rates[:, None] * further), index, n_cells)
    return csr_array(one_way + one_way.T - one_way.multiply(one_way.T))


def _entropy(further: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Return the entropy of exp(-rate * distance) in each row, in nats."""
    exponents = rates[:, None] * further
    weights = np.exp(-exponents)
    total = weights.sum(axis=1)
    entropy: np.ndarray = np.log(total) + (exponents * weights).sum(axis=1) / total
    return entropy


def _total(further: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Return the sum of exp(-rate * distance) in each row."""
    total: np.ndarray = np.exp(-rates[:, None] * further).sum(axis=1)
    return total


def _bisect(
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray], further: np.ndarray, target: float
) -> np.ndarray:
    """Find the rate of each row at which a measure that falls with the rate is `target`.

    Doubles or halves the rate until the target lies between; the rate is huge where no rate
    brings the measure down to the target.
    """
    rates, low, high = np.ones(len(further)), np.zeros(len(further)), np.full(len(further), np.inf)
    rows = np.arange(len(further))
    for _ in range(STEPS):
        excess = measure(further[rows], rates[rows]) - target
        off = np.abs(excess) > TOLERANCE
        rows, excess = rows[off], excess[off]
        if not len(rows):
            break
        above, below = rows[excess > 0], rows[excess <= 0]
        low[above], high[below] = rates[above], rates[below]
        bounded = np.isfinite(high[rows])
        rates[rows] = np.where(bounded, (low[rows] + high[rows]) / 2, 2 * rates[rows])
    return rates
