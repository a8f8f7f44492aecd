"""Variational models: what they share, and the beta-VAE."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Unpack

import torch
from torch import Generator, Tensor, nn

from scvae_cli.models import layers
from scvae_cli.models.autoencoder import Conditioning, EncoderDecoder
from scvae_cli.models.losses import ACTIVE, kl_normal
from scvae_cli.models.model import Loss
from scvae_cli.models.sparse import Cells
from scvae_cli.models.team import draw


class Variational(EncoderDecoder):
    """A model with a posterior (report 2.4.2): an encoder, heads for mu and sigma, a decoder.

    Args:
        n_genes: width of the input.
        n_latent: width of z.
        beta: weight of the KL term.
        encoder: widths that the heads share.
        branch: width of each head's own hidden layer, or None for heads without one.
        sigma: what the second head gives, `log_sigma` or `log_variance`.
        decoder: widths between z and output.
        first_activation: `linear` or `relu`, after the encoder's first layer.
        likelihood: `gaussian`, `poisson`, `nb` or `zinb`; see `EncoderDecoder`.
        conditioning: see `Conditioning`.
    """

    def __init__(
        self,
        n_genes: int,
        n_latent: int,
        *,
        beta: float,
        encoder: list[int],
        branch: int | None,
        sigma: str,
        decoder: list[int],
        first_activation: str,
        likelihood: str,
        **conditioning: Unpack[Conditioning],
    ) -> None:
        super().__init__()
        self.beta = beta
        self.n_latent = n_latent
        self.logvar_scale = {"log_sigma": 2.0, "log_variance": 1.0}[sigma]
        self.encoder = nn.Sequential(*layers.encoder([n_genes, *encoder], first_activation))
        self.mu = layers.head(encoder[-1], branch, n_latent)
        self.sigma = layers.head(encoder[-1], branch, n_latent)
        self._build_decoder([n_latent, *decoder, n_genes], likelihood, **conditioning)

    @property
    def monitors(self) -> list[str]:
        """Name the KL of each latent."""
        return [f"kl_z{i}" for i in range(1, self.n_latent + 1)]

    @abstractmethod
    def posterior(self, x: Cells, covariates: Tensor | None = None) -> tuple[Tensor, ...]:
        """Compute mu, log sigma^2, ..., each (n_cells, n_latent), of x (n_cells, n_genes).

        Args:
            x: values.
            covariates: see `Model.loss`.
        """

    def _loss(self, reconstruction: Tensor, kl: Tensor, *others: Tensor) -> Loss:
        """Put the terms together.

        Args:
            reconstruction: the error, averaged over cells.
            kl: (n_latent,) of each latent, averaged over cells.
            others: what `monitors` names before the KLs.
        """
        monitors = torch.cat([torch.stack(others), kl]) if others else kl
        total = reconstruction + self.beta * kl.sum()
        return Loss(total, reconstruction, kl.sum(), monitors)


class BetaVAE(Variational):
    """beta-VAE (report 2.2, 2.4.2): z ~ N(mu, sigma^2), loss = squared error + beta * KL."""

    def posterior(self, x: Cells, covariates: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute mu and log sigma^2, each (n_cells, n_latent), of x (n_cells, n_genes)."""
        h = self._encoded(x, covariates)
        return self.mu(h), self.logvar_scale * self.sigma(h)

    def loss(
        self,
        x: Cells,
        generator: Generator,
        counts: Cells | None = None,
        progress: float = 1.0,
        covariates: Tensor | None = None,
    ) -> Loss:
        """Compute the terms of x, and counts (n_cells, n_genes); see `Model`."""
        mu, logvar = self.posterior(x, covariates)
        z = sample_normal(mu, logvar, generator)
        reconstruction = self._reconstruction(x, counts, z, covariates)
        return self._loss(reconstruction, kl_normal(mu, logvar).mean(0))

    def embed(
        self, x: Cells, kind: str, generator: Generator, covariates: Tensor | None = None
    ) -> Tensor:
        """Compute (n_cells, n_latent): mu for `mean` and `mu`, one draw for `sample`."""
        mu, logvar = self.posterior(x, covariates)
        return sample_normal(mu, logvar, generator) if kind == "sample" else mu

    def diagnose(self, batches: Iterable[tuple[Cells, Tensor | None]]) -> list[str]:
        """Report posterior collapse."""
        kl, n_cells = torch.zeros(self.n_latent), 0
        for x, covariates in batches:
            mu, logvar = self.posterior(x, covariates)
            kl += kl_normal(mu, logvar).sum(0).cpu()
            n_cells += len(mu)
        return report_collapse(kl, n_cells)


def sample_normal(mu: Tensor, logvar: Tensor, generator: Generator) -> Tensor:
    """Draw from N(mu, sigma^2), elementwise."""
    return mu + (0.5 * logvar).exp() * draw(torch.randn, mu, generator)


def report_collapse(kl: Tensor, n_cells: int) -> list[str]:
    """Report latents whose posterior is the prior whatever the cell, if half or more: one line.

    Args:
        kl: (n_latent,) of each latent, summed over cells.
        n_cells: how many.
    """
    without = int((kl / n_cells < ACTIVE).sum())
    if without == len(kl):
        return [
            f"posterior collapse: the KL of every latent feature is below {ACTIVE} nats, so "
            "that none tells of the cells; a smaller beta or more epochs may help"
        ]
    if without >= len(kl) / 2:
        return [
            f"{without} of {len(kl)} latent features tell nothing of the cells (their KL is below "
            f"{ACTIVE} nats); a smaller beta or latent_dim={len(kl) - without} may help"
        ]
    return []
