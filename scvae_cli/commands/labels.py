"""`scvae embed --labels`: types for the new cells, for the terminal and for files."""

import argparse
import json
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from scvae_cli.analysis.transfer import (
    N_NEIGHBORS,
    PROBABILITY,
    QUANTILE,
    UNKNOWN,
    Transferred,
)
from scvae_cli.console import Console
from scvae_cli.data.labels import labels_of
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.trained import TrainedRun
from scvae_cli.visible import UNLABELLED

FLAGS = {"n_neighbors": "--neighbors", "probability": "--probability", "quantile": "--quantile"}
PREFIX = "scvae_"  # of the columns of obs: the user's own have other names


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add `--labels` and what goes with it to the command line."""
    group = parser.add_argument_group("types of the cells")
    group.add_argument(
        "--labels", action="store_true", help="give each cell a type, by its neighbours in the run"
    )
    group.add_argument(
        "--neighbors", dest="n_neighbors", metavar="N", type=int, default=argparse.SUPPRESS,
        help=f"how many of them have a say ({N_NEIGHBORS})",
    )  # fmt: skip
    group.add_argument(
        "--probability", metavar="P", type=float, default=argparse.SUPPRESS,
        help=f"{UNKNOWN}: cells whose most likely type has less ({PROBABILITY})",
    )  # fmt: skip
    group.add_argument(
        "--quantile", metavar="Q", type=float, default=argparse.SUPPRESS,
        help=f"{UNKNOWN}: cells farther from their neighbours than this share of the run's "
        f"own cells ({QUANTILE})",
    )  # fmt: skip


def check(asked: argparse.Namespace, label_key: str | None) -> None:
    """Refuse what goes with `--labels` only.

    Args:
        asked: the command line.
        label_key: the column with types of the new cells, if one was given.

    Raises:
        InputError: it was given without.
    """
    given = [Given(FLAGS[key], value) for key, value in _options(asked).items()]
    given += [] if label_key is None else [Given("data.label_key", label_key)]
    if given and not asked.labels:
        raise InputError(
            Kind.CONFLICT, given[0], "has an effect only with --labels", "add --labels"
        )


def predict(run: TrainedRun, latent: np.ndarray, asked: argparse.Namespace) -> Transferred | None:
    """Return types of cells (n_cells, n_latent); None if they were not asked for.

    Raises:
        InputError: the run has no types, or an option is out of bounds.
    """
    if not asked.labels:
        return None
    try:
        return run.predict_types(latent, **_options(asked))
    except InputError as error:
        if error.key not in FLAGS:
            raise
        given = Given(FLAGS[error.key], error.value)
        raise InputError(error.kind, given, error.reason, error.fix) from error


def columns(predicted: Transferred | None) -> dict[str, np.ndarray]:
    """Return the columns of a table: cell_type, probability and distance; or none."""
    if predicted is None:
        return {}
    return {
        "cell_type": predicted.cell_types,
        "probability": predicted.probability.round(6),
        "distance": predicted.distance.round(6),
    }


def mark(
    cells: anndata.AnnData, predicted: Transferred | None, asked: argparse.Namespace
) -> dict[str, str]:
    """Put the types into obs, in columns with our prefix; those of an earlier time are replaced.

    Returns:
        How they were found, for `uns`.
    """
    if predicted is None:
        return {}
    for name, values in columns(predicted).items():
        cells.obs[f"{PREFIX}{name}"] = (
            pd.Categorical(values) if values.dtype == object else values.astype(np.float32)
        )
    defaults = {"n_neighbors": N_NEIGHBORS, "probability": PROBABILITY, "quantile": QUANTILE}
    return {"labels": json.dumps(defaults | _options(asked))}


def show(
    console: Console,
    cells: anndata.AnnData,
    predicted: Transferred | None,
    *,
    run: TrainedRun,
    label_key: str | None,
    file: Path,
) -> None:
    """Write how many cells have which type, and whether that agrees with types of their own.

    Raises:
        InputError: the column of their own types cannot be used.
    """
    if predicted is None:
        return
    own = None if label_key is None else labels_of(cells, label_key, file)
    types = pd.Series(predicted.cell_types)
    counts = types.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    order = [*counts.index.drop(UNKNOWN, errors="ignore"), UNKNOWN]
    means = pd.Series(predicted.probability).groupby(types).mean()
    console.table([
        {
            "cell type": name,
            "cells": f"{counts.get(name, 0):,}",
            "mean probability": f"{means[name]:.3f}" if name in means else "",
        }
        for name in order
    ])  # fmt: skip
    console.line("")
    far = predicted.distance > 1
    between = (predicted.cell_types == UNKNOWN) & ~far
    console.line(
        f"{UNKNOWN}: {far.sum():,} cells are far from the run's, {between.sum():,} between types"
    )
    if own is not None:
        console.line(f"{label_key}: {_agreement(own, predicted.cell_types, run)}")


def _agreement(own: np.ndarray, given: np.ndarray, run: TrainedRun) -> str:
    """Return in words how types (n_cells,) that cells have agree with those that they get."""
    typed = ~np.isin(own, ["", UNLABELLED, UNKNOWN])
    here = typed & np.isin(own, run.cells["cell_type"].dropna())
    agree = here & (own == given)
    unknown = given == UNKNOWN
    differ = here & ~agree & ~unknown
    text = (
        f"of {here.sum():,} cells whose type the run has, {agree.sum():,} agree, "
        f"{differ.sum():,} differ, {(here & unknown).sum():,} are {UNKNOWN}"
    )
    if (others := typed & ~here).any():
        text += f"; of {others.sum():,} of other types, {(others & unknown).sum():,} are {UNKNOWN}"
    return text


def _options(asked: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given."""
    return {key: value for key, value in vars(asked).items() if key in FLAGS}
