"""The state of a training: its steps, its rounds, its checkpoints."""

import math
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter

import torch
from torch import Generator, Tensor

from scvae_cli.errors import Kind, RunError
from scvae_cli.models.adam import Adam, keep_freed_memory
from scvae_cli.models.batches import Batches, OnCard
from scvae_cli.models.checkpoint import Checkpoint
from scvae_cli.models.losses import ACTIVE
from scvae_cli.models.model import Loss, Model
from scvae_cli.models.replay import Replay
from scvae_cli.models.rounds import Rounds, Settings
from scvae_cli.models.team import PartOfNoise, Team, TeamLostError

COLUMNS = ["epoch", "total", "reconstruction", "kl", "seconds"]


def _kls(model: Model) -> list[str]:
    """Name the monitors that are KLs of latents."""
    return [name for name in model.monitors if name.startswith("kl_z")]


class Training:
    """A training between two steps.

    Args:
        model: on `device`; trained in place.
        device: where to compute.
        rounds: how long to train.
        settings: how to train.
        validate: computes the validation loss, if there is one.
        team: the processes that train the model together, if there are several.

    Attributes:
        history: a row for each round that is done.
        step: number of steps that are done.
        batch: number of batches of this epoch that are done.
        seen: number of cells of this round that are done.
        seconds: what the steps of this round took.
        best: the weights with the least validation loss so far.
    """

    def __init__(
        self,
        model: Model,
        device: torch.device,
        rounds: Rounds,
        settings: Settings,
        validate: Callable[[Model], float] | None,
        team: Team | None = None,
    ) -> None:
        keep_freed_memory()
        self.team = team
        self.model, self.device, self.rounds, self.settings = model, device, rounds, settings
        self.validate = validate
        self.optimizer = Adam(model.parameters(), settings["lr"])
        self.shuffler = Generator().manual_seed(settings["batch_seed"])
        # A CUDA graph takes a generator of PyTorch's own class, and of no other.
        self.noise = Generator(device) if team is None else PartOfNoise(device)
        self.noise.manual_seed(settings["noise_seed"])
        self.shuffled = self.shuffler.get_state()  # from which the order of this epoch comes
        self.order: Sequence[Tensor] = ()
        # Of the loss terms and monitors of this round's cells so far.
        self.sums = torch.zeros(3 + len(model.monitors), device=device)
        self.replay = Replay(self.noise)
        self.history: list[dict[str, float]] = []
        self.step, self.batch, self.seen, self.seconds = 0, 0, 0, 0.0
        self.best = {} if validate is None else _copy(model)

    @property
    def in_round(self) -> int:
        """Return the number of steps of this round that are done."""
        return self.step - len(self.history) * self.rounds.length

    @property
    def is_over(self) -> bool:
        """Return whether all rounds are done, or the validation loss no longer falls."""
        patience = self.settings.get("patience")
        if patience is not None and self.history and self.validate is not None:
            losses = [row["validation"] for row in self.history]
            if len(losses) - 1 - losses.index(min(losses)) >= patience:
                return True
        return len(self.history) >= len(self.rounds)

    @property
    def columns(self) -> list[str]:
        """Name the columns of the history; see `end_round`."""
        length = [] if self.rounds.are_epochs else ["updates"]
        validation = [] if self.validate is None else ["validation"]
        active = ["active"] if _kls(self.model) else []
        return [*COLUMNS, *length, *validation, *active, *self.model.monitors]

    def steps(self, batches: Batches) -> Iterator[None]:
        """Train for a round, or the rest of one, on these cells; pause after each step."""
        self.model.train()
        began = perf_counter() - self.seconds
        while self.step < self.rounds.end(len(self.history)):
            if not self.order:
                self.shuffled = self.shuffler.get_state()
                order = torch.randperm(batches.n_cells, generator=self.shuffler)
                self.order = order.to(batches.device).split(self.settings["batch_size"])
            index = self.order[self.batch]
            for following in self.order[self.batch + 1 : self.batch + 2]:
                batches.expect(following)
            self._step(batches, index)
            self.step += 1
            self.seen += len(index)
            self.batch += 1
            if self.batch == len(self.order):
                self.batch, self.order = 0, ()
                self.shuffled = self.shuffler.get_state()
            self.seconds = perf_counter() - began
            yield
        self.check()  # which waits for a GPU to be done
        self.seconds = perf_counter() - began

    def _step(self, batches: Batches, index: Tensor) -> None:
        """Do a step on the cells with these indices (n,)."""
        progress = len(self.history) / len(self.rounds)
        kl_warmup = self.settings.get("kl_warmup")
        warm = min(1.0, progress / kl_warmup) if kl_warmup else 1.0

        def step(index: Tensor) -> None:
            loss = self._loss(batches, index, progress, warm)
            self.optimizer.step(loss.total)
            self.sums += _terms(loss) * len(index)

        if self.team is not None:
            self._step_of_team(self.team, batches, index, progress, warm)
        elif isinstance(batches, OnCard):
            kind = warm, progress if self.model.follows_progress else None
            self.replay(step, index, kind)
        else:
            step(index)

    def _loss(self, batches: Batches, index: Tensor, progress: float, warm: float) -> Loss:
        """Return the loss of cells with these indices (n,), the KL weighted by `warm`."""
        cells = batches.take(index)
        loss = self.model.loss(cells.x, self.noise, cells.counts, progress, cells.covariates)
        return loss.with_kl_weighted(warm) if warm < 1.0 else loss

    def _step_of_team(
        self, team: Team, batches: Batches, index: Tensor, progress: float, warm: float
    ) -> None:
        """Do a step of which this process computes a part.

        Raises:
            TeamLostError: another process has ended; weights and generator are as before the step.
        """
        assert isinstance(self.noise, PartOfNoise)
        before = self.noise.get_state()
        part = team.part(index, self.noise)
        sums = torch.zeros_like(self.sums)
        try:
            # Where a batch has no cell for this process, one of another's counts for nothing here:
            # all generators have to draw what the batch needs.
            loss = self._loss(batches, part if len(part) else index[:1], progress, warm)
            sums += _terms(loss) * len(part)
            total = loss.total * (len(part) / len(index))
            self.optimizer.step(total, lambda grads: team.add([*grads, sums]))
        except TeamLostError as lost:
            self.noise.set_state(before)
            lost.checkpoint = self.checkpoint()
            raise
        self.sums += sums

    def end_round(self) -> dict[str, float]:
        """End a round.

        Returns:
            Its row of the history: how often the cells were seen, the mean loss terms of the
            round's cells while training, seconds, updates and validation loss (if there are), and
            what the model monitors; where that is KLs of latents, how many are above `ACTIVE`.
        """
        means = (self.sums / self.seen).tolist()
        number = len(self.history) + 1
        epoch = number if self.rounds.are_epochs else round(self.rounds.epochs_done(self.step), 3)
        row: dict[str, float] = dict(zip(COLUMNS, [epoch, *means[:3], self.seconds], strict=True))
        if not self.rounds.are_epochs:
            row["updates"] = self.step
        if self.validate is not None:
            row["validation"] = loss = self.validate(self.model)
            if not math.isfinite(loss):
                reason = f"the validation loss is {loss}"
                raise RunError(Kind.DIVERGED, None, reason, "a smaller lr may help")
            if loss < min((r["validation"] for r in self.history), default=math.inf):
                self.best = _copy(self.model)
        monitored = dict(zip(self.model.monitors, means[3:], strict=True))
        kls = [monitored[name] for name in _kls(self.model)]
        active = {"active": sum(kl > ACTIVE for kl in kls)} if kls else {}
        self.history.append({**row, **active, **monitored})
        self.sums.zero_()
        self.seen, self.seconds = 0, 0.0
        return self.history[-1]

    def take_best(self) -> None:
        """Give the model the weights with the least validation loss, if there is one."""
        if self.validate is not None and self.history:
            self.model.load_state_dict(self.best)

    def check(self) -> None:
        """Raise RunError where the loss is no longer finite."""
        total, reconstruction, kl = self.sums[:3].tolist()
        if not all(map(math.isfinite, (total, reconstruction, kl))):
            is_epoch = self.rounds.are_epochs
            what, number = ("epoch", len(self.history) + 1) if is_epoch else ("update", self.step)
            raise RunError(
                Kind.DIVERGED,
                None,
                f"the loss is {total} in {what} {number} (reconstruction "
                f"{reconstruction:.6g}, kl {kl:.6g})",
                "a smaller lr may help",
            )

    def checkpoint(self) -> Checkpoint:
        """Return all that `restore` needs.

        Raises:
            RunError: the loss is no longer finite.
        """
        self.check()
        counts = self.step, self.batch, self.seen
        return Checkpoint(dict(self._tensors()), self.history, counts, self.seconds)

    def restore(self, checkpoint: Checkpoint | None) -> None:
        """Return to where a training with the same settings was; without a checkpoint, stay.

        Raises:
            ValueError: its settings were others; nothing was changed.
        """
        if checkpoint is None:
            return
        tensors = dict(self._tensors())
        shapes = [{n: t.shape for n, t in x.items()} for x in (tensors, checkpoint.tensors)]
        if shapes[0] != shapes[1]:
            raise ValueError("it is of another model")
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(checkpoint.tensors[name])
        self.shuffler.set_state(checkpoint.tensors["shuffled"])
        self.noise.set_state(checkpoint.tensors["noise"])
        self.history = list(checkpoint.history)
        self.step, self.batch, self.seen = checkpoint.counts
        self.seconds = checkpoint.seconds
        self.order = ()

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.model.state_dict().items():
            yield f"model.{name}", tensor
        yield from self.optimizer.state()
        yield "shuffled", self.shuffled
        yield "noise", self.noise.get_state()
        yield "sums", self.sums
        for name, tensor in self.best.items():
            yield f"best.{name}", tensor


def _terms(loss: Loss) -> Tensor:
    """Return the terms of a loss and its monitors, (3 + n_monitors,)."""
    terms = torch.stack([loss.total, loss.reconstruction, loss.kl])
    return torch.cat([terms, loss.monitors]).detach()


def _copy(model: Model) -> dict[str, Tensor]:
    """Return a copy of the weights."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
