"""Where cells come from. Every source ends in a `Dataset`.

Importing scanpy takes a second, so that only what needs it does.
"""

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anndata
import numpy as np
from scipy.sparse import csr_array, csr_matrix, vstack

from scvae_cli import __version__
from scvae_cli.data import tenx
from scvae_cli.data.dataset import Dataset, Recipe, labelled, restore, save
from scvae_cli.errors import InputError
from scvae_cli.visible import UNLABELLED

log = logging.getLogger("scvae")

KEPT = 2  # data sets in memory
LAYOUT = 3  # of what is kept on disk; with another, nothing kept before is found
_LOADED: dict[str, tuple[Dataset, list[str]]] = {}  # and what may be wrong with each


def load(
    *,
    name: str,
    scale: float | None,
    on_download: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda text: None,
    warn: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> Dataset:
    """Loads or simulates cells; those asked for last are kept for the next run of a sweep.

    Args:
        name: a key of `SOURCES`.
        scale: clip of the z-scores, or None to leave the log-normalised values alone.
        on_download: called with bytes done and bytes in all, by sources that download.
        say: told what was found out about a file and not given.
        warn: told what may not be as it was taken to be, as often as the cells are asked for.
        options: arguments of the source.

    Returns:
        The cells, ready for a model.

    Raises:
        InputError: the source cannot be had, or not like this.
    """
    key = json.dumps([name, scale, options, *_states(options)], sort_keys=True)
    if key not in _LOADED:
        if name == "pbmc3k":
            options["on_download"] = on_download
        doubts: list[str] = []
        if name in ("file", "pbmc3k"):
            options["say"] = say
        if name == "file":
            options["warn"] = doubts.append
        dataset = SOURCES[name](**options)
        while len(_LOADED) >= KEPT:
            _LOADED.pop(next(iter(_LOADED)))
        _LOADED[key] = (dataset if scale is None else _scaled(dataset, scale)), doubts
    dataset, doubts = _LOADED[key]
    for text in doubts:
        warn(text)
    return dataset


def _states(options: Mapping[str, Any]) -> list[list[int]]:
    """Size and time of the files that options name, which may change between two runs."""
    named = [Path(options[key]) for key in ("path", "labels") if options.get(key)]
    stats = [path.stat() for path in named if path.exists()]
    return [[stat.st_size, stat.st_mtime_ns] for stat in stats]


def pbmc68k() -> Dataset:
    """700 PBMCs, 765 genes, ten types by correlation with sorted cells.

    Source: Zheng et al., Nature Communications 8, 14049 (2017), as reduced and shipped by scanpy
    (`scanpy.datasets.pbmc68k_reduced`). Its `X` is scaled; the log-normalised values are in `raw`.
    """
    scanpy = find_spec("scanpy")
    assert scanpy is not None
    assert scanpy.origin is not None
    file = Path(scanpy.origin).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"
    with warnings.catch_warnings():  # the file is of an older format
        warnings.simplefilter("ignore")
        annotated = anndata.read_h5ad(file)
    types = annotated.obs["bulk_labels"].cat.remove_unused_categories()
    x = csr_array(annotated.raw.X, dtype=np.float32)
    x.sort_indices()
    return Dataset(
        name="pbmc68k",
        x=x,
        labels=types.cat.codes.to_numpy(dtype=np.int64),
        cell_types=tuple(types.cat.categories),
        cells=annotated.obs_names.to_numpy(dtype=str),
        genes=annotated.raw.var_names.to_numpy(dtype=str),
    )


def pbmc3k(
    *,
    dir: str | None,  # noqa: A002
    labels: str | None,
    genes: int | None,
    target_sum: float,
    qc: Mapping[str, float],
    clusters: Mapping[str, float],
    on_download: Callable[[int, int], None],
    say: Callable[[str], None],
) -> Dataset:
    """10x Genomics' 2,700 PBMCs from their raw counts, with types as in Seurat's tutorial.

    What was prepared is kept in the user's cache, under a name made of all that it depends on.

    Args:
        dir: see `tenx.find`.
        labels: a csv file with a type for each barcode; None to find types in the counts.
        genes: how many genes to keep, the most variable ones (Seurat v3), or None for all.
        target_sum: see `preprocess.log_normalize`.
        qc: see `preprocess.quality_control`.
        clusters: see `celltypes.find_clusters`.
        on_download: see `load`.
        say: see `load`.

    Raises:
        InputError: the counts or the labels cannot be had.
    """
    source = tenx.find(dir, on_download=on_download)
    versions = [__version__, version("scanpy")]
    recipe = [LAYOUT, versions, tenx.SHA256, target_sum, dict(qc), dict(clusters)]
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    kept = tenx.cache_dir() / f"pbmc3k-{key}.h5ad"
    dataset = restore(kept)
    if dataset is None:
        dataset = _prepare_pbmc3k(source, target_sum, qc, clusters)
        try:
            save(dataset, kept)
        except OSError as error:
            log.warning("cannot keep the prepared cells in %s: %s", kept, error)
    if labels is not None:
        types = read_labels(labels, dataset.cells, partly=True)
        types = _known(types, (), dataset.cells, f"data.labels={labels}", say)
        parts = dataset.cells, dataset.genes, dataset.recipe
        assert isinstance(dataset.x, csr_array)
        dataset = labelled(dataset.name, dataset.x, types, *parts)
    return dataset if genes is None else _most_variable(dataset, genes)


def synthetic(
    *,
    n_cells: int,
    n_genes: int,
    n_types: int,
    umis: float,
    umis_sd: float,
    gene_sd: float,
    markers: float,
    fold: float,
    seed: int,
    target_sum: float,
) -> Dataset:
    """Simulated counts of cells whose types are known, log-normalised.

    A gene's rate is log-normal; each type raises a random share of the genes. A cell's library is
    log-normal, and its counts are drawn one molecule at a time, so that time and memory go with
    the number of molecules and not with n_cells * n_genes. Cells are spread evenly over types.

    Args:
        n_cells: number of cells.
        n_genes: number of genes.
        n_types: number of types, at most n_cells.
        umis: median number of molecules in a cell.
        umis_sd: standard deviation of the log library size.
        gene_sd: standard deviation of the log rates of genes.
        markers: share of the genes that a type raises.
        fold: by how much.
        seed: of the simulation.
        target_sum: see `preprocess.log_normalize`.

    Raises:
        InputError: there are more types than cells.
    """
    from scvae_cli.data.preprocess import log_normalize

    if n_types > n_cells:
        raise InputError(
            f"data.n_types={n_types}: must be at most data.n_cells, which is {n_cells}"
        )
    rng = np.random.default_rng(seed)
    rates = np.tile(np.exp(rng.normal(0.0, gene_sd, n_genes)), (n_types, 1))
    for rate in rates:
        rate[rng.choice(n_genes, max(1, round(markers * n_genes)), replace=False)] *= fold
    edges = np.cumsum(rates / rates.sum(axis=1, keepdims=True), axis=1)
    labels = rng.permutation(np.arange(n_cells) % n_types)
    sizes = rng.poisson(umis * np.exp(rng.normal(0.0, umis_sd, n_cells)))
    sizes = np.maximum(sizes, 1)  # a cell without a molecule is no cell
    counts = vstack(
        [
            _draw(rng, edges, labels[i : i + 1000], sizes[i : i + 1000])
            for i in range(0, n_cells, 1000)
        ],
        format="csr",
    )
    return Dataset(
        name="synthetic",
        x=log_normalize(counts, target_sum=target_sum),
        labels=labels,
        cell_types=_numbered("type", n_types),
        cells=np.array(_numbered("cell", n_cells)),
        genes=np.array(_numbered("gene", n_genes)),
        recipe=Recipe("counts", target_sum, np.ravel(counts.sum(axis=1))),
    )


def file(
    *,
    path: str,
    label_key: str | None,
    labels: str | None,
    unlabelled: Sequence[str],
    layer: str | None,
    raw: bool,
    gene_names: str | None,
    transpose: bool | None,
    genome: str | None,
    values: str,
    min_genes: int,
    min_cells: int,
    genes: int | None,
    target_sum: float,
    say: Callable[[str], None],
    warn: Callable[[str], None],
) -> Dataset:
    """Cells of one's own, log-normalised if they are not yet.

    Args:
        path: a file or folder; see `files.read`.
        label_key: the column of obs with the types, if any.
        labels: a csv file with a type for each cell, if any.
        unlabelled: what stands for no type, beside nothing at all.
        layer: see `files.select`.
        raw: see `files.select`.
        gene_names: see `files.select`.
        transpose: see `files.read`.
        genome: see `files.read`.
        values: what values are: `counts`, `normalized`, `logged`, or `auto` to look.
        min_genes: a cell is kept that has so many genes.
        min_cells: then a gene is kept that so many cells have.
        genes: how many genes to keep, the most variable ones (Seurat v3), or None for all.
        target_sum: see `preprocess.log_normalize`.
        say: told what was found out and not given.
        warn: told what may not be as it was taken to be.

    Raises:
        InputError: the file cannot be read, or is not what it should be.
    """
    from scvae_cli.data import files
    from scvae_cli.data.preprocess import filter_counts, log_normalize, logarithm, variable_genes
    from scvae_cli.data.values import doubt, recognise

    source = Path(path)
    needed = files.elements(layer=layer, raw=raw, gene_names=gene_names, label_key=label_key)
    found = files.read(source, transpose=transpose, genome=genome, needed=needed, say=say)
    cells = files.select(found, source, layer=layer, raw=raw, gene_names=gene_names)
    del found  # twice the memory of the cells, otherwise
    seen = recognise(cells.X)  # of all genes: totals tell, and genes may be left out below
    cells = filter_counts(cells, min_genes=min_genes, min_cells=min_cells)
    if 0 in cells.shape:
        raise InputError(
            f"data.min_genes={min_genes}, data.min_cells={min_cells}: leave {cells.n_obs} cells x "
            f"{cells.n_vars} genes of {path}"
        )
    if empty := int((cells.X.getnnz(axis=1) == 0).sum()):
        raise InputError(
            f"data.path={path}: {empty} cells have no counts; leave them out with data.min_genes=1"
        )
    if values == "auto":
        values = seen.kind
        scaled = f"brought to {target_sum:,g} and " if seen.total else ""
        done = {"counts": "normalized and logged here", "normalized": f"{scaled}logged here"}
        say(
            f"{source.name}: values are {values}: {seen.why}; "
            f"{done.get(values, 'left as they are')}"
        )
        if text := doubt(seen, values):
            warn(f"{source.name}: {text}")
    if genes is not None and values != "counts":
        raise InputError(
            f"data.genes={genes}: variable genes are found in counts; {path} has {values} values"
        )
    if genes is not None and genes >= cells.n_vars:
        raise InputError(f"data.genes={genes}: there are {cells.n_vars} genes in {path}")
    x = csr_array(cells.X)
    if values == "counts":
        x = log_normalize(x, target_sum=target_sum)
    elif values == "normalized":
        x = logarithm(x, factor=target_sum / seen.total if seen.total else 1.0)
    names = cells.var_names.to_numpy(dtype=str)
    recipe = Recipe(values, counted=names, ids=files.other_names(cells), whole=seen.whole)
    if values == "counts":
        totals = np.ravel(cells.X.sum(axis=1))
        recipe = replace(recipe, target_sum=target_sum, totals=totals)
    elif values == "normalized" and seen.total:
        recipe = replace(recipe, target_sum=target_sum)
    if genes is not None:
        kept = variable_genes(cells, genes)
        x, names = csr_array(x[:, kept]), names[kept]
    if label_key is not None and labels is not None:
        raise InputError(f"data.labels={labels}: give it or data.label_key={label_key}, not both")
    if label_key is not None:
        types = files.labels_of(cells, label_key, source)
    elif labels is not None:
        types = read_labels(labels, cells.obs_names.to_numpy(dtype=str), partly=True)
    else:
        types = np.full(cells.n_obs, UNLABELLED)
    given = f"data.label_key={label_key}" if label_key else f"data.labels={labels}"
    if label_key is not None or labels is not None:
        types = _known(types, unlabelled, cells.obs_names.to_numpy(dtype=str), given, say)
    elif unlabelled:
        raise InputError(
            f"data.unlabelled={','.join(unlabelled)}: of what? give data.label_key or data.labels"
        )
    dataset = labelled(source.name, x, types, cells.obs_names.to_numpy(), names, recipe)
    if not dataset.is_labelled and (label_key or labels):
        raise InputError(f"{given}: all cells have one label, {dataset.cell_types[0]}")
    return dataset


def read_labels(path: str, cells: np.ndarray, *, partly: bool = False) -> np.ndarray:
    """Reads the type of each cell from a table whose first two columns are barcode and type.

    Args:
        path: a csv file; its first line is a header unless it begins with one of the cells.
        cells: (n_cells,) barcodes.
        partly: whether cells may be missing.

    Returns:
        (n_cells,) types as they are written, empty for cells that are not in the table.

    Raises:
        InputError: it is no such table, has a barcode twice, or none of the cells, or not all.
    """
    from scvae_cli.data.tables import other_separator, read_texts

    what = f"data.labels={path}"
    rows = read_texts(Path(path), what)
    if not rows:
        raise InputError(f"{what}: needs two columns, barcode and label; it is empty")
    if short := next((row for row in rows if len(row) < 2), None):
        hint = f" ({other_separator(short, Path(path))})" if short is rows[0] else ""
        raise InputError(f"{what}: needs two columns, barcode and label; has {short[0]!r}{hint}")
    known = set(cells)
    labels = {}
    for barcode, label, *_ in rows if rows[0][0] in known else rows[1:]:
        if barcode in labels:
            raise InputError(f"{what}: barcode {barcode} stands there twice")
        labels[barcode] = label
    missing = [cell for cell in cells if not labels.get(cell)]
    if len(missing) == len(cells) or (missing and not partly):
        theirs = f"; its barcodes are such as {next(iter(labels))}" if labels else ""
        raise InputError(
            f"{what}: no label for {len(missing)} of {len(cells)} cells, such as {missing[0]}"
            + (theirs if len(missing) == len(cells) else "")
        )
    return np.array([labels.get(cell, "") for cell in cells], dtype=object)


SOURCES: dict[str, Callable[..., Dataset]] = {
    "pbmc68k": pbmc68k,
    "pbmc3k": pbmc3k,
    "synthetic": synthetic,
    "file": file,
}


def _known(
    types: np.ndarray,
    unlabelled: Sequence[str],
    cells: np.ndarray,
    given: str,
    say: Callable[[str], None],
) -> np.ndarray:
    """Types (n_cells,), `UNLABELLED` where there is none; says of how many.

    Args:
        types: (n_cells,) texts.
        unlabelled: those that stand for no type, beside no text and `UNLABELLED` itself, which is
            what runs write.
        cells: (n_cells,) names.
        given: the key that names the types.
        say: told how many cells have none.

    Raises:
        InputError: none has a type.
    """
    none = np.isin(types.astype(object), ["", UNLABELLED, *unlabelled])
    if none.all():
        raise InputError(f"{given}: {len(cells)} of {len(cells)} cells have no label")
    for text in unlabelled:
        if text not in types:
            say(f"data.unlabelled={text}: no cell is called so")
    if none.any():
        say(
            f"{none.sum():,} of {len(cells):,} cells have no label, such as {cells[none][0]}; "
            "they are trained on, and left out of the scores"
        )
    return np.where(none, UNLABELLED, types)


def _prepare_pbmc3k(
    source: Path, target_sum: float, qc: Mapping[str, Any], clusters: Mapping[str, Any]
) -> Dataset:
    from scvae_cli.data.celltypes import find_clusters, name_clusters
    from scvae_cli.data.preprocess import log_normalize, quality_control

    counts = quality_control(tenx.read(source), **qc)
    if min(counts.shape) <= max(clusters["n_neighbors"], clusters["n_components"]):
        raise InputError(
            f"data.qc: leaves {counts.n_obs} cells x {counts.n_vars} genes, too few for types; "
            "widen its limits"
        )
    x = log_normalize(csr_array(counts.X), target_sum=target_sum)
    genes = counts.var_names.to_numpy(dtype=str)
    found = find_clusters(counts, x, **clusters)
    types = np.array(name_clusters(x, genes, found))[found]
    ids = counts.var["gene_ids"].to_numpy(dtype=str)
    recipe = Recipe("counts", target_sum, np.ravel(counts.X.sum(axis=1)), ids=ids)
    return labelled("pbmc3k", x, types, counts.obs_names.to_numpy(), genes, recipe)


def _most_variable(dataset: Dataset, n_genes: int) -> Dataset:
    """The same cells with their most variable genes alone."""
    from scvae_cli.data.preprocess import variable_genes

    if n_genes >= dataset.n_genes:
        raise InputError(f"data.genes={n_genes}: there are {dataset.n_genes} genes in pbmc3k")
    kept = variable_genes(anndata.AnnData(csr_matrix(dataset.counts())), n_genes)
    recipe = replace(dataset.recipe, counted=dataset.genes)
    return replace(
        dataset, x=csr_array(dataset.x[:, kept]), genes=dataset.genes[kept], recipe=recipe
    )


def _draw(
    rng: np.random.Generator, edges: np.ndarray, labels: np.ndarray, sizes: np.ndarray
) -> csr_array:
    """Counts of some cells: `sizes` molecules each, over genes by the type's cumulative rates."""
    n_genes = edges.shape[1]
    genes = np.concatenate(
        [np.searchsorted(edges[t], rng.random(n)) for t, n in zip(labels, sizes, strict=True)]
    )
    np.minimum(genes, n_genes - 1, out=genes)  # the last edge may round to just under 1
    starts = np.concatenate([[0], np.cumsum(sizes)])
    parts = (np.ones(len(genes), np.float32), genes.astype(np.int32), starts.astype(np.int32))
    counts = csr_array(parts, shape=(len(labels), n_genes))
    counts.sum_duplicates()
    return counts


def _numbered(what: str, n: int) -> tuple[str, ...]:
    width = len(str(n))
    return tuple(f"{what}_{i:0{width}d}" for i in range(1, n + 1))


def _scaled(dataset: Dataset, clip: float) -> Dataset:
    from scvae_cli.data.preprocess import scale

    assert isinstance(dataset.x, csr_array)
    z, mean, sd = scale(dataset.x, clip=clip)
    recipe = replace(dataset.recipe, mean=mean, sd=sd, clip=clip)
    return replace(dataset, x=z, recipe=recipe)
