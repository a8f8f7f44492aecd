"""-log P of sparse counts and its gradients, with gamma functions at the non-zeros only.

Under mu = l softmax(product + bias), with l the cell's total, and r = mu / theta:

Poisson: the sum of mu is l, and non-zeros add log x! - x log mu.
Negative binomial: zeros have theta log(1 + r), non-zeros add log x! - x log mu and `count_terms`.
With zero inflation, n = -theta log(1 + r) and d = dropout, zeros have
softplus(-d) - softplus(n - d), and non-zeros theirs and softplus(d).

A block of cells at a time, so that intermediate values stay in the processor's cache. Gradients
are computed with the value, as all that they need is there.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from scvae_cli.models.negative_binomial import FAR, count_terms, excess
from scvae_cli.models.sparse import SparseRows

BLOCK = 300_000  # numbers at a time: some cells, all genes


def sparse_poisson(counts: SparseRows, product: Tensor, bias: Tensor) -> Tensor:
    """Compute -log P of Poisson counts, averaged over cells.

    Args:
        counts: (n_cells, n_genes).
        product: (n_cells, n_genes) logits less their bias.
        bias: (n_genes,) of the logits.

    Returns:
        A scalar.
    """
    loss: Tensor = _Poisson.apply(counts, product, bias)  # type: ignore[no-untyped-call]
    return loss


def sparse_negative_binomial(
    counts: SparseRows, product: Tensor, bias: Tensor, log_theta: Tensor, dropout: Tensor | None
) -> Tensor:
    """Compute -log P of negative binomial counts, averaged over cells.

    Args:
        counts: (n_cells, n_genes).
        product: (n_cells, n_genes) logits less their bias.
        bias: (n_genes,) of the logits.
        log_theta: (n_genes,) log inverse dispersions.
        dropout: (n_cells, n_genes) log odds of an added zero, or None without zero inflation.

    Returns:
        A scalar.
    """
    arguments = counts, product, bias, log_theta, dropout
    loss: Tensor = _NegativeBinomial.apply(*arguments)  # type: ignore[no-untyped-call]
    return loss


class _Poisson(torch.autograd.Function):
    """-log P and its gradients in product and bias."""

    @staticmethod
    def forward(ctx: Any, counts: SparseRows, product: Tensor, bias: Tensor) -> Tensor:
        grad, grad_bias = torch.empty_like(product), torch.zeros_like(bias)
        entries = counts.entries()
        loss = torch.lgamma(entries[0] + 1).sum()
        for rows, _, block in _blocks(entries, product, bias):
            loss += block.poisson(grad[rows])
            grad_bias += grad[rows].div_(len(product)).sum(0)
        ctx.save_for_backward(grad, grad_bias)
        return loss / len(product)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        return None, *scaled(ctx.saved_tensors, outer[0])


class _NegativeBinomial(torch.autograd.Function):
    """-log P and its gradients in product, bias, log theta and dropout."""

    @staticmethod
    def forward(
        ctx: Any,
        counts: SparseRows,
        product: Tensor,
        bias: Tensor,
        log_theta: Tensor,
        dropout: Tensor | None,
    ) -> Tensor:
        n_cells = len(product)
        entries = counts.entries()
        x, _, gene, _ = entries
        theta = log_theta.exp()
        far = (theta >= FAR).nonzero()[:, 0]
        grad, grad_bias = torch.empty_like(product), torch.zeros_like(bias)
        grad_theta = torch.zeros_like(theta)
        grad_dropout = None if dropout is None else torch.empty_like(dropout)
        log1p_r = torch.empty_like(x)
        loss = torch.lgamma(x + 1).sum()
        for rows, some, block in _blocks(entries, product, bias):
            inflation = None
            if dropout is not None and grad_dropout is not None:
                inflation = dropout[rows], grad_dropout[rows]
            value, slope = block.negative_binomial(
                theta, far, grad[rows], log1p_r[some], inflation
            )
            loss += value
            grad_theta += slope
            if inflation is not None:
                inflation[1].div_(n_cells)
            grad_bias += grad[rows].div_(n_cells).sum(0)
        value, slope = count_terms(x, theta.index_select(0, gene), log1p_r)
        loss += value.sum()
        grad_theta.mul_(theta).index_add_(0, gene, slope).div_(n_cells)
        ctx.save_for_backward(grad, grad_bias, grad_theta, grad_dropout)
        return loss / n_cells

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        return None, *scaled(ctx.saved_tensors, outer[0])


def scaled(grads: tuple[Tensor | None, ...], outer: Tensor) -> tuple[Tensor | None, ...]:
    """Multiply gradients by that of the loss."""
    if outer == 1:  # as in training: saves a pass over all numbers
        return grads
    return tuple(None if grad is None else grad * outer for grad in grads)


def _blocks(
    entries: tuple[Tensor, Tensor, Tensor, Tensor], product: Tensor, bias: Tensor
) -> Iterator[tuple[slice, slice, "_Block"]]:
    """Yield the rows of each block of cells, the entries of these rows, and the block."""
    x, cell, gene, starts = entries
    total = torch.segment_reduce(x, "sum", offsets=starts)[:, None]
    n_cells, n_genes = product.shape
    n_rows = max(1, BLOCK // n_genes)
    for first in range(0, n_cells, n_rows):
        rows = slice(first, min(first + n_rows, n_cells))
        some = slice(int(starts[rows.start]), int(starts[rows.stop]))
        logits = product[rows] + bias
        yield rows, some, _Block(logits, total[rows], x[some], cell[some] - first, gene[some])


class _Block:
    """Some cells.

    Args:
        logits: (n_cells, n_genes).
        total: (n_cells, 1) counts of each cell.
        x: (n,) counts that are not zero.
        cell: (n,) the row of each of them.
        gene: (n,) the column of each of them.
    """

    def __init__(
        self, logits: Tensor, total: Tensor, x: Tensor, cell: Tensor, gene: Tensor
    ) -> None:
        self.total, self.x, self.gene = total, x, gene
        self.place = cell * logits.shape[1] + gene
        self.at_least_one = total.clamp_min(1)  # a cell without counts has no mean to speak of
        top = logits.amax(1, keepdim=True)
        self.share = torch.sub(logits, top).exp_()  # of the cell's counts
        norm = self.share.sum(1, keepdim=True)
        self.share /= norm
        shift = (self.at_least_one / norm).log_().sub_(top)
        # Of non-zeros; finite where a share is 0.
        self.log_mu = self.at_nonzeros(logits) + shift.view(-1).index_select(0, cell)

    def at_nonzeros(self, values: Tensor) -> Tensor:
        """Return the values (n,) of the non-zeros, from (n_cells, n_genes)."""
        return values.view(-1).index_select(0, self.place)

    def poisson(self, grad: Tensor) -> Tensor:
        """Compute -log P less log x!, and write the gradient in the logits to `grad`."""
        torch.mul(self.share, self.total, out=grad)
        grad.view(-1).index_add_(0, self.place, self.x, alpha=-1)
        return self.at_least_one.sum() - self.x @ self.log_mu

    def negative_binomial(
        self,
        theta: Tensor,
        far: Tensor,
        grad: Tensor,
        log1p_r_x: Tensor,
        inflation: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor]:
        """Compute -log P less log x! and `count_terms`.

        Args:
            theta: (n_genes,) inverse dispersions.
            far: indices of the genes whose theta is `FAR` or more.
            grad: (n_cells, n_genes), to which the gradient in the logits is written.
            log1p_r_x: (n,), to which log(1 + r) of the non-zeros is written.
            inflation: dropout, and where its gradient is written, each (n_cells, n_genes).

        Returns:
            The value, and its slope in theta (n_genes,).
        """
        r = (self.share * self.at_least_one).div_(theta)
        log1p_r = torch.log1p(r)
        share = r.div_(1 + r)  # mu / (theta + mu)
        log1p_r_x.copy_(self.at_nonzeros(log1p_r))
        rest = self.x * log1p_r_x.neg().exp_()  # of log mu: x theta / (theta + mu)
        loss = -(self.x @ self.log_mu)
        slope = log1p_r - share
        if len(far):
            exact = excess(share.index_select(1, far), log1p_r.index_select(1, far))
            slope.index_copy_(1, far, exact)
        torch.mul(share, theta, out=grad)
        if inflation is None:
            loss += torch.mv(log1p_r, theta).sum()
        else:
            dropout, own = inflation
            zeros, nonzeros = self._inflate(theta, log1p_r, log1p_r_x, dropout, own)
            loss += zeros
            loss += nonzeros
            grad *= own
            slope *= own
            own -= torch.sigmoid(-dropout)
        grad.view(-1).index_add_(0, self.place, rest, alpha=-1)
        grad.addcmul_(self.share, grad.sum(1, keepdim=True), value=-1)
        return loss, slope.sum(0)

    def _inflate(
        self, theta: Tensor, log1p_r: Tensor, log1p_r_x: Tensor, dropout: Tensor, own: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute what stands for theta log(1 + r) with zero inflation.

        Args:
            theta: (n_genes,) inverse dispersions.
            log1p_r: (n_cells, n_genes) log(1 + r), which is overwritten.
            log1p_r_x: (n,) that of the non-zeros.
            dropout: (n_cells, n_genes) log odds of an added zero.
            own: (n_cells, n_genes), to which the probability is written that a count is the
                negative binomial's own; a count that is not zero always is.

        Returns:
            The sum over zeros, and that over non-zeros.
        """
        log_odds = log1p_r.mul_(-theta).sub_(dropout)
        torch.sigmoid(log_odds, out=own)
        own.view(-1)[self.place] = 1.0
        at_zero = softplus(-dropout) - softplus(log_odds)
        zeros = at_zero.sum() - self.at_nonzeros(at_zero).sum()
        nonzeros = softplus(self.at_nonzeros(dropout)).sum()
        nonzeros += theta.index_select(0, self.gene) @ log1p_r_x
        return zeros, nonzeros
