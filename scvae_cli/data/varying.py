"""Find the genes whose values vary most, for the colours of a map."""

from collections.abc import Collection

import numpy as np
from scipy.sparse import csr_array, csr_matrix
from sklearn.utils.sparsefuncs import mean_variance_axis

from scvae_cli.data.dataset import UNWRITABLE, Dataset


def most_varying(
    dataset: Dataset, n_genes: int, taken: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Return the logarithms (n_cells,) of the genes whose variance is largest, by their names.

    Genes that vary not at all, or whose names no column of a run's table can have, are left out.

    Args:
        dataset: the cells.
        n_genes: that many, the one that varies most first; fewer where there are not so many.
        taken: names that no gene's column can have.
    """
    x, mean, sd = dataset.x, dataset.recipe.mean, dataset.recipe.sd
    if isinstance(x, csr_array):
        variances = mean_variance_axis(csr_matrix(x), axis=0)[1]
    else:
        variances = x.var(0) if sd is None else np.square(sd)
    chosen: list[int] = []
    for gene in np.argsort(-variances, kind="stable"):
        if len(chosen) == n_genes or not variances[gene] > 0:
            break
        name = str(dataset.genes[gene])
        if name not in taken and not UNWRITABLE.search(name):
            chosen.append(int(gene))
    values = x[:, chosen]
    columns = values.toarray() if isinstance(values, csr_array) else values
    if mean is not None and sd is not None:
        columns = columns * sd[chosen] + mean[chosen]
    return dict(zip(map(str, dataset.genes[chosen]), columns.T, strict=True))
