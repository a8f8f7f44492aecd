"""Which model, on which cells: `make benchmark`, which writes docs/benchmark.md.

Every preset of conf/experiment/benchmark is run on every data set with several seeds, as sweeps
of scvae's own, which go on where they were; scVI is trained beside them where scvi-tools is
installed. All latent spaces and maps are clustered alike and scored against the types. In --runs:

    FACS, PBMC3k, ...   a sweep for each data set; `scvae compare` reads them
    peer/               counts for scVI, and a folder for each of its trainings
    scores/             scores of each run, so that the next call has to compute new ones alone
    cost/, race/        trainings with the machine to itself, for time and memory
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from benchmarks.training import ROOT, answer
from scvae_cli.analysis.cluster import kmeans
from scvae_cli.analysis.score import score
from scvae_cli.analysis.tsne import choose, tsne
from scvae_cli.config import Config
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.neighbours import leiden, shared_neighbours
from scvae_cli.data.sources import load
from scvae_cli.launch.compose import compose
from scvae_cli.results.runs import find_runs
from scvae_cli.runs.files import read_json, read_table
from scvae_cli.runs.run import Run

CONTROLS = ["pca-6", "pca-10", "pca-20", "pca-50", "projection", "untrained"]
LOGS = ["ae", "vae", "vsc", "vae-gaussian"]  # squared error of log values
COUNTS = [
    "ae-nb", "ae-nb-128", "vae-poisson", "vae-poisson-128", "vae-poisson-wide", "vae-nb",
    "vae-nb-128", "vae-nb-beta2", "vae-nb-long", "vae-zinb", "vsc-nb", "vsc-nb-sound",
    "vsc-uai-nb",
]  # fmt: skip
PEER = "scvi"  # by scvi-tools' defaults, 400 epochs for so few cells
SHORT_PEER = "scvi-short"  # with as many epochs as ours have
PEERS = {PEER: [], SHORT_PEER: ["--epochs", "100"]}
GRAPH = {"n_neighbors": 20, "prune": 1 / 15}  # Seurat's, for Leiden
THREADS = 1  # of each job
ROUNDS = 5  # of the race
EPOCHS = 10  # of a training whose cost is measured
# For runs of which only the training counts.
SHORT = ["map_3d=false", "tsne.max_cells=300", "tsne.max_iter=250", "cluster.n_init=1"]


@dataclass(frozen=True)
class Data:
    """Cells, and what is run on them.

    Attributes:
        overrides: what to say after `scvae train`.
        presets: of conf/experiment/benchmark.
        labels: name of a set of labels to what makes it of these overrides; the first is scored
            by the runs themselves.
        has_counts: whether `PEERS` can be trained on them.
    """

    overrides: list[str]
    presets: list[str]
    labels: dict[str, list[str]]
    has_counts: bool = True


def data_sets(folder: Path | None) -> dict[str, Data]:
    """What there is, by name: cells sorted by antibodies and Seurat's labels from `folder`."""
    every = [*CONTROLS, *LOGS, *COUNTS]
    logs = [name for name in [*CONTROLS, *LOGS] if name != "untrained"]  # no counts there
    facs = folder and folder / "zheng_facs" / "zheng_facs_raw.h5ad"
    seurat = folder and folder / "pbmc3k" / "seurat_labels.csv"
    sets = {}
    if facs and facs.exists():
        sets["FACS"] = Data(
            [
                "data=file", f"data.path='{facs}'", "data.label_key=celltype", "data.genes=2000",
                "tsne.max_cells=1500",
            ],
            every,
            {"FACS, 10 populations": [], "FACS, 5 populations": ["data.label_key=subpop"]},
        )  # fmt: skip
    pbmc3k = {"PBMC3k, types found here": []}
    if seurat and seurat.exists():
        pbmc3k["PBMC3k, Seurat's types"] = [f"data.labels='{seurat}'"]
    sets["PBMC3k"] = Data(["data=pbmc3k", "data.genes=2000", "tsne.max_cells=1000"], every, pbmc3k)
    sets["synthetic"] = Data(
        ["data=synthetic", "data.n_types=8", "data.fold=2", "data.umis=3000"],
        every,
        {"synthetic": []},
    )
    sets["PBMC68k"] = Data(["data=pbmc68k"], logs, {"PBMC68k": []}, has_counts=False)
    return sets


