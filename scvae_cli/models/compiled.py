"""The negative binomial of sparse counts in one pass over each cell, compiled by numba.

PyTorch goes over a batch some twenty times for it, and calls gamma functions for each count. Here
a cell stays in the processor's nearest cache, and a whole count needs a table: with theta the
inverse dispersion,

    log(Gamma(x + theta) / Gamma(theta) / theta^x) = sum of log(1 + j / theta) for j < x,

whose terms are not negative, so that none of them cancel, whatever theta is. The formulas are
those of `sparse_likelihoods`; values and gradients are theirs but for rounding.

Compiling takes some seconds, once on a machine: numba keeps what it compiled. A training that is
too short for that (`pays`) does without, as does one with NUMBA_DISABLE_JIT=1 (with which scanpy
1.11 cannot normalise sparse counts, so that no page names it).
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scvae_cli.models.sparse import SparseRows
from scvae_cli.models.sparse_likelihoods import scaled

# Numbers (cells x genes x steps) of a training from which compiling takes less time than it saves:
# 10 s, and 10 ns a number.
ENOUGH = 1e9


def pays(numbers: float) -> bool:
    """Tell whether a training that computes so many numbers (cells x genes x steps) compiles."""
    if numbers < ENOUGH or os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        return False
    try:
        from scvae_cli.models import kernels  # noqa: F401
    except (ImportError, RuntimeError):  # no numba, or no folder for what it compiles
        return False
    return True


def may_compile(counts: SparseRows, product: Tensor) -> bool:
    """Tell whether `compiled_negative_binomial` takes these counts and logits."""
    if not counts.compiled or product.dtype != torch.float32:
        return False
    values = counts.arrays()[0]
    return bool((values == np.trunc(values)).all())


def compiled_negative_binomial(
    counts: SparseRows, product: Tensor, bias: Tensor, log_theta: Tensor
) -> Tensor:
    """Compute -log P of negative binomial counts, averaged over cells.

    Args:
        counts: see `negative_binomial`.
        product: see there; it is overwritten.
        bias: see there.
        log_theta: see there.

    Returns:
        A scalar.
    """
    arguments = counts, product, bias, log_theta
    loss: Tensor = _NegativeBinomial.apply(*arguments)  # type: ignore[no-untyped-call]
    return loss


class _NegativeBinomial(torch.autograd.Function):
    """-log P and its gradients in product, bias and log theta."""

    @staticmethod
    def forward(
        ctx: Any, counts: SparseRows, product: Tensor, bias: Tensor, log_theta: Tensor
    ) -> Tensor:
        loss, *ctx.grads = negative_binomial(counts, product, bias, log_theta)
        return loss

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        return None, *scaled(tuple(ctx.grads), outer[0])


def negative_binomial(
    counts: SparseRows, product: Tensor, bias: Tensor, log_theta: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute -log P, averaged over cells, and its gradients.

    Args:
        counts: (n_cells, n_genes) whole numbers.
        product: (n_cells, n_genes) float32 logits less their bias, in rows; it is overwritten.
        bias: (n_genes,) of the logits.
        log_theta: (n_genes,) log inverse dispersions.

    Returns:
        The loss, and its gradients in `product` (which takes its memory), bias and log theta.
    """
    # Only now: numba takes half a second.
    from scvae_cli.models.kernels import CHUNK, LAST, chunks, fill_tables

    n_cells, n_genes = product.shape
    theta = log_theta.detach().exp().numpy()
    of_counts = np.empty((2, LAST + 1, n_genes), np.float32)
    fill_tables(theta, of_counts)
    n_chunks = -(-n_cells // CHUNK)
    losses, of_genes = np.empty(n_chunks), np.empty((n_chunks, 2, n_genes), np.float32)
    grad = product.detach()
    work = partial(
        chunks, counts.arrays(), grad.numpy(), bias.detach().numpy(), theta, of_counts, losses,
        of_genes,
    )  # fmt: skip
    threads = min(torch.get_num_threads(), n_chunks)
    if threads == 1:
        work((0, n_chunks))
    else:
        bounds = [n_chunks * i // threads for i in range(threads + 1)]
        list(_pool(threads).map(work, pairwise(bounds)))
    loss = torch.tensor(losses.sum() / n_cells, dtype=product.dtype)
    grad_bias, grad_theta = torch.from_numpy(of_genes.sum(0)).unbind()
    return loss, grad, grad_bias, grad_theta


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return threads that wait for work."""
    return ThreadPoolExecutor(threads)
