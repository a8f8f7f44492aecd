"""Goes over counts on disk, piece by piece: to see what they are, to add up, to collect some."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, csr_matrix, vstack

from scvae_cli.data.pieces import Pieces, changed
from scvae_cli.data.preprocess import log_normalize
from scvae_cli.data.values import Values, are_whole, recognise_whole
from scvae_cli.data.variable import (
    Group,
    by_deviance,
    by_variance,
    expected_sds,
    groups_of,
    limits_of,
)
from scvae_cli.data.wording import Wording
from scvae_cli.errors import InputError, Kind
from scvae_cli.mapped import Collected


@dataclass(frozen=True, eq=False)
class Looked:
    """What all values say.

    Attributes:
        seen: what they are.
        cells: (n_cells,) whether a cell is kept.
        genes: (n_genes,) whether a gene is.
    """

    seen: Values
    cells: np.ndarray
    genes: np.ndarray


def look(pieces: Pieces, min_genes: int, min_cells: int, wording: Wording) -> Looked | None:
    """Look at all values; None if they are not whole numbers, or all zero.

    Args:
        pieces: the values.
        min_genes: see `asked.Options`.
        min_cells: see `asked.Options`.
        wording: what errors call the cells.

    Raises:
        InputError: a value is negative or not finite.
    """
    totals, n_genes = np.zeros(pieces.n_cells), np.zeros(pieces.n_cells, int)
    n_cells = np.zeros(pieces.n_genes, int)
    with closing(pieces.read()) as walk:
        for rows, x in walk:
            _check(x.data, wording)
            if not are_whole(data := x.data.astype(np.float64)):
                return None
            lengths = np.diff(x.indptr)
            of_value = np.repeat(np.arange(len(lengths)), lengths)
            totals[rows] = np.bincount(of_value, data, minlength=len(lengths))
            n_genes[rows] = lengths
            is_kept = lengths[of_value] >= min_genes
            n_cells += np.bincount(x.indices[is_kept], minlength=pieces.n_genes)
    if not totals.any():
        return None
    seen = recognise_whole(totals[totals > 0])
    return Looked(seen, n_genes >= min_genes, n_cells >= min_cells)


def _check(values: np.ndarray, wording: Wording) -> None:
    """Refuse values that no model should see (InputError)."""
    if not np.isfinite(values).all():
        raise InputError(Kind.CONTENT, wording.cells, "some values are NaN or infinite")
    if len(values) and (least := values.min()) < 0:
        reason = f"has negative values ({least:.4g}), so it was scaled"
        fix = f"name a layer with counts by {wording.key('layer')}, or give {wording.key('raw')}"
        raise InputError(Kind.CONTENT, wording.cells, reason, f"{fix}=true")


@dataclass(frozen=True, eq=False)
class Kept:
    """The values of some cells and genes.

    Attributes:
        pieces: all values.
        cells: (n_all_cells,) whether a cell is kept.
        genes: (n_all_genes,) whether a gene is.
    """

    pieces: Pieces
    cells: np.ndarray
    genes: np.ndarray

    @property
    def n_cells(self) -> int:
        """Return how many cells are kept."""
        return int(self.cells.sum())

    @property
    def n_genes(self) -> int:
        """Return how many genes are kept."""
        return int(self.genes.sum())

    def read(self) -> Generator[tuple[slice, csr_matrix], None, None]:
        """Yield rows of the kept cells, and their values; see `Pieces.read`."""
        start, has_all = 0, bool(self.genes.all())
        with closing(self.pieces.read()) as walk:
            for rows, x in walk:
                if not (of_rows := self.cells[rows]).all():
                    x = x[of_rows]
                if not has_all:
                    x = x[:, self.genes]
                yield slice(start, start + x.shape[0]), x
                start += x.shape[0]


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over the cells and genes that are kept.

    Attributes:
        kept: their values.
        totals: (n_cells,) float32 counts of each cell.
        n_values: (n_cells,) genes that a cell has.
        n_cells: (n_genes,) cells that have a gene.
        by: by what genes are chosen.
        groups: sums over the cells of each group.
        numbers: (n_cells,) group of each cell, -1 for none.
    """

    kept: Kept
    totals: np.ndarray
    n_values: np.ndarray
    n_cells: np.ndarray
    by: str
    groups: list[Group]
    numbers: np.ndarray

    def choose(self, n_genes: int | None) -> np.ndarray:
        """Return the indices, rising, of the genes that tell most; of all where that is None.

        Raises:
            InputError: genes differ too little to say which vary most.
        """
        if n_genes is None:
            return np.arange(self.kept.n_genes)
        if self.by == "deviance":
            return by_deviance(self.groups, n_genes)
        sds = expected_sds(self.groups, n_genes)
        limits = [limits_of(group, sd) for group, sd in zip(self.groups, sds, strict=True)]
        with closing(self.kept.read()) as walk:
            for rows, x in walk:
                for i, some in _by_group(self.numbers[rows], x):
                    self.groups[i].clip(some, limits[i])
        return by_variance(self.groups, sds, n_genes)


def sum_up(kept: Kept, by: str, batches: np.ndarray | None) -> Sums:
    """Add up values over cells and over genes.

    Args:
        kept: the values.
        by: `variance` or `deviance`; see `preprocess.chosen_genes`.
        batches: (n_cells,) batch of each cell, if there are.
    """
    numbers = groups_of(batches, kept.n_cells)
    groups = [Group(kept.n_genes) for _ in range(numbers.max() + 1)]
    totals, n_values = np.zeros(kept.n_cells, np.float32), np.zeros(kept.n_cells, int)
    n_cells = np.zeros(kept.n_genes, int)
    with closing(kept.read()) as walk:
        for rows, x in walk:
            totals[rows] = np.ravel(x.sum(axis=1))
            n_values[rows] = np.diff(x.indptr)
            n_cells += np.bincount(x.indices, minlength=kept.n_genes)
            for i, some in _by_group(numbers[rows], x):
                groups[i].add(some, by)
    return Sums(kept, totals, n_values, n_cells, by, groups, numbers)


def _by_group(numbers: np.ndarray, x: csr_matrix) -> Generator[tuple[int, csr_matrix], None, None]:
    """Yield the number of each group, and the rows of x that are of its cells."""
    for number in np.unique(numbers):
        mine = numbers == number
        if number >= 0:
            yield int(number), x if mine.all() else x[mine]


def collect(
    kept: Kept, target_sum: float, genes: np.ndarray, others: np.ndarray, collected: Collected
) -> csr_array:
    """Collect logarithms of some genes; return those of others, which tables would lack else.

    Args:
        kept: the values.
        target_sum: see `preprocess.log_normalize`.
        genes: (n,) indices of genes, rising.
        others: (n_others,) indices of genes, rising.
        collected: what they are added to, (n_cells, n); it must have room for all.

    Returns:
        (n_cells, n_genes), where only the others have values.

    Raises:
        RunError: the file changed since its values were counted.
        OSError: the disk is full.
    """
    parts = []
    is_other = np.isin(np.arange(kept.n_genes), others)
    with closing(kept.read()) as walk:
        for _, x in walk:
            logs = log_normalize(csr_array(x), target_sum=target_sum)
            some = logs[:, genes]
            if collected.n_values + some.nnz > collected.most:
                raise changed(kept.pieces.path)
            collected.add(some)
            logs.data *= is_other[logs.indices]
            logs.eliminate_zeros()
            parts.append(logs)
    if collected.n_values != collected.most:
        raise changed(kept.pieces.path)
    return csr_array(vstack(parts, format="csr"))
