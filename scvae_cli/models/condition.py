"""What networks are told of a cell beside its genes."""

import numpy as np
import torch
from torch import Tensor, nn

from scvae_cli.covariates import Covariates


class Condition(nn.Module):
    """Turns covariates into what the layers of a network get beside their inputs.

    Args:
        covariates: of the cells to train on, or of none where weights are read from a file.
        embedding: width of a learnt embedding of each batch column; None for one-hot columns.

    Attributes:
        width: of what the layers get.
        n_batches: number of one-hot columns, which come first.
        usual: (n_columns,) the mean of the cells that were trained on, which stands for covariates
            that are not given.
    """

    usual: Tensor

    def __init__(self, covariates: Covariates, embedding: int | None) -> None:
        super().__init__()
        self.sizes = covariates.sizes
        self.n_batches, self.n_numbers = sum(self.sizes), len(covariates.names)
        self.register_buffer("usual", torch.from_numpy(covariates.usual))
        self.embeddings = nn.ModuleList()
        if embedding is not None:
            self.embeddings.extend(nn.Linear(n, embedding, bias=False) for n in self.sizes)
        of_batches = self.n_batches if embedding is None else embedding * len(self.sizes)
        self.width = of_batches + self.n_numbers

    def rows(self, covariates: Tensor | None, n_cells: int) -> Tensor:
        """Return the covariates (n_cells, n_columns), or the usual ones of as many cells."""
        return self.usual.expand(n_cells, -1) if covariates is None else covariates

    def forward(self, covariates: Tensor | None, n_cells: int) -> Tensor:
        """Compute (n_cells, width) from covariates (n_cells, n_columns)."""
        rows = self.rows(covariates, n_cells)
        if not self.embeddings:
            return rows
        *batches, numbers = rows.split([*self.sizes, self.n_numbers], 1)
        parts = [layer(part) for layer, part in zip(self.embeddings, batches, strict=True)]
        return torch.cat([*parts, numbers], 1)


def take_rows(
    covariates: Covariates | None, index: np.ndarray, device: torch.device
) -> Tensor | None:
    """Return the covariates (n, n_columns) of some cells, if there are any."""
    return None if covariates is None else torch.from_numpy(covariates.rows(index)).to(device)
