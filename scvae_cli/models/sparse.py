"""Cells as a model gets them, and the two layers that touch their genes.

Counts of single cells are mostly zeros. A linear layer on them needs only the others, and so does
the squared error of a linear output:

    ||x - (W h + b)||^2 = ||x||^2 - 2 <x, W h + b> + h' (W'W) h + 2 h' W'b + b'b,

so that neither x nor its reconstruction has to be formed. Results and gradients are those of the
dense formulas but for rounding.
"""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from scvae_cli.models.losses import squared_error


class SparseRows:
    """Some cells: a sparse matrix of rows (n_cells, n_genes), multiplied with all threads.

    `embedding_bag`, with the non-zeros as weights, is PyTorch's fastest sparse product on a CPU;
    one thread sums a row, in order, so that results do not depend on the number of threads.

    Args:
        rows: the matrix.
        compiled: whether a likelihood of them may use compiled code.
    """

    def __init__(self, rows: csr_array, *, compiled: bool = False) -> None:
        self._rows, self.compiled = rows, compiled
        self._index = torch.from_numpy(rows.indices)
        self._starts = torch.from_numpy(rows.indptr)
        self._values = torch.from_numpy(rows.data)

    @cached_property
    def transposed(self) -> "SparseRows":
        """Return the same values as (n_genes, n_cells)."""
        return SparseRows(self._rows.T.tocsr())

    def __matmul__(self, other: Tensor) -> Tensor:
        """Multiply: (n_cells, width) by `other` (n_genes, width), (n_cells,) by (n_genes,)."""
        if other.ndim == 1:
            return torch.from_numpy(self._rows @ other.detach().numpy())
        return embedding_bag(
            self._index,
            other.detach(),  # else it prepares for a backward pass that is not its own
            self._starts,
            mode="sum",
            per_sample_weights=self._values,
            include_last_offset=True,
        )

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the values that are not zero, row by row, and where they are.

        Returns:
            The values (n,), the column of each (n,), and where each row begins among them
            (n_rows + 1,).
        """
        return self._rows.data, self._rows.indices, self._rows.indptr

    def entries(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the values that are not zero, row by row, and where they are.

        Returns:
            The values (n,), the row and the column of each (n,), and where each row begins among
            them (n_rows + 1,).
        """
        starts = torch.from_numpy(self._rows.indptr.astype(np.int64))
        rows = torch.repeat_interleave(torch.arange(len(starts) - 1), starts.diff())
        return self._values, rows, self._index.long(), starts

    def self_minus_twice(self, b: Tensor) -> Tensor:
        """Compute <x, x - 2 b> of each cell (n_cells,), for b (n_genes,)."""
        terms = self._values * (self._values - 2 * b[self._index])
        return torch.segment_reduce(terms, "sum", offsets=self._starts)

    def some(self, index: Tensor) -> "SparseRows":
        """Return the rows of these indices (n,)."""
        return SparseRows(self._rows[index.numpy()], compiled=self.compiled)

    def dense(self) -> Tensor:
        """Return the same values (n_cells, n_genes), with zeros."""
        return torch.from_numpy(self._rows.toarray())


Cells = Tensor | SparseRows


def take_some(x: Cells, index: Tensor) -> Cells:
    """Return the cells of these indices (n,)."""
    return x.some(index) if isinstance(x, SparseRows) else x[index]


def dense(x: Cells) -> Tensor:
    """Return the same cells as a tensor (n_cells, n_genes)."""
    return x.dense() if isinstance(x, SparseRows) else x


class GeneLinear(nn.Module):
    """A linear layer on cells, whose weights (n_genes, width) lie gene by gene, as cells use them.

    It starts from the values of `nn.Linear`.
    """

    def __init__(self, n_genes: int, width: int) -> None:
        super().__init__()
        like = nn.Linear(n_genes, width)
        self.weight = nn.Parameter(like.weight.detach().T.contiguous())
        self.bias = like.bias

    def forward(self, x: Cells) -> Tensor:
        """Compute (n_cells, width) from x (n_cells, n_genes)."""
        if isinstance(x, Tensor):
            return torch.addmm(self.bias, x, self.weight)
        y: Tensor = _SparseLinear.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return y


def reconstruction_error(x: Cells, h: Tensor, output: nn.Linear) -> Tensor:
    """Compute ||x - output(h)||^2 of each cell, in the way that takes the least time.

    Args:
        x: (n_cells, n_genes) values.
        h: (n_cells, width) what goes into the output layer.
        output: the layer.

    Returns:
        (n_cells,)
    """
    n_cells, width = h.shape
    # Two products of n_genes * width^2 against three of n_genes * width * n_cells, and some more
    # passes over dense cells: level, as measured, at width = 5/3 n_cells.
    if isinstance(x, SparseRows) and 3 * width < 5 * n_cells:
        error: Tensor = _GramError.apply(x, h, output.weight, output.bias)  # type: ignore[no-untyped-call]
        return error
    return squared_error(dense(x), output(h))


class _SparseLinear(torch.autograd.Function):
    """X W + b and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: SparseRows, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.x = x
        return (x @ weight).add_(bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor]:
        grad = grads[0].contiguous()
        return None, ctx.x.transposed @ grad, grad.sum(0)


class _GramError(torch.autograd.Function):
    """||x - (W h + b)||^2 of each cell and its gradients, by the formula above."""

    @staticmethod
    def forward(ctx: Any, x: SparseRows, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        xw = x @ weight
        gram, wb = weight.T @ weight, weight.T @ bias
        quadratic = h @ gram
        ctx.x = x
        ctx.save_for_backward(h, weight, bias, xw, quadratic, wb)
        rest = ((quadratic - 2 * xw) * h).sum(1) + 2 * (h @ wb) + bias @ bias
        return x.self_minus_twice(bias) + rest

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor, Tensor]:
        h, weight, bias, xw, quadratic, wb = ctx.saved_tensors
        twice = 2 * grads[0]
        scaled = twice[:, None] * h
        grad_h = twice[:, None] * (quadratic + wb - xw)
        grad_weight = (ctx.x.transposed @ scaled).addmm_(weight, h.T @ scaled, beta=-1)
        grad_weight.addr_(bias, scaled.sum(0))
        grad_bias = weight @ scaled.sum(0) + bias * twice.sum() - ctx.x.transposed @ twice
        return None, grad_h, grad_weight, grad_bias
