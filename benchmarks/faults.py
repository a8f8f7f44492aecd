"""Faults, for real, and what was lost: `make faults` prints and writes docs/reliability.md.

Each fault strikes a run in a process of its own. Then `scvae train resume=RUN` goes on, and every
file is compared with those of a run that nothing happened to.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import anndata
import pandas as pd

ROOT = Path(__file__).parents[1]
MODELS = ["vae", "vsc", "ae"]
# Some seconds, of which training and maps take most.
SETTINGS = [
    "data=synthetic", "data.n_cells=800", "data.n_genes=500", "epochs=60", "batch_size=64",
    "tsne.max_iter=400", "cluster.n_init=20", "checkpoint.every=5", "map_3d=false", "h5ad=true",
    "threads=1",
]  # fmt: skip
SIZES = [64, 100, 128, 192, 256, 512, 1024, 2048, 3072, 4096, 6144, 8192]  # of disks, kB
SAME = [
    "latent.csv", "cells.csv", "scores.json", "model.safetensors", "genes.csv", "config.yaml",
    "figures/map_2d.png", "figures/loss.png",
]  # fmt: skip
OF_VSC = ["latents.csv", "drivers.csv", "figures/sparsity.png"]


@dataclass
class Fault:
    """One fault: what it was, when it struck, what the tool said, what was lost."""

    kind: str
    when: str
    code: int
    said: str
    lost: list[str]


def train(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """`scvae train ARGUMENTS` in a process of its own."""
    return scvae("train", *arguments, cwd=cwd)


def scvae(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """`scvae ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-m", "scvae_cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def done(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and the last line that it said."""
    _, err = process.communicate(timeout=300)
    assert "Traceback" not in err, err
    lines = [line for line in err.splitlines() if line.strip()]
    return process.returncode, lines[-1] if lines else ""


def new_name(folder: Path, kind: str) -> str:
    """A name that no other run there has or will get."""
    for n in count():
        with suppress(FileExistsError):
            (folder / f".{kind}-{n}").mkdir()
            return f"{kind}-{n}"
    raise AssertionError


def work(run: Path) -> float:
    """Seconds of a run's stages."""
    return float(sum(json.loads((run / "run.json").read_text())["seconds"].values()))


def lost(reference: Path, run: Path) -> list[str]:
    """Files that are not what they are without the fault."""
    differ = [n for n in [*SAME, *OF_VSC] if _bytes(run / n) != _bytes(reference / n)]
    columns = ["epoch", "total", "reconstruction", "kl"]
    histories = [
        pd.read_csv(path / "history.csv", dtype=str)[columns] for path in (reference, run)
    ]
    return differ + ([] if histories[0].equals(histories[1]) else ["history.csv"])


def strike(
    folder: Path, reference: Path, model: str, number: int, moment: float, seconds: float
) -> Fault:
    """A signal at a moment (0 to 1) of a run whose work takes so long; then the run goes on."""
    name = new_name(folder, "run")
    process = train(*SETTINGS, f"model={model}", f"hydra.run.dir={name}", cwd=folder)
    while not (folder / name / "config.yaml").exists() and process.poll() is None:
        time.sleep(0.01)  # before there is a run, there is nothing to lose
    time.sleep(moment * seconds)
    process.send_signal(number)
    code, said = done(process)
    record = json.loads((folder / name / "run.json").read_text())
    when = record.get("stage", "start") if record["status"] != "done" else "when it was over"
    again, text = done(train(f"resume={name}", cwd=folder))
    assert again == 0, text
    kind = signal.Signals(number).name
    return Fault(kind, when, code, said, lost(reference, folder / name))


def kill_writing(process: subprocess.Popen[str], folder: Path, name: str) -> tuple[int, str]:
    """Kills a process once it writes a file there; its exit code, and the last line it said."""
    while process.poll() is None and not list(folder.glob(f".{name}.writing-*")):
        time.sleep(0.001)
    process.kill()
    return done(process)


def left(folder: Path) -> list[str]:
    """What a process that was killed left behind there."""
    return [p.name for p in folder.iterdir() if p.name.startswith(".") and p.name != ".hydra"]


def killed_h5ad(folder: Path, reference: Path, model: str) -> Fault:
    """Killed while cells.h5ad is being written; then the run goes on."""
    name = new_name(folder, "h5ad")
    process = train(*SETTINGS, f"model={model}", f"hydra.run.dir={name}", cwd=folder)
    code, said = kill_writing(process, folder / name, "cells.h5ad")
    if code == 0:
        return Fault("SIGKILL", "never", code, said, lost(reference, folder / name))
    again, text = done(train(f"resume={name}", cwd=folder))
    assert again == 0, text
    found = lost(reference, folder / name) + left(folder / name)
    if not same_cells(reference / "cells.h5ad", folder / name / "cells.h5ad"):
        found.append("cells.h5ad")
    return Fault("SIGKILL", "writing cells.h5ad", code, said, found)


def killed_embed(folder: Path, reference: Path) -> Fault:
    """Killed while `scvae embed --h5ad` writes; then the same command once more."""
    place = folder / new_name(folder, "embedded")
    place.mkdir()
    command = ["embed", str(reference), str(reference / "cells.h5ad"), "--h5ad", "out.h5ad"]
    code, said = kill_writing(scvae(*command, cwd=place), place, "out.h5ad")
    if code == 0:
        return Fault("SIGKILL of embed", "never", code, said, left(place))
    found = [p.name for p in place.iterdir() if not p.name.startswith(".")]  # half-written
    again, text = done(scvae(*command, cwd=place))
    assert again == 0, text
    if not same_cells(reference / "cells.h5ad", place / "out.h5ad"):
        found.append("out.h5ad")
    if _bytes(place / "latent.csv") != _bytes(reference / "latent.csv"):
        found.append("latent.csv")
    return Fault("SIGKILL of embed", "writing out.h5ad", code, said, found + left(place))


def killed_job(folder: Path, references: dict[str, Path]) -> Fault:
    """Kills the process of a sweep's first job; the others go on, and `resume` does it again."""
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
    found = [] if states == wanted else [f"jobs are {states}"]
    again, text = done(train(f"resume={name}", cwd=folder))
    assert again == 0, text
    for job, reference in zip(
        sorted((folder / name).glob("0*")), references.values(), strict=True
    ):
        found += lost(reference, job)
    return Fault(kind, "train", code, said, found)


def child_with(number: int, folder: Path) -> int | None:
    """The process below a process that has a file of a folder open; Linux only."""
    for children in Path(f"/proc/{number}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            with suppress(OSError):  # it has ended by now
                opened = [p.readlink() for p in Path(f"/proc/{child}/fd").iterdir()]
                if any(folder in path.parents for path in opened):
                    return child
            if (below := child_with(child, folder)) is not None:
                return below
    return None


def same_cells(a: Path, b: Path) -> bool:
    """Whether two files have the same cells, values and latent space."""
    one, other = anndata.read_h5ad(a), anndata.read_h5ad(b)
    latent = one.obsm["X_scvae"] == other.obsm["X_scvae"]
    return bool(one.obs.equals(other.obs) and (one.X != other.X).nnz == 0 and latent.all())


def spoil(folder: Path, reference: Path, name: str, how: str, rng: random.Random) -> Fault:
    """Cuts a file of a run that is done, or flips a bit of it; then the run goes on."""
    run = folder / new_name(folder, "spoilt")
    shutil.copytree(reference, run)
    whole = bytearray((run / name).read_bytes())
    if how == "a bit flipped":
        whole[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
    else:
        whole = whole[: int(len(whole) * float(how.split()[-2]) / 100)]
    (run / name).write_bytes(whole)
    code, said = done(train(f"resume={run.name}", cwd=folder))
    return Fault(how, name, code, said, lost(reference, run) if code == 0 else ["not mended"])


def checkpoint(folder: Path, reference: Path, model: str, how: str, rng: random.Random) -> Fault:
    """Kills a training once it has a checkpoint, damages that, and goes on."""
    name = new_name(folder, "kept")
    process = train(*SETTINGS, f"model={model}", f"hydra.run.dir={name}", cwd=folder)
    path = folder / name / "checkpoint.safetensors"
    while not path.exists() and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    done(process)
    whole = bytearray(path.read_bytes())
    if how == "a bit flipped":
        whole[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
    elif how == "cut":
        whole = whole[: rng.randrange(len(whole))]
    path.write_bytes(whole)
    code, said = done(train(f"resume={name}", cwd=folder))
    record = json.loads((folder / name / "run.json").read_text())
    noticed = any("checkpoint" in text for text in record.get("warnings", []))
    found = lost(reference, folder / name)
    return Fault(
        f"checkpoint, {how}", "train", code, said,
        found if noticed == (how != "as it was") else [*found, "not noticed"],
    )  # fmt: skip


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes; needs the right to mount."""
    place = folder / f"disk-{size}"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def may_mount() -> bool:
    """Whether this process may make a small disk."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder), 2**20):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


def full_disk(folder: Path, reference: Path, model: str, size: int) -> Fault:
    """A disk that fills up; then there is room again, and the run goes on."""
    with small_disk(folder, size) as disk:
        place = f"hydra.run.dir={disk / 'run'}"
        run = disk / "run"
        process = train(*SETTINGS, f"model={model}", place, cwd=folder)
        begun = False
        while process.poll() is None:
            begun |= (run / "run.json").exists()
            time.sleep(0.01)
        code, said = done(process)
        if not (run / "run.json").exists():
            left = [p.name for p in disk.rglob("*") if p.is_file() and p.stat().st_size]
            return Fault("disk full", "start", code, said, ["the run"] if begun else left)
        record = json.loads((run / "run.json").read_text())
        if code == 0:
            return Fault("disk full", "never", code, said, lost(reference, run))
        where = record["stage"] if record["status"] != "done" else "report"
        if record["status"] == "running":
            return Fault("disk full", where, code, said, ["not marked failed"])
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        again, text = done(train(f"resume={run}", cwd=folder))
        found = lost(reference, run) if again == 0 else [text]
        if not (run / "report.html").exists():
            found.append("report.html")
    return Fault("disk full", where, code, said, found)


def read_only(folder: Path, reference: Path, model: str) -> Fault:
    """The folder becomes read-only while the run trains; then it is not any more."""
    with small_disk(folder, 2**26) as disk:
        run = disk / "run"
        place = f"hydra.run.dir={run}"
        process = train(*SETTINGS, f"model={model}", place, cwd=folder)
        while not (run / "checkpoint.safetensors").exists() and process.poll() is None:
            time.sleep(0.01)
        # Files that are open for writing keep a disk from it: the log is one.
        bound = ["mount", "--bind", "-o", "ro", str(disk), str(disk)]
        subprocess.run(bound, check=True, capture_output=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", str(disk)], check=True)
        code, said = done(process)
        subprocess.run(["umount", str(disk)], check=True)
        again, text = done(train(f"resume={run}", cwd=folder))
        found = lost(reference, run) if again == 0 else [text]
    return Fault("folder read-only", "train", code, said, found)


def vanished(folder: Path, reference: Path, model: str) -> Fault:
    """The disk goes away while the run trains, and comes back as it was."""
    disk, image = folder / "mounted", folder / "image"
    disk.mkdir()
    image.write_bytes(b"")
    os.truncate(image, 2**26)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, capture_output=True)
    mount = ["mount", "-o", "loop", str(image), str(disk)]
    subprocess.run(mount, check=True)
    run = disk / "run"
    try:
        process = train(*SETTINGS, f"model={model}", f"hydra.run.dir={run}", cwd=folder)
        while not (run / "checkpoint.safetensors").exists() and process.poll() is None:
            time.sleep(0.01)
        subprocess.run(["umount", "-l", str(disk)], check=True)
        code, said = done(process)
        subprocess.run(mount, check=True)
        again, text = done(train(f"resume={run}", cwd=folder))
        found = lost(reference, run) if again == 0 else [text]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
    return Fault("disk gone", "train", code, said, found)


def two_at_once(folder: Path, reference: Path, model: str) -> Fault:
    """A second process on the folder of a run that goes on."""
    process = train(*SETTINGS, f"model={model}", "hydra.run.dir=one", cwd=folder)
    while not (folder / "one" / "config.yaml").exists():
        time.sleep(0.01)
    code, said = done(train("resume=one", cwd=folder))
    first, _ = done(process)
    found = lost(reference, folder / "one")
    return Fault("a second process", "at once", code, said, found if first == 0 else ["the first"])


def table(faults: list[Fault]) -> str:
    """A row for each kind of fault and place, as Markdown."""
    rows: dict[tuple[str, str], list[Fault]] = {}
    for fault in faults:
        rows.setdefault((fault.kind, fault.when), []).append(fault)
    lines = ["| fault | where | times | exit codes | lost |", "| --- | --- | --- | --- | --- |"]
    for (kind, when), some in sorted(rows.items()):
        codes = ", ".join(str(code) for code in sorted({fault.code for fault in some}))
        bad = Counter(name for fault in some for name in fault.lost)
        what = ", ".join(f"{name} ({n})" for name, n in bad.items()) or "nothing"
        lines.append(f"| {kind} | {when} | {len(some)} | {codes} | {what} |")
    return "\n".join(lines)


def main() -> None:
    """All faults, and the page about them."""
    parser = argparse.ArgumentParser("python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="random moments (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (%(default)s)")
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which nohup would have ignored
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    rng = random.Random(asked.seed)
    faults: list[Fault] = []

    def note(fault: Fault) -> None:
        faults.append(fault)
        text = f"[{len(faults)}] {fault.kind}, {fault.when}: {fault.lost or 'nothing lost'}"
        print(f"{text}\n     {fault.code}: {fault.said}", flush=True)

    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(os.cpu_count()) as pool:
        folder = Path(name)
        took, references = {}, {}
        for model in MODELS:
            code, said = done(
                train(*SETTINGS, f"model={model}", f"hydra.run.dir={model}", cwd=folder)
            )
            assert code == 0, said
            references[model] = folder / model
            took[model] = work(folder / model)
        kinds = [signal.SIGKILL] * asked.kills + [signal.SIGTERM, signal.SIGINT, signal.SIGHUP] * 5
        asked_for = []
        for i, number in enumerate(kinds):
            model = MODELS[i % len(MODELS)]
            what = (strike, folder, references[model], model, number, rng.random(), took[model])
            asked_for.append(pool.submit(*what))
        for file in [*SAME, "history.csv", "run.json"]:
            for how in ("cut to 0 %", "cut to 50 %", "cut to 99 %", "a bit flipped"):
                draw = random.Random(rng.random())
                asked_for.append(pool.submit(spoil, folder, references["vae"], file, how, draw))
        for how in ["as it was", "cut", *["a bit flipped"] * 5]:
            draw = random.Random(rng.random())
            asked_for.append(pool.submit(checkpoint, folder, references["vsc"], "vsc", how, draw))
        for future in asked_for:
            note(future.result())
        for model in MODELS:
            note(killed_h5ad(folder, references[model], model))
            note(killed_embed(folder, references[model]))
        note(killed_job(folder, references))
        note(two_at_once(folder, references["ae"], "ae"))
        if may_mount():
            for kilobytes in SIZES:
                note(full_disk(folder, references["vae"], "vae", 1024 * kilobytes))
            note(read_only(folder, references["vae"], "vae"))
            with suppress(subprocess.CalledProcessError):  # where no disk can be made of a file
                note(vanished(folder, references["vae"], "vae"))
    page = PAGE.format(table=table(faults), seed=asked.seed, n=len(faults))
    (ROOT / "docs" / "reliability.md").write_text(page)
    print(table(faults))


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


PAGE = """\
# What is lost when something goes wrong

`make faults` wrote this page: {n} faults, for real, in runs of some seconds, at moments drawn at
random (seed {seed}). After each, `scvae train resume=RUN` went on, and every file was compared,
byte by byte, with those of a run that nothing happened to: weights, latent space, map, clusters,
scores, figures, and the history but for its seconds.

{table}

"Where" is the stage that the run was in, or the file that was spoilt. Exit codes are those of the
command that met the fault: 143 after SIGTERM, 130 after Ctrl-C, 129 after SIGHUP (the terminal
was closed), 1 where a run failed, 2 where it was refused, -9 of a process that was killed and
could say nothing.

What a killed process was writing lies beside the file, as `.NAME.writing-...`, until the next
command that writes in that folder removes it; what a living process writes stays.

run.json alone is not mended: without it nobody can tell what the run was. It is refused with a
line, and the run's other files stay as they are.
"""

if __name__ == "__main__":
    main()
