"""Train what is compared: `scvae choose` on each set, a sweep of other presets, and scVI."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from benchmarks.command import ROOT
from benchmarks.latents.methods import CONTROLS, EARLY, OTHERS, peers
from benchmarks.latents.sets import Cells
from scvae_cli.choice.plan import CHOSEN
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.sources import load
from scvae_cli.results.runs import find_runs
from scvae_cli.runs.run import Run
from scvae_cli.saved import load as load_run

SEEDS = 3  # of every method; the default of `scvae choose`
# For runs of which only the training counts: maps are drawn by `scores`.
SHORT = ["map_3d=false", "tsne.max_cells=200", "tsne.max_iter=250", "cluster.n_init=1",
         "figures.format=null"]  # fmt: skip


class Training(NamedTuple):
    """A training of ours or of scVI.

    Attributes:
        method: preset, or name of the peer.
        seed: of the training.
        path: folder with latent.csv.
    """

    method: str
    seed: int
    path: Path


def choose(cells: Cells, folder: Path) -> None:
    """Run `scvae choose`, or what is left of it; results stay when code changes elsewhere."""
    again = ["force=true"] if (folder / "sweep.json").exists() else []
    words = ["choose", *cells.words, *again, "--seeds", str(SEEDS), "--to", str(folder)]
    subprocess.run([sys.executable, "-m", "scvae_cli", *words], cwd=ROOT, check=True)


def recommended(folder: Path) -> Run:
    """Return the run that `scvae choose` recommended and wrote to its folder."""
    return next(run for run in find_runs([folder]) if run.path.name.startswith(CHOSEN))


def data_words(folder: Path) -> list[str]:
    """Return the arguments of `scvae train` that read the cells of `scvae choose`."""
    return [w for w in recommended(folder).record["overrides"] if w.startswith("data")]


def cells_of(folder: Path) -> Dataset:
    """Return the cells of `scvae choose`, with their genes chosen."""
    return load(**load_run(recommended(folder).path).config.data.model_dump())


def sweep(folder: Path, to: Path, *, few: bool) -> None:
    """Run the presets that are no candidates on the cells of `scvae choose`, as a sweep.

    Args:
        folder: of `scvae choose`.
        to: of the sweep, which is resumed if it is there.
        few: run only those that learn nothing.
    """
    presets = ",".join(f"benchmark/{name}" for name in (*(() if few else OTHERS), *CONTROLS))
    there = (to / "sweep.json").exists()
    place = [f"resume={to}", "force=true"] if there else [f"hydra.sweep.dir={to}"]
    words = [f"seed=range(0,{SEEDS})", f"experiment={presets}", *SHORT, "threads=1"]
    command = [sys.executable, "-m", "scvae_cli", "train", "-m", *words, *data_words(folder)]
    # A run that fails is a result: the page then says that it is not there.
    subprocess.run([*command, *place, "hydra/launcher=joblib"], cwd=ROOT, check=False)


def train_peers(python: str, folder: Path, to: Path, *, few: bool) -> None:
    """Train scVI on the counts that the candidates had, on as many cores as there are.

    Args:
        python: a Python that has scvi-tools.
        folder: of `scvae choose`.
        to: folder for the counts and the trainings.
        few: train only what stops early.
    """
    dataset = cells_of(folder)
    counts = counts_file(dataset, to / "counts.h5ad")
    Parallel(n_jobs=-1, prefer="threads")(
        delayed(train_peer)(python, counts, to / f"{name}-{seed}", "--seed", str(seed), *options)
        for name, options in peers(dataset.n_cells).items()
        if not few or name == EARLY
        for seed in range(SEEDS)
    )


def train_peer(python: str, counts: Path, folder: Path, *options: str) -> None:
    """Train scVI in a process of its own, if it has not been trained.

    Args:
        python: a Python that has scvi-tools.
        counts: h5ad file.
        folder: to write to.
        options: of `benchmarks.peer`.
    """
    if not (folder / "peer.json").exists():
        code = ROOT / "benchmarks" / "peer.py"
        subprocess.run([python, str(code), str(counts), str(folder), *options], check=True)


def counts_file(dataset: Dataset, file: Path) -> Path:
    """Write counts for scVI, and batches as `batch`, if they are not there; return the file."""
    import anndata
    from scipy.sparse import csr_matrix

    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        batches = {}
        if dataset.covariates is not None:
            batch, names = dataset.covariates.batches
            batches["batch"] = np.array(names)[batch]
        anndata.AnnData(
            csr_matrix(dataset.counts()),
            obs=pd.DataFrame(batches, index=dataset.cells),
            var=pd.DataFrame(index=dataset.genes),
        ).write_h5ad(file)
    return file


def trainings(folder: Path, others: Path, peers: Path) -> Iterator[Training]:
    """Return the trainings of a set of cells.

    Args:
        folder: of `scvae choose`.
        others: the sweep of other presets.
        peers: has a folder METHOD-SEED for each training of a peer.
    """
    for run in find_runs([folder, *([others] if others.exists() else [])]):
        if run.status == "done" and not run.path.name.startswith(CHOSEN):
            method = str(run.flat_settings["experiment"]).rpartition("/")[2]
            yield Training(method, int(run.settings["seed"]), run.path)
    for metadata in sorted(peers.glob("*/peer.json")):
        method, _, seed = metadata.parent.name.rpartition("-")
        yield Training(method, int(seed), metadata.parent)
