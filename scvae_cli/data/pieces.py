"""Reads sparse values of an h5ad, a zarr or 10x's .h5 some rows at a time, as often as needed."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from scvae_cli.data.headers import check_numbers, check_sparse, header, is_group
from scvae_cli.data.state import state_of
from scvae_cli.data.stores import opened, reason
from scvae_cli.errors import Given, InputError, Kind, RunError

PIECE = 4_000_000  # values that are read at once, unless one cell has more


@dataclass(frozen=True, eq=False)
class Pieces:
    """Values (n_cells, n_genes) that stay on disk.

    Attributes:
        path: the file or folder.
        name: of the element: X, raw/X, or layers/NAME; the group of 10x's matrix.
        ends: (n_cells + 1,) where the values of each cell begin, and where the last ones end.
        n_columns: number of genes that are stored, or features.
        state: of the file when it was first looked at; see `state_of`.
        kept: (n_columns,) which of them are read; None for all.
    """

    path: Path
    name: str
    ends: np.ndarray
    n_columns: int
    state: list[int]
    kept: np.ndarray | None = None

    @property
    def n_cells(self) -> int:
        """Return the number of cells."""
        return len(self.ends) - 1

    @property
    def n_genes(self) -> int:
        """Return the number of genes that are read."""
        return self.n_columns if self.kept is None else int(self.kept.sum())

    @property
    def n_values(self) -> int:
        """Return the number of values, zeros that were written among them."""
        return int(self.ends[-1])

    def read(self) -> Generator[tuple[slice, csr_matrix], None, None]:
        """Yield rows and their values, float32 without zeros, each gene once, in order.

        Raises:
            InputError: the file is damaged.
            RunError: the file changed since it was first looked at.
        """
        with opened(self.path) as file:
            for rows in self._blocks():
                try:
                    x = self._rows(file[self.name], rows)
                except MemoryError:
                    raise
                except Exception as error:  # readers raise all kinds
                    self._check_unchanged(error)
                    given = Given("data.path", self.path)
                    text = f"{self.name}: {reason(error)}"
                    raise InputError(Kind.FORMAT, given, text) from error
                yield rows, x
        self._check_unchanged(None)

    def _rows(self, element: Any, rows: slice) -> csr_matrix:
        first, last = int(self.ends[rows.start]), int(self.ends[rows.stop])
        data, indices = element["data"][first:last], element["indices"][first:last]
        starts = self.ends[rows.start : rows.stop + 1] - first
        x = csr_matrix((data, indices, starts), shape=(len(starts) - 1, self.n_columns))
        check_sparse(x)
        x = x if self.kept is None else x[:, self.kept]
        x = x.astype(np.float32)
        x.sum_duplicates()
        x.eliminate_zeros()
        return x

    def _blocks(self) -> Iterator[slice]:
        """Yield rows that hold `PIECE` values at most, or are one cell."""
        start = 0
        while start < self.n_cells:
            reach = np.searchsorted(self.ends, self.ends[start] + PIECE, side="right") - 1
            stop = min(max(int(reach), start + 1), self.n_cells)
            yield slice(start, stop)
            start = stop

    def _check_unchanged(self, error: Exception | None) -> None:
        """Raise RunError if the file is not what it was."""
        try:
            same = state_of(self.path) == self.state
        except OSError:
            same = False
        if not same:
            raise changed(self.path) from error


def changed(path: Path) -> RunError:
    """Return the error for a file that changed while it was read."""
    return RunError(
        Kind.DIFFERS, path, "changed while it was read", "run again when nobody writes to it"
    )


def on_disk(file: Any, path: Path, name: str) -> Pieces | None:
    """Return sparse values of an open store, to be read in pieces.

    None where they are not stored by cells, or their header is not sound: who reads them whole
    tells what is wrong.
    """
    try:
        element = file[name]
        return by_cells(element, path, name, *header(element)) if is_group(element) else None
    except Exception:  # readers raise all kinds
        return None


def by_cells(
    group: Any, path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype
) -> Pieces | None:
    """Return the values of a group of data, indices and indptr; None if they are not by cells.

    Args:
        group: of an open store.
        path: of the store.
        name: of the group.
        shape: (n_cells, n_columns).
        dtype: of the values.

    Raises:
        ValueError: the values are not numbers.
    """
    check_numbers(dtype)
    ends = np.asarray(group["indptr"][:]).astype(np.int64)
    is_sound = ends[0] == 0 and (np.diff(ends) >= 0).all()
    if len(ends) != shape[0] + 1 or not is_sound or ends[-1] != group["data"].shape[0]:
        return None  # another length: stored by genes
    return Pieces(path, name, ends, shape[1], state_of(path))
