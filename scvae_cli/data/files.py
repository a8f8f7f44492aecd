"""Reads the cells of a file or folder: h5ad, h5mu, zarr, 10x's formats and tables.

The readers are scanpy's and anndata's, or check what those leave open: which axis holds the
cells, and what is wrong with a file, in one line.
"""

import re
import warnings
from collections.abc import Callable, Collection
from pathlib import Path

import anndata
import pandas as pd

from scvae_cli.data.annotated import read_annotated
from scvae_cli.data.cellranger import GENES, read_10x
from scvae_cli.data.mtx import MATRIX, read_10x_folder
from scvae_cli.data.stores import is_annotated, is_store, reason
from scvae_cli.data.tables import SUFFIX, read_table
from scvae_cli.errors import Given, InputError, Kind

KINDS = ".h5ad, .h5mu, .zarr, 10x's .h5, a 10x folder or matrix.mtx, .csv, .tsv or .txt (also .gz)"
PACKED = re.compile(r".*\.(h5ad|h5mu|h5|zarr|tar)\.(gz|zip|bz2|xz)")
UNPACKED_BY = {"gz": "gunzip", "zip": "unzip", "bz2": "bunzip2", "xz": "unxz"}


def read(
    path: Path,
    *,
    transpose: bool | None,
    say: Callable[[str], None],
    genome: str | None = None,
    needed: Collection[str] = ("X",),
    whole: bool = False,
) -> anndata.AnnData:
    """Read the cells of a file, as they are there.

    Args:
        path: a file or a folder; its name tells the format.
        transpose: whether rows are genes, in a table; None to look.
        say: called with a line for each finding, and for each element that is left out.
        genome: which genome's genes to take, of 10x's .h5; None for all.
        needed: elements of an h5ad or zarr that must be read; see `selection.elements`.
        whole: whether to read what no model looks at, too (obsm, varm, obsp, varp, uns).

    Raises:
        InputError: it cannot be read.
    """
    given = Given("data.path", path)
    try:
        is_there = path.exists()
    except OSError as error:  # too long a name, or a folder that one may not enter
        raise InputError(Kind.UNAVAILABLE, given, f"cannot be read: {error.strerror}") from error
    if not is_there:
        raise InputError(Kind.MISSING, given, "no such file or folder")
    if not path.is_file() and not path.is_dir():
        raise InputError(Kind.FORMAT, given, "is a pipe or a device", f"give {KINDS}")
    try:
        with warnings.catch_warnings():  # of old formats, and names to be made unique
            warnings.simplefilter("ignore")
            if is_store(path):
                return _read_store(path, genome, needed, whole, say)
            if genome is not None:
                raise _no_genomes(genome)
            return _read_text(path, transpose, say)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(Kind.MEMORY, given, "more than this machine's memory holds") from error
    except Exception as error:  # readers raise all kinds
        raise InputError(Kind.FORMAT, given, f"cannot be read: {reason(error)}") from error


def _no_genomes(genome: str) -> InputError:
    fix = "leave it out"
    return InputError(
        Kind.CONFLICT, Given("data.genome", genome), "only 10x's .h5 has genomes to choose", fix
    )


def _read_store(
    path: Path,
    genome: str | None,
    needed: Collection[str],
    whole: bool,
    say: Callable[[str], None],
) -> anndata.AnnData:
    """Read an h5ad, an h5mu, a zarr, or 10x's .h5: what is in it tells which."""
    if path.suffix.lower() == ".h5" and not is_annotated(path):
        return read_10x(path, genome=genome, say=say)
    if genome is not None:
        raise _no_genomes(genome)
    cells = read_annotated(path, needed=needed, whole=whole, say=say)
    kinds = cells.var.get("feature_types", pd.Series(dtype=str)).astype(str)
    if others := sorted(set(kinds) - {GENES}):  # whoever wrote the file chose to keep them
        say(
            f"{path.name}: {(kinds != GENES).sum():,} features of other types "
            f"({', '.join(others)}) are taken as genes"
        )
    return cells


def _read_text(path: Path, transpose: bool | None, say: Callable[[str], None]) -> anndata.AnnData:
    """Read a 10x folder or a table.

    Raises:
        InputError: its name is of another format, or it is no such file.
    """
    name = path.name.lower()
    if path.is_dir() or MATRIX.fullmatch(name):
        return read_10x_folder(path, say)
    if SUFFIX.search(name):
        return read_table(path, transpose, say)
    hint = ""
    if packed := PACKED.fullmatch(name):
        hint = f"unpack it ({UNPACKED_BY[packed[2]]} {path.name}), or "
    raise InputError(
        Kind.FORMAT, Given("data.path", path), "unknown format", f"{hint}give {KINDS}"
    )
