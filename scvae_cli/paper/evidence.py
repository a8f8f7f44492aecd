"""What the page of the reproduction rests on: tables of all runs, kept as csv beside the page.

    runs.csv     a row a run: kind, model, beta, seed, how it ended, losses, latents in use, ...
    scores.csv   a row a run, set of labels and space
    kmeans.csv   k-means again on the map of seed 0, a row a model, number of starts and seed
    about.json   command, cells, versions, and which figures there are

Every number on the page is computed from these four files: `reproduction.text`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scvae_cli.analysis.cluster import kmeans
from scvae_cli.analysis.score import score, silhouette, types_found
from scvae_cli.atomic import write_file
from scvae_cli.data.labels import read_labels
from scvae_cli.runs.files import read_json, read_settings, read_table

NAMES = {"ae": "AE", "vae": "VAE", "vsc": "VSC", "pca": "PCA"}
MEASURES = {
    "nmi": "NMI",
    "nmi_arithmetic": "NMI, arithmetic mean",
    "ari": "ARI",
    "hom": "HOM",
    "com": "COM",
}
SPACES = {"tsne": "2-D map", "latent": "latent space"}
# The report's figure 3.3 and the output of its notebook `Performance assessment.ipynb`.
PUBLISHED = {
    "ae": {"nmi": 0.7209, "ari": 0.5798, "hom": 0.7704, "com": 0.6745},
    "vae": {"nmi": 0.6092, "ari": 0.4404, "hom": 0.6543, "com": 0.5673},
    "vsc": {"nmi": 0.6456, "ari": 0.4653, "hom": 0.6921, "com": 0.6021},
}
# Variance over cells above which the mean of a latent feature counts as used: Burda, Grosse &
# Salakhutdinov, Importance Weighted Autoencoders (2016), section 5.2.
ACTIVE = 0.01
PURE_TYPE = "B"  # of the cluster that the report calls almost pure
KMEANS_SEEDS = range(10)
TABLES = ("runs", "scores", "kmeans")
COLUMNS = {
    "runs": [
        "run", "kind", "model", "beta", "seed", "status", "reason", "seconds", "total",
        "reconstruction", "kl", "used", "silhouette", "purity",
    ],
    "scores": ["run", "labels", "space", "nmi", "nmi_arithmetic", "ari", "hom", "com", "found"],
    "kmeans": ["model", "n_init", "seed", "nmi", "ari"],
}  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """The tables; see the head of this module.

    Attributes:
        runs: columns `COLUMNS["runs"]`; status is `done` or `failed`.
        scores: of runs that are done.
        kmeans: empty where there are no runs of kind `map`.
        about: command, n_cells, n_genes, n_types, n_latent, n_init, threads, versions, commits,
            figures.
    """

    runs: pd.DataFrame
    scores: pd.DataFrame
    kmeans: pd.DataFrame
    about: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Writes the four files."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            table: pd.DataFrame = getattr(self, name)
            write_file(folder / f"{name}.csv", table.to_csv(index=False).encode())
        write_file(folder / "about.json", (json.dumps(self.about, indent=2) + "\n").encode())


def read(folder: Path) -> Evidence:
    """The tables that `Evidence.write` wrote into a folder."""
    tables = {
        name: pd.read_csv(folder / f"{name}.csv", float_precision="round_trip") for name in TABLES
    }
    return Evidence(**tables, about=json.loads((folder / "about.json").read_text()))


class Named(NamedTuple):
    """What the name of a run of `paper.plan` says: `beta-vae-0.5-3`."""

    kind: str
    model: str
    seed: int


def named(name: str) -> Named:
    """Takes a name of `paper.plan` apart."""
    kind, model, *_, seed = name.split("-")
    return Named(kind, model, int(seed))


class Page:
    """The tables, as the sections and figures ask for them.

    Attributes:
        evidence: the tables.
        others: whether there is a second set of labels.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.others = bool((evidence.scores["labels"] == "other").any())

    def of(self, kind: str, model: str) -> pd.DataFrame:
        """Runs of a kind and model by seed. The corrected AE is the AE as described."""
        if (kind, model) == ("corrected", "ae"):
            kind = "report"
        if (kind, model) == ("report", "pca"):
            kind = "corrected"
        runs = self.evidence.runs
        chosen = (runs["kind"] == kind) & (runs["model"] == model) & (runs["status"] == "done")
        return runs[chosen].sort_values("seed", kind="stable")

    def lost(self, kind: str, model: str) -> int:
        """How many runs of a kind and model failed."""
        runs = self.evidence.runs
        kind = "report" if model == "ae" and kind == "corrected" else kind
        failed = (runs["kind"] == kind) & (runs["model"] == model) & (runs["status"] == "failed")
        return int(failed.sum())

    def betas(self, model: str) -> dict[float, pd.DataFrame]:
        """Runs that embed the posterior mean, by beta."""
        runs = pd.concat([self.of("beta", model), self.of("corrected", model)])
        return {float(beta): group for beta, group in runs.groupby("beta")}

    def values(
        self, runs: pd.DataFrame, measure: str, space: str = "tsne", labels: str = "own"
    ) -> np.ndarray:
        """A score of each run (n,)."""
        scores = self.evidence.scores
        rows = scores[(scores["space"] == space) & (scores["labels"] == labels)]
        values: np.ndarray = rows.set_index("run")[measure].reindex(runs["run"]).to_numpy()
        return values


