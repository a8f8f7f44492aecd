"""The source `pbmc3k`: 10x Genomics' 2,700 PBMCs from their raw counts.

What was prepared is kept in the user's cache, under a name made of all that it depends on.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anndata
import numpy as np
from scipy.sparse import csr_array, csr_matrix

from scvae_cli import __version__
from scvae_cli.data import tenx
from scvae_cli.data.announcer import Announcer
from scvae_cli.data.dataset import Dataset, Recipe, labelled
from scvae_cli.data.dataset_h5ad import restore, save
from scvae_cli.data.labels import mark_unlabelled, read_labels
from scvae_cli.errors import Given, InputError, Kind

log = logging.getLogger("scvae")

LAYOUT = 3  # of the file in the cache; a file of another layout is not read


def pbmc3k(
    *,
    announcer: Announcer,
    dir: str | None,  # noqa: A002
    labels: str | None,
    genes: int | None,
    genes_by: str,
    target_sum: float,
    qc: Mapping[str, float],
    clusters: Mapping[str, float],
) -> Dataset:
    """Get the cells that Seurat's quality control keeps, with types as in Seurat's tutorial.

    Args:
        announcer: called while the counts are downloaded, and about cells without a label.
        dir: see `tenx.find`.
        labels: a csv file with a type for each barcode; None to find types in the counts.
        genes: how many genes to keep, or None for all.
        genes_by: which ones; see `preprocess.chosen_genes`.
        target_sum: see `preprocess.log_normalize`.
        qc: see `preprocess.quality_control`.
        clusters: see `celltypes.find_clusters`.

    Raises:
        InputError: the counts or the labels cannot be had.
    """
    source = tenx.find(dir, on_download=announcer.on_download)
    dataset = _prepared(source, target_sum, qc, clusters)
    if labels is not None:
        dataset = _with_labels(dataset, labels, announcer.say)
    return dataset if genes is None else _chosen(dataset, genes, genes_by)


def _prepared(
    source: Path, target_sum: float, qc: Mapping[str, Any], clusters: Mapping[str, Any]
) -> Dataset:
    """Return the prepared cells from the cache, or prepare them and put them there."""
    versions = [__version__, version("scanpy")]
    recipe = [LAYOUT, versions, tenx.SHA256, target_sum, dict(qc), dict(clusters)]
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    kept = tenx.cache_dir() / f"pbmc3k-{key}.h5ad"
    dataset = restore(kept)
    if dataset is None:
        dataset = _prepare(source, target_sum, qc, clusters)
        try:
            save(dataset, kept)
        except OSError as error:
            log.warning("cannot keep the prepared cells in %s: %s", kept, error)
    return dataset


def _prepare(
    source: Path, target_sum: float, qc: Mapping[str, Any], clusters: Mapping[str, Any]
) -> Dataset:
    """Filter and log-normalise the counts, and find cell types in them.

    Raises:
        InputError: the counts are not 10x's, or too few of them are left.
    """
    from scvae_cli.data.celltypes import find_clusters, name_clusters
    from scvae_cli.data.preprocess import log_normalize, quality_control

    counts = quality_control(tenx.read(source), **qc)
    if min(counts.shape) <= max(clusters["n_neighbors"], clusters["n_components"]):
        raise InputError(
            Kind.EMPTY,
            "data.qc",
            f"leaves {counts.n_obs} cells x {counts.n_vars} genes, too few for types",
            "widen its limits",
        )
    x = log_normalize(csr_array(counts.X), target_sum=target_sum)
    genes = counts.var_names.to_numpy(dtype=str)
    cluster = find_clusters(counts, x, **clusters)
    types = np.array(name_clusters(x, genes, cluster))[cluster]
    ids = counts.var["gene_ids"].to_numpy(dtype=str)
    recipe = Recipe("counts", target_sum, np.ravel(counts.X.sum(axis=1)), ids=ids)
    return labelled("pbmc3k", x, types, counts.obs_names.to_numpy(), genes, recipe)


def _with_labels(dataset: Dataset, path: str, say: Callable[[str], None]) -> Dataset:
    """Return the same cells with the types of a csv file."""
    types = read_labels(path, dataset.cells, partly=True)
    types = mark_unlabelled(types, dataset.cells, Given("data.labels", path), say=say)
    assert isinstance(dataset.x, csr_array)
    parts = dataset.cells, dataset.genes, dataset.recipe
    return labelled(dataset.name, dataset.x, types, *parts)


def _chosen(dataset: Dataset, n_genes: int, by: str) -> Dataset:
    """Return the same cells with only the genes that tell most."""
    from scvae_cli.data.preprocess import chosen_genes

    if n_genes >= dataset.n_genes:
        raise InputError(
            Kind.VALUE,
            Given("data.genes", n_genes),
            f"must be less than the number of genes, which is {dataset.n_genes}",
        )
    kept = chosen_genes(anndata.AnnData(csr_matrix(dataset.counts())), n_genes, by=by)
    recipe = replace(dataset.recipe, counted=dataset.genes)
    return replace(
        dataset, x=csr_array(dataset.x[:, kept]), genes=dataset.genes[kept], recipe=recipe
    )
