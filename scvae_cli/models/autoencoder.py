"""Encoder-decoder networks, and the plain autoencoder."""

import torch
from torch import Generator, Tensor, nn

from scvae_cli.models import layers
from scvae_cli.models.likelihoods import Likelihood
from scvae_cli.models.model import Loss, Model
from scvae_cli.models.sparse import Cells, reconstruction_error


class EncoderDecoder(Model):
    """A model whose encoder and decoder are networks.

    Attributes:
        encoder: from genes to what the model makes z of.
        decoder: from z to genes; its last layer is linear.
        likelihood: of counts given z; None where the error is the squared error of x.
    """

    encoder: nn.Sequential
    decoder: nn.Sequential
    likelihood: Likelihood | None

    def _build_decoder(self, widths: list[int], likelihood: str) -> None:
        """Build the decoder and the likelihood.

        Args:
            widths: n_latent, of the hidden layers, and n_genes.
            likelihood: of a cell given z: `gaussian`, which is the squared error of x, or
                `poisson`, `nb`, `zinb` of its counts (see `likelihoods`).
        """
        self.decoder = layers.decoder(widths)
        gaussian = likelihood == "gaussian"
        self.likelihood = None if gaussian else Likelihood(likelihood, widths[-1], widths[-2])

    def _reconstruction(self, x: Cells, counts: Cells | None, z: Tensor) -> Tensor:
        """Compute the squared error of x, or -log P of counts, given z, averaged over cells."""
        output = self.decoder[-1]
        assert isinstance(output, nn.Linear)
        h = self.decoder[:-1](z)
        if self.likelihood is None:
            return reconstruction_error(x, h, output).mean()
        assert counts is not None
        error: Tensor = self.likelihood(counts, h, output)
        return error

    def decode(self, z: Tensor, target_sum: float | None) -> Tensor:
        """Compute the expression (n, n_genes) at z (n, n_latent); see `Model`."""
        x: Tensor = self.decoder(z)
        if self.likelihood is None:
            return x
        assert target_sum is not None
        return torch.log1p(target_sum * torch.softmax(x, 1))


class Autoencoder(EncoderDecoder):
    """Deep autoencoder (report 2.1, 2.4.1).

    Args:
        n_genes: width of the input.
        n_latent: width of z.
        encoder: widths between input and z.
        decoder: widths between z and output.
        first_activation: `linear` or `relu`, after the encoder's first layer.
        latent_activation: `linear` or `relu`, on z.
        likelihood: `gaussian`, `poisson`, `nb` or `zinb`; see `EncoderDecoder`.
    """

    def __init__(
        self,
        n_genes: int,
        n_latent: int,
        *,
        encoder: list[int],
        decoder: list[int],
        first_activation: str,
        latent_activation: str,
        likelihood: str,
    ) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *layers.encoder([n_genes, *encoder], first_activation),
            nn.Linear(encoder[-1], n_latent),
            *layers.activation(latent_activation),
        )
        self._build_decoder([n_latent, *decoder, n_genes], likelihood)

    def loss(
        self, x: Cells, generator: Generator, counts: Cells | None = None, progress: float = 1.0
    ) -> Loss:
        """Compute the reconstruction error of x (n_cells, n_genes), or of counts; see `Model`."""
        return Loss.without_kl(self._reconstruction(x, counts, self.encoder(x)))

    def embed(self, x: Cells, kind: str, generator: Generator) -> Tensor:
        """Compute z (n_cells, n_latent) of x (n_cells, n_genes); every kind is the same."""
        z: Tensor = self.encoder(x)
        return z
