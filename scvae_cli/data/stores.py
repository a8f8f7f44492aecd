"""Opens .h5ad, .zarr and .h5 from anyone: only those that lead nowhere else, in bounded memory."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import zarr

from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.untrusted import bounded, check_hdf5, check_zarr


def is_store(path: Path) -> bool:
    """Return whether a path is HDF5, or a zarr folder, by its name or by what marks one."""
    if path.is_dir():
        return any((path / mark).exists() for mark in (".zgroup", "zarr.json", ".zattrs"))
    return path.suffix.lower() in (".h5", ".h5ad")


def is_annotated(path: Path) -> bool:
    """Return whether a file is HDF5 with the tables that anndata writes."""
    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        return "obs" in file and "var" in file


def has_tables(path: Path) -> bool:
    """Return whether a path is an h5ad or a zarr, and not 10x's .h5, which has no obs."""
    return is_store(path) and (path.is_dir() or is_annotated(path))


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an h5ad, h5 or zarr that leads nowhere else, for reading in the memory that is left.

    Raises:
        InputError: it leads elsewhere, or is no such file.
    """
    if path.is_dir():
        check_zarr(path)
        with bounded():  # consolidated metadata could say something else than what was checked
            yield zarr.open_group(path, mode="r", use_consolidated=False)
        return
    path.open("rb").close()  # tells of a lack of permission
    if not h5py.is_hdf5(path):
        what = "is empty" if path.stat().st_size == 0 else "is not HDF5, or is damaged"
        raise InputError(
            Kind.FORMAT, Given("data.path", path), what, "get it again, or give another file"
        )
    with h5py.File(path) as file:
        check_hdf5(file, path)
        with bounded():
            yield file


def reason(error: Exception, path: Path | None = None) -> str:
    """Return in one line why something cannot be read."""
    text = " ".join(str(error).split()).removeprefix(f"data.path={path}: ")
    if isinstance(error, KeyError):
        inner = re.search(r"\((.*)\)", text)
        text = f"lacks a part ({inner[1] if inner else text})"
    return text[:200] or type(error).__name__
