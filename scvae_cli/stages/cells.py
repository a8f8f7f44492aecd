"""Load the cells, and refuse settings that cannot work with them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from scvae_cli.analysis.tsne import choose
from scvae_cli.config import Config
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.holdout import split_cells
from scvae_cli.data.sources import load
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.runs.same import read_training
from scvae_cli.stages.context import Context


@dataclass(frozen=True)
class Loaded:
    """The cells of a run.

    Attributes:
        dataset: values, labels, names.
        n_clusters: k of k-means.
        training: weights and history of the run that `trained=` names, if it does.
    """

    dataset: Dataset
    n_clusters: int
    training: tuple[dict[str, Any], Any] | None


def load_cells(context: Context) -> Loaded:
    """Load the cells, check the settings against them, and write genes.csv.

    Raises:
        InputError: the cells cannot be read, or the settings do not fit them.
    """
    config, writer, console = context.config, context.writer, context.console
    with context.stage("load") as shown:
        # Shown only when it is known that the settings fit the cells.
        remarks: list[str] = []
        doubts: list[str] = []
        dataset = load(
            **config.data.model_dump(),
            on_download=shown.download,
            say=remarks.append,
            warn=doubts.append,
        )
        n_clusters = _n_clusters(config, dataset)
        _check(config, dataset, n_clusters)
        fingerprint = dataset.fingerprint()
        if writer.fingerprint not in (None, fingerprint):
            reason = "was begun on other cells, genes or labels"
            given = Given("resume", writer.path)
            raise InputError(Kind.DIFFERS, given, reason, "start a new run")
        training = None
        if config.trained is not None:
            training = read_training(Path(config.trained), config.model_dump(), fingerprint)
        for remark in remarks:
            console.line(remark)
        for doubt in doubts:
            context.warn(doubt)
        device, threads = context.device, context.threads
        console.line(f"{config.title}, seed {config.seed}, {device.type}, threads {threads}")
        cells = f"{dataset.n_cells:,} cells x {dataset.n_genes:,} genes"
        shown.say(f"{cells}, {types_in_words(dataset)}")
    # Only now: loading some cells, scanpy's numba sets OpenMP, and so torch, to all cores.
    torch.set_num_threads(threads)
    threadpool_limits(threads)  # of BLAS and OpenMP, which scikit-learn computes with
    writer.note(device=str(device), threads=threads, data=_summary(dataset, fingerprint))
    writer.write_table("genes", dataset.gene_table())
    writer.point_latest(Path(config.output_dir))
    return Loaded(dataset, n_clusters, training)


def types_in_words(dataset: Dataset) -> str:
    """Say how many cell types there are, and of how many cells they are known."""
    if not dataset.is_labelled:
        return "no known types"
    rest = f" of {len(dataset.labels) - dataset.n_unlabelled:,} cells"
    return f"{len(dataset.cell_types)} cell types" + (rest if dataset.n_unlabelled else "")


def _n_clusters(config: Config, dataset: Dataset) -> int:
    """Return k, as given or the number of types."""
    if config.cluster.n_clusters is not None:
        return config.cluster.n_clusters
    if dataset.is_labelled:
        return len(dataset.cell_types)
    raise InputError(
        Kind.MISSING,
        Given("cluster.n_clusters", None),
        "these cells have no labels, whose number it would be",
        "give data.label_key=COLUMN, or cluster.n_clusters=K",
    )


def _summary(dataset: Dataset, fingerprint: str) -> dict[str, Any]:
    """Return what run.json says of the cells."""
    sizes = np.bincount(dataset.labels[dataset.labels >= 0]).tolist()
    without = {"n_unlabelled": dataset.n_unlabelled} if dataset.n_unlabelled else {}
    return {
        "name": dataset.name,
        "fingerprint": fingerprint,
        "n_cells": dataset.n_cells,
        "n_genes": dataset.n_genes,
        "cell_types": dict(zip(dataset.cell_types, sizes, strict=True)),
        **without,
        "values": dataset.recipe.values,
        "target_sum": dataset.recipe.target_sum,
    }


def _check(config: Config, dataset: Dataset, n_clusters: int) -> None:
    """Refuse what cannot work with these cells."""
    if config.likelihood not in (None, "gaussian"):
        _check_counts(config, dataset)
    mapped_labels = dataset.labels[
        choose(dataset.n_cells, config.tsne.max_cells, config.tsne.seed)
    ]
    if dataset.is_labelled and len(np.unique(mapped_labels[mapped_labels >= 0])) < 2:
        raise InputError(
            Kind.EMPTY,
            Given("tsne.max_cells", config.tsne.max_cells),
            "of the mapped cells, less than two types have a label",
            "map more",
        )
    if config.data.scale is not None and (refused := config.model.refuses_scale):
        reason = f"does not go with the z-scores of data.scale={config.data.scale:g}"
        raise InputError(Kind.CONFLICT, Given(*refused), reason, "leave one of them out")
    if config.validation == "molecules":
        _check_molecules(config, dataset)
    _check_sizes(config, dataset, n_clusters)


def _check_counts(config: Config, dataset: Dataset) -> None:
    """Refuse a likelihood of counts where values are none."""
    if dataset.recipe.totals is None:
        raise InputError(
            Kind.CONFLICT,
            Given("likelihood", config.likelihood),
            f"needs counts, and data={dataset.name} has {dataset.recipe.values} values",
            "give counts, or likelihood=gaussian",
        )
    if not dataset.recipe.whole:
        raise InputError(
            Kind.CONFLICT,
            Given("likelihood", config.likelihood),
            f"is of whole numbers, and the counts of data={dataset.name} are not",
            "give likelihood=gaussian",
        )
    if config.data.scale is not None:
        raise InputError(
            Kind.CONFLICT,
            Given("likelihood", config.likelihood),
            f"is of counts, and data.scale={config.data.scale:g} makes z-scores",
            "leave one of them out",
        )


def _check_molecules(config: Config, dataset: Dataset) -> None:
    """Refuse to hold out molecules where values are not counts of them."""
    given = Given("validation", config.validation)
    if dataset.recipe.totals is None or not dataset.recipe.whole:
        reason = f"needs whole counts, which data={dataset.name} has not"
        raise InputError(Kind.CONFLICT, given, reason, "give counts, or validation=cells")
    if config.data.scale is not None:
        reason = f"needs counts, and data.scale={config.data.scale:g} makes z-scores"
        raise InputError(Kind.CONFLICT, given, reason, "leave one of them out")


def _check_sizes(config: Config, dataset: Dataset, n_clusters: int) -> None:
    """Refuse numbers that must be less than those of cells or genes."""
    n_cells = dataset.n_cells
    n_mapped = min(n_cells, config.tsne.max_cells or n_cells)
    mapped = "mapped cells" if n_mapped < n_cells else "cells"
    limits = [
        ("tsne.perplexity", config.tsne.perplexity, n_mapped, mapped),
        ("latent_dim", config.latent_dim, dataset.n_genes, "genes"),
        ("cluster.n_clusters", n_clusters, n_mapped, mapped),
    ]
    if config.model.needs_cells:
        held = config.validation == "cells"
        n_left = len(split_cells(n_cells, config.validation_share or 0, 0)[0]) if held else n_cells
        limits.append(("latent_dim", config.latent_dim, n_left, "cells"))
    for key, value, limit, what in limits:
        if value >= limit:
            raise InputError(
                Kind.VALUE,
                Given(key, value),
                f"must be less than the number of {what}, which is {limit} in data={dataset.name}",
            )
