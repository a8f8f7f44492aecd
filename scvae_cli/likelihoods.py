"""Likelihoods of counts, one number per cell, each under its formula.

A cell's counts are spread over its genes as the decoder says: mu = l softmax(logits), with l the
cell's total, as scVI has it (Lopez et al., Nature Methods 15, 1053, 2018). Most counts are zeros,
where the terms with gamma functions vanish, so that those are computed at the others alone.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from scvae_cli.batches import Cells, SparseRows

BLOCK = 300_000  # numbers at a time: some cells, all genes
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
        log_theta = None if self.name == "poisson" else self.log_theta
        dropout = self.dropout(h) if self.name == "zinb" else None
        if isinstance(counts, SparseRows):
            product = linear(h, output.weight)
            loss: Tensor = _AtNonzeros.apply(counts, product, output.bias, log_theta, dropout)  # type: ignore[no-untyped-call]
            return loss
        mu = counts.sum(1, keepdim=True).clamp_min(1) * torch.softmax(output(h), 1)
        if log_theta is None:
            return -poisson(counts, mu).mean()
        if dropout is None:
            return -negative_binomial(counts, mu, log_theta.exp()).mean()
        return -zero_inflated(counts, mu, log_theta.exp(), dropout).mean()


class _AtNonzeros(torch.autograd.Function):
    """-log P of counts under mu = l softmax(product + bias), averaged over cells; its gradients.

    Poisson: sum of mu = l, and non-zeros add log x! - x log mu.
    Negative binomial, with r = mu / theta: zeros have theta log(1 + r), non-zeros add
    lgamma(theta) - lgamma(x + theta) + log x! - x log(r / (1 + r)).
    With zero inflation, n = -theta log(1 + r) and d = dropout, zeros have
    softplus(-d) - softplus(n - d), and non-zeros theirs and softplus(d).

    Some cells at a time, so that what is between stays in the processor's cache; the gradients
    at once, as all that they need is there.
    """

    @staticmethod
    def forward(
        ctx: Any,
        counts: SparseRows,
        product: Tensor,
        bias: Tensor,
        log_theta: Tensor | None,
        dropout: Tensor | None,
    ) -> Tensor:
        x, cell, gene, starts = counts.entries()
        n_cells, n_genes = product.shape
        total = torch.segment_reduce(x, "sum", offsets=starts)[:, None]
        theta = None if log_theta is None else log_theta.exp()
        grad, grad_bias = torch.empty_like(product), torch.zeros_like(bias)
        grad_theta = None if theta is None else torch.zeros_like(theta)
        grad_dropout = None if dropout is None else torch.empty_like(dropout)
        loss = torch.lgamma(x + 1).sum()
        n_rows = max(1, BLOCK // n_genes)
        for first in range(0, n_cells, n_rows):
            rows = slice(first, min(first + n_rows, n_cells))
            some = slice(int(starts[rows.start]), int(starts[rows.stop]))
            logits = product[rows] + bias
            cells = _Block(logits, total[rows], x[some], cell[some] - first, gene[some])
            if theta is None or grad_theta is None:
                loss += cells.poisson(grad[rows])
            elif dropout is None or grad_dropout is None:
                loss += cells.negative_binomial(theta, grad[rows], grad_theta)
            else:
                inflated = dropout[rows], grad_dropout[rows]
                loss += cells.negative_binomial(theta, grad[rows], grad_theta, inflated)
                inflated[1].div_(n_cells)
            grad_bias += grad[rows].div_(n_cells).sum(0)
        if theta is not None and grad_theta is not None:
            theta_x = theta.index_select(0, gene)
            loss += (torch.lgamma(theta)[gene] - torch.lgamma(x + theta_x)).sum()
            gammas = torch.digamma(theta)[gene] - torch.digamma(x + theta_x)
            grad_theta.mul_(theta).index_add_(0, gene, theta_x * gammas).div_(n_cells)
        ctx.save_for_backward(grad, grad_bias, grad_theta, grad_dropout)
        return loss / n_cells

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        grads = ctx.saved_tensors
        if outer[0] == 1:  # as in training: saves a pass over all numbers
            return None, *grads
        return None, *(None if grad is None else grad * outer[0] for grad in grads)


class _Block:
    """Some cells.

    Args:
        logits: (n_cells, n_genes).
        total: (n_cells, 1) counts of each cell.
        x: (n,) counts that are not zero.
        cell: (n,) of each of them.
        gene: (n,) the same.
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
        self.log_mu = self.at(logits) + shift.view(-1).index_select(0, cell)

    def at(self, values: Tensor) -> Tensor:
        """Those of the non-zeros (n,), of (n_cells, n_genes)."""
        return values.view(-1).index_select(0, self.place)

    def poisson(self, grad: Tensor) -> Tensor:
        """The loss but for log x!, and in `grad` that of the logits."""
        torch.mul(self.share, self.total, out=grad)
        grad.view(-1).index_add_(0, self.place, self.x, alpha=-1)
        return self.at_least_one.sum() - self.x @ self.log_mu

    def negative_binomial(
        self,
        theta: Tensor,
        grad: Tensor,
        grad_theta: Tensor,
        inflated: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The loss but for gammas, and in `grad` that of the logits.

        The gradient of theta, which is still to be multiplied by theta, is added to `grad_theta`.
        With zero inflation, `inflated` is dropout and where its gradient goes.
        """
        theta_x = theta.index_select(0, self.gene)
        r = (self.share * self.at_least_one).div_(theta)
        at_zero = torch.log1p(r)
        share = r.div_(1 + r)  # mu / (theta + mu)
        rest = self.x * (1 - self.at(share))  # of log mu, at non-zeros: x theta / (theta + mu)
        at_zero_x = self.at(at_zero)
        loss = self.x @ (at_zero_x + theta_x.log() - self.log_mu)
        slope = at_zero - share  # of theta
        torch.mul(share, theta, out=grad)
        if inflated is None:
            loss += torch.mv(at_zero, theta).sum()
        else:
            dropout, own = inflated
            log_odds = at_zero.mul_(-theta).sub_(dropout)
            torch.sigmoid(log_odds, out=own)  # that a zero is the negative binomial's own
            zero = softplus(-dropout) - softplus(log_odds)
            loss += zero.sum() - self.at(zero).sum()
            loss += softplus(self.at(dropout)).sum() + theta_x @ at_zero_x
            own.view(-1)[self.place] = 1.0  # as what is not zero always is
            grad *= own
            slope *= own
            own -= torch.sigmoid(-dropout)
        grad_theta += slope.sum(0)
        grad_theta.index_add_(0, self.gene, rest / theta_x)
        grad.view(-1).index_add_(0, self.place, rest, alpha=-1)
        grad.addcmul_(self.share, grad.sum(1, keepdim=True), value=-1)
        return loss


def _log_nb(x: Tensor, mu: Tensor, theta: Tensor) -> Tensor:
    log_sum = (theta + mu).log()
    return (
        torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1)
        + theta * (theta.log() - log_sum) + torch.xlogy(x, mu) - x * log_sum
    )  # fmt: skip
