"""Score latent spaces: batches that mix, types that stay apart, k-means against the types."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans

from benchmarks.batches.runs import trainings
from scvae_cli.analysis.mixing import mixing, totals
from scvae_cli.analysis.score import score
from scvae_cli.data.dataset import Dataset
from scvae_cli.runs.files import read_table

STARTS = 100  # of k-means


def scored(dataset: Dataset, folder: Path) -> pd.DataFrame:
    """Return a row for each training of a set: method, seed and its scores."""
    assert dataset.covariates is not None
    rows = []
    for method, seed, path in trainings(folder):
        kept = folder / "scores" / f"{method}-{seed}.csv"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            found = scores_of(dataset, latent_of(dataset, path), seed)
            pd.DataFrame([found]).to_csv(kept, index=False)
        rows.append({"method": method, "seed": seed, **pd.read_csv(kept).iloc[0]})
    return pd.DataFrame(rows)


def latent_of(dataset: Dataset, path: Path) -> np.ndarray:
    """Return the latent space (n_cells, n_latent) of a training, in the order of the data set."""
    table = read_table(path, "latent").set_index("cell").loc[dataset.cells]
    values: np.ndarray = table.to_numpy(np.float32)
    return values


def scores_of(dataset: Dataset, latent: np.ndarray, seed: int) -> dict[str, float]:
    """Return the scores of a latent space (n_cells, n_latent)."""
    assert dataset.covariates is not None
    k = len(dataset.cell_types)
    clusters = KMeans(k, n_init=STARTS, random_state=seed).fit_predict(latent)
    agreement = score(dataset.labels, clusters, nmi_average="geometric")
    found = mixing(latent, dataset.covariates.batches[0], dataset.labels, seed=seed)
    whole = totals(found, nmi=agreement.nmi, ari=agreement.ari)
    return {"nmi": agreement.nmi, "ari": agreement.ari, **asdict(found), **asdict(whole)}
