"""The models of the report. Each owns its loss and its embedding."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.decomposition import PCA as SklearnPCA
from torch import Generator, Tensor, nn
from torch.nn.functional import logsigmoid

from scvae_cli.batches import Cells, GeneLinear, dense, reconstruction_error
from scvae_cli.likelihoods import Likelihood
from scvae_cli.losses import kl_normal, kl_spike_slab, squared_error


class Loss(NamedTuple):
    """Terms of a loss, averaged over the cells of a batch: total = reconstruction + beta * kl."""

    total: Tensor
    reconstruction: Tensor
    kl: Tensor


class Autoencoder(nn.Module):
    """Deep autoencoder (report 2.1, 2.4.1).

    Args:
        n_genes: width of the input.
        n_latent: width of z.
        encoder: widths between input and z.
        decoder: widths between z and output.
        first_activation: `linear` or `relu`, after the encoder's first layer.
        latent_activation: `linear` or `relu`, on z.
        likelihood: see `_Variational`.
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
            *_encoder([n_genes, *encoder], first_activation),
            nn.Linear(encoder[-1], n_latent),
            *_activation(latent_activation),
        )
        self.decoder = _decoder([n_latent, *decoder, n_genes])
        self.likelihood = _likelihood(likelihood, n_genes, decoder[-1])

    def loss(self, x: Cells, generator: Generator, counts: Cells | None = None) -> Loss:
        """How badly x (n_cells, n_genes) comes back; the generator is not used."""
        reconstruction = _error(x, counts, self.decoder, self.likelihood, self.encoder(x))
        return Loss(reconstruction, reconstruction, torch.zeros_like(reconstruction))

    def embed(self, x: Cells, kind: str, generator: Generator) -> Tensor:
        """The code z (n_cells, n_latent) of x (n_cells, n_genes); every kind is the same."""
        z: Tensor = self.encoder(x)
        return z


