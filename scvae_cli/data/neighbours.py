"""Clusters of a graph of neighbours. Not in `cluster`, as igraph takes half a second to import."""

import random

import igraph
import numpy as np
from scipy.sparse import csr_array
from sklearn.neighbors import NearestNeighbors


def leiden(graph: igraph.Graph, *, n_clusters: int, seed: int) -> np.ndarray:
    """Leiden clusters of a graph of cells, as many as asked for if that can be had.

    The resolution is searched for, by halving, that gives `n_clusters`; where none does, the
    clusters are those that came nearest in number. Traag, Waltman & van Eck (2019).

    Args:
        graph: from `shared_neighbours`.
        n_clusters: how many clusters.
        seed: of the method's choices.

    Returns:
        clusters (n_cells,), numbered from 0.
    """
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
