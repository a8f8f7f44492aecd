"""Measure time and memory of a training of each method, with the machine to itself."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

import pandas as pd

from benchmarks.command import ROOT
from benchmarks.models.cells import Data, loaded
from benchmarks.models.presets import PEER
from benchmarks.models.runs import counts_file, scvae, train_peer
from scvae_cli.launch.compose import compose
from scvae_cli.runs.files import read_json, read_table

ROUNDS = 5  # of the race
EPOCHS = 10  # of a training whose cost is measured
# For runs of which only the training counts.
SHORT = ["map_3d=false", "tsne.max_cells=300", "tsne.max_iter=250", "cluster.n_init=1"]
SCRIPT = """
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
    """Train each method once with all threads, one after the other, if it has not been done.

    Args:
        name: of the data set.
        data: the data set.
        python: a Python that has scvi-tools, or None.
        runs: folder of all runs.
    """
    settings = [o for o in data.overrides if not o.startswith("tsne.")]
    for preset in data.presets:
        folder = runs / "cost" / preset
        if (folder / "peak").exists():
            continue
        shutil.rmtree(folder, ignore_errors=True)
        words = ["train", f"experiment=benchmark/{preset}", *settings, *SHORT]
        if compose([f"experiment=benchmark/{preset}"]).epochs:
            words.append(f"epochs={EPOCHS}")
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT, *words, f"hydra.run.dir={folder}"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if result.returncode:
            print(f"{preset}: {result.stderr[-500:]}", file=sys.stderr)
        else:
            (folder / "peak").write_text(result.stdout.split()[-1])
    if python:
        counts = counts_file(loaded(data)[1], runs / "peer" / f"{name}.h5ad")
        few = ["--epochs", str(EPOCHS), "--threads", str(os.cpu_count())]
        train_peer(python, counts, runs / "cost" / PEER, *few)


def costs(name: str, runs: Path) -> pd.DataFrame:
    """Return seconds of training, epochs and peak memory (bytes) of each method measured.

    Seconds are those of an epoch, the median without the first one, times the epochs of a
    training on the data set of this name.
    """
    rows = []
    for peak in sorted((runs / "cost").glob("*/peak")):
        epochs = compose([f"experiment=benchmark/{peak.parent.name}"]).epochs or 0
        seconds = read_json(peak.parent, "run")["seconds"]["train"]
        if epochs:
            seconds = epochs * median(read_table(peak.parent, "history")["seconds"][1:])
        rows.append((peak.parent.name, seconds, epochs, int(peak.read_text())))
    short, whole = (runs / at / "peer.json" for at in (f"cost/{PEER}", f"peer/{name}-{PEER}-0"))
    if short.exists() and whole.exists():
        measured, epochs = json.loads(short.read_text()), json.loads(whole.read_text())["epochs"]
        rows.append((PEER, epochs * median(measured["each"][1:]), epochs, measured["peak"]))
    return pd.DataFrame(rows, columns=["method", "seconds", "epochs", "peak"])


def race(python: str, runs: Path) -> None:
    """Train ours and scVI in turns, on all genes of PBMC3k, negative binomial, if not done.

    Twenty epochs of ours and five of scVI's take about as long, so that other work of the machine
    weighs on both.
    """
    cells = loaded(Data(["data=pbmc3k"], [], {}))[1]
    counts = counts_file(cells, runs / "peer" / "PBMC3k-all.h5ad")
    size = ["--epochs", "5", "--batch-size", "256", "--likelihood", "nb"]
    for turn in range(ROUNDS):
        mine, theirs = (runs / "race" / f"{side}-{turn}" for side in ("ours", PEER))
        if not (mine / "scores.json").exists():
            shutil.rmtree(mine, ignore_errors=True)
            words = ["experiment=benchmark/vae-nb", "data=pbmc3k", "epochs=20", *SHORT]
            scvae([*words, f"hydra.run.dir={mine}"])
        train_peer(python, counts, theirs, *size, "--threads", str(os.cpu_count()))


def race_epochs(runs: Path) -> dict[str, list[list[float]]]:
    """Return the seconds of each epoch without the first one, in each turn of the `race`.

    Returns:
        Turns of `ours` and of scVI; empty if there was no race.
    """
    ours = [
        list(read_table(runs / "race" / f"ours-{turn}", "history")["seconds"][1:])
        for turn in range(ROUNDS)
        if (runs / "race" / f"ours-{turn}" / "history.csv").exists()
    ]
    metadata = sorted((runs / "race").glob(f"{PEER}-*/peer.json"))
    theirs = [json.loads(file.read_text())["each"][1:] for file in metadata]
    return {"ours": ours, PEER: theirs} if ours and theirs else {}
