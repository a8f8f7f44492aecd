"""One loop for every model that is trained; the one line for the model that is solved."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from time import perf_counter
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array
from torch import Generator, Tensor, nn
from torch.optim.adam import adam

from scvae_cli.errors import RunError
from scvae_cli.models.build import PCA, Model, monitors
from scvae_cli.models.checkpoint import Checkpoint
from scvae_cli.models.losses import ACTIVE
from scvae_cli.models.sparse import take

LARGE = 100_000  # numbers in a parameter whose gradient is not kept
COLUMNS = ["epoch", "total", "reconstruction", "kl", "seconds"]


class Adam:
    """Adam (Kingma & Ba 2015) by PyTorch's own function, fused.

    Not `torch.optim.Adam`: making one imports PyTorch's compiler, two seconds and 70 MB.

    Args:
        parameters: what to train.
        lr: learning rate.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        self.lr = lr
        self._states: dict[Tensor, _State] = {
            p: _State(torch.zeros_like(p), torch.zeros_like(p), torch.zeros((), device=p.device))
            for p in parameters
        }
        self._large = [p for p in self._states if p.numel() >= LARGE]
        self._small = [p for p in self._states if p.numel() < LARGE]

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Names and tensors of what it knows of the steps so far."""
        for i, state in enumerate(self._states.values()):
            for what, tensor in state._asdict().items():
                yield f"adam.{what}.{i}", tensor

    def step(self, loss: Tensor) -> None:
        """Changes the parameters against the gradient of the loss.

        The large ones each as soon as its gradient is there: it is in the cache still, and goes
        before the next one comes.
        """
        with ExitStack() as hooks:
            for p in self._large:
                hooks.enter_context(p.register_post_accumulate_grad_hook(self._change))
            loss.backward()
        self._change(*self._small)

    @torch.no_grad()
    def _change(self, *parameters: Tensor) -> None:
        states = [self._states[p] for p in parameters]
        adam(
            list(parameters),
            [p.grad for p in parameters if p.grad is not None],
            [state.mean for state in states],
            [state.square for state in states],
            [],
            [state.step for state in states],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.lr,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
        for parameter in parameters:
            parameter.grad = None


class _State(NamedTuple):
    """What Adam knows of a parameter: means of its gradient and of its square, steps so far."""

    mean: Tensor
    square: Tensor
    step: Tensor


def train(
    model: Model,
    x: csr_array | np.ndarray,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    batch_seed: int,
    noise_seed: int,
    device: torch.device,
    on_epoch: Callable[[dict[str, float]], None],
    counts: csr_array | None = None,
    kl_warmup: float = 0.0,
    start: Checkpoint | None = None,
    keep: Callable[[int, int, Callable[[], Checkpoint]], None] = lambda *_: None,
) -> pd.DataFrame:
    """Minimises the model's loss with Adam over shuffled batches of cells.

    Args:
        model: on `device`; trained in place.
        x: (n_cells, n_genes) float32 values.
        epochs: passes over all cells.
        batch_size: cells per step; the last batch of an epoch may be smaller.
        lr: learning rate.
        batch_seed: of the order of cells.
        noise_seed: of the model's sampling.
        device: where to compute.
        on_epoch: called after each epoch with its row of the history.
        counts: (n_cells, n_genes) counts, which likelihoods of counts need.
        kl_warmup: share of the epochs over which the weight of the KL rises from 0 to all of it
            (Sonderby et al., Ladder variational autoencoders, 2016).
        start: where the same training stood once; it goes on from there, to the same end.
        keep: called between steps with the number of epochs that are done, of batches of the
            next, and with what tells all of it.

    Returns:
        A row per epoch: the loss terms averaged over cells, as they were while training, and the
        seconds it took. Of variational models also the KL of each latent in nats and how many are
        active (more than `ACTIVE`); of VSC the mean of gamma and the share of gates that are
        exactly 1, where a ReLU has no gradient.

    Raises:
        RunError: the loss is no longer finite.
    """
    at = _Standing(
        model,
        Adam(model.parameters(), lr),
        Generator().manual_seed(batch_seed),
        Generator(device).manual_seed(noise_seed),
        torch.zeros(3 + len(monitors(model)), device=device),
    )
    if start is not None:
        at.restore(start)
        for row in at.history:
            on_epoch(row)
    model.train()
    _keep_freed_memory()
    while len(at.history) < epochs:
        at.shuffled = at.shuffler.get_state()
        order = torch.randperm(x.shape[0], generator=at.shuffler).split(batch_size)
        began = perf_counter() - at.seconds
        done = len(at.history) / epochs
        warm = min(1.0, done / kl_warmup) if kl_warmup else 1.0
        for index in order[at.batch :]:
            cells = index.numpy()
            counted = None if counts is None else take(counts, cells, device)
            loss = model.loss(take(x, cells, device), at.noise, counted, done)
            if warm < 1.0:
                rest = loss.total - loss.reconstruction
                loss = loss._replace(total=loss.reconstruction + warm * rest)
            at.optimizer.step(loss.total)
            terms = torch.stack([loss.total, loss.reconstruction, loss.kl])
            at.sums += torch.cat([terms, loss.monitors]).detach() * len(index)
            at.batch += 1
            at.seconds = perf_counter() - began
            keep(len(at.history), at.batch, at.checkpoint)
        at.check()
        at.next_epoch(x.shape[0])
        on_epoch(at.history[-1])
        keep(len(at.history), 0, at.checkpoint)
    return pd.DataFrame(at.history, columns=columns(model))


def _keep_freed_memory() -> None:
    """Has Linux's C library keep what a step frees for the next step.

    By default it gives gradients back to the system, which clears them for the next step: up to a
    fifth of its time. Once a block of nearly 32 MiB has been freed, 64 MiB are kept (mallopt(3),
    on the dynamic mmap threshold). Elsewhere this does nothing.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


