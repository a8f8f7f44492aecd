"""Where cells come from. Every source ends in a `Dataset`."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scanpy as sc
from scipy.sparse import csr_array, vstack

from scvae_cli.errors import InputError
from scvae_cli.preprocess import log_normalize, scale


@dataclass(frozen=True, eq=False)
class Dataset:
    """Cells, as a model sees them, with what is known of them.

    Attributes:
        name: what to call it.
        x: (n_cells, n_genes) float32 values; sparse unless they were scaled.
        labels: (n_cells,) index of each cell's type in `cell_types`.
        cell_types: names of the types.
        cells: (n_cells,) names (barcodes), no two alike.
        genes: (n_genes,) names.
    """

    name: str
    x: csr_array | np.ndarray
    labels: np.ndarray
    cell_types: tuple[str, ...]
    cells: np.ndarray
    genes: np.ndarray

    def __post_init__(self) -> None:
        values = self.x.data if isinstance(self.x, csr_array) else self.x
        assert values.dtype == np.float32, values.dtype
        assert np.isfinite(values).all(), "values that are not finite"
        assert self.x.shape == (len(self.cells), len(self.genes)), self.x.shape
        assert len(self.labels) == self.n_cells, len(self.labels)
        assert len(np.unique(self.cells)) == self.n_cells, "two cells of one name"
        assert np.array_equal(np.unique(self.labels), np.arange(len(self.cell_types)))

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(self.x.shape[0])

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return int(self.x.shape[1])

    def fingerprint(self) -> str:
        """Sha256 of all values, names and labels: equal for equal data, on any machine."""
        sha = hashlib.sha256()
        x = self.x
        parts = (x.indptr, x.indices, x.data) if isinstance(x, csr_array) else (x,)
        for part in (*parts, self.labels):
            kind = "<f4" if part.dtype == np.float32 else "<i8"
            sha.update(np.ascontiguousarray(part, dtype=kind).data)
        for names in (self.cells, self.genes, self.cell_types):
            sha.update("\n".join(map(str, names)).encode() + b"\0")
        return sha.hexdigest()


def load(*, name: str, scale: float | None, **options: float) -> Dataset:
    """Loads or simulates cells.

    Args:
        name: a key of `SOURCES`.
        scale: clip of the z-scores, or None to leave the log-normalised values alone.
        options: arguments of the source.

    Returns:
        The cells, ready for a model.
    """
    dataset = SOURCES[name](**options)
    return dataset if scale is None else _scaled(dataset, scale)


def pbmc68k() -> Dataset:
    """700 PBMCs, 765 genes, ten types by correlation with sorted cells.

    Source: Zheng et al., Nature Communications 8, 14049 (2017), as reduced and shipped by scanpy
    (`scanpy.datasets.pbmc68k_reduced`). Its `X` is scaled; the log-normalised values are in `raw`.
    """
    annotated = sc.datasets.pbmc68k_reduced()
    types = annotated.obs["bulk_labels"].cat.remove_unused_categories()
    x = csr_array(annotated.raw.X, dtype=np.float32)
    x.sort_indices()
    return Dataset(
        name="pbmc68k",
        x=x,
        labels=types.cat.codes.to_numpy(dtype=np.int64),
        cell_types=tuple(types.cat.categories),
        cells=annotated.obs_names.to_numpy(dtype=str),
        genes=annotated.raw.var_names.to_numpy(dtype=str),
    )


def synthetic(
    *,
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
    """Simulated counts of cells whose types are known, log-normalised.

    A gene's rate is log-normal; each type raises a random share of the genes. A cell's library is
    log-normal, and its counts are drawn one molecule at a time, so that time and memory go with
    the number of molecules and not with n_cells * n_genes. Cells are spread evenly over types.

    Args:
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
        raise InputError(
            f"data.n_types={n_types}: must be at most data.n_cells, which is {n_cells}"
        )
    rng = np.random.default_rng(seed)
    rates = np.tile(np.exp(rng.normal(0.0, gene_sd, n_genes)), (n_types, 1))
    for rate in rates:
        rate[rng.choice(n_genes, max(1, round(markers * n_genes)), replace=False)] *= fold
    edges = np.cumsum(rates / rates.sum(axis=1, keepdims=True), axis=1)
    labels = rng.permutation(np.arange(n_cells) % n_types)
    sizes = rng.poisson(umis * np.exp(rng.normal(0.0, umis_sd, n_cells)))
    sizes = np.maximum(sizes, 1)  # a cell without a molecule is no cell
    counts = vstack(
        [
            _draw(rng, edges, labels[i : i + 1000], sizes[i : i + 1000])
            for i in range(0, n_cells, 1000)
        ],
        format="csr",
    )
    return Dataset(
        name="synthetic",
        x=log_normalize(counts, target_sum=target_sum),
        labels=labels,
        cell_types=_numbered("type", n_types),
        cells=np.array(_numbered("cell", n_cells)),
        genes=np.array(_numbered("gene", n_genes)),
    )


SOURCES: dict[str, Callable[..., Dataset]] = {"pbmc68k": pbmc68k, "synthetic": synthetic}


def _draw(
    rng: np.random.Generator, edges: np.ndarray, labels: np.ndarray, sizes: np.ndarray
) -> csr_array:
    """Counts of some cells: `sizes` molecules each, over genes by the type's cumulative rates."""
    n_genes = edges.shape[1]
    genes = np.concatenate(
        [np.searchsorted(edges[t], rng.random(n)) for t, n in zip(labels, sizes, strict=True)]
    )
    np.minimum(genes, n_genes - 1, out=genes)  # the last edge may round to just under 1
    starts = np.concatenate([[0], np.cumsum(sizes)])
    shape = (len(labels), n_genes)
    counts = csr_array((np.ones(len(genes), np.float32), genes, starts), shape=shape)
    counts.sum_duplicates()
    return counts


def _numbered(what: str, n: int) -> tuple[str, ...]:
    width = len(str(n))
    return tuple(f"{what}_{i:0{width}d}" for i in range(1, n + 1))


def _scaled(dataset: Dataset, clip: float) -> Dataset:
    assert isinstance(dataset.x, csr_array)
    x = scale(dataset.x, clip=clip)
    return Dataset(
        dataset.name, x, dataset.labels, dataset.cell_types, dataset.cells, dataset.genes
    )