def collect(
    done: Mapping[str, Path],
    failed: Mapping[str, str],
    *,
    labels: str | None,
    command: str,
) -> Evidence:
    """Reads all runs.

    Args:
        done: folders of runs by their names in `paper.plan`.
        failed: why others failed, by name.
        labels: csv file with other labels to score against, or None.
        command: that makes the page.

    Returns:
        The tables; `about["figures"]` is empty until they are drawn.

    Raises:
        InputError: the other labels cannot be read.
    """
    rows = [_run(name, path) for name, path in done.items()]
    rows += [
        {**named(name)._asdict(), "run": name, "status": "failed", "reason": reason}
        for name, reason in failed.items()
    ]
    scores = [row for name, path in done.items() for row in _scores(name, path, labels)]
    again = [row for name, path in done.items() for row in _kmeans(name, path, done)]
    tables = {
        name: pd.DataFrame(some).reindex(columns=COLUMNS[name])
        for name, some in zip(TABLES, (rows, scores, again), strict=True)
    }
    return Evidence(**tables, about=_about(done, command))


def places(cells: pd.DataFrame, prefix: str) -> np.ndarray:
    """Places (n_cells, n_dims) of a map in cells.csv: `tsne` or `tsne3d`."""
    columns = [c for c in cells if c.startswith(f"{prefix}_")]
    found: np.ndarray = cells[columns].to_numpy(dtype=np.float32)
    return found


def _run(name: str, path: Path) -> dict[str, Any]:
    settings = read_settings(path)
    cells = read_table(path, "cells")
    history = read_table(path, "history")
    losses = ("total", "reconstruction", "kl")
    last = history.iloc[-1][list(losses)].to_dict() if len(history) else {}
    types = cells["cell_type"].to_numpy(dtype=str)
    return {
        **named(name)._asdict(), **last,
        "run": name, "beta": settings["beta"], "seed": settings["seed"], "status": "done",
        "seconds": history["seconds"].sum(),
        "used": int((read_table(path, "latent").iloc[:, 1:].var(ddof=0) > ACTIVE).sum()),
        "silhouette": silhouette(places(cells, "tsne"), types),
        "purity": _purity(cells["cluster"], types == PURE_TYPE),
    }  # fmt: skip


def _purity(clusters: pd.Series, mine: np.ndarray) -> float:
    """Share of a type in the cluster that has most of its cells; 0 where there is no such type."""
    if not mine.any():
        return 0.0
    return float(mine[clusters == clusters[mine].mode()[0]].mean())


def _scores(name: str, path: Path, labels: str | None) -> list[dict[str, Any]]:
    cells = read_table(path, "cells")
    truths = {"own": cells["cell_type"].to_numpy(dtype=str)}
    if labels is not None:
        truths["other"] = read_labels(labels, cells["cell"].to_numpy(dtype=str))
    rows = []
    for of, types in truths.items():
        truth = np.unique(types, return_inverse=True)[1]
        for space, column in (("tsne", "cluster"), ("latent", "latent_cluster")):
            clusters = cells[column].to_numpy()
            values = asdict(score(truth, clusters, nmi_average="geometric"))
            values["nmi_arithmetic"] = score(truth, clusters, nmi_average="arithmetic").nmi
            values["found"] = types_found(truth, clusters)
            rows.append({"run": name, "space": space, "labels": of, **values})
    return rows


def _kmeans(name: str, path: Path, done: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Scores of k-means on the map of seed 0 as described, where its maps were drawn again."""
    kind, model, seed = named(name)
    if (kind, seed) != ("report", 0) or f"map-{model}-0" not in done:
        return []
    cells, settings = read_table(path, "cells"), read_settings(path)["cluster"]
    labels = np.unique(cells["cell_type"].to_numpy(dtype=str), return_inverse=True)[1]
    options = {**settings, "n_clusters": settings["n_clusters"] or int(labels.max()) + 1}
    rows = []
    for n_init in dict.fromkeys((settings["n_init"], 1)):
        for seed in KMEANS_SEEDS:
            given = {**options, "n_init": n_init, "seed": seed}
            clusters, _ = kmeans(places(cells, "tsne"), **given)
            scores = score(labels, clusters, nmi_average="geometric")
            rows.append(
                {"model": model, "n_init": n_init, "seed": seed, "nmi": scores.nmi,
                 "ari": scores.ari}
            )  # fmt: skip
    return rows


def _about(done: Mapping[str, Path], command: str) -> dict[str, Any]:
    first = done[next(name for name in done if name.startswith("report-ae-"))]
    record, settings = read_json(first, "run"), read_settings(first)
    commits = {
        git["commit"][:7] + ("+" if git["dirty"] else "")
        for path in done.values()
        if (git := read_json(path, "run")["git"])
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
