"""Places of cells by what a network decodes of them: principal components of its expression.

The latent features of a network have no common scale: two cells may be far apart in one that
hardly changes their expression. Distances between decoded cells are distances in expression. They
are compared as cells of one batch: the decoder gets the usual covariates for all of them.
"""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA

from scvae_cli.analysis.tsne import check_spread
from scvae_cli.errors import Kind, RunError
from scvae_cli.models.model import Model
from scvae_cli.rows import gathered

MOST_CELLS = 5000  # that the axes are found on
BATCH = 512


class Axes(NamedTuple):
    """Principal components of decoded expression.

    Attributes:
        mean: (n_genes,) what is subtracted.
        components: (n_axes, n_genes) orthonormal.
    """

    mean: np.ndarray
    components: np.ndarray

    def table(self, genes: np.ndarray) -> pd.DataFrame:
        """Return axes.csv: gene, mean, and each axis' weight of each gene (z1, z2, ...)."""
        weights = {f"z{i}": axis for i, axis in enumerate(self.components, start=1)}
        return pd.DataFrame({"gene": genes, "mean": self.mean, **weights})

    @classmethod
    def of(cls, table: pd.DataFrame) -> "Axes":
        """Return the axes of axes.csv."""
        numbers = table.drop(columns="gene").to_numpy(np.float32)
        return cls(numbers[:, 0], np.ascontiguousarray(numbers[:, 1:].T))


def find_axes(
    model: Model, z: np.ndarray, n_axes: int, *, target_sum: float | None, rooted: bool, seed: int
) -> Axes:
    """Find the principal components of what a model decodes at the cells' places.

    Args:
        model: trained, on the CPU or another device.
        z: (n_cells, n_latent) means of the cells' posteriors.
        n_axes: how many.
        target_sum: see `Model.decode`.
        rooted: whether to take square roots of rates, whose variances differ less between genes;
            else decoded values are taken as they are (of a model of z-scores).
        seed: of the cells that the axes are found on, `MOST_CELLS` at most, and of the solver.

    Returns:
        The axes, each with the sign that makes its largest weight positive.

    Raises:
        RunError: what is decoded is not finite, or the same for all cells.
    """
    some = np.sort(np.random.default_rng(seed).permutation(len(z))[:MOST_CELLS])
    values = gathered(_decoded(model, z[some], target_sum, rooted), len(some))
    if not np.isfinite(values).all():
        reason = "what the network decodes is not finite: training diverged"
        raise RunError(Kind.DIVERGED, None, reason, "try a smaller lr")
    check_spread(values)
    fit = PCA(n_axes, svd_solver="arpack", tol=0.0, random_state=seed).fit(values)
    return Axes(fit.mean_.astype(np.float32), fit.components_.astype(np.float32))


def project(
    model: Model, z: np.ndarray, axes: Axes, *, target_sum: float | None, rooted: bool
) -> np.ndarray:
    """Return the places (n_cells, n_axes), float32, of cells on these axes; see `find_axes`."""
    decoded = _decoded(model, z, target_sum, rooted)
    return gathered(((values - axes.mean) @ axes.components.T for values in decoded), len(z))


def decode(
    model: Model,
    z: np.ndarray,
    genes: np.ndarray,
    *,
    target_sum: float | None,
    as_of: np.ndarray | None,
) -> np.ndarray:
    """Return what a model decodes of some genes.

    Args:
        model: see `find_axes`.
        z: (n_cells, n_latent) places.
        genes: (n_genes,) indices among those of the model.
        target_sum: see `Model.decode`.
        as_of: (n_columns,) covariates as of which cells are decoded; None for the usual ones.

    Returns:
        (n_cells, n_genes) float32.
    """
    decoded = _decoded(model, z, target_sum, False, as_of)
    return gathered((values[:, genes] for values in decoded), len(z))


@torch.inference_mode()
def _decoded(
    model: Model,
    z: np.ndarray,
    target_sum: float | None,
    rooted: bool,
    as_of: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Yield what the model decodes (n, n_genes) of some cells at a time."""
    device = next(chain(model.parameters(), model.buffers())).device
    told = None if as_of is None else torch.from_numpy(as_of).to(device)
    for part in torch.from_numpy(z).to(torch.float32).split(BATCH):
        rows = None if told is None else told.expand(len(part), -1)
        values = model.decode(part.to(device), target_sum, rows)
        if rooted:
            values = values.expm1().clamp_min(0).sqrt()
        yield values.cpu().numpy()
