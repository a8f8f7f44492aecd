"""Ways of joining the latent spaces of several seeds into one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from sklearn.decomposition import PCA

from benchmarks.latents.runs import Training
from benchmarks.latents.scores import LEIDEN_SEEDS, N_NEIGHBOURS, PRUNE, kept, near_best
from benchmarks.latents.sets import Cells
from scvae_cli.analysis.decoded import find_axes, project
from scvae_cli.analysis.embed import embed
from scvae_cli.analysis.score import score
from scvae_cli.data.neighbours import leiden, shared_neighbours
from scvae_cli.data.sources import load as load_cells
from scvae_cli.models.ensemble import Ensemble
from scvae_cli.results.runs import find_runs
from scvae_cli.runs.files import read_table
from scvae_cli.saved import load
from scvae_cli.trained import TrainedRun

MODELS = ("ae-nb", "vae-nb", "vae-nb-wide", "vsc-nb")


def _unit(z: np.ndarray) -> np.ndarray:
    """Centre a latent space, and scale it to a total variance of 1."""
    scaled: np.ndarray = (z - z.mean(0)) / np.sqrt(z.var(0).sum())
    return scaled


def _decoded(runs: Sequence[TrainedRun]) -> np.ndarray:
    """Place cells by the mean of what all decode, as `ensemble=` does with decoded cells."""
    config, recipe = runs[0].config, runs[0].run.data
    x = load_cells(**config.data.model_dump()).x
    device, size = torch.device("cpu"), config.batch_size
    z = [embed(run.model, x, kind="mean", batch_size=size, seed=0, device=device) for run in runs]
    together = Ensemble([run.model for run in runs], config.latent_dim)
    how: dict[str, Any] = {"target_sum": recipe.get("target_sum"), "rooted": True}
    axes = find_axes(together, np.hstack(z), config.latent_dim, seed=0, **how)
    return project(together, np.hstack(z), axes, **how)


def _side_by_side(latents: Sequence[np.ndarray]) -> np.ndarray:
    """Join latent spaces of unit variance, as `ensemble=` does with latent features."""
    return np.hstack([_unit(z) for z in latents])


def _components(latents: Sequence[np.ndarray]) -> np.ndarray:
    """Take as many components of the joined space as each latent space has features."""
    parts: np.ndarray = PCA(latents[0].shape[1], random_state=0).fit_transform(
        _side_by_side(latents)
    )
    return parts


def _each_feature(latents: Sequence[np.ndarray]) -> np.ndarray:
    """Join latent spaces, every feature scaled to a variance of 1."""
    return np.hstack([(z - z.mean(0)) / (z.std(0) + 1e-9) for z in latents])


DECODED = "decoded together"
WAYS: Mapping[str, Callable[[Sequence[np.ndarray]], np.ndarray]] = {
    "side by side": _side_by_side,
    "components": _components,
    "each feature": _each_feature,
}


def joined(cells: Cells, some: Sequence[Training], to: Path) -> pd.DataFrame:
    """Return a row for each model, labels, way of joining its seeds and way of clustering.

    Args:
        cells: whose types are scored against.
        some: trainings, of which those of `MODELS` are joined.
        to: file where the rows are kept, so that no call repeats them.
    """
    ours = [training for training in some if training.method in MODELS]
    return kept(to, ours, cells.labels, lambda: _rows(cells, ours)) if ours else pd.DataFrame()


def _rows(cells: Cells, some: Sequence[Training]) -> list[dict[str, object]]:
    """Return the rows of `joined`."""
    run = next(run for run in find_runs([training.path for training in some]))
    jobs = []
    for model in MODELS:
        paths = [one.path for one in some if one.method == model]
        if len(paths) > 1:
            tables = [read_table(path, "latent").set_index("cell") for path in paths]
            latents = [table.to_numpy(np.float32) for table in tables]
            places = {DECODED: _decoded([load(path) for path in paths])}
            places |= {way: join(latents) for way, join in WAYS.items()}
            for labels in cells.labels:
                truth = cells.types(labels, run).reindex(tables[0].index).to_numpy(str)
                jobs += [
                    delayed(_row)(model, labels, way, of_way, truth, len(paths))
                    for way, of_way in places.items()
                ]
    return [row for part in Parallel(n_jobs=-1)(jobs) for row in part]


def _row(
    model: str, labels: str, way: str, places: np.ndarray, truth: np.ndarray, n: int
) -> list[dict[str, object]]:
    """Return the scores of n seeds that are joined."""
    k = len(np.unique(truth))
    graph = shared_neighbours(places, N_NEIGHBOURS, PRUNE)
    rows: list[dict[str, object]] = []
    for by, clusters in (
        ("k-means", near_best(places, k, 0)),
        ("Leiden", [leiden(graph, n_clusters=k, seed=s) for s in range(LEIDEN_SEEDS)]),
    ):
        each = [score(truth, c, nmi_average="geometric") for c in clusters]
        nmi, ari = np.mean([(one.nmi, one.ari) for one in each], axis=0)
        head = {"method": model, "labels": labels, "way": way, "by": by, "n": n}
        rows.append({**head, "nmi": nmi, "ari": ari})
    return rows
