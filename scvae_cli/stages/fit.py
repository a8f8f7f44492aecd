"""Fit the model: take what a resumed or another run has trained, solve, or train."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array

from scvae_cli.config import Config
from scvae_cli.console import Stage
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.holdout import MOST_CELLS, split_cells, split_molecules
from scvae_cli.errors import Given, InputError, Kind, RunError
from scvae_cli.interrupts import held
from scvae_cli.models.checkpoint import Checkpoint, Checkpointer, unpack
from scvae_cli.models.model import Model
from scvae_cli.models.registry import build
from scvae_cli.models.solve import solve
from scvae_cli.models.train import train
from scvae_cli.models.validation import HeldOutCells, HeldOutMolecules
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
            shown.say(_in_words(history))
        else:
            shown.say("none: a control")
    if warning := _too_short(config, history):
        context.warn(warning)
    writer.write_table("history", history)
    writer.write_model(
        model.state_dict(),
        {"n_genes": dataset.n_genes, "n_latent": config.latent_dim, **options},
    )
    return model, history


def _in_words(history: pd.DataFrame) -> str:
    """Say the last loss, and where the validation loss was least, whose weights are kept."""
    last = history.iloc[-1]
    if "validation" not in history:
        terms = f"reconstruction {last['reconstruction']:.6g}, kl {last['kl']:.4g}"
        return f"loss {last['total']:.6g}: {terms}"
    unit, key = ("update", "updates") if "updates" in history else ("epoch", "epoch")
    best = history.loc[history["validation"].idxmin()]
    return f"validation {best['validation']:.5g}, of {unit} {best[key]:g} of {last[key]:g}"


def _too_short(config: Config, history: pd.DataFrame) -> str:
    """Say that training ended while the validation loss still fell, if so."""
    if "validation" not in history or len(history) < 2:
        return ""
    rows = len(history)
    if config.updates is None:
        at_limit, more = rows == config.epochs, f"epochs={2 * rows}"
    else:
        at_limit = history["updates"].iloc[-1] == config.updates
        more = f"updates={2 * config.updates}"
    falls = history["validation"].idxmin() >= rows - max(1, rows // 20)
    if not (at_limit and falls):
        return ""
    return f"the validation loss still fell when training ended; a longer one may help ({more})"


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
    lr = config.lr
    assert lr is not None
    training = _hold_out(config, dataset, context.device)
    rows: list[dict[str, float]] = []
    threads = for_step(
        torch.get_num_threads(),
        batch_size=min(config.batch_size, dataset.n_cells),
        layer_size=max(weights.numel() for weights in model.parameters()),
    )

    def on_epoch(row: dict[str, float]) -> None:
        rows.append(row)
        shown.progress(row, config.epochs or config.updates or 0)

    with held() as interrupt, _threads(threads):
        try:
            return train(
                model,
                training.x,
                epochs=config.epochs,
                updates=config.updates,
                batch_size=config.batch_size,
                lr=lr,
                batch_seed=config.seeds.batches,
                noise_seed=config.seeds.noise,
                device=context.device,
                on_epoch=on_epoch,
                counts=training.counts,
                validate=training.validate,
                patience=config.patience,
                kl_warmup=config.kl_warmup or 0.0,
                start=_checkpoint(context),
                keep=Checkpointer(config.checkpoint.every, writer.write_checkpoint, interrupt),
            )
        except RunError:
            if rows:
                writer.write_table("history", pd.DataFrame(rows))
            raise


class _Training(NamedTuple):
    """What is trained on, and what measures how well the model predicts the rest."""

    x: csr_array | np.ndarray
    counts: csr_array | None
    validate: Callable[[Model], float] | None


def _hold_out(config: Config, dataset: Dataset, device: torch.device) -> _Training:
    """Keep a share of the cells or of the molecules from training, if asked to."""
    of_counts = config.likelihood != "gaussian"
    if config.validation is None:
        return _Training(dataset.x, dataset.counts() if of_counts else None, None)
    share, seed = config.validation_share, config.seeds.held_out
    assert share is not None
    batches: dict[str, Any] = {"batch_size": config.batch_size, "device": device}
    if config.validation == "molecules":
        kept, held = split_molecules(dataset, share, seed)
        some = np.sort(np.random.default_rng(seed).permutation(dataset.n_cells)[:MOST_CELLS])
        assert isinstance(kept.x, csr_array)
        assert kept.recipe.target_sum is not None
        rest = kept.x[some], held[some]
        molecules = HeldOutMolecules(*rest, target_sum=kept.recipe.target_sum, **batches)
        return _Training(kept.x, kept.counts() if of_counts else None, molecules)
    counts = dataset.counts() if of_counts else None
    ours, theirs = split_cells(dataset.n_cells, share, seed)
    parts = [(dataset.x[i], None if counts is None else counts[i]) for i in (ours, theirs)]
    return _Training(*parts[0], HeldOutCells(*parts[1], seed=seed, **batches))


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
