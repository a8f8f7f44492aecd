"""Reads .h5ad, .h5mu and .zarr an element at a time, so that only what is needed can stop it.

anndata reads each element, once its headers say that it fits: into the memory, and to the cells.
"""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from anndata.io import read_elem
from scipy.sparse import issparse

from scvae_cli.data.headers import COPIES, check_numbers, check_sparse, header, is_group, measure
from scvae_cli.data.stores import modalities, opened, reason, which_modality, whole_of
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.untrusted import check_memory

UNUSED = ("obsm", "varm", "obsp", "varp", "uns")  # elements that no model looks at


def read_annotated(
    path: Path, *, needed: Collection[str], whole: bool, say: Callable[[str], None]
) -> anndata.AnnData:
    """Read cells from h5ad, h5mu or zarr: X, layers, raw, obs and var.

    Args:
        path: the file or folder.
        needed: names of elements that must be read, `layers/counts` or `obs/kind` say; others
            are left out where they cannot be read.
        whole: whether to read `UNUSED` too.
        say: called with a line for each element that is left out.

    Raises:
        InputError: it leads elsewhere, or what is needed cannot be read or does not fit.
    """
    with opened(path) as file:
        missing = [name for name in ("obs", "var") if name not in file]
        if missing:
            there = ", ".join(list(file)[:5]) or "nothing"
            raise InputError(
                Kind.FORMAT,
                Given("data.path", path),
                f"is no AnnData: has {there}, and no {missing[0]}",
            )
        if not is_group(file["obs"]) or not is_group(file["var"]) or "raw.X" in file:
            return _read_oldest(file, path)
        if text := which_modality(file, path):
            say(text)
        return Reader(file, path, needed, say).read(whole)


def read_obs(path: Path) -> pd.DataFrame:
    """Read only the table of the cells of a store; leave out columns that are damaged.

    Raises:
        InputError: it leads elsewhere, or cannot be opened.
    """
    with opened(path) as file:
        if "obs" in file and not is_group(file["obs"]):  # of anndata before version 0.7
            return _read_oldest(file, path).obs
        reader = Reader(file, path, (), say=lambda text: None)
        table: pd.DataFrame = reader.element("obs", partial(reader.table, "obs"))
        return table


class Reader:
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
        """Read all elements, but for those that are left out."""
        obs, var, raw_var = (
            self.element(name, partial(self.table, name)) for name in ("obs", "var", "raw/var")
        )
        n_genes = {"X": len(var)}
        if is_group(self.file.get("layers")):
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
        for part in UNUSED if whole else ():
            for name in self.file[part] if is_group(self.file.get(part)) else ():
                self.element(f"{part}/{name}", partial(_put, getattr(cells, part), name))
        return cells

    def element(self, name: str, read: Callable[[Any], Any]) -> Any:
        """Return what `read` makes of an element; None where it is missing, or left out."""
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
            raise InputError(
                Kind.FORMAT, Given("data.path", self.path), f"{name}: {reason(error)}"
            ) from error

    def matrix(self, name: str, shape: tuple[int, int], element: Any) -> Any:
        """Read values (n_cells, n_genes), sparse or dense as they are stored; None for none."""
        if element.attrs.get("encoding-type") == "null" or getattr(element, "shape", 0) is None:
            return None
        stored_shape, dtype = header(element)
        check_numbers(dtype)
        if stored_shape != shape:
            theirs = " x ".join(map(str, stored_shape)) or "one number"
            raise ValueError(f"is {theirs}, and there are {shape[0]} cells x {shape[1]} genes")
        is_needed = name in self.needed
        if is_needed and is_group(element):
            self.kept = COPIES * float(element["data"].shape[0])
            check_memory(measure(element) + self.kept, self.path)
        values = read_elem(element)
        if issparse(values):
            check_sparse(values)
        elif is_needed:
            self.kept = COPIES * float(np.count_nonzero(values))
            check_memory(self.kept, self.path)
        return values

    def table(self, name: str, element: Any) -> pd.DataFrame:
        """Read a table by its columns; those that cannot be read are left out if not needed."""
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
        if name == "obs" and (whole := whole_of(self.file)) is not None:
            table = self._with_common(table, whole)
        return table if key == "_index" else table.rename_axis(key)

    def _with_common(self, obs: pd.DataFrame, whole: Any) -> pd.DataFrame:
        """Add the columns of obs that a MuData has beside those of its modalities.

        What the modalities have may be repeated there, as `rna:total`.
        """
        reader = Reader(whole, self.path, self.needed, self.say)
        common = reader.element("obs", partial(reader.table, "obs"))
        if common is None:
            return obs
        repeated = tuple(f"{modality}:" for modality in modalities(whole) or ())
        new = [name for name in common if not name.startswith(repeated) and name not in obs]
        if new and not common.index.is_unique:
            self.say(f"{self.path.name}: obs of all modalities is left out: names occur twice")
            return obs
        return obs.join(common[new]) if new else obs


def _read_oldest(file: Any, path: Path) -> anndata.AnnData:
    """Read cells as anndata wrote them before version 0.7: all, as the parts are interwoven."""
    check_memory(measure(file), path)
    cells = anndata.read_zarr(file) if path.is_dir() else anndata.read_h5ad(path)
    raw = [] if cells.raw is None else [cells.raw.X]
    for values in (cells.X, *cells.layers.values(), *cells.obsm.values(), *raw):
        if issparse(values):
            check_sparse(values)
    cells.obs_names, cells.var_names = _names(cells.obs_names), _names(cells.var_names)
    return cells


def _names(index: Any) -> pd.Index:
    """Return names of cells or genes as text, whatever they were stored as.

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
    """Read a column of a table of n rows."""
    values = read_elem(element)
    if np.ndim(values) != 1 or len(values) != n:
        raise ValueError(f"has the shape {np.shape(values)}, and there are {n} rows")
    return values


def _put(part: Any, name: str, element: Any) -> None:
    """Read an element into obsm, uns, ..., which refuse what does not fit to the cells."""
    values = read_elem(element)
    if issparse(values):
        check_sparse(values)
    part[name] = values
