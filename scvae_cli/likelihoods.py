"""Likelihoods of counts, one number per cell, each under its formula.

A cell's counts are spread over its genes as the decoder says: mu = l softmax(logits), with l the
cell's total, as scVI has it (Lopez et al., Nature Methods 15, 1053, 2018). Most counts are zeros,
where the terms with gamma functions vanish, so that those are computed at the others alone.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from scvae_cli.batches import Cells, SparseRows, dense


def poisson(x: Tensor, mu: Tensor) -> Tensor:
    """Log P(x) = x log mu - mu - log x!, summed over genes.

    Args:
        x: (n_cells, n_genes) counts.
        mu: (n_cells, n_genes) means.

    Returns:
        (n_cells,)
    """
    return (torch.xlogy(x, mu) - mu - torch.lgamma(x + 1)).sum(1)


def negative_binomial(x: Tensor, mu: Tensor, theta: Tensor) -> Tensor:
    """Log of (x + theta - 1 choose x) (theta / (theta + mu))^theta (mu / (theta + mu))^x.

    Its variance is mu + mu^2 / theta. Summed over genes.

    Args:
        x: (n_cells, n_genes) counts.
        mu: (n_cells, n_genes) means.
        theta: (n_genes,) inverse dispersions.

    Returns:
        (n_cells,)
    """
    return _log_nb(x, mu, theta).sum(1)


def zero_inflated(x: Tensor, mu: Tensor, theta: Tensor, dropout: Tensor) -> Tensor:
    """Log of pi [x = 0] + (1 - pi) NB(x), pi = sigmoid(dropout), summed over genes.

    Args:
        x: (n_cells, n_genes) counts.
        mu: (n_cells, n_genes) means of the negative binomial.
        theta: (n_genes,) its inverse dispersions.
        dropout: (n_cells, n_genes) log odds of a zero that is not its own.

    Returns:
        (n_cells,)
    """
    log_nb = _log_nb(x, mu, theta)
    at_zero = softplus(log_nb - dropout) - softplus(-dropout)
    return torch.where(x == 0, at_zero, log_nb - softplus(dropout)).sum(1)


class Likelihood(nn.Module):
    """How likely a cell is, given what goes into the decoder's last layer.

    Args:
        name: `poisson`, `nb` or `zinb`.
        n_genes: number of genes; the negative binomials have a dispersion for each.
        width: of what goes into the last layer; zero inflation has a layer of its own there.
    """

    def __init__(self, name: str, n_genes: int, width: int) -> None:
        super().__init__()
        self.name = name
        if name != "poisson":
            self.log_theta = nn.Parameter(torch.zeros(n_genes))
        if name == "zinb":
            self.dropout = nn.Linear(width, n_genes)

    def forward(self, counts: Cells, h: Tensor, output: nn.Linear) -> Tensor:
        """-log P of counts (n_cells, n_genes) given h (n_cells, width): (n_cells,)."""
        logits = output(h)
        at_nonzeros: Tensor
        if isinstance(counts, SparseRows) and self.name == "poisson":
            at_nonzeros = _Poisson.apply(counts, logits)  # type: ignore[no-untyped-call]
            return at_nonzeros
        if isinstance(counts, SparseRows) and self.name == "nb":
            arguments = (counts, logits, self.log_theta)
            at_nonzeros = _NegativeBinomial.apply(*arguments)  # type: ignore[no-untyped-call]
            return at_nonzeros
        x = dense(counts)
        mu = x.sum(1, keepdim=True).clamp_min(1) * torch.softmax(logits, 1)
        if self.name == "poisson":
            return -poisson(x, mu)
        if self.name == "nb":
            return -negative_binomial(x, mu, self.log_theta.exp())
        return -zero_inflated(x, mu, self.log_theta.exp(), self.dropout(h))


class _Poisson(torch.autograd.Function):
    """-log P of counts under mu = l softmax(logits), whose sum over genes is l."""

    @staticmethod
    def forward(ctx: Any, counts: SparseRows, logits: Tensor) -> Tensor:
        x, (rows, genes), total = _parts(counts)
        log_z = torch.logsumexp(logits, 1)
        log_mu = _at(logits, (rows, genes)) + (total.log() - log_z)[rows]
        ctx.save_for_backward(logits, log_z, x, rows, genes)
        return total.index_add(0, rows, torch.lgamma(x + 1) - x * log_mu)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        logits, log_z, x, rows, genes = ctx.saved_tensors
        x = x * grads[0][rows]
        total = torch.zeros_like(log_z).index_add_(0, rows, x)
        grad = (logits - log_z[:, None]).exp_().mul_(total[:, None])
        _add_at(grad, (rows, genes), -x)
        return None, grad


class _NegativeBinomial(torch.autograd.Function):
    """-log P of counts under mu = l softmax(logits) and theta, with r = theta / (theta + mu).

    Zeros have -theta log r. Non-zeros add
    -lgamma(x + theta) + lgamma(theta) + lgamma(x + 1) - x (log mu - log theta + log r).
    """

    @staticmethod
    def forward(ctx: Any, counts: SparseRows, logits: Tensor, log_theta: Tensor) -> Tensor:
        x, place, total = _parts(counts)
        theta = log_theta.exp()
        log_z = torch.logsumexp(logits, 1)
        share = (logits - log_z[:, None]).exp_()
        r = (share * total[:, None]).add_(theta).reciprocal_().mul_(theta)
        log_r = r.log()
        theta_x = theta[place[1]]
        log_mu = _at(logits, place) + (total.log() - log_z)[place[0]]
        terms = torch.lgamma(theta_x) - torch.lgamma(x + theta_x) + torch.lgamma(x + 1)
        terms -= x * (log_mu - log_theta[place[1]] + _at(log_r, place))
        ctx.save_for_backward(share, r, log_r, theta, x, *place)
        return torch.mv(log_r, theta).neg_().index_add_(0, place[0], terms)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor]:
        share, r, log_r, theta, x, rows, genes = ctx.saved_tensors
        weight = grads[0]
        theta_x, weight_x, r_x = theta[genes], weight[rows], _at(r, (rows, genes))
        # of log mu: theta (1 - r) - x r
        grad = (1 - r).mul_(theta).mul_(weight[:, None])
        _add_at(grad, (rows, genes), -x * r_x * weight_x)
        grad -= share * grad.sum(1, keepdim=True)
        # of log theta: theta (r - 1 - log r) + x r - theta (digamma(x + theta) - digamma(theta))
        at_all = (torch.mv(r.T, weight) - weight.sum() - torch.mv(log_r.T, weight)).mul_(theta)
        gammas = torch.digamma(x + theta_x) - torch.digamma(theta_x)
        return None, grad, at_all.index_add_(0, genes, (x * r_x - theta_x * gammas) * weight_x)


def _log_nb(x: Tensor, mu: Tensor, theta: Tensor) -> Tensor:
    log_sum = (theta + mu).log()
    return (
        torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1)
        + theta * (theta.log() - log_sum) + torch.xlogy(x, mu) - x * log_sum
    )  # fmt: skip


def _parts(counts: SparseRows) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """Counts that are not zero (n,), their rows and columns, and each cell's total (n_cells,)."""
    x, rows, genes = counts.entries()
    total = x.new_zeros(counts.n_rows).index_add_(0, rows, x)
    return x, (rows, genes), total.clamp_min_(1)  # a cell without counts has no mean to speak of


def _at(values: Tensor, place: tuple[Tensor, Tensor]) -> Tensor:
    """The elements of a matrix at these rows and columns."""
    return values.view(-1)[place[0] * values.shape[1] + place[1]]


def _add_at(values: Tensor, place: tuple[Tensor, Tensor], terms: Tensor) -> None:
    """Adds terms to elements of a matrix, no two of them to the same."""
    flat, index = values.view(-1), place[0] * values.shape[1] + place[1]
    flat[index] = flat[index] + terms
