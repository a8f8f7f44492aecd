"""Compare a trained network with an untrained one: did training help to find the types?"""

from functools import partial
from typing import Any

import numpy as np

from scvae_cli.analysis.cluster import kmeans
from scvae_cli.analysis.embed import embed
from scvae_cli.analysis.score import score
from scvae_cli.data.dataset import Dataset
from scvae_cli.stages.cells import Loaded
from scvae_cli.stages.context import Context
from scvae_cli.stages.fit import new_model

MOST_CELLS = 5_000  # labelled ones that are compared; k-means of more takes seconds
STARTS = 10  # of k-means at most
MARGIN = 0.02  # of NMI, about what another seed of k-means changes


def doubt_training(context: Context, loaded: Loaded, latent: np.ndarray, n_epochs: int) -> None:
    """Warn where the latent space holds the known types no better than before training.

    Cells, clusters and measure are the same for both: k-means on at most `MOST_CELLS` labelled
    cells, in NMI. Before training, cells lie in the network's latent features, also where
    `embedding=decoded`. Says nothing of models that are not trained, or of cells without types.

    Args:
        context: of the run.
        loaded: the cells.
        latent: (n_cells, n_latent), trained.
        n_epochs: that the network was trained for.
    """
    config, dataset = context.config, loaded.dataset
    if not (dataset.is_labelled and n_epochs):
        return
    known = np.flatnonzero(dataset.labels >= 0)
    if len(known) > MOST_CELLS:
        chosen = np.random.default_rng(config.seeds.sample).choice(known, MOST_CELLS, False)
        known = np.sort(chosen)
    before = _untrained(context, dataset, known)
    options = config.cluster.model_dump() | {"n_clusters": min(loaded.n_clusters, len(known))}
    options["n_init"] = min(options["n_init"], STARTS)
    measure = partial(score, dataset.labels[known], nmi_average=config.score.nmi_average)
    untrained, trained = (measure(kmeans(z, **options)[0]).nmi for z in (before, latent[known]))
    if trained < untrained + MARGIN:
        hints = {
            "epochs": "longer training", "likelihood": "another likelihood",
            "beta": "a smaller beta", "data": "more cells",
        }  # fmt: skip
        context.warn(
            "k-means finds the types as well in the latent space of the same network before "
            f"training (NMI {untrained:.2f}, and {trained:.2f} after it); "
            f"{config.advice(hints)}"
        )


def _untrained(context: Context, dataset: Dataset, cells: np.ndarray) -> np.ndarray:
    """Return the latent space (n_some, n_latent) of some cells before the network is trained."""
    config, covariates = context.config, dataset.covariates
    network = new_model(config, dataset, context.device, alone=True)
    told = None if covariates is None else covariates.some(cells)
    how: dict[str, Any] = {"batch_size": config.batch_size, "device": context.device}
    return embed(network, dataset.x[cells], told, kind="mean", seed=0, **how)
