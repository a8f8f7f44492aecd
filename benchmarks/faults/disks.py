"""Fill disks, make them read-only and take them away while a run writes."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults import runs
from benchmarks.faults.runs import SETTINGS, Fault, done, lost, train


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Mount a disk of `size` bytes; needs the right to mount."""
    place = folder / f"disk-{size}"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def may_mount() -> bool:
    """Return whether this process may mount a small disk."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder), 2**20):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


def full_disk(folder: Path, reference: Path, model: str, size: int) -> Fault:
    """Run on a disk of `size` bytes until it is full, then make room and resume the run."""
    kind = "disk full"
    with small_disk(folder, size) as disk:
        run = disk / "run"
        process = train(*SETTINGS, f"model={model}", f"hydra.run.dir={run}", cwd=folder)
        begun = False
        while process.poll() is None:
            begun |= (run / "run.json").exists()
            time.sleep(0.01)
        code, said = done(process)
        if not (run / "run.json").exists():
            left = [p.name for p in disk.rglob("*") if p.is_file() and p.stat().st_size]
            return Fault(kind, "start", code, said, ["the run"] if begun else left)
        record = json.loads((run / "run.json").read_text())
        if code == 0:
            return Fault(kind, "never", code, said, lost(reference, run))
        where = record["stage"] if record["status"] != "done" else "report"
        if record["status"] == "running":
            return Fault(kind, where, code, said, ["not marked failed"])
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        wrong = _lost_after_resume(folder, reference, run)
        if not (run / "report.html").exists():
            wrong.append("report.html")
    return Fault(kind, where, code, said, wrong)


def read_only(folder: Path, reference: Path, model: str) -> Fault:
    """Make the folder read-only while the run trains, then writable, and resume the run."""
    with small_disk(folder, 2**26) as disk:
        run = disk / "run"
        process = _training(folder, model, run)
        # Files that are open for writing keep a disk from it: the log is one.
        bound = ["mount", "--bind", "-o", "ro", str(disk), str(disk)]
        subprocess.run(bound, check=True, capture_output=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", str(disk)], check=True)
        code, said = done(process)
        subprocess.run(["umount", str(disk)], check=True)
        wrong = _lost_after_resume(folder, reference, run)
    return Fault("folder read-only", "train", code, said, wrong)


def vanished(folder: Path, reference: Path, model: str) -> Fault:
    """Take the disk away while the run trains, bring it back as it was, and resume the run."""
    disk, image = folder / "mounted", folder / "image"
    disk.mkdir()
    image.write_bytes(b"")
    os.truncate(image, 2**26)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, capture_output=True)
    mount = ["mount", "-o", "loop", str(image), str(disk)]
    subprocess.run(mount, check=True)
    run = disk / "run"
    try:
        process = _training(folder, model, run)
        subprocess.run(["umount", "-l", str(disk)], check=True)
        code, said = done(process)
        subprocess.run(mount, check=True)
        wrong = _lost_after_resume(folder, reference, run)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
    return Fault("disk gone", "train", code, said, wrong)


def _training(folder: Path, model: str, run: Path) -> subprocess.Popen[str]:
    """Start a run, and wait until it has a checkpoint."""
    process = train(*SETTINGS, f"model={model}", f"hydra.run.dir={run}", cwd=folder)
    while not (run / "checkpoint.safetensors").exists() and process.poll() is None:
        time.sleep(0.01)
    return process


def _lost_after_resume(folder: Path, reference: Path, run: Path) -> list[str]:
    """Resume a run; return what it lost, or the last line of the command that failed."""
    code, text = runs.resumed(run, folder)
    return lost(reference, run) if code == 0 else [text]
