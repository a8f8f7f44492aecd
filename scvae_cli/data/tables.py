"""Reads text tables: names stay as they are written, values are numbers or are refused.

A reader that guesses types turns barcode 001 into 1 and gene NA into nothing; here, only what
stands below a gene's name and beside a cell's is read as a number.
"""

import csv
import gzip
import re
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.untrusted import check_memory

SUFFIX = re.compile(r"\.(csv|tsv|txt)(\.gz)?$", re.IGNORECASE)
BARCODE = re.compile(r"(.*[^A-Za-z])?[ACGT]{10,}([^A-Za-z].*)?")
GENE = re.compile(r"ENS[A-Z]*G\d{6,}.*|MT-.+|RP[LS]\d+[A-Z]?|[Mm]t-.+|Rp[ls]\d+[a-z]?")
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", " ": "spaces"}
PER_VALUE = 40  # bytes of memory that a value takes until a model has it: 8, in five copies
PER_NAME = 200  # bytes that a name takes beside its characters, in tables and indices
PER_CHARACTER = 8  # bytes that a character of a table takes while its line is split


def read_table(path: Path, transpose: bool | None, say: Callable[[str], None]) -> anndata.AnnData:
    """Read a table with names of rows and columns, line by line, into a sparse matrix.

    Lines above the header that begin with # are left out where they are too short for a header.
    The header may lack the name of the names' column, as R writes it.

    Args:
        path: .csv (commas), .tsv or .txt (tabs), plain or .gz; text in UTF-8.
        transpose: whether rows are genes; None to look at the names.
        say: called with a line about which axis the cells are on.

    Returns:
        AnnData (n_cells, n_genes), float32, with names as they are written, even if twice.

    Raises:
        InputError: it is no such table, a value is not a number, or it does not fit into memory.
    """
    what = Given("data.path", path)
    separator = separator_of(path)
    with text(path, what) as lines:
        rows = _below_comments(csv.reader(lines, delimiter=separator, strict=True))
        try:
            columns, body = _header(rows, path, what)
            names, values = _values(body, columns, path)
        except csv.Error as error:
            raise InputError(Kind.FORMAT, what, f"cannot be read: {error}") from error
    axes = pd.Index(names, dtype=object), pd.Index(columns, dtype=object)
    for axis in axes:
        if "" in axis:
            at = list(axis).index("") + 1
            raise InputError(
                Kind.NAMES, what, f"{'row' if axis is axes[0] else 'column'} {at} has no name"
            )
    if transpose is None:
        transpose = _rows_are_genes(*axes, path, say)
    if transpose:
        axes, values = axes[::-1], values.T.tocsr()
    return anndata.AnnData(values, *(pd.DataFrame(index=axis) for axis in axes))


def read_texts(path: Path, what: Given) -> list[list[str]]:
    """Read a table of texts, the header first.

    Args:
        path: as for `read_table`.
        what: what errors call it.

    Returns:
        The texts of each line that is not empty.

    Raises:
        InputError: it cannot be read.
    """
    rows, size = [], 0
    try:
        with text(path, what) as lines:
            for row in filter(None, csv.reader(lines, delimiter=separator_of(path), strict=True)):
                rows.append(row)
                size += PER_NAME * len(row) + sum(map(len, row))
                if len(rows) % 1000 == 0:
                    check_memory(size, path, what.key)
    except csv.Error as error:
        raise InputError(Kind.FORMAT, what, f"cannot be read as csv: {error}") from error
    return rows


def separator_of(path: Path) -> str:
    """Return what stands between the columns of a table, by its name's ending."""
    suffix = SUFFIX.search(path.name)
    return "\t" if suffix and suffix[1].lower() in ("tsv", "txt") else ","


def other_separator(header: list[str], path: Path) -> str:
    """Return what seems to separate the columns of a table read as one column, and the cure."""
    ours, line = SEPARATORS[separator_of(path)], ",".join(header)
    likely = max(SEPARATORS, key=line.count)
    if not line.count(likely) or SEPARATORS[likely] == ours:
        return f"{ours} are expected between columns"
    cure = {",": "call it .csv", "\t": "call it .tsv"}.get(likely, f"save it with {ours}")
    return f"{SEPARATORS[likely]} seem to separate it, and not {ours}; {cure}"


@contextmanager
def text(path: Path, what: Given) -> Iterator[Iterator[str]]:
    """Open a text file, plain or .gz, as lines with their ends; a mark of UTF-8 is left out.

    Raises:
        InputError: it is not text in UTF-8, not gzip, or has a line that does not fit into memory.
    """
    packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            start = file.read(4096)
        if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start:
            hint = "is text in UTF-16" if start[:1] in b"\xff\xfe" else "is not text"
            raise InputError(
                Kind.FORMAT, what, f"cannot be read: it {hint}", "save it as text in UTF-8"
            )
        options: dict[str, Any] = {"mode": "rt", "encoding": "utf-8-sig", "newline": ""}
        with gzip.open(path, **options) if packed else path.open(**options) as opened:
            yield _lines(opened, path, what.key)
    except UnicodeDecodeError as error:
        bad = error.object[error.start]
        raise InputError(
            Kind.FORMAT,
            what,
            f"cannot be read: byte {bad:#x} is not UTF-8",
            "save it as text in UTF-8",
        ) from error
    except gzip.BadGzipFile as error:
        raise InputError(
            Kind.FORMAT,
            what,
            "cannot be read: it is not gzip, as its name says",
            "take .gz off its name",
        ) from error
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        kinds = {FileNotFoundError: Kind.MISSING, EOFError: Kind.DAMAGED}
        kind = kinds.get(type(error), Kind.FORMAT)
        raise InputError(kind, what, f"cannot be read: {reason}") from error


