"""Agreement of clusters with known types."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import (
    adjusted_rand_score,
    homogeneity_completeness_v_measure,
    normalized_mutual_info_score,
)


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
    """Scores of the report, section 3.3, by scikit-learn.

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
