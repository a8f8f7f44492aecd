"""What is wrong with a training that ended, though its loss may look fine."""

import numpy as np
import torch
from scipy.sparse import csr_array

from scvae_cli.analysis.tsne import varies
from scvae_cli.covariates import Covariates
from scvae_cli.models.condition import take_rows
from scvae_cli.models.model import Model
from scvae_cli.models.sparse import take


@torch.inference_mode()
def diagnose(
    model: Model,
    x: csr_array | np.ndarray,
    latent: np.ndarray,
    covariates: Covariates | None = None,
    *,
    batch_size: int,
    device: torch.device,
) -> list[str]:
    """Name what a person should know of the latent space before believing its scores.

    Args:
        model: trained, on `device`.
        x: (n_cells, n_genes) float32 values.
        latent: (n_cells, n_latent), as embedded.
        covariates: see `embed`.
        batch_size: cells at a time.
        device: where to compute.

    Returns:
        A line for each finding: features that never vary, and what the model reports.
    """
    findings = []
    if constant := int((~varies(latent)).sum()):
        findings.append(
            f"{constant} of {latent.shape[1]} latent features are the same for every cell"
        )
    indices = [index.numpy() for index in torch.arange(len(latent)).split(batch_size)]
    batches = ((take(x, i, device), take_rows(covariates, i, device)) for i in indices)
    return findings + model.diagnose(batches)
