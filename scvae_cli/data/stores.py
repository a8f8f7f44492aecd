"""Reads .h5ad, .zarr and 10x's .h5 an element at a time, so that only what is needed can stop it.

anndata reads each element, once its headers say that it fits: into the memory, and to the cells.
"""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import zarr
from anndata.io import read_elem
from scipy.sparse import csr_matrix, issparse

from scvae_cli.errors import InputError
from scvae_cli.untrusted import bounded, check_hdf5, check_memory, check_zarr

COPIES = 28  # bytes that each value takes on the way to a model, as measured, beside those read
TEXT = 60  # bytes of a text in Python, and of what points at it
GENES = "Gene Expression"  # what 10x calls features that are genes
ALONG = ("obsm", "varm", "obsp", "varp", "uns")  # elements that no model looks at


def read_annotated(
    path: Path, *, needed: Collection[str], whole: bool, say: Callable[[str], None]
) -> anndata.AnnData:
    """Cells from h5ad or zarr: X, layers, raw, obs and var.

    Args:
        path: the file or folder.
        needed: names of elements that it cannot do without, `layers/counts` or `obs/kind` say;
            others are left out where they cannot be read.
        whole: whether to read `ALONG` too.
        say: told what is left out.

    Raises:
        InputError: it leads elsewhere, or what is needed cannot be read or does not fit.
    """
    with opened(path) as file:
        missing = [name for name in ("obs", "var") if name not in file]
        if missing:
            there = ", ".join(list(file)[:5]) or "nothing"
            raise InputError(f"data.path={path}: is no AnnData: has {there}, and no {missing[0]}")
        if not _is_group(file["obs"]) or not _is_group(file["var"]) or "raw.X" in file:
            return _read_oldest(file, path)
        return _Reader(file, path, needed, say).read(whole)


def read_10x(path: Path, *, genome: str | None, say: Callable[[str], None]) -> anndata.AnnData:
    """Counts of genes from an .h5 of 10x's Cell Ranger, or of what writes the same.

    Args:
        path: the file.
        genome: the one to read, where there are several.
        say: told which features are left out.

    Raises:
        InputError: it is something else, is damaged, or has several genomes to choose from.
    """
    with opened(path) as file:
        if "matrix" in file:
            return _read_features(file["matrix"], path, genome, say)
        genomes = [n for n in file if _is_group(file[n]) and {"barcodes", "indptr"} <= {*file[n]}]
        if genome is not None and genome not in genomes:
            raise InputError(_no_genome(path, genome, genomes))
        if len(genomes) > 1 and genome is None:
            raise InputError(
                f"data.path={path}: has a matrix for each of {', '.join(genomes)}; choose with "
                f"data.genome={genomes[0]}"
            )
        if not genomes:
            molecules = "barcode_idx" in file or "barcode" in file
            what = "single molecules, and no counts" if molecules else "no matrix"
            raise InputError(
                f"data.path={path}: holds {what}; give filtered_feature_bc_matrix.h5 (or "
                "filtered_gene_bc_matrices_h5.h5) of the same Cell Ranger run"
            )
        group = file[genome or genomes[0]]
        names = {"gene_ids": _texts(group["genes"]), "names": _texts(group["gene_names"])}
        return _counted(group, path, pd.DataFrame(names))


def is_annotated(path: Path) -> bool:
    """Whether a file is HDF5 with the tables that anndata writes."""
    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        return "obs" in file and "var" in file


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An h5ad, h5 or zarr that leads nowhere else, open for reading in the memory that is left.

    Raises:
        InputError: it leads elsewhere, or is no such file.
    """
    if path.is_dir():
        check_zarr(path)
        with bounded():  # consolidated metadata could say something else than what was checked
            yield zarr.open_group(path, mode="r", use_consolidated=False)
        return
    path.open("rb").close()  # tells of a lack of permission
    if not h5py.is_hdf5(path):
        what = "is empty" if path.stat().st_size == 0 else "is not HDF5, or is damaged"
        raise InputError(f"data.path={path}: {what}")
    with h5py.File(path) as file:
        check_hdf5(file, path)
        with bounded():
            yield file


def check_sparse(x: Any) -> None:
    """Refuses a sparse matrix whose indices lead out of it, which compiled code would follow.

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