class _Variational(nn.Module):
    """What the two variational models share (report 2.4.2): the encoder, two heads, the decoder.

    Args:
        n_genes: width of the input.
        n_latent: width of z.
        beta: weight of the KL term.
        encoder: widths that the heads share.
        branch: width of each head's own hidden layer, or None for heads without one.
        sigma: what the second head gives, `log_sigma` or `log_variance`.
        decoder: widths between z and output.
        first_activation: `linear` or `relu`, after the encoder's first layer.
        likelihood: of a cell given z: `gaussian`, which is the squared error of x, or `poisson`,
            `nb`, `zinb` of its counts (see `likelihoods`).
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
    ) -> None:
        super().__init__()
        self.beta = beta
        self.logvar_scale = {"log_sigma": 2.0, "log_variance": 1.0}[sigma]
        self.encoder = nn.Sequential(*_encoder([n_genes, *encoder], first_activation))
        self.mu = _head(encoder[-1], branch, n_latent)
        self.sigma = _head(encoder[-1], branch, n_latent)
        self.decoder = _decoder([n_latent, *decoder, n_genes])
        self.likelihood = _likelihood(likelihood, n_genes, decoder[-1])


class BetaVAE(_Variational):
    """beta-VAE (report 2.2, 2.4.2): z ~ N(mu, sigma^2), loss = squared error + beta * KL."""

    def posterior(self, x: Cells) -> tuple[Tensor, Tensor]:
        """Mu and log sigma^2, each (n_cells, n_latent), of x (n_cells, n_genes)."""
        h = self.encoder(x)
        return self.mu(h), self.logvar_scale * self.sigma(h)

    def loss(self, x: Cells, generator: Generator, counts: Cells | None = None) -> Loss:
        """The terms at one posterior sample per cell of x, and counts (n_cells, n_genes)."""
        mu, logvar = self.posterior(x)
        z = _sample_normal(mu, logvar, generator)
        reconstruction = _error(x, counts, self.decoder, self.likelihood, z)
        kl = kl_normal(mu, logvar).sum(1).mean()
        return Loss(reconstruction + self.beta * kl, reconstruction, kl)

    def embed(self, x: Cells, kind: str, generator: Generator) -> Tensor:
        """(n_cells, n_latent): mu for `mean` and `mu`, one draw for `sample`."""
        mu, logvar = self.posterior(x)
        return _sample_normal(mu, logvar, generator) if kind == "sample" else mu


class VSC(_Variational):
    """beta-VSC: beta-VAE with a spike-and-slab posterior (report 2.3, 2.4.2).

    z = sigmoid(c (eta - 1 + gamma)) * (mu + sigma eps), eta ~ U(0, 1), eps ~ N(0, 1), and
    log gamma = -ReLU(-v), the report's, or gamma = sigmoid(v), whose gradient never is 0. gamma is
    the probability of the slab, which the report calls spike.
    Tonolini, Jensen & Murray-Smith, Variational Sparse Coding (2019).

    Args:
        n_genes: width of the input.
        n_latent: width of z.
        encoder: widths that the heads share.
        branch: width of each head's own hidden layer, or None for heads without one.
        c: steepness of the relaxed spike.
        alpha: prior probability of the slab.
        gate: `relu` or `sigmoid`: how the third head gives gamma.
        shared: see `_Variational`.
    """

    def __init__(
        self,
        n_genes: int,
        n_latent: int,
        *,
        encoder: list[int],
        branch: int | None,
        c: float,
        alpha: float,
        gate: str,
        **shared: Any,
    ) -> None:
        super().__init__(n_genes, n_latent, encoder=encoder, branch=branch, **shared)
        self.c, self.alpha = c, alpha
        self.log_gamma = {"relu": lambda v: -torch.relu(-v), "sigmoid": logsigmoid}[gate]
        self.gate = _head(encoder[-1], branch, n_latent)

    def posterior(self, x: Cells) -> tuple[Tensor, Tensor, Tensor]:
        """Mu, log sigma^2 and log gamma, each (n_cells, n_latent), of x (n_cells, n_genes)."""
        h = self.encoder(x)
        return self.mu(h), self.logvar_scale * self.sigma(h), self.log_gamma(self.gate(h))

    def sample(
        self, mu: Tensor, logvar: Tensor, log_gamma: Tensor, generator: Generator
    ) -> Tensor:
        """One draw of z (n_cells, n_latent) from the relaxed posterior."""
        slab = _sample_normal(mu, logvar, generator)
        eta = torch.rand(mu.shape, generator=generator, dtype=mu.dtype, device=mu.device)
        return torch.sigmoid(self.c * (eta - 1.0 + log_gamma.exp())) * slab

    def loss(self, x: Cells, generator: Generator, counts: Cells | None = None) -> Loss:
        """The terms at one posterior sample per cell of x, and counts (n_cells, n_genes)."""
        mu, logvar, log_gamma = self.posterior(x)
        z = self.sample(mu, logvar, log_gamma, generator)
        reconstruction = _error(x, counts, self.decoder, self.likelihood, z)
        kl = kl_spike_slab(mu, logvar, log_gamma, self.alpha).sum(1).mean()
        return Loss(reconstruction + self.beta * kl, reconstruction, kl)

    def embed(self, x: Cells, kind: str, generator: Generator) -> Tensor:
        """(n_cells, n_latent): gamma * mu for `mean`, mu for `mu`, one draw for `sample`."""
        mu, logvar, log_gamma = self.posterior(x)
        if kind == "sample":
            return self.sample(mu, logvar, log_gamma, generator)
        return log_gamma.exp() * mu if kind == "mean" else mu


class PCA(nn.Module):
    """The linear baseline: z = (x - mean) @ components.T, solved and not trained.

    Args:
        n_genes: width of the input.
        n_latent: number of components, less than n_genes.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, n_genes: int, n_latent: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_genes))
        self.register_buffer("components", torch.zeros(n_latent, n_genes))

    def solve(self, x: csr_array | np.ndarray, seed: int) -> None:
        """Sets mean and components from x (n_cells, n_genes); scikit-learn's ARPACK, exact."""
        n_latent = len(self.components)
        fit = SklearnPCA(n_latent, svd_solver="arpack", tol=0.0, random_state=seed).fit(x)
        self.mean.copy_(torch.from_numpy(np.ascontiguousarray(fit.mean_)))
        self.components.copy_(torch.from_numpy(np.ascontiguousarray(fit.components_)))

    def loss(self, x: Cells, generator: Generator, counts: Cells | None = None) -> Loss:
        """Squared error of x (n_cells, n_genes); nothing else is used."""
        x_hat = self.embed(x, "mean", generator) @ self.components + self.mean
        reconstruction = squared_error(dense(x), x_hat).mean()
        return Loss(reconstruction, reconstruction, torch.zeros_like(reconstruction))

    def embed(self, x: Cells, kind: str, generator: Generator) -> Tensor:
        """The code z (n_cells, n_latent) of x (n_cells, n_genes); every kind is the same."""
        return (dense(x) - self.mean) @ self.components.T


