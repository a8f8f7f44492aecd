"""Processes that train one model together: each computes a part of every batch.

`torchrun` starts them. All have the same cells and weights; after each step's gradients are
added up, all change their weights alike, as one process would by the whole batch.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, Self

import torch
from torch import Generator, Tensor
from torch import distributed as dist

from scvae_cli.errors import Kind, RunError
from scvae_cli.models.checkpoint import Checkpoint, unpack
from scvae_cli.processes import n_processes

PATIENCE = timedelta(hours=1)  # that the first process may take to read the cells


class TeamLostError(RunError):
    """Another process of the team has ended.

    Attributes:
        checkpoint: of the training after its last whole step.
    """

    def __init__(self) -> None:
        reason = "another process of the training has ended"
        super().__init__(Kind.UNAVAILABLE, None, reason, "resume=FOLDER continues")
        self.checkpoint: Checkpoint | None = None


class Order(NamedTuple):
    """What the first process asks of the others; it goes to them as JSON and safetensors.

    Attributes:
        settings: of the run.
        fingerprint: of its cells.
        device: where to compute.
        start: the checkpoint to start from, if there is one.
    """

    settings: dict[str, Any]
    fingerprint: str
    device: torch.device
    start: Checkpoint | None

    def pack(self) -> bytes:
        """Return its bytes: a line of JSON, and the checkpoint."""
        facts = json.dumps([self.settings, self.fingerprint, str(self.device)])
        return b"\n".join([facts.encode(), b"" if self.start is None else self.start.pack()])

    @classmethod
    def unpack(cls, contents: bytes) -> Self:
        """Return what `pack` has made bytes of."""
        facts, _, start = contents.partition(b"\n")
        settings, fingerprint, device = json.loads(facts)
        checkpoint = unpack(start) if start else None
        return cls(settings, fingerprint, torch.device(device), checkpoint)


class PartOfNoise(Generator):
    """A generator of which a process takes the part for its own cells of a batch.

    Attributes:
        first: number of cells of the batch before its own.
        n_cells: of the batch; None for the own ones alone.
    """

    first: int = 0
    n_cells: int | None = None


def draw(function: Any, like: Tensor, generator: Generator) -> Tensor:
    """Draw numbers by `torch.randn` or `torch.rand` for each number of a tensor.

    A process of a team draws those that one process would draw for these cells.

    Args:
        function: one of the two.
        like: (n_cells, n_latent), whose type and device they get.
        generator: of the numbers.
    """
    how: dict[str, Any] = {"generator": generator, "dtype": like.dtype, "device": like.device}
    if not isinstance(generator, PartOfNoise) or generator.n_cells is None:
        numbers: Tensor = function(like.shape, **how)
        return numbers
    whole: Tensor = function((generator.n_cells, *like.shape[1:]), **how)
    return whole[generator.first : generator.first + len(like)]


class Team:
    """The processes.

    Attributes:
        rank: number of this process; the first one, 0, writes the run.
        size: number of processes.
    """

    def __init__(self) -> None:
        backend = "gloo"  # also of processes that share a GPU, which NCCL refuses
        if n_gpus := torch.cuda.device_count():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % n_gpus)
            if int(os.environ["LOCAL_WORLD_SIZE"]) <= n_gpus:
                backend = "cpu:gloo,cuda:nccl"
        with _lost():
            dist.init_process_group(backend, timeout=PATIENCE)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._told = False

    def order(self, order: Order) -> None:
        """Tell the other processes what to train.

        Raises:
            TeamLostError: a process has ended.
        """
        self._told = True
        self._share(order.pack())

    def wait(self) -> Order | None:
        """Return the first process's order; None where there is nothing to train.

        Raises:
            TeamLostError: a process has ended.
        """
        contents = self._share(b"")
        return Order.unpack(contents) if contents else None

    def dismiss(self) -> None:
        """Let the other processes go, where there is nothing to train."""
        if self.rank == 0 and not self._told:
            self._share(b"")

    def _share(self, contents: bytes) -> bytes:
        """Return the first process's bytes."""
        size = torch.tensor(len(contents))
        with _lost():
            dist.broadcast(size, 0)
            box = torch.zeros(int(size), dtype=torch.uint8)
            if self.rank == 0 and contents:
                box = torch.frombuffer(bytearray(contents), dtype=torch.uint8)
            if len(box):
                dist.broadcast(box, 0)
        return box.numpy().tobytes()

    def part(self, index: Tensor, generator: PartOfNoise) -> Tensor:
        """Return this process's part of a batch's cells (n,); the generator then draws for it."""
        bounds = [len(index) * rank // self.size for rank in (self.rank, self.rank + 1)]
        generator.first, generator.n_cells = min(bounds[0], len(index) - 1), len(index)
        return index[bounds[0] : bounds[1]]

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Give each tensor, of the same shapes in all processes, the sum over processes.

        Raises:
            TeamLostError: a process has ended.
        """
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _lost():
            dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # dist.DistBackendError among them
        raise TeamLostError from error


@contextmanager
def joined() -> Iterator[Team | None]:
    """Join the processes that torchrun has started; None where there is one alone."""
    if n_processes() == 1:
        yield None
        return
    team = Team()
    try:
        yield team
        team.dismiss()
    finally:
        dist.destroy_process_group()
