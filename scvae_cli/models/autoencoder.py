"""Encoder-decoder networks, and the plain autoencoder."""

from typing import NotRequired, TypedDict, Unpack

import torch
from torch import Generator, Tensor, nn

from scvae_cli.covariates import Covariates
from scvae_cli.models import layers
from scvae_cli.models.condition import Condition, batch_effects
from scvae_cli.models.likelihoods import Likelihood
from scvae_cli.models.model import Loss, Model
from scvae_cli.models.sparse import Cells, reconstruction_error
from scvae_cli.rows import Values


class Conditioning(TypedDict):
    """What a network is told of a cell beside its genes.

    Attributes:
        covariates: of the cells, if they have any.
        encode_covariates: whether the encoder gets them too.
        batch_embedding: see `Condition`.
        dispersion: `gene`, or `gene-batch` where dispersions differ between batches.
    """

    covariates: NotRequired[Covariates | None]
    encode_covariates: NotRequired[bool]
    batch_embedding: NotRequired[int | None]
    dispersion: NotRequired[str]


class EncoderDecoder(Model):
    """A model whose encoder and decoder are networks.

    Where cells have covariates (a batch, say), the decoder gets them beside z, and once more
    beside what goes into its last layer, so that z need not tell of them: Sohn, Lee & Yan,
    Learning structured output representation (2015); scVI (Lopez et al., 2018).
    The encoder gets them on request only: without, it needs nothing of new cells but their genes.

    Attributes:
        encoder: from genes to what the model makes z of.
        decoder: from z to genes; its last layer is linear.
        likelihood: of counts given z; None where the error is the squared error of x.
        condition: of the covariates, if there are any.
        encode: from covariates to what is added to the outputs of the encoder's first layer, if
            the encoder gets them.
    """

    encoder: nn.Sequential
    decoder: nn.Sequential
    likelihood: Likelihood | None
    condition: Condition | None
    encode: nn.Linear | None

    def _build_decoder(
        self, widths: list[int], likelihood: str, **conditioning: Unpack[Conditioning]
    ) -> None:
        """Build the decoder and the likelihood, and what covariates need, if there are any.

        Args:
            widths: n_latent, of the hidden layers, and n_genes.
            likelihood: of a cell given z: `gaussian`, which is the squared error of x, or
                `poisson`, `nb`, `zinb` of its counts (see `likelihoods`).
            conditioning: see `Conditioning`.
        """
        self.condition, self.encode, extra, n_batches = None, None, 0, 0
        if (covariates := conditioning.get("covariates")) is not None:
            self.condition = Condition(covariates, conditioning.get("batch_embedding"))
            extra = self.condition.width
            if conditioning.get("encode_covariates"):
                first = self.encoder[0].bias
                assert isinstance(first, Tensor)
                self.encode = nn.Linear(extra, len(first), bias=False)
            if conditioning.get("dispersion") == "gene-batch":
                n_batches = self.condition.n_batches
        self.decoder = layers.decoder(widths, extra)
        gaussian = likelihood == "gaussian"
        shape = widths[-1], widths[-2] + extra, n_batches
        self.likelihood = None if gaussian else Likelihood(likelihood, *shape)

    @property
    def compiles(self) -> bool:
        """Return whether long trainings compute in compiled code; see `Model`."""
        return self.likelihood is not None and self.likelihood.name == "nb"

    @torch.no_grad()
    def begin(self, x: Values, counts: Values | None, covariates: Covariates | None) -> None:
        """Let the last layer begin with what batches do to each gene; see `Model`.

        Else z tells of batches before the decoder has learnt them, and it takes thousands of
        steps until z forgets.
        """
        if self.condition is None or covariates is None or not covariates.keys:
            return
        values = x if self.likelihood is None else counts
        assert values is not None
        effects = batch_effects(values, covariates, of_counts=self.likelihood is not None)
        weights = self.condition.effects_as_weights(effects)
        output = self.decoder[-1]
        assert isinstance(output, nn.Linear)
        at = output.weight.shape[1] - self.condition.width
        output.weight[:, at : at + weights.shape[1]] = weights.to(output.weight.device)

    def _encoded(self, x: Cells, covariates: Tensor | None) -> Tensor:
        """Compute the encoder's outputs (n_cells, width)."""
        h = self.encoder[0](x)
        if self.encode is not None:
            assert self.condition is not None
            h = h + self.encode(self.condition(covariates, len(h)))
        encoded: Tensor = self.encoder[1:](h)
        return encoded

    def hidden(self, z: Tensor, covariates: Tensor | None) -> Tensor:
        """Compute what goes into the decoder's last layer at z (n, n_latent), (n, width)."""
        if self.condition is None:
            h: Tensor = self.decoder[:-1](z)
            return h
        extra = self.condition(covariates, len(z))
        return torch.cat([self.decoder[:-1](torch.cat([z, extra], 1)), extra], 1)

    def _reconstruction(
        self, x: Cells, counts: Cells | None, z: Tensor, covariates: Tensor | None
    ) -> Tensor:
        """Compute the squared error of x, or -log P of counts, given z, averaged over cells."""
        output = self.decoder[-1]
        assert isinstance(output, nn.Linear)
        h = self.hidden(z, covariates)
        if self.likelihood is None:
            return reconstruction_error(x, h, output).mean()
        assert counts is not None
        batches = None
        if self.likelihood.n_batches:
            assert self.condition is not None
            batches = self.condition.rows(covariates, len(z))[:, : self.likelihood.n_batches]
        error: Tensor = self.likelihood(counts, h, output, batches)
        return error

    def decode(
        self, z: Tensor, target_sum: float | None, covariates: Tensor | None = None
    ) -> Tensor:
        """Compute the expression (n, n_genes) at z (n, n_latent); see `Model`."""
        x: Tensor = self.decoder[-1](self.hidden(z, covariates))
        if self.likelihood is None:
            return x
        assert target_sum is not None
        return torch.log1p(target_sum * torch.softmax(x, 1))

    def shares(
        self, z: Tensor, target_sum: float | None, covariates: Tensor | None = None
    ) -> Tensor:
        """Compute the shares of genes (n, n_genes) in the molecules of cells at z; see `Model`."""
        if self.likelihood is None or self.likelihood.name != "zinb":
            return super().shares(z, target_sum, covariates)
        h = self.hidden(z, covariates)
        shown = torch.sigmoid(-self.likelihood.dropout(h))
        rates = torch.softmax(self.decoder[-1](h), 1) * shown
        return rates / rates.sum(1, keepdim=True).clamp_min(1e-9)


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
        conditioning: see `Conditioning`.
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
        **conditioning: Unpack[Conditioning],
    ) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *layers.encoder([n_genes, *encoder], first_activation),
            nn.Linear(encoder[-1], n_latent),
            *layers.activation(latent_activation),
        )
        self._build_decoder([n_latent, *decoder, n_genes], likelihood, **conditioning)

    def loss(
        self,
        x: Cells,
        generator: Generator,
        counts: Cells | None = None,
        progress: float = 1.0,
        covariates: Tensor | None = None,
    ) -> Loss:
        """Compute the reconstruction error of x (n_cells, n_genes), or of counts; see `Model`."""
        z = self._encoded(x, covariates)
        return Loss.without_kl(self._reconstruction(x, counts, z, covariates))

    def embed(
        self, x: Cells, kind: str, generator: Generator, covariates: Tensor | None = None
    ) -> Tensor:
        """Compute z (n_cells, n_latent) of x (n_cells, n_genes); every kind is the same."""
        return self._encoded(x, covariates)