def scvae(arguments: list[str]) -> None:
    """`scvae train` in a process of its own; a run that fails is a result."""
    command = [sys.executable, "-m", "scvae_cli", "train", *arguments]
    subprocess.run(command, cwd=ROOT, check=False)


def sweep(name: str, data: Data, seeds: int, runs: Path) -> None:
    """Runs what has not been run on these cells."""
    folder = runs / name
    there = (folder / "sweep.json").exists()
    presets = ",".join(f"benchmark/{preset}" for preset in data.presets)
    scvae(
        [
            "-m", f"experiment={presets}", *data.overrides, f"seed=range(0,{seeds})",
            "map_3d=false", f"threads={THREADS}", "hydra/launcher=joblib",
            f"hydra.sweep.dir={folder}",
            # Results stay when code changes elsewhere; remove the folder to have them anew.
            *([f"resume={folder}", "force=true"] if there else []),
        ]
    )  # fmt: skip


def loaded(data: Data, more: list[str] | None = None) -> tuple[Config, Dataset]:
    """The settings that all runs on these cells share, and the cells."""
    config = compose([*data.overrides, *(more or [])])
    return config, load(**config.data.model_dump())


def hand_over(dataset: Dataset, file: Path) -> Path:
    """Writes counts for scVI, if they are not there; the file."""
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


def train_peer(python: str, counts: Path, folder: Path, *more: str) -> None:
    """Trains scVI in a process of its own, if it has not been."""
    if not (folder / "peer.json").exists():
        code = Path(__file__).with_name("peer.py")
        subprocess.run([python, str(code), str(counts), str(folder), *more], check=True)


def train_peers(python: str, sets: dict[str, Data], seeds: int, runs: Path) -> None:
    """Trains scVI on all data sets, each on one thread, as many beside each other as cores."""
    counts = {
        name: hand_over(loaded(data)[1], runs / "peer" / f"{name}.h5ad")
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


def latents(name: str, runs: Path) -> Iterator[tuple[str, int, Path]]:
    """Method, seed and folder of all that was trained on a data set."""
    for run in find_runs([runs / name]) if (runs / name).exists() else []:
        preset = run.flat_settings.get("experiment")
        if run.status == "done" and preset:
            yield str(preset).removeprefix("benchmark/"), run.flat_settings["seed"], run.path
    for peer in PEERS:
        for told in sorted((runs / "peer").glob(f"{name}-{peer}-[0-9]*/peer.json")):
            yield peer, int(told.parent.name.rpartition("-")[2]), told.parent


def scored(
    path: Path, method: str, seed: int, truths: dict[str, np.ndarray], config: Config, to: Path
) -> list[dict[str, Any]]:
    """Scores of one latent space and its map against each set of labels, computed once.

    Args:
        path: folder of a run, or of a training of scVI, which gets its map here.
        method: what it is.
        seed: of the training, the map and the clusterings.
        truths: labels (n_cells,) by name.
        config: how to map and cluster.
        to: where the scores are kept.
    """
    kept = to / f"{path.parent.name}-{path.name}.json"
    if kept.exists() and kept.stat().st_mtime > (path / "latent.csv").stat().st_mtime:
        found: dict[str, list[dict[str, Any]]] = json.loads(kept.read_text())
        if list(found) == list(truths):
            return [row for rows in found.values() for row in rows]
    latent = read_table(path, "latent").drop(columns="cell").to_numpy(np.float32)
    options = config.tsne.model_dump() | {"seed": seed}
    mapped = choose(len(latent), options.pop("max_cells"), seed)
    known: dict[str, np.ndarray] = {}  # clusters by k-means that the run has found
    if method in PEERS:
        places = tsne(latent[mapped], 2, threads=THREADS, **options)
    else:
        cells = read_table(path, "cells")
        places = cells[["tsne_1", "tsne_2"]].to_numpy(np.float32)[mapped]
        k = read_json(path, "scores")["n_clusters"]
        known = {
            f"latent {k}": cells["latent_cluster"].to_numpy(),
            f"map {k}": cells["cluster"].to_numpy()[mapped],
        }
    found = {name: [] for name in truths}
    for space, points, rows in (("latent", latent, slice(None)), ("map", places, mapped)):
        graph = shared_neighbours(points, **GRAPH)
        clusters: dict[int, dict[str, np.ndarray]] = {}
        for name, truth in truths.items():
            k = len(np.unique(truth))
            if k not in clusters:
                options = config.cluster.model_dump() | {"n_clusters": k, "seed": seed}
                means = known.get(f"{space} {k}")
                means = kmeans(points, **options)[0] if means is None else means
                clusters[k] = {"k-means": means, "Leiden": leiden(graph, n_clusters=k, seed=seed)}
            for by, numbers in clusters[k].items():
                scores = score(truth[rows], numbers, nmi_average=config.score.nmi_average)
                told = {"method": method, "seed": seed, "labels": name, "space": space, "by": by}
                found[name].append(told | vars(scores))
    to.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(found))
    return [row for rows in found.values() for row in rows]


