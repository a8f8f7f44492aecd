"""Checks what the elements of a store say of themselves, before and after a reader trusts them.

A header tells the shape, the type and the bytes of an array. A sparse matrix has three arrays,
which must fit to each other: compiled code follows their indices without a look.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr

COPIES = 28  # bytes that each value takes on the way to a model, as measured, beside those read
TEXT = 60  # bytes of a text in Python, and of what points at it


def is_group(element: Any) -> bool:
    """Return whether an element of HDF5 or zarr is a group, and not an array."""
    return isinstance(element, h5py.Group | zarr.Group)


def header(element: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Return the shape and the type of the values of a matrix, dense or sparse.

    Raises:
        ValueError: the element is no matrix, or its parts do not fit together.
    """
    if not is_group(element):
        return element.shape, np.dtype(element.dtype)
    stored = str(element.attrs.get("encoding-type", element.attrs.get("h5sparse_format", "")))
    if stored[:3] not in ("csr", "csc"):
        raise ValueError(f"is stored as {stored or 'a group'}, and not as a matrix")
    shape = element.attrs.get("shape", element.attrs.get("h5sparse_shape"))
    if np.shape(shape) != (2,):
        raise ValueError(f"has the shape {shape}, and not two numbers")
    n_rows, n_columns = map(int, shape)
    parts = [element[name] for name in ("data", "indices", "indptr")]
    check_parts(parts, (n_rows, n_columns), stored[:3])
    return (n_rows, n_columns), np.dtype(parts[0].dtype)


def check_parts(parts: list[Any], shape: tuple[int, int], stored: str) -> None:
    """Refuse data, indices and indptr that cannot be those of a matrix of this shape.

    Args:
        parts: the three arrays, not read yet.
        shape: (n_rows, n_columns).
        stored: `csr` or `csc`.

    Raises:
        ValueError: they are not one-dimensional, their lengths do not fit, or their indices are
            not whole numbers.
    """
    if any(is_group(part) or len(part.shape or ()) != 1 for part in parts):
        raise ValueError("data, indices and indptr should be 1-D")
    _, indices, indptr = parts
    n_data, n_indices, n_indptr = (part.shape[0] for part in parts)
    if n_indptr != shape[stored == "csc"] + 1 or n_data != n_indices:
        raise ValueError(
            f"{n_data} values, {n_indices} indices and an indptr of {n_indptr} are no matrix of "
            f"{shape[0]} x {shape[1]}"
        )
    for name, part in (("indices", indices), ("indptr", indptr)):
        if np.dtype(part.dtype).kind not in "iu":
            raise ValueError(f"{name} are {part.dtype}, and not whole numbers")


def check_numbers(dtype: Any) -> None:
    """Refuse values that are not numbers.

    Raises:
        ValueError: they are texts, objects or complex numbers.
    """
    if np.dtype(dtype).kind not in "fiub":
        raise ValueError(f"its values are {dtype}, and not numbers")


def check_sparse(x: Any) -> None:
    """Refuse a sparse matrix in memory whose indices lead out of it.

    Raises:
        ValueError: they do.
    """
    if x.format not in ("csr", "csc"):
        raise ValueError(f"is {x.format}, and not csr or csc")
    for name in ("indices", "indptr"):
        if getattr(x, name).dtype.kind not in "iu":
            raise ValueError(f"{name} are {getattr(x, name).dtype}, and not whole numbers")
    if (x.indptr[1:] < x.indptr[:-1]).any():  # scipy looks no further where the last one is 0
        raise ValueError("indptr must be a non-decreasing sequence")
    x.check_format(full_check=True)


def measure(element: Any) -> float:
    """Return the bytes that an element, with all that is in it, takes once it is read.

    Raises:
        ValueError: a group in it is linked to more than once, so that a reader could walk in it
            for ever; or a sparse matrix in it is not what it says.
    """
    needed, seen, elements = 0.0, set(), [element]
    while elements:
        part = elements.pop()
        if not is_group(part):
            needed += size(part) if hasattr(part, "shape") else 0
            continue
        place = _place(part)
        if place in seen:
            raise ValueError(f"{part.name} is linked to more than once")
        seen.add(place)
        if "indptr" in part:
            header(part)
        elements.extend(part[name] for name in part)
    return needed


def size(array: Any) -> float:
    """Return the bytes that an array of HDF5 or zarr takes once it is read."""
    n, chunk = (float(np.prod(x, dtype=float)) for x in (array.shape or (), array.chunks or 0))
    dtype = np.dtype(array.dtype)
    if dtype.kind not in "OT":
        letters = 5 if dtype.kind in "SU" else 1  # a letter of one byte is read as four more
        return float((letters * n + chunk) * dtype.itemsize)
    fill, written = array.fill_value if isinstance(array, zarr.Array) else array.fillvalue, 0.0
    if isinstance(array, h5py.Dataset) and chunk:
        written = array.id.get_num_chunks() * chunk
    letters = len(fill) if isinstance(fill, str | bytes) else 0
    return TEXT * n + letters * max(n - written, 0.0)  # texts never written are the fill value


def _place(group: Any) -> Any:
    """Return what is the same for two names of one group."""
    if isinstance(group, h5py.Group):
        return h5py.h5o.get_info(group.id).addr
    return (Path(group.store.root) / group.path).resolve()
