"""Train models by gradients; `models.solve` fits those that have a closed form."""

from collections.abc import Callable
from typing import Unpack

import pandas as pd
import torch

from scvae_cli.covariates import Covariates
from scvae_cli.models.batches import Batches, place
from scvae_cli.models.checkpoint import Checkpoint
from scvae_cli.models.compiled import pays
from scvae_cli.models.model import Model
from scvae_cli.models.rounds import Settings, rounds_of
from scvae_cli.models.team import Team
from scvae_cli.models.training import Training
from scvae_cli.rows import Values

# Called with the number of rounds that are done, that of steps of the next one, and what makes a
# checkpoint of them.
AfterStep = Callable[[int, int, Callable[[], Checkpoint]], None]


def train(
    model: Model,
    x: Values,
    *,
    device: torch.device,
    on_epoch: Callable[[dict[str, float]], None],
    counts: Values | None = None,
    covariates: Covariates | None = None,
    validate: Callable[[Model], float] | None = None,
    start: Checkpoint | None = None,
    keep: AfterStep = lambda *_: None,
    team: Team | None = None,
    **settings: Unpack[Settings],
) -> pd.DataFrame:
    """Minimise the model's loss with Adam over shuffled batches of cells.

    Args:
        model: on `device`; trained in place.
        x: (n_cells, n_genes) float32 values.
        device: where to compute.
        on_epoch: called after each round with its row of the history.
        counts: (n_cells, n_genes) counts, which likelihoods of counts need.
        covariates: of the cells, where the model was built with them.
        validate: computes a loss on what was held out; the best round's weights are kept.
        start: a checkpoint of the same training, to resume it from; the end is the same.
        keep: called after each step, and after each round.
        team: the processes that train the model together, if there are several.
        settings: see `Settings`.

    Returns:
        A row per epoch, or per hundredth of the updates; see `Training.end_round`.

    Raises:
        RunError: the loss is no longer finite.
        TeamLostError: another process of the team has ended.
    """
    rounds = rounds_of(x, settings)
    numbers = rounds.n_steps * min(rounds.batch_size, rounds.n_cells) * x.shape[1]
    training = Training(model, device, rounds, settings, validate, team)
    training.restore(start)
    for row in training.history:
        on_epoch(row)
    cells = place(x, counts, covariates, device, compiled=model.compiles and pays(numbers))
    _finish(training, cells, on_epoch, keep)
    return pd.DataFrame(training.history, columns=training.columns)


def _finish(
    training: Training,
    batches: Batches,
    on_epoch: Callable[[dict[str, float]], None],
    keep: AfterStep,
) -> None:
    """Do the rounds that are left of a training, and take its best weights."""
    while not training.is_over:
        for _ in training.steps(batches):
            keep(len(training.history), training.in_round, training.checkpoint)
        on_epoch(training.end_round())
        keep(len(training.history), 0, training.checkpoint)
    training.take_best()
