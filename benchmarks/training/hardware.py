"""Estimate how long an epoch must take at least on this machine."""

import platform
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from scipy.sparse import csr_array


def machine() -> str:
    """Return processor, number of threads and versions."""
    name = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        name = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), name)
    return (
        f"{name}, {torch.get_num_threads()} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}, numpy {np.__version__}"
    )


def lower_bound(x: csr_array, seconds: float) -> list[str]:
    """Say what an epoch of the VAE computes and moves, and how fast this machine could do it.

    Args:
        x: log-normalised values (n_cells, n_genes).
        seconds: that an epoch takes.
    """
    n_genes, width, steps = x.shape[1], 128, -(-x.shape[0] // 256)
    size = 4 * n_genes * width  # bytes of the first layer's weights, and of the last one's
    sparse = 4 * 2 * x.nnz * width  # X W and X' G, of both layers
    gram = 2 * 2 * steps * n_genes * width**2  # W'W and W (H'H)
    adam = steps * 2 * 12 * n_genes * width
    # Adam reads four arrays and writes three; three more products write one or read it whole.
    moved = steps * size * (2 * 7 + 2 + 3) + 4 * x.nnz * (4 * width + 8)
    a, b = torch.randn(2048, 2048), torch.randn(n_genes, width)
    c = torch.empty_like(b)
    peak = 2 * 2048**3 / _fastest(lambda: a @ a)
    band = 2 * size / _fastest(lambda: c.copy_(b))
    least = (gram / peak) + (moved / band)
    return [
        f"An epoch of the VAE does {(sparse + gram + adam) / 1e9:.1f} GFLOP: the Gram products "
        f"{gram / 1e9:.1f}, the sparse products {sparse / 1e9:.1f}, Adam {adam / 1e9:.1f}. It "
        f"moves {moved / 1e9:.1f} GB: weights, gradients and Adam's moments, and a row of weights "
        "for each non-zero of each sparse product.",
        f"Measured here: {peak / 1e9:.0f} GFLOP/s (2048 x 2048 matrix product) and "
        f"{band / 1e9:.0f} GB/s (copy of an array of the weights' size). The Gram products at "
        f"that speed and everything moved at that bandwidth take {least:.3f} s; the epoch takes "
        f"{seconds:.3f} s, {seconds / least:.1f} times that. The rest is the transposition of "
        "each batch, the small layers and what caches do not hold.",
    ]


def _fastest(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest of ten."""
    times = []
    for _ in range(10):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return min(times)
