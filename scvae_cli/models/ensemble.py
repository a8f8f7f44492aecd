"""Several models of the same cells, whose latent spaces are joined into one."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Generator, Tensor, nn

from scvae_cli.covariates import Covariates
from scvae_cli.models.model import Loss, Model
from scvae_cli.models.sparse import Cells


class Ensemble(Model):
    """Models that differ by their seeds; their latent features stand side by side.

    Each latent feature is centred, and each member's are divided by one number, so that their
    variances add up to 1 in every member. Distances are then those of the members on average.

    Args:
        members: models of the same kind and size, two or more.
        n_latent: width of the latent space of each.

    Attributes:
        centre: (n_members, n_latent) means of the members' latent features.
        scale: (n_members, 1) what they are divided by.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, members: Sequence[Model], n_latent: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("centre", torch.zeros(len(members), n_latent))
        self.register_buffer("scale", torch.ones(len(members), 1))

    @property
    def models(self) -> list[Model]:
        """Return the members."""
        return [member for member in self.members if isinstance(member, Model)]

    def standardise(self, latents: Sequence[np.ndarray]) -> None:
        """Set centres and scales by the cells' latent features.

        Args:
            latents: (n_cells, n_latent) of each member. One that is the same for all cells keeps
                its scale, and tells nothing.
        """
        for i, latent in enumerate(latents):
            z = latent.astype(np.float64)
            spread = float(np.sqrt(z.var(axis=0).sum()))
            self.centre[i] = torch.from_numpy(z.mean(axis=0))
            self.scale[i] = spread if spread > np.finfo(np.float32).eps * np.abs(z).max() else 1.0

    def begin(
        self, x: csr_array | np.ndarray, counts: csr_array | None, covariates: Covariates | None
    ) -> None:
        """Set weights of each member that follow from all cells at once; see `Model`."""
        for model in self.models:
            model.begin(x, counts, covariates)

    def loss(
        self,
        x: Cells,
        generator: Generator,
        counts: Cells | None = None,
        progress: float = 1.0,
        covariates: Tensor | None = None,
    ) -> Loss:
        """Compute the mean of the members' losses, without what they monitor."""
        losses = [model.loss(x, generator, counts, progress, covariates) for model in self.models]
        total, reconstruction, kl = (
            torch.stack(terms).mean() for terms in zip(*(loss[:3] for loss in losses), strict=True)
        )
        return Loss(total, reconstruction, kl, total.new_empty(0))

    def embed(
        self, x: Cells, kind: str, generator: Generator, covariates: Tensor | None = None
    ) -> Tensor:
        """Compute the members' places, standardised, (n_cells, n_members * n_latent)."""
        parts = [model.embed(x, kind, generator, covariates) for model in self.models]
        z = (torch.stack(parts, 1) - self.centre) / self.scale
        return z.flatten(1)

    def decode(
        self, z: Tensor, target_sum: float | None, covariates: Tensor | None = None
    ) -> Tensor:
        """Compute the mean of the members' expression at z (n, n_members * n_latent)."""
        parts = [m.decode(place, target_sum, covariates) for m, place in self._places(z)]
        return torch.stack(parts).mean(0)

    def shares(
        self, z: Tensor, target_sum: float | None, covariates: Tensor | None = None
    ) -> Tensor:
        """Compute the mean of the members' shares at z (n, n_members * n_latent); see `Model`."""
        parts = [m.shares(place, target_sum, covariates) for m, place in self._places(z)]
        return torch.stack(parts).mean(0)

    def _places(self, z: Tensor) -> Iterator[tuple[Model, Tensor]]:
        """Yield each member with its own places (n, n_latent)."""
        places = z.unflatten(1, self.centre.shape) * self.scale + self.centre
        return zip(self.models, places.unbind(1), strict=True)

    def diagnose(self, batches: Iterable[tuple[Cells, Tensor | None]]) -> list[str]:
        """Name what is wrong with the members, a line for each; each passes over the batches."""
        return [
            f"member {i}: {finding}"
            for i, model in enumerate(self.models, start=1)
            for finding in model.diagnose(batches)
        ]
