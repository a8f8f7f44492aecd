"""Read all runs of the reproduction into the tables of `evidence`."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scvae_cli.analysis.cluster import kmeans
from scvae_cli.analysis.score import score, silhouette, types_found
from scvae_cli.data.labels import read_labels
from scvae_cli.paper.evidence import COLUMNS, TABLES, Evidence
from scvae_cli.runs.run import Run

# Variance over cells above which the mean of a latent feature counts as used: Burda, Grosse &
# Salakhutdinov, Importance Weighted Autoencoders (2016), section 5.2.
ACTIVE = 0.01
PURE_TYPE = "B"  # the type of the cluster that the report calls almost pure
KMEANS_SEEDS = range(10)


class Named(NamedTuple):
    """What the name of a run of `paper.plan` says: `beta-vae-0.5-3`."""

    kind: str
    model: str
    seed: int


def named(name: str) -> Named:
    """Take the name of a run of `paper.plan` apart."""
    kind, model, *_, seed = name.split("-")
    return Named(kind, model, int(seed))


def collect(
    done: Mapping[str, Run],
    failed: Mapping[str, str],
    *,
    labels: str | None,
    command: str,
) -> Evidence:
    """Read all runs.

    Args:
        done: the runs that ended well, by their names in `paper.plan`.
        failed: why the other runs failed, by name.
        labels: csv file with other labels to score against, or None.
        command: the command that makes the page.

    Returns:
        The tables; `about["figures"]` is empty until figures are drawn.

    Raises:
        InputError: the other labels cannot be read.
    """
    rows, scores, repeated = [], [], []
    for name, run in done.items():
        cells = run.cells()
        rows.append(_run(name, run, cells))
        scores += _scores(name, cells, labels)
        if f"map-{named(name).model}-0" in done:
            repeated += _kmeans(name, run, cells)
    rows += [
        {**named(name)._asdict(), "run": name, "status": "failed", "reason": reason}
        for name, reason in failed.items()
    ]
    tables = {
        name: pd.DataFrame(some).reindex(columns=COLUMNS[name])
        for name, some in zip(TABLES, (rows, scores, repeated), strict=True)
    }
    return Evidence(**tables, about=_about(done, command))


def coordinates(cells: pd.DataFrame, prefix: str) -> np.ndarray:
    """Return the coordinates (n_cells, n_dims) of a map in cells.csv: `tsne` or `tsne3d`."""
    columns = [c for c in cells if c.startswith(f"{prefix}_")]
    values: np.ndarray = cells[columns].to_numpy(dtype=np.float32)
    return values


def _run(name: str, run: Run, cells: pd.DataFrame) -> dict[str, Any]:
    """Return the row of a run in runs.csv."""
    settings, history = run.settings, run.table("history")
    losses = ("total", "reconstruction", "kl")
    last = history.iloc[-1][list(losses)].to_dict() if len(history) else {}
    types = cells["cell_type"].to_numpy(dtype=str)
    return {
        **named(name)._asdict(), **last,
        "run": name, "beta": settings["beta"], "seed": settings["seed"], "status": "done",
        "seconds": history["seconds"].sum(),
        "used": int((run.table("latent").iloc[:, 1:].var(ddof=0) > ACTIVE).sum()),
        "silhouette": silhouette(coordinates(cells, "tsne"), types),
        "purity": _purity(cells["cluster"], types == PURE_TYPE),
    }  # fmt: skip


def _purity(clusters: pd.Series, of_type: np.ndarray) -> float:
    """Return the share of a type in the cluster that has most of its cells.

    Args:
        clusters: number of the cluster of each cell (n_cells,).
        of_type: whether each cell is of the type (n_cells,).

    Returns:
        0 to 1; 0 where there is no cell of the type.
    """
    if not of_type.any():
        return 0.0
    return float(of_type[clusters == clusters[of_type].mode()[0]].mean())


def _scores(name: str, cells: pd.DataFrame, labels: str | None) -> list[dict[str, Any]]:
    """Return the rows of a run in scores.csv."""
    labellings = {"own": cells["cell_type"].to_numpy(dtype=str)}
    if labels is not None:
        labellings["other"] = read_labels(labels, cells["cell"].to_numpy(dtype=str))
    rows = []
    for labelling, types in labellings.items():
        truth = np.unique(types, return_inverse=True)[1]
        for space, column in (("tsne", "cluster"), ("latent", "latent_cluster")):
            clusters = cells[column].to_numpy()
            values = asdict(score(truth, clusters, nmi_average="geometric"))
            values["nmi_arithmetic"] = score(truth, clusters, nmi_average="arithmetic").nmi
            values["found"] = types_found(truth, clusters)
            rows.append({"run": name, "space": space, "labels": labelling, **values})
    return rows


def _kmeans(name: str, run: Run, cells: pd.DataFrame) -> list[dict[str, Any]]:
    """Return scores of repeated k-means on the map of seed 0 as described; of no other map."""
    kind, model, seed = named(name)
    if (kind, seed) != ("report", 0):
        return []
    settings = run.settings["cluster"]
    labels = np.unique(cells["cell_type"].to_numpy(dtype=str), return_inverse=True)[1]
    options = {**settings, "n_clusters": settings["n_clusters"] or int(labels.max()) + 1}
    rows = []
    for n_init in dict.fromkeys((settings["n_init"], 1)):
        for seed in KMEANS_SEEDS:
            given = {**options, "n_init": n_init, "seed": seed}
            clusters, _ = kmeans(coordinates(cells, "tsne"), **given)
            scores = score(labels, clusters, nmi_average="geometric")
            rows.append(
                {"model": model, "n_init": n_init, "seed": seed, "nmi": scores.nmi,
                 "ari": scores.ari}
            )  # fmt: skip
    return rows


def _about(done: Mapping[str, Run], command: str) -> dict[str, Any]:
    """Return what about.json holds."""
    first = done[next(name for name in done if name.startswith("report-ae-"))]
    record, settings = first.record, first.settings
    commits = {
        git["commit"][:7] + ("+" if git["dirty"] else "")
        for run in done.values()
        if (git := run.record["git"])
    }
    names = ("python", "torch", "scikit-learn", "scvae-cli")
    return {
        "command": command,
        "n_cells": record["data"]["n_cells"],
        "n_genes": record["data"]["n_genes"],
        "n_types": len(record["data"]["cell_types"]),
        "n_latent": settings["latent_dim"],
        "n_init": settings["cluster"]["n_init"],
        "threads": record["threads"],
        "versions": {name: record["versions"][name] for name in names},
        "commits": sorted(commits),
        "figures": [],
    }
