"""Opens .h5ad, .h5mu, .zarr and .h5 from anyone: none that lead elsewhere, in bounded memory."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import zarr

from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.untrusted import bounded, check_hdf5, check_zarr

RNA = "rna"  # what MuData, Muon and scvi-tools call the modality of genes


def is_store(path: Path) -> bool:
    """Return whether a path is HDF5, or a zarr folder, by its name or by what marks one."""
    if path.is_dir():
        return any((path / mark).exists() for mark in (".zgroup", "zarr.json", ".zattrs"))
    return path.suffix.lower() in (".h5", ".h5ad", ".h5mu")


def is_annotated(path: Path) -> bool:
    """Return whether a file is HDF5 with the tables that anndata writes."""
    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        return "obs" in file and "var" in file


def has_tables(path: Path) -> bool:
    """Return whether a path is an h5ad, h5mu or zarr, and not 10x's .h5, which has no obs."""
    return is_store(path) and (path.is_dir() or is_annotated(path))


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a store that leads nowhere else, for reading in the memory that is left.

    Yields:
        The store; of a MuData, the group of its modality with genes.

    Raises:
        InputError: it leads elsewhere, is no such file, or it is not clear which modality to take.
    """
    if path.is_dir():
        check_zarr(path)
        with bounded():  # consolidated metadata could say something else than what was checked
            yield _with_genes(zarr.open_group(path, mode="r", use_consolidated=False), path)
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
            yield _with_genes(file, path)


def _with_genes(store: Any, path: Path) -> Any:
    """Return the group of a MuData with the modality `RNA`, or its only one; else the store.

    Raises:
        InputError: a MuData has several, and none is called so.
    """
    if (names := modalities(store)) is None:
        return store
    if RNA not in names and len(names) != 1:
        there = ", ".join(names) or "none"
        fix = f"write one as h5ad: mudata.read({path.name!r})[NAME].write_h5ad(FILE)"
        raise InputError(
            Kind.MISSING, Given("data.path", path), f"no modality is called {RNA} ({there})", fix
        )
    return store["mod"][RNA if RNA in names else names[0]]


def modalities(store: Any) -> list[str] | None:
    """Return the names of the modalities of a MuData; None for any other store."""
    return sorted(store["mod"]) if store.attrs.get("encoding-type") == "MuData" else None


def whole_of(group: Any) -> Any:
    """Return the MuData that an opened group is a modality of; None where it is none."""
    if group.name == "/":
        return None
    if isinstance(group, h5py.Group):
        return group.file
    return zarr.open_group(group.store, mode="r", use_consolidated=False)


def which_modality(group: Any, path: Path) -> str | None:
    """Return a line that names the modality that is read, of several; None without several."""
    whole = whole_of(group)
    names = [] if whole is None else modalities(whole) or []
    if len(names) < 2:
        return None
    return f"{path.name}: {group.name.removeprefix('/mod/')} is read, of {', '.join(names)}"


def reason(error: Exception, path: Path | None = None) -> str:
    """Return in one line why something cannot be read."""
    text = " ".join(str(error).split()).removeprefix(f"data.path={path}: ")
    if isinstance(error, KeyError):
        inner = re.search(r"\((.*)\)", text)
        text = f"lacks a part ({inner[1] if inner else text})"
    return text[:200] or type(error).__name__
