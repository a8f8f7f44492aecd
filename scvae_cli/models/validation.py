"""Losses on what a model is not trained on."""

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Generator

from scvae_cli.covariates import Covariates
from scvae_cli.models.batches import place
from scvae_cli.models.model import Model
from scvae_cli.rows import Values

# Share of the genes' mean frequencies in every prediction: else a gene that a model says is off,
# and is not, would cost infinitely much.
MIX = 0.01


class HeldOutCells:
    """The loss of cells that were held out, at the end of all warm-ups.

    Args:
        x: (n_held, n_genes) values.
        counts: (n_held, n_genes) counts, which likelihoods of counts need.
        covariates: of these cells, where the model was built with them.
        batch_size: cells at a time.
        seed: of the posterior samples, the same at each call.
        device: where to compute.
    """

    def __init__(
        self,
        x: Values,
        counts: Values | None,
        covariates: Covariates | None = None,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.cells = place(x, counts, covariates, device)
        self.batch_size, self.seed, self.device = batch_size, seed, device

    @torch.no_grad()
    def __call__(self, model: Model) -> float:
        """Compute the mean loss of a cell, in the units of the training's."""
        noise = Generator(self.device).manual_seed(self.seed)
        total = 0.0
        for batch in self.cells.in_order(self.batch_size):
            loss = model.loss(batch.x, noise, batch.counts, 1.0, batch.covariates)
            total += float(loss.total) * batch.n_cells
        return total / self.cells.n_cells


class HeldOutMolecules:
    """How badly a model predicts of which genes the molecules are that were held out.

    Args:
        x: (n_cells, n_genes) values of the molecules that were not.
        held: (n_cells, n_genes) counts of those that were.
        covariates: of the cells, where the model was built with them.
        target_sum: counts per cell before the logarithm.
        batch_size: cells at a time.
        device: where to compute.
    """

    def __init__(
        self,
        x: csr_array,
        held: csr_array,
        covariates: Covariates | None = None,
        *,
        target_sum: float,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self.cells = place(x, None, covariates, device)
        self.held, self.target_sum = held, target_sum
        self.batch_size, self.device = batch_size, device
        rates = x.expm1().sum(axis=0)
        rates += rates[rates > 0].min()  # a gene may be only among those held out
        self.mean = torch.tensor(rates / rates.sum(), dtype=torch.float32, device=device)

    @torch.no_grad()
    def __call__(self, model: Model) -> float:
        """Compute -log of the genes' shares that the model gives each cell, in nats a molecule."""
        noise = Generator(self.device).manual_seed(0)  # which the mean does not use
        total = 0.0
        first = 0
        for batch in self.cells.in_order(self.batch_size):
            z = model.embed(batch.x, "mean", noise, batch.covariates)
            shares = model.shares(z, self.target_sum, batch.covariates)
            logs = torch.log((1 - MIX) * shares + MIX * self.mean)
            held = self.held[first : first + len(z)].tocoo()
            first += len(z)
            row, column = (torch.from_numpy(i.astype(np.int64)) for i in held.coords)
            total -= float((torch.from_numpy(held.data) * logs[row, column].cpu()).double().sum())
        return total / float(self.held.sum())
