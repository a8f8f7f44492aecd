"""From cells to latent space."""

import numpy as np
import torch
from scipy.sparse import csr_array

from scvae_cli.covariates import Covariates
from scvae_cli.errors import Kind, RunError
from scvae_cli.models.batches import place
from scvae_cli.models.model import Model
from scvae_cli.rows import gathered


@torch.inference_mode()
def embed(
    model: Model,
    x: csr_array | np.ndarray,
    covariates: Covariates | None = None,
    *,
    kind: str,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> np.ndarray:
    """Compute each cell's place in the latent space.

    Args:
        model: trained, on `device`.
        x: (n_cells, n_genes) float32 values.
        covariates: of the cells, which only encoders that get them need.
        kind: `mean` of the posterior (gamma * mu for VSC), one `sample` of it, or ungated `mu`.
        batch_size: cells at a time.
        seed: of the sample.
        device: where to compute.

    Returns:
        (n_cells, n_latent) float32.

    Raises:
        RunError: a value is not finite.
    """
    model.eval()
    noise = torch.Generator(device).manual_seed(seed)
    batches = place(x, None, covariates, device).in_order(batch_size)
    parts = (model.embed(batch.x, kind, noise, batch.covariates).cpu() for batch in batches)
    latent = gathered((part.numpy() for part in parts), x.shape[0])
    if not np.isfinite(latent).all():
        raise RunError(
            Kind.DIVERGED,
            None,
            "the latent space is not finite: training diverged",
            "try a smaller lr",
        )
    return latent
