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

BLOCK = 16  # cells at a time
# log theta starts near Poisson's, and moves ten times as far with each step of Adam as weights do:
# else it ends training about where it began, which for theta = 1 drowns what differs by little.
START, PACE = 4.0, 10.0


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
            self.dispersion = nn.Parameter(torch.full((n_genes,), START / PACE))
        if name == "zinb":
            self.dropout = nn.Linear(width, n_genes)

    @property
    def log_theta(self) -> Tensor:
        """Log of the inverse dispersion of each gene (n_genes,)."""
        return PACE * self.dispersion

    def forward(self, counts: Cells, h: Tensor, output: nn.Linear) -> Tensor:
        """-log P of counts (n_cells, n_genes) given h (n_cells, width), averaged over cells."""
        logits = output(h)
        if isinstance(counts, SparseRows) and self.name != "zinb":
            log_theta = None if self.name == "poisson" else self.log_theta
            loss: Tensor = _AtNonzeros.apply(counts, logits, log_theta)  # type: ignore[no-untyped-call]
            return loss
        x = dense(counts)
        mu = x.sum(1, keepdim=True).clamp_min(1) * torch.softmax(logits, 1)
        if self.name == "poisson":
            return -poisson(x, mu).mean()
        if self.name == "nb":
            return -negative_binomial(x, mu, self.log_theta.exp()).mean()
        return -zero_inflated(x, mu, self.log_theta.exp(), self.dropout(h)).mean()


class _AtNonzeros(torch.autograd.Function):
    """-log P of counts under mu = l softmax(logits), averaged over cells, and its gradients.

    Poisson: sum of mu = l, and non-zeros add log x! - x log mu.
    Negative binomial, with a = log(mu / theta): zeros have theta softplus(a), non-zeros add
    lgamma(theta) - lgamma(x + theta) + log x! - x (a - softplus(a)).

    Some cells at a time, so that what is between stays in the processor's cache; the gradients
    at once, as all that they need is there.
    """

    @staticmethod
    def forward(ctx: Any, counts: SparseRows, logits: Tensor, log_theta: Tensor | None) -> Tensor:
        x, place, starts = counts.entries(logits.shape[1])
        n_cells = len(logits)
        total = torch.segment_reduce(x, "sum", offsets=starts)
        log_total = total.clamp_min(1).log()  # a cell without counts has no mean to speak of
        grad = torch.empty_like(logits)
        grad_theta = None if log_theta is None else torch.zeros_like(log_theta)
        loss = torch.lgamma(x + 1).sum()
        for first in range(0, n_cells, BLOCK):
            rows = slice(first, min(first + BLOCK, n_cells))
            some = slice(int(starts[rows.start]), int(starts[rows.stop]))
            here = place[some] - rows.start * logits.shape[1]
            given = (logits[rows], x[some], here, log_total[rows, None])
            if log_theta is None or grad_theta is None:
                loss = loss + _poisson_block(*given, total[rows, None], grad[rows])
            else:
                loss = loss + _nb_block(*given, log_theta, grad[rows], grad_theta)
        if log_theta is not None and grad_theta is not None:
            genes = place % logits.shape[1]
            theta = log_theta.exp()
            theta_x = theta[genes]
            loss = loss + (torch.lgamma(theta)[genes] - torch.lgamma(x + theta_x)).sum()
            gammas = torch.digamma(theta)[genes] - torch.digamma(x + theta_x)
            grad_theta.mul_(theta).index_add_(0, genes, theta_x * gammas)
            grad_theta /= n_cells
        grad /= n_cells
        ctx.save_for_backward(grad, grad_theta)
        return loss / n_cells

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor | None]:
        grad, grad_theta = ctx.saved_tensors
        return None, grad * grads[0], None if grad_theta is None else grad_theta * grads[0]


def _poisson_block(
    logits: Tensor, x: Tensor, place: Tensor, log_total: Tensor, total: Tensor, grad: Tensor
) -> Tensor:
    """The loss of some cells but for log x!, and in `grad` that of their logits."""
    log_z = torch.logsumexp(logits, 1, keepdim=True)
    log_mu = (logits + (log_total - log_z)).view(-1)[place]
    torch.sub(logits, log_z, out=grad).exp_().mul_(total)
    _add_at(grad, place, -x)
    return total.clamp_min(1).sum() - x @ log_mu


def _nb_block(
    logits: Tensor,
    x: Tensor,
    place: Tensor,
    log_total: Tensor,
    log_theta: Tensor,
    grad: Tensor,
    grad_theta: Tensor,
) -> Tensor:
    """The loss of some cells but for gammas, in `grad` that of their logits.

    The gradient of theta, which is still to be multiplied by theta, is added to `grad_theta`.
    """
    theta = log_theta.exp()
    log_z = torch.logsumexp(logits, 1, keepdim=True)
    a = (logits + (log_total - log_z)).sub_(log_theta)
    at_zero = softplus(a, threshold=1e9)  # exact: a threshold would cut it off
    a_x, at_zero_x = a.view(-1)[place], at_zero.view(-1)[place]
    share = torch.sigmoid(a)  # mu / (theta + mu)
    rest = x * (1 - share.view(-1)[place])  # of log mu, at non-zeros: x theta / (theta + mu)
    grad_theta += (at_zero - share).sum(0)
    grad_theta.index_add_(0, place % len(theta), rest / theta[place % len(theta)])
    loss = torch.mv(at_zero, theta).sum() - x @ (a_x - at_zero_x)
    torch.mul(share, theta, out=grad)
    _add_at(grad, place, -rest)
    share = torch.sub(logits, log_z, out=share).exp_()  # of the cell's counts
    grad.sub_(share.mul_(grad.sum(1, keepdim=True)))
    return loss


def _log_nb(x: Tensor, mu: Tensor, theta: Tensor) -> Tensor:
    log_sum = (theta + mu).log()
    return (
        torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1)
        + theta * (theta.log() - log_sum) + torch.xlogy(x, mu) - x * log_sum
    )  # fmt: skip


def _add_at(values: Tensor, place: Tensor, terms: Tensor) -> None:
    """Adds terms to elements of a matrix, by their places in it, no two to the same."""
    flat = values.view(-1)
    flat[place] = flat[place] + terms
