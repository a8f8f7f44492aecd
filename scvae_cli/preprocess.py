"""From counts to what a model sees, with scanpy's own functions."""

import numpy as np
import scanpy as sc
from scipy.sparse import csr_array, csr_matrix


def log_normalize(counts: csr_array, *, target_sum: float) -> csr_array:
    """Divides each cell by its total, times `target_sum`, and takes log(1 + x).

    Args:
        counts: (n_cells, n_genes) counts.
        target_sum: total of every cell before the logarithm; Seurat's LogNormalize has 10,000.

    Returns:
        (n_cells, n_genes) float32 values, as sparse as the counts.
    """
    values = sc.AnnData(csr_matrix(counts, dtype=np.float32))
    sc.pp.normalize_total(values, target_sum=target_sum)
    sc.pp.log1p(values)
    return csr_array(values.X)


def scale(x: csr_array, *, clip: float) -> np.ndarray:
    """Z-scores each gene and clips (Seurat's ScaleData has 10). The result is dense.

    Args:
        x: (n_cells, n_genes) log-normalised values.
        clip: largest distance from the mean, in standard deviations.

    Returns:
        (n_cells, n_genes) float32 z-scores; genes that never vary are 0.
    """
    return np.asarray(sc.pp.scale(x.toarray(), max_value=clip), dtype=np.float32)
