"""Agreement of clusters with known types."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import (
    adjusted_rand_score,
    homogeneity_completeness_v_measure,
    normalized_mutual_info_score,
    silhouette_score,
)

from scvae_cli.analysis.tsne import choose


@dataclass(frozen=True)
class Scores:
    """How well clusters match types; 1 is perfect, and ARI is 0 by chance.

    Attributes:
        nmi: normalised mutual information.
        ari: adjusted Rand index.
        hom: homogeneity, 1 if each cluster holds one type.
        com: completeness, 1 if each type lies in one cluster.
    """

    nmi: float
    ari: float
    hom: float
    com: float


def score(labels: np.ndarray, clusters: np.ndarray, *, nmi_average: str) -> Scores:
    """Compute the scores of the report, section 3.3, by scikit-learn.

    Args:
        labels: (n_cells,) types.
        clusters: (n_cells,) clusters.
        nmi_average: `geometric`, scikit-learn's mean of the two entropies up to 0.21 and so the
            report's, or `arithmetic`, its mean since.
    """
    hom, com, _ = homogeneity_completeness_v_measure(labels, clusters)
    nmi = normalized_mutual_info_score(labels, clusters, average_method=nmi_average)
    ari = adjusted_rand_score(labels, clusters)
    return Scores(float(nmi), float(ari), float(hom), float(com))


def silhouette(
    points: np.ndarray, labels: np.ndarray, *, max_cells: int | None = None, seed: int = 0
) -> float:
    """Compute the mean silhouette of types: near 1 where they are apart, below 0 where they mix.

    Rousseeuw, Journal of Computational and Applied Mathematics 20, 53 (1987), by scikit-learn.

    Args:
        points: (n_cells, n_dims).
        labels: (n_cells,) types.
        max_cells: of more cells, as many are drawn at random, and one of each type, or two if
            else none were beside it: the time grows with the square of their number. None for
            all.
        seed: of the cells that are drawn.
    """
    drawn = choose(len(points), max_cells, seed)
    if len(drawn) < len(points):
        nth = pd.Series(labels).groupby(labels).cumcount().to_numpy()
        drawn = np.union1d(drawn, np.flatnonzero(nth < 1))
        if len(drawn) == len(np.unique(labels)):  # a silhouette compares cells of one type
            drawn = np.union1d(drawn, np.flatnonzero(nth < 2))
    return float(silhouette_score(points[drawn], labels[drawn]))


def types_found(labels: np.ndarray, clusters: np.ndarray) -> int:
    """Count types with a cluster of their own: most of it, and most of the type's cells.

    Args:
        labels: (n_cells,) types.
        clusters: (n_cells,) clusters.
    """
    shared = np.zeros((labels.max() + 1, clusters.max() + 1))
    np.add.at(shared, (labels, clusters), 1)
    mine = (shared > shared.sum(0) / 2) & (shared > shared.sum(1, keepdims=True) / 2)
    return int(mine.any(1).sum())
