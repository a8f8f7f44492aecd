"""The source `synthetic`: simulated counts of cells whose types are known.

A gene's rate is log-normal; each type raises a random share of the genes. A cell's library is
log-normal, and its counts are drawn one molecule at a time, so that time and memory go with the
number of molecules and not with n_cells * n_genes. Cells are spread evenly over types.
"""

import numpy as np
from scipy.sparse import csr_array, vstack

from scvae_cli.data.announcer import Announcer
from scvae_cli.data.dataset import Dataset, Recipe
from scvae_cli.errors import Given, InputError, Kind

BLOCK = 1000  # cells whose molecules are drawn together


def synthetic(
    *,
    announcer: Announcer,
    n_cells: int,
    n_genes: int,
    n_types: int,
    umis: float,
    umis_sd: float,
    gene_sd: float,
    markers: float,
    fold: float,
    seed: int,
    target_sum: float,
) -> Dataset:
    """Simulate counts and log-normalise them.

    Args:
        announcer: not called.
        n_cells: number of cells.
        n_genes: number of genes.
        n_types: number of types, at most n_cells.
        umis: median number of molecules in a cell.
        umis_sd: standard deviation of the log library size.
        gene_sd: standard deviation of the log rates of genes.
        markers: share of the genes that a type raises.
        fold: by how much.
        seed: of the simulation.
        target_sum: see `preprocess.log_normalize`.

    Raises:
        InputError: there are more types than cells.
    """
    if n_types > n_cells:
        most = f"must be at most data.n_cells, which is {n_cells}"
        raise InputError(Kind.VALUE, Given("data.n_types", n_types), most)
    rng = np.random.default_rng(seed)
    rates = np.tile(np.exp(rng.normal(0.0, gene_sd, n_genes)), (n_types, 1))
    for rate in rates:
        rate[rng.choice(n_genes, max(1, round(markers * n_genes)), replace=False)] *= fold
    labels = rng.permutation(np.arange(n_cells) % n_types)
    sizes = rng.poisson(umis * np.exp(rng.normal(0.0, umis_sd, n_cells)))
    sizes = np.maximum(sizes, 1)  # a cell without a molecule is no cell
    return _dataset(_counts(rng, rates, labels, sizes), labels, target_sum)


def _counts(
    rng: np.random.Generator, rates: np.ndarray, labels: np.ndarray, sizes: np.ndarray
) -> csr_array:
    """Draw the counts (n_cells, n_genes) of all cells.

    Args:
        rng: draws them.
        rates: (n_types, n_genes) rates of the genes in each type, of any total.
        labels: (n_cells,) type of each cell.
        sizes: (n_cells,) molecules in each cell.
    """
    edges = np.cumsum(rates / rates.sum(axis=1, keepdims=True), axis=1)
    blocks = [slice(i, i + BLOCK) for i in range(0, len(labels), BLOCK)]
    return vstack([_draw(rng, edges, labels[b], sizes[b]) for b in blocks], format="csr")


def _draw(
    rng: np.random.Generator, edges: np.ndarray, labels: np.ndarray, sizes: np.ndarray
) -> csr_array:
    """Draw `sizes` molecules of each cell, over genes by the type's cumulative rates `edges`."""
    n_genes = edges.shape[1]
    genes = np.concatenate(
        [np.searchsorted(edges[t], rng.random(n)) for t, n in zip(labels, sizes, strict=True)]
    )
    np.minimum(genes, n_genes - 1, out=genes)  # the last edge may round to just under 1
    starts = np.concatenate([[0], np.cumsum(sizes)])
    parts = (np.ones(len(genes), np.float32), genes.astype(np.int32), starts.astype(np.int32))
    counts = csr_array(parts, shape=(len(labels), n_genes))
    counts.sum_duplicates()
    return counts


def _dataset(counts: csr_array, labels: np.ndarray, target_sum: float) -> Dataset:
    """Log-normalise counts (n_cells, n_genes) and number cells, genes and types."""
    from scvae_cli.data.preprocess import log_normalize

    n_cells, n_genes = counts.shape
    return Dataset(
        name="synthetic",
        x=log_normalize(counts, target_sum=target_sum),
        labels=labels,
        cell_types=_numbered("type", int(labels.max()) + 1),
        cells=np.array(_numbered("cell", n_cells)),
        genes=np.array(_numbered("gene", n_genes)),
        recipe=Recipe("counts", target_sum, np.ravel(counts.sum(axis=1))),
    )


def _numbered(what: str, n: int) -> tuple[str, ...]:
    """Return n names of one length, numbered from 1."""
    width = len(str(n))
    return tuple(f"{what}_{i:0{width}d}" for i in range(1, n + 1))
