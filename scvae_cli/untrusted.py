"""What files from a stranger must not do: run code, lead elsewhere, or ask for memory unseen.

Readers trust headers; these checks look at headers alone, before a reader gets the file. See
SECURITY.md for what is promised.
"""

import gzip
import json
import math
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from scvae_cli.errors import InputError

PER_ENTRY = 64  # bytes of memory that an entry of a matrix.mtx takes until a model has it


def memory() -> float:
    """Bytes that this machine has, or that this process's control group allows."""
    limits = [*_cgroup_limits()]
    with suppress(AttributeError, ValueError, OSError):
        limits.append(float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    return min(limits, default=math.inf)


def check_memory(needed: float, path: Path | str) -> None:
    """Refuses what cannot be had, before it is asked for.

    Raises:
        InputError: it is more than is left of this machine's memory.
    """
    if needed > (left := _left()):
        needs = f"needs about {needed / 1e9:,.1f} GB, " if math.isfinite(needed) else "needs "
        raise InputError(
            f"data.path={path}: {needs}more than this machine's memory ({left / 1e9:,.1f} GB of "
            "it are left); give fewer cells or genes"
        )


@contextmanager
def bounded() -> Iterator[None]:
    """Lets this process take no more memory than is left, whatever a library inside asks for.

    Headers tell what arrays take, but not what packed chunks and shared texts become. Where a
    library asks for too much, it gets an error.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used, left = _pages()[0], _left()
    try:
        if used and math.isfinite(left):
            resource.setrlimit(resource.RLIMIT_AS, (int(used + max(left, 0)), hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def check_hdf5(file: Any, path: Path) -> None:
    """Refuses an open HDF5 file that leads to others. Looks at each object once.

    Raises:
        InputError: it has external links or storage, or virtual datasets.
    """
    import h5py

    seen, groups = set(), [file]
    while groups:
        group = groups.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise InputError(f"data.path={path}: {group.name}/{name} leads to another file")
            if isinstance(link, h5py.SoftLink):  # leads to what has another name in this file
                continue
            place = h5py.h5o.get_info(group.id, name.encode()).addr
            if place in seen:
                continue
            seen.add(place)
            found = group[name]
            if isinstance(found, h5py.Group):
                groups.append(found)
            elif isinstance(found, h5py.Dataset) and (found.external or found.is_virtual):
                raise InputError(f"data.path={path}: {found.name} leads to another file")


def check_zarr(path: Path) -> None:
    """Refuses a zarr folder that leads elsewhere, has pickles, or what is neither file nor folder.

    Raises:
        InputError: it does.
    """
    check_inside(path, f"data.path={path}")
    for found in path.rglob("*"):
        if not found.is_file() and not found.is_dir():  # a pipe, say, on which reading would wait
            raise InputError(f"data.path={path}: {found.relative_to(path)} is no file")
        if found.name not in (".zarray", "zarr.json"):
            continue
        header = json.loads(found.read_text())
        codecs = [header.get(key) for key in ("compressor", "filters", "codecs")]
        if "pickle" in json.dumps(codecs):
            raise InputError(f"data.path={path}: {found.parent.name} holds pickles")


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


def _left() -> float:
    """Bytes that this process may still take: of the memory, and of `ulimit -v`."""
    asked, used = _pages()
    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    left = memory() - used
    return left if allowed == resource.RLIM_INFINITY else min(left, allowed - asked)


def _pages() -> tuple[float, float]:
    """Bytes of address space and of memory that this process has; 0 where no system says."""
    with suppress(OSError, ValueError):
        asked, used = Path("/proc/self/statm").read_text().split()[:2]
        size = os.sysconf("SC_PAGE_SIZE")
        return float(int(asked) * size), float(int(used) * size)
    return 0.0, 0.0


def _cgroup_limits(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> Iterator[float]:
    """Bytes that control groups (a container, a batch system) allow, those above this one too."""
    with suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, controllers, place = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            top, name = (root / "memory", "memory.limit_in_bytes") if controllers else (
                root, "memory.max",
            )  # fmt: skip
            folder = top / place.strip("/")
            for above in (folder, *folder.parents):
                with suppress(OSError, ValueError):  # no limit is the word `max`
                    yield float(int((above / name).read_text()))
