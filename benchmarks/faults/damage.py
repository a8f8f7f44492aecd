"""Damage files of runs: cut them, or flip a bit."""

import json
import random
import shutil
import time
from pathlib import Path

from benchmarks.faults import runs
from benchmarks.faults.runs import SETTINGS, Fault, done, lost, new_name, train


def spoil(folder: Path, reference: Path, name: str, how: str, rng: random.Random) -> Fault:
    """Damage a file of a run that is done, then resume the run.

    Args:
        folder: of the runs.
        reference: the undisturbed run, which is copied.
        name: of the file.
        how: `a bit flipped`, or `cut to N %`.
        rng: which bit.
    """
    run = folder / new_name(folder, "spoilt")
    shutil.copytree(reference, run)
    whole = (run / name).read_bytes()
    if how == "a bit flipped":
        damaged = _flipped(whole, rng)
    else:
        damaged = whole[: int(len(whole) * float(how.split()[-2]) / 100)]
    (run / name).write_bytes(damaged)
    code, said = runs.resumed(run.name, folder)
    return Fault(how, name, code, said, lost(reference, run) if code == 0 else ["not mended"])


def checkpoint(folder: Path, reference: Path, model: str, how: str, rng: random.Random) -> Fault:
    """Kill a training once it has a checkpoint, damage that, and resume the run.

    Args:
        folder: of the runs.
        reference: the undisturbed run.
        model: to train.
        how: `a bit flipped`, `cut`, or `as it was`.
        rng: which bit, or where to cut.
    """
    name = new_name(folder, "kept")
    process = train(*SETTINGS, f"model={model}", f"hydra.run.dir={name}", cwd=folder)
    path = folder / name / "checkpoint.safetensors"
    while not path.exists() and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    done(process)
    whole = path.read_bytes()
    if how == "a bit flipped":
        path.write_bytes(_flipped(whole, rng))
    elif how == "cut":
        path.write_bytes(whole[: rng.randrange(len(whole))])
    code, said = runs.resumed(name, folder)
    record = json.loads((folder / name / "run.json").read_text())
    noticed = any("checkpoint" in text for text in record.get("warnings", []))
    wrong = lost(reference, folder / name)
    if noticed != (how != "as it was"):
        wrong.append("not noticed")
    return Fault(f"checkpoint, {how}", "train", code, said, wrong)


def _flipped(whole: bytes, rng: random.Random) -> bytes:
    """Return the bytes with one bit flipped."""
    damaged = bytearray(whole)
    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)
