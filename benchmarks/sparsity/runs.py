"""Train the models that are compared, on cells sorted by antibodies."""

from pathlib import Path

from scvae_cli.console import Console
from scvae_cli.launch.compose import compose
from scvae_cli.launch.execute import DONE, logged, start
from scvae_cli.launch.places import quoted
from scvae_cli.runs.claim import claim
from scvae_cli.runs.run import find
from scvae_cli.saved import load as load_run
from scvae_cli.trained import TrainedRun

SETTINGS = [
    "data.label_key=celltype", "data.genes=2000", "latent_dim=10", "threads=1", "map_3d=false",
    "tsne.max_cells=500", "tsne.max_iter=250", "cluster.n_init=1",
]  # fmt: skip
TRAINED = [
    "likelihood=nb", "beta=1", "epochs=100", "model.encoder=[128]", "model.branch=null",
    "model.decoder=[128]", "model.first_activation=relu",
]  # fmt: skip
SPARSE = ["model=vsc", *TRAINED, "model.gate=sigmoid"]
MODELS = {
    "PCA": ["model=pca"],
    "VAE": ["model=vae", *TRAINED],
    "VSC, alpha 0.5": [*SPARSE, "model.alpha=0.5"],
    "VSC, alpha 0.1": [*SPARSE, "model.alpha=0.1"],
    "VSC, alpha 0.1, warm-up": [*SPARSE, "model.alpha=0.1", "model.spike_warmup=0.5"],
}


def trained_run(name: str, seed: int, data: Path, root: Path) -> TrainedRun:
    """Return a run, which is started now if it is not in its folder.

    Args:
        name: of one of `MODELS`.
        seed: of the run.
        data: h5ad file of the sorted cells.
        root: folder of all runs.

    Raises:
        SystemExit: the run failed.
    """
    arguments = [
        "data=file",
        f"data.path={quoted(data)}",
        *SETTINGS,
        *MODELS[name],
        f"seed={seed}",
    ]
    folder = name.lower().replace(", alpha", "").replace(", ", "-").replace(" ", "-")
    path = root / f"{folder}-{seed}"
    there = find(path)
    if there is None or not there.is_intact or there.record["overrides"] != arguments:
        print(f"{name}, seed {seed}", flush=True)
        path, _ = claim(path, exact=True)
        with logged(path):
            code, _ = start(compose(arguments), path, arguments, arguments, Console(quiet=True))
        if code != DONE:
            raise SystemExit(code)
    return load_run(path)
