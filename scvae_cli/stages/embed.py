"""Embed the cells: give each its place in the latent space."""

from typing import Any

import numpy as np

from scvae_cli.analysis.align import find_shifts, shift
from scvae_cli.analysis.decoded import find_axes, project
from scvae_cli.analysis.diagnose import diagnose
from scvae_cli.analysis.embed import embed
from scvae_cli.data.dataset import Dataset
from scvae_cli.models.model import Model
from scvae_cli.stages.context import Context


def embed_cells(context: Context, model: Model, dataset: Dataset) -> np.ndarray:
    """Embed all cells, write latent.csv, and warn of what is wrong with the latent space.

    Returns:
        (n_cells, n_latent) float32.
    """
    config, writer = context.config, context.writer
    names = [f"z{i}" for i in range(1, config.n_features + 1)]
    passes: dict[str, Any] = {"batch_size": config.batch_size, "device": context.device}
    with context.stage("embed") as shown:
        writer.drop_checkpoint()  # now that the record has the weights

        def compute() -> np.ndarray:
            cells = dataset.x, dataset.covariates
            seed = config.seeds.sample
            z = embed(model, *cells, kind=config.posterior_kind, seed=seed, **passes)
            if config.embeds_decoded:
                z = _on_axes(context, model, dataset, z)
            return _aligned(context, dataset, z) if config.aligns_batches else z

        latent = context.kept_or("latent", names, dataset.n_cells, compute)
        warnings = diagnose(model, dataset.x, latent, dataset.covariates, **passes)
        shown.say(f"{config.n_features} latent features, {config.embedding}")
    columns = dict(zip(names, latent.T, strict=True))
    writer.write_table("latent", {"cell": dataset.cells, **columns})
    for warning in warnings:
        context.warn(warning)
    return latent


def _on_axes(context: Context, model: Model, dataset: Dataset, z: np.ndarray) -> np.ndarray:
    """Put cells on the axes of their decoded expression, and write axes.csv.

    Args:
        context: of the run.
        model: trained.
        dataset: the cells.
        z: (n_cells, n_latent) means of their posteriors.
    """
    config = context.config
    how: dict[str, Any] = {
        "target_sum": dataset.recipe.target_sum, "rooted": config.data.scale is None,
    }  # fmt: skip
    axes = find_axes(model, z, config.latent_dim, seed=config.seeds.sample, **how)
    context.writer.write_table("axes", axes.table(dataset.genes))
    return project(model, z, axes, **how)


def _aligned(context: Context, dataset: Dataset, latent: np.ndarray) -> np.ndarray:
    """Take out of latent (n_cells, n_latent) what is left of batches, and write shifts.csv."""
    assert dataset.covariates is not None
    batch, names = dataset.covariates.batches
    shifts = find_shifts(latent, batch, names, seed=context.config.seeds.sample)
    context.writer.write_table("shifts", shifts.table())
    return shift(latent, batch, shifts)
