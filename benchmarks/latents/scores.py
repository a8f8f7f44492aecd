"""Score all latent spaces and maps of a set against its types, in four readings."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from benchmarks.latents.runs import Training
from benchmarks.latents.sets import Cells
from scvae_cli.analysis.score import score
from scvae_cli.analysis.tsne import tsne
from scvae_cli.atomic import write_file
from scvae_cli.data.neighbours import leiden, shared_neighbours
from scvae_cli.results.runs import find_runs
from scvae_cli.runs.files import read_table

STARTS = 50  # of k-means
NEAR = 0.01  # solutions of k-means whose inertia is up to this share above the least are averaged
LEIDEN_SEEDS = 5
N_NEIGHBOURS, PRUNE = 20, 1 / 15  # Seurat's, for the graph of Leiden
MAPPED = 1000  # cells of a map, at most


def scored(cells: Cells, some: Sequence[Training], to: Path) -> pd.DataFrame:
    """Return a row for each training, labels, space (latent, map) and way of clustering.

    Args:
        cells: whose types are scored against.
        some: trainings.
        to: folder where the rows of each training are kept, so that no call repeats them.
    """
    run = next(run for run in find_runs([training.path for training in some]))
    truths = {name: cells.types(name, run) for name in cells.labels}
    rows = Parallel(n_jobs=-1)(delayed(_kept)(one, truths, to) for one in some)
    return pd.concat(rows, ignore_index=True)


def _kept(training: Training, truths: Mapping[str, pd.Series], to: Path) -> pd.DataFrame:
    """Return the rows of a training, from its file if they are there."""
    file = to / f"{training.method}-{training.seed}.csv"
    return kept(file, [training], truths, lambda: _training(training, truths))


def kept(
    file: Path,
    some: Sequence[Training],
    labels: Iterable[str],
    compute: Callable[[], list[dict[str, Any]]],
) -> pd.DataFrame:
    """Return the rows of a file, or compute and write them.

    Args:
        file: csv, which counts if it is newer than the trainings.
        some: trainings that the rows are of.
        labels: names of the sets of labels that the rows must have.
        compute: returns the rows.
    """
    latents = [(training.path / "latent.csv").stat().st_mtime for training in some]
    if file.exists() and file.stat().st_mtime > max(latents):
        rows = pd.read_csv(file)
        if {*rows["labels"]} == {*labels}:
            return rows
    rows = pd.DataFrame(compute())
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, rows.to_csv(index=False).encode())
    return rows


def _training(training: Training, truths: Mapping[str, pd.Series]) -> list[dict[str, Any]]:
    """Return the rows of a training."""
    table = read_table(training.path, "latent").set_index("cell")
    latent = table.to_numpy(np.float32)
    some = np.sort(np.random.default_rng(0).permutation(len(latent))[:MAPPED])
    points = tsne(
        latent[some], 2, init="pca", seed=training.seed, threads=1, perplexity=40.0,
        early_exaggeration=12.0, learning_rate="auto", max_iter=1000, metric="euclidean",
        method="barnes_hut", angle=0.5, min_grad_norm=1e-7, n_iter_without_progress=300,
    )  # fmt: skip
    spaces = {"latent": (latent, table.index), "map": (points, table.index[some])}
    rows = []
    for space, (places, names) in spaces.items():
        graph = shared_neighbours(places, N_NEIGHBOURS, PRUNE)
        for labels, types in truths.items():
            truth = types.reindex(names).to_numpy(str)
            k = len(np.unique(truth))
            head = {"method": training.method, "seed": training.seed, "labels": labels}
            for by, clusters in (
                ("k-means", near_best(places, k, training.seed)),
                ("Leiden", [leiden(graph, n_clusters=k, seed=s) for s in range(LEIDEN_SEEDS)]),
            ):
                each = [score(truth, c, nmi_average="geometric") for c in clusters]
                nmi, ari = np.mean([(one.nmi, one.ari) for one in each], axis=0)
                rows.append({**head, "space": space, "by": by, "nmi": nmi, "ari": ari})
    return rows


def near_best(points: np.ndarray, k: int, seed: int) -> list[np.ndarray]:
    """Return the clusterings (n_cells,) of k-means that are as good as the best, or nearly.

    With k as the number of types, solutions whose inertia differs by half a percent may differ by
    .14 in ARI; which one is the best is then luck. Equal ones count as often as they are found.
    """
    rng = np.random.RandomState(seed)
    with threadpool_limits(1):
        fits = [KMeans(k, n_init=1, random_state=rng).fit(points) for _ in range(STARTS)]
    least = min(fit.inertia_ for fit in fits)
    return [fit.labels_ for fit in fits if fit.inertia_ <= (1 + NEAR) * least]
