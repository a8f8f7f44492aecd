"""What networks are told of a cell beside its genes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from scvae_cli.covariates import Covariates
from scvae_cli.rows import Values, group_sums


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
        widths = [] if embedding is None else [embedding] * len(self.sizes)
        self.embeddings = nn.ParameterList(
            torch.randn(n, width) for n, width in zip(self.sizes, widths, strict=bool(widths))
        )
        of_batches = self.n_batches if embedding is None else embedding * len(self.sizes)
        self.width = of_batches + self.n_numbers

    def effects_as_weights(self, effects: Sequence[np.ndarray]) -> Tensor:
        """Return weights (n_genes, n) of the columns of batches that give these effects.

        Args:
            effects: see `batch_effects`. Embeddings are set so that as much of them is given as
                their width allows.
        """
        if not self.embeddings:
            return torch.from_numpy(np.concatenate(effects).T).float()
        parts = []
        for table, effect in zip(self.embeddings, effects, strict=True):
            u, s, v = np.linalg.svd(effect, full_matrices=False)
            width = min(table.shape[1], len(s))
            root = np.sqrt(s[:width])
            weights = torch.zeros(effect.shape[1], table.shape[1])
            weights[:, :width] = torch.from_numpy(v[:width].T * root)
            table[:, :width] = torch.from_numpy(u[:, :width] * root)
            parts.append(weights)
        return torch.cat(parts, 1)

    def rows(self, covariates: Tensor | None, n_cells: int) -> Tensor:
        """Return the covariates (n_cells, n_columns), or the usual ones of as many cells."""
        return self.usual.expand(n_cells, -1) if covariates is None else covariates

    def forward(self, covariates: Tensor | None, n_cells: int) -> Tensor:
        """Compute (n_cells, width) from covariates (n_cells, n_columns)."""
        rows = self.rows(covariates, n_cells)
        if not self.embeddings:
            return rows
        *batches, numbers = rows.split([*self.sizes, self.n_numbers], 1)
        parts = [part @ table for part, table in zip(batches, self.embeddings, strict=True)]
        return torch.cat([*parts, numbers], 1)


def take_rows(
    covariates: Covariates | None, index: np.ndarray, device: torch.device
) -> Tensor | None:
    """Return the covariates (n, n_columns) of some cells, if there are any."""
    return None if covariates is None else torch.from_numpy(covariates.rows(index)).to(device)


def batch_effects(values: Values, covariates: Covariates, *, of_counts: bool) -> list[np.ndarray]:
    """Estimate how each batch changes each gene, one column of batches after the other.

    Args:
        values: (n_cells, n_genes) counts, or other values.
        covariates: of the cells.
        of_counts: whether effects are logs of ratios of rates, and not differences of means. One
            molecule more on both sides keeps those of rare genes near 0.

    Returns:
        For each column the effects (n_values, n_genes) that earlier columns do not explain.
    """
    # Some batches may have no cell here: all of theirs may be held out.
    _, first, batch = np.unique(covariates.batches[0], return_index=True, return_inverse=True)
    sums = group_sums(values, batch).astype(np.float64)
    sizes = sums.sum(1) if of_counts else np.bincount(batch)  # molecules, or cells
    usual = sums.sum(0) / sizes.sum()
    explained = np.zeros_like(sums)
    effects = []
    for codes, n_values in zip(covariates.codes.T, covariates.sizes, strict=True):
        value = np.eye(n_values)[codes[first]].T  # (n_values, n_batches)
        if of_counts:
            expected = value @ (sizes[:, None] * usual * np.exp(explained))
            effect = np.log((value @ sums + 1) / (expected + 1))
        else:
            rest = sums - sizes[:, None] * (usual + explained)
            effect = (value @ rest) / np.maximum(value @ sizes, 1)[:, None]
        explained += effect[codes[first]]
        effects.append(effect)
    return effects
