"""Help the first of torchrun's processes to train: compute a part of each of its batches."""

from pathlib import Path

import torch

from scvae_cli.config import Config
from scvae_cli.data.sources import load
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.models.team import Team, TeamLostError, joined
from scvae_cli.models.train import train
from scvae_cli.stages.fit import new_model, training_settings
from scvae_cli.stages.holdout import hold_out
from scvae_cli.threads import available


def train_along() -> None:
    """Wait for the first process's order, train with it, and write nothing.

    Raises:
        InputError: the cells that this process reads are not those of the first one.
        SystemExit: another process has ended, of which the first one tells.
    """
    try:
        with joined() as team:
            assert team is not None
            _obey(team)
    except TeamLostError:
        raise SystemExit(1) from None


def _obey(team: Team) -> None:
    """Train as the first process orders, or do nothing."""
    order = team.wait()
    if order is None:
        return
    config = Config.model_validate(order.settings)
    torch.set_num_threads(config.threads or available())
    folder = Path(config.output_dir)
    dataset = load(**config.data.model_dump(), folder=folder if folder.is_dir() else None)
    if dataset.fingerprint() != order.fingerprint:
        reason = "one of torchrun's processes reads other cells than the first one"
        raise InputError(Kind.DIFFERS, Given("data", config.data.name), reason)
    model = new_model(config, dataset, order.device)
    data = hold_out(config, dataset, order.device, folder)
    model.begin(data.x, data.counts, data.covariates)
    train(
        model,
        data.x,
        device=order.device,
        on_epoch=lambda row: None,
        counts=data.counts,
        covariates=data.covariates,
        validate=data.validate,
        start=order.start,
        team=team,
        **training_settings(config)[0],
    )
