"""The negative binomial's logarithm and its gradients, exact for every dispersion and count.

With theta the inverse dispersion and r = mu / theta, -log P(x) is

    theta log(1 + r) + log x! - x log mu + count_terms(x),

where all but the first term is 0 for x = 0, so that most counts need no gamma functions.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

# theta from which Stirling's series is exact, and from which what mu^2 / theta adds to Poisson's
# would be lost in the rounding of log(1 + mu / theta).
NEAR, FAR = 10.0, 400.0


def log_nb(x: Tensor, log_mu: Tensor, log_theta: Tensor) -> Tensor:
    """Compute log P of each count.

    Args:
        x: (n_cells, n_genes) counts.
        log_mu: (n_cells, n_genes) log means, finite.
        log_theta: (n_genes,) log inverse dispersions; on a GPU also (n_cells, n_genes).

    Returns:
        (n_cells, n_genes)
    """
    log_p: Tensor = _LogNB.apply(x, log_mu, log_theta)  # type: ignore[no-untyped-call]
    return log_p


class _LogNB(torch.autograd.Function):
    """Log P of counts, number by number, and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, log_mu: Tensor, log_theta: Tensor) -> Tensor:
        theta, mu = log_theta.exp(), log_mu.exp()
        ctx.of_genes = theta.ndim == 1
        r = mu / theta
        log1p_r, share = torch.log1p(r), r.div_(1 + r)
        log_p = x * log_mu - theta * log1p_r
        slope = theta * excess(share, log1p_r)
        if may_look(x):
            # Zeros, of which there may be many, need no gamma functions.
            place = torch.from_numpy(np.flatnonzero(x.numpy() != 0))  # torch takes nine times that
            x_there = x.reshape(-1)[place]
            theta_there = theta[place % x.shape[1]]
            value, slope_there = count_terms(x_there, theta_there, log1p_r.view(-1)[place])
            log_p.view(-1)[place] -= value + torch.lgamma(x_there + 1)
            slope.view(-1)[place] += slope_there
        else:  # a GPU has computed them before it has told where the others are
            value, slope_there = count_terms(x, theta, log1p_r)
            log_p -= value + torch.lgamma(x + 1)
            slope += slope_there
        ctx.save_for_backward((x - mu) * log1p_r.neg_().exp_(), slope)
        return log_p

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor]:
        by_log_mu, by_log_theta = ctx.saved_tensors
        slope = -(grads[0] * by_log_theta)
        return None, grads[0] * by_log_mu, slope.sum(0) if ctx.of_genes else slope


def count_terms(x: Tensor, theta: Tensor, log1p_r: Tensor) -> tuple[Tensor, Tensor]:
    """Compute what counts add to -log P besides log x! - x log mu, and its slope in log theta.

    That is x log(1 + r) - log(Gamma(x + theta) / Gamma(theta) / theta^x). For large theta, the
    gamma functions are some 10^10 times their difference. There it comes from Stirling's series,
    whose terms cancel on paper: with u = x / theta, s = u / (1 + u) and t = 1 - s,

        log(...) = (theta + x) (log(1 + u) - s) - log(1 + u) / 2 - s / (12 theta) + ...

    Args:
        x: counts, of any shape.
        theta: inverse dispersions, of that shape; on a GPU, of one that broadcasts to it.
        log1p_r: log(1 + r), of that shape.

    Returns:
        The value and the slope, of the same shape. The slope is with mu held fixed, and to be
        added to that of theta log(1 + r), which is theta * excess.
    """
    log_u = torch.log1p(x / theta)
    s = x / (x + theta)
    t = theta / (x + theta)
    log_u_excess = excess(s, log_u)
    cube = theta**3  # may be infinite
    value = x * log1p_r - (theta + x) * log_u_excess + log_u / 2 + s / (12 * theta)
    value -= (1 - t**3) / (360 * cube)
    slope = x * (s + torch.expm1(-log1p_r)) - theta * log_u_excess - s / 2
    slope -= s * (1 + t) / (12 * theta) * (1 - (1 + t * t) / (10 * theta * theta))
    near = theta < NEAR
    if not may_look(x):
        there = _gamma_terms(x, theta, log1p_r)
        return torch.where(near, there[0], value), torch.where(near, there[1], slope)
    if near.any():
        value[near], slope[near] = _gamma_terms(x[near], theta[near], log1p_r[near])
    return value, slope


def may_look(x: Tensor) -> bool:
    """Tell whether to compute by what values are: of those on a GPU, that would be waited for."""
    return x.device.type == "cpu"


def _gamma_terms(x: Tensor, theta: Tensor, log1p_r: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `count_terms` by gamma functions."""
    value = x * (log1p_r + theta.log()) + torch.lgamma(theta) - torch.lgamma(x + theta)
    gammas = torch.digamma(theta) - torch.digamma(x + theta)
    return value, x * log1p_r.neg().exp_() + theta * gammas


def excess(share: Tensor, log: Tensor) -> Tensor:
    """Compute log(1 + r) - r / (1 + r), also where the two are almost the same.

    Args:
        share: r / (1 + r).
        log: log(1 + r).

    Returns:
        The same shape; its relative error is some 50 times that of a number.
    """
    # The series of -log(1 - share) - share, up to where what it leaves out is what rounding loses.
    few = ((share / 5 + 1 / 4).mul_(share).add_(1 / 3).mul_(share).add_(1 / 2)).mul_(share)
    return torch.where(share < torch.finfo(share.dtype).eps ** 0.2, few.mul_(share), log - share)
