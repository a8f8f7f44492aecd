"""Writes h5ad files of as many cells as asked for, a thousand at a time: `data=synthetic`'s."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem

from scvae_cli.data.source_synthetic import draw

N_GENES, N_TYPES = 5000, 12
UMIS = 0.124  # molecules of a cell for each gene, so that a cell has a tenth of the genes
BLOCK = 1000


def write(path: Path, n_cells: int, n_genes: int = N_GENES) -> None:
    """Write counts (n_cells, n_genes) by cells, with the type of each in `cell_type`."""
    rng = np.random.default_rng(0)
    rates = np.tile(np.exp(rng.normal(0.0, 1.0, n_genes)), (N_TYPES, 1))
    for rate in rates:
        rate[rng.choice(n_genes, n_genes // 20, replace=False)] *= 8
    edges = np.cumsum(rates / rates.sum(axis=1, keepdims=True), axis=1)
    types = rng.permutation(np.arange(n_cells) % N_TYPES)
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        names = [f"cell_{i}" for i in range(n_cells)]
        kinds = pd.Categorical.from_codes(types, [f"type_{i}" for i in range(N_TYPES)])
        write_elem(file, "obs", pd.DataFrame({"cell_type": kinds}, index=names))
        write_elem(file, "var", pd.DataFrame(index=[f"gene_{i}" for i in range(n_genes)]))
        x = file.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        x.attrs["shape"] = (n_cells, n_genes)
        packed = {"maxshape": (None,), "chunks": (2**18,), "compression": "lzf"}
        data = x.create_dataset("data", (0,), "f4", **packed)
        indices = x.create_dataset("indices", (0,), "i4", **packed)
        ends = [np.zeros(1, np.int64)]
        for start in range(0, n_cells, BLOCK):
            some = types[start : start + BLOCK]
            means = UMIS * n_genes * np.exp(rng.normal(0.0, 0.3, len(some)))
            sizes = np.maximum(1, rng.poisson(means))
            counts = draw(rng, edges, some, sizes)
            n = data.shape[0]
            for stored, values in ((data, counts.data), (indices, counts.indices)):
                stored.resize((n + counts.nnz,))
                stored[n:] = values
            ends.append(n + counts.indptr[1:].astype(np.int64))
        x.create_dataset("indptr", data=np.concatenate(ends))
