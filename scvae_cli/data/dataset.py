"""Defines `Dataset`: cells with their values, names and types, as every source returns them."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from scvae_cli.covariates import Covariates
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.rows import Rows
from scvae_cli.visible import UNLABELLED

UNWRITABLE = re.compile("[\0\ud800-\udfff]")  # NUL, and halves of characters


@dataclass(frozen=True, eq=False)
class Recipe:
    """How values came from what was measured, so that other cells can be treated alike.

    Attributes:
        values: what they were made from: `counts`, `normalized` or `logged`.
        target_sum: total of each cell before the logarithm, where they were counts.
        totals: (n_cells,) what each cell's total was before that.
        counted: (n_counted,) names of the genes that this total is over, in their order, those of
            the data set among them; None where it has them all.
        ids: other names of the same genes, or None.
        mean: (n_genes,) subtracted from each gene, or None where values were not scaled.
        sd: (n_genes,) what each gene was divided by then.
        clip: largest value after that.
        whole: whether what was measured are whole numbers.
        unscaled: fingerprint of the cells before values were scaled, or None.
        natural: what logarithms were multiplied by to be natural ones.
        total: of each given cell, before the logarithm if there was one, where it is one.
        sure: whether what was given had one reading.
    """

    values: str = "logged"
    target_sum: float | None = None
    totals: np.ndarray | None = None
    counted: np.ndarray | None = None
    ids: np.ndarray | None = None
    mean: np.ndarray | None = None
    sd: np.ndarray | None = None
    clip: float | None = None
    whole: bool = True
    unscaled: str | None = None
    natural: float = 1.0
    total: float | None = None
    sure: bool = True

    @property
    def as_given(self) -> bool:
        """Whether values, but for scaling, are those that were given."""
        return self.values == "logged" and self.natural == 1.0


@dataclass(frozen=True, eq=False)
class Dataset:
    """Cells, as a model sees them, with what is known of them.

    Attributes:
        name: what to call it.
        x: (n_cells, n_genes) float32 values; sparse unless they were scaled.
        labels: (n_cells,) index of each cell's type in `cell_types`; -1 of cells without one,
            where others have one.
        cell_types: names of the types; only `UNLABELLED` where they are not known.
        cells: (n_cells,) names (barcodes), no two alike.
        genes: (n_genes,) names.
        recipe: what was done to get x.
        covariates: how each cell was measured, where that was asked for.
        kept: columns that people want beside the results, a row a cell: numbers, or text where a
            missing one is None. Batches and covariates are among them. No model sees them, so
            the fingerprint is without them.

    Example:
        >>> from scvae_cli.data.sources import load
        >>> cells = load(name="pbmc68k", scale=None)
        >>> cells.x.shape, cells.is_labelled
        ((700, 765), True)
        >>> cells.types[0]
        np.str_('CD14+ Monocyte')
    """

    name: str
    x: csr_array | np.ndarray
    labels: np.ndarray
    cell_types: tuple[str, ...]
    cells: np.ndarray
    genes: np.ndarray
    recipe: Recipe = field(default_factory=Recipe)
    covariates: Covariates | None = None
    kept: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        values = self.x.data if isinstance(self.x, csr_array) else self.x
        assert values.dtype == np.float32, values.dtype
        assert are_finite(values), "values that are not finite"
        assert self.x.shape == (len(self.cells), len(self.genes)), self.x.shape
        assert len(self.labels) == self.n_cells, len(self.labels)
        assert len(np.unique(self.cells)) == self.n_cells, "two cells of one name"
        assert self.covariates is None or self.covariates.n_cells == self.n_cells
        assert self.kept is None or len(self.kept) == self.n_cells
        known = self.labels[self.labels >= 0]
        assert np.array_equal(np.unique(known), np.arange(len(self.cell_types)))

    @property
    def n_cells(self) -> int:
        """Return the number of cells."""
        return int(self.x.shape[0])

    @property
    def n_genes(self) -> int:
        """Return the number of genes."""
        return int(self.x.shape[1])

    @property
    def is_labelled(self) -> bool:
        """Return whether there are types to compare clusters with."""
        return len(self.cell_types) > 1

    @property
    def n_unlabelled(self) -> int:
        """Return the number of cells without a type, where others have one."""
        return int((self.labels < 0).sum())

    @property
    def groups(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return groups (n_cells,) to show and their names: the types, then cells without one."""
        if not self.n_unlabelled:
            return self.labels, self.cell_types
        last = len(self.cell_types)
        return np.where(self.labels < 0, last, self.labels), (*self.cell_types, UNLABELLED)

    @property
    def types(self) -> np.ndarray:
        """Return the name (n_cells,) of each cell's type, or `UNLABELLED`."""
        groups, names = self.groups
        types: np.ndarray = np.array(names)[groups]
        return types

    def counts(self, first: int | None = None) -> csr_array | None:
        """Return the counts (n_cells, n_genes), float32, that x comes from.

        Args:
            first: of how many cells, the first ones; None for all.

        Returns:
            Them; None where x comes from something else, or from counts that are not whole.

        Example:
            >>> import numpy as np
            >>> x = csr_array(np.log1p(np.array([[5000, 5000, 0], [0, 2500, 7500]], np.float32)))
            >>> recipe = Recipe("counts", target_sum=1e4, totals=np.array([4, 8]))
            >>> names = np.array(["a", "b"]), np.array(["x", "y", "z"])
            >>> cells = labelled("mine", x, np.array(["T", "B"]), *names, recipe)
            >>> cells.counts().toarray().astype(int).tolist()
            [[2, 2, 0], [0, 2, 6]]
        """
        rows = self.counts_by_row()
        if rows is None:
            return None
        return rows.whole() if first is None else Rows(rows.x[:first], scales=rows.scales).whole()

    def counts_by_row(self) -> Rows | None:
        """Return the same counts, which are computed when their rows are asked for."""
        totals, target_sum = self.recipe.totals, self.recipe.target_sum
        if totals is None or target_sum is None or not isinstance(self.x, csr_array):
            return None
        return Rows(self.x, scales=totals / target_sum) if self.recipe.whole else None

    def fingerprint(self) -> str:
        """Return the sha256 of all values, names and labels, equal on all machines."""
        return self._sha

    def gene_table(self) -> pd.DataFrame:
        """Return what other cells need: a row for each gene that counts in a cell's total.

        Columns: gene, id (where known), used (whether the model gets it), mean and sd (of scaled
        values, where it is used).

        Example:
            >>> from scvae_cli.data.sources import load
            >>> load(name="pbmc68k", scale=None).gene_table().head(2)
                  gene  used
            0     HES4  True
            1  TNFRSF4  True
        """
        recipe = self.recipe
        counted = self.genes if recipe.counted is None else recipe.counted
        table = pd.DataFrame({"gene": counted})
        if recipe.ids is not None:
            table["id"] = recipe.ids
        table["used"] = table["gene"].isin(self.genes)
        if recipe.mean is not None and recipe.sd is not None:
            table.loc[table["used"], ["mean", "sd"]] = np.column_stack([recipe.mean, recipe.sd])
        return table

    @cached_property
    def _sha(self) -> str:
        sha = hashlib.sha256()
        for part in chain(self._measured(), [self.labels]):
            kind = "<i8" if np.issubdtype(part.dtype, np.integer) else "<f4"
            flat = part.ravel()
            for i in range(0, len(flat), 2**20):  # in pieces: a copy of all would take gigabytes
                sha.update(np.ascontiguousarray(flat[i : i + 2**20], dtype=kind).data)
        for names in (self.cells, self.genes, self.cell_types):
            sha.update("\n".join(map(str, names)).encode() + b"\0")
        if self.covariates is not None:  # so that those of cells without them stay as they were
            sha.update(self.covariates.contents())
        return sha.hexdigest()

    def _measured(self) -> Iterator[np.ndarray]:
        """Yield what the values come from; their own last bits are the processor's."""
        counts = self.counts_by_row()
        if self.recipe.unscaled is not None:
            yield np.frombuffer(self.recipe.unscaled.encode(), np.uint8)
            yield np.array([self.recipe.clip], np.float32)
        elif isinstance(self.x, np.ndarray):
            yield self.x
        else:
            yield from (self.x.indptr, self.x.indices)
            if counts is None or counts.scales is None:
                yield self.x.data
            else:
                yield from (rows.data for _, rows in counts.pieces())
                yield counts.scales


