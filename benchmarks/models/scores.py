"""Cluster all latent spaces and maps alike, and score the clusters against the labels."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from benchmarks.models.cells import Data, loaded
from benchmarks.models.presets import PEERS
from benchmarks.models.runs import THREADS, Training, trainings
from scvae_cli.analysis.cluster import kmeans
from scvae_cli.analysis.score import score
from scvae_cli.analysis.tsne import choose, tsne
from scvae_cli.config import Config
from scvae_cli.data.neighbours import leiden, shared_neighbours
from scvae_cli.runs.files import read_json, read_table

N_NEIGHBOURS, PRUNE = 20, 1 / 15  # Seurat's, for the graph of Leiden
Rows = list[dict[str, Any]]


class Space(NamedTuple):
    """A space of a training.

    Attributes:
        name: `latent` or `map`.
        points: coordinates of cells (n, n_dims).
        cells: which cells they are, as an index of all cells.
        clusters: those of k-means (n,) that the run has found already, by their number.
    """

    name: str
    points: np.ndarray
    cells: Any
    clusters: Mapping[int, np.ndarray]


def all_scores(sets: Mapping[str, Data], runs: Path) -> pd.DataFrame:
    """Return a row for each training, set of labels, space and way of clustering."""
    rows: list[Rows] = []
    for name, data in sets.items():
        config, _ = loaded(data)
        truths = {}
        for labels, more in data.labels.items():
            dataset = loaded(data, more)[1]
            truths[labels] = np.array(dataset.cell_types)[dataset.labels]
        rows += Parallel(n_jobs=-1)(
            delayed(scored)(training, truths, config, runs / "scores")
            for training in trainings(name, runs)
        )
    return pd.DataFrame([row for some in rows for row in some])


def scored(training: Training, truths: Mapping[str, np.ndarray], config: Config, to: Path) -> Rows:
    """Score the latent space and map of a training against each set of labels, once.

    Args:
        training: of ours or of scVI, which gets its map here.
        truths: labels (n_cells,) by name.
        config: how to map and cluster.
        to: folder where the scores are kept.
    """
    path = training.path
    kept = to / f"{path.parent.name}-{path.name}.json"
    rows: dict[str, Rows]
    if kept.exists() and kept.stat().st_mtime > (path / "latent.csv").stat().st_mtime:
        rows = json.loads(kept.read_text())
        if list(rows) == list(truths):
            return [row for some in rows.values() for row in some]
    rows = {name: [] for name in truths}
    for space in spaces(training, config):
        for name, some in space_scores(space, truths, training.seed, config).items():
            head = {"method": training.method, "seed": training.seed, "labels": name}
            rows[name] += [head | {"space": space.name} | row for row in some]
    to.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(rows))
    return [row for some in rows.values() for row in some]


def spaces(training: Training, config: Config) -> list[Space]:
    """Return the latent space and the map of a training; a map of scVI's is made here."""
    latent = read_table(training.path, "latent").drop(columns="cell").to_numpy(np.float32)
    options = config.tsne.model_dump() | {"seed": training.seed}
    mapped = choose(len(latent), options.pop("max_cells"), training.seed)
    if training.method in PEERS:
        points = tsne(latent[mapped], 2, threads=THREADS, **options)
        return [Space("latent", latent, slice(None), {}), Space("map", points, mapped, {})]
    cells = read_table(training.path, "cells")
    points = cells[["tsne_1", "tsne_2"]].to_numpy(np.float32)[mapped]
    k = read_json(training.path, "scores")["n_clusters"]
    return [
        Space("latent", latent, slice(None), {k: cells["latent_cluster"].to_numpy()}),
        Space("map", points, mapped, {k: cells["cluster"].to_numpy()[mapped]}),
    ]


def space_scores(
    space: Space, truths: Mapping[str, np.ndarray], seed: int, config: Config
) -> dict[str, Rows]:
    """Return a row for each way of clustering a space, by name of the labels."""
    graph = shared_neighbours(space.points, n_neighbors=N_NEIGHBOURS, prune=PRUNE)
    clusters: dict[int, dict[str, np.ndarray]] = {}  # by their number and way of clustering
    rows: dict[str, Rows] = {}
    for name, truth in truths.items():
        k = len(np.unique(truth))
        if k not in clusters:
            options = config.cluster.model_dump() | {"n_clusters": k, "seed": seed}
            means = (
                space.clusters[k] if k in space.clusters else kmeans(space.points, **options)[0]
            )
            clusters[k] = {"k-means": means, "Leiden": leiden(graph, n_clusters=k, seed=seed)}
        rows[name] = [
            {"by": by}
            | vars(score(truth[space.cells], numbers, nmi_average=config.score.nmi_average))
            for by, numbers in clusters[k].items()
        ]
    return rows
