"""What files from a stranger must not do: run code, lead elsewhere, or ask for memory unseen.

Readers trust headers; these checks look at headers alone, before a reader gets the file. See
SECURITY.md for what is promised.
"""

import gzip
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from scvae_cli.errors import InputError

# What a preset may say of launchers; other keys of theirs are commands, or addresses.
LAUNCHERS = {"basic", "joblib", "submitit_local", "submitit_slurm", "ray"}
LAUNCHING = {
    "account", "array_parallelism", "batch_size", "constraint", "cpus_per_gpu", "cpus_per_task",
    "exclude", "gpus_per_node", "gpus_per_task", "gres", "mem_gb", "mem_per_cpu", "mem_per_gpu",
    "max_num_timeout", "n_jobs", "name", "nodes", "partition", "pre_dispatch", "qos",
    "tasks_per_node", "timeout_min",
}  # fmt: skip
PER_ENTRY = 64  # bytes of memory that an entry of a matrix.mtx takes until a model has it
HYDRA = {"run": {"dir"}, "sweep": {"dir", "subdir"}, "launcher": LAUNCHING}


def memory() -> float:
    """Bytes that this machine has; infinite where it does not tell."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def check_memory(needed: float, path: Path) -> None:
    """Refuses what cannot be had, before it is asked for.

    Raises:
        InputError: it is more than this machine's memory.
    """
    if needed > memory():
        raise InputError(
            f"data.path={path}: asks for {needed / 1e9:,.0f} GB, more than this machine's memory"
        )


def check_hdf5(path: Path) -> None:
    """Refuses an HDF5 file that leads to others, or does not fit.

    Raises:
        InputError: it has external links or storage, or its arrays are too large.
        OSError: it is no HDF5 file.
    """
    import h5py

    needed = 0
    with h5py.File(path) as file:
        for dataset in _datasets(file, path):
            if dataset.external or dataset.is_virtual:
                raise InputError(f"data.path={path}: {dataset.name} leads to another file")
            needed += (dataset.size or 0) * max(dataset.dtype.itemsize, 1)
    check_memory(needed, path)


def check_zarr(path: Path) -> None:
    """Refuses a zarr folder that leads elsewhere, has pickles, or does not fit.

    Raises:
        InputError: it does.
    """
    check_inside(path, f"data.path={path}")
    needed = 0.0
    for found in path.rglob("*"):
        if found.name not in (".zarray", "zarr.json"):
            continue
        header = json.loads(found.read_text())
        if '"pickle"' in json.dumps(header):
            raise InputError(f"data.path={path}: {found.parent.name} holds pickles")
        if "shape" in header:
            needed += 4 * math.prod(float(n) for n in header["shape"])
    check_memory(needed, path)


def check_matrix(path: Path, n_genes: int, n_cells: int) -> None:
    """Refuses a matrix.mtx whose header is not that of its genes and barcodes.

    scipy reads the header here as it does when it reads the matrix.

    Raises:
        InputError: it is not, or the matrix does not fit into the file or into memory.
    """
    from scipy.io import mminfo

    try:
        rows, columns, filled, form, field, symmetry = mminfo(path)
    except (ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(
            f"data.path={path.name}: its header is no Matrix Market's ({reason})"
        ) from error
    if (form, symmetry) != ("coordinate", "general") or field == "complex":
        raise InputError(
            f"{path.name}: is {form} {field} {symmetry}; a 10x folder has a matrix that is "
            "coordinate integer general (or real)"
        )
    if (rows, columns) != (n_genes, n_cells):
        headed = (n_genes, n_cells) == (rows + 1, columns + 1)
        hint = "; take the headers off both lists" if headed else ""
        raise InputError(
            f"{path.name}: is {rows} genes x {columns} cells, and there are {n_genes} genes and "
            f"{n_cells} barcodes{hint}"
        )
    if filled > path.stat().st_size / 4:  # a line of an entry has four characters or more
        raise InputError(f"{path.name}: is shorter than its header says")
    check_memory(PER_ENTRY * filled, path)


def unpack(source: Path, target: Path) -> None:
    """Copies a .gz, unpacked; one that becomes too large is left off.

    Raises:
        InputError: the matrix in it would not fit into memory.
    """
    with gzip.open(source) as packed, target.open("wb") as plain:
        written = 0
        while piece := packed.read(2**20):
            written += plain.write(piece)
            check_memory(PER_ENTRY * written / 32, source)  # a long line of an entry


def check_inside(folder: Path, what: str) -> None:
    """Refuses a folder in which a link leads out of it, as writing there would write elsewhere.

    Raises:
        InputError: one does.
    """
    root = folder.resolve()
    for path in folder.rglob("*"):
        if path.is_symlink() and root not in path.resolve().parents:
            raise InputError(f"{what}: {path.relative_to(folder)} leads out of the folder")


class _Plain(yaml.SafeLoader):  # type: ignore[misc]
    """YAML of values alone: no tags, no aliases, of which a few lines can make gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*) are not read")
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file.

    Raises:
        OSError, yaml.YAMLError: it cannot be read.
        ValueError: it holds something else.
    """
    values = yaml.load(path.read_text(), _Plain)
    if not isinstance(values, dict):
        raise ValueError("no settings in it")
    return {str(key): value for key, value in values.items()}


def check_presets(folder: Path) -> None:
    """Refuses a folder of presets that would run code.

    Hydra makes objects of what its own section names (`_target_`), so presets may set folders
    and numbers there, and nothing else.

    Raises:
        InputError: one of them would.
    """
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".yaml", ".yml")):
        name = path.relative_to(folder)
        text = path.read_text(errors="replace")
        heads = [line for line in text.splitlines() if "@package" in line]
        if name.parts[0] == "hydra" or any("hydra" in line for line in heads):
            raise InputError(f"{path}: presets may not configure Hydra; do so on the command line")
        try:
            values = yaml.load(text, _Plain)
        except yaml.MarkedYAMLError as error:  # Hydra's reader takes tags that this one does not
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise InputError(f"{path}, line {line}: {error.problem}") from error
        except yaml.YAMLError as error:
            raise InputError(f"{path}: {error}") from error
        for key in _forbidden(values):
            raise InputError(f"{path}: {key}: presets may not set this, which can run code")


def check_words(words: list[str], where: Path) -> None:
    """Refuses words of a recorded command that would run code.

    Raises:
        InputError: one would.
    """
    for word in words:
        key, _, value = word.lstrip("+~").partition("=")
        if key == "hydra/launcher" and value in LAUNCHERS:
            continue
        parts = key.split(".")
        allowed = len(parts) > 2 and parts[0] == "hydra" and parts[2] in HYDRA.get(parts[1], ())
        if (key.startswith("hydra") and not allowed) or "_target_" in word:
            raise InputError(f"{where}: {word}: can run code; give it on the command line")


def _forbidden(values: Any, at: str = "") -> Iterator[str]:
    """Keys that presets may not have."""
    if isinstance(values, list):
        for value in values:
            yield from _forbidden(value, at)
        return
    if not isinstance(values, dict):
        return
    for key, value in values.items():
        name = f"{at}{key}"
        if at == "" and key == "hydra":
            yield from (f"hydra.{part}" for part in _forbidden_of_hydra(value))
        elif at == "" and key == "defaults":
            yield from _forbidden_defaults(value)
        elif key == "_target_" or name.startswith("hydra"):
            yield name
        else:
            yield from _forbidden(value, f"{name}.")


def _forbidden_of_hydra(values: Any) -> Iterator[str]:
    for section, keys in values.items() if isinstance(values, dict) else [("", values)]:
        for key in keys if isinstance(keys, dict) else [""]:
            if key not in HYDRA.get(section, ()):
                yield f"{section}.{key}".strip(".")


def _forbidden_defaults(values: Any) -> Iterator[str]:
    """Entries that choose what Hydra is made of, or put a group elsewhere."""
    for entry in values if isinstance(values, list) else [values]:
        for key, value in (entry if isinstance(entry, dict) else {str(entry): None}).items():
            group = str(key).removeprefix("override ").strip().removeprefix("/")
            launcher = group == "hydra/launcher" and value in LAUNCHERS
            if "@" in f"{key}{value}" or (group.startswith("hydra") and not launcher):
                yield f"defaults: {key}"


def _datasets(group: Any, path: Path) -> Iterator[Any]:
    """All datasets below an HDF5 group; links within the file are followed where they lead."""
    import h5py

    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise InputError(f"data.path={path}: {group.name}/{name} leads to another file")
        if isinstance(link, h5py.SoftLink):
            continue
        found = group[name]
        if isinstance(found, h5py.Group):
            yield from _datasets(found, path)
        elif isinstance(found, h5py.Dataset):
            yield found
