"""Cells from files of one's own: h5ad, zarr, 10x and tables, and what is in them.

Every reader is scanpy's or anndata's. Here is what they leave open: which axis holds the cells,
whether values are counts, and what is wrong with a file, in one line.
"""

import logging
import re
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, issparse, vstack

from scvae_cli.data.mtx import MATRIX, read_10x_folder
from scvae_cli.data.stores import (
    GENES,
    check_sparse,
    is_annotated,
    read_10x,
    read_annotated,
    reason,
)
from scvae_cli.data.tables import SUFFIX, read_table
from scvae_cli.data.values import recognise
from scvae_cli.errors import InputError

log = logging.getLogger("scvae")

KINDS = ".h5ad, .zarr, 10x's .h5, a 10x folder or its matrix.mtx, .csv, .tsv or .txt (also .gz)"
DISTINCT = 0.9  # a column of var with so many different values, or more, names genes
INDEX = "var_names"  # the index of var, kept as a column where another one names the genes
PACKED = re.compile(r".*\.(h5ad|h5|zarr)\.(gz|zip|bz2|xz)")


def read(
    path: Path,
    *,
    transpose: bool | None,
    say: Callable[[str], None],
    genome: str | None = None,
    needed: Collection[str] = ("X",),
    whole: bool = False,
) -> anndata.AnnData:
    """The cells of a file, as they are there.

    Args:
        path: a file or a folder; its name tells the format.
        transpose: whether rows are genes, in a table; None to look.
        say: told what was found out and not given, and what is left out.
        genome: which genome's genes to take, of 10x's .h5; None for all.
        needed: elements of an h5ad or zarr without which it is no use; see `elements`.
        whole: whether to read what no model looks at, too (obsm, varm, obsp, varp, uns).

    Raises:
        InputError: it cannot be read.
    """
    if not path.exists():
        raise InputError(f"data.path={path}: no such file or folder")
    if not path.is_file() and not path.is_dir():
        raise InputError(f"data.path={path}: is a pipe or a device; give {KINDS}")
    try:
        with warnings.catch_warnings():  # of old formats, and names to be made unique
            warnings.simplefilter("ignore")
            if _is_store(path):
                return _read_store(path, genome, needed, whole, say)
            if genome is not None:
                raise InputError(
                    f"data.genome={genome}: only 10x's .h5 has genomes to choose from"
                )
            return _read(path, transpose, say)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"data.path={path}: more than this machine's memory holds") from error
    except Exception as error:  # readers raise all kinds
        raise InputError(f"data.path={path}: cannot be read: {reason(error)}") from error


def elements(
    *, layer: str | None, raw: bool, gene_names: str | None = None, label_key: str | None = None
) -> set[str]:
    """Names of the elements of an h5ad or zarr that these settings need."""
    var = "raw/var" if raw else "var"
    values = "raw/X" if raw else "X" if layer is None else f"layers/{layer}"
    columns = {f"{var}/{gene_names}": gene_names, f"obs/{label_key}": label_key}
    return {var, values, *(name for name, asked in columns.items() if asked is not None)}


def select(
    cells: anndata.AnnData,
    path: Path | str,
    *,
    layer: str | None,
    raw: bool,
    gene_names: str | None,
) -> anndata.AnnData:
    """The values asked for, checked; `cells` stay as they are.

    Args:
        cells: what was read.
        path: from where.
        layer: a layer to take in place of X.
        raw: whether to take `.raw`.
        gene_names: a column of `var` with the names to use; None for its index.

    Returns:
        AnnData (n_cells, n_genes) whose X is sparse, rows in order.

    Raises:
        InputError: they are not there; names occur twice; values are not finite, or negative.
    """
    if cells.isbacked:
        raise InputError(f"{path}: is backed by a file; give adata.to_memory()")
    values, var = cells.X, cells.var
    if raw:
        if cells.raw is None:
            raise InputError(f"data.raw=true: {path} has no raw")
        values, var = cells.raw.X, cells.raw.var
    if layer is not None:
        if layer not in cells.layers:
            there = ", ".join(cells.layers) or "none"
            raise InputError(
                f"data.layer={layer}: no such layer in {path} (there are {there}; null is X)"
            )
        if raw:
            raise InputError(f"data.layer={layer}: give it or data.raw=true, not both")
        values = cells.layers[layer]
    if values is None:
        raise InputError(f"data.path={path}: has no X; name a layer with data.layer")
    if 0 in values.shape:
        raise InputError(f"data.path={path}: {values.shape[0]} cells x {values.shape[1]} genes")
    values = values if issparse(values) else np.asarray(values)
    if values.dtype.kind not in "fiub":
        raise InputError(f"data.path={path}: its values are {values.dtype}, and not numbers")
    if gene_names is not None:
        if gene_names not in var:
            there = ", ".join(map(str, var)) or "none"
            raise InputError(
                f"data.gene_names={gene_names}: no such column of var in {path} "
                f"(there are {there}; null is its index)"
            )
        var = var.set_index(var[gene_names].astype(str)).assign(**{INDEX: var.index})
    x = _sparse(values, path)
    x.sum_duplicates()
    x.eliminate_zeros()
    with warnings.catch_warnings():  # of names that occur twice, which `_check` refuses
        warnings.simplefilter("ignore")
        chosen = anndata.AnnData(x, cells.obs, var)
    _check(chosen, path, cells)
    return chosen


