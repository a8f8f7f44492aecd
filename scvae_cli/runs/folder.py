"""The folder of a run: names and formats of its files.

    config.yaml         the run's configuration, resolved; .hydra/ has Hydra's own record
    run.json            command, versions, device, seed, data, status: running | done | failed,
                        warnings, when and by what it was gone on with, SHA-256 of other files
    scvae.log           what the terminal showed, and warnings
    genes.csv           gene, id, used, mean, sd: what other cells need for this model
    checkpoint.safetensors   the training as it stands, until it is over
    history.csv         epoch, total, reconstruction, kl, seconds, and what is watched (`train`)
    model.safetensors   weights; the metadata key `scvae` holds their architecture as JSON
    latent.csv          cell, z1, z2, ...
    cells.csv           cell, cell_type, cluster, tsne_1, tsne_2, tsne3d_1..3, latent_cluster
    scores.json         tsne and latent: nmi, ari, hom, com; seconds per stage
    latents.csv         of a VSC: latent, cell_type, n_cells, gamma, on, positive, negative
    drivers.csv         of a VSC: latent, sign, end, change, rank, gene, effect
    cells.h5ad          where asked for: values, latent space, maps, clusters and types for scanpy
    figures/*.png
    report.html         all of it on one page

Every file appears whole or not at all, and no two runs share a folder.
"""

import csv
import errno
import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from scvae_cli.atomic import TEMPORARY, clear, temporary_path, write_file
from scvae_cli.errors import InputError
from scvae_cli.untrusted import read_yaml

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("scvae")

RESULTS = ["history.csv", "model.safetensors", "latent.csv", "cells.csv", "scores.json"]
LOSSES = ["epoch", "total", "reconstruction", "kl"]  # of history.csv
# Columns that hold names: text, though it may look like a number or like nothing.
NAMES = {"cell": str, "gene": str, "id": str, "cell_type": lambda name: name or None}
REPORT = "report.html"  # made of all others, when the run is done
LOCK = ".lock"
RESERVE_FILE = ".reserve"
CHECKPOINT = "checkpoint.safetensors"
RESERVE = 2**16  # bytes
# All that there is before a run has begun to compute.
BEGINNINGS = {
    ".hydra", LOCK, RESERVE_FILE, "config.yaml", "genes.csv", "multirun.yaml", "run.json",
    "scvae.log",
}  # fmt: skip
MOVED = "was moved or removed while the run wrote there"


def claim(wanted: Path, *, exact: bool) -> tuple[Path, list[Path]]:
    """Creates a folder that no other run has.

    Args:
        wanted: its path.
        exact: whether it has to be that path; otherwise a number is added where it exists.

    Returns:
        The folder, and all folders that had to be created for it, outermost first.

    Raises:
        InputError: it cannot be created, or it has to be that path and holds something already.
    """
    missing = [p for p in (wanted, *wanted.parents) if not p.exists()]
    try:
        for n in count(1):
            wanted.parent.mkdir(parents=True, exist_ok=True)
            path = wanted if n == 1 else wanted.with_name(f"{wanted.name}-{n}")
            try:
                path.mkdir()
            except FileExistsError:
                if not exact:
                    continue
                if not path.is_dir() or any(path.iterdir()):
                    raise InputError(f"{path}: exists already; give a folder of its own") from None
            return path, [*reversed([p for p in missing if p != wanted]), path]
    except OSError as error:
        raise InputError(
            f"output_dir: cannot create {wanted.parent}: {error.strerror}; "
            "give another with output_dir=FOLDER"
        ) from error
    raise AssertionError


def discard(created: list[Path]) -> None:
    """Removes a claimed folder, and those created for it that are empty, innermost first.

    A folder with anything in it that is not the beginning of a run stays, whoever thinks that it
    may go: somebody may have moved the run's and put another in its place.
    """
    with suppress(OSError):
        names = {path.name for path in created[-1].iterdir()}
        if any(name not in BEGINNINGS and not TEMPORARY.fullmatch(name) for name in names):
            return
    shutil.rmtree(created[-1], ignore_errors=True)
    for path in reversed(created[:-1]):
        with suppress(OSError):  # it holds something by now, and stays
            path.rmdir()


# Settings that a model's weights depend on.
TRAINING = [
    "model",
    "data",
    "beta",
    "kl_warmup",
    "likelihood",
    "latent_dim",
    "epochs",
    "batch_size",
    "lr",
    "seed",
]