def columns(model: Model) -> list[str]:
    """Of the history: `COLUMNS`, then what is watched of the model's latents, if anything."""
    watched = monitors(model)
    return [*COLUMNS, *(["active"] if watched else []), *watched]


class _Standing:
    """Where a training stands between two steps."""

    def __init__(
        self,
        model: Model,
        optimizer: Adam,
        shuffler: Generator,
        noise: Generator,
        sums: Tensor,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.shuffler, self.noise = shuffler, noise
        self.shuffled = shuffler.get_state()  # from which the order of this epoch comes
        self.sums = sums  # of the loss terms of this epoch's cells so far
        self.batch, self.seconds = 0, 0.0
        self.history: list[dict[str, float]] = []

    def next_epoch(self, n_cells: int) -> None:
        """An epoch over so many cells is over."""
        means = [float(mean) for mean in self.sums / n_cells]
        row = dict(zip(COLUMNS, [len(self.history) + 1, *means[:3], self.seconds], strict=True))
        watched = dict(zip(monitors(self.model), means[3:], strict=True))
        kls = [kl for name, kl in watched.items() if name.startswith("kl_z")]
        active = {"active": sum(kl > ACTIVE for kl in kls)} if kls else {}
        self.history.append({**row, **active, **watched})
        self.shuffled = self.shuffler.get_state()
        self.sums.zero_()
        self.batch, self.seconds = 0, 0.0

    def check(self) -> None:
        """Raises RunError where the loss is no longer finite."""
        total, reconstruction, kl = self.sums[:3].tolist()
        if not all(map(math.isfinite, (total, reconstruction, kl))):
            raise RunError(
                f"the loss is {total} in epoch {len(self.history) + 1} (reconstruction "
                f"{reconstruction:.6g}, kl {kl:.6g}); a smaller lr may help"
            )

    def checkpoint(self) -> Checkpoint:
        """All of it; never what diverged."""
        self.check()
        return Checkpoint(dict(self._tensors()), self.history, self.batch, self.seconds)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes to where a training of the same settings stood.

        Raises:
            ValueError: it was not of the same settings; nothing was changed.
        """
        ours = dict(self._tensors())
        shapes = [{n: t.shape for n, t in x.items()} for x in (ours, checkpoint.tensors)]
        if shapes[0] != shapes[1]:
            raise ValueError("it is of another model")
        with torch.no_grad():
            for name, tensor in ours.items():
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
    model: PCA, x: csr_array | np.ndarray, *, batch_size: int, seed: int, device: torch.device
) -> pd.DataFrame:
    """Sets a model that has a closed form.

    Args:
        model: on `device`; set in place.
        x: (n_cells, n_genes) float32 values.
        batch_size: cells at a time for the loss.
        seed: of the solver's starting vector.
        device: where to compute.

    Returns:
        One row, as `train` has one per epoch.
    """
    start = perf_counter()
    model.solve(x, seed)
    noise = Generator(device)
    total = 0.0
    for index in torch.arange(x.shape[0]).split(batch_size):
        batch = take(x, index.numpy(), device)
        total += float(model.loss(batch, noise).total) * len(index) / x.shape[0]
    return pd.DataFrame([[1, total, total, 0.0, perf_counter() - start]], columns=COLUMNS)
