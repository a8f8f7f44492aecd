"""The optimiser."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

LARGE = 100_000  # numbers in a parameter whose gradient is not kept


def keep_freed_memory() -> None:
    """Make Linux's C library keep what a step frees for the next step.

    By default it gives gradients back to the system, which clears them for the next step: up to a
    fifth of its time. Once a block of nearly 32 MiB has been freed, 64 MiB are kept (mallopt(3),
    on the dynamic mmap threshold). Elsewhere this does nothing.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


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
        # A GPU has no such cache, and changes all of them in one pass.
        self._large = [p for p in self._states if p.numel() >= LARGE and not p.is_cuda]
        self._small = [p for p in self._states if p.numel() < LARGE or p.is_cuda]

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the name of each tensor of the optimiser's state, and the tensor."""
        for i, state in enumerate(self._states.values()):
            for name, tensor in state._asdict().items():
                yield f"adam.{name}.{i}", tensor

    def step(self, loss: Tensor, add: Callable[[list[Tensor]], None] | None = None) -> None:
        """Change the parameters against the gradient of the loss.

        Each large parameter is changed as soon as its gradient is computed: it is still in the
        cache then, and is freed before the next gradient is computed.

        Args:
            loss: of a batch.
            add: adds to all gradients those of other processes, in place.
        """
        if add is not None:
            loss.backward()
            for p in self._states:
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            add([p.grad for p in self._states if p.grad is not None])
            self._change(*self._states)
            return
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
    """Means of a parameter's gradient and of its square, and the number of steps so far."""

    mean: Tensor
    square: Tensor
    step: Tensor
