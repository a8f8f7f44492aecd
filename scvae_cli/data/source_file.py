"""The source `file`: cells of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
from scipy.sparse import csr_array

from scvae_cli.covariates import Covariates
from scvae_cli.data.announcer import Announcer
from scvae_cli.data.batches import read_covariates, suspects, warn_of_confounding
from scvae_cli.data.dataset import Dataset, Recipe, labelled
from scvae_cli.data.kept import read_kept
from scvae_cli.data.labels import doubt_types, labels_of, mark_unlabelled, read_labels
from scvae_cli.data.values import Values, doubt, recognise
from scvae_cli.data.wording import command_line
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.visible import UNLABELLED


@dataclass(frozen=True)
class Options:
    """How to read a file and prepare its cells; conf/data/file.yaml has the defaults.

    Attributes:
        path: a file or folder; see `files.read`.
        label_key: the column of obs with the types, if any.
        labels: a csv file with a type for each cell, if any.
        unlabelled: what stands for no type, beside nothing at all.
        batch_key: columns of obs with batches, if any.
        batches: a csv file with a batch for each cell, if any.
        covariates: columns of obs with numbers that a network is told of.
        keep: other columns of obs, or genes, for cells.csv and the maps; see `kept.read_kept`.
        layer: see `selection.select`.
        raw: see `selection.select`.
        gene_names: see `selection.select`.
        transpose: see `files.read`.
        genome: see `files.read`.
        values: what values are: `counts`, `normalized`, `logged`, or `auto` to look.
        min_genes: least number of genes of a cell that is kept.
        min_cells: then, least number of cells of a gene that is kept.
        genes: how many genes to keep, or None for all.
        genes_by: which ones; see `preprocess.chosen_genes`.
        target_sum: see `preprocess.log_normalize`.
    """

    path: str
    label_key: str | None
    labels: str | None
    unlabelled: Sequence[str]
    batch_key: Sequence[str] | None
    batches: str | None
    covariates: Sequence[str]
    keep: Sequence[str]
    layer: str | None
    raw: bool
    gene_names: str | None
    transpose: bool | None
    genome: str | None
    values: str
    min_genes: int
    min_cells: int
    genes: int | None
    genes_by: str
    target_sum: float


def file(*, announcer: Announcer, **options: Any) -> Dataset:
    """Read cells of one's own, and log-normalise them if they are not yet.

    Args:
        announcer: called with what values were taken to be, and what may be wrong about that.
        options: the attributes of `Options`.

    Raises:
        InputError: the file cannot be read, or is not what it should be.
    """
    asked = Options(**options)
    cells = _read(asked, announcer)
    seen = recognise(cells.X)  # of all genes: totals tell, and genes may be left out below
    cells = _filtered(cells, asked)
    kind = _kind(seen, asked, announcer) if asked.values == "auto" else asked.values
    _check_n_genes(cells, kind, asked)
    x = _logged(cells, kind, seen, asked.target_sum)
    recipe = _recipe(cells, kind, seen, asked.target_sum)
    told = _covariates(cells, asked, announcer)
    kept = read_kept(
        cells, told, path=Path(asked.path), keep=asked.keep, batches=asked.batches,
        numbers=asked.covariates, label_key=asked.label_key, x=x, ids=recipe.ids,
        say=announcer.say,
    )  # fmt: skip
    x, genes = _chosen(cells, x, asked, told)
    types = _types(cells, asked, announcer)
    if told is not None:
        warn_of_confounding(told, types, announcer.warn)
    name, names = Path(asked.path).name, cells.obs_names.to_numpy()
    dataset = labelled(name, x, types, names, genes, recipe, told, kept)
    if (given := _given(asked)) and not dataset.is_labelled:
        raise InputError(
            Kind.EMPTY,
            given,
            f"all cells have one label, {dataset.cell_types[0]}",
            "give a column with two types or more",
        )
    return dataset


def _read(asked: Options, announcer: Announcer) -> anndata.AnnData:
    """Read the values asked for (n_cells, n_genes); the rest of the file is freed on return."""
    from scvae_cli.data.files import read  # and with it h5py, zarr and the readers
    from scvae_cli.data.selection import elements, select

    path = Path(asked.path)
    which: dict[str, Any] = {
        "layer": asked.layer, "raw": asked.raw, "gene_names": asked.gene_names,
    }  # fmt: skip
    cells = read(
        path,
        transpose=asked.transpose,
        genome=asked.genome,
        needed=elements(**which, obs=[*_columns(asked), *asked.keep]),
        say=announcer.say,
    )
    return select(cells, command_line(path), **which)


def _columns(asked: Options) -> list[str | None]:
    """Return the columns of obs that say what a cell is, among None."""
    return [asked.label_key, *(asked.batch_key or []), *asked.covariates]


def _covariates(cells: anndata.AnnData, asked: Options, announcer: Announcer) -> Covariates | None:
    """Return what a network is told of the cells, and name columns that look like batches.

    Raises:
        InputError: a column is not what it should be.
    """
    told = read_covariates(
        cells,
        path=Path(asked.path),
        batch_key=asked.batch_key,
        batches=asked.batches,
        numbers=asked.covariates,
        label_key=asked.label_key,
    )
    if (told is None or not told.keys) and (found := suspects(cells.obs, _columns(asked))):
        sizes = ", ".join(f"{name} ({cells.obs[name].nunique()} values)" for name in found)
        announcer.warn(
            f"{Path(asked.path).name}: {sizes} may say in which batch cells were measured; "
            f"data.batch_key={found[0]} tells the model, and scores how well batches mix"
        )
    return told


def _filtered(cells: anndata.AnnData, asked: Options) -> anndata.AnnData:
    """Return the cells and genes that are kept.

    Raises:
        InputError: none is kept, or a cell without counts.
    """
    from scvae_cli.data.preprocess import filter_counts

    kept = filter_counts(cells, min_genes=asked.min_genes, min_cells=asked.min_cells)
    if 0 in kept.shape:
        key = "min_cells" if kept.n_obs else "min_genes"
        left = f"leaves {kept.n_obs} cells x {kept.n_vars} genes of {asked.path}"
        given = Given(f"data.{key}", getattr(asked, key))
        raise InputError(Kind.EMPTY, given, left, "give a smaller number")
    if empty := int((kept.X.getnnz(axis=1) == 0).sum()):
        raise InputError(
            Kind.CONTENT,
            Given("data.path", asked.path),
            f"{empty} cells have no counts",
            "leave them out with data.min_genes=1",
        )
    return kept


def _kind(seen: Values, asked: Options, announcer: Announcer) -> str:
    """Return what values are taken to be, and announce it."""
    name = Path(asked.path).name
    scaled = f"brought to {asked.target_sum:,g} and " if seen.total else ""
    done = {
        "counts": "normalized and logged here",
        "normalized": f"{scaled}logged here",
        "logged": "left as they are",
    }[seen.kind]
    announcer.say(f"{name}: values are {seen.kind}: {seen.why}; {done}")
    if text := doubt(seen, seen.kind, command_line(asked.path)):
        announcer.warn(f"{name}: {text}")
    return seen.kind


def _check_n_genes(cells: anndata.AnnData, kind: str, asked: Options) -> None:
    """Refuse to choose genes where there are no counts to choose by, or not more genes.

    Raises:
        InputError: it is so.
    """
    if asked.genes is None:
        return
    if kind != "counts":
        raise InputError(
            Kind.CONFLICT,
            Given("data.genes", asked.genes),
            f"genes are chosen by counts, and {asked.path} has {kind} values",
            "leave it out, or give counts (data.layer=NAME, data.raw=true)",
        )
    if asked.genes >= cells.n_vars:
        raise InputError(
            Kind.VALUE,
            Given("data.genes", asked.genes),
            f"must be less than the number of genes, which is {cells.n_vars} in {asked.path}",
            "leave it out to keep all",
        )


def _logged(cells: anndata.AnnData, kind: str, seen: Values, target_sum: float) -> csr_array:
    """Return the logarithms (n_cells, n_genes) of values of this kind, normalised."""
    from scvae_cli.data.preprocess import log_normalize, logarithm

    x = csr_array(cells.X)
    if kind == "counts":
        return log_normalize(x, target_sum=target_sum)
    if kind == "normalized":
        return logarithm(x, factor=target_sum / seen.total if seen.total else 1.0)
    return x


def _recipe(cells: anndata.AnnData, kind: str, seen: Values, target_sum: float) -> Recipe:
    """Return how values were treated, for other cells."""
    from scvae_cli.data.selection import other_names

    names = cells.var_names.to_numpy(dtype=str)
    recipe = Recipe(kind, counted=names, ids=other_names(cells), whole=seen.whole)
    if kind == "counts":
        return replace(recipe, target_sum=target_sum, totals=np.ravel(cells.X.sum(axis=1)))
    if kind == "normalized" and seen.total:
        return replace(recipe, target_sum=target_sum)
    return recipe


def _chosen(
    cells: anndata.AnnData, x: csr_array, asked: Options, told: Covariates | None
) -> tuple[csr_array, np.ndarray]:
    """Return the logarithms (n_cells, n_kept) and names (n_kept,) of the genes that are kept."""
    from scvae_cli.data.preprocess import chosen_genes

    names = cells.var_names.to_numpy(dtype=str)
    if asked.genes is None:
        return x, names
    batches = told.batches[0] if told is not None and told.keys else None
    kept = chosen_genes(cells, asked.genes, by=asked.genes_by, batches=batches)
    return csr_array(x[:, kept]), names[kept]


def _types(cells: anndata.AnnData, asked: Options, announcer: Announcer) -> np.ndarray:
    """Return the type (n_cells,) of each cell, `UNLABELLED` where it has none.

    Raises:
        InputError: the settings contradict each other, or the types cannot be read.
    """
    names = cells.obs_names.to_numpy(dtype=str)
    if asked.label_key is not None and asked.labels is not None:
        raise InputError(
            Kind.CONFLICT,
            Given("data.labels", asked.labels),
            f"give it or data.label_key={asked.label_key}, not both",
        )
    if asked.label_key is not None:
        types = labels_of(cells, asked.label_key, Path(asked.path))
    elif asked.labels is not None:
        types = read_labels(asked.labels, names, partly=True)
    elif asked.unlabelled:
        raise InputError(
            Kind.CONFLICT,
            Given("data.unlabelled", asked.unlabelled, ",".join(asked.unlabelled)),
            "the cells have no labels",
            "give data.label_key or data.labels",
        )
    else:
        return np.full(cells.n_obs, UNLABELLED)
    given = _given(asked)
    assert given is not None
    if text := doubt_types(types, given):
        announcer.warn(text)
    return mark_unlabelled(types, names, given, unlabelled=asked.unlabelled, say=announcer.say)


def _given(asked: Options) -> Given | None:
    """Return the setting that gives the types; None where none does."""
    if asked.label_key is not None:
        return Given("data.label_key", asked.label_key)
    return None if asked.labels is None else Given("data.labels", asked.labels)
