"""Fits a model to cells in memory; people call it as `scvae_cli.fit`."""

import shutil
import tempfile
import warnings
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import issparse

from scvae_cli import pipeline
from scvae_cli.columns import AUTO
from scvae_cli.config import Config
from scvae_cli.console import Console, in_notebook
from scvae_cli.data.labels import obs_column
from scvae_cli.data.selection import elsewhere
from scvae_cli.errors import Given, InputError, Kind, written
from scvae_cli.interrupts import undisturbed
from scvae_cli.launch.compose import compose
from scvae_cli.launch.execute import first_record, now, reason_of, write_report
from scvae_cli.launch.places import at_home, quoted
from scvae_cli.notebook import NotebookConsole
from scvae_cli.runs.claim import claim, discard
from scvae_cli.runs.writer import RunWriter
from scvae_cli.saved import load
from scvae_cli.trained import TrainedRun

INPUT = "input.h5ad"  # the cells, in the run's folder
INSTEAD = {  # settings of reading a file, and what people do with cells in memory
    "data.layer": "give layer=NAME",
    "data.raw": "give adata.raw.to_adata()",
    "data.gene_names": "set adata.var_names = adata.var[COLUMN]",
}
OF_OBS = ("label_key", "batch_key", "covariates", "keep")  # settings that name columns of obs


def fit(
    adata: anndata.AnnData,
    *,
    folder: str | Path | None,
    layer: str | None,
    key_added: str,
    inplace: bool,
    progress: bool,
    settings: dict[str, Any],
) -> TrainedRun:
    """Fit a model to cells.

    Args:
        adata: (n_cells, n_genes) the cells.
        folder: see `scvae_cli.fit`.
        layer: see `scvae_cli.fit`.
        key_added: see `scvae_cli.fit`.
        inplace: see `scvae_cli.fit`.
        progress: see `scvae_cli.fit`.
        settings: of `scvae train`, by key; not `data`, nor what of it names a file.
    """
    created, whole = _folder(folder), folder is not None
    try:
        words = _words(settings, created[-1] / INPUT, whole=whole)
        _check_asked(adata, settings, inplace=inplace)
        config = compose(words)
        _write_input(adata, layer, settings, created[-1] / INPUT)
        _execute(config, words, created[-1], _console(progress), whole=whole)
        run = load(created[-1])
    except BaseException as error:
        begun = (created[-1] / "run.json").exists() and not isinstance(error, InputError)
        if not whole or not begun:
            (created[-1] / INPUT).unlink(missing_ok=True)
            discard(created)
        if isinstance(error, InputError) and str(error.value) == str(created[-1] / INPUT):
            raise _of_adata(error) from error
        raise
    if not whole:
        weakref.finalize(run, shutil.rmtree, created[-1], ignore_errors=True)
    for text in run.record.get("warnings", []):
        warnings.warn(text, stacklevel=3)
    if inplace:
        names = adata.obs_names.astype(str)  # numbers, if obs.reset_index() was called
        adata.obsm[key_added] = run.latent.reindex(names).to_numpy(np.float32)
    return run


def _check_asked(adata: anndata.AnnData, settings: Mapping[str, Any], *, inplace: bool) -> None:
    """Refuse what cannot be done with these cells, before the work.

    Raises:
        InputError: a setting is of files only, or the cells take no obsm.
    """
    if inplace and adata.isbacked and adata.is_view:
        fix = "give adata.to_memory(), or inplace=False"
        raise InputError(Kind.FORMAT, "adata", "is a view of a file, which takes no obsm", fix)
    for key, instead in INSTEAD.items():
        if settings.get(key) not in (None, False):
            given = Given("settings", {key: settings[key]}, f"{{{key!r}: {settings[key]!r}}}")
            raise InputError(Kind.CONFLICT, given, "is of a file, and not of adata", instead)


def _of_adata(error: InputError) -> InputError:
    """Return an error about the file that the run reads as one about what the caller gave."""
    reason = error.reason.replace(str(error.value), "adata")
    return InputError(error.kind, "adata", reason, error.fix)


def _console(progress: bool) -> Console:
    """Return what shows progress: lines on a terminal, one that changes in a notebook."""
    return NotebookConsole() if progress and in_notebook() else Console(silent=not progress)


def _folder(folder: str | Path | None) -> list[Path]:
    """Return the folder asked for, after those created for it, or a temporary one."""
    if folder is None:
        return [Path(tempfile.mkdtemp(prefix="scvae-"))]
    where = at_home(str(folder)).absolute()
    path, created = claim(where, exact=True, named_by="folder")
    return created or [path]


