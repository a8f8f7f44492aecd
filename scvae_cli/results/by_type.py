"""How cell types and clusters of a run meet: counts, and where each type is found."""

import numpy as np
import pandas as pd

from scvae_cli.visible import visible

Tables = tuple[pd.DataFrame, pd.DataFrame]


def types_and_clusters(cells: pd.DataFrame) -> Tables | None:
    """Return a table that says of each type where it is, and the cells of each type by cluster.

    Types stand from the most to the least cells, clusters so that those of one type follow each
    other. Only cells count that have both.

    Args:
        cells: cells.csv of a run.

    Returns:
        `cell type, cells, cluster` (that holds most of them), `% of type` (that is in it) and
        `% of cluster` (that is the type); and counts, a row a type and a column a cluster. None
        where no cell has a type.
    """
    known = cells.dropna(subset=["cell_type", "cluster"])
    known = known[known["cell_type"] != ""]
    if known.empty:
        return None
    types, type_names = pd.factorize(known["cell_type"].map(visible), sort=True)
    clusters, cluster_names = pd.factorize(known["cluster"], sort=True)
    counts = np.zeros((len(type_names), len(cluster_names)), dtype=int)
    np.add.at(counts, (types, clusters), 1)
    order = np.argsort(-counts.sum(1), kind="stable")
    counts, type_names = counts[order], type_names[order]
    names = np.array([str(name).removesuffix(".0") for name in cluster_names])
    home = counts.argmax(1)
    most = counts.max(1)
    where = pd.DataFrame(
        {
            "cell type": type_names,
            "cells": counts.sum(1),
            "cluster": names[home],
            "% of type": np.round(100 * most / counts.sum(1)).astype(int),
            "% of cluster": np.round(100 * most / counts.sum(0)[home]).astype(int),
        }
    )
    columns = np.argsort(counts.argmax(0), kind="stable")
    table = pd.DataFrame(counts[:, columns], columns=list(names[columns]))
    table.insert(0, "cell type", list(type_names))
    return where, table
