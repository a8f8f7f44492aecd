"""The models by name."""

from typing import Any

import torch

from scvae_cli.models.autoencoder import Autoencoder
from scvae_cli.models.linear import PCA, RandomProjection
from scvae_cli.models.model import Model
from scvae_cli.models.variational import BetaVAE
from scvae_cli.models.vsc import VSC, PseudoVSC

MODELS: dict[str, type[Model]] = {
    "ae": Autoencoder,
    "vae": BetaVAE,
    "vsc": VSC,
    "vsc_uai": PseudoVSC,
    "pca": PCA,
    "projection": RandomProjection,
}


def build(name: str, n_genes: int, n_latent: int, *, seed: int, **options: Any) -> Model:
    """Build a model with fresh weights.

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
