"""The state of a training between two steps, in bytes: safetensors whose header holds JSON."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from scvae_cli.interrupts import Held


@dataclass(frozen=True)
class Checkpoint:
    """All that a training needs to continue as if it had not stopped.

    Attributes:
        tensors: weights, the optimiser's state, the generators' states, sums of the round.
        history: a row for each round that is done.
        counts: number of steps that are done, of batches of this epoch, of cells of this round.
        seconds: what the steps of this round took.
    """

    tensors: dict[str, Tensor]
    history: list[dict[str, float]]
    counts: tuple[int, int, int]
    seconds: float

    def pack(self) -> bytes:
        """Return its bytes, with a checksum."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.tensors.items()}
        facts = json.dumps([self.history, self.counts, self.seconds])
        return save(tensors, {"facts": facts, "sha256": _digest(tensors, facts)})


def unpack(contents: bytes) -> Checkpoint:
    """Read what `Checkpoint.pack` has made.

    Raises:
        ValueError: the bytes are damaged.
    """
    try:
        size = int.from_bytes(contents[:8], "little")
        header = json.loads(contents[8 : 8 + size])["__metadata__"]
        tensors = load(contents)
        if _digest(tensors, header["facts"]) != header["sha256"]:
            raise ValueError("its checksum is not its own")
        return Checkpoint(tensors, *json.loads(header["facts"]))
    except (SafetensorError, KeyError, TypeError, RecursionError, AttributeError) as error:
        raise ValueError(str(error)) from error


class Checkpointer:
    """Writes checkpoints of a training when they are due, and ends it when a signal has come.

    Args:
        every: a number of rounds, or minutes (`5min`); None for never.
        write: writes the bytes of a checkpoint.
        interrupt: the signal that may have come.
    """

    def __init__(
        self, every: int | str | None, write: Callable[[bytes], None], interrupt: Held
    ) -> None:
        self._rounds = every if isinstance(every, int) else None
        self._seconds = 60 * float(every.removesuffix("min")) if isinstance(every, str) else None
        self._write, self._interrupt = write, interrupt
        self._last = monotonic()

    def __call__(self, n_rounds: int, step: int, take: Callable[[], Checkpoint]) -> None:
        """Write a checkpoint if one is due or a signal has come, and raise the signal.

        Args:
            n_rounds: number of rounds that are done.
            step: number of steps of the next round that are done.
            take: makes the checkpoint.
        """
        due = (
            (monotonic() - self._last >= self._seconds)
            if self._seconds is not None
            else bool(self._rounds and step == 0 and n_rounds % self._rounds == 0)
        )
        if due or self._interrupt.came:
            self._write(take().pack())
            self._last = monotonic()
        self._interrupt.leave()


def _digest(tensors: dict[str, Tensor], facts: str) -> str:
    sha = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()
