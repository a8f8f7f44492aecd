"""What is known of how each cell was measured: its batch, and numbers such as a donor's age."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scvae_cli.errors import Given, InputError, Kind, unknown_choice


@dataclass(frozen=True, eq=False)
class Covariates:
    """Batches and numeric covariates of cells.

    A network gets a column for each value of each batch column, 1 where a cell has that value and
    else 0, and then the numeric covariates as z-scores.

    Attributes:
        keys: names of the batch columns (`protocol`).
        values: for each of these, its values (`CEL-seq2`, `Drop-seq`).
        codes: (n_cells, n_keys) index of each cell's value among them.
        names: names of the numeric covariates.
        numbers: (n_cells, n_names) float32 z-scores.
        mean: (n_names,) what was subtracted.
        sd: (n_names,) what it was divided by then.

    Example:
        >>> told = covariates({"plate": np.array(["a", "b", "b"])}, {"age": np.array([3, 3, 9])})
        >>> told.rows(np.array([0, 2]))
        array([[ 1.        ,  0.        , -0.70710677],
               [ 0.        ,  1.        ,  1.4142135 ]], dtype=float32)
        >>> told.batches
        (array([0, 1, 1]), ('a', 'b'))
    """

    keys: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    codes: NDArray[np.int64]
    names: tuple[str, ...]
    numbers: NDArray[np.float32]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]

    @property
    def n_cells(self) -> int:
        """Return the number of cells."""
        return len(self.codes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the number of values of each batch column."""
        return tuple(map(len, self.values))

    @property
    def n_columns(self) -> int:
        """Return the number of columns that a network gets."""
        return sum(self.sizes) + len(self.names)

    @cached_property
    def batches(self) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Return the batch (n_cells,) of each cell and the batches' names.

        With several columns, each combination of their values that occurs is a batch.
        """
        if len(self.keys) == 1:
            return self.codes[:, 0], self.values[0]
        rows, batch = np.unique(self.codes, axis=0, return_inverse=True)
        names = (
            ", ".join(values[i] for values, i in zip(self.values, row, strict=True))
            for row in rows
        )
        return batch.ravel(), tuple(names)

    @property
    def usual(self) -> NDArray[np.float32]:
        """Return the mean row (n_columns,) of all cells, which stands for cells not told of."""
        pieces = np.array_split(np.arange(self.n_cells), self.n_cells // 1000 + 1)
        total = np.sum([self.rows(piece).sum(axis=0) for piece in pieces], axis=0)
        row: NDArray[np.float32] = total / np.float32(max(1, self.n_cells))
        return row

    def rows(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the columns (n, n_columns) that a network gets of some cells."""
        codes = self.codes[index]
        ends = np.cumsum(self.sizes, dtype=np.int64)
        rows = np.zeros((len(codes), sum(self.sizes)), np.float32)
        begins = ends - np.array(self.sizes, np.int64)  # also of no column, whose codes are none
        rows[np.arange(len(codes))[:, None], codes + begins] = 1
        return np.hstack([rows, self.numbers[index]])

    def some(self, index: NDArray[np.int64]) -> "Covariates":
        """Return the covariates of some cells."""
        return replace(self, codes=self.codes[index], numbers=self.numbers[index])

    def contents(self) -> bytes:
        """Return all of it as bytes, equal on all machines."""
        names = json.dumps([self.keys, self.values, self.names])
        arrays = self.codes.astype("<i8"), self.numbers.astype("<f4")
        return names.encode() + b"\0".join(array.tobytes() for array in arrays)


def covariates(batches: Mapping[str, np.ndarray], numbers: Mapping[str, np.ndarray]) -> Covariates:
    """Make covariates of columns by name.

    Args:
        batches: texts (n_cells,).
        numbers: finite numbers (n_cells,), not all the same; they become z-scores.
    """
    n_cells = len(next(iter([*batches.values(), *numbers.values()])))
    sorted_ = [np.unique(column, return_inverse=True) for column in batches.values()]
    table = np.empty((n_cells, len(numbers)))
    for i, column in enumerate(numbers.values()):
        table[:, i] = column
    mean, sd = table.mean(axis=0), table.std(axis=0)
    return Covariates(
        tuple(batches),
        tuple(tuple(map(str, values)) for values, _ in sorted_),
        np.array([codes.ravel() for _, codes in sorted_], np.int64).reshape(-1, n_cells).T,
        tuple(numbers),
        ((table - mean) / sd).astype(np.float32),
        mean,
        sd,
    )


def as_of(told: Covariates | None, batch: str | Mapping[str, str]) -> NDArray[np.float32]:
    """Return what a network gets of a cell of a batch whose numbers are the mean: (n_columns,).

    Args:
        told: what the network was told of, if it was.
        batch: its name, or the value of each column of batches.

    Raises:
        InputError: there is no such batch.
    """
    given = Given("batch", batch, repr(batch))
    if told is None or not told.keys:
        reason = "the run's model was not told of batches"
        raise InputError(Kind.CONFLICT, given, reason, "leave it out")
    values = batch if isinstance(batch, Mapping) else {told.keys[0]: batch}
    if {*values} != {*told.keys}:
        fix = "give {" + ", ".join(f"'{key}': ..." for key in told.keys) + "}"
        reason = f"must have a value for each of {', '.join(told.keys)}"
        raise InputError(Kind.VALUE, given, reason, fix)
    code = np.zeros((1, len(told.keys)), np.int64)
    for i, (key, known) in enumerate(zip(told.keys, told.values, strict=True)):
        value = str(values[key]).removesuffix(".0")  # batches may be numbered
        value = value if value in known else str(values[key])
        if value not in known:
            raise unknown_choice(key, value, known)
        code[0, i] = known.index(value)
    numbers = np.zeros((1, len(told.names)), np.float32)
    row: NDArray[np.float32] = replace(told, codes=code, numbers=numbers).rows(np.array([0]))[0]
    return row
