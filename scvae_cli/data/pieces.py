"""Reads sparse values of an h5ad or zarr some rows at a time, as often as they are needed."""

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
        name: of the element: X, raw/X, or layers/NAME.
        ends: (n_cells + 1,) where the values of each cell begin, and where the last ones end.
        n_genes: number of genes.
        state: of the file when it was first looked at; see `state_of`.
    """

    path: Path
    name: str
    ends: np.ndarray
    n_genes: int
    state: list[int]

    @property
    def n_cells(self) -> int:
        """Return the number of cells."""
        return len(self.ends) - 1

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
        x = csr_matrix((data, indices, starts), shape=(len(starts) - 1, self.n_genes))
        check_sparse(x)
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
        if not is_group(element):
            return None
        (n_cells, n_genes), dtype = header(element)
        check_numbers(dtype)
        ends = np.asarray(element["indptr"][:]).astype(np.int64)
        n_values = element["data"].shape[0]
    except Exception:  # readers raise all kinds
        return None
    is_sound = ends[0] == 0 and (np.diff(ends) >= 0).all() and ends[-1] == n_values
    if len(ends) != n_cells + 1 or not is_sound:  # another length: stored by genes
        return None
    return Pieces(path, name, ends, n_genes, state_of(path))