def are_finite(values: np.ndarray) -> bool:
    """Tell whether all values are finite; looks at some at a time."""
    flat = values.ravel()
    step = 2**20
    return all(np.isfinite(flat[i : i + step]).all() for i in range(0, len(flat), step))


def labelled(
    name: str,
    x: csr_array,
    types: np.ndarray,
    cells: np.ndarray,
    genes: np.ndarray,
    recipe: Recipe,
    covariates: Covariates | None = None,
    kept: pd.DataFrame | None = None,
) -> Dataset:
    """Make a data set of cells with types by name.

    Args:
        name: what to call it.
        x: (n_cells, n_genes) float32 values.
        types: (n_cells,) names of types, `UNLABELLED` where a cell has none.
        cells: (n_cells,) names.
        genes: (n_genes,) names.
        recipe: what was done to get x.
        covariates: see `Dataset`.
        kept: see `Dataset`.

    Raises:
        InputError: a name cannot be written.
    """
    types = types.astype(str)
    for kind, names_of in (("cell", cells), ("gene", genes), ("cell type", types)):
        _check_names(kind, names_of)
    for key, column in ({} if kept is None else kept).items():
        _check_names("column", np.array([key]))
        if not pd.api.types.is_numeric_dtype(column):
            _check_names(f"column {key}:", column.dropna().unique())
    known = types != UNLABELLED
    if not known.any():
        known[:] = True
    labels = np.full(len(types), -1)
    cell_types, labels[known] = np.unique(types[known], return_inverse=True)
    names = tuple(map(str, cell_types))
    cells, genes = cells.astype(str), genes.astype(str)
    return Dataset(name, x, labels, names, cells, genes, recipe, covariates, kept)


def _check_names(kind: str, names: np.ndarray) -> None:
    """Refuse names that neither csv nor h5ad can hold.

    Raises:
        InputError: a name has one.
    """
    for name in map(str, names):
        if UNWRITABLE.search(name):
            raise InputError(
                Kind.NAMES,
                Given("", f"{kind} {name!r}"),
                "cannot be written to csv and h5ad",
                "rename it",
            )