class _Reader:
    """Reads the elements of one file."""

    def __init__(
        self, file: Any, path: Path, needed: Collection[str], say: Callable[[str], None]
    ) -> None:
        self.file = file
        self.path = path
        self.needed = {"obs", "var", *needed}
        self.say = say
        self.kept = 0.0  # bytes to be left for copies of the values that are needed

    def read(self, whole: bool) -> anndata.AnnData:
        """All that is there, but for what is left out."""
        obs, var, raw_var = (
            self.element(name, partial(self.table, name)) for name in ("obs", "var", "raw/var")
        )
        n_genes = {"X": len(var)}
        if _is_group(self.file.get("layers")):
            n_genes |= {f"layers/{name}": len(var) for name in self.file["layers"]}
        if raw_var is not None:
            n_genes["raw/X"] = len(raw_var)
        values = {
            name: self.element(name, partial(self.matrix, name, (len(obs), n_genes[name])))
            for name in sorted(n_genes, key=lambda name: name not in self.needed)
        }
        values = {name: x for name, x in values.items() if x is not None}
        cells = anndata.AnnData(
            values.pop("X", None),
            obs,
            var,
            raw={"X": values.pop("raw/X"), "var": raw_var} if "raw/X" in values else None,
            layers={name.removeprefix("layers/"): x for name, x in values.items()},
        )
        for part in ALONG if whole else ():
            for name in self.file[part] if _is_group(self.file.get(part)) else ():
                self.element(f"{part}/{name}", partial(_put, getattr(cells, part), name))
        return cells

    def element(self, name: str, read: Callable[[Any], Any]) -> Any:
        """What `read` makes of an element; None where it is not there, or left out."""
        try:
            if name not in self.file:
                return None
            element = self.file[name]
            check_memory(measure(element) + self.kept, self.path)
            return read(element)
        except Exception as error:  # readers raise all kinds
            if name not in self.needed:
                self.say(f"{self.path.name}: {name} is left out: {reason(error, self.path)}")
                return None
            if isinstance(error, InputError):
                raise
            raise InputError(f"data.path={self.path}: {name}: {reason(error)}") from error

    def matrix(self, name: str, shape: tuple[int, int], element: Any) -> Any:
        """Values (n_cells, n_genes), sparse or dense as they are there; None for none."""
        if element.attrs.get("encoding-type") == "null" or getattr(element, "shape", 0) is None:
            return None
        there, dtype = _header(element)
        _check_numbers(dtype)
        if there != shape:
            theirs = " x ".join(map(str, there)) or "one number"
            raise ValueError(f"is {theirs}, and there are {shape[0]} cells x {shape[1]} genes")
        asked = name in self.needed
        if asked and _is_group(element):
            self.kept = COPIES * float(element["data"].shape[0])
            check_memory(measure(element) + self.kept, self.path)
        values = read_elem(element)
        if issparse(values):
            check_sparse(values)
        elif asked:
            self.kept = COPIES * float(np.count_nonzero(values))
            check_memory(self.kept, self.path)
        return values

    def table(self, name: str, element: Any) -> pd.DataFrame:
        """A table by its columns; those that cannot be read are left out if not needed."""
        if str(element.attrs.get("encoding-version")) == "0.1.0":  # of anndata 0.7
            table = read_elem(element)
            return table.set_axis(_names(table.index).rename(table.index.name))
        key = str(element.attrs["_index"])
        index = _names(read_elem(element[key]))
        columns = {
            column: self.element(f"{name}/{column}", partial(_column, len(index)))
            for column in map(str, element.attrs["column-order"])
        }
        there = {column: values for column, values in columns.items() if values is not None}
        table = pd.DataFrame(there, index=index)
        return table if key == "_index" else table.rename_axis(key)


def measure(element: Any) -> float:
    """Bytes that an element takes once it is read.

    Raises:
        ValueError: a group in it is linked to more than once, so that a reader could walk in it
            for ever; or a sparse matrix in it is not what it says.
    """
    needed, seen, elements = 0.0, set(), [element]
    while elements:
        found = elements.pop()
        if not _is_group(found):
            needed += _size(found) if hasattr(found, "shape") else 0
            continue
        place = _place(found)
        if place in seen:
            raise ValueError(f"{found.name} is linked to more than once")
        seen.add(place)
        if "indptr" in found:
            _header(found)
        elements.extend(found[name] for name in found)
    return needed


def reason(error: Exception, path: Path | None = None) -> str:
    """Why something cannot be read, in a line."""
    text = " ".join(str(error).split()).removeprefix(f"data.path={path}: ")
    if isinstance(error, KeyError):
        inner = re.search(r"\((.*)\)", text)
        text = f"lacks a part ({inner[1] if inner else text})"
    return text[:200] or type(error).__name__


def _read_oldest(file: Any, path: Path) -> anndata.AnnData:
    """Cells as anndata wrote them before version 0.7: all of it, as its parts are interwoven."""
    check_memory(measure(file), path)
    cells = anndata.read_zarr(file) if path.is_dir() else anndata.read_h5ad(path)
    raw = [] if cells.raw is None else [cells.raw.X]
    for values in (cells.X, *cells.layers.values(), *cells.obsm.values(), *raw):
        if issparse(values):
            check_sparse(values)
    cells.obs_names, cells.var_names = _names(cells.obs_names), _names(cells.var_names)
    return cells