def all_scores(sets: dict[str, Data], runs: Path) -> pd.DataFrame:
    """A row for each training, set of labels, space and way of clustering."""
    rows: list[list[dict[str, Any]]] = []
    for name, data in sets.items():
        config, _ = loaded(data)
        truths = {}
        for labels, more in data.labels.items():
            dataset = loaded(data, more)[1]
            truths[labels] = np.array(dataset.cell_types)[dataset.labels]
        rows += Parallel(n_jobs=-1)(
            delayed(scored)(path, method, seed, truths, config, runs / "scores")
            for method, seed, path in latents(name, runs)
        )
    return pd.DataFrame([row for some in rows for row in some])


COST = """
import sys
from benchmarks.peer import peak
from scvae_cli.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop
print(peak())
"""


def measure(name: str, data: Data, python: str | None, runs: Path) -> None:
    """Trains each method once, one after the other, with all threads, if it has not been done."""
    settings = [o for o in data.overrides if not o.startswith("tsne.")]
    for preset in data.presets:
        folder = runs / "cost" / preset
        if (folder / "peak").exists():
            continue
        shutil.rmtree(folder, ignore_errors=True)
        words = ["train", f"experiment=benchmark/{preset}", *settings, *SHORT]
        if compose([f"experiment=benchmark/{preset}"]).epochs:
            words.append(f"epochs={EPOCHS}")
        told = subprocess.run(
            [sys.executable, "-c", COST, *words, f"hydra.run.dir={folder}"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if told.returncode:
            print(f"{preset}: {told.stderr[-500:]}", file=sys.stderr)
        else:
            (folder / "peak").write_text(told.stdout.split()[-1])
    if python:
        counts = hand_over(loaded(data)[1], runs / "peer" / f"{name}.h5ad")
        few = ["--epochs", str(EPOCHS), "--threads", str(os.cpu_count())]
        train_peer(python, counts, runs / "cost" / PEER, *few)


def costs(name: str, runs: Path) -> pd.DataFrame:
    """Seconds of training, epochs and most memory (bytes) of each method that was measured.

    Seconds are those of an epoch, the median but for the first, times the epochs of a training
    on the data set of this name.
    """
    rows = []
    for peak in sorted((runs / "cost").glob("*/peak")):
        epochs = compose([f"experiment=benchmark/{peak.parent.name}"]).epochs or 0
        seconds = read_json(peak.parent, "run")["seconds"]["train"]
        if epochs:
            seconds = epochs * median(read_table(peak.parent, "history")["seconds"][1:])
        rows.append((peak.parent.name, seconds, epochs, int(peak.read_text())))
    peer, whole = (runs / at / "peer.json" for at in (f"cost/{PEER}", f"peer/{name}-{PEER}-0"))
    if peer.exists() and whole.exists():
        told, epochs = json.loads(peer.read_text()), json.loads(whole.read_text())["epochs"]
        rows.append((PEER, epochs * median(told["each"][1:]), epochs, told["peak"]))
    return pd.DataFrame(rows, columns=["method", "seconds", "epochs", "peak"])


def race(python: str, runs: Path) -> None:
    """Trains ours and scVI in turns, on all genes of PBMC3k, negative binomial, if not done.

    Twenty epochs of ours and five of scVI's take about as long, so that what else the machine does
    weighs on both.
    """
    counts = hand_over(loaded(Data(["data=pbmc3k"], [], {}))[1], runs / "peer" / "PBMC3k-all.h5ad")
    size = ["--epochs", "5", "--batch-size", "256", "--likelihood", "nb"]
    for turn in range(ROUNDS):
        mine, theirs = (runs / "race" / f"{who}-{turn}" for who in ("ours", PEER))
        if not (mine / "scores.json").exists():
            shutil.rmtree(mine, ignore_errors=True)
            words = ["experiment=benchmark/vae-nb", "data=pbmc3k", "epochs=20", *SHORT]
            scvae([*words, f"hydra.run.dir={mine}"])
        train_peer(python, counts, theirs, *size, "--threads", str(os.cpu_count()))


def epochs(runs: Path) -> dict[str, list[list[float]]]:
    """Seconds of each epoch but the first in each turn of the `race`."""
    ours = [
        list(read_table(runs / "race" / f"ours-{turn}", "history")["seconds"][1:])
        for turn in range(ROUNDS)
        if (runs / "race" / f"ours-{turn}" / "history.csv").exists()
    ]
    told = sorted((runs / "race").glob(f"{PEER}-*/peer.json"))
    theirs = [json.loads(file.read_text())["each"][1:] for file in told]
    return {"ours": ours, PEER: theirs} if ours and theirs else {}


def failures(sets: dict[str, Data], runs: Path) -> list[Run]:
    """Runs that failed."""
    found = find_runs([runs / name for name in sets if (runs / name).exists()])
    return [run for run in found if run.status == "failed"]


def main() -> None:
    """Runs what is missing and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    folder = os.environ.get("SCVAE_DATA_DIR")
    parser.add_argument("--data", type=Path, default=folder and Path(folder))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=ROOT / "outputs" / "benchmark")
    parser.add_argument("--to", type=Path, default=ROOT / "docs")
    parser.add_argument("--peer", default=sys.executable, help="a Python that has scvi-tools")
    parser.add_argument("--page", action="store_true", help="only the page, of what is there")
    asked = parser.parse_args()
    runs = asked.runs.absolute()
    sets = data_sets(asked.data)
    has_peer = subprocess.run([asked.peer, "-c", "import scvi"], capture_output=True, check=False)
    python = None if has_peer.returncode else asked.peer
    if python is None:
        print("scvi-tools is not installed (pip install '.[peer]'): no scVI", file=sys.stderr)
    if not asked.page:
        for name, data in sets.items():
            sweep(name, data, asked.seeds, runs)
        if python:
            train_peers(python, sets, asked.seeds, runs)
    measured = next(iter(sets))
    if not asked.page:
        measure(measured, sets[measured], python, runs)
        if python:
            race(python, runs)
    scores = all_scores(sets, runs)
    from benchmarks.models_page import write

    lost = failures(sets, runs)
    print(write(scores, costs(measured, runs), measured, epochs(runs), sets, lost, asked.to))


if __name__ == "__main__":
    answer(main)
