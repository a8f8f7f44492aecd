"""Read what a run keeps: its model, and beside the weights genes, covariates, axes, shifts."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from scvae_cli.analysis.align import Shifts
from scvae_cli.analysis.decoded import Axes
from scvae_cli.covariates import Covariates
from scvae_cli.errors import InputError, Kind
from scvae_cli.models.registry import restore
from scvae_cli.runs.files import MissingError, read_csv
from scvae_cli.runs.run import Run, likely_run
from scvae_cli.settings import restored
from scvae_cli.trained import TrainedRun


def load(path: Path | str) -> TrainedRun:
    """Read a run's folder. Nothing in it is executed: tables, JSON, YAML and safetensors.

    Args:
        path: the folder.

    Raises:
        InputError: there is no trained model, or a file is damaged or not the one that the run
            wrote.

    Example:
        >>> run = load("outputs/latest")
        >>> run.config.model.name
        'vae'
        >>> list(run.latent.columns)
        ['z1', 'z2', 'z3']
    """
    path = os.path.expanduser(path)  # noqa: PTH111 (Path's refuses unknown users)
    there = Path(os.path.realpath(path))  # `latest` may be another run when a table is read
    try:
        run = Run(Path(path))
        weights, genes_csv = run.written("model.safetensors"), run.written("genes.csv")
        config = restored(run.settings, run.path / "config.yaml")
    except MissingError as error:
        what = f"no trained model there ({error.name} is missing)"
        raise InputError(Kind.MISSING, Path(path), what, likely_run(Path(path))) from error
    if not run.data:
        raise InputError(
            Kind.DAMAGED, run.path / "run.json", "damaged (it does not say what the cells were)"
        )
    genes = genes_of(genes_csv, run.path / "genes.csv", config.data.scale is not None)
    n_genes = int(genes["used"].sum())
    told = covariates_of(run)
    model = restore(
        weights, run.path / "model.safetensors", n_genes=n_genes, n_latent=config.latent_dim,
        others=range(1, config.ensemble or 1), covariates=told, **config.model_options,
    )  # fmt: skip
    axes = axes_of(run, n_genes, config.latent_dim) if config.embeds_decoded else None
    shifts = shifts_of(run, config.n_features) if config.aligns_batches else None
    run.path = there
    return TrainedRun(run, config, run.scores, model, genes, told, axes, shifts)


def axes_of(run: Run, n_genes: int, n_axes: int) -> Axes:
    """Read the axes of a run whose cells lie on decoded expression.

    Raises:
        InputError: the file is damaged, or has other genes or axes.
    """
    path = run.path / "axes.csv"
    names = ["mean", *(f"z{i}" for i in range(1, n_axes + 1))]
    table = read_csv(run.written("axes.csv"), path, ["gene", *names])
    if len(table) != n_genes or not all(pd.api.types.is_numeric_dtype(table[n]) for n in names):
        raise InputError(Kind.DAMAGED, path, "damaged (these are not axes of the run's genes)")
    return Axes.of(table[["gene", *names]])


def shifts_of(run: Run, n_features: int) -> Shifts:
    """Read what moved the batches of a run with `embedding=aligned`.

    Raises:
        InputError: the file is damaged, or has other features.
    """
    path = run.path / "shifts.csv"
    names = [f"{letter}{i}" for letter in "cz" for i in range(1, n_features + 1)]
    needed = ["round", "cluster", *names]
    table = read_csv(run.written("shifts.csv"), path, needed, {"batch": "text"})
    try:
        return Shifts.of(table, n_features)
    except (ValueError, TypeError, ArithmeticError) as error:
        what = "damaged (these do not move the run's batches)"
        raise InputError(Kind.DAMAGED, path, what) from error


def covariates_of(run: Run) -> Covariates | None:
    """Return the covariates of the run's cells, without the cells.

    Raises:
        InputError: what run.json says of them is damaged.
    """
    batches, numbers = run.data.get("batches", {}), run.data.get("covariates", {})
    try:
        keys = {str(key): [*map(str, values)] for key, values in dict(batches).items()}
        names = {str(name): (float(n["mean"]), float(n["sd"])) for name, n in numbers.items()}
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        damaged = "damaged (it does not say what the batches were)"
        raise InputError(Kind.DAMAGED, run.path / "run.json", damaged) from error
    if not keys and not names:
        return None
    scales = np.array([*names.values()]).reshape(-1, 2)
    return Covariates(
        tuple(keys),
        tuple(map(tuple, keys.values())),
        np.empty((0, len(keys)), np.int64),
        tuple(names),
        np.empty((0, len(names)), np.float32),
        *scales.T,
    )


def genes_of(contents: bytes, path: Path, scaled: bool) -> pd.DataFrame:
    """Read the table of genes and check it."""
    genes = read_csv(contents, path, ["gene", "used", *(["mean", "sd"] if scaled else [])])
    if genes["used"].dtype != bool:
        raise InputError(Kind.DAMAGED, path, "damaged (used is not True or False)")
    return genes
