"""From points to clusters."""

import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances_argmin
from threadpoolctl import threadpool_limits

from scvae_cli.analysis.tsne import choose


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
    max_cells: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Run k-means by scikit-learn, and return the best of `n_init` starts.

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
        seed: of the starts, and of the cells that are drawn.
        max_cells: of more cells, fit as many, drawn at random; all get the nearest centroid.

    Returns:
        clusters (n_cells,), numbered from 0 by falling size, and centroids (n_clusters, n_dims).
    """
    fit = KMeans(
        n_clusters=n_clusters, init=init, n_init=n_init, max_iter=max_iter, tol=tol,
        algorithm=algorithm, random_state=seed,
    )  # fmt: skip
    with threadpool_limits(1), warnings.catch_warnings():
        # The stage counts the clusters, and says so itself.
        warnings.simplefilter("ignore", ConvergenceWarning)
        drawn = choose(len(points), max_cells, seed)
        fit.fit(points[drawn])
        found = fit.labels_ if len(drawn) == len(points) else fit.predict(points)
    by_size = np.argsort(-np.bincount(found, minlength=n_clusters), kind="stable")
    return np.argsort(by_size)[found], fit.cluster_centers_[by_size]


def nearest_centroid(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return the index (n_cells,) of the centroid nearest to each point."""
    index: np.ndarray = pairwise_distances_argmin(points, centroids)
    return index
