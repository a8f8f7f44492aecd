"""Fit the model: take what a resumed or another run has trained, solve, or train."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from scvae_cli.analysis.embed import embed
from scvae_cli.config import Config
from scvae_cli.data.dataset import Dataset
from scvae_cli.errors import Given, InputError, Kind, RunError
from scvae_cli.interrupts import Held, held
from scvae_cli.models.checkpoint import Checkpoint, Checkpointer, unpack
from scvae_cli.models.ensemble import Ensemble
from scvae_cli.models.model import Model
from scvae_cli.models.registry import build
from scvae_cli.models.rounds import Settings
from scvae_cli.models.solve import solve
from scvae_cli.models.team import Order, Team, TeamLostError, joined
from scvae_cli.models.together import Together
from scvae_cli.models.train import train
from scvae_cli.stages.cells import Loaded
from scvae_cli.stages.context import Context
from scvae_cli.stages.holdout import TrainingData, hold_out
from scvae_cli.stages.length import members_of, too_short
from scvae_cli.stages.loggers import Log, logged
from scvae_cli.threads import for_step


def fit_model(context: Context, loaded: Loaded) -> tuple[Model, pd.DataFrame]:
    """Fit the model, and write history.csv and model.safetensors.

    Returns:
        The model, and a row per epoch with the terms of its loss.

    Raises:
        InputError: the weights that are there are not those of this model.
        RunError: training went wrong.
    """
    config, writer = context.config, context.writer
    dataset, options = loaded.dataset, config.model_options
    with context.stage("train") as shown, joined() as team:
        model = new_model(config, dataset, context.device)
        data = hold_out(config, dataset, context.device, writer.path)

        def fit(log: Log) -> pd.DataFrame:
            def on_round(row: dict[str, float]) -> None:
                log(row)
                shown.progress(row, config.epochs or config.updates or 0)

            begin = partial(_train, context, dataset, model, data, on_round, team)
            return _fitted(context, loaded, model, data, begin)

        # Rows of an ensemble are means of its members.
        history = logged(context, fit, live=not isinstance(model, Ensemble))
        if len(history):
            shown.say(_in_words(history))
        else:
            shown.say("none: a control")
        how: dict[str, Any] = {"batch_size": config.batch_size, "device": context.device}
        warnings = too_short(config, model, history, data, **how)
    for warning in warnings:
        context.warn(warning)
    writer.write_table("history", history)
    writer.write_model(
        model.state_dict(),
        {"n_genes": dataset.n_genes, "n_latent": config.latent_dim, **options},
    )
    return model, history


def new_model(
    config: Config, dataset: Dataset, device: torch.device, *, alone: bool = False
) -> Model:
    """Return the model of the settings with its first weights.

    Args:
        config: of the run.
        dataset: the cells.
        device: where to compute.
        alone: whether to return the first member of an ensemble, and not all.
    """
    others = [] if alone else [seeds.weights for seeds in config.member_seeds[1:]]
    return build(
        n_genes=dataset.n_genes,
        n_latent=config.latent_dim,
        seed=config.seeds.weights,
        others=others,
        covariates=dataset.covariates,
        **config.model_options,
    ).to(device)


def _in_words(history: pd.DataFrame) -> str:
    """Say the last loss, or the least validation loss, whose weights are kept."""
    members = members_of(history)
    of = f", mean of {len(members)}" if len(members) > 1 else ""
    if "validation" not in history:
        last = pd.DataFrame([rows.iloc[-1] for rows in members]).mean()
        terms = f"reconstruction {last['reconstruction']:.6g}, kl {last['kl']:.4g}"
        return f"loss {last['total']:.6g}: {terms}{of}"
    best = sum(rows["validation"].min() for rows in members) / len(members)
    if of or len(history) == 1:
        return f"validation {best:.5g}{of}"
    unit, key = ("update", "updates") if "updates" in history else ("epoch", "epoch")
    at = history[key][history["validation"].idxmin()]
    return f"validation {best:.5g}, at {unit} {at:g} of {history[key].iloc[-1]:g}"


def _fitted(
    context: Context,
    loaded: Loaded,
    model: Model,
    data: TrainingData,
    begin: Callable[[], pd.DataFrame],
) -> pd.DataFrame:
    """Give the model its weights, from wherever they come, else train it; return the history."""
    config, writer = context.config, context.writer
    if (kept := writer.kept_training()) is not None:
        return _restore(config, model, *kept, writer.path)
    if loaded.training is not None:
        return _restore(config, model, *loaded.training, Given("trained", config.trained))
    if model.is_solved:
        return solve(
            model,
            data.x,
            batch_size=config.batch_size,
            seed=config.seeds.weights,
            device=context.device,
            validate=data.validate,
        )
    history = begin()
    if isinstance(model, Ensemble):
        _standardise(context, model, loaded.dataset)
    return history


def _standardise(context: Context, model: Ensemble, dataset: Dataset) -> None:
    """Bring the latent spaces of the members to one scale, by all cells."""
    how: dict[str, Any] = {"batch_size": context.config.batch_size, "device": context.device}
    how |= {"kind": "mean", "seed": 0}
    cells = dataset.x, dataset.covariates
    model.standardise([embed(member, *cells, **how) for member in model.models])


def _restore(
    config: Config,
    model: Model,
    weights: dict[str, torch.Tensor],
    history: pd.DataFrame,
    where: Given | Path,
) -> pd.DataFrame:
    """Give the model weights that are there; return their history."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            Kind.DIFFERS,
            where,
            f"its weights are not those of model={config.model.name}",
            "train it again",
        ) from error
    return history