def read_training(
    path: Path, config: Mapping[str, Any], fingerprint: str
) -> tuple[dict[str, Any], Any]:
    """What another run has trained.

    Args:
        path: its folder.
        config: of this run, which has to ask for the same training.
        fingerprint: of this run's data.

    Returns:
        The weights by name, and history.csv as a DataFrame.

    Raises:
        InputError: there is no trained model, it is damaged, or it was trained otherwise.
    """
    try:
        theirs = read_settings(path)
        data = read_json(path, "run").get("data") or {}
        weights, history = read_weights(path)
    except MissingError as error:
        raise InputError(
            f"trained={path}: no trained model there ({error.name} is missing); give the folder "
            "of a run"
        ) from error
    except InputError as error:
        raise InputError(f"trained={path}: damaged ({error}); train it again") from error
    for key in TRAINING:
        if theirs.get(key) != config[key]:
            what = difference(key, theirs.get(key), config[key])
            raise InputError(f"trained={path}: was trained with {what}")
    if data.get("fingerprint") != fingerprint:
        raise InputError(f"trained={path}: was trained on other cells, genes or labels")
    return weights, history


def read_weights(path: Path) -> tuple[dict[str, Any], Any]:
    """The weights by name, and history.csv as a DataFrame, of a run's folder."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    contents = contents_of(path / "model.safetensors")
    try:
        weights = load(contents)
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{path / 'model.safetensors'}: damaged ({error})") from error
    return weights, read_table(path, "history", LOSSES)


# Settings that say where and how to compute and what to write, and not what to compute.
CIRCUMSTANCES = {
    "output_dir", "h5ad", "threads", "device", "trained", "resume", "force", "on_error",
    "checkpoint",
}  # fmt: skip


def essential(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that say what to compute."""
    return {key: value for key, value in settings.items() if key not in CIRCUMSTANCES}


def read_record(
    root: Path, name: str, config: Mapping[str, Any], *, failed_too: bool
) -> tuple[Path, dict[str, Any]] | None:
    """A run of these settings, by this version, that ended.

    Args:
        root: where run folders are.
        name: of the folder, or of the first if there are several (`claim` adds a number).
        config: the settings.
        failed_too: whether one that failed will do; one that was interrupted never does.

    Returns:
        The folder and its run.json, or None where there is none.
    """
    wanted = essential(config)
    for path in (root / name, *sorted(root.glob(f"{name}-[0-9]*"))):
        with suppress(InputError):
            record = read_json(path, "run")
            settings = essential(read_settings(path))
            failed = record["status"] == "failed" and record.get("reason") != "interrupted"
            if (
                (record["status"] == "done" or (failed and failed_too))
                and settings == wanted
                and record["versions"].get("scvae-cli") == version("scvae-cli")
            ):
                return path, record
    return None


def hold(path: Path) -> FileLock:
    """Keeps other processes from a folder, until `let_go`.

    Raises:
        InputError: another process is at it.
    """
    lock = FileLock(path / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(f"{path}: another process is at it; wait for it, or stop it") from error
    except (OSError, NotImplementedError) as error:
        log.warning("%s cannot be locked: %s", path, error)
    return lock


def let_go(lock: FileLock) -> None:
    """Lets others at the folder, and leaves no file there."""
    with suppress(OSError):
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def damaged(path: Path) -> list[str]:
    """Files of a run that are not what it wrote, as far as its record can be read."""
    with suppress(InputError):
        written = read_json(path, "run").get("files", {})
        return [name for name, sha in written.items() if not _is(path / name, sha)]
    return []


def intact(path: Path) -> bool:
    """Whether a run ended well and its files are what it wrote."""
    with suppress(InputError):
        record = read_json(path, "run")
        return record["status"] == "done" and "files" in record and not damaged(path)
    return False


class MissingError(InputError):
    """A file of a run is not there."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: is missing")
        self.name = path.name


def contents_of(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        InputError: it cannot be read; `MissingError` where there is none, or only a pipe, say.
    """
    try:
        if not path.is_file():
            raise MissingError(path)
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def csv_of(table: Any) -> bytes:
    """The csv of a DataFrame, from which `read_csv` makes the same names and numbers."""
    contents: bytes = table.to_csv(index=False).encode()
    if b"\r" in contents:  # which pandas does not quote, and takes for the end of a line
        contents = table.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC).encode()
    return contents


