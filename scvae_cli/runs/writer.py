"""A run's folder, written: every file appears whole or not at all, and its SHA-256 in run.json."""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from scvae_cli.atomic import clear, write_file
from scvae_cli.errors import InputError, Kind
from scvae_cli.runs.claim import LOCK, RESERVE_FILE, lock, point_latest, unlock
from scvae_cli.runs.files import (
    CHECKPOINT,
    MADE_LAST,
    csv_of,
    json_text,
    read_json,
    settings_text,
    sha256_of,
)
from scvae_cli.runs.run import Run

if TYPE_CHECKING:
    import numpy as np

RESERVE = 2**16  # bytes
SELDOM = 2.0  # seconds between two notes of how far a stage is
MOVED = "was moved or removed while the run wrote there"


class RunWriter:
    """Writes the files of one run, and reads back those of a run that is resumed.

    Args:
        path: the folder, which exists. No other process writes there until `end`.
        record: the first contents of run.json, or what is new in that of a run that is resumed.
        resumes: the run that is there and is resumed.

    Raises:
        InputError: the folder holds a run already, or not that one any more, or another process
            writes there.
        OSError: nothing can be written there.
    """

    def __init__(
        self, path: Path, record: Mapping[str, Any], *, resumes: Run | None = None
    ) -> None:
        self.path = path
        self._lock = lock(path)
        self._there = path.stat()
        for folder in (path, path / "figures"):
            clear(folder, locked=True)
        self._resumes = resumes
        self._kept: dict[str, Any] = {}
        self._digests: dict[str, str] = {}
        self._record = dict(record)
        self._noted = perf_counter()
        try:
            if resumes is not None:
                self._take_over(resumes)
            elif (path / "run.json").exists():
                raise InputError(
                    Kind.EXISTS, path, "holds a run already", "give a folder of its own"
                )
            self._reserve = path / RESERVE_FILE
            # On a disk that fills up, the record of why needs room.
            self._reserve.write_bytes(b"0" * RESERVE)
            self.note()
        except (InputError, OSError):
            unlock(self._lock)
            raise

    def _take_over(self, run: Run) -> None:
        """Start from the record and the undamaged files of a run."""
        if read_json(self.path, "run") != run.record:
            raise InputError(Kind.BUSY, self.path, "another process has changed it", "try again")
        self._record = {**run.record, **self._record}
        self._digests = {n: sha for n, sha in run.files.items() if n not in run.damaged}

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds that each stage took, before this process too, by its name."""
        return dict(self._record.get("seconds", {}))

    @property
    def fingerprint(self) -> str | None:
        """The SHA-256 of the data of a run that is resumed; None for a new run."""
        fingerprint: str | None = self._record.get("data", {}).get("fingerprint")
        return fingerprint

    @property
    def device(self) -> str | None:
        """The device of a run that is resumed; None for a new run."""
        device: str | None = self._record.get("device")
        return device

    def note(self, **fields: Any) -> None:
        """Add to run.json, with the SHA-256 of each file that was written."""
        self._record |= {**fields, "files": self._digests}
        self._write_json("run.json", self._record)

    def note_progress(self, text: str) -> None:
        """Say in run.json how far the stage is, now and then; no run ends because it cannot."""
        if perf_counter() - self._noted < SELDOM:
            return
        self._noted = perf_counter()
        with suppress(OSError):
            self.note(progress=text)

    def end(self, **fields: Any) -> None:
        """Add to run.json for the last time; remove pages that were made before."""
        self._record.pop("progress", None)
        for name in MADE_LAST if fields.get("status") == "done" else ():
            if self._digests.pop(name, None):
                (self.path / name).unlink(missing_ok=True)
        try:
            self._check_there()
        except OSError:
            self._lock.release()  # another run's may be where it was
            raise
        try:
            self._reserve.unlink(missing_ok=True)
            self.note(**fields)
        finally:
            unlock(self._lock)

    def kept(self, name: str, columns: Sequence[str], n_cells: int) -> "np.ndarray | None":
        """Return columns of NAME.csv as a resumed run has them, undamaged; None where not.

        Args:
            name: of the table.
            columns: those to read.
            n_cells: the rows that it must have.

        Returns:
            (n_cells, n_columns) float32.
        """
        if self._resumes is None or f"{name}.csv" not in self._digests:
            return None
        if name not in self._kept:  # a later stage finds what an earlier one writes over
            self._kept[name] = self._resumes.table(name, ["cell"])
        table = self._kept[name]
        whole = {*columns} <= {*table} and len(table) == n_cells
        return table[list(columns)].to_numpy("float32") if whole else None

    def kept_training(self) -> tuple[dict[str, Any], Any] | None:
        """Return the weights by name and history.csv of a resumed run; None where it has none."""
        if self._resumes is None or not {"model.safetensors", "history.csv"} <= {*self._digests}:
            return None
        return self._resumes.weights

    def write_checkpoint(self, contents: bytes) -> None:
        """Write checkpoint.safetensors, which has a checksum of its own."""
        self._check_there()
        write_file(self.path / CHECKPOINT, contents)

    def read_checkpoint(self) -> bytes | None:
        """Read checkpoint.safetensors, if there is one."""
        path = self.path / CHECKPOINT
        return path.read_bytes() if path.exists() else None

    def drop_checkpoint(self) -> None:
        """Remove checkpoint.safetensors."""
        (self.path / CHECKPOINT).unlink(missing_ok=True)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write config.yaml."""
        self._write("config.yaml", settings_text(config))

    def write_table(self, name: str, columns: Mapping[str, Any]) -> None:
        """Write NAME.csv from columns of one length; float32 values read back as the same."""
        import pandas as pd

        self._write(f"{name}.csv", csv_of(pd.DataFrame(columns)))

    def write_model(self, weights: Mapping[str, Any], architecture: Mapping[str, Any]) -> None:
        """Write model.safetensors."""
        from safetensors.torch import save

        tensors = {name: tensor.cpu().contiguous() for name, tensor in weights.items()}
        self._write("model.safetensors", save(tensors, {"scvae": json.dumps(architecture)}))

    def write_scores(self, scores: Mapping[str, Any]) -> None:
        """Write scores.json."""
        self._write_json("scores.json", scores)

    def write_with(self, name: str, write: Callable[[Path], None]) -> None:
        """Let a function write the file of this name, whole or not at all."""
        self._check_there()
        path = self.path / name
        write(path)
        self._digests[path.name] = sha256_of(path)

    def provenance(self) -> dict[str, Any]:
        """Return command, versions and data of this run."""
        return {key: self._record[key] for key in ("command", "versions", "data")}

    def write_figure(self, name: str, contents: bytes) -> None:
        """Write figures/NAME; the name has its ending."""
        self._check_there()
        (self.path / "figures").mkdir(exist_ok=True)
        self._write(f"figures/{name}", contents)

    def point_latest(self, output_dir: Path) -> None:
        """Point output_dir/latest here, if this run is new and no job of a sweep.

        A run that is resumed may be somebody else's, whose settings choose the place of the link.
        """
        if self._resumes is None and not (self.path.parent / "sweep.json").exists():
            point_latest(output_dir, self.path)

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        self._write(name, json_text(value))

    def _check_there(self) -> None:
        """Raise OSError where another folder, or none, has the run's path by now."""
        with suppress(OSError):
            if os.path.samestat(self._there, self.path.stat()):
                return
        raise FileNotFoundError(errno.ENOENT, MOVED, str(self.path))

    def _write(self, name: str, contents: bytes) -> None:
        self._check_there()
        write_file(self.path / name, contents)
        if name != "run.json":
            self._digests[name] = hashlib.sha256(contents).hexdigest()


def add_files(path: Path, files: Mapping[str, bytes]) -> None:
    """Write files of a run that has ended, and their SHA-256 into run.json.

    Raises:
        OSError: one cannot be written.
    """
    for name, contents in files.items():
        write_file(path / name, contents)
    record = read_json(path, "run")
    new = {name: hashlib.sha256(contents).hexdigest() for name, contents in files.items()}
    known = {**record.get("files", {}), **new}
    write_file(path / "run.json", json_text({**record, "files": known}))


def mark_failed(path: Path, reason: str, when: str) -> None:
    """Record that a run failed whose own process could not; leave one that did not begin."""
    with suppress(OSError, InputError):
        record = {**read_json(path, "run"), "status": "failed", "reason": reason, "ended": when}
        write_file(path / "run.json", json_text(record))
        for name in (LOCK, RESERVE_FILE):
            (path / name).unlink(missing_ok=True)
