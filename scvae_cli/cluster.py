"""From points to clusters."""

import random

import igraph
import numpy as np
from scipy.sparse import csr_array
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits


def kmeans(
    points: np.ndarray,
    *,
    n_clusters: int,
    init: str,
    n_init: int,
    max_iter: int,
    tol: float,
    algorithm: str,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """k-means by scikit-learn, best of `n_init` starts.

    One thread: with more, scikit-learn adds up centroids in an order that differs from run to
    run, and at these sizes threads gain nothing.

    Args:
        points: (n_cells, n_dims).
        n_clusters: k, at most n_cells.
        init: `k-means++` or `random`.
        n_init: number of starts.
        max_iter: steps of each.
        tol: see scikit-learn.
        algorithm: `lloyd` or `elkan`.
        seed: of the starts.

    Returns:
        clusters (n_cells,), numbered from 0 by falling size, and centroids (n_clusters, n_dims).
    """
    fit = KMeans(
        n_clusters=n_clusters,
        init=init,
        n_init=n_init,
        max_iter=max_iter,
        tol=tol,
        algorithm=algorithm,
        random_state=seed,
    )
    with threadpool_limits(1):
        fit.fit(points)
    by_size = np.argsort(-np.bincount(fit.labels_, minlength=n_clusters), kind="stable")
    return np.argsort(by_size)[fit.labels_], fit.cluster_centers_[by_size]


def leiden(
    points: np.ndarray, *, n_clusters: int, n_neighbors: int, prune: float, seed: int
) -> np.ndarray:
    """Leiden clusters of the graph of shared neighbours, as many as asked for if that can be had.

    The resolution is searched for, by halving, that gives `n_clusters`; where none does, the
    clusters are those that came nearest in number. Traag, Waltman & van Eck (2019).

    Args:
        points: (n_cells, n_dims).
        n_clusters: how many clusters.
        n_neighbors: see `shared_neighbours`.
        prune: see `shared_neighbours`.
        seed: of the method's choices.

    Returns:
        clusters (n_cells,), numbered from 0.
    """
    graph = shared_neighbours(points, n_neighbors, prune)
    low, high = 0.0, 4.0
    found: list[np.ndarray] = []
    for _ in range(12):
        resolution = (low + high) / 2
        igraph.set_random_number_generator(random.Random(seed))
        climbed = graph.community_leiden("modularity", weights="weight", resolution=resolution)
        found.append(np.array(climbed.membership))
        n_found = len(climbed)
        if n_found == n_clusters:
            break
        low, high = (resolution, high) if n_found < n_clusters else (low, resolution)
    igraph.set_random_number_generator(random)
    return min(found, key=lambda clusters: abs(int(clusters.max()) + 1 - n_clusters))


def shared_neighbours(places: np.ndarray, n_neighbors: int, prune: float) -> igraph.Graph:
    """Cells joined by the Jaccard index of their neighbourhoods, where it is at least `prune`."""
    n_cells = len(places)
    near = NearestNeighbors(n_neighbors=n_neighbors).fit(places)
    index = near.kneighbors(places, return_distance=False)
    starts = np.arange(0, index.size + 1, n_neighbors)
    member = csr_array((np.ones(index.size), index.ravel(), starts), shape=(n_cells, n_cells))
    shared = (member @ member.T).tocoo()
    jaccard = shared.data / (2 * n_neighbors - shared.data)
    kept = (jaccard >= prune) & (shared.row < shared.col)
    edges = np.column_stack([shared.row[kept], shared.col[kept]])
    graph = igraph.Graph(n=n_cells, edges=edges)
    graph.es["weight"] = jaccard[kept]
    return graph
