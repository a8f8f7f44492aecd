"""Likelihoods of counts, one number per cell, each under its formula.

A cell's counts are spread over its genes as the decoder says: mu = l softmax(logits), with l the
cell's total, as scVI has it (Lopez et al., Nature Methods 15, 1053, 2018).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from scvae_cli.models.compiled import compiled_negative_binomial, may_compile
from scvae_cli.models.negative_binomial import log_nb, may_look
from scvae_cli.models.sparse import Cells, SparseRows, take_some
from scvae_cli.models.sparse_likelihoods import sparse_negative_binomial, sparse_poisson

# log theta starts near Poisson's, and moves ten times as far with each step of Adam as weights do:
# else it ends training about where it began, which for theta = 1 drowns what differs by little.
START, PACE = 4.0, 10.0
# Of log theta. Above 25, the negative binomial is Poisson's to the last bit of float32, and cells
# do not tell values below -10 from each other either. Beyond 88, float32 has no theta for it.
LIMIT = 30.0


def poisson(x: Tensor, log_mu: Tensor) -> Tensor:
    """Compute log P(x) = x log mu - mu - log x!, summed over genes.

    Args:
        x: (n_cells, n_genes) counts.
        log_mu: (n_cells, n_genes) log means, finite.

    Returns:
        (n_cells,)
    """
    return (x * log_mu - log_mu.exp() - torch.lgamma(x + 1)).sum(1)


def negative_binomial(x: Tensor, log_mu: Tensor, log_theta: Tensor) -> Tensor:
    """Compute the log of (x + theta - 1 choose x) (1 - p)^theta p^x, p = mu / (theta + mu).

    Summed over genes. The variance is mu + mu^2 / theta.

    Args:
        x: (n_cells, n_genes) counts.
        log_mu: (n_cells, n_genes) log means, finite.
        log_theta: (n_genes,) log inverse dispersions.

    Returns:
        (n_cells,)
    """
    return log_nb(x, log_mu, log_theta).sum(1)


def zero_inflated(x: Tensor, log_mu: Tensor, log_theta: Tensor, dropout: Tensor) -> Tensor:
    """Compute the log of pi [x = 0] + (1 - pi) NB(x), pi = sigmoid(dropout).

    Summed over genes.

    Args:
        x: (n_cells, n_genes) counts.
        log_mu: (n_cells, n_genes) log means, finite of the negative binomial.
        log_theta: (n_genes,) its log inverse dispersions.
        dropout: (n_cells, n_genes) log odds of an added zero.

    Returns:
        (n_cells,)
    """
    log_p = log_nb(x, log_mu, log_theta)
    at_zero = softplus(log_p - dropout) - softplus(-dropout)
    return torch.where(x == 0, at_zero, log_p - softplus(dropout)).sum(1)


class Likelihood(nn.Module):
    """The likelihood of a cell, given what goes into the decoder's last layer.

    Args:
        name: `poisson`, `nb` or `zinb`.
        n_genes: number of genes; the negative binomials have a dispersion for each.
        width: of what goes into the last layer; zero inflation has a layer of its own there.
        n_batches: number of batch columns, each of which adds to a cell's log dispersions; 0 where
            all cells have the same.
    """

    def __init__(self, name: str, n_genes: int, width: int, n_batches: int = 0) -> None:
        super().__init__()
        self.name = name
        self.n_batches = 0 if name == "poisson" else n_batches
        if name != "poisson":
            self.dispersion = nn.Parameter(torch.full((n_genes,), START / PACE))
        if name == "zinb":
            self.dropout = nn.Linear(width, n_genes)
        if self.n_batches:
            self.of_batches = nn.Parameter(torch.zeros(n_batches, n_genes))

    @property
    def log_theta(self) -> Tensor:
        """Return the log inverse dispersion of each gene (n_genes,), within LIMIT of 0."""
        return _bounded(PACE * self.dispersion)

    def log_theta_of(self, batch: Tensor) -> Tensor:
        """Return the same for cells with these batch columns.

        Args:
            batch: (n_batches,), or (n_cells, n_batches) of each cell.

        Returns:
            (n_genes,), or (n_cells, n_genes).
        """
        return _bounded(PACE * (self.dispersion + batch @ self.of_batches))

    def forward(
        self, counts: Cells, h: Tensor, output: nn.Linear, batches: Tensor | None = None
    ) -> Tensor:
        """Compute -log P of counts, averaged over cells.

        Args:
            counts: (n_cells, n_genes).
            h: (n_cells, width) what goes into the last layer.
            output: the last layer, whose outputs are logits.
            batches: (n_cells, n_batches) batch columns, where dispersions differ between them.
        """
        if batches is None or not may_look(h):
            return self._of(counts, h, output, batches)
        rows, group = torch.unique(batches, dim=0, return_inverse=True)
        total = h.new_zeros(())
        for i, row in enumerate(rows):
            some = (group == i).nonzero()[:, 0]
            error = self._of(take_some(counts, some), h[some], output, row)
            total = total + error * (len(some) / len(h))
        return total

    def _of(self, counts: Cells, h: Tensor, output: nn.Linear, batch: Tensor | None) -> Tensor:
        """Compute -log P of counts of cells with the same dispersions, averaged over cells.

        Args:
            counts: (n_cells, n_genes).
            h: (n_cells, width) what goes into the last layer.
            output: the last layer, whose outputs are logits.
            batch: (n_batches,) the batch columns that these cells have, if dispersions differ; on
                a GPU those of each cell, (n_cells, n_batches).
        """
        log_theta = None
        if self.name != "poisson":
            log_theta = self.log_theta if batch is None else self.log_theta_of(batch)
        dropout = self.dropout(h) if self.name == "zinb" else None
        if isinstance(counts, SparseRows):
            product = linear(h, output.weight)
            if log_theta is None:
                return sparse_poisson(counts, product, output.bias)
            if dropout is None and may_compile(counts, product):
                return compiled_negative_binomial(counts, product, output.bias, log_theta)
            return sparse_negative_binomial(counts, product, output.bias, log_theta, dropout)
        log_mu = torch.log_softmax(output(h), 1) + counts.sum(1, keepdim=True).clamp_min(1).log()
        if log_theta is None:
            return -poisson(counts, log_mu).mean()
        if dropout is None:
            return -negative_binomial(counts, log_mu, log_theta).mean()
        return -zero_inflated(counts, log_mu, log_theta, dropout).mean()


def _bounded(log_theta: Tensor) -> Tensor:
    bounded: Tensor = _Bounded.apply(log_theta)  # type: ignore[no-untyped-call]
    return bounded


class _Bounded(torch.autograd.Function):
    """Clamps log theta within LIMIT of 0. Beyond, only gradients that lead back pass."""

    @staticmethod
    def forward(ctx: Any, log_theta: Tensor) -> Tensor:
        ctx.save_for_backward(log_theta)
        return log_theta.clamp(-LIMIT, LIMIT)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (log_theta,) = ctx.saved_tensors
        return grads[0].where((log_theta.abs() < LIMIT) | (grads[0] * log_theta > 0), 0.0)
