"""The source `synthetic`: simulated counts of cells whose types are known.

A gene's rate is log-normal; each type raises a random share of the genes. A cell's library is
log-normal, and its counts are drawn one molecule at a time, so that time and memory go with the
number of molecules and not with n_cells * n_genes. Cells are spread evenly over types.

Batches multiply each gene's rate by a log-normal factor of their own. Cells are spread over them
at random, but for types that occur in one batch only.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array, vstack

from scvae_cli.covariates import covariates
from scvae_cli.data.announcer import Announcer
from scvae_cli.data.dataset import Dataset, Recipe
from scvae_cli.errors import Given, InputError, Kind

BLOCK = 1000  # cells whose molecules are drawn together


@dataclass(frozen=True)
class Options:
    """What to simulate; conf/data/synthetic.yaml has the defaults.

    Attributes:
        n_cells: number of cells.
        n_genes: number of genes.
        n_types: number of types, at most n_cells.
        umis: median number of molecules in a cell.
        umis_sd: standard deviation of the log library size.
        gene_sd: standard deviation of the log rates of genes.
        markers: share of the genes that a type raises.
        fold: by how much.
        n_batches: number of batches; 1 for none.
        batch_sd: standard deviation of the log factors of genes in a batch.
        own_types: number of types that occur in one batch only, the last ones.
        seed: of the simulation.
        target_sum: see `preprocess.log_normalize`.
    """

    n_cells: int
    n_genes: int
    n_types: int
    umis: float
    umis_sd: float
    gene_sd: float
    markers: float
    fold: float
    n_batches: int
    batch_sd: float
    own_types: int
    seed: int
    target_sum: float


def synthetic(*, announcer: Announcer, **options: Any) -> Dataset:
    """Simulate counts and log-normalise them.

    Args:
        announcer: not called.
        options: the attributes of `Options`.

    Raises:
        InputError: there are more types or batches than cells, or more types in one batch only
            than types, or any where there is one batch.
    """
    asked = Options(**options)
    _check(asked)
    n_genes = asked.n_genes
    rng = np.random.default_rng(asked.seed)
    rates = np.tile(np.exp(rng.normal(0.0, asked.gene_sd, n_genes)), (asked.n_types, 1))
    for rate in rates:
        n_raised = max(1, round(asked.markers * n_genes))
        rate[rng.choice(n_genes, n_raised, replace=False)] *= asked.fold
    labels = rng.permutation(np.arange(asked.n_cells) % asked.n_types)
    sizes = rng.poisson(asked.umis * np.exp(rng.normal(0.0, asked.umis_sd, asked.n_cells)))
    sizes = np.maximum(sizes, 1)  # a cell without a molecule is no cell
    if asked.n_batches == 1:
        return _dataset(_counts(rng, rates, labels, sizes), labels, asked.target_sum)
    batches, factors = _batches(asked, labels)
    rates = (rates[:, None] * factors).reshape(-1, n_genes)  # of each type in each batch
    counts = _counts(rng, rates, labels * asked.n_batches + batches, sizes)
    names = np.array(_numbered("batch", asked.n_batches), dtype=object)[batches]
    told, kept = covariates({"batch": names}, {}), pd.DataFrame({"batch": names})
    return replace(_dataset(counts, labels, asked.target_sum), covariates=told, kept=kept)


def _check(asked: Options) -> None:
    """Refuse numbers that do not go together."""
    for key, limit in (
        ("n_types", "n_cells"),
        ("n_batches", "n_cells"),
        ("own_types", "n_types"),
    ):
        if getattr(asked, key) > getattr(asked, limit):
            most = f"must be at most data.{limit}, which is {getattr(asked, limit)}"
            raise InputError(Kind.VALUE, Given(f"data.{key}", getattr(asked, key)), most)
    if asked.own_types and asked.n_batches == 1:
        given = Given("data.own_types", asked.own_types)
        raise InputError(Kind.CONFLICT, given, "there is one batch", "give data.n_batches=2")


def _batches(asked: Options, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw the batch (n_cells,) of each cell, and factors (n_batches, n_genes) of the genes."""
    rng = np.random.default_rng([asked.seed, 1])
    factors = np.exp(rng.normal(0.0, asked.batch_sd, (asked.n_batches, asked.n_genes)))
    batches = rng.permutation(np.arange(asked.n_cells) % asked.n_batches)
    own = labels >= asked.n_types - asked.own_types
    batches[own] = labels[own] % asked.n_batches
    return batches, factors


def _counts(
    rng: np.random.Generator, rates: np.ndarray, labels: np.ndarray, sizes: np.ndarray
) -> csr_array:
    """Draw the counts (n_cells, n_genes) of all cells.

    Args:
        rng: draws them.
        rates: (n_types, n_genes) rates of the genes in each type, of any total.
        labels: (n_cells,) type of each cell, or its type and batch.
        sizes: (n_cells,) molecules in each cell.
    """
    edges = np.cumsum(rates / rates.sum(axis=1, keepdims=True), axis=1)
    blocks = [slice(i, i + BLOCK) for i in range(0, len(labels), BLOCK)]
    return vstack([draw(rng, edges, labels[b], sizes[b]) for b in blocks], format="csr")


def draw(
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