def read_csv(contents: bytes, path: Path, needed: Sequence[str] = ()) -> Any:
    """A DataFrame from the contents of a table of a run's.

    Names are text, whatever they look like; a cell type is None where there is none.

    Args:
        contents: csv.
        path: where they come from.
        needed: columns that it has to have.

    Raises:
        InputError: it is damaged.
    """
    import pandas as pd

    try:
        table = pd.read_csv(io.BytesIO(contents), converters=NAMES, float_precision="round_trip")
    except (ValueError, OverflowError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{path}: damaged ({reason})") from error
    for column in needed:
        if column not in table:
            raise InputError(f"{path}: damaged (it has no column {column})")
        if column not in NAMES and len(table) and pd.api.types.is_object_dtype(table[column]):
            raise InputError(f"{path}: damaged (not all of {column} are numbers)")
    return table


def read_table(path: Path, name: str, needed: Sequence[str] = ()) -> Any:
    """NAME.csv of a run's folder, as a DataFrame; see `read_csv`."""
    file = path / f"{name}.csv"
    return read_csv(contents_of(file), file, needed)


def read_settings(path: Path) -> dict[str, Any]:
    """config.yaml of a run's folder.

    Raises:
        InputError: it is missing or damaged.
    """
    file = path / "config.yaml"
    contents_of(file)  # if there is one, and no pipe
    try:
        settings = read_yaml(file)
        OmegaConf.create(settings)  # only values that settings can have
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{file}: damaged ({reason})") from error
    return settings


def settings_text(config: Mapping[str, Any]) -> bytes:
    """What config.yaml holds for these settings."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(config))).encode()


def read_json(path: Path, name: str) -> dict[str, Any]:
    """NAME.json (run, scores or sweep) of a folder, checked.

    Raises:
        InputError: it is missing, damaged, or holds what no run has written.
    """
    from scvae_cli.runs.record import fault

    file = path / f"{name}.json"
    try:
        contents: dict[str, Any] = json.loads(contents_of(file))
        json.dumps(contents, indent=2)  # as it may be written again
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: damaged ({error})") from error
    if wrong := fault(name, contents):
        raise InputError(f"{file}: damaged ({wrong})")
    return contents


def add_file(path: Path, name: str, contents: bytes) -> None:
    """Writes a file of a run that is over, and its SHA-256 into run.json.

    Raises:
        OSError: it cannot be written.
    """
    write_file(path / name, contents)
    record = read_json(path, "run")
    files = {**record.get("files", {}), name: hashlib.sha256(contents).hexdigest()}
    write_file(path / "run.json", _json({**record, "files": files}))


class RunDir:
    """Reads and writes the files of one run; one process at a time.

    Args:
        path: the folder, which exists.
        record: the first contents of run.json, or, of a run that goes on, what is new in it.
        go_on: whether a run is there, to go on with.

    Raises:
        InputError: the folder holds a run already, or none to go on with, or another process is
            at it.
        OSError: nothing can be written there.
    """

    def __init__(self, path: Path, record: Mapping[str, Any], *, go_on: bool = False) -> None:
        self.path = path
        self._lock = hold(path)
        self._there = path.stat()
        for folder in (path, path / "figures"):
            clear(folder, alone=True)
        self._digests: dict[str, str] = {}
        self._record = dict(record)
        self._resumed = go_on
        if go_on:
            before = read_json(path, "run")
            self._record = {**before, **record}
            written = before.get("files", {})
            self._digests = {n: sha for n, sha in written.items() if _is(path / n, sha)}
        elif (path / "run.json").exists():
            let_go(self._lock)
            raise InputError(f"{path}: holds a run already; give a folder of its own")
        self._reserve = path / RESERVE_FILE
        try:
            # On a disk that fills up, the record of why needs room.
            self._reserve.write_bytes(b"0" * RESERVE)
            self.note()
        except OSError:
            let_go(self._lock)
            raise

    @property
    def seconds(self) -> dict[str, float]:
        """What each stage took, as far as it is recorded."""
        return dict(self._record.get("seconds", {}))

    @property
    def fingerprint(self) -> str | None:
        """Of the data of a run that goes on."""
        fingerprint: str | None = self._record.get("data", {}).get("fingerprint")
        return fingerprint

    def note(self, **fields: Any) -> None:
        """Adds to run.json, with the SHA-256 of each file that was written."""
        self._record |= {**fields, "files": self._digests}
        self._write_json("run.json", self._record)

    def end(self, **fields: Any) -> None:
        """Adds to run.json for the last time; a page of before is not of what is there now."""
        if fields.get("status") == "done" and self._digests.pop(REPORT, None):
            (self.path / REPORT).unlink(missing_ok=True)
        try:
            self._check_there()
        except OSError:
            self._lock.release()  # another run's may be where it was
            raise
        try:
            self._reserve.unlink(missing_ok=True)
            self.note(**fields)
        finally:
            let_go(self._lock)

    def kept(self, name: str, columns: Sequence[str], n_cells: int) -> "np.ndarray | None":
        """Columns (n_cells, n_columns) of NAME.csv, float32, where a run goes on that has them."""
        if f"{name}.csv" not in self._digests:
            return None
        table = read_table(self.path, name, ["cell"])
        whole = {*columns} <= {*table} and len(table) == n_cells
        return table[list(columns)].to_numpy("float32") if whole else None

    def kept_training(self) -> tuple[dict[str, Any], Any] | None:
        """Weights by name and history.csv as a DataFrame, where a run goes on that has them."""
        if not {"model.safetensors", "history.csv"} <= {*self._digests}:
            return None
        return read_weights(self.path)

    def write_checkpoint(self, contents: bytes) -> None:
        """checkpoint.safetensors, which has a checksum of its own."""
        self._check_there()
        write_file(self.path / CHECKPOINT, contents)

    def read_checkpoint(self) -> bytes | None:
        """checkpoint.safetensors, if there is one."""
        path = self.path / CHECKPOINT
        return path.read_bytes() if path.exists() else None

    def drop_checkpoint(self) -> None:
        """Removes it: what it led to is there."""
        (self.path / CHECKPOINT).unlink(missing_ok=True)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """config.yaml."""
        self._write("config.yaml", settings_text(config))

    def write_table(self, name: str, columns: Mapping[str, Any]) -> None:
        """NAME.csv from equally long columns; float32 values read back as the same float32."""
        import pandas as pd

        self._write(f"{name}.csv", csv_of(pd.DataFrame(columns)))

    def write_model(self, weights: Mapping[str, Any], architecture: Mapping[str, Any]) -> None:
        """model.safetensors."""
        from safetensors.torch import save

        tensors = {name: tensor.cpu().contiguous() for name, tensor in weights.items()}
        self._write("model.safetensors", save(tensors, {"scvae": json.dumps(architecture)}))

    def write_scores(self, scores: Mapping[str, Any]) -> None:
        """scores.json."""
        self._write_json("scores.json", scores)

    def write_with(self, name: str, write: Callable[[Path], None]) -> None:
        """Lets a function write the file of this name, whole or not at all."""
        self._check_there()
        path = self.path / name
        write(path)
        self._digests[path.name] = _sha256(path)

    def provenance(self) -> dict[str, Any]:
        """What made this run, and of what."""
        return {key: self._record[key] for key in ("command", "versions", "data")}

    def write_figure(self, name: str, png: bytes) -> None:
        """figures/NAME.png."""
        self._check_there()
        (self.path / "figures").mkdir(exist_ok=True)
        self._write(f"figures/{name}.png", png)

    def point_latest(self, output_dir: Path) -> None:
        """Points output_dir/latest here, where a run begins that is no job of a sweep.

        A run that is resumed may be a stranger's, whose settings choose the place of the link.
        """
        if not self._resumed and not (self.path.parent / "sweep.json").exists():
            point_latest(output_dir, self.path)

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        self._write(name, _json(value))

    def _check_there(self) -> None:
        """Raises OSError where another folder, or none, is at the run's path by now."""
        with suppress(OSError):
            if os.path.samestat(self._there, self.path.stat()):
                return
        raise FileNotFoundError(errno.ENOENT, MOVED, str(self.path))

    def _write(self, name: str, contents: bytes) -> None:
        self._check_there()
        write_file(self.path / name, contents)
        if name != "run.json":
            self._digests[name] = hashlib.sha256(contents).hexdigest()


def mark_failed(path: Path, reason: str, when: str) -> None:
    """Records that a run failed whose own process could not; one that did not begin stays so."""
    with suppress(OSError, InputError):
        record = {**read_json(path, "run"), "status": "failed", "reason": reason, "ended": when}
        write_file(path / "run.json", _json(record))
        for name in (LOCK, RESERVE_FILE):
            (path / name).unlink(missing_ok=True)


def point_latest(output_dir: Path, folder: Path) -> None:
    """Points output_dir/latest at a folder in it, if links can be made.

    What is called `latest` and is no such link is somebody's own, and stays.

    Args:
        output_dir: where run folders go.
        folder: of a run or a sweep.
    """
    root, target = (Path(os.path.realpath(path)) for path in (output_dir, folder))
    latest = root / "latest"
    if root not in target.parents or not (_is_ours(latest) or not os.path.lexists(latest)):
        return
    clear(root)
    link = temporary_path(latest)
    try:
        link.symlink_to(target.relative_to(root), target_is_directory=True)
        link.replace(latest)
    except OSError:
        link.unlink(missing_ok=True)


def _is_ours(link: Path) -> bool:
    """Whether a path is a link as `point_latest` makes them: down, into the folder it lies in."""
    if not link.is_symlink():
        return False
    target = link.readlink()
    return not target.is_absolute() and ".." not in target.parts


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def difference(key: str, theirs: Any, ours: Any) -> str:
    """The first setting below `key` that is not the same."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        inner = next(k for k in {**theirs, **ours} if theirs.get(k) != ours.get(k))
        return difference(f"{key}.{inner}", theirs.get(inner), ours.get(inner))
    return f"{key}={theirs}, and not {ours}"


def _is(path: Path, sha: str) -> bool:
    """Whether a file is there and what it was."""
    return path.is_file() and _sha256(path) == sha


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
