"""Strike running processes: signals, kills while a file is written, a second process."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from benchmarks.faults import runs
from benchmarks.faults.runs import (
    SETTINGS,
    Fault,
    contents,
    done,
    leftovers,
    lost,
    new_name,
    resume,
    same_cells,
    scvae,
    train,
)

TOO_EARLY = 0.02  # moments at which a run cannot be over


def strike(folder: Path, reference: Path, model: str, number: int, moment: float) -> Fault:
    """Send a signal to a run, then resume the run.

    Where the run is over before the signal comes, another one is struck earlier.

    Args:
        folder: of the runs.
        reference: the undisturbed run.
        model: to train.
        number: of the signal.
        moment: when, from 0 to 1 of the seconds that the stages of the undisturbed run took.
    """
    name = new_name(folder, "run")
    process = train(*SETTINGS, f"model={model}", f"hydra.run.dir={name}", cwd=folder)
    wait_for(process, folder / name, reference, moment)
    process.send_signal(number)
    code, said = done(process)
    if code == 0 and moment > TOO_EARLY:
        return strike(folder, reference, model, number, moment / 2)
    record = json.loads((folder / name / "run.json").read_text())
    when = record.get("stage", "start") if record["status"] != "done" else "when it was over"
    resume(name, folder)
    kind = signal.Signals(number).name
    return Fault(kind, when, code, said, lost(reference, folder / name))


def wait_for(process: subprocess.Popen[str], run: Path, reference: Path, moment: float) -> None:
    """Wait until a run is about as far as `moment` of the undisturbed one.

    The run's record says which stage it is in, so that a machine that becomes faster or slower
    changes only the place within a stage.
    """
    seconds = json.loads((reference / "run.json").read_text())["seconds"]
    left = moment * sum(seconds.values())
    stages = list(seconds)
    stage = next((n for n in stages if (left := left - seconds[n]) < 0), stages[-1])
    later = {*stages[stages.index(stage) :]}
    while process.poll() is None:
        with suppress(OSError, ValueError):
            if json.loads((run / "run.json").read_text()).get("stage") in later:
                break
        time.sleep(0.005)
    with suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, left + seconds[stage]))


def kill_writing(process: subprocess.Popen[str], folder: Path, name: str) -> tuple[int, str]:
    """Kill a process once it writes a file of this name in a folder.

    Returns:
        Its exit code, and the last line that it wrote.
    """
    while process.poll() is None and not list(folder.glob(f".{name}.writing-*")):
        time.sleep(0.001)
    process.kill()
    return done(process)


def killed_h5ad(folder: Path, reference: Path, model: str) -> Fault:
    """Kill a run while cells.h5ad is being written, then resume it."""
    name = new_name(folder, "h5ad")
    process = train(*SETTINGS, f"model={model}", f"hydra.run.dir={name}", cwd=folder)
    code, said = kill_writing(process, folder / name, "cells.h5ad")
    if code == 0:
        return Fault("SIGKILL", "never", code, said, lost(reference, folder / name))
    resume(name, folder)
    wrong = lost(reference, folder / name) + leftovers(folder / name)
    if not same_cells(reference / "cells.h5ad", folder / name / "cells.h5ad"):
        wrong.append("cells.h5ad")
    return Fault("SIGKILL", "writing cells.h5ad", code, said, wrong)


def killed_embed(folder: Path, reference: Path) -> Fault:
    """Kill `scvae embed --h5ad` while it writes, then repeat the command."""
    place = folder / new_name(folder, "embedded")
    place.mkdir()
    command = ["embed", str(reference), str(reference / "cells.h5ad"), "--h5ad", "out.h5ad"]
    code, said = kill_writing(scvae(*command, cwd=place), place, "out.h5ad")
    if code == 0:
        return Fault("SIGKILL of embed", "never", code, said, leftovers(place))
    wrong = [p.name for p in place.iterdir() if not p.name.startswith(".")]  # half-written
    again, text = done(scvae(*command, cwd=place))
    assert again == 0, text
    if not same_cells(reference / "cells.h5ad", place / "out.h5ad"):
        wrong.append("out.h5ad")
    if contents(place / "latent.csv") != contents(reference / "latent.csv"):
        wrong.append("latent.csv")
    return Fault("SIGKILL of embed", "writing out.h5ad", code, said, wrong + leftovers(place))


def killed_job(folder: Path, references: Mapping[str, Path]) -> Fault:
    """Kill the process of a sweep's first job; the others run on, and `resume` repeats the first.

    Args:
        folder: of the runs.
        references: the undisturbed run of each model of the sweep.
    """
    kind, name = "SIGKILL of a job", new_name(folder, "sweep")
    models = f"model={','.join(references)}"
    process = train("-m", *SETTINGS, models, f"hydra.sweep.dir={name}", cwd=folder)
    while not list((folder / name).glob("000-*/checkpoint.safetensors")):
        if process.poll() is not None:
            return Fault(kind, "start", *done(process), ["no job trained"])
        time.sleep(0.01)
    (first,) = (folder / name).glob("000-*")
    number = child_with(process.pid, first)
    if number is None:
        process.terminate()
        return Fault(kind, "train", *done(process), ["no process of the job's own"])
    os.kill(number, signal.SIGKILL)
    code, said = done(process)
    jobs = sorted((folder / name).glob("[0-9]*-*"))
    states = [json.loads((job / "run.json").read_text())["status"] for job in jobs]
    wanted = ["failed", *["done"] * (len(references) - 1)]
    wrong = [] if states == wanted else [f"jobs are {states}"]
    resume(name, folder)
    jobs = sorted((folder / name).glob("0*"))
    for job, reference in zip(jobs, references.values(), strict=True):
        wrong += lost(reference, job)
    return Fault(kind, "train", code, said, wrong)


def child_with(number: int, folder: Path) -> int | None:
    """Return the process below a process that has a file of a folder open; Linux only."""
    for children in Path(f"/proc/{number}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            with suppress(OSError):  # it has ended by now
                opened = [p.readlink() for p in Path(f"/proc/{child}/fd").iterdir()]
                if any(folder in path.parents for path in opened):
                    return child
            if (below := child_with(child, folder)) is not None:
                return below
    return None


def two_at_once(folder: Path, reference: Path, model: str) -> Fault:
    """Resume a run from a second process while the first still runs it."""
    process = train(*SETTINGS, f"model={model}", "hydra.run.dir=one", cwd=folder)
    while not (folder / "one" / "config.yaml").exists():
        time.sleep(0.01)
    code, said = runs.resumed("one", folder)
    first, _ = done(process)
    wrong = lost(reference, folder / "one") if first == 0 else ["the first"]
    return Fault("a second process", "at once", code, said, wrong)
