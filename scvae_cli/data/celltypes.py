"""Finds cell types from nothing but the counts, as Seurat's PBMC3k tutorial does, without R.

Butler et al., Nature Biotechnology 36, 411 (2018); Stuart et al., Cell 177, 1888 (2019).
"""

import random

import igraph
import numpy as np
import scanpy as sc
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from sklearn.decomposition import PCA

from scvae_cli.data.neighbours import shared_neighbours

# The tutorial's markers.
MARKERS = {
    "Naive CD4 T": ["IL7R", "CCR7"],
    "Memory CD4 T": ["IL7R", "S100A4"],
    "CD14+ Mono": ["CD14", "LYZ"],
    "B": ["MS4A1"],
    "CD8 T": ["CD8A"],
    "FCGR3A+ Mono": ["FCGR3A", "MS4A7"],
    "NK": ["GNLY", "NKG7"],
    "DC": ["FCER1A", "CST3"],
    "Platelet": ["PPBP"],
}


def find_clusters(
    counts: sc.AnnData,
    log_values: csr_array,
    *,
    n_genes: int,
    n_components: int,
    n_neighbors: int,
    prune: float,
    resolution: float,
    n_starts: int,
    seed: int,
) -> np.ndarray:
    """Find clusters of cells of high modularity on the graph of shared nearest neighbours.

    Args:
        counts: (n_cells, n_all_genes) counts.
        log_values: the same, log-normalised.
        n_genes: number of variable genes (vst) that count.
        n_components: principal components of their z-scores, clipped at 10.
        n_neighbors: nearest neighbours of a cell, itself among them.
        prune: pairs whose neighbourhoods have a smaller Jaccard index are not joined.
        resolution: of the modularity; more gives more clusters.
        n_starts: how often to search.
        seed: of the starts.

    Returns:
        (n_cells,) clusters, numbered from 0.
    """
    chosen = sc.pp.highly_variable_genes(
        counts, flavor="seurat_v3", n_top_genes=n_genes, inplace=False
    )["highly_variable"].to_numpy()
    z = sc.pp.scale(log_values[:, np.flatnonzero(chosen)].toarray(), max_value=10)
    places = PCA(n_components, svd_solver="arpack", random_state=seed).fit_transform(z)
    graph = shared_neighbours(places, n_neighbors, prune)
    return _best_of(graph, resolution=resolution, n_starts=n_starts, seed=seed)


def _best_of(graph: igraph.Graph, *, resolution: float, n_starts: int, seed: int) -> np.ndarray:
    """Return the clusters (n_cells,) of highest modularity that several starts reach.

    Seurat searches with Louvain's method and keeps the best of ten starts; this function searches
    with Leiden's (Traag, Waltman & van Eck 2019), which finds a higher modularity and, from start
    to start, the same one more often.
    """
    best, best_clusters = -np.inf, np.zeros(graph.vcount(), np.int64)
    for start in range(n_starts):
        igraph.set_random_number_generator(random.Random(f"{seed} {start}"))
        clusters = graph.community_leiden(
            "modularity", weights="weight", resolution=resolution, n_iterations=-1
        ).membership
        modularity = graph.modularity(clusters, weights="weight", resolution=resolution)
        if modularity > best:
            best, best_clusters = modularity, np.array(clusters)
    igraph.set_random_number_generator(random)
    return best_clusters


def name_clusters(log_values: csr_array, genes: np.ndarray, clusters: np.ndarray) -> list[str]:
    """Name each cluster by the markers of MARKERS, and never by its number.

    Names are given one to one so that the markers' mean z-scores over clusters add up to the
    most. Clusters beyond the number of names are called `unnamed 1`, `unnamed 2`, ...

    Args:
        log_values: (n_cells, n_genes) log-normalised values.
        genes: (n_genes,) names.
        clusters: (n_cells,) clusters.

    Returns:
        The name of each cluster.
    """
    n_clusters = int(clusters.max()) + 1
    means = np.stack([log_values[clusters == i].mean(axis=0) for i in range(n_clusters)])
    z = (means - means.mean(0)) / np.maximum(means.std(0), 1e-12)
    column = {gene: i for i, gene in enumerate(genes)}
    scores = np.stack(
        [z[:, [column[m] for m in markers if m in column]].sum(1) for markers in MARKERS.values()]
    ) / np.array([[len(markers)] for markers in MARKERS.values()])
    types, named = linear_sum_assignment(-scores)
    names = {int(c): list(MARKERS)[t] for t, c in zip(types, named, strict=True)}
    rest = [c for c in range(n_clusters) if c not in names]
    names |= {c: f"unnamed {i}" for i, c in enumerate(rest, start=1)}
    return [names[c] for c in range(n_clusters)]
