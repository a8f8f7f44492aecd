"""Variational sparse coding: latents that are on in some cells and off in others."""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import logsigmoid

from scvae_cli.models import layers
from scvae_cli.models.losses import kl_bernoulli, kl_spike_slab, kl_spike_slabs
from scvae_cli.models.model import Loss
from scvae_cli.models.sparse import Cells, GeneLinear
from scvae_cli.models.team import draw
from scvae_cli.models.variational import Variational, report_collapse, sample_normal


class VSC(Variational):
    """beta-VSC: beta-VAE with a spike-and-slab posterior (report 2.3, 2.4.2).

    z = sigmoid(c (eta - 1 + gamma)) * (mu + sigma eps), eta ~ U(0, 1), eps ~ N(0, 1), and
    log gamma = -ReLU(-v), the authors' code's, or gamma = sigmoid(v), whose gradient never is 0.
    gamma is the probability of the slab, which the report calls spike.
    Tonolini, Jensen & Murray-Smith, Variational Sparse Coding (2019).

    Args:
        n_genes: width of the input.
        n_latent: width of z.
        encoder: widths that the heads share.
        branch: width of each head's own hidden layer, or None for heads without one.
        c: steepness of the relaxed spike when training starts.
        c_end: and when it ends, reached in a straight line; None: c stays.
        alpha: prior probability of the slab.
        gate: `relu` or `sigmoid`: how the third head gives gamma.
        spike_warmup: share of the training over which mu and log sigma^2 rise from 0, the prior's,
            to what the heads give, so that gates are learnt first (the UAI paper's warm-up).
        shared: see `Variational`.
    """

    has_gates: ClassVar[bool] = True

    def __init__(
        self,
        n_genes: int,
        n_latent: int,
        *,
        encoder: list[int],
        branch: int | None,
        c: float,
        c_end: float | None,
        alpha: float,
        gate: str,
        spike_warmup: float,
        **shared: Any,
    ) -> None:
        super().__init__(n_genes, n_latent, encoder=encoder, branch=branch, **shared)
        self.c, self.c_end, self.alpha = c, c if c_end is None else c_end, alpha
        self.spike_warmup = spike_warmup
        self.hint = "; model.gate=sigmoid may help" if gate == "relu" else ""
        self.log_gamma = {"relu": lambda v: -torch.relu(-v), "sigmoid": logsigmoid}[gate]
        self.gate = layers.head(encoder[-1], branch, n_latent)

    @property
    def follows_progress(self) -> bool:
        """Return whether the slab warms up, or c grows."""
        return bool(self.spike_warmup) or self.c != self.c_end

    @property
    def monitors(self) -> list[str]:
        """Name the mean gamma, the share of gates of exactly 1, and the KL of each latent."""
        return ["gamma", "dead_gates", *super().monitors]

    def posterior(
        self, x: Cells, covariates: Tensor | None = None, progress: float = 1.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute mu, log sigma^2 and log gamma, each (n_cells, n_latent), of x.

        Args:
            x: (n_cells, n_genes) values.
            covariates: see `Model.loss`.
            progress: share of the training that is over.
        """
        h = self._encoded(x, covariates)
        warm = min(1.0, progress / self.spike_warmup) if self.spike_warmup else 1.0
        logvar = self.logvar_scale * self.sigma(h)
        return warm * self.mu(h), warm * logvar, self.log_gamma(self.gate(h))

    def sample(
        self,
        mu: Tensor,
        logvar: Tensor,
        log_gamma: Tensor,
        generator: Generator,
        progress: float = 1.0,
    ) -> Tensor:
        """Draw z (n_cells, n_latent) from the relaxed posterior."""
        slab = sample_normal(mu, logvar, generator)
        eta = draw(torch.rand, mu, generator)
        c = self.c + progress * (self.c_end - self.c)
        return torch.sigmoid(c * (eta - 1.0 + log_gamma.exp())) * slab

    def loss(
        self,
        x: Cells,
        generator: Generator,
        counts: Cells | None = None,
        progress: float = 1.0,
        covariates: Tensor | None = None,
    ) -> Loss:
        """Compute the terms of x, and counts (n_cells, n_genes); see `Model`."""
        mu, logvar, log_gamma = self.posterior(x, covariates, progress)
        z = self.sample(mu, logvar, log_gamma, generator, progress)
        reconstruction = self._reconstruction(x, counts, z, covariates)
        kl = self._kl(x, mu, logvar, log_gamma, progress)
        dead = (log_gamma == 0).to(mu.dtype).mean()
        return self._loss(reconstruction, kl, log_gamma.exp().mean(), dead)

    def embed(
        self, x: Cells, kind: str, generator: Generator, covariates: Tensor | None = None
    ) -> Tensor:
        """Compute (n_cells, n_latent): gamma * mu for `mean`, mu for `mu`, a draw for `sample`."""
        mu, logvar, log_gamma = self.posterior(x, covariates)
        if kind == "sample":
            return self.sample(mu, logvar, log_gamma, generator)
        return log_gamma.exp() * mu if kind == "mean" else mu

    def gates(self, x: Cells, covariates: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute gamma and mu of the slab, each (n_cells, n_latent), of x (n_cells, n_genes)."""
        mu, _, log_gamma = self.posterior(x, covariates)
        return log_gamma.exp(), mu

    def diagnose(self, batches: Iterable[tuple[Cells, Tensor | None]]) -> list[str]:
        """Report posterior collapse, and gates of exactly 1 for every cell.

        Where gamma is 1, the gate `relu` has no gradient.
        """
        kl, open_gates = torch.zeros(self.n_latent), torch.zeros(self.n_latent)
        n_cells = 0
        for x, covariates in batches:
            mu, logvar, log_gamma = self.posterior(x, covariates)
            kl += len(mu) * self._kl(x, mu, logvar, log_gamma, 1.0).cpu()
            open_gates += (log_gamma == 0).sum(0).cpu()
            n_cells += len(mu)
        findings = report_collapse(kl, n_cells)
        if dead := int((open_gates == n_cells).sum()):
            findings.append(
                f"{dead} of {self.n_latent} latent features are on for every cell: gates of 1"
                f"{self.hint}"
            )
        return findings

    def _kl(
        self, x: Cells, mu: Tensor, logvar: Tensor, log_gamma: Tensor, progress: float
    ) -> Tensor:
        """Compute the KL of each latent (n_latent,), averaged over cells."""
        return kl_spike_slab(mu, logvar, log_gamma, self.alpha).mean(0)


class PseudoVSC(VSC):
    """VSC whose prior is the posterior of learnt pseudo-inputs, which a selector picks for a cell.

    sum_k w_k(x) KL(q(z|x) || q(z|x_k)) + n_latent KL(Bernoulli(gamma) || Bernoulli(alpha)), with w
    the selector's softmax and gamma the mean of the selected pseudo-inputs over cells and latents.
    The sum is no less than the KL to the mixture of the q(z|x_k) (convexity).
    Tonolini, Jensen & Murray-Smith, Variational Sparse Coding, UAI 2019.

    Args:
        n_genes: width of the input.
        n_latent: width of z.
        pseudo_inputs: how many.
        others: see `VSC`.
    """

    def __init__(self, n_genes: int, n_latent: int, *, pseudo_inputs: int, **others: Any) -> None:
        super().__init__(n_genes, n_latent, **others)
        self.pseudo = nn.Parameter(nn.init.xavier_normal_(torch.empty(pseudo_inputs, n_genes)))
        self.selector = GeneLinear(n_genes, pseudo_inputs)

    def _kl(
        self, x: Cells, mu: Tensor, logvar: Tensor, log_gamma: Tensor, progress: float
    ) -> Tensor:
        weights = self.selector(x).softmax(1)  # (n_cells, n_pseudo)
        prior = self.posterior(self.pseudo, None, progress)
        kl = kl_spike_slabs((mu, logvar, log_gamma), prior)  # (n_cells, n_pseudo, n_latent)
        gamma = (weights @ prior[2].exp()).mean()
        expected: Tensor = (weights[:, :, None] * kl).sum(1).mean(0)
        return expected + kl_bernoulli(gamma.log(), self.alpha)
