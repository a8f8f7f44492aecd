"""Prepares cells whose values take more memory than a run should: read in pieces, several times.

What comes out is what `prepared.read_whole` makes of the same file, byte for byte. In memory are
the tables, one piece, sums over cells, and the values of the genes that are kept.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from scvae_cli.data.annotated import Reader
from scvae_cli.data.announcer import Announcer
from scvae_cli.data.asked import Options
from scvae_cli.data.cellranger import counts_of
from scvae_cli.data.headers import check_parts
from scvae_cli.data.passes import Kept, collect, look, sum_up
from scvae_cli.data.pieces import Pieces, by_cells, on_disk
from scvae_cli.data.prepared import (
    Prepared,
    check_full,
    check_left,
    check_n_genes,
    covariates_of,
    kept_of,
    kind_of,
    recipe_of,
)
from scvae_cli.data.selection import check_names, renamed
from scvae_cli.data.space_for import folder_for
from scvae_cli.data.stores import is_annotated, is_store, opened, which_modality
from scvae_cli.data.wording import command_line
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.mapped import Collected

LARGE = 50_000_000  # values from which on a file is read in pieces; whole, each takes 35 bytes


def read_in_pieces(asked: Options, announcer: Announcer) -> Prepared | None:
    """Read the counts of an h5ad, a zarr or 10x's .h5 in pieces, and prepare them.

    None where the file is to be read whole: it is small, or its values are not stored by cells,
    or are no whole counts.

    Raises:
        InputError: the file is not what it should be.
        RunError: the file changed while it was read.
    """
    remarks: list[str] = []
    try:
        found = _found(asked, remarks.append)
        return None if found is None else _prepared(*found, asked, announcer, remarks)
    except MemoryError as error:
        given, reason = Given("data.path", asked.path), "more than this machine's memory holds"
        raise InputError(Kind.MEMORY, given, reason) from error


def _prepared(
    cells: anndata.AnnData,
    pieces: Pieces,
    asked: Options,
    announcer: Announcer,
    remarks: Sequence[str],
) -> Prepared | None:
    """Prepare cells whose values are on disk; None if they are no whole counts.

    Args:
        cells: tables of all cells and genes.
        pieces: their values.
        asked: what is asked for.
        announcer: see `source_file.file`.
        remarks: about the tables, to be said if the file is not read whole after all.
    """
    looked = look(pieces, asked.min_genes, asked.min_cells, command_line(asked.path))
    if looked is None or (looked.seen.kind != "counts" and asked.values != "counts"):
        return None
    for remark in remarks:
        announcer.say(remark)
    kept = Kept(pieces, looked.cells, looked.genes)
    check_left(kept.n_cells, kept.n_genes, asked)
    cells = cells[kept.cells, kept.genes].copy()
    kind = kind_of(looked.seen, asked, announcer)
    check_n_genes(cells.n_vars, kind, asked)
    millions = f"{pieces.n_values / 1e6:,.0f} million"
    announcer.say(f"{pieces.path.name}: its {millions} values are read in pieces")
    told = covariates_of(cells, asked, announcer)
    batches = told.batches[0] if told is not None and told.keys else None
    sums = sum_up(kept, asked.genes_by, batches)
    check_full(sums.n_values, asked)
    chosen = sums.choose(asked.genes)
    n_values = int(sums.n_cells[chosen].sum())
    folder = folder_for(n_values, asked, announcer)
    recipe = recipe_of(cells, kind, looked.seen, asked.target_sum, sums.totals)
    others = np.flatnonzero(_named(cells, asked, recipe.ids))
    with Collected((kept.n_cells, len(chosen)), n_values, folder) as collected:
        of_others = collect(kept, asked.target_sum, chosen, others, collected)
        x = collected.matrix()
    columns = kept_of(cells, asked, told, of_others, recipe.ids, announcer)
    names = cells.var_names.to_numpy(dtype=str)[chosen]
    return Prepared(cells, x, names, recipe, told, columns)


def _found(asked: Options, say: Callable[[str], None]) -> tuple[anndata.AnnData, Pieces] | None:
    """Return the tables of a large store, and its values on disk; None if it is another file.

    Raises:
        InputError: names of cells or genes occur twice.
    """
    path, wording = Path(asked.path), command_line(asked.path)
    if asked.raw and asked.layer is not None:
        return None
    if asked.values not in ("auto", "counts"):
        return None
    try:
        found = _opened(path, asked, say)
        if found is None:
            return None
        obs, var, pieces = found
        if asked.gene_names is not None:
            var = renamed(var, asked.gene_names, wording)
        with warnings.catch_warnings():  # of names to be made unique
            warnings.simplefilter("ignore")
            cells = anndata.AnnData(None, obs, var)
    except Exception:  # of all kinds: who reads it whole says what is wrong
        return None
    check_names(cells, wording)
    return cells, pieces


def _opened(
    path: Path, asked: Options, say: Callable[[str], None]
) -> tuple[pd.DataFrame, pd.DataFrame, Pieces] | None:
    """Return obs, var and the values of a large store; None if it is another file."""
    if not is_store(path) or not (path.is_dir() or path.is_file()):  # to open a pipe waits
        return None
    if path.is_file() and not is_annotated(path):
        return _of_10x(path, asked, say)
    if asked.genome is not None:
        return None
    name = "raw/X" if asked.raw else "X" if asked.layer is None else f"layers/{asked.layer}"
    with opened(path) as file:
        pieces = None if "raw.X" in file else on_disk(file, path, name)
        if pieces is None or pieces.n_values < LARGE:
            return None
        reader = Reader(file, path, asked.elements, say)
        obs, var = (
            reader.element(table, partial(reader.table, table))
            for table in ("obs", "raw/var" if asked.raw else "var")
        )
        fits = (len(obs), len(var)) == (pieces.n_cells, pieces.n_genes)
        if fits and (text := which_modality(file, path)):
            say(text)
        return (obs, var, pieces) if fits else None


def _of_10x(
    path: Path, asked: Options, say: Callable[[str], None]
) -> tuple[pd.DataFrame, pd.DataFrame, Pieces] | None:
    """Return obs, var and the values of a large .h5 of Cell Ranger; None if it is another file."""
    if path.suffix.lower() != ".h5" or asked.raw or asked.layer is not None:
        return None
    with opened(path) as file:
        counts = counts_of(file, path, asked.genome, say)
        group, shape = counts.group, (len(counts.barcodes), len(counts.var))
        parts = [group[name] for name in ("data", "indices", "indptr")]
        check_parts(parts, shape, "csr")
        pieces = by_cells(group, path, group.name, shape, parts[0].dtype)
        if pieces is None or pieces.n_values < LARGE:
            return None
        return *counts.names, replace(pieces, kept=None if counts.kept.all() else counts.kept)


def _named(cells: anndata.AnnData, asked: Options, ids: np.ndarray | None) -> np.ndarray:
    """Tell which genes (n_genes,) cells.csv may have to keep, by either name."""
    named = np.isin(cells.var_names.to_numpy(dtype=str), asked.keep)
    return named if ids is None else named | np.isin(ids, asked.keep)
