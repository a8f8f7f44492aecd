"""The settings of a training, and its length: how many gradient steps, noted after which."""

import math
from dataclasses import dataclass
from typing import NotRequired, Self, TypedDict

from scvae_cli.rows import Values

ROWS = 100  # of the history of a training whose length is given in updates


class Settings(TypedDict):
    """How to train.

    Attributes:
        epochs: passes over all cells; None where `updates` is given.
        updates: gradient steps; None where `epochs` is given.
        batch_size: cells per step; the last batch of an epoch may be smaller.
        lr: learning rate.
        batch_seed: of the order of cells.
        noise_seed: of the model's sampling.
        kl_warmup: share of the training over which the weight of the KL rises from 0 to all of it
            (Sonderby et al., Ladder variational autoencoders, 2016).
        patience: rounds without a better validation loss after which training stops; None for
            never.
    """

    epochs: int | None
    updates: NotRequired[int | None]
    batch_size: int
    lr: float
    batch_seed: int
    noise_seed: int
    kl_warmup: NotRequired[float]
    patience: NotRequired[int | None]


@dataclass(frozen=True)
class Rounds:
    """A training in rounds of gradient steps; after each, its history gets a row.

    Attributes:
        n_cells: number of cells.
        batch_size: cells per step; the last batch of an epoch may be smaller.
        n_steps: gradient steps in all.
        length: steps per round; the last round may be shorter.
        are_epochs: whether a round is a pass over all cells.
    """

    n_cells: int
    batch_size: int
    n_steps: int
    length: int
    are_epochs: bool

    @classmethod
    def of(cls, n_cells: int, batch_size: int, *, epochs: int | None, updates: int | None) -> Self:
        """Return the rounds of as many epochs, or of as many updates if `epochs` is None."""
        per_epoch = math.ceil(n_cells / batch_size)
        if epochs is not None:
            return cls(n_cells, batch_size, epochs * per_epoch, per_epoch, are_epochs=True)
        assert updates is not None
        length = math.ceil(updates / ROWS)
        return cls(n_cells, batch_size, updates, length, are_epochs=False)

    def __len__(self) -> int:
        """Return the number of rounds."""
        return math.ceil(self.n_steps / self.length)

    def end(self, number: int) -> int:
        """Return the number of steps that are done at the end of a round, counted from 0."""
        return min((number + 1) * self.length, self.n_steps)

    def epochs_done(self, step: int) -> float:
        """Return how often the cells were seen after as many steps."""
        epochs, steps = divmod(step, math.ceil(self.n_cells / self.batch_size))
        return epochs + steps * self.batch_size / self.n_cells


def rounds_of(x: Values, settings: Settings) -> Rounds:
    """Return the rounds of a training on x (n_cells, n_genes)."""
    length = {"epochs": settings["epochs"], "updates": settings.get("updates")}
    return Rounds.of(x.shape[0], settings["batch_size"], **length)
