"""How models are fitted: by gradient training, or in closed form."""

import math
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import NotRequired, TypedDict, Unpack

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array
from torch import Generator, Tensor

from scvae_cli.errors import Kind, RunError
from scvae_cli.models.adam import Adam
from scvae_cli.models.checkpoint import Checkpoint
from scvae_cli.models.losses import ACTIVE
from scvae_cli.models.model import Model
from scvae_cli.models.sparse import Cells, take

COLUMNS = ["epoch", "total", "reconstruction", "kl", "seconds"]

# Called with the number of epochs that are done, that of batches of the next one, and what
# makes a checkpoint of them.
AfterStep = Callable[[int, int, Callable[[], Checkpoint]], None]


class Settings(TypedDict):
    """How to train.

    Attributes:
        epochs: passes over all cells.
        batch_size: cells per step; the last batch of an epoch may be smaller.
        lr: learning rate.
        batch_seed: of the order of cells.
        noise_seed: of the model's sampling.
        kl_warmup: share of the epochs over which the weight of the KL rises from 0 to all of it
            (Sonderby et al., Ladder variational autoencoders, 2016).
    """

    epochs: int
    batch_size: int
    lr: float
    batch_seed: int
    noise_seed: int
    kl_warmup: NotRequired[float]


def train(
    model: Model,
    x: csr_array | np.ndarray,
    *,
    device: torch.device,
    on_epoch: Callable[[dict[str, float]], None],
    counts: csr_array | None = None,
    start: Checkpoint | None = None,
    keep: AfterStep = lambda *_: None,
    **settings: Unpack[Settings],
) -> pd.DataFrame:
    """Minimise the model's loss with Adam over shuffled batches of cells.

    Args:
        model: on `device`; trained in place.
        x: (n_cells, n_genes) float32 values.
        device: where to compute.
        on_epoch: called after each epoch with its row of the history.
        counts: (n_cells, n_genes) counts, which likelihoods of counts need.
        start: a checkpoint of the same training, to resume it from; the end is the same.
        keep: called after each step, and after each epoch.
        settings: see `Settings`.

    Returns:
        A row per epoch, with `columns`: see `_Training.end_epoch`.

    Raises:
        RunError: the loss is no longer finite.
    """
    training = _Training(model, device, settings)
    if start is not None:
        training.restore(start)
        for row in training.history:
            on_epoch(row)
    model.train()
    _keep_freed_memory()
    while len(training.history) < settings["epochs"]:
        for _ in training.steps(x, counts):
            keep(len(training.history), training.batch, training.checkpoint)
        on_epoch(training.end_epoch(x.shape[0]))
        keep(len(training.history), 0, training.checkpoint)
    return pd.DataFrame(training.history, columns=columns(model))


def _keep_freed_memory() -> None:
    """Make Linux's C library keep what a step frees for the next step.

    By default it gives gradients back to the system, which clears them for the next step: up to a
    fifth of its time. Once a block of nearly 32 MiB has been freed, 64 MiB are kept (mallopt(3),
    on the dynamic mmap threshold). Elsewhere this does nothing.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


def columns(model: Model) -> list[str]:
    """Name the columns of a model's history: `COLUMNS`, then what is monitored, if anything."""
    return [*COLUMNS, *(["active"] if _kls(model) else []), *model.monitors]


def _kls(model: Model) -> list[str]:
    """Name the monitors that are KLs of latents."""
    return [name for name in model.monitors if name.startswith("kl_z")]


