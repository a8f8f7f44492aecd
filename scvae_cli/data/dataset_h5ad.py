"""Writes data sets as h5ad: for scanpy, and to read them back."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_array, csr_matrix

from scvae_cli.atomic import replacing
from scvae_cli.data.dataset import Dataset, Recipe, labelled


def annotated(
    dataset: Dataset,
    clusters: Mapping[str, Any],
    spaces: Mapping[str, np.ndarray],
    provenance: Mapping[str, Any],
) -> anndata.AnnData:
    """Return a data set and the results about it, as scanpy works with them.

    Args:
        dataset: the cells.
        clusters: clusters (n_cells,) by name, some of which may be missing.
        spaces: coordinates (n_cells, any) by name, for `obsm`.
        provenance: for `uns["scvae"]`; what is not text becomes JSON.
    """
    obs = pd.DataFrame({"cell_type": dataset.types})
    obs.loc[dataset.labels < 0, "cell_type"] = None  # as scanpy has it
    if dataset.kept is not None:
        obs = obs.join(dataset.kept)
    for name, numbers in clusters.items():  # scanpy plots categories of text
        # Objects, as not every anndata writes categories of pandas' own strings.
        obs[name] = pd.Series(numbers).astype("Int64").astype("string").astype(object)
    texts = [name for name in obs if not pd.api.types.is_numeric_dtype(obs[name])]
    obs = obs.astype(dict.fromkeys(texts, "category")).set_axis(dataset.cells)
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


def write_h5ad(
    cells: anndata.AnnData, path: Path, add: Callable[[Path], None] = lambda path: None
) -> None:
    """Write a file, whole or not at all; `add` adds to it before it has its name."""
    with replacing(path) as temporary:
        cells.write_h5ad(temporary)
        add(temporary)


def save(dataset: Dataset, path: Path) -> None:
    """Write a data set from counts as h5ad, whole or not at all, with its fingerprint."""
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
    """Read what `save` wrote; return None where it is missing, or not what was saved."""
    with suppress(Exception):  # a damaged h5ad raises all kinds; the cells are prepared again
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