def _sparse(values: Any, path: Path | str) -> csr_matrix:
    """A copy of values (n_cells, n_genes) as a sparse matrix in single precision.

    Raises:
        InputError: they are sparse, and their indices lead out of them.
    """
    if not issparse(values):  # in pieces: the indices of all would take ten times the memory
        step = max(1, 2**24 // values.shape[1])
        parts = [values[i : i + step] for i in range(0, len(values), step)]
        return vstack([csr_matrix(part, dtype=np.float32) for part in parts], format="csr")
    try:
        arrays = (values.data, values.indices, values.indptr)
        shell = type(values)(arrays, shape=values.shape)  # so that `values` stay as they are
        check_sparse(shell)
    except (AttributeError, ValueError) as error:
        raise InputError(f"data.path={path}: is damaged: {error}") from error
    return csr_matrix(shell.astype(np.float32, copy=True))


def other_names(cells: anndata.AnnData) -> np.ndarray | None:
    """Other names (n_genes,) of the genes, which a column of var has, or None: ids, or symbols."""
    for column in cells.var:
        names = cells.var[column]
        if pd.api.types.is_numeric_dtype(names) or names.nunique() < DISTINCT * len(names):
            continue
        others: np.ndarray = names.astype(str).to_numpy(dtype=str)
        return others
    return None


def labels_of(cells: anndata.AnnData, key: str, path: Path) -> np.ndarray:
    """The type (n_cells,) of each cell, from a column of obs; empty where it has none.

    Whole numbers are names of types, as of clusters, also where missing ones made them 1.0, 2.0.

    Raises:
        InputError: there is no such column, or it holds other numbers.
    """
    if key not in cells.obs:
        there = ", ".join(map(str, cells.obs)) or "none"
        raise InputError(f"data.label_key={key}: no such column of obs in {path} ({there})")
    column = cells.obs[key]
    if pd.api.types.is_float_dtype(column):
        numbers = column.dropna()
        if (broken := numbers[numbers % 1 != 0]).size:
            raise InputError(
                f"data.label_key={key}: holds numbers such as {broken.iloc[0]}, no types"
            )
        column = column.astype("Int64")
    known = column.notna().to_numpy()
    types = np.full(len(column), "", dtype=object)
    types[known] = column[known].astype(str)
    return types


def _check(cells: anndata.AnnData, path: Path | str, file: anndata.AnnData) -> None:
    """Refuses cells that no model should see, chosen from what is in a file.

    Raises:
        InputError: names that occur twice, or values that are not finite, or negative.
    """
    for names, what, hint in (
        (cells.obs_names, "cell", "make them unique (adata.obs_names_make_unique())"),
        (cells.var_names, "gene", "make them unique (adata.var_names_make_unique())"),
    ):
        if names.has_duplicates:
            twice = names[names.duplicated()][0]
            raise InputError(f"data.path={path}: {what} {twice} is there twice; {hint}")
    values = cells.X.data
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise InputError(f"data.path={path}: {bad} values are NaN or infinite")
    if len(values) and values.min() < 0:
        raise InputError(
            f"data.path={path}: has negative values ({values.min():.4g}), so it was scaled; "
            + _elsewhere(file)
        )


def _elsewhere(cells: anndata.AnnData) -> str:
    """Where else there are values that a model can take, counts first."""
    found = {"counts": [], "normalized": [], "logged": []}  # type: dict[str, list[str]]
    places = {f"data.layer={name}": values for name, values in cells.layers.items()}
    if cells.raw is not None:
        places["data.raw=true"] = cells.raw.X
    for key, values in places.items():
        some = csr_matrix(values[:1000], dtype=np.float32)
        if np.isfinite(some.data).all() and (some.data >= 0).all():
            found[recognise(some).kind].append(key)
    kind = next((kind for kind, keys in found.items() if keys), None)
    if kind is None:
        return "give counts, or logarithms of them; no layer has them, nor raw"
    return f"give {' or '.join(found[kind])}, where there are {kind} values"


def _read(path: Path, transpose: bool | None, say: Callable[[str], None]) -> anndata.AnnData:
    name = path.name.lower()
    if path.is_dir():
        return read_10x_folder(path, say)
    if MATRIX.fullmatch(name):
        return read_10x_folder(path, say)
    if SUFFIX.search(name):
        return read_table(path, transpose, say)
    packed = PACKED.fullmatch(name)
    hint = f"unpack it (gunzip {path.name}), or " if packed else ""
    raise InputError(f"data.path={path}: unknown format; {hint}give {KINDS}")


def _is_store(path: Path) -> bool:
    """Whether it is HDF5, or a zarr folder, by its name or by what marks one."""
    if path.is_dir():
        return any((path / mark).exists() for mark in (".zgroup", "zarr.json", ".zattrs"))
    return path.suffix.lower() in (".h5", ".h5ad")


def _read_store(
    path: Path,
    genome: str | None,
    needed: Collection[str],
    whole: bool,
    say: Callable[[str], None],
) -> anndata.AnnData:
    """An h5ad, a zarr, or 10x's .h5: what is in it tells which."""
    if path.suffix.lower() == ".h5" and not is_annotated(path):
        cells = read_10x(path, genome=genome, say=say)
        cells.var_names_make_unique()  # symbols: some genes share one
        return cells
    if genome is not None:
        raise InputError(f"data.genome={genome}: only 10x's .h5 has genomes")
    cells = read_annotated(path, needed=needed, whole=whole, say=say)
    kinds = cells.var.get("feature_types", pd.Series(dtype=str)).astype(str)
    if others := sorted(set(kinds) - {GENES}):  # whoever wrote the file chose to keep them
        say(
            f"{path.name}: {(kinds != GENES).sum():,} features of other types "
            f"({', '.join(others)}) are taken as genes"
        )
    return cells
