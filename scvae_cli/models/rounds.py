"""The length of a training: how many gradient steps, and after which of them the loss is noted."""

import math
from dataclasses import dataclass
from typing import Self

ROWS = 100  # of the history of a training whose length is given in updates


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
