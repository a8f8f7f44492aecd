"""The models by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from scvae_cli.covariates import Covariates
from scvae_cli.errors import InputError, Kind
from scvae_cli.models.autoencoder import Autoencoder
from scvae_cli.models.ensemble import Ensemble
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


def build(
    name: str,
    n_genes: int,
    n_latent: int,
    *,
    seed: int,
    others: Sequence[int] = (),
    covariates: Covariates | None = None,
    **options: Any,
) -> Model:
    """Build a model with fresh weights, or an ensemble of models.

    Args:
        name: a key of `MODELS`.
        n_genes: width of the input.
        n_latent: width of z.
        seed: of the weights (PyTorch's default initialisation); the global generator is left as
            it was.
        others: seeds of the further members of an ensemble; none for a single model.
        covariates: of the cells to train on, if they have any; models in closed form ignore them.
        options: arguments of the model's class.
    """
    if covariates is not None and not MODELS[name].is_solved:
        options["covariates"] = covariates
    members = []
    for own in (seed, *others):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(own)
            members.append(MODELS[name](n_genes, n_latent, **options))
    return Ensemble(members, n_latent) if others else members[0]


def restore(contents: bytes, path: Path, **options: Any) -> Model:
    """Build a model, or an ensemble, and give it the weights of a safetensors file.

    Args:
        contents: of the file.
        path: where they come from.
        options: arguments of `build`, but for `seed`.

    Raises:
        InputError: the file is damaged, or its weights are those of another model.
    """
    try:
        weights = load(contents)
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(Kind.DAMAGED, path, f"damaged ({error})") from error
    with torch.device("meta"):  # takes no memory, whatever the settings say
        model = build(seed=0, **options)
    expected = {name: (tensor.shape, tensor.dtype) for name, tensor in model.state_dict().items()}
    if {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()} != expected:
        raise InputError(Kind.DIFFERS, path, "its weights are not those of config.yaml's model")
    model.load_state_dict(weights, assign=True)
    return model.eval()