def _read_features(
    group: Any, path: Path, genome: str | None, say: Callable[[str], None]
) -> anndata.AnnData:
    """Cell Ranger's third format: features of all kinds and genomes in one matrix."""
    features = group["features"]
    names = {"gene_ids": "id", "names": "name", "kind": "feature_type", "genome": "genome"}
    var = pd.DataFrame({key: _texts(features[n]) for key, n in names.items() if n in features})
    cells = _counted(group, path, var)
    kinds = cells.var.get("kind", pd.Series(GENES, cells.var_names))
    kept = (kinds == GENES).to_numpy()
    if not kept.any():
        raise InputError(f"data.path={path}: has no genes, but {', '.join(kinds.unique())}")
    if not kept.all():
        others = ", ".join(kinds[~kept].unique())
        say(f"{path.name}: {(~kept).sum():,} features of other types ({others}) are left out")
    genomes = cells.var.get("genome", pd.Series("", cells.var_names))
    there = [name for name in genomes[kept].unique() if name]
    if genome is not None:
        if genome not in there:
            raise InputError(_no_genome(path, genome, there))
        kept &= (genomes == genome).to_numpy()
    elif len(there) > 1:
        say(f"{path.name}: genes of {' and '.join(there)} (data.genome={there[0]} keeps its own)")
    cells = cells if kept.all() else cells[:, kept].copy()
    del cells.var["kind"]
    return cells


def _counted(group: Any, path: Path, var: pd.DataFrame) -> anndata.AnnData:
    """The matrix (n_cells, n_genes) of a group, whose columns have the names `var`."""
    barcodes = _texts(group["barcodes"])
    n_genes, n_cells = map(int, group["shape"][:])
    for what, n, there in (("genes", n_genes, len(var)), ("cells", n_cells, len(barcodes))):
        if n != there:
            raise InputError(f"data.path={path}: has names of {there} {what}, and {n} of them")
    parts = [group[name] for name in ("data", "indices", "indptr")]
    _header_of(parts, (n_cells, n_genes), "csr")
    _check_numbers(parts[0].dtype)
    check_memory(sum(map(_size, parts)) + COPIES * len(parts[0]), path)
    x = csr_matrix(tuple(part[:] for part in parts), shape=(n_cells, n_genes))
    check_sparse(x)
    cells = anndata.AnnData(x, pd.DataFrame(index=barcodes), var.set_index("names"))
    cells.var.index.name = None
    return cells


def _no_genome(path: Path, genome: str, there: list[str]) -> str:
    return f"data.genome={genome}: not in {path} (there are {', '.join(there) or 'none'})"


def _texts(dataset: Any) -> pd.Index:
    """Texts of an HDF5 dataset, as they are."""
    check_memory(_size(dataset), dataset.file.filename)
    return pd.Index(dataset.asstr()[:], dtype=object)


def _names(index: Any) -> pd.Index:
    """Names of cells or genes: text, whatever they were stored as.

    Raises:
        ValueError: one is missing, or has a letter that no table can hold.
    """
    index = pd.Index(index)
    if index.isna().any():
        raise ValueError(f"{int(index.isna().sum())} of {len(index)} names are missing")
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in index]
    if bad := [name for name in names if "\0" in name]:
        raise ValueError(f"the name {bad[0]!r} has a NUL, which no table can hold")
    return pd.Index(names, dtype=object)


def _column(n: int, element: Any) -> Any:
    """A column of a table of n rows."""
    values = read_elem(element)
    if np.ndim(values) != 1 or len(values) != n:
        raise ValueError(f"has the shape {np.shape(values)}, and there are {n} rows")
    return values


def _put(part: Any, name: str, element: Any) -> None:
    """Reads an element into obsm, uns, ..., which refuse what does not fit to the cells."""
    values = read_elem(element)
    if issparse(values):
        check_sparse(values)
    part[name] = values


def _check_numbers(dtype: Any) -> None:
    if np.dtype(dtype).kind not in "fiub":
        raise ValueError(f"its values are {dtype}, and not numbers")


def _header(element: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the values of a matrix, dense or sparse.

    Raises:
        ValueError: it is something else, or its parts do not fit together.
    """
    if not _is_group(element):
        return element.shape, np.dtype(element.dtype)
    stored = str(element.attrs.get("encoding-type", element.attrs.get("h5sparse_format", "")))
    if stored[:3] not in ("csr", "csc"):
        raise ValueError(f"is stored as {stored or 'a group'}, and not as a matrix")
    shape = element.attrs.get("shape", element.attrs.get("h5sparse_shape"))
    if np.shape(shape) != (2,):
        raise ValueError(f"has the shape {shape}, and not two numbers")
    n_rows, n_columns = map(int, shape)
    parts = [element[name] for name in ("data", "indices", "indptr")]
    _header_of(parts, (n_rows, n_columns), stored[:3])
    return (n_rows, n_columns), np.dtype(parts[0].dtype)


def _header_of(parts: list[Any], shape: tuple[int, int], stored: str) -> None:
    """Refuses data, indices and indptr that cannot be those of a matrix of this shape."""
    if any(_is_group(part) or len(part.shape or ()) != 1 for part in parts):
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


def _size(array: Any) -> float:
    """Bytes that an array of HDF5 or zarr takes once it is read."""
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


def _is_group(element: Any) -> bool:
    return isinstance(element, h5py.Group | zarr.Group)


def _place(group: Any) -> Any:
    """The same for groups that are one and the same, whatever they are called."""
    if isinstance(group, h5py.Group):
        return h5py.h5o.get_info(group.id).addr
    return (Path(group.store.root) / group.path).resolve()
