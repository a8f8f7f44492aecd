"""Fit the model: take what a resumed or another run has trained, solve, or train."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch

from scvae_cli.config import Config
from scvae_cli.console import Stage
from scvae_cli.data.dataset import Dataset
from scvae_cli.errors import Given, InputError, Kind, RunError
from scvae_cli.interrupts import held
from scvae_cli.models.checkpoint import Checkpoint, Checkpointer, unpack
from scvae_cli.models.model import Model
from scvae_cli.models.registry import build
from scvae_cli.models.train import columns, solve, train
from scvae_cli.stages.cells import Loaded
from scvae_cli.stages.context import Context
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
    with context.stage("train") as shown:
        model = build(
            n_genes=dataset.n_genes,
            n_latent=config.latent_dim,
            seed=config.seeds.weights,
            **options,
        ).to(context.device)
        history = _fitted(context, loaded, model, shown)
        if len(history):
            last = history.iloc[-1]
            terms = f"reconstruction {last['reconstruction']:.6g}, kl {last['kl']:.4g}"
            shown.say(f"loss {last['total']:.6g}: {terms}")
        else:
            shown.say("none: a control")
    writer.write_table("history", history)
    writer.write_model(
        model.state_dict(),
        {"n_genes": dataset.n_genes, "n_latent": config.latent_dim, **options},
    )
    return model, history


def _fitted(context: Context, loaded: Loaded, model: Model, shown: Stage) -> pd.DataFrame:
    """Give the model its weights, from wherever they come; return the history."""
    config, writer = context.config, context.writer
    if (kept := writer.kept_training()) is not None:
        return _restore(config, model, *kept, writer.path)
    if loaded.training is not None:
        return _restore(config, model, *loaded.training, Given("trained", config.trained))
    if model.is_solved:
        return solve(
            model,
            loaded.dataset.x,
            batch_size=config.batch_size,
            seed=config.seeds.weights,
            device=context.device,
        )
    return _train(context, model, loaded.dataset, shown)


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


def _train(context: Context, model: Model, dataset: Dataset, shown: Stage) -> pd.DataFrame:
    """Train from the start or a checkpoint, and keep checkpoints; see `train`."""
    config, writer = context.config, context.writer
    epochs, lr = config.epochs, config.lr
    assert epochs is not None
    assert lr is not None
    rows: list[dict[str, float]] = []
    threads = for_step(
        torch.get_num_threads(),
        batch_size=min(config.batch_size, dataset.n_cells),
        layer_size=max(weights.numel() for weights in model.parameters()),
    )

    def on_epoch(row: dict[str, float]) -> None:
        rows.append(row)
        shown.epoch(row, epochs)

    with held() as interrupt, _threads(threads):
        try:
            return train(
                model,
                dataset.x,
                epochs=epochs,
                batch_size=config.batch_size,
                lr=lr,
                batch_seed=config.seeds.batches,
                noise_seed=config.seeds.noise,
                device=context.device,
                on_epoch=on_epoch,
                counts=None if config.likelihood == "gaussian" else dataset.counts(),
                kl_warmup=config.kl_warmup or 0.0,
                start=_checkpoint(context),
                keep=Checkpointer(config.checkpoint.every, writer.write_checkpoint, interrupt),
            )
        except RunError:
            if rows:
                writer.write_table("history", pd.DataFrame(rows, columns=columns(model)))
            raise


@contextmanager
def _threads(n: int) -> Iterator[None]:
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
