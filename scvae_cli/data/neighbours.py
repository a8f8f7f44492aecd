"""Joins cells to a graph of neighbours and finds clusters in it.

It is apart from the other clusterings as igraph takes half a second to import.
"""

import random

import igraph
import numpy as np
from scipy.sparse import csr_array
from sklearn.neighbors import NearestNeighbors


def leiden(graph: igraph.Graph, *, n_clusters: int, seed: int) -> np.ndarray:
    """Find Leiden clusters of a graph of cells, as many as asked for where that is possible.

    Halves an interval of resolutions until one gives `n_clusters`; where none does, returns the
    clusters that came nearest in number.

    Args:
        graph: from `shared_neighbours`.
        n_clusters: how many clusters.
        seed: of the method's choices.

    Returns:
        clusters (n_cells,), numbered from 0.
    """
    low, high = 0.0, 4.0
    tries: list[np.ndarray] = []
    for _ in range(12):
        resolution = (low + high) / 2
        clusters = communities(graph, resolution=resolution, seed=seed)
        n_found = int(clusters.max()) + 1
        tries.append(clusters)
        if n_found == n_clusters:
            break
        low, high = (resolution, high) if n_found < n_clusters else (low, resolution)
    return min(tries, key=lambda numbers: abs(int(numbers.max()) + 1 - n_clusters))


def communities(graph: igraph.Graph, *, resolution: float, seed: int) -> np.ndarray:
    """Find Leiden clusters (n_cells,) of a graph of cells: Traag, Waltman & van Eck (2019).

    Args:
        graph: from `shared_neighbours`.
        resolution: of modularity; more gives more clusters.
        seed: of the method's choices.
    """
    igraph.set_random_number_generator(random.Random(seed))
    found = graph.community_leiden("modularity", weights="weight", resolution=resolution)
    igraph.set_random_number_generator(random)
    return np.array(found.membership)


def shared_neighbours(places: np.ndarray, n_neighbors: int, prune: float) -> igraph.Graph:
    """Join cells by the Jaccard index of their neighbourhoods, where it is at least `prune`.

    Args:
        places: (n_cells, n_components) places of the cells.
        n_neighbors: nearest neighbours of a cell, itself among them.
        prune: smallest Jaccard index of two cells that are joined.

    Returns:
        A graph of the cells, whose edges have a `weight`.
    """
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