Model = Autoencoder | BetaVAE | VSC | PCA
MODELS: dict[str, type[Model]] = {"ae": Autoencoder, "vae": BetaVAE, "vsc": VSC, "pca": PCA}


def build(name: str, n_genes: int, n_latent: int, *, seed: int, **options: Any) -> Model:
    """A model with fresh weights.

    Args:
        name: a key of `MODELS`.
        n_genes: width of the input.
        n_latent: width of z.
        seed: of the weights (PyTorch's default initialisation); the global generator is left as
            it was.
        options: arguments of the model's class.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[name](n_genes, n_latent, **options)


def _activation(name: str) -> list[nn.Module]:
    return [nn.ReLU()] if name == "relu" else []


def _layers(widths: list[int]) -> list[nn.Module]:
    """Linear layers through `widths`, ReLU after each."""
    pairs = pairwise(widths)
    return [layer for n_in, n_out in pairs for layer in (nn.Linear(n_in, n_out), nn.ReLU())]


def _encoder(widths: list[int], first_activation: str) -> list[nn.Module]:
    """From genes through `widths`, ReLU after each layer but, if so asked, the first."""
    first = GeneLinear(widths[0], widths[1])
    return [first, *_activation(first_activation), *_layers(widths[1:])]


def _head(n_in: int, branch: int | None, n_out: int) -> nn.Module:
    if branch is None:
        return nn.Linear(n_in, n_out)
    return nn.Sequential(nn.Linear(n_in, branch), nn.ReLU(), nn.Linear(branch, n_out))


def _decoder(widths: list[int]) -> nn.Sequential:
    return nn.Sequential(*_layers(widths[:-1]), nn.Linear(widths[-2], widths[-1]))


def _likelihood(name: str, n_genes: int, width: int) -> Likelihood | None:
    """None for `gaussian`, whose error is of x."""
    return None if name == "gaussian" else Likelihood(name, n_genes, width)


def _error(
    x: Cells,
    counts: Cells | None,
    decoder: nn.Sequential,
    likelihood: Likelihood | None,
    z: Tensor,
) -> Tensor:
    """Squared error of x, or -log P of counts, given z, averaged over cells."""
    output = decoder[-1]
    assert isinstance(output, nn.Linear)
    h = decoder[:-1](z)
    if likelihood is None:
        return reconstruction_error(x, h, output).mean()
    assert counts is not None
    error: Tensor = likelihood(counts, h, output)
    return error


def _sample_normal(mu: Tensor, logvar: Tensor, generator: Generator) -> Tensor:
    eps = torch.randn(mu.shape, generator=generator, dtype=mu.dtype, device=mu.device)
    return mu + (0.5 * logvar).exp() * eps
