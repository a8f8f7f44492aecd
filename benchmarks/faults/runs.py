"""Run scvae in processes of its own, and compare what it wrote with an undisturbed run."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import anndata
import pandas as pd

from benchmarks.command import ROOT
from scvae_cli.runs.files import files_of

MODELS = ["vae", "vsc", "ae"]
# Some seconds, of which training and maps take most.
SETTINGS = [
    "data=synthetic", "data.n_cells=800", "data.n_genes=500", "epochs=60", "batch_size=64",
    "tsne.max_iter=400", "cluster.n_init=20", "checkpoint.every=5", "map_3d=false", "h5ad=true",
    "threads=1",
]  # fmt: skip
SAME = files_of("trained", repeating=True)


@dataclass
class Fault:
    """One fault and what it did.

    Attributes:
        kind: what struck.
        when: the stage that it struck, or the file.
        code: exit code of the command that met it.
        said: the last line that this command wrote.
        lost: files that are not what they are without the fault, or what else went wrong.
    """

    kind: str
    when: str
    code: int
    said: str
    lost: list[str]


def train(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Start `scvae train ARGUMENTS` in a process of its own."""
    return scvae("train", *arguments, cwd=cwd)


def scvae(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Start `scvae ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-m", "scvae_cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def done(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a process; return its exit code and the last line that it wrote."""
    _, err = process.communicate(timeout=300)
    assert "Traceback" not in err, err
    lines = [line for line in err.splitlines() if line.strip()]
    return process.returncode, lines[-1] if lines else ""


def resumed(run: str | Path, cwd: Path) -> tuple[int, str]:
    """Resume a run; return the command's exit code and the last line that it wrote."""
    return done(train(f"resume={run}", cwd=cwd))


def resume(run: str | Path, cwd: Path) -> None:
    """Resume a run, which must end well."""
    code, text = resumed(run, cwd)
    assert code == 0, text


def undisturbed(model: str, folder: Path) -> tuple[Path, float]:
    """Make the run of a model that nothing happens to.

    Returns:
        Its folder and the seconds of its stages.
    """
    code, said = done(train(*SETTINGS, f"model={model}", f"hydra.run.dir={model}", cwd=folder))
    assert code == 0, said
    run = folder / model
    seconds = json.loads((run / "run.json").read_text())["seconds"]
    return run, float(sum(seconds.values()))


def new_name(folder: Path, kind: str) -> str:
    """Return a name that no other run in a folder has or will get."""
    for n in count():
        with suppress(FileExistsError):
            (folder / f".{kind}-{n}").mkdir()
            return f"{kind}-{n}"
    raise AssertionError


def lost(reference: Path, run: Path) -> list[str]:
    """Return the files of a run that are not what they are in the undisturbed one."""
    same = files_of("trained", "vsc", repeating=True)
    differ = [n for n in same if contents(run / n) != contents(reference / n)]
    columns = ["epoch", "total", "reconstruction", "kl"]
    histories = [
        pd.read_csv(path / "history.csv", dtype=str)[columns] for path in (reference, run)
    ]
    return differ + ([] if histories[0].equals(histories[1]) else ["history.csv"])


def contents(path: Path) -> bytes | None:
    """Return the bytes of a file, or None if it is not there."""
    return path.read_bytes() if path.exists() else None


def leftovers(folder: Path) -> list[str]:
    """Return what a process that was killed left behind in a folder."""
    return [p.name for p in folder.iterdir() if p.name.startswith(".") and p.name != ".hydra"]


def same_cells(a: Path, b: Path) -> bool:
    """Return whether two h5ad files have the same cells, values and latent space."""
    one, other = anndata.read_h5ad(a), anndata.read_h5ad(b)
    latent = one.obsm["X_scvae"] == other.obsm["X_scvae"]
    return bool(one.obs.equals(other.obs) and (one.X != other.X).nnz == 0 and latent.all())
