"""One loop for every model that is trained; the one line for the model that is solved."""

import math
from collections.abc import Callable, Iterable
from time import perf_counter

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array
from torch import Generator, Tensor, nn
from torch.optim.adam import adam

from scvae_cli.batches import take
from scvae_cli.errors import RunError
from scvae_cli.models import PCA, Model

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
        self._parameters: list[Tensor] = list(parameters)
        self._means = [torch.zeros_like(p) for p in self._parameters]
        self._squares = [torch.zeros_like(p) for p in self._parameters]
        self._steps = [torch.zeros((), device=p.device) for p in self._parameters]

    @torch.no_grad()
    def step(self, loss: Tensor) -> None:
        """Changes the parameters against the gradient of the loss."""
        gradients = torch.autograd.grad(loss, self._parameters)
        adam(
            self._parameters,
            list(gradients),
            self._means,
            self._squares,
            [],
            self._steps,
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.lr,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )


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

    Returns:
        A row per epoch: the loss terms averaged over cells, as they were while training, and the
        seconds it took.

    Raises:
        RunError: the loss is no longer finite.
    """
    shuffler = Generator().manual_seed(batch_seed)
    noise = Generator(device).manual_seed(noise_seed)
    optimizer = Adam(model.parameters(), lr)
    model.train()
    history = []
    for epoch in range(1, epochs + 1):
        start = perf_counter()
        sums = torch.zeros(3, device=device)
        for index in torch.randperm(x.shape[0], generator=shuffler).split(batch_size):
            loss = model.loss(take(x, index.numpy(), device), noise)
            optimizer.step(loss.total)
            sums += torch.stack(loss).detach() * len(index)
        terms = [float(term) for term in sums / x.shape[0]]
        row = dict(zip(COLUMNS, [epoch, *terms, perf_counter() - start], strict=True))
        if not all(map(math.isfinite, terms)):
            raise RunError(
                f"the loss is {row['total']} in epoch {epoch} of {epochs} (reconstruction "
                f"{row['reconstruction']:.6g}, kl {row['kl']:.6g}); a smaller lr may help"
            )
        history.append(row)
        on_epoch(row)
    return pd.DataFrame(history, columns=COLUMNS)


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
