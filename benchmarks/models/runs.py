"""Train every preset on every set of cells, as sweeps of scvae's own, and scVI beside them."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from joblib import Parallel, delayed

from benchmarks.command import ROOT
from benchmarks.models.cells import Data, loaded
from benchmarks.models.presets import PEERS
from scvae_cli.data.dataset import Dataset
from scvae_cli.results.runs import find_runs
from scvae_cli.runs.run import Run

THREADS = 1  # of each job


class Training(NamedTuple):
    """What was trained: a run of ours, or a training of scVI.

    Attributes:
        method: preset, or one of `PEERS`.
        seed: of the training.
        path: its folder.
    """

    method: str
    seed: int
    path: Path


def scvae(arguments: Sequence[str]) -> None:
    """Run `scvae train` in a process of its own; a run that fails is a result."""
    command = [sys.executable, "-m", "scvae_cli", "train", *arguments]
    subprocess.run(command, cwd=ROOT, check=False)


def sweep(name: str, data: Data, seeds: int, runs: Path) -> None:
    """Run what has not been run on these cells."""
    folder = runs / name
    there = (folder / "sweep.json").exists()
    presets = ",".join(f"benchmark/{preset}" for preset in data.presets)
    scvae(
        [
            "-m", f"experiment={presets}", *data.overrides, f"seed=range(0,{seeds})",
            "map_3d=false", f"threads={THREADS}", "hydra/launcher=joblib",
            f"hydra.sweep.dir={folder}",
            # Results stay when code changes elsewhere; remove the folder to repeat them.
            *([f"resume={folder}", "force=true"] if there else []),
        ]
    )  # fmt: skip


def counts_file(dataset: Dataset, file: Path) -> Path:
    """Write counts for scVI, if they are not there; return the file."""
    import anndata
    from scipy.sparse import csr_matrix

    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        anndata.AnnData(
            csr_matrix(dataset.counts()),
            obs=pd.DataFrame(index=dataset.cells),
            var=pd.DataFrame(index=dataset.genes),
        ).write_h5ad(file)
    return file


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


def train_peers(python: str, sets: Mapping[str, Data], seeds: int, runs: Path) -> None:
    """Train scVI on all data sets, each on one thread, as many beside each other as cores."""
    counts = {
        name: counts_file(loaded(data)[1], runs / "peer" / f"{name}.h5ad")
        for name, data in sets.items()
        if data.has_counts
    }
    Parallel(n_jobs=-1, prefer="threads")(
        delayed(train_peer)(
            python, counts[name], runs / "peer" / f"{name}-{peer}-{seed}",
            "--seed", str(seed), *PEERS[peer],
        )
        for name in counts
        for peer in PEERS
        for seed in range(seeds)
    )  # fmt: skip


def trainings(name: str, runs: Path) -> Iterator[Training]:
    """Return all that was trained on a data set."""
    for run in find_runs([runs / name]) if (runs / name).exists() else []:
        preset = run.settings.get("experiment")
        if run.status == "done" and preset:
            method = str(preset).removeprefix("benchmark/")
            yield Training(method, run.settings["seed"], run.path)
    for peer in PEERS:
        for metadata in sorted((runs / "peer").glob(f"{name}-{peer}-[0-9]*/peer.json")):
            folder = metadata.parent
            yield Training(peer, int(folder.name.rpartition("-")[2]), folder)


def failures(sets: Mapping[str, Data], runs: Path) -> list[Run]:
    """Return the runs that failed."""
    found = find_runs([runs / name for name in sets if (runs / name).exists()])
    return [run for run in found if run.status == "failed"]
