"""Train several models side by side, a thread each."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pandas as pd
import torch

from scvae_cli.covariates import Covariates
from scvae_cli.models.batches import place
from scvae_cli.models.checkpoint import Checkpoint, unpack
from scvae_cli.models.model import Model
from scvae_cli.models.rounds import Settings, rounds_of
from scvae_cli.models.train import AfterStep
from scvae_cli.models.training import Training
from scvae_cli.rows import Values


class Together:
    """Trainings of several models, each as `train` does it, with one thread.

    Results do not depend on how many are trained at the same time.

    Args:
        members: models of the same kind, on `device`; trained in place.
        x: (n_cells, n_genes) float32 values.
        counts: see `train`.
        covariates: see `train`.
        device: where to compute.
        settings: of each member; they differ by their seeds.
        validate: see `train`.
        start: a checkpoint of the same trainings, to resume them from; the end is the same.
    """

    def __init__(
        self,
        members: Sequence[Model],
        x: Values,
        *,
        device: torch.device,
        settings: Sequence[Settings],
        counts: Values | None = None,
        covariates: Covariates | None = None,
        validate: Callable[[Model], float] | None = None,
        start: Checkpoint | None = None,
    ) -> None:
        self.batches = place(x, counts, covariates, device)
        rounds = rounds_of(x, settings[0])
        self.trainings = [
            Training(member, device, rounds, own, validate)
            for member, own in zip(members, settings, strict=True)
        ]
        if start is not None:
            self._restore(start)

    def train(
        self,
        threads: int,
        *,
        on_round: Callable[[dict[str, float]], None],
        interrupted: Callable[[], bool],
        keep: AfterStep = lambda *_: None,
    ) -> pd.DataFrame:
        """Train all members to their ends.

        Args:
            threads: how many members at a time; on a GPU it is one.
            on_round: called after each round with the mean row of the members that took part.
            interrupted: tells whether to stop between two steps, for `keep` to raise.
            keep: called after each round, and where training was interrupted.

        Returns:
            The histories of `train`, below each other, with the column `member` (from 1).

        Raises:
            RunError: the loss of a member is no longer finite.
        """
        threads = 1 if self.batches.device.type == "cuda" else min(threads, len(self.trainings))
        left = Event()  # this function, so that no member trains on
        with ThreadPoolExecutor(threads) as pool:
            try:
                while running := [t for t in self.trainings if not t.is_over]:
                    stop = lambda: left.is_set() or interrupted()  # noqa: E731
                    for done in [pool.submit(self._round, t, stop) for t in running]:
                        done.result()
                    if not interrupted():
                        on_round(_mean([training.history[-1] for training in running]))
                    keep(max(len(t.history) for t in running), 0, self.checkpoint)
            finally:
                left.set()
        for training in self.trainings:
            training.take_best()
        return self._history()

    def _round(self, training: Training, stop: Callable[[], bool]) -> None:
        """Train a member for a round, or until it has to stop."""
        torch.set_num_threads(1)  # of this thread
        for _ in training.steps(self.batches):
            if stop():
                return
        training.end_round()

    def checkpoint(self) -> Checkpoint:
        """Return the checkpoints of all members as one."""
        packed = [bytearray(training.checkpoint().pack()) for training in self.trainings]
        tensors = {
            f"member{i}": torch.frombuffer(contents, dtype=torch.uint8)
            for i, contents in enumerate(packed)
        }
        return Checkpoint(tensors, [], (0, 0, 0), 0.0)

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Return all members to where they were.

        Raises:
            ValueError: it is not a checkpoint of as many members.
        """
        names = [f"member{i}" for i in range(len(self.trainings))]
        if {*names} != {*checkpoint.tensors}:
            raise ValueError("it is of another model")
        for name, training in zip(names, self.trainings, strict=True):
            training.restore(unpack(checkpoint.tensors[name].numpy().tobytes()))

    def _history(self) -> pd.DataFrame:
        rows = [
            {"member": i, **row}
            for i, training in enumerate(self.trainings, start=1)
            for row in training.history
        ]
        return pd.DataFrame(rows, columns=["member", *self.trainings[0].columns])


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of rows, by column."""
    return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
