"""Likelihoods of counts, one number per cell, each under its formula.

A cell's counts are spread over its genes as the decoder says: mu = l softmax(logits), with l the
cell's total, as scVI has it (Lopez et al., Nature Methods 15, 1053, 2018). Most counts are zeros,
where the terms with gamma functions vanish, so that those are computed at the others alone.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from scvae_cli.models.sparse import Cells, SparseRows

BLOCK = 300_000  # numbers at a time: some cells, all genes
# log theta starts near Poisson's, and moves ten times as far with each step of Adam as weights do:
# else it ends training about where it began, which for theta = 1 drowns what differs by little.
START, PACE = 4.0, 10.0
# Of log theta. Above 25, the negative binomial is Poisson's to the last bit of float32, and cells
# do not tell values below -10 from each other either. Beyond 88, float32 has no theta for it.
LIMIT = 30.0
# theta from which Stirling's series is exact, and from which what mu^2 / theta adds to Poisson's
# would be lost in the rounding of log(1 + mu / theta).
NEAR, FAR = 10.0, 400.0


def poisson(x: Tensor, log_mu: Tensor) -> Tensor:
    """Log P(x) = x log mu - mu - log x!, summed over genes.

    Args:
        x: (n_cells, n_genes) counts.
        log_mu: (n_cells, n_genes) log means, finite.

    Returns:
        (n_cells,)
    """
    return (x * log_mu - log_mu.exp() - torch.lgamma(x + 1)).sum(1)


def negative_binomial(x: Tensor, log_mu: Tensor, log_theta: Tensor) -> Tensor:
    """Log of (x + theta - 1 choose x) (theta / (theta + mu))^theta (mu / (theta + mu))^x.

    Its variance is mu + mu^2 / theta. Summed over genes.

    Args:
        x: (n_cells, n_genes) counts.
        log_mu: (n_cells, n_genes) log means, finite.
        log_theta: (n_genes,) log inverse dispersions.

    Returns:
        (n_cells,)
    """
    return _log_nb(x, log_mu, log_theta).sum(1)


def zero_inflated(x: Tensor, log_mu: Tensor, log_theta: Tensor, dropout: Tensor) -> Tensor:
    """Log of pi [x = 0] + (1 - pi) NB(x), pi = sigmoid(dropout), summed over genes.

    Args:
        x: (n_cells, n_genes) counts.
        log_mu: (n_cells, n_genes) log means, finite of the negative binomial.
        log_theta: (n_genes,) its log inverse dispersions.
        dropout: (n_cells, n_genes) log odds of a zero that is not its own.

    Returns:
        (n_cells,)
    """
    log_nb = _log_nb(x, log_mu, log_theta)
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
        """Log of the inverse dispersion of each gene (n_genes,), within LIMIT of 0."""
        bounded: Tensor = _Bounded.apply(PACE * self.dispersion)  # type: ignore[no-untyped-call]
        return bounded

    def forward(self, counts: Cells, h: Tensor, output: nn.Linear) -> Tensor:
        """-log P of counts (n_cells, n_genes) given h (n_cells, width), averaged over cells."""
        log_theta = None if self.name == "poisson" else self.log_theta
        dropout = self.dropout(h) if self.name == "zinb" else None
        if isinstance(counts, SparseRows):
            product = linear(h, output.weight)
            loss: Tensor = _AtNonzeros.apply(counts, product, output.bias, log_theta, dropout)  # type: ignore[no-untyped-call]
            return loss
        log_mu = torch.log_softmax(output(h), 1) + counts.sum(1, keepdim=True).clamp_min(1).log()
        if log_theta is None:
            return -poisson(counts, log_mu).mean()
        if dropout is None:
            return -negative_binomial(counts, log_mu, log_theta).mean()
        return -zero_inflated(counts, log_mu, log_theta, dropout).mean()


class _Bounded(torch.autograd.Function):
    """Log theta within LIMIT of 0. Where it is beyond, only gradients that lead back pass."""

    @staticmethod
    def forward(ctx: Any, log_theta: Tensor) -> Tensor:
        ctx.save_for_backward(log_theta)
        return log_theta.clamp(-LIMIT, LIMIT)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (log_theta,) = ctx.saved_tensors
        return grads[0].where((log_theta.abs() < LIMIT) | (grads[0] * log_theta > 0), 0.0)


class _AtNonzeros(torch.autograd.Function):
    """-log P of counts under mu = l softmax(product + bias), averaged over cells; its gradients.

    Poisson: sum of mu = l, and non-zeros add log x! - x log mu.
    Negative binomial, with r = mu / theta: zeros have theta log(1 + r), non-zeros add
    log x! - x log mu and what `_counted` says.
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
        at_zero_x = torch.empty_like(x)
        far = None if theta is None else (theta >= FAR).nonzero()[:, 0]
        loss = torch.lgamma(x + 1).sum()
        n_rows = max(1, BLOCK // n_genes)
        for first in range(0, n_cells, n_rows):
            rows = slice(first, min(first + n_rows, n_cells))
            some = slice(int(starts[rows.start]), int(starts[rows.stop]))
            logits = product[rows] + bias
            cells = _Block(logits, total[rows], x[some], cell[some] - first, gene[some])
            if theta is None or grad_theta is None or far is None:
                loss += cells.poisson(grad[rows])
            else:
                of_theta = theta, far, grad_theta
                inflated = None
                if dropout is not None and grad_dropout is not None:
                    inflated = dropout[rows], grad_dropout[rows]
                loss += cells.negative_binomial(of_theta, grad[rows], at_zero_x[some], inflated)
                if inflated is not None:
                    inflated[1].div_(n_cells)
            grad_bias += grad[rows].div_(n_cells).sum(0)
        if theta is not None and grad_theta is not None:
            value, slope = _counted(x, theta.index_select(0, gene), at_zero_x)
            loss += value.sum()
            grad_theta.mul_(theta).index_add_(0, gene, slope).div_(n_cells)
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
        of_theta: tuple[Tensor, Tensor, Tensor],
        grad: Tensor,
        at_zero_x: Tensor,
        inflated: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """The loss but for log x! and `_counted`, and in `grad` that of the logits.

        `of_theta` is theta, which genes have a large one, and what its gradient, which is still to
        be multiplied by theta, is added to. log(1 + r) of non-zeros goes to `at_zero_x`. With zero
        inflation, `inflated` is dropout and where its gradient goes.
        """
        theta, far, grad_theta = of_theta
        r = (self.share * self.at_least_one).div_(theta)
        at_zero = torch.log1p(r)
        share = r.div_(1 + r)  # mu / (theta + mu)
        at_zero_x.copy_(self.at(at_zero))
        rest = self.x * at_zero_x.neg().exp_()  # of log mu: x theta / (theta + mu)
        loss = -(self.x @ self.log_mu)
        slope = at_zero - share  # of theta
        if len(far):
            exact = _excess(share.index_select(1, far), at_zero.index_select(1, far))
            slope.index_copy_(1, far, exact)
        torch.mul(share, theta, out=grad)
        if inflated is None:
            loss += torch.mv(at_zero, theta).sum()
        else:
            dropout, own = inflated
            log_odds = at_zero.mul_(-theta).sub_(dropout)
            torch.sigmoid(log_odds, out=own)  # that a zero is the negative binomial's own
            zero = softplus(-dropout) - softplus(log_odds)
            loss += zero.sum() - self.at(zero).sum()
            loss += softplus(self.at(dropout)).sum() + theta.index_select(0, self.gene) @ at_zero_x
            own.view(-1)[self.place] = 1.0  # as what is not zero always is
            grad *= own
            slope *= own
            own -= torch.sigmoid(-dropout)
        grad_theta += slope.sum(0)
        grad.view(-1).index_add_(0, self.place, rest, alpha=-1)
        grad.addcmul_(self.share, grad.sum(1, keepdim=True), value=-1)
        return loss


class _LogNB(torch.autograd.Function):
    """Log P of counts under the negative binomial, number by number, and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, log_mu: Tensor, log_theta: Tensor) -> Tensor:
        theta, mu = log_theta.exp(), log_mu.exp()
        r = mu / theta
        at_zero, share = torch.log1p(r), r.div_(1 + r)
        log_p = x * log_mu - theta * at_zero
        slope = theta * _excess(share, at_zero)
        # Zeros, of which there may be many, need no gamma functions.
        place = x.reshape(-1).nonzero()[:, 0]
        x_there = x.reshape(-1)[place]
        of_count = theta[place % x.shape[1]], at_zero.view(-1)[place]
        value, slope_there = _counted(x_there, *of_count)
        log_p.view(-1)[place] -= value + torch.lgamma(x_there + 1)
        slope.view(-1)[place] += slope_there
        ctx.save_for_backward((x - mu) * at_zero.neg_().exp_(), slope)
        return log_p

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor]:
        rest, slope = ctx.saved_tensors
        return None, grads[0] * rest, -(grads[0] * slope).sum(0)


def _log_nb(x: Tensor, log_mu: Tensor, log_theta: Tensor) -> Tensor:
    log_p: Tensor = _LogNB.apply(x, log_mu, log_theta)  # type: ignore[no-untyped-call]
    return log_p


def _counted(x: Tensor, theta: Tensor, at_zero: Tensor) -> tuple[Tensor, Tensor]:
    """What a count adds to the loss beside log x! - x log mu, and its slope in log theta.

    That is x log(1 + r) - log(Gamma(x + theta) / Gamma(theta) / theta^x). For large theta, the
    gamma functions are some 10^10 times their difference. There it comes of Stirling's series,
    whose terms cancel on paper: with u = x / theta, s = u / (1 + u) and t = 1 - s,

        log(...) = (theta + x) (log(1 + u) - s) - log(1 + u) / 2 - s / (12 theta) + ...

    All but x are as they are in `_Block`.

    Args:
        x: counts, of any shape.
        theta: of that shape.
        at_zero: log(1 + r), the same.

    Returns:
        The value and the slope, of the same shape.
    """
    log_u = torch.log1p(x / theta)
    s = x / (x + theta)
    t = theta / (x + theta)
    excess = _excess(s, log_u)
    cube = theta**3  # may be infinite
    value = x * at_zero - (theta + x) * excess + log_u / 2 + s / (12 * theta)
    value -= (1 - t**3) / (360 * cube)
    slope = x * (s + torch.expm1(-at_zero)) - theta * excess - s / 2
    slope -= s * (1 + t) / (12 * theta) * (1 - (1 + t * t) / (10 * theta * theta))
    near = theta < NEAR
    if near.any():
        x, theta, at_zero = x[near], theta[near], at_zero[near]
        value[near] = x * (at_zero + theta.log()) + torch.lgamma(theta) - torch.lgamma(x + theta)
        gammas = torch.digamma(theta) - torch.digamma(x + theta)
        slope[near] = x * at_zero.neg().exp_() + theta * gammas
    return value, slope


def _excess(share: Tensor, log: Tensor) -> Tensor:
    """log(1 + r) - r / (1 + r), also where the two are almost the same.

    Args:
        share: r / (1 + r).
        log: log(1 + r).

    Returns:
        The same shape; its relative error is some 50 times that of a number.
    """
    # The series of -log(1 - share) - share, up to where what it leaves out is what rounding loses.
    few = ((share / 5 + 1 / 4).mul_(share).add_(1 / 3).mul_(share).add_(1 / 2)).mul_(share)
    return torch.where(share < torch.finfo(share.dtype).eps ** 0.2, few.mul_(share), log - share)
