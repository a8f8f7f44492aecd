"""Rows of sparse values that are made when they are asked for, and not kept beside the values."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TypeAlias

import numpy as np
from scipy.sparse import csr_array

from scvae_cli.mapped import will_need

PIECE = 4096  # rows that are made at once, where all are needed


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a matrix, or the counts that its logarithms come from.

    All counts of a million cells would take as much memory as their logarithms, and all training
    cells that of a second matrix; a batch of either takes a millisecond.

    Attributes:
        x: (n_all, n_genes) float32 values, in memory or on disk.
        index: (n_cells,) which rows of x; None for all, in order.
        scales: (n_all,) by what exp(x) - 1 is multiplied to get counts; None for x itself.

    Example:
        >>> x = csr_array(np.log1p(np.array([[5000, 5000, 0], [0, 2500, 7500]], np.float32)))
        >>> Rows(x, scales=np.array([4, 8]) / 1e4)[np.array([1])].toarray().tolist()
        [[0.0, 2.0, 6.0]]
    """

    x: csr_array
    index: np.ndarray | None = None
    scales: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Return the numbers of rows and of genes."""
        n_all, n_genes = self.x.shape
        return n_all if self.index is None else len(self.index), n_genes

    @cached_property
    def nnz(self) -> int:
        """Return the number of values."""
        lengths = np.diff(self.x.indptr)
        return int((lengths if self.index is None else lengths[self.index]).sum(dtype=np.int64))

    def __getitem__(self, index: np.ndarray) -> csr_array:
        """Return the rows of these indices (n,)."""
        own = index if self.index is None else self.index[index]
        rows = self.x[own]
        return rows if self.scales is None else _counts(rows, self.scales[own])

    def will_need(self, index: np.ndarray) -> None:
        """Say which rows (n,) are asked for next; see `mapped.will_need`."""
        will_need(self.x, index if self.index is None else self.index[index])

    def pieces(self) -> Iterator[tuple[slice, csr_array]]:
        """Yield all rows in order, some at a time: which ones, and their values."""
        n_rows = self.shape[0]
        for start in range(0, n_rows, PIECE):
            rows = slice(start, min(start + PIECE, n_rows))
            if self.index is None:
                x = self.x[rows]
                yield rows, x if self.scales is None else _counts(x, self.scales[rows])
            else:
                yield rows, self[np.arange(rows.start, rows.stop)]

    def whole(self) -> csr_array:
        """Return all rows; where they are all of x, with its own indices."""
        if self.index is not None:
            return self[np.arange(len(self.index))]
        if self.scales is None:
            return self.x
        values = np.empty(self.x.nnz, np.float32)
        for rows, counts in self.pieces():
            values[self.x.indptr[rows.start] : self.x.indptr[rows.stop]] = counts.data
        return csr_array((values, self.x.indices, self.x.indptr), shape=self.x.shape)


Values: TypeAlias = csr_array | np.ndarray | Rows


def _counts(x: csr_array, scales: np.ndarray) -> csr_array:
    """Return the counts of logarithms x (n, n_genes), whose indices they share."""
    scale = np.repeat(scales, np.diff(x.indptr))
    counts = np.rint(np.expm1(x.data, dtype=np.float64) * scale).astype(np.float32)
    return csr_array((counts, x.indices, x.indptr), shape=x.shape)


def gathered(parts: Iterable[np.ndarray], n_rows: int) -> np.ndarray:
    """Return parts (n, width), one below the other, as (n_rows, width).

    In a list each small part would stay behind the large arrays that it was computed from, where
    the next ones then find no room: memory would grow as if none of them were freed.
    """
    parts, done = iter(parts), 0
    first = next(parts)
    whole = np.empty((n_rows, first.shape[1]), first.dtype)
    for part in chain([first], parts):
        whole[done : done + len(part)] = part
        done += len(part)
    assert done == n_rows
    return whole


def pieces_of(values: csr_array | Rows) -> Iterator[tuple[slice, csr_array]]:
    """Yield all rows in order, some at a time; see `Rows.pieces`."""
    return (values if isinstance(values, Rows) else Rows(values)).pieces()


def group_sums(values: Values, groups: np.ndarray) -> np.ndarray:
    """Add up values of the cells of each group, in float64 and in the order of the cells.

    A product of sparse matrices would first copy all values as float64 and their indices.

    Args:
        values: (n_cells, n_genes).
        groups: (n_cells,) the number of each cell's group, all from 0 on among them.

    Returns:
        (n_groups, n_genes).
    """
    if isinstance(values, np.ndarray):
        members = csr_array((np.ones(len(groups)), (groups, np.arange(len(groups)))))
        sums: np.ndarray = members @ values
        return sums
    n_genes = values.shape[1]
    flat = np.zeros((int(groups.max()) + 1) * n_genes)
    for rows, x in pieces_of(values):
        first = np.repeat(groups[rows].astype(np.int64) * n_genes, np.diff(x.indptr))
        np.add.at(flat, first + x.indices, x.data.astype(np.float64))
    return flat.reshape(-1, n_genes)
