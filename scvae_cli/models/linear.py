"""Linear models, solved and not trained: PCA, and random directions as a control."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.decomposition import PCA as SklearnPCA
from torch import Generator, Tensor

from scvae_cli.models.losses import squared_error
from scvae_cli.models.model import Loss, Model
from scvae_cli.models.sparse import Cells, dense


class LinearModel(Model):
    """z = (x - mean) @ components.T, with orthonormal components that `solve` sets.

    Args:
        n_genes: width of the input.
        n_latent: number of components, less than n_genes.
    """

    is_solved: ClassVar[bool] = True
    mean: Tensor
    components: Tensor

    def __init__(self, n_genes: int, n_latent: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_genes))
        self.register_buffer("components", torch.zeros(n_latent, n_genes))

    @abstractmethod
    def solve(self, x: csr_array | np.ndarray, seed: int) -> None:
        """Set mean and components from x (n_cells, n_genes)."""

    def loss(
        self,
        x: Cells,
        generator: Generator,
        counts: Cells | None = None,
        progress: float = 1.0,
        covariates: Tensor | None = None,
    ) -> Loss:
        """Compute the squared error of x (n_cells, n_genes); nothing else is used."""
        x_hat = self.decode(self.embed(x, "mean", generator), None)
        return Loss.without_kl(squared_error(dense(x), x_hat).mean())

    def embed(
        self, x: Cells, kind: str, generator: Generator, covariates: Tensor | None = None
    ) -> Tensor:
        """Compute z (n_cells, n_latent) of x (n_cells, n_genes); every kind is the same."""
        return (dense(x) - self.mean) @ self.components.T

    def decode(
        self, z: Tensor, target_sum: float | None, covariates: Tensor | None = None
    ) -> Tensor:
        """Compute the values (n, n_genes) at z (n, n_latent)."""
        return z @ self.components + self.mean


class PCA(LinearModel):
    """The linear baseline: principal components of logarithms, or of square roots.

    Square roots have nearly the same variance whatever the rate, logarithms a large one where it
    is small: Townes et al., Genome Biology 20, 295 (2019), on what that does to the components.

    Args:
        n_genes: see `LinearModel`.
        n_latent: see `LinearModel`.
        values: `log`: of x as it is | `sqrt`: of the square roots of exp(x) - 1.
    """

    def __init__(self, n_genes: int, n_latent: int, values: str = "log") -> None:
        super().__init__(n_genes, n_latent)
        self.of_roots = values == "sqrt"

    def embed(
        self, x: Cells, kind: str, generator: Generator, covariates: Tensor | None = None
    ) -> Tensor:
        """Compute z (n_cells, n_latent) of x (n_cells, n_genes); every kind is the same."""
        values = dense(x)
        return super().embed(values.expm1().sqrt() if self.of_roots else values, kind, generator)

    def decode(
        self, z: Tensor, target_sum: float | None, covariates: Tensor | None = None
    ) -> Tensor:
        """Compute the values (n, n_genes) at z (n, n_latent), as x has them."""
        values = super().decode(z, target_sum)
        return values.clamp_min(0).square().log1p() if self.of_roots else values

    def solve(self, x: csr_array | np.ndarray, seed: int) -> None:
        """Set mean and components from x (n_cells, n_genes), by scikit-learn's ARPACK, exact."""
        n_latent = len(self.components)
        if self.of_roots:
            assert isinstance(x, csr_array)
            x = _roots(x)
        fit = SklearnPCA(n_latent, svd_solver="arpack", tol=0.0, random_state=seed).fit(x)
        # Copies: one component is a view whose stride is negative, which torch does not take.
        self.mean.copy_(torch.from_numpy(fit.mean_.copy()))
        self.components.copy_(torch.from_numpy(fit.components_.copy()))


def _roots(x: csr_array) -> csr_array:
    """Return the square roots of exp(x) - 1, which share the indices of x (n_cells, n_genes)."""
    values, step = np.empty_like(x.data), 2**20
    for i in range(0, x.nnz, step):  # in pieces: copies of all would take gigabytes
        values[i : i + step] = np.sqrt(np.expm1(x.data[i : i + step]))
    return csr_array((values, x.indices, x.indptr), shape=x.shape)


class RandomProjection(LinearModel):
    """A control that learns nothing: random directions."""

    def solve(self, x: csr_array | np.ndarray, seed: int) -> None:
        """Set mean from x (n_cells, n_genes), and components from the seed only."""
        n_latent, n_genes = self.components.shape
        drawn = np.random.default_rng(seed).normal(size=(n_genes, n_latent))
        self.mean.copy_(torch.from_numpy(np.ravel(x.mean(axis=0))))
        self.components.copy_(torch.from_numpy(np.linalg.qr(drawn)[0].T))
