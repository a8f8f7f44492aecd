"""Refuse untrusted files that would run code, lead to other files, or use up the memory.

Libraries trust the headers of the files they read. These checks read only the headers, before a
library reads the file. SECURITY.md says what scvae promises.
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

from scvae_cli.errors import Given, InputError, Kind

PER_ENTRY = 64  # peak bytes of memory for each entry of a matrix.mtx, from file to model


def memory() -> float:
    """Return the bytes of memory of this machine, or fewer where a control group allows fewer."""
    limits = [*_cgroup_limits()]
    with suppress(AttributeError, ValueError, OSError):
        limits.append(float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    return min(limits, default=math.inf)


def check_memory(needed: float, path: Path | str, key: str = "data.path") -> None:
    """Refuse to take more memory than is left, before any of it is taken.

    Args:
        needed: bytes, perhaps infinite.
        path: the file that needs them, for the message.
        key: the setting that gave the file.

    Raises:
        InputError: `needed` is more than is left of this machine's memory.
    """
    if needed > (left := _left()):
        needs = f"needs about {needed / 1e9:,.1f} GB, " if math.isfinite(needed) else "needs "
        raise InputError(
            Kind.MEMORY,
            Given(key, path),
            f"{needs}more than this machine's memory ({left / 1e9:,.1f} GB of it is left)",
            "give fewer cells or genes",
        )


@contextmanager
def bounded() -> Iterator[None]:
    """Limit this process, within the block, to the memory that is left.

    Headers say how large arrays are, but not how large compressed chunks and shared texts become.
    A library that asks for more than is left gets an error from the system.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    address_space, left = pages()[0], _left()
    if not (address_space and math.isfinite(left)):  # macOS does not say
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (int(address_space + max(left, 0)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def check_hdf5(file: Any, path: Path) -> None:
    """Refuse an open HDF5 file that leads to other files; check each object once.

    Raises:
        InputError: the file has external links, external storage or virtual datasets.
    """
    import h5py

    seen, groups = set(), [file]
    while groups:
        group = groups.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise InputError(
                    Kind.UNSAFE,
                    Given("data.path", path),
                    f"{group.name}/{name} leads to another file",
                )
            if isinstance(link, h5py.SoftLink):  # its target has another name in this file
                continue
            address = h5py.h5o.get_info(group.id, name.encode()).addr
            if address in seen:
                continue
            seen.add(address)
            item = group[name]
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                raise InputError(
                    Kind.UNSAFE, Given("data.path", path), f"{item.name} leads to another file"
                )


def check_zarr(path: Path) -> None:
    """Refuse a zarr folder with links out of it, pickles or special files.

    Raises:
        InputError: a link leads out of the folder, an array is pickled, or an entry is neither a
            file nor a folder.
    """
    check_inside(path, Given("data.path", path))
    for entry in path.rglob("*"):
        if not entry.is_file() and not entry.is_dir():  # reading a pipe would never end
            raise InputError(
                Kind.UNSAFE, Given("data.path", path), f"{entry.relative_to(path)} is no file"
            )
        if entry.name not in (".zarray", "zarr.json"):
            continue
        header = json.loads(entry.read_text(encoding="utf-8"))
        codecs = [header.get(key) for key in ("compressor", "filters", "codecs")]
        if "pickle" in json.dumps(codecs):
            raise InputError(
                Kind.UNSAFE, Given("data.path", path), f"{entry.parent.name} holds pickles"
            )


def check_matrix(path: Path, n_genes: int, n_cells: int, source: Path) -> None:
    """Refuse a matrix.mtx whose header does not match the lists of genes and barcodes.

    scipy reads the header here just as it does later, when it reads the matrix.

    Args:
        path: the unpacked matrix.mtx.
        n_genes: lines of the list of genes.
        n_cells: lines of the list of barcodes.
        source: the file as it was given, for the message.

    Raises:
        InputError: kind or size of the matrix are not those of a 10x folder with these genes and
            barcodes, the file is too short for its entries, or memory is.
    """
    from scipy.io import mminfo

    given = Given("data.path", source)
    try:
        rows, columns, n_entries, form, field, symmetry = mminfo(path)
    except (ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(
            Kind.FORMAT, given, f"its header is no Matrix Market's ({reason})"
        ) from error
    if (form, symmetry) != ("coordinate", "general") or field == "complex":
        raise InputError(
            Kind.FORMAT,
            given,
            f"is {form} {field} {symmetry}",
            "a 10x folder has a matrix that is coordinate integer general (or real)",
        )
    if (rows, columns) != (n_genes, n_cells):
        have_headers = (n_genes, n_cells) == (rows + 1, columns + 1)
        hint = "; take the headers off both lists" if have_headers else ""
        raise InputError(
            Kind.DAMAGED,
            given,
            f"is {rows} genes x {columns} cells, and there are {n_genes} genes and {n_cells} "
            f"barcodes{hint}",
        )
    if n_entries > path.stat().st_size / 4:  # the line of an entry has at least four characters
        raise InputError(Kind.DAMAGED, given, "is shorter than its header says")
    check_memory(PER_ENTRY * n_entries, source)


def unpack(source: Path, target: Path) -> None:
    """Unpack a .gz into another file, and stop where it becomes too large.

    Raises:
        InputError: the matrix in `source` would not fit into memory.
    """
    with gzip.open(source) as packed, target.open("wb") as plain:
        written = 0
        while chunk := packed.read(2**20):
            written += plain.write(chunk)
            check_memory(PER_ENTRY * written / 32, source)  # 32: a long line


def check_inside(folder: Path, what: Given) -> None:
    """Refuse a folder with a link that leads out of it, as a write there would go elsewhere.

    Args:
        folder: the folder to check, with its subfolders.
        what: the setting that gave the folder.

    Raises:
        InputError: a link leads out of the folder, or nowhere.
    """
    root = Path(os.path.realpath(folder))
    for path in folder.rglob("*"):
        if not path.is_symlink():
            continue
        name = path.relative_to(folder)
        try:
            target = Path(os.path.realpath(path, strict=True))
        except OSError as error:
            raise InputError(
                Kind.UNSAFE, what, f"{name}: {error.strerror}", "remove it"
            ) from error
        if root not in target.parents:
            raise InputError(Kind.UNSAFE, what, f"{name} leads out of the folder")


class Plain(yaml.SafeLoader):  # type: ignore[misc]
    """Loader of YAML that has only values: no tags, and no aliases, which can make gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Read a node; refuse an alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*) are not read")
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping from a YAML file.

    Raises:
        OSError: the file cannot be read.
        yaml.YAMLError: the file is not YAML, or has tags or aliases.
        ValueError: the file holds no mapping.
    """
    values = yaml.load(path.read_text(encoding="utf-8"), Plain)
    if not isinstance(values, dict):
        raise ValueError("no settings in it")
    return {str(key): value for key, value in values.items()}


def free_memory() -> float:
    """Return the bytes of memory that this process may take and that no other one has."""
    with suppress(OSError, IndexError, ValueError):
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
        available = 1024 * float(text.partition("MemAvailable:")[2].split()[0])
        return max(0.0, min(_left(), available))
    return max(0.0, _left())


def _left() -> float:
    """Return how many bytes this process may still take of the memory and of `ulimit -v`."""
    address_space, resident = pages()
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    left = memory() - resident
    return left if limit == resource.RLIM_INFINITY else min(left, limit - address_space)


def pages() -> tuple[float, float]:
    """Return the bytes of address space and of memory that this process has; 0 without /proc."""
    with suppress(OSError, ValueError):
        address_space, resident = Path("/proc/self/statm").read_text(encoding="utf-8").split()[:2]
        page = os.sysconf("SC_PAGE_SIZE")
        return float(int(address_space) * page), float(int(resident) * page)
    return 0.0, 0.0


def _cgroup_limits(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> Iterator[float]:
    """Yield the memory limits, in bytes, of this process's control group and of those above it."""
    with suppress(OSError, ValueError):
        for line in own.read_text(encoding="utf-8").splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            top, name = (root / "memory", "memory.limit_in_bytes") if controllers else (
                root, "memory.max",
            )  # fmt: skip
            folder = top / group.strip("/")
            for above in (folder, *folder.parents):
                with suppress(OSError, ValueError):  # without a limit the file says `max`
                    yield float(int((above / name).read_text()))
