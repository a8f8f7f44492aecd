"""What is wrong with a training that ended, though its loss may look fine."""

import numpy as np
import torch
from scipy.sparse import csr_array

from scvae_cli.analysis.tsne import varies
from scvae_cli.models.build import VSC, BetaVAE, Model
from scvae_cli.models.losses import ACTIVE, kl_normal, kl_spike_slab
from scvae_cli.models.sparse import take


@torch.inference_mode()
def diagnose(
    model: Model,
    x: csr_array | np.ndarray,
    latent: np.ndarray,
    *,
    batch_size: int,
    device: torch.device,
) -> list[str]:
    """What a person should know of the latent space before believing its scores.

    Args:
        model: trained, on `device`.
        x: (n_cells, n_genes) float32 values.
        latent: (n_cells, n_latent), as embedded.
        batch_size: cells at a time.
        device: where to compute.

    Returns:
        A line for each finding: posterior collapse, features that never vary, gates of VSC that
        are 1 for every cell, where they have no gradient.
    """
    n_latent = latent.shape[1]
    found = []
    constant = int((~varies(latent)).sum())
    if constant:
        found.append(f"{constant} of {n_latent} latent features are the same for every cell")
    if not isinstance(model, BetaVAE | VSC):
        return found
    kl = torch.zeros(n_latent)
    gates = torch.zeros(n_latent)  # cells for which each gate is exactly 1
    for index in torch.arange(len(latent)).split(batch_size):
        batch = take(x, index.numpy(), device)
        if isinstance(model, VSC):
            mu, logvar, log_gamma = model.posterior(batch)
            kl += kl_spike_slab(mu, logvar, log_gamma, model.alpha).sum(0).cpu()
            gates += (log_gamma == 0).sum(0).cpu()
        else:
            kl += kl_normal(*model.posterior(batch)).sum(0).cpu()
    highest = float(kl.max()) / len(latent)
    if highest < ACTIVE:
        found.append(
            f"posterior collapse: the KL of every latent feature is below {ACTIVE} nats, so "
            "that none tells of the cells; a smaller beta or more epochs may help"
        )
    dead = int((gates == len(latent)).sum())
    if dead:
        found.append(f"{dead} of {n_latent} latent features are on for every cell: gates of 1")
    return found
