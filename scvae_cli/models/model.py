"""What every model offers to training, embedding and analysis."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Generator, Tensor, nn

from scvae_cli.covariates import Covariates
from scvae_cli.models.sparse import Cells
from scvae_cli.rows import Values


class Loss(NamedTuple):
    """Terms of a loss, averaged over the cells of a batch: total = reconstruction + beta * kl.

    `monitors` (n_monitors,) has the values that `Model.monitors` names.
    """

    total: Tensor
    reconstruction: Tensor
    kl: Tensor
    monitors: Tensor

    @classmethod
    def without_kl(cls, reconstruction: Tensor) -> "Loss":
        """Return the loss of a model that has a reconstruction error and nothing else."""
        zero = reconstruction.new_zeros(())
        return cls(reconstruction, reconstruction, zero, zero.new_empty(0))

    def with_kl_weighted(self, weight: float) -> "Loss":
        """Return the same loss, its total with the KL term multiplied by `weight`."""
        kl_term = self.total - self.reconstruction
        return self._replace(total=self.reconstruction + weight * kl_term)


class Model(nn.Module, ABC):
    """A model of cells: it gives each a place in a latent space, and takes that back to genes.

    To add a model, write a subclass, name it in `registry.MODELS`, and give its options in
    conf/model/NAME.yaml: the arguments of the class other than n_genes, n_latent.

    Attributes:
        is_solved: whether `solve` fits it in closed form; other models are trained.
        has_gates: whether each latent is on or off in a cell; if so, `gates` says where.
    """

    is_solved: ClassVar[bool] = False
    has_gates: ClassVar[bool] = False

    @property
    def compiles(self) -> bool:
        """Return whether long trainings may compute in compiled code; see `models.compiled`."""
        return False

    @property
    def follows_progress(self) -> bool:
        """Return whether the loss of the same cells is another one later in a training."""
        return False

    @property
    def monitors(self) -> list[str]:
        """Name the values of `Loss.monitors`; `kl_z1`, `kl_z2`, ... are KLs of latents in nats."""
        return []

    @abstractmethod
    def loss(
        self,
        x: Cells,
        generator: Generator,
        counts: Cells | None = None,
        progress: float = 1.0,
        covariates: Tensor | None = None,
    ) -> Loss:
        """Compute the terms to minimise, with one posterior sample per cell.

        On a GPU, steps are replayed: what Python computes here must be the same at each step, but
        for what follows from `progress`.

        Args:
            x: (n_cells, n_genes) values.
            generator: of the samples.
            counts: (n_cells, n_genes) counts, which likelihoods of counts need.
            progress: share of the training that is over.
            covariates: (n_cells, n_columns) rows of `Covariates`, where the model was built with
                them; None for the usual ones.
        """

    @abstractmethod
    def embed(
        self, x: Cells, kind: str, generator: Generator, covariates: Tensor | None = None
    ) -> Tensor:
        """Compute the place of each cell in the latent space, (n_cells, n_latent).

        Args:
            x: (n_cells, n_genes) values.
            kind: `mean` of the posterior, one `sample` of it, or `mu` (without gates).
            generator: of the sample.
            covariates: see `loss`.
        """

    @abstractmethod
    def decode(
        self, z: Tensor, target_sum: float | None, covariates: Tensor | None = None
    ) -> Tensor:
        """Compute the expression (n, n_genes) at places z (n, n_latent) of the latent space.

        Args:
            z: the places.
            target_sum: counts per cell before the logarithm, which models of counts need.
            covariates: see `loss`.

        Returns:
            Values as the model was fitted on; log(1 + target_sum * share) from a model of counts,
            the share being of the counts in the model's genes.
        """

    def shares(
        self, z: Tensor, target_sum: float | None, covariates: Tensor | None = None
    ) -> Tensor:
        """Compute the share of each gene in the molecules that cells at z are expected to show.

        These are the expression's own, but for zero inflation, which hides molecules.

        Args:
            z: (n, n_latent) places.
            target_sum: see `decode`.
            covariates: see `loss`.

        Returns:
            (n, n_genes), of sum 1.
        """
        rates = torch.expm1(self.decode(z, target_sum, covariates)).clamp_min(0)
        return rates / rates.sum(1, keepdim=True).clamp_min(1e-9)

    def begin(self, x: Values, counts: Values | None, covariates: Covariates | None) -> None:
        """Set weights, before training, that follow from all cells at once; most have none.

        Args:
            x: (n_cells, n_genes) values.
            counts: (n_cells, n_genes) counts, which likelihoods of counts need.
            covariates: of the cells, where the model was built with them.
        """

    def solve(self, x: csr_array | np.ndarray, seed: int) -> None:
        """Set the parameters from x (n_cells, n_genes); only models with `is_solved` can."""
        raise NotImplementedError

    def gates(self, x: Cells, covariates: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute gamma and mu of x, each (n_cells, n_latent); only for models with `has_gates`.

        Args:
            x: (n_cells, n_genes) values.
            covariates: see `loss`.

        Returns:
            The posterior's probability that each latent is on, and its mean where it is on.
        """
        raise NotImplementedError

    def diagnose(self, batches: Iterable[tuple[Cells, Tensor | None]]) -> list[str]:
        """Name what is wrong with the posterior of all cells, a line for each finding.

        Args:
            batches: x (n_cells, n_genes) of some cells and their covariates; see `loss`.
        """
        return []
