"""What is wrong with a training that ended, though its loss may look fine."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from scvae_cli.analysis.tsne import varies
from scvae_cli.covariates import Covariates
from scvae_cli.models.batches import Batches, place
from scvae_cli.models.model import Model
from scvae_cli.models.sparse import Cells


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
    return findings + model.diagnose(_Passes(place(x, None, covariates, device), batch_size))


@dataclass(frozen=True)
class _Passes:
    """Values and covariates of all cells, in batches that are made whenever they are asked for."""

    cells: Batches
    batch_size: int

    def __iter__(self) -> Iterator[tuple[Cells, Tensor | None]]:
        return ((batch.x, batch.covariates) for batch in self.cells.in_order(self.batch_size))
