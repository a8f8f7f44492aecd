"""Chooses genes by sums over cells, which add up piece by piece.

The results are those of `preprocess.chosen_genes`, gene by gene: counts are whole numbers, whose
sums are exact in whatever order, and what is not whole is added in the order of the cells.
"""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.special import xlog1py, xlogy

from scvae_cli.data.preprocess import LEAST_CELLS, SPANS, no_variable_genes


class Group:
    """Sums of the counts of some cells: of all, or of a batch.

    Attributes:
        totals: of each cell, one piece after the other.
        sums: (n_genes,) of counts.
        squares: (n_genes,) of their squares.
        clipped: (n_genes,) of counts, none above a limit; see `clip`.
        clipped_squares: (n_genes,) of their squares.
        own: (n_genes,) the part of the binomial deviance that is added up cell by cell.
    """

    def __init__(self, n_genes: int) -> None:
        self.totals: list[np.ndarray] = []
        self.sums, self.squares, self.own, self.clipped, self.clipped_squares = (
            np.zeros(n_genes) for _ in range(5)
        )

    def add(self, x: csr_matrix, by: str) -> None:
        """Add counts (n, n_genes) of more cells, for `variance` or `deviance`."""
        n_genes = len(self.sums)
        totals = np.ravel(x.sum(axis=1)).astype(np.float64)
        self.totals.append(totals)
        self.sums += np.bincount(x.indices, x.data, minlength=n_genes)
        if by == "variance":  # squares of float32, as scanpy has them
            self.squares += np.bincount(x.indices, np.square(x.data), minlength=n_genes)
            return
        y, n = x.data.astype(np.float64), np.repeat(totals, np.diff(x.indptr))
        np.add.at(self.own, x.indices, xlogy(y, y / n) + xlog1py(n - y, -y / n))

    def clip(self, x: csr_matrix, limits: np.ndarray) -> None:
        """Add counts (n, n_genes), none above the limit (n_genes,) of its gene."""
        y = np.minimum(x.data.astype(np.float64), limits[x.indices])
        np.add.at(self.clipped, x.indices, y)
        np.add.at(self.clipped_squares, x.indices, np.square(y))

    @property
    def n_cells(self) -> int:
        """Return the number of cells."""
        return sum(map(len, self.totals))

    def deviance(self) -> np.ndarray:
        """Return the binomial deviance (n_genes,); see `preprocess.binomial_deviance`."""
        total = np.concatenate(self.totals).sum()
        shares = self.sums / total
        common = xlogy(self.sums, shares) + xlog1py(total - self.sums, -shares)
        deviance: np.ndarray = 2 * (self.own - common)
        return deviance

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance (n_genes,) of the counts."""
        n = self.n_cells
        mean = self.sums / n
        variance = self.squares / n - mean**2
        return mean, variance * (n / (n - 1)) if n > 1 else variance


def groups_of(batches: np.ndarray | None, n_cells: int) -> np.ndarray:
    """Return the group (n_cells,) of each cell, -1 of cells in batches that have no say.

    A batch is a group if it has `LEAST_CELLS`; with no such batch, all cells are one group.
    """
    if batches is None:
        return np.zeros(n_cells, int)
    _, codes, sizes = np.unique(batches, return_inverse=True, return_counts=True)
    large = sizes >= LEAST_CELLS
    if not large.any():
        return np.zeros(n_cells, int)
    number = np.where(large, np.cumsum(large) - 1, -1)
    groups: np.ndarray = number[codes.ravel()]
    return groups


def by_deviance(groups: Sequence[Group], n_genes: int) -> np.ndarray:
    """Return the indices (n_genes,), rising, of the genes with the highest deviances."""
    deviance = np.sum([group.deviance() for group in groups], axis=0)
    return np.sort(np.argsort(-deviance, kind="stable")[:n_genes])


def expected_sds(groups: Sequence[Group], n_genes: int) -> list[np.ndarray]:
    """Return the sd (n_all,) that a gene of each mean has, by group: Seurat v3's loess.

    Raises:
        InputError: the genes' means differ too little.
    """
    for span in SPANS:
        with suppress(ValueError):  # of the loess, in its own words
            return [_expected_sd(group, span) for group in groups]
    raise no_variable_genes(n_genes)


def _expected_sd(group: Group, span: float) -> np.ndarray:
    from skmisc.loess import loess

    mean, variance = group.moments()
    varies = variance > 0
    fit = loess(np.log10(mean[varies]), np.log10(variance[varies]), span=span, degree=2)
    fit.fit()
    estimate = np.zeros(len(mean))
    estimate[varies] = fit.outputs.fitted_values
    sd: np.ndarray = np.sqrt(10**estimate)
    return sd


def limits_of(group: Group, sd: np.ndarray) -> np.ndarray:
    """Return what no count of a gene may exceed, (n_genes,)."""
    limits: np.ndarray = sd * np.sqrt(group.n_cells) + group.moments()[0]
    return limits


def by_variance(groups: Sequence[Group], sds: Sequence[np.ndarray], n_genes: int) -> np.ndarray:
    """Return the indices (n_genes,), rising, of the genes that vary most (Seurat v3).

    Stuart et al., Cell 177, 1888 (2019), in the order of scanpy's `highly_variable_genes`: by the
    median rank over groups among those where a gene is one of the `n_genes` best.

    Args:
        groups: with the clipped sums.
        sds: of `expected_sds`.
        n_genes: how many to keep.
    """
    variances = np.array([_normed(g, sd) for g, sd in zip(groups, sds, strict=True)])
    ranks = np.argsort(np.argsort(-variances, axis=1), axis=1).astype(np.float32)
    n_best = (ranks < n_genes).sum(axis=0)
    ranks[ranks >= n_genes] = np.nan
    median = pd.DataFrame(ranks).median().to_numpy()  # without those that are missing
    table = pd.DataFrame({"rank": median, "n_best": n_best})
    order = table.sort_values([*table], ascending=[True, False], na_position="last").index
    return np.sort(order.to_numpy()[:n_genes])


def _normed(group: Group, sd: np.ndarray) -> np.ndarray:
    """Return the variance (n_genes,) of clipped counts over what their mean lets expect."""
    n, mean = group.n_cells, group.moments()[0]
    squares = n * np.square(mean) + group.clipped_squares - 2 * group.clipped * mean
    normed: np.ndarray = 1 / ((n - 1) * np.square(sd)) * squares
    return normed
