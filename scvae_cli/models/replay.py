"""Gradient steps as CUDA graphs: one launch in place of some hundred.

A GPU does each operation of a small network on a batch in less time than Python takes to ask for
it. A graph has all operations of a step, and is asked for once.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

EAGER = 3  # steps before one is recorded, in which libraries set themselves up


class Replay:
    """Does steps, and replays those that are alike.

    Args:
        generator: what a step draws from; of PyTorch's own class, as a graph takes no other.
    """

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._steps: dict[int, _Step] = {}

    def __call__(self, step: Callable[[Tensor], None], index: Tensor, kind: Any) -> None:
        """Do a step.

        Args:
            step: does it, on cells with the indices that it gets.
            index: (n,) of cells, on the GPU.
            kind: of all that the step takes from Python, besides the number of cells: steps of
                the same kind and number differ by nothing but their tensors.
        """
        known = self._steps.get(len(index))
        if known is None or known.kind != kind:
            known = self._steps[len(index)] = _Step(kind)
        known.times += 1
        if known.times <= EAGER:
            step(index)
            return
        if known.graph is None:
            known.record(step, index, self._generator)
        known.replay(index)


class _Step:
    """Steps of a kind.

    Attributes:
        kind: see `Replay`.
        times: how many were asked for.
        graph: of them, once it is recorded.
    """

    def __init__(self, kind: Any) -> None:
        self.kind, self.times = kind, 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self._index = torch.empty(0)

    def record(self, step: Callable[[Tensor], None], index: Tensor, generator: Generator) -> None:
        """Record the operations of a step, and do none of them."""
        self._index = index.clone()
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(generator)
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            step(self._index)
        # Before it records, PyTorch asks for the generator's offset on the GPU to be set to 0, on
        # a stream of its own: else that may be done only after the first replay has set it.
        torch.cuda.synchronize()

    def replay(self, index: Tensor) -> None:
        """Do the step on these cells."""
        assert self.graph is not None
        self._index.copy_(index)
        self.graph.replay()
