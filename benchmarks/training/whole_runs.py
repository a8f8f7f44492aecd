"""Measure whole commands: the stages of a run, and how soon help and completion answer."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.training.contest import in_turns

SCVAE = [sys.executable, "-m", "scvae_cli"]
STAGES = {
    "load": "load", "train": "train", "embed": "embed", "tsne_2d": "t-SNE 2-D",
    "tsne_3d": "t-SNE 3-D", "cluster": "k-means", "score": "score", "sparsity": "sparsity",
    "figures": "figures",
}  # fmt: skip


def stages(overrides: Sequence[str], folder: Path) -> list[str]:
    """Return a row: each stage's share of a run, and the share outside the stages."""
    run = folder / "run"
    total = _seconds([*SCVAE, "train", *overrides, f"hydra.run.dir={run}"])
    seconds = json.loads((run / "run.json").read_text())["seconds"]
    shutil.rmtree(run)
    parts = [f"{100 * seconds[s] / total:.0f} %" if s in seconds else "" for s in STAGES]
    outside = total - sum(seconds.values())
    return [" ".join(overrides) or "(defaults)", f"{total:.1f}", *parts,
            f"{100 * outside / total:.0f} %"]  # fmt: skip


def answers() -> list[list[str]]:
    """Return rows: seconds that help and completion take, beside those of importing torch."""
    os.environ["COMP_LINE"] = "scvae train model="
    commands = {
        "`scvae train --help`": [*SCVAE, "train", "--help"],
        "tab completion": [*SCVAE, "-sc", "query=bash"],
        "`import torch`": [sys.executable, "-c", "import torch"],
    }
    times = in_turns({name: partial(_seconds, command) for name, command in commands.items()})
    return [[name, f"{median(taken):.2f}"] for name, taken in times.items()]


def _seconds(command: Sequence[str]) -> float:
    """Return the seconds that a command takes."""
    start = perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return perf_counter() - start
