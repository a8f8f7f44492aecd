"""Copies into cells.h5ad what else the input has: obs, var, layers, obsm, uns, raw and the like.

An element at a time is read, cut to the cells and genes of the run, and written: nothing of it is
in memory while a model trains, and one element while this goes on.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem, write_elem
from scipy.sparse import issparse

from scvae_cli.data.annotated import Reader
from scvae_cli.data.dataset import UNWRITABLE
from scvae_cli.data.headers import check_sparse, is_group
from scvae_cli.data.stores import opened, reason
from scvae_cli.visible import visible

PREFIX = "input_"  # of what has the name of something that scvae writes
# Which axes of an element are cells and genes.
AXES = {"obsm": "c", "obsp": "cc", "varm": "g", "varp": "gg", "uns": ""}


class Selected(NamedTuple):
    """What a run took of its input.

    Attributes:
        cells: (n_cells,) names.
        genes: (n_genes,) names.
        layer: the layer that it read, if not X.
        raw: whether it read raw.
        gene_names: the column of var with the names, if not its index.
        logged: whether it took the values as they are.
        kept: columns of obs that the target has too, perhaps as text; they become the input's.
    """

    cells: np.ndarray
    genes: np.ndarray
    layer: str | None
    raw: bool
    gene_names: str | None
    logged: bool
    kept: Collection[str]


class ChangedError(Exception):
    """The input is not what the run read."""


def copy_parts(
    source: Path, target: Path, selected: Selected, say: Callable[[str], None]
) -> Counter[str]:
    """Copy all of an h5ad or zarr that scvae has not written to an h5ad itself.

    What has the name of something that is there gets `PREFIX`.

    Args:
        source: what the run has read.
        target: the h5ad of these cells and genes; it is added to.
        selected: what the run took.
        say: called with a line for each element that is left out.

    Returns:
        The number of elements that were copied, by part.

    Raises:
        ChangedError: the source has not the cells and genes any more; nothing was written.
        InputError: it leads elsewhere, or cannot be read.
        OSError: the target cannot be written.
    """
    with opened(source) as file, h5py.File(target, "r+") as made:
        if not is_group(file.get("obs")) or not is_group(file.get("var")) or "raw.X" in file:
            say(f"{source.name}: was written by an anndata before 0.7; its parts are not copied")
            return Counter()
        copier = _Copier(file, source, made, selected, say)
        copier.tables()
        copier.matrices()
        copier.others()
        return copier.copied


class _Copier:
    """Copies the elements of one file."""

    def __init__(
        self, file: Any, path: Path, made: h5py.File, selected: Selected,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.file, self.path, self.made, self.selected, self.say = file, path, made, selected, say
        self.reader = Reader(file, path, ["raw/var"] if selected.raw else [], say)
        self.copied: Counter[str] = Counter()
        self.renamed: dict[str, str] = {}  # columns of obs
        self.obs, self.var = (self._table(name) for name in ("obs", "var"))
        self.own = self._table("raw/var") if selected.raw else self.var
        names = self.own.index
        if selected.gene_names is not None:
            if selected.gene_names not in self.own:
                raise ChangedError
            names = pd.Index(self.own[selected.gene_names].astype(str))
        self.rows = _positions(self.obs.index, selected.cells)
        self.own_genes = _positions(names, selected.genes)
        # In var, of which X and layers are; raw may have genes that var has not.
        taken = self.own.index[self.own_genes]
        has_all = self.var.index.is_unique and taken.isin(self.var.index).all()
        self.genes = _positions(self.var.index, taken) if has_all else None

    def tables(self) -> None:
        """Copy the columns of obs and var."""
        for part, table, places in (
            ("obs", self.obs, self.rows), ("var", self.own, self.own_genes),
        ):  # fmt: skip
            for name, column in table.iloc[places].items():
                values = column.astype("category") if column.dtype == "string" else column
                is_numpy = isinstance(values.dtype, np.dtype)
                values = values.to_numpy() if is_numpy else values.array
                if part == "obs" and name in self.selected.kept:
                    self._replace(str(name), values)
                elif (new := self._put(part, str(name), values)) is not None:
                    order = [*self.made[part].attrs["column-order"], new]
                    self.made[part].attrs["column-order"] = np.array(order, dtype=object)
                    if part == "obs" and new != name:
                        self.renamed[str(name)] = new

    def _replace(self, name: str, values: Any) -> None:
        """Write a column of obs in place of the one that is there."""
        obs = self.made["obs"]
        aside = name
        while aside in obs:
            aside = PREFIX + aside
        obs.move(name, aside)
        if self._put("obs", name, values) is None:
            obs.move(aside, name)
        else:
            del obs[aside]

    def matrices(self) -> None:
        """Copy X, where the run changed it or took others, layers and raw."""
        if self.genes is None:
            self.say(
                f"{self.path.name}: X and layers are not copied: raw has genes that var lacks"
            )
        else:
            shape = len(self.obs), len(self.var)
            names = [f"layers/{name}" for name in self._names("layers")]
            taken = self.selected.layer is None and not self.selected.raw
            for name in names if taken and self.selected.logged else ["X", *names]:
                new = f"{PREFIX}X" if name == "X" else name.removeprefix("layers/")
                self._matrix(name, shape, [self.rows, self.genes], ("layers", new))
        if not is_group(self.file.get("raw")) or not {"X", "var"} <= {*self.file["raw"]}:
            return
        var = self.reader.element("raw/var", partial(self.reader.table, "raw/var"))
        if var is None:
            return
        var = var.rename(columns={"_index": f"{PREFIX}index"})
        raw = self.made.require_group("raw")
        raw.attrs["encoding-type"], raw.attrs["encoding-version"] = "raw", "0.1.0"
        if not (
            self._matrix("raw/X", (len(self.obs), len(var)), [self.rows], ("raw", "X"))
            and self._put("raw", "var", var)
        ):
            del self.made["raw"]

    def _matrix(
        self, name: str, shape: tuple[int, int], places: Sequence[Any], to: tuple[str, str]
    ) -> str | None:
        """Copy values of this shape, cut, to a part and a name; return it, None if left out."""
        values = self.reader.element(
            name, lambda element: _cut(places, self.reader.matrix(name, shape, element))
        )
        return None if values is None else self._put(*to, values, self._compression(name))

    def others(self) -> None:
        """Copy obsm, obsp, varm, varp and uns."""
        places = {"c": self.rows, "g": self.genes}
        sizes = {"c": len(self.obs), "g": len(self.var)}
        for part, axes in AXES.items():
            if any(places[axis] is None for axis in axes):
                continue
            for name in self._names(part):
                cuts = [places[axis] for axis in axes]
                shape = tuple(sizes[axis] for axis in axes)
                values = self.reader.element(f"{part}/{name}", partial(_other, shape, cuts))
                if values is not None:
                    column = name.removesuffix("_colors") if part == "uns" else name
                    known = self.renamed.get(column) if column != name else None
                    self._put(part, name if known is None else f"{known}_colors", values)

    def _table(self, name: str) -> pd.DataFrame:
        table: pd.DataFrame | None = self.reader.element(name, partial(self.reader.table, name))
        if table is None:
            raise ChangedError
        return table

    def _names(self, part: str) -> list[str]:
        return list(self.file[part]) if is_group(self.file.get(part)) else []

    def _compression(self, name: str) -> dict[str, Any]:
        """Return how to write a matrix: packed where it was packed, so that it stays as small."""
        element = self.file[name]
        data = element["data"] if is_group(element) else element
        packed = getattr(data, "compression", "lzf")  # zarr packs all
        return {} if packed is None else {"compression": packed if packed == "gzip" else "lzf"}

    def _put(
        self, part: str, name: str, values: Any, options: Mapping[str, Any] = MappingProxyType({})
    ) -> str | None:
        """Write an element under a name that is free, and return that; None if left out."""
        group, new = self.made[part], name
        while new in group:
            new = PREFIX + new.lstrip("_")
        try:
            if "/" in new or UNWRITABLE.search(new):
                raise ValueError("no h5ad can hold this name")
            write_elem(group, new, values, dataset_kwargs=options)
        except OSError:  # of a full disk, say
            raise
        except Exception as error:  # anndata raises all kinds
            if new in group:
                del group[new]
            self.say(f"{self.path.name}: {part}/{visible(name)} is left out: {reason(error)}")
            return None
        self.copied[part] += 1
        return new


def _positions(names: pd.Index, wanted: Any) -> np.ndarray:
    """Return where each of the wanted names is.

    Raises:
        ChangedError: one is not there.
    """
    places: np.ndarray = names.get_indexer(pd.Index(wanted)) if names.is_unique else np.array([-1])
    if (places < 0).any():
        raise ChangedError
    return places


def _cut(places: Sequence[np.ndarray | None], values: Any) -> Any:
    """Return the rows at `places[0]`, of which the columns at `places[1]`, and so on."""
    for axis, at in enumerate(places):
        if at is None or np.array_equal(at, np.arange(values.shape[axis])):
            continue  # all of it, in order
        if isinstance(values, pd.DataFrame):
            values = values.iloc[at]
        else:
            values = values[at] if axis == 0 else values[:, at]
    return values


def _other(shape: tuple[int, ...], places: Sequence[np.ndarray | None], element: Any) -> Any:
    """Read an element of obsm, obsp, varm, varp or uns, and cut it.

    Raises:
        ValueError: it is not of this shape, as far as that goes.
    """
    values = read_elem(element)
    if issparse(values):
        check_sparse(values)
    if shape and np.shape(values)[: len(shape)] != shape:
        raise ValueError(f"has the shape {np.shape(values)}, and there are {shape[0]} rows")
    return _cut(places, values)