def _words(settings: dict[str, Any], file: Path, *, whole: bool) -> list[str]:
    """Return the words after `scvae train` that ask for this.

    Raises:
        InputError: a logger would write into a folder that is not kept.
    """
    if not whole and settings.get("logger") is not None:
        what = Given("logger", settings["logger"])
        raise InputError(Kind.CONFLICT, what, "writes into the run's folder", "give folder=")
    given: dict[str, Any] = {"data": "file", "data.path": str(file)}
    if not whole:  # nothing is mapped or clustered, but checks ask for numbers that fit
        few = {"umap.n_neighbors": 2} if settings.get("map") == "umap" else {"tsne.perplexity": 1}
        given |= {"cluster.n_clusters": 2, **few, "data.keep": []}
    return [f"{key}={_word(value)}" for key, value in (given | settings).items()]


def _word(value: Any) -> str:
    """Return a value as Hydra reads it back."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Sequence):
        return f"[{','.join(map(_word, value))}]"
    # All digits: `written` is for people.
    return repr(float(value)) if isinstance(value, float) else written(value)


def _write_input(
    adata: anndata.AnnData, layer: str | None, settings: Mapping[str, Any], file: Path
) -> None:
    """Write what the run reads of the cells: values, names, and columns of obs.

    Raises:
        InputError: there is no such layer, or no values, or what are no numbers, or negative
            ones, or names that are not unique.
    """
    if layer is not None and layer not in adata.layers:
        there = ", ".join(adata.layers) or "none"
        given = Given("layer", layer)
        raise InputError(Kind.MISSING, given, "no such layer", f"there are: {there}")
    values = adata.X if layer is None else adata.layers[layer]
    if values is None:
        raise InputError(Kind.EMPTY, "adata", "has no X", "give layer=NAME")
    if values.dtype.kind not in "fiub":
        reason = f"its values are {values.dtype}, and not numbers"
        raise InputError(Kind.CONTENT, "adata", reason)
    _check_not_scaled(adata, values)
    if not adata.obs_names.astype(str).is_unique:
        fix = "call adata.obs_names_make_unique()"
        raise InputError(Kind.CONTENT, "adata", "names of cells are not unique", fix)
    var = pd.DataFrame(index=adata.var_names)
    anndata.AnnData(values, _obs(adata, settings), var).write_h5ad(file)


def _check_not_scaled(adata: anndata.AnnData, values: Any) -> None:
    """Refuse values (n_cells, n_genes) below 0 (InputError), of which scaling leaves some in all.

    What the run reads has no other values, so that it cannot say which to take.
    """
    some = values[:1000]
    some = some.data if issparse(some) else np.asarray(some)
    if some.size and some.min() < 0:
        others = {f"layer={name!r}": layer for name, layer in adata.layers.items()}
        if adata.raw is not None:
            others["adata.raw.to_adata()"] = adata.raw.X
        reason = f"has negative values ({some.min():.4g}), so it was scaled"
        raise InputError(Kind.CONTENT, "adata", reason, elsewhere(others))


def _obs(adata: anndata.AnnData, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Return the columns of obs that an h5ad can hold; mixed values become text if they are named.

    Raises:
        InputError: there is no column of a name that settings have.
    """
    named: set[str] = set()
    for key in OF_OBS:
        value = settings.get(f"data.{key}")
        for name in [value] if isinstance(value, str) else value or []:
            if key != "keep" or not (name == AUTO or name in adata.var_names):  # a gene
                obs_column(adata, f"data.{key}", name, Path("adata"))
                named.add(name)
    columns = {}
    for name, column in adata.obs.items():
        if _writable(name, column):
            columns[name] = column
        elif name in named:
            columns[name] = column.astype(object).where(column.isna(), column.astype(str))
    return pd.DataFrame(columns, index=adata.obs_names)


def _writable(name: Any, column: pd.Series) -> bool:
    """Return whether an h5ad can hold a column."""
    if not isinstance(name, str) or name == "_index" or "/" in name:
        return False
    types = pd.api.types
    return (
        types.is_numeric_dtype(column)
        or isinstance(column.dtype, pd.CategoricalDtype)
        or types.infer_dtype(column, skipna=True) == "string"
    )


def _execute(
    config: Config, words: list[str], path: Path, console: Console, *, whole: bool
) -> None:
    """Run the experiment in its folder, whole or up to the latent space."""
    writer = RunWriter(path, first_record(config, words, words))
    status = "failed"
    reason: str | None = "interrupted"
    with ExitStack() as ending:
        try:
            if whole:
                pipeline.run(config, writer, console)
            else:
                pipeline.fit(config, writer, console)
            ending.enter_context(undisturbed())  # in here, as in `launch.execute`
            status, reason = "done", None
        except Exception as error:
            reason = reason_of(error, path)
            raise
        finally:
            ending.enter_context(undisturbed())
            writer.end(status=status, reason=reason, ended=now())
    if whole:
        write_report(path, console)
