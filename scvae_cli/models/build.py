"""The models of the report, and controls. Each owns its loss and its embedding."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.decomposition import PCA as SklearnPCA
from torch import Generator, Tensor, nn
from torch.nn.functional import logsigmoid

from scvae_cli.models.likelihoods import Likelihood
from scvae_cli.models.losses import (
    kl_bernoulli,
    kl_normal,
    kl_spike_slab,
    kl_spike_slabs,
    squared_error,
)
from scvae_cli.models.sparse import Cells, GeneLinear, dense, reconstruction_error


class Loss(NamedTuple):
    """Terms of a loss, averaged over the cells of a batch: total = reconstruction + beta * kl.

    `monitors` (n_monitors,) is what else is worth watching; `monitors(model)` names it.
    """

    total: Tensor
    reconstruction: Tensor
    kl: Tensor
    monitors: Tensor


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

    def loss(
        self, x: Cells, generator: Generator, counts: Cells | None = None, done: float = 1.0
    ) -> Loss:
        """How badly x (n_cells, n_genes) comes back; nothing else but counts is used."""
        reconstruction = _error(x, counts, self.decoder, self.likelihood, self.encoder(x))
        return _plain(reconstruction)

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
        self.n_latent = n_latent
        self.logvar_scale = {"log_sigma": 2.0, "log_variance": 1.0}[sigma]
        self.encoder = nn.Sequential(*_encoder([n_genes, *encoder], first_activation))
        self.mu = _head(encoder[-1], branch, n_latent)
        self.sigma = _head(encoder[-1], branch, n_latent)
        self.decoder = _decoder([n_latent, *decoder, n_genes])
        self.likelihood = _likelihood(likelihood, n_genes, decoder[-1])

    def _loss(self, reconstruction: Tensor, kl: Tensor, *others: Tensor) -> Loss:
        """The terms, from the KL of each latent (n_latent,) and numbers to watch beside it."""
        monitors = torch.cat([torch.stack(others), kl]) if others else kl
        total = reconstruction + self.beta * kl.sum()
        return Loss(total, reconstruction, kl.sum(), monitors)


class BetaVAE(_Variational):
    """beta-VAE (report 2.2, 2.4.2): z ~ N(mu, sigma^2), loss = squared error + beta * KL."""

    def posterior(self, x: Cells) -> tuple[Tensor, Tensor]:
        """Mu and log sigma^2, each (n_cells, n_latent), of x (n_cells, n_genes)."""
        h = self.encoder(x)
        return self.mu(h), self.logvar_scale * self.sigma(h)

    def loss(
        self, x: Cells, generator: Generator, counts: Cells | None = None, done: float = 1.0
    ) -> Loss:
        """The terms at one posterior sample per cell of x, and counts (n_cells, n_genes)."""
        mu, logvar = self.posterior(x)
        z = _sample_normal(mu, logvar, generator)
        reconstruction = _error(x, counts, self.decoder, self.likelihood, z)
        return self._loss(reconstruction, kl_normal(mu, logvar).mean(0))

    def embed(self, x: Cells, kind: str, generator: Generator) -> Tensor:
        """(n_cells, n_latent): mu for `mean` and `mu`, one draw for `sample`."""
        mu, logvar = self.posterior(x)
        return _sample_normal(mu, logvar, generator) if kind == "sample" else mu


class VSC(_Variational):
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
        c: steepness of the relaxed spike, as training starts,
        c_end: and as it ends, reached in a straight line; None where it stays.
        alpha: prior probability of the slab.
        gate: `relu` or `sigmoid`: how the third head gives gamma.
        spike_warmup: share of the training over which mu and log sigma^2 rise from 0, the prior's,
            to what the heads give, so that gates are learnt first (the UAI paper's warm-up).
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
        c_end: float | None,
        alpha: float,
        gate: str,
        spike_warmup: float,
        **shared: Any,
    ) -> None:
        super().__init__(n_genes, n_latent, encoder=encoder, branch=branch, **shared)
        self.c, self.c_end, self.alpha = c, c if c_end is None else c_end, alpha
        self.spike_warmup = spike_warmup
        self.log_gamma = {"relu": lambda v: -torch.relu(-v), "sigmoid": logsigmoid}[gate]
        self.gate = _head(encoder[-1], branch, n_latent)

    def posterior(self, x: Cells, done: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """Mu, log sigma^2 and log gamma, each (n_cells, n_latent), of x (n_cells, n_genes).

        `done` is the share of the training that is over.
        """
        h = self.encoder(x)
        warm = min(1.0, done / self.spike_warmup) if self.spike_warmup else 1.0
        logvar = self.logvar_scale * self.sigma(h)
        return warm * self.mu(h), warm * logvar, self.log_gamma(self.gate(h))

    def sample(
        self,
        mu: Tensor,
        logvar: Tensor,
        log_gamma: Tensor,
        generator: Generator,
        done: float = 1.0,
    ) -> Tensor:
        """One draw of z (n_cells, n_latent) from the relaxed posterior."""
        slab = _sample_normal(mu, logvar, generator)
        eta = torch.rand(mu.shape, generator=generator, dtype=mu.dtype, device=mu.device)
        c = self.c + done * (self.c_end - self.c)
        return torch.sigmoid(c * (eta - 1.0 + log_gamma.exp())) * slab

    def loss(
        self, x: Cells, generator: Generator, counts: Cells | None = None, done: float = 1.0
    ) -> Loss:
        """The terms at one posterior sample per cell of x, and counts (n_cells, n_genes)."""
        mu, logvar, log_gamma = self.posterior(x, done)
        z = self.sample(mu, logvar, log_gamma, generator, done)
        reconstruction = _error(x, counts, self.decoder, self.likelihood, z)
        kl = self._kl(x, mu, logvar, log_gamma, done)
        dead = (log_gamma == 0).to(mu.dtype).mean()
        return self._loss(reconstruction, kl, log_gamma.exp().mean(), dead)

    def embed(self, x: Cells, kind: str, generator: Generator) -> Tensor:
        """(n_cells, n_latent): gamma * mu for `mean`, mu for `mu`, one draw for `sample`."""
        mu, logvar, log_gamma = self.posterior(x)
        if kind == "sample":
            return self.sample(mu, logvar, log_gamma, generator)
        return log_gamma.exp() * mu if kind == "mean" else mu

    def _kl(self, x: Cells, mu: Tensor, logvar: Tensor, log_gamma: Tensor, done: float) -> Tensor:
        """Of each latent (n_latent,), averaged over cells."""
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

    def _kl(self, x: Cells, mu: Tensor, logvar: Tensor, log_gamma: Tensor, done: float) -> Tensor:
        chosen = self.selector(x).softmax(1)  # (n_cells, n_pseudo)
        theirs = self.posterior(self.pseudo, done)
        kl = kl_spike_slabs((mu, logvar, log_gamma), theirs)  # (n_cells, n_pseudo, n_latent)
        on = (chosen @ theirs[2].exp()).mean()
        expected: Tensor = (chosen[:, :, None] * kl).sum(1).mean(0)
        return expected + kl_bernoulli(on.log(), self.alpha)


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

    def loss(
        self, x: Cells, generator: Generator, counts: Cells | None = None, done: float = 1.0
    ) -> Loss:
        """Squared error of x (n_cells, n_genes); nothing else is used."""
        x_hat = self.embed(x, "mean", generator) @ self.components + self.mean
        return _plain(squared_error(dense(x), x_hat).mean())

    def embed(self, x: Cells, kind: str, generator: Generator) -> Tensor:
        """The code z (n_cells, n_latent) of x (n_cells, n_genes); every kind is the same."""
        return (dense(x) - self.mean) @ self.components.T


class RandomProjection(PCA):
    """A control that learns nothing: as PCA, on random orthonormal directions."""

    def solve(self, x: csr_array | np.ndarray, seed: int) -> None:
        """Sets mean from x (n_cells, n_genes), and components from the seed alone."""
        n_latent, n_genes = self.components.shape
        drawn = np.random.default_rng(seed).normal(size=(n_genes, n_latent))
        self.mean.copy_(torch.from_numpy(np.ravel(x.mean(axis=0))))
        self.components.copy_(torch.from_numpy(np.linalg.qr(drawn)[0].T))


Model = Autoencoder | BetaVAE | VSC | PCA
MODELS: dict[str, type[Model]] = {
    "ae": Autoencoder,
    "vae": BetaVAE,
    "vsc": VSC,
    "vsc_uai": PseudoVSC,
    "pca": PCA,
    "projection": RandomProjection,
}


def monitors(model: Model) -> list[str]:
    """Names of what a loss of this model has to watch: the KL of each latent, and VSC's gates."""
    if not isinstance(model, BetaVAE | VSC):
        return []
    gates = ["gamma", "dead_gates"] if isinstance(model, VSC) else []
    return [*gates, *(f"kl_z{i}" for i in range(1, model.n_latent + 1))]


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


def _plain(reconstruction: Tensor) -> Loss:
    """The loss of a model without a KL."""
    zero = torch.zeros_like(reconstruction)
    return Loss(reconstruction, reconstruction, zero, zero.new_empty(0))


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
