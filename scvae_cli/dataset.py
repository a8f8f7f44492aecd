"""What every source of cells ends in, and its form on disk."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_array, csr_matrix

UNLABELLED = "unlabelled"  # the one type of cells whose types are not known


@dataclass(frozen=True, eq=False)
class Dataset:
    """Cells, as a model sees them, with what is known of them.

    Attributes:
        name: what to call it.
        x: (n_cells, n_genes) float32 values; sparse unless they were scaled.
        labels: (n_cells,) index of each cell's type in `cell_types`.
        cell_types: names of the types; `UNLABELLED` alone where they are not known.
        cells: (n_cells,) names (barcodes), no two alike.
        genes: (n_genes,) names.
    """

    name: str
    x: csr_array | np.ndarray
    labels: np.ndarray
    cell_types: tuple[str, ...]
    cells: np.ndarray
    genes: np.ndarray

    def __post_init__(self) -> None:
        values = self.x.data if isinstance(self.x, csr_array) else self.x
        assert values.dtype == np.float32, values.dtype
        assert np.isfinite(values).all(), "values that are not finite"
        assert self.x.shape == (len(self.cells), len(self.genes)), self.x.shape
        assert len(self.labels) == self.n_cells, len(self.labels)
        assert len(np.unique(self.cells)) == self.n_cells, "two cells of one name"
        assert np.array_equal(np.unique(self.labels), np.arange(len(self.cell_types)))

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

    def fingerprint(self) -> str:
        """Sha256 of all values, names and labels: equal for equal data, on any machine."""
        return self._sha

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
    name: str, x: csr_array, types: np.ndarray, cells: np.ndarray, genes: np.ndarray
) -> Dataset:
    """A data set whose cells have the types `types` (n_cells,) by name; see `Dataset`."""
    cell_types, labels = np.unique(types.astype(str), return_inverse=True)
    return Dataset(
        name, x, labels, tuple(map(str, cell_types)), cells.astype(str), genes.astype(str)
    )


def save(dataset: Dataset, path: Path) -> None:
    """Writes a sparse data set as h5ad, whole or not at all, with its fingerprint."""
    names = np.array(dataset.cell_types)[dataset.labels]
    annotated = anndata.AnnData(
        csr_matrix(dataset.x),
        obs=pd.DataFrame({"cell_type": pd.Categorical(names)}, index=dataset.cells),
        var=pd.DataFrame(index=dataset.genes),
        uns={"fingerprint": dataset.fingerprint(), "name": dataset.name},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
        annotated.write_h5ad(Path(folder) / path.name)
        (Path(folder) / path.name).replace(path)


def restore(path: Path) -> Dataset | None:
    """Reads what `save` wrote; None where there is none, or not what was saved."""
    with suppress(Exception):  # a damaged h5ad raises all kinds; it is built anew
        annotated = anndata.read_h5ad(path)
        dataset = labelled(
            str(annotated.uns["name"]),
            csr_array(annotated.X),
            annotated.obs["cell_type"].to_numpy(dtype=str),
            annotated.obs_names.to_numpy(),
            annotated.var_names.to_numpy(),
        )
        if dataset.fingerprint() == annotated.uns["fingerprint"]:
            return dataset
    return None
