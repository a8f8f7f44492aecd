"""Fit models that have a closed form."""

from collections.abc import Callable
from time import perf_counter

import pandas as pd
import torch
from torch import Generator

from scvae_cli.models.batches import place
from scvae_cli.models.model import Model
from scvae_cli.models.training import COLUMNS
from scvae_cli.rows import Rows, Values


@torch.inference_mode()
def solve(
    model: Model,
    x: Values,
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    validate: Callable[[Model], float] | None = None,
) -> pd.DataFrame:
    """Fit a model that has a closed form.

    Args:
        model: with `is_solved`, on `device`; set in place.
        x: (n_cells, n_genes) float32 values.
        batch_size: cells at a time for the loss.
        seed: of the solver's starting vector.
        device: where to compute.
        validate: computes the validation loss, if there is one.

    Returns:
        One row with the columns `COLUMNS` and `validation`, as `train` has one per epoch.
    """
    start = perf_counter()
    model.solve(x.whole() if isinstance(x, Rows) else x, seed)
    noise = Generator(device)
    total = 0.0
    for batch in place(x, None, None, device).in_order(batch_size):
        total += float(model.loss(batch.x, noise).total) * batch.n_cells / x.shape[0]
    history = pd.DataFrame([[1, total, total, 0.0, perf_counter() - start]], columns=COLUMNS)
    return history if validate is None else history.assign(validation=validate(model))
