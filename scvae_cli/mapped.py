"""Sparse matrices that are collected row by row, in memory or on disk, and read where they lie.

On disk their values are in files without a name. Nobody can cut such a file, which would end a
process that has mapped it, and it is gone when the process is, however that ends.
"""

import mmap
import tempfile
from pathlib import Path
from typing import IO, Any, Self, TypeGuard

import numpy as np
from scipy.sparse import csr_array

MOST = np.iinfo(np.int32).max


def size_of(n_values: int) -> float:
    """Return the bytes of values and of the indices of their genes."""
    return float(n_values) * (8 if n_values <= MOST else 12)


class Collected:
    """A matrix that grows by rows; in a `with`, files are closed at its end, mapped or not.

    Args:
        shape: of the matrix: n_cells, n_genes.
        most: how many values it has at most.
        folder: on whose disk values go; None to keep them in memory.

    Attributes:
        n_values: how many it has by now.

    Raises:
        OSError: no file can be made in the folder.
    """

    def __init__(self, shape: tuple[int, int], most: int, folder: Path | None) -> None:
        # scipy has one kind for indices and ends.
        kind = np.int32 if most <= MOST else np.int64
        self.shape, self.most, self.n_values, self._n_cells = shape, most, 0, 0
        self._ends = np.zeros(shape[0] + 1, kind)
        kinds = (np.float32, kind)
        self._parts: list[_Array | _File] = [
            _Array(kind, most) if folder is None else _File(kind, folder) for kind in kinds
        ]

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the files; what was mapped stays."""
        for part in self._parts:
            part.close()

    def add(self, x: csr_array) -> None:
        """Add rows x (n, n_genes).

        Raises:
            OSError: the disk is full.
        """
        for part, values in zip(self._parts, (x.data, x.indices), strict=True):
            part.add(values)
        rows = slice(self._n_cells + 1, self._n_cells + 1 + x.shape[0])
        self._ends[rows] = self.n_values + x.indptr[1:].astype(np.int64)
        self._n_cells += x.shape[0]
        self.n_values += x.nnz

    def matrix(self) -> csr_array:
        """Return the matrix, of which all rows were added."""
        assert self._n_cells == self.shape[0], self._n_cells
        data, indices = (part.whole() for part in self._parts)
        return csr_array((data, indices, self._ends), shape=self.shape)


class _Array:
    """Numbers in memory; a part that is not used takes none."""

    def __init__(self, kind: Any, most: int) -> None:
        self._values, self._n = np.empty(most, kind), 0

    def add(self, values: np.ndarray) -> None:
        """Add numbers (n,)."""
        self._values[self._n : self._n + len(values)] = values
        self._n += len(values)

    def close(self) -> None:
        """Do nothing: there is no file."""

    def whole(self) -> np.ndarray:
        """Return all numbers."""
        return self._values[: self._n]


class _File:
    """Numbers in a file without a name."""

    def __init__(self, kind: Any, folder: Path) -> None:
        self._kind, self._folder = np.dtype(kind), folder
        self._file: IO[bytes] = tempfile.TemporaryFile(  # noqa: SIM115 - `close` closes it
            dir=folder, buffering=0
        )
        self._n = 0

    def add(self, values: np.ndarray) -> None:
        """Add numbers (n,)."""
        left = np.ascontiguousarray(values, self._kind).data.cast("B")
        try:
            while left:  # a disk that is nearly full takes a part
                left = left[self._file.write(left) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._folder)) from error
        self._n += len(values)

    def whole(self) -> np.ndarray:
        """Map all numbers into memory, where they are read from disk as they are needed."""
        if not self._n:  # which no file can be mapped with
            return np.empty(0, self._kind)
        return np.memmap(self._file, self._kind, "r+", shape=(self._n,))

    def close(self) -> None:
        """Close the file, which stays while it is mapped."""
        self._file.close()


def is_mapped(x: Any) -> TypeGuard[csr_array]:
    """Tell whether a matrix is one that lies on disk."""
    return isinstance(x, csr_array) and _map_of(x.data) is not None


def will_need(x: csr_array, rows: np.ndarray) -> None:
    """Ask the system to read rows (n,) of a matrix on disk soon, and do not wait for it.

    Rows drawn at random are read one by one else, each with its neighbours, which nobody needs.
    """
    ends = x.indptr
    for values in (x.data, x.indices):
        if (pages := _map_of(values)) is None:
            return
        size = values.itemsize
        starts = size * ends[rows].astype(np.int64) // mmap.PAGESIZE * mmap.PAGESIZE
        lengths = size * ends[rows + 1].astype(np.int64) - starts
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            if length:
                pages.madvise(mmap.MADV_WILLNEED, start, length)


def _map_of(values: Any) -> mmap.mmap | None:
    """Return what maps values into memory; None where they are not from a file."""
    while isinstance(values, np.ndarray):
        values = values.base
    return values if isinstance(values, mmap.mmap) else None
