"""Train ours as sweeps over seeds, correct principal components by Harmony, and train scVI."""

import logging
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.batches.sets import FEW, HARMONY, OURS, SCVI, SCVI_HARMONY, SEEDS, UNTOLD, Cells
from benchmarks.command import ROOT
from benchmarks.latents.runs import counts_file, train_peer
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.sources import load
from scvae_cli.launch.compose import compose
from scvae_cli.results.runs import find_runs
from scvae_cli.runs.files import read_table

# The benchmark clusters by itself, and draws maps of some runs only.
SHORT = "map_3d=false figures.format=null tsne.max_cells=1000 cluster.n_init=1 threads=1"


def dataset_of(cells: Cells) -> Dataset:
    """Return the cells of a set with their batches, as models get them."""
    return load(**compose(f"{cells.words} {cells.told}".split()).data.model_dump())


def sweep(cells: Cells, method: str, folder: Path) -> None:
    """Train one of ours with all seeds, or what is left of it; one that fails is left out."""
    words = OURS[method].format(told=cells.told) + f" {cells.words} {SHORT}"
    seeds = f"seed=range(0,{len(FEW if method == UNTOLD else SEEDS)})"
    there = (folder / "sweep.json").exists()
    place = [f"resume={folder}", "force=true"] if there else [f"hydra.sweep.dir={folder}"]
    command = [sys.executable, "-m", "scvae_cli", "train", "-m", *words.split(), seeds, *place]
    subprocess.run([*command, "hydra/launcher=joblib"], cwd=ROOT, check=False)


def correct(dataset: Dataset, sources: Iterable[tuple[int, Path]], to: Path) -> None:
    """Correct latent spaces by Harmony, and write latent.csv for each.

    Args:
        dataset: the cells.
        sources: seed and folder of each.
        to: folder of the results, which are in folders named after the seed.
    """
    try:
        from harmonypy import run_harmony
    except ImportError:
        print("harmonypy is not installed (pip install harmonypy): no Harmony", file=sys.stderr)
        return
    logging.getLogger("harmonypy").setLevel(logging.ERROR)
    assert dataset.covariates is not None
    batch, names = dataset.covariates.batches
    batches = pd.DataFrame({"batch": np.array(names)[batch]})
    for seed, run in sources:
        latent = read_table(run, "latent").set_index("cell").loc[dataset.cells]
        harmony = run_harmony(latent.to_numpy(float), batches, "batch", random_state=seed)
        corrected = np.asarray(harmony.Z_corr)
        if len(corrected) != len(latent):
            corrected = corrected.T
        folder = to / str(seed)
        folder.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame(corrected, latent.index, latent.columns)
        table.to_csv(folder / "latent.csv")


def train_peers(python: str, dataset: Dataset, folder: Path) -> None:
    """Train scVI with the same genes and batches, where it has not been trained."""
    counts = counts_file(dataset, folder / "counts.h5ad")
    for seed in SEEDS:
        options = ["--seed", str(seed), "--batch-key", "batch"]
        train_peer(python, counts, folder / f"{SCVI}-{seed}", *options)


def peers(folder: Path) -> Iterator[tuple[int, Path]]:
    """Return seed and folder of each scVI that is trained."""
    for seed in SEEDS:
        if (path := folder / f"{SCVI}-{seed}").exists():
            yield seed, path


def trainings(folder: Path) -> Iterator[tuple[str, int, Path]]:
    """Return method, seed and folder with latent.csv of each training of a set."""
    for method in OURS:
        for seed, path in latents(folder / method):
            yield method, seed, path
    for seed in SEEDS:
        for method, path in (
            (HARMONY, folder / HARMONY / str(seed)),
            (SCVI, folder / f"{SCVI}-{seed}"),
            (SCVI_HARMONY, folder / SCVI_HARMONY / str(seed)),
        ):
            if (path / "latent.csv").exists():
                yield method, seed, path


def latents(sweep: Path) -> Iterator[tuple[int, Path]]:
    """Return seed and folder of each run of a sweep that is done."""
    for run in find_runs([sweep]) if sweep.exists() else ():
        if run.status == "done":
            yield int(run.settings["seed"]), run.path