def _lines(file: IO[str], path: Path, key: str) -> Iterator[str]:
    """Read lines, none of which takes all memory; a few bytes of .gz can make gigabytes."""
    step = 2**24
    while line := file.readline(step):
        pieces = [line]
        while len(pieces[-1]) == step and not pieces[-1].endswith("\n"):
            check_memory(PER_CHARACTER * step * (len(pieces) + 1), path, key)
            pieces.append(file.readline(step))
        yield "".join(pieces)


def _below_comments(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    """Skip empty rows, and comments above the header."""
    filled = filter(None, rows)
    try:
        above = next(filled)
    except StopIteration:
        return
    for row in filled:
        short = len(row) > len(above) + 1 or len(row) == 1  # a header may be one short
        if not (above[0].startswith("#") and short):
            yield from chain([above, row], filled)
            return
        above = row
    yield above


def _header(
    rows: Iterator[list[str]], path: Path, what: Given
) -> tuple[list[str], Iterator[list[str]]]:
    """Return the names of the columns, and the rows below: a row's name, then its values."""
    header, first = next(rows, []), next(rows, [])
    if not header:
        raise InputError(Kind.EMPTY, what, "cannot be read: it is empty")
    if len(header) == 1 and len(first) < 2:
        raise InputError(Kind.FORMAT, what, "only one column", other_separator(header, path))
    if len(first) < 2:
        raise InputError(Kind.EMPTY, what, "no values below its header")
    trailing = first[-1] == "" and len(first) > 2 and (
        header[-1] == "" or len(first) == len(header) + 1
    )  # fmt: skip
    if trailing:  # a separator at the end of each line
        first.pop()
        if header[-1] == "":
            header.pop()
    if len(first) not in (len(header), len(header) + 1):
        raise InputError(
            Kind.FORMAT,
            what,
            f"cannot be read: its header has {len(header)} columns, the next line {len(first)}",
        )
    columns = header if len(first) == len(header) + 1 else header[1:]

    def body() -> Iterator[list[str]]:
        yield first
        for row in rows:
            if trailing and len(row) == len(first) + 1 and row[-1] == "":
                row.pop()
            if len(row) != len(first):
                raise InputError(
                    Kind.FORMAT,
                    what,
                    f"cannot be read: row {row[0]} has {len(row)} columns, and the first has "
                    f"{len(first)}",
                )
            yield row

    return columns, body()


def _values(
    body: Iterator[list[str]], columns: list[str], path: Path
) -> tuple[list[str], csr_matrix]:
    """Read names (n_rows,) and values (n_rows, n_columns) of the rows; zeros are not kept."""
    names: list[str] = []
    size = 0  # of the names
    data, places, ends = array("f"), array("i"), array("q", [0])
    for row in body:
        names.append(row[0])
        size += PER_NAME + len(row[0])
        for place, word in enumerate(row[1:]):
            if word == "0":
                continue
            try:
                if "_" in word:  # Python reads 1_000 as a number
                    raise ValueError
                value = float(word)
            except ValueError as error:
                raise InputError(
                    Kind.CONTENT,
                    Given("data.path", path),
                    f"column {columns[place]} has {word[:40]!r} in row {row[0]}, no number",
                ) from error
            if value:
                data.append(value)
                places.append(place)
        ends.append(len(data))
        if len(names) % 100 == 0:
            check_memory(PER_VALUE * len(data) + size, path)
    check_memory(PER_VALUE * len(data) + size, path)
    parts = np.frombuffer(data, np.float32), np.frombuffer(places, np.int32), np.array(ends)
    return names, csr_matrix(parts, shape=(len(names), len(columns)))


def _rows_are_genes(
    rows: pd.Index, columns: pd.Index, path: Path, say: Callable[[str], None]
) -> bool:
    """Return whether rows are genes, by the names of both axes, and say so."""
    cells = _share(rows, BARCODE) + _share(columns, GENE)
    genes = _share(rows, GENE) + _share(columns, BARCODE)
    rows_are_genes = genes > cells
    sure = abs(genes - cells) > 0.005
    say(
        f"{path.name}: rows are {'genes' if rows_are_genes else 'cells'}"
        + (", as their names tell" if sure else ", as is usual")
        + f" (else data.transpose={str(not rows_are_genes).lower()})"
    )
    return rows_are_genes


def _share(names: pd.Index, pattern: re.Pattern[str]) -> float:
    """Return the share of names that match the pattern."""
    return sum(bool(pattern.fullmatch(name)) for name in names) / len(names)
