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

    Raises:
        InputError: it is not.
    """
    with path.open("rb") as file:
        line = file.readline(1024)
        while line.startswith(b"%"):
            line = file.readline(1024)
    words = line.split()
    if len(words) != 3 or not all(word.isdigit() for word in words):
        raise InputError(f"data.path={path.name}: its header is no Matrix Market's")
    rows, columns, filled = map(int, words)
    if (rows, columns) != (n_genes, n_cells):
        raise InputError(
            f"{path.name}: is {rows} genes x {columns} cells, and there are {n_genes} genes and "
            f"{n_cells} barcodes"
        )
    if filled > path.stat().st_size:  # an entry is longer than a byte
        raise InputError(f"{path.name}: is shorter than its header says")


def unpack(source: Path, target: Path) -> None:
    """Copies a file, unpacked if it is .gz; one that becomes too large is left off.

    Raises:
        InputError: it does not fit into memory.
    """
    limit = memory()
    opener = gzip.open if source.suffix == ".gz" else open
    with opener(source, "rb") as packed, target.open("wb") as plain:
        written = 0
        while piece := packed.read(2**20):
            written += plain.write(piece)
            if written > limit / 4:
                check_memory(math.inf, source)


def check_packed(path: Path) -> None:
    """Refuses a .gz that would fill the memory.

    Raises:
        InputError: it would.
    """
    if path.suffix != ".gz":
        return
    limit, size = memory(), 0
    with gzip.open(path) as packed:
        while piece := packed.read(2**20):
            size += len(piece)
            if size > limit / 4:
                check_memory(math.inf, path)


def check_inside(folder: Path, what: str) -> None:
    """Refuses a folder in which a link leads out of it, as writing there would write elsewhere.

    Raises:
        InputError: one does.
    """
    root = Path(os.path.realpath(folder))
    for path in folder.rglob("*"):
        if not path.is_symlink():
            continue
        name = path.relative_to(folder)
        try:
            target = Path(os.path.realpath(path, strict=True))
        except OSError as error:
            raise InputError(f"{what}: {name}: {error.strerror}; remove it") from error
        if root not in target.parents:
            raise InputError(f"{what}: {name} leads out of the folder")


class Plain(yaml.SafeLoader):  # type: ignore[misc]
    """YAML of values alone: no tags, no aliases, of which a few lines can make gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Reads a node, unless it is an alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*) are not read")
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file.

    Raises:
        OSError, yaml.YAMLError: it cannot be read.
        ValueError: it holds something else.
    """
    values = yaml.load(path.read_text(), Plain)
    if not isinstance(values, dict):
        raise ValueError("no settings in it")
    return {str(key): value for key, value in values.items()}


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
