"""Turns counts into what a model sees, with scanpy's own functions."""

import numpy as np
import scanpy as sc
from scipy.sparse import csr_array, csr_matrix, vstack
from scipy.special import xlog1py, xlogy

from scvae_cli.errors import Given, InputError, Kind

LEAST_CELLS = 50  # of a batch, for its genes' variances to be worth something
SPANS = (0.3, 0.5, 0.75, 1.0)  # of loess: Seurat's, and wider ones


def log_normalize(counts: csr_array, *, target_sum: float) -> csr_array:
    """Divide each cell by its total, times `target_sum`, and take log(1 + x).

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


def logarithm(values: csr_array, *, factor: float = 1.0) -> csr_array:
    """Return log(1 + factor * x) of normalised values (n_cells, n_genes)."""
    logged = values.copy()
    if factor != 1:
        logged.data *= np.float32(factor)
    step = 2**20
    for i in range(0, logged.nnz, step):
        # In float64, as logarithms in float32 differ between processors in the last bit.
        logged.data[i : i + step] = np.log1p(logged.data[i : i + step], dtype=np.float64)
    return logged


def filter_counts(cells: sc.AnnData, *, min_genes: int, min_cells: int) -> sc.AnnData:
    """Copy cells with `min_genes` genes or more, then genes in `min_cells` of them or more."""
    kept = cells[cells.X.getnnz(axis=1) >= min_genes].copy()
    return kept[:, kept.X.getnnz(axis=0) >= min_cells].copy()


def chosen_genes(
    counts: sc.AnnData, n_genes: int, *, by: str, batches: np.ndarray | None = None
) -> np.ndarray:
    """Return the indices (n_genes,), rising, of the genes that tell most about the cells.

    Args:
        counts: (n_cells, n_all) counts.
        n_genes: how many to keep.
        by: `variance`, see `variable_genes`, or `deviance`, see `binomial_deviance`.
        batches: (n_cells,) batch of each cell. Genes are then compared within batches, so that
            those that differ between batches only do not count: variable genes are joined as
            Seurat does, deviances are summed. Batches of less than `LEAST_CELLS` have no say,
            unless all are as small.
    """
    parts = [csr_array(counts.X)] if batches is None else _large(csr_array(counts.X), batches)
    if by == "deviance":
        deviance = np.sum([binomial_deviance(part) for part in parts], axis=0)
        return np.sort(np.argsort(-deviance, kind="stable")[:n_genes])
    if len(parts) == 1:
        return variable_genes(sc.AnnData(csr_matrix(parts[0])), n_genes)
    joined = sc.AnnData(csr_matrix(vstack(parts)))
    joined.obs["batch"] = np.repeat(np.arange(len(parts)), [part.shape[0] for part in parts])
    joined.obs["batch"] = joined.obs["batch"].astype("category")
    return variable_genes(joined, n_genes, batch_key="batch")


def _large(counts: csr_array, batches: np.ndarray) -> list[csr_array]:
    """Return the counts (n_batch_cells, n_genes) of each batch that is large enough."""
    names, sizes = np.unique(batches, return_counts=True)
    large = names[sizes >= LEAST_CELLS]
    return [counts[np.flatnonzero(batches == name)] for name in large] or [counts]


def binomial_deviance(counts: csr_array) -> np.ndarray:
    """Return how badly one frequency in all cells describes each gene, (n_genes,).

    Townes, Hicks, Aryee & Irizarry, Genome Biology 20, 295 (2019), section "Feature selection
    using deviance". Frequent genes that differ between cells have the highest values.

    Args:
        counts: (n_cells, n_genes) counts, a molecule or more in every cell.
    """
    totals = np.ravel(counts.sum(axis=1)).astype(np.float64)
    y = counts.data.astype(np.float64)
    n = np.repeat(totals, np.diff(counts.indptr))
    own = xlogy(y, y / n) + xlog1py(n - y, -y / n)  # zeros add nothing
    own = np.bincount(counts.indices, own, minlength=counts.shape[1])
    sums = np.bincount(counts.indices, y, minlength=counts.shape[1])
    shares = sums / totals.sum()
    common = xlogy(sums, shares) + xlog1py(totals.sum() - sums, -shares)
    deviance: np.ndarray = 2 * (own - common)
    return deviance


def variable_genes(
    counts: sc.AnnData, n_genes: int, *, batch_key: str | None = None
) -> np.ndarray:
    """Return the indices (n_genes,), rising, of the genes that vary most (Seurat v3, by scanpy).

    Stuart et al., Cell 177, 1888 (2019). Its loess of the variance on the mean takes a share of
    the genes for each place; where these do not differ enough, it takes more of them.

    Raises:
        InputError: not even all genes differ enough.
    """
    for span in SPANS:
        try:
            table = sc.pp.highly_variable_genes(
                counts, flavor="seurat_v3", n_top_genes=n_genes, span=span, inplace=False,
                check_values=False,
                batch_key=batch_key,
            )  # fmt: skip
        except ValueError:  # of the loess, in its own words
            continue
        return np.flatnonzero(table["highly_variable"].to_numpy())
    raise no_variable_genes(n_genes)


def no_variable_genes(n_genes: int) -> InputError:
    """Return the error for genes whose means do not differ enough."""
    return InputError(
        Kind.CONTENT,
        Given("data.genes", n_genes),
        "the genes' means differ too little to say which vary most",
        "leave rare genes out (data.min_cells=3), or take all (data.genes=null)",
    )


def scale(x: csr_array, *, clip: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Z-score each gene and cut off what is above `clip`, as Seurat's ScaleData (10) does.

    Args:
        x: (n_cells, n_genes) log-normalised values.
        clip: largest z-score; small ones are not cut.

    Returns:
        (n_cells, n_genes) float32 z-scores, dense; genes that never vary are 0. What was
        subtracted from each gene (n_genes,) and what it was divided by (n_genes,).
    """
    z, mean, sd = sc.pp.scale(x.toarray(), return_mean_std=True)
    np.minimum(z, np.float32(clip), out=z)
    return z, mean, sd


def scale_alike(x: csr_array, *, mean: np.ndarray, sd: np.ndarray, clip: float) -> np.ndarray:
    """Z-score x (n_cells, n_genes) by the mean and sd (n_genes,) of other cells, as `scale`."""
    z: np.ndarray = x.toarray()
    z -= mean
    z /= sd
    np.minimum(z, np.float32(clip), out=z)
    return z


def quality_control(
    counts: sc.AnnData,
    *,
    min_cells: int,
    min_genes: int,
    max_genes: int,
    max_mito: float,
) -> sc.AnnData:
    """Drop rare genes and unlikely cells, as Seurat's PBMC3k tutorial does, in its order.

    Args:
        counts: (n_cells, n_genes) counts.
        min_cells: a gene is kept that is seen in this number of cells or more.
        min_genes: a cell is kept that has more genes than this,
        max_genes: and fewer than this,
        max_mito: and a smaller share of its molecules from mitochondrial (MT-) genes.

    Returns:
        A copy: the cells and genes that are kept.
    """
    kept = counts[counts.X.getnnz(axis=1) >= min_genes].copy()
    sc.pp.filter_genes(kept, min_cells=min_cells)
    mito = np.flatnonzero(kept.var_names.str.startswith("MT-"))
    from_mito, total = (np.ravel(part.sum(axis=1)) for part in (kept.X[:, mito], kept.X))
    n_genes = kept.X.getnnz(axis=1)
    return kept[
        (n_genes > min_genes) & (n_genes < max_genes) & (from_mito < max_mito * total)
    ].copy()
