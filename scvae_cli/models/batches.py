"""Where the cells lie that a model gets in batches: in the computer's memory or in a GPU's."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from scvae_cli.covariates import Covariates
from scvae_cli.mapped import is_mapped
from scvae_cli.models.condition import take_rows
from scvae_cli.models.sparse import Cells, SparseRows
from scvae_cli.rows import Rows, Values

# Denser rows are multiplied faster as dense ones.
MAX_DENSITY = 0.15
# Of a GPU's free memory: what cells may take there. The rest is for the model and its batches.
SHARE = 0.5


class Batch(NamedTuple):
    """Some cells.

    Attributes:
        x: (n_cells, n_genes) values.
        counts: (n_cells, n_genes), if there are.
        covariates: (n_cells, n_columns) rows of `Covariates`, if there are.
        n_cells: how many cells.
    """

    x: Cells
    counts: Cells | None
    covariates: Tensor | None
    n_cells: int


class Batches(ABC):
    """Cells of which batches are taken.

    Attributes:
        n_cells: how many there are.
        device: where `take` wants its indices.
    """

    n_cells: int
    device: torch.device

    @abstractmethod
    def take(self, index: Tensor) -> Batch:
        """Return the cells with these indices (n,), on `device`."""

    def expect(self, index: Tensor) -> None:  # noqa: B027 - most have nothing to do
        """Prepare for taking the cells with these indices (n,) next."""

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Yield all cells, in order."""
        for index in torch.arange(self.n_cells, device=self.device).split(batch_size):
            yield self.take(index)


def place(
    x: Values,
    counts: Values | None,
    covariates: Covariates | None,
    device: torch.device,
    *,
    compiled: bool = False,
) -> Batches:
    """Lay cells where batches of them are taken fastest.

    Args:
        x: (n_cells, n_genes) values.
        counts: (n_cells, n_genes), if a model needs them.
        covariates: of the cells, if the model was built with them.
        device: where the model computes.
        compiled: whether a likelihood may use compiled code on a CPU.
    """
    if device.type == "cuda":
        size = sum(_size(values) for values in (x, counts) if values is not None)
        if covariates is not None:
            size += 4 * x.shape[0] * covariates.n_columns
        if size <= SHARE * _free(device):
            return OnCard(x, counts, covariates, device)
    return OnHost(x, counts, covariates, device, compiled=compiled)


class OnHost(Batches):
    """Cells in the computer's memory; each batch is sent to where the model computes.

    Args:
        x: see `place`.
        counts: see `place`.
        covariates: see `place`.
        device: see `place`.
        compiled: see `place`.
    """

    def __init__(
        self,
        x: Values,
        counts: Values | None,
        covariates: Covariates | None,
        device: torch.device,
        *,
        compiled: bool = False,
    ) -> None:
        self.n_cells, self.device, self._compiled = x.shape[0], torch.device("cpu"), compiled
        self._x, self._counts, self._covariates, self._to = x, counts, covariates, device
        rows = x if isinstance(x, Rows) else None if isinstance(x, np.ndarray) else Rows(x)
        self._on_disk = rows if rows is not None and is_mapped(rows.x) else None

    def expect(self, index: Tensor) -> None:
        """Have the cells with these indices (n,) read from disk, while others are computed with.

        Counts lie where x does.
        """
        if self._on_disk is not None:
            self._on_disk.will_need(index.numpy())

    def take(self, index: Tensor) -> Batch:
        """Return the cells with these indices (n,)."""
        cells = index.numpy()
        x = _send(self._x, cells, self._to)
        counts = None
        if self._counts is not None:
            counts = _send(self._counts, cells, self._to, compiled=self._compiled)
        return Batch(x, counts, take_rows(self._covariates, cells, self._to), len(index))


