"""Measure time and memory of a training of each method, with the machine to itself."""

import json
import os
import shutil
import subprocess
import sys
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.command import ROOT
from benchmarks.latents.methods import BATCH, EPOCHS, OTHERS, SHARE, SHIPPED
from benchmarks.latents.runs import cells_of, counts_file, data_words, train_peer
from scvae_cli.choice.plan import CANDIDATES
from scvae_cli.data.sources import load
from scvae_cli.launch.compose import compose
from scvae_cli.runs.files import read_json, read_table

ROUNDS = 5  # of the race
# Epochs of a training whose cost is measured: of ours, as many as make it compile what a whole one
# compiles (`models.compiled.pays`), in the race too.
FEW, FEW_OF_SCVI = 140, 10
RACED, RACED_BY_SCVI = 30, 10
# For runs of which only the training counts: epochs without validation.
SHORT = ["map_3d=false", "tsne.max_cells=200", "tsne.max_iter=250", "cluster.n_init=1",
         "validation=null"]  # fmt: skip
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
PRESETS = {name: f"choose/{name}" for name in CANDIDATES} | {
    name: f"benchmark/{name}" for name in OTHERS
}


def measure(folder: Path, python: str | None, runs: Path) -> None:
    """Train each method once with all threads, one after the other, if it has not been done.

    Args:
        folder: of `scvae choose` on the cells.
        python: a Python that has scvi-tools, or None.
        runs: folder of all runs.
    """
    for name, preset in PRESETS.items():
        to = runs / "cost" / name
        if (to / "peak").exists():
            continue
        shutil.rmtree(to, ignore_errors=True)
        words = [f"experiment={preset}", *data_words(folder), *SHORT, *_length(preset, FEW)]
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT, "train", *words, f"hydra.run.dir={to}"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if result.returncode:
            print(f"{name}: {result.stderr[-500:]}", file=sys.stderr)
        else:
            (to / "peak").write_text(result.stdout.split()[-1])
    if python:
        counts = counts_file(cells_of(folder), runs / "peer" / folder.name / "counts.h5ad")
        few = ["--epochs", str(FEW_OF_SCVI), "--threads", str(os.cpu_count())]
        train_peer(python, counts, runs / "cost" / SHIPPED, *few)


def _length(preset: str, epochs: int) -> list[str]:
    """Return the words that train so many epochs; none if nothing is trained."""
    if compose([f"experiment={preset}", "data=pbmc3k"]).updates is None:
        return []
    return [f"epochs={epochs}", "updates=null", "patience=null"]


def costs(runs: Path) -> list[dict[str, Any]]:
    """Return what a training of each method costs, as far as it was measured.

    Returns:
        method; updates (0 where the model is solved); ms, the median milliseconds of an update,
        without the first epoch; seconds of all updates, without early stopping; peak memory (MB).
    """
    rows = []
    for name, preset in PRESETS.items():
        folder = runs / "cost" / name
        if not (folder / "peak").exists():
            continue
        config = compose([f"experiment={preset}", "data=pbmc3k"])
        updates = config.updates or 0
        ms, seconds = 0.0, float(read_json(folder, "run")["seconds"]["train"])
        if updates:
            batches = ceil(len(read_table(folder, "latent")) / config.batch_size)
            ms = 1000 * median(read_table(folder, "history")["seconds"][1:]) / batches
            seconds = updates * ms / 1000
        rows.append(_row(name, updates, ms, seconds, int((folder / "peak").read_text())))
    peer = runs / "cost" / SHIPPED / "peer.json"
    if peer.exists():
        measured = json.loads(peer.read_text())
        batches = ceil(SHARE * len(read_table(peer.parent, "latent")) / BATCH)
        epoch = median(measured["each"][1:])
        ms = 1000 * epoch / batches
        rows.append(_row(SHIPPED, EPOCHS * batches, ms, EPOCHS * epoch, measured["peak"]))
    return rows


def _row(method: str, updates: int, ms: float, seconds: float, peak: int) -> dict[str, Any]:
    return {
        "method": method, "updates": updates, "ms": round(ms, 1), "seconds": round(seconds, 1),
        "peak": round(peak / 2**20),
    }  # fmt: skip


def race(python: str, runs: Path) -> None:
    """Train ours and scVI in turns, on all genes of PBMC3k, negative binomial, if not done.

    A turn of ours takes about as long as one of scVI's, so that other work of the machine weighs
    on both.
    """
    cells = load(**compose(["data=pbmc3k"]).data.model_dump())
    counts = counts_file(cells, runs / "race" / "counts.h5ad")
    size = ["--epochs", str(RACED_BY_SCVI), "--batch-size", "256", "--likelihood", "nb"]
    for turn in range(ROUNDS):
        mine, theirs = (runs / "race" / f"{side}-{turn}" for side in ("ours", SHIPPED))
        if not (mine / "scores.json").exists():
            shutil.rmtree(mine, ignore_errors=True)
            words = ["experiment=choose/vae-nb", "data=pbmc3k", *SHORT, f"hydra.run.dir={mine}"]
            command = [sys.executable, "-m", "scvae_cli", "train", *words]
            subprocess.run([*command, *_length("choose/vae-nb", RACED)], cwd=ROOT, check=True)
        train_peer(python, counts, theirs, *size, "--threads", str(os.cpu_count()))


def race_seconds(runs: Path) -> dict[str, Any]:
    """Return median seconds of an epoch in each turn, ours and scVI's, and how they compare.

    The first epoch of each turn is left out. Empty if there was no race.
    """
    ours = [
        list(read_table(runs / "race" / f"ours-{turn}", "history")["seconds"][1:])
        for turn in range(ROUNDS)
        if (runs / "race" / f"ours-{turn}" / "history.csv").exists()
    ]
    metadata = sorted((runs / "race").glob(f"{SHIPPED}-*/peer.json"))
    theirs = [json.loads(file.read_text())["each"][1:] for file in metadata]
    return compared(ours, theirs) if ours and theirs else {}


def compared(ours: list[list[float]], theirs: list[list[float]]) -> dict[str, Any]:
    """Return how epochs compare, by the median of each turn and by the fastest of all.

    Args:
        ours: seconds of each epoch in each turn.
        theirs: the same of scVI.
    """
    medians = [[median(turn) for turn in side] for side in (ours, theirs)]
    ratios = [b / a for a, b in zip(*medians, strict=False)]
    return {
        "ours": [round(s, 2) for s in medians[0]],
        SHIPPED: [round(s, 2) for s in medians[1]],
        "least": round(min(ratios), 1),
        "most": round(max(ratios), 1),
        "fastest": round(min(map(min, theirs)) / min(map(min, ours)), 1),
    }
