"""What every source of cells ends in, and its form on disk."""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_array, csr_matrix

from scvae_cli.atomic import replacing
from scvae_cli.errors import InputError
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


@dataclass(frozen=True, eq=False)
class Dataset:
    """Cells, as a model sees them, with what is known of them.

    Attributes:
        name: what to call it.
        x: (n_cells, n_genes) float32 values; sparse unless they were scaled.
        labels: (n_cells,) index of each cell's type in `cell_types`; -1 of cells without one,
            where others have one.
        cell_types: names of the types; `UNLABELLED` alone where they are not known.
        cells: (n_cells,) names (barcodes), no two alike.
        genes: (n_genes,) names.
        recipe: what was done to get x.
    """

    name: str
    x: csr_array | np.ndarray
    labels: np.ndarray
    cell_types: tuple[str, ...]
    cells: np.ndarray
    genes: np.ndarray
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        values = self.x.data if isinstance(self.x, csr_array) else self.x
        assert values.dtype == np.float32, values.dtype
        assert np.isfinite(values).all(), "values that are not finite"
        assert self.x.shape == (len(self.cells), len(self.genes)), self.x.shape
        assert len(self.labels) == self.n_cells, len(self.labels)
        assert len(np.unique(self.cells)) == self.n_cells, "two cells of one name"
        known = self.labels[self.labels >= 0]
        assert np.array_equal(np.unique(known), np.arange(len(self.cell_types)))

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(self.x.shape[0])

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return int(self.x.shape[1])

    @property
    def is_labelled(self) -> bool:
        """Whether there are types to compare clusters with."""
        return len(self.cell_types) > 1

    @property
    def n_unlabelled(self) -> int:
        """How many cells have no type, where others have one."""
        return int((self.labels < 0).sum())

    @property
    def groups(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """Groups (n_cells,) to show and their names: the types, then cells without one."""
        if not self.n_unlabelled:
            return self.labels, self.cell_types
        last = len(self.cell_types)
        return np.where(self.labels < 0, last, self.labels), (*self.cell_types, UNLABELLED)

    @property
    def types(self) -> np.ndarray:
        """(n_cells,) name of each cell's type, or `UNLABELLED`."""
        groups, names = self.groups
        types: np.ndarray = np.array(names)[groups]
        return types

    def counts(self) -> csr_array | None:
        """(n_cells, n_genes) float32 counts that x comes from; None if none, or not whole."""
        totals, target_sum = self.recipe.totals, self.recipe.target_sum
        if totals is None or target_sum is None or not isinstance(self.x, csr_array):
            return None
        if not self.recipe.whole:
            return None
        scale = np.repeat(totals / target_sum, np.diff(self.x.indptr))
        counts = np.rint(np.expm1(self.x.data, dtype=np.float64) * scale).astype(np.float32)
        return csr_array((counts, self.x.indices, self.x.indptr), shape=self.x.shape)

    def fingerprint(self) -> str:
        """Sha256 of all values, names and labels: equal for equal data, on any machine."""
        return self._sha

    def gene_table(self) -> pd.DataFrame:
        """What other cells have to have, a row for each gene that counts in a cell's total.

        Columns: gene, id (where known), used (whether the model gets it), mean and sd (of scaled
        values, where it is used).
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
        x = self.x
        parts = (x.indptr, x.indices, x.data) if isinstance(x, csr_array) else (x,)
        for part in (*parts, self.labels):
            kind = "<f4" if part.dtype == np.float32 else "<i8"
            flat = part.ravel()
            for i in range(0, len(flat), 2**20):  # in pieces: a copy of all would take gigabytes
                sha.update(np.ascontiguousarray(flat[i : i + 2**20], dtype=kind).data)
        for names in (self.cells, self.genes, self.cell_types):
            sha.update("\n".join(map(str, names)).encode() + b"\0")
        return sha.hexdigest()


def labelled(
    name: str,
    x: csr_array,
    types: np.ndarray,
    cells: np.ndarray,
    genes: np.ndarray,
    recipe: Recipe,
) -> Dataset:
    """A data set whose cells have the types `types` (n_cells,) by name; see `Dataset`.

    Raises:
        InputError: a name cannot be written.
    """
    types = types.astype(str)
    for kind, names_of in (("cell", cells), ("gene", genes), ("cell type", types)):
        _check_names(kind, names_of)
    known = types != UNLABELLED
    if not known.any():
        known[:] = True
    labels = np.full(len(types), -1)
    cell_types, labels[known] = np.unique(types[known], return_inverse=True)
    names = tuple(map(str, cell_types))
    return Dataset(name, x, labels, names, cells.astype(str), genes.astype(str), recipe)


def _check_names(kind: str, names: np.ndarray) -> None:
    """Refuses what neither csv nor h5ad can hold.

    Raises:
        InputError: a name has one.
    """
    for name in map(str, names):
        if UNWRITABLE.search(name):
            raise InputError(f"{kind} {name!r}: cannot be written to csv and h5ad; rename it")


def annotated(
    dataset: Dataset,
    clusters: Mapping[str, Any],
    spaces: Mapping[str, np.ndarray],
    provenance: Mapping[str, Any],
) -> anndata.AnnData:
    """A data set and what was found in it, as scanpy works with it.

    Args:
        dataset: the cells.
        clusters: clusters (n_cells,) by name, some of which may be missing.
        spaces: coordinates (n_cells, any) by name, for `obsm`.
        provenance: for `uns["scvae"]`; what is not text becomes JSON.
    """
    obs = pd.DataFrame({"cell_type": dataset.types})
    obs.loc[dataset.labels < 0, "cell_type"] = None  # as scanpy has it
    for name, numbers in clusters.items():  # scanpy plots categories of text
        obs[name] = pd.Series(numbers).astype("Int64").astype("string")
    obs = obs.astype("category").set_axis(dataset.cells)
    genes = dataset.gene_table().set_index("gene").rename_axis(None)
    return anndata.AnnData(
        csr_matrix(dataset.x) if isinstance(dataset.x, csr_array) else dataset.x,
        obs=obs,
        var=genes.loc[dataset.genes].drop(columns="used"),
        obsm=dict(spaces),
        uns={
            "scvae": {
                key: value if isinstance(value, str) else json.dumps(value)
                for key, value in provenance.items()
            }
        },
    )


def write_h5ad(cells: anndata.AnnData, path: Path) -> None:
    """Writes a file, whole or not at all."""
    with replacing(path) as temporary:
        cells.write_h5ad(temporary)


def save(dataset: Dataset, path: Path) -> None:
    """Writes a data set from counts as h5ad, whole or not at all, with its fingerprint."""
    names = np.array(dataset.cell_types)[dataset.labels]
    cells = anndata.AnnData(
        csr_matrix(dataset.x),
        obs=pd.DataFrame(
            {"cell_type": pd.Categorical(names), "total": dataset.recipe.totals},
            index=dataset.cells,
        ),
        var=pd.DataFrame({"id": dataset.recipe.ids}, index=dataset.genes),
        uns={
            "fingerprint": dataset.fingerprint(),
            "name": dataset.name,
            "target_sum": dataset.recipe.target_sum,
        },
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_h5ad(cells, path)


def restore(path: Path) -> Dataset | None:
    """Reads what `save` wrote; None where there is none, or not what was saved."""
    with suppress(Exception):  # a damaged h5ad raises all kinds; it is built anew
        cells = anndata.read_h5ad(path)
        dataset = labelled(
            str(cells.uns["name"]),
            csr_array(cells.X),
            cells.obs["cell_type"].to_numpy(dtype=str),
            cells.obs_names.to_numpy(),
            cells.var_names.to_numpy(),
            Recipe(
                "counts",
                float(cells.uns["target_sum"]),
                cells.obs["total"].to_numpy(),
                ids=cells.var["id"].to_numpy(dtype=str),
            ),
        )
        if dataset.fingerprint() == cells.uns["fingerprint"]:
            return dataset
    return None
