"""Measure epochs of our models against those of plain loops, in turns."""

from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from statistics import median
from typing import Any

import torch
from scipy.sparse import csr_array

from benchmarks.training.dense import Plain, loader_epoch, plain_epoch
from scvae_cli.launch.compose import compose
from scvae_cli.models.registry import build
from scvae_cli.models.train import train

CPU = torch.device("cpu")
ROUNDS = 9


def our_model(kind: str, n_genes: int) -> Any:
    """Return a model of the report's size: `ae`, `vae` or `vsc`."""
    config = compose([f"model={kind}", "data=pbmc3k"])
    options = config.model.model_dump() | ({"beta": 2.0} if kind != "ae" else {})
    options["likelihood"] = config.likelihood
    return build(n_genes=n_genes, n_latent=6, seed=0, **options)


def our_epoch(model: Any, x: csr_array, epochs: int = 2) -> float:
    """Train our model for some epochs.

    Returns:
        Seconds of an epoch: the median without the first one, which starts the optimiser.
    """
    history = train(
        model, x, epochs=epochs, batch_size=256, lr=0.001, batch_seed=0, noise_seed=0, device=CPU,
        on_epoch=lambda row: None,
    )  # fmt: skip
    return float(median(history["seconds"][1:]))


def in_turns(epochs: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Return the seconds of epochs that take turns, after one of each to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in epochs}
    for turn in range(ROUNDS + 1):
        for name, epoch in epochs.items():
            taken = epoch()
            if turn:
                seconds[name].append(taken)
    return seconds


def contest(kind: str, x: csr_array, opponent: str) -> list[str]:
    """Measure our model against a plain one.

    Each is in a process of its own, so that none trains with memory that the other has left.

    Args:
        kind: `ae`, `vae` or `vsc`.
        x: log-normalised values (n_cells, n_genes).
        opponent: `plain`, or `loader` for the authors' size and way of feeding.

    Returns:
        Cells of a row: seconds of an epoch of each, and their ratio.
    """
    spawn = get_context("spawn")
    with ExitStack() as open_pools:
        pools = {
            side: open_pools.enter_context(ProcessPoolExecutor(1, spawn, _enter, (side, kind, x)))
            for side in ("ours", opponent)
        }
        times = in_turns({side: partial(_epoch_in, pool) for side, pool in pools.items()})
    ratios = [t / o for t, o in zip(times[opponent], times["ours"], strict=True)]
    return [
        f"{median(times['ours']):.3f}", f"{median(times[opponent]):.3f}",
        f"{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
    ]  # fmt: skip


_epoch: Callable[[], float]  # of the side whose process this is


def _enter(side: str, kind: str, x: csr_array) -> None:
    """Make this process that of one side."""
    global _epoch
    if side == "ours":
        _epoch = partial(our_epoch, our_model(kind, x.shape[1]), x, 4)
        return
    dense = torch.from_numpy(x.toarray())
    model = Plain(kind, x.shape[1], wide=side == "loader")
    adam = torch.optim.Adam(model.parameters(), lr=0.001)
    if side == "loader":
        _epoch = partial(loader_epoch, model, adam, dense.double())
    else:
        _epoch = partial(plain_epoch, model, adam, dense)


def _turn() -> float:
    """Return the seconds of an epoch of the side whose process this is."""
    return _epoch()


def _epoch_in(pool: ProcessPoolExecutor) -> float:
    """Return the seconds of an epoch in the process of a side."""
    return pool.submit(_turn).result()
