"""Load the cells, and refuse settings that cannot work with them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from scvae_cli.config import Config
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.sources import load
from scvae_cli.data.state import state_of
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.options import FileConfig
from scvae_cli.runs.same import read_training
from scvae_cli.stages.checks import check_settings
from scvae_cli.stages.context import Context

WITHOUT_TYPES = 10  # clusters, where neither types nor the user say how many


@dataclass(frozen=True)
class Loaded:
    """The cells of a run.

    Attributes:
        dataset: values, labels, names.
        n_clusters: k of k-means.
        training: weights and history of the run that `trained=` names, if it does.
        state: of the file that was read, if it is needed once more; see `state_of`.
    """

    dataset: Dataset
    n_clusters: int
    training: tuple[dict[str, Any], Any] | None
    state: list[int] | None


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
        state = _state(config)
        dataset = load(
            **config.data.model_dump(),
            on_download=shown.download,
            say=remarks.append,
            warn=doubts.append,
            folder=writer.path,
        )
        n_clusters = _n_clusters(config, dataset, remarks.append)
        check_settings(config, dataset, n_clusters)
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
    return Loaded(dataset, n_clusters, training, state)


def _state(config: Config) -> list[int] | None:
    """Return the state of the file that cells.h5ad is to have the rest of, if any."""
    if not config.h5ad or not isinstance(config.data, FileConfig):
        return None
    there = os.path.exists(config.data.path)  # noqa: PTH110 - Path raises for too long a name
    return state_of(Path(config.data.path)) if there else None


def types_in_words(dataset: Dataset) -> str:
    """Say how many cell types there are, and of how many cells they are known."""
    if not dataset.is_labelled:
        return "no known types"
    rest = f" of {len(dataset.labels) - dataset.n_unlabelled:,} cells"
    return f"{len(dataset.cell_types)} cell types" + (rest if dataset.n_unlabelled else "")


def _n_clusters(config: Config, dataset: Dataset, say: Callable[[str], None]) -> int:
    """Return k: as given, or the number of types, or some number where there are no types."""
    if config.cluster.n_clusters is not None:
        return config.cluster.n_clusters
    if dataset.is_labelled:
        return len(dataset.cell_types)
    say(
        f"k-means makes {WITHOUT_TYPES} clusters, as no types are named: give "
        "data.label_key=COLUMN (`scvae data FILE` lists them) or cluster.n_clusters=8"
    )
    return WITHOUT_TYPES


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
        **_told(dataset),
        **_kept(dataset),
        "values": dataset.recipe.values,
        "target_sum": dataset.recipe.target_sum,
        "natural": dataset.recipe.natural,
        "total": dataset.recipe.total,
        "sure": dataset.recipe.sure,
    }


def _told(dataset: Dataset) -> dict[str, Any]:
    """Return what run.json says of the cells' covariates."""
    told = dataset.covariates
    if told is None:
        return {}
    batches = {
        key: dict(zip(values, np.bincount(codes, minlength=len(values)).tolist(), strict=True))
        for key, values, codes in zip(told.keys, told.values, told.codes.T, strict=True)
    }
    numbers = {
        name: {"mean": float(mean), "sd": float(sd)}
        for name, mean, sd in zip(told.names, told.mean, told.sd, strict=True)
    }
    return {"batches": batches, "covariates": numbers}


def _kept(dataset: Dataset) -> dict[str, Any]:
    """Return what run.json says of the columns that are kept: how cells.csv is to be read."""
    if dataset.kept is None:
        return {}
    is_number = pd.api.types.is_numeric_dtype
    kinds = {str(n): "number" if is_number(v) else "text" for n, v in dataset.kept.items()}
    return {"kept": kinds}