def _train(
    context: Context,
    dataset: Dataset,
    model: Model,
    data: TrainingData,
    on_round: Callable[[dict[str, float]], None],
    team: Team | None,
) -> pd.DataFrame:
    """Train from the start or a checkpoint, and keep checkpoints; see `train`."""
    config, writer = context.config, context.writer
    rows: list[dict[str, float]] = []
    start = _checkpoint(context)
    if team is not None:
        team.order(Order(config.model_dump(), dataset.fingerprint(), context.device, start))
        writer.note(processes=team.size)
    model.begin(data.x, data.counts, data.covariates)

    def keep_row(row: dict[str, float]) -> None:
        rows.append(row)
        on_round(row)

    with held() as interrupt:
        how: dict[str, Any] = {
            "device": context.device,
            "counts": data.counts,
            "covariates": data.covariates,
            "validate": data.validate,
            "start": start,
        }
        keep = Checkpointer(config.checkpoint.every, writer.write_checkpoint, interrupt)
        settings = training_settings(config)
        with _kept_when_it_fails(context, rows, interrupt):
            if isinstance(model, Ensemble):
                together = Together(model.models, data.x, settings=settings, **how)
                return together.train(
                    context.threads,
                    on_round=keep_row,
                    interrupted=lambda: interrupt.came is not None,
                    keep=keep,
                )
            with computing_with(threads_of_step(config, model, data.x.shape[0])):
                how |= {"team": team, "keep": keep}
                return train(model, data.x, on_epoch=keep_row, **how, **settings[0])


@contextmanager
def _kept_when_it_fails(
    context: Context, rows: list[dict[str, float]], interrupt: Held
) -> Iterator[None]:
    """Keep what a training had when it failed, and raise why.

    Args:
        context: of the run.
        rows: of its history.
        interrupt: the signal that may have come.
    """
    try:
        yield
    except RunError as error:
        if isinstance(error, TeamLostError):
            if error.checkpoint is not None:
                context.writer.write_checkpoint(error.checkpoint.pack())
            interrupt.leave()  # which may be what ended the other process, too
        if rows:
            context.writer.write_table("history", pd.DataFrame(rows))
        raise


def training_settings(config: Config) -> list[Settings]:
    """Return how to train each member of the ensemble, or the one model."""
    assert config.lr is not None
    return [
        Settings(
            epochs=config.epochs,
            updates=config.updates,
            batch_size=config.batch_size,
            lr=config.lr,
            batch_seed=seeds.batches,
            noise_seed=seeds.noise,
            kl_warmup=config.kl_warmup or 0.0,
            patience=config.patience,
        )
        for seeds in config.member_seeds
    ]


def threads_of_step(config: Config, model: Model, n_cells: int) -> int:
    """Return the number of threads for a gradient step of a single model."""
    return for_step(
        torch.get_num_threads(),
        batch_size=min(config.batch_size, n_cells),
        layer_size=max(weights.numel() for weights in model.parameters()),
    )


@contextmanager
def computing_with(n: int) -> Iterator[None]:
    """Let torch compute with n threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _checkpoint(context: Context) -> Checkpoint | None:
    """Return where the training of a resumed run stood; None to begin."""
    contents = context.writer.read_checkpoint()
    try:
        return None if contents is None else unpack(contents)
    except ValueError as error:
        context.warn(f"checkpoint.safetensors is damaged ({error}); training starts again")
        return None