class _Training:
    """A training between two steps.

    Args:
        model: on `device`; trained in place.
        device: where to compute.
        settings: how to train.

    Attributes:
        history: a row for each epoch that is done.
        batch: number of batches of the next epoch that are done.
        seconds: what those took.
    """

    def __init__(self, model: Model, device: torch.device, settings: Settings) -> None:
        self.model, self.device, self.settings = model, device, settings
        self.optimizer = Adam(model.parameters(), settings["lr"])
        self.shuffler = Generator().manual_seed(settings["batch_seed"])
        self.noise = Generator(device).manual_seed(settings["noise_seed"])
        self.shuffled = self.shuffler.get_state()  # from which the order of this epoch comes
        # Of the loss terms and monitors of this epoch's cells so far.
        self.sums = torch.zeros(3 + len(model.monitors), device=device)
        self.history: list[dict[str, float]] = []
        self.batch, self.seconds = 0, 0.0

    def steps(self, x: csr_array | np.ndarray, counts: csr_array | None) -> Iterator[None]:
        """Train for an epoch, or the rest of one; pause after each step."""
        self.shuffled = self.shuffler.get_state()
        order = torch.randperm(x.shape[0], generator=self.shuffler)
        began = perf_counter() - self.seconds
        for index in order.split(self.settings["batch_size"])[self.batch :]:
            cells = index.numpy()
            batch_counts = None if counts is None else take(counts, cells, self.device)
            self._step(take(x, cells, self.device), batch_counts, len(index))
            self.batch += 1
            self.seconds = perf_counter() - began
            yield
        self.check()

    def _step(self, x: Cells, counts: Cells | None, n_cells: int) -> None:
        progress = len(self.history) / self.settings["epochs"]
        kl_warmup = self.settings.get("kl_warmup")
        warm = min(1.0, progress / kl_warmup) if kl_warmup else 1.0
        loss = self.model.loss(x, self.noise, counts, progress)
        if warm < 1.0:
            loss = loss.with_kl_weighted(warm)
        self.optimizer.step(loss.total)
        terms = torch.stack([loss.total, loss.reconstruction, loss.kl])
        self.sums += torch.cat([terms, loss.monitors]).detach() * n_cells

    def end_epoch(self, n_cells: int) -> dict[str, float]:
        """End an epoch over `n_cells` cells.

        Returns:
            Its row of the history: the loss terms averaged over cells, as they were while
            training, the seconds it took, and what the model monitors. Where that is KLs of
            latents, also how many of them are active (more than `ACTIVE`).
        """
        means = [float(mean) for mean in self.sums / n_cells]
        row = dict(zip(COLUMNS, [len(self.history) + 1, *means[:3], self.seconds], strict=True))
        monitored = dict(zip(self.model.monitors, means[3:], strict=True))
        kls = [monitored[name] for name in _kls(self.model)]
        active = {"active": sum(kl > ACTIVE for kl in kls)} if kls else {}
        self.history.append({**row, **active, **monitored})
        self.shuffled = self.shuffler.get_state()
        self.sums.zero_()
        self.batch, self.seconds = 0, 0.0
        return self.history[-1]

    def check(self) -> None:
        """Raise RunError where the loss is no longer finite."""
        total, reconstruction, kl = self.sums[:3].tolist()
        if not all(map(math.isfinite, (total, reconstruction, kl))):
            raise RunError(
                Kind.DIVERGED,
                None,
                f"the loss is {total} in epoch {len(self.history) + 1} (reconstruction "
                f"{reconstruction:.6g}, kl {kl:.6g})",
                "a smaller lr may help",
            )

    def checkpoint(self) -> Checkpoint:
        """Return all that `restore` needs.

        Raises:
            RunError: the loss is no longer finite.
        """
        self.check()
        return Checkpoint(dict(self._tensors()), self.history, self.batch, self.seconds)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Return to where a training with the same settings was.

        Raises:
            ValueError: its settings were others; nothing was changed.
        """
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
        self.batch, self.seconds = checkpoint.batch, checkpoint.seconds

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.model.state_dict().items():
            yield f"model.{name}", tensor
        yield from self.optimizer.state()
        yield "shuffled", self.shuffled
        yield "noise", self.noise.get_state()
        yield "sums", self.sums


@torch.inference_mode()
def solve(
    model: Model, x: csr_array | np.ndarray, *, batch_size: int, seed: int, device: torch.device
) -> pd.DataFrame:
    """Fit a model that has a closed form.

    Args:
        model: with `is_solved`, on `device`; set in place.
        x: (n_cells, n_genes) float32 values.
        batch_size: cells at a time for the loss.
        seed: of the solver's starting vector.
        device: where to compute.

    Returns:
        One row with the columns `COLUMNS`, as `train` has one per epoch.
    """
    start = perf_counter()
    model.solve(x, seed)
    noise = Generator(device)
    total = 0.0
    for index in torch.arange(x.shape[0]).split(batch_size):
        batch = take(x, index.numpy(), device)
        total += float(model.loss(batch, noise).total) * len(index) / x.shape[0]
    return pd.DataFrame([[1, total, total, 0.0, perf_counter() - start]], columns=COLUMNS)
