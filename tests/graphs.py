"""CUDA graphs where there is no GPU: operations are noted, and done again one by one.

As a real one, a graph takes no generator but PyTorch's own, none of what is done while it is
recorded has an effect, and reading a value back, or a size that depends on values, is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class Graph:
    """In place of `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.generators: list[Generator] = []
        self.calls: list[tuple[Any, tuple, dict, Any]] = []

    def register_generator_state(self, generator: Generator) -> None:
        if type(generator) is not Generator:
            raise TypeError(f"expected a Generator, but got {type(generator).__name__}")
        self.generators.append(generator)

    @torch.no_grad()
    def replay(self) -> None:
        for function, args, kwargs, noted in self.calls:
            done = function(*args, **kwargs)
            for old, new in zip(tree_leaves(noted), tree_leaves(done), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class _Recording(TorchDispatchMode):
    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.before: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None):
        masks = any(isinstance(t, Tensor) and t.dtype == torch.bool for t in tree_leaves(args[1:]))
        if READS.intersection(func.tags) and (masks or func is not torch.ops.aten.index.Tensor):
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        kwargs = kwargs or {}
        given = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
        for argument in func._schema.arguments:
            if argument.alias_info is not None and argument.alias_info.is_write:
                changed = tree_leaves(given.get(argument.name))
                self.before += [(t, t.clone()) for t in changed if isinstance(t, Tensor)]
        done = func(*args, **kwargs)
        self.graph.calls.append((func, args, kwargs, done))
        return done


@contextmanager
def record(graph: Graph, **_: object) -> Iterator[None]:
    """In place of `torch.cuda.graph`."""
    states = [generator.get_state() for generator in graph.generators]
    recording = _Recording(graph)
    with recording:
        yield
    with torch.no_grad():
        for tensor, before in reversed(recording.before):
            tensor.copy_(before)
    for generator, state in zip(graph.generators, states, strict=True):
        generator.set_state(state)