class OnCard(Batches):
    """Cells in a GPU's memory, without their zeros; batches are dense, and made there.

    A GPU multiplies dense batches as fast as sparse ones, and no size of what it does depends on
    the cells, so that the computer never waits for it.

    Args:
        x: see `place`.
        counts: see `place`.
        covariates: see `place`.
        device: the GPU.
    """

    def __init__(
        self,
        x: Values,
        counts: Values | None,
        covariates: Covariates | None,
        device: torch.device,
    ) -> None:
        self.n_cells, self.device = x.shape[0], device
        self._parts: list[_Dense | _Sparse]
        x, counts = _whole(x), None if counts is None else _whole(counts)
        if isinstance(x, np.ndarray):
            self._parts = [_Dense(x, device)]
        elif counts is not None and _alike(x, counts):
            self._parts, counts = [_Sparse(device, x, counts)], None
        else:
            self._parts = [_Sparse(device, x)]
        if counts is not None:
            self._parts.append(_Sparse(device, counts))
        self._covariates = take_rows(covariates, np.arange(self.n_cells), device)

    def take(self, index: Tensor) -> Batch:
        """Return the cells with these indices (n,), which are on the GPU."""
        x, *counts = (rows for part in self._parts for rows in part.take(index))
        rows = None if self._covariates is None else self._covariates[index]
        return Batch(x, counts[0] if counts else None, rows, len(index))


class _Dense:
    """A matrix on a device."""

    def __init__(self, x: np.ndarray, device: torch.device) -> None:
        self._x = torch.from_numpy(x).to(device)

    def take(self, index: Tensor) -> list[Tensor]:
        """Return rows (n, n_genes)."""
        return [self._x[index]]


class _Sparse:
    """Sparse matrices (n_cells, n_genes) on a device, whose non-zeros are at the same places."""

    def __init__(self, device: torch.device, *matrices: csr_array) -> None:
        first = matrices[0]
        starts = first.indptr.astype(np.int64)
        self._starts = torch.from_numpy(starts[:-1]).to(device)
        self._lengths = torch.from_numpy(np.diff(starts)).to(device)
        self._genes = torch.from_numpy(first.indices).to(device)
        self._values = [torch.from_numpy(x.data).to(device) for x in matrices]
        longest = int(np.diff(starts).max(initial=0))
        self._steps = torch.arange(longest, device=device)
        self._last, self._n_genes = max(first.nnz - 1, 0), first.shape[1]

    def take(self, index: Tensor) -> list[Tensor]:
        """Return rows (n, n_genes) of each matrix, with zeros.

        As many values are read of each row as the longest one has. Those beyond the end of a row
        are added as zeros, to whatever gene they are of.
        """
        place = (self._starts[index, None] + self._steps).clamp_max_(self._last)
        own = self._steps < self._lengths[index, None]
        shape = len(index), self._n_genes
        if not own.shape[1]:
            return [values.new_zeros(shape) for values in self._values]
        genes = self._genes[place].long()
        return [
            values.new_zeros(shape).scatter_add_(1, genes, values[place] * own)
            for values in self._values
        ]


def _whole(x: Values) -> csr_array | np.ndarray:
    """Return values as they are to lie on a GPU."""
    return x.whole() if isinstance(x, Rows) else x


def _alike(a: csr_array, b: csr_array) -> bool:
    """Tell whether the non-zeros of two matrices are at the same places."""
    return np.array_equal(a.indptr, b.indptr) and np.array_equal(a.indices, b.indices)


def _send(x: Values, index: np.ndarray, device: torch.device, *, compiled: bool = False) -> Cells:
    """Return some rows of x (n_cells, n_genes), in the form that is fastest on the device."""
    if isinstance(x, np.ndarray):
        return torch.from_numpy(x[index]).to(device)
    if device.type == "cuda":
        return OnCard(x[index], None, None, device).take(torch.arange(len(index), device=device)).x
    rows = SparseRows(x[index], compiled=compiled)
    sparse = compiled or x.nnz < MAX_DENSITY * x.shape[0] * x.shape[1]
    return rows if sparse and device.type == "cpu" else rows.dense().to(device)


def _size(x: Values) -> int:
    """Return bytes that x takes on a GPU."""
    if isinstance(x, np.ndarray):
        return int(x.nbytes)
    return int(8 * x.nnz + 16 * x.shape[0])  # a value and its index; an end and a length


def _free(device: torch.device) -> int:
    """Return bytes of a GPU's memory that are free, or that PyTorch has and does not use."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused
