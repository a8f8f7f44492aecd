"""Fits a model to cells in memory; people call it as `scvae_cli.fit`."""

import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from scvae_cli import pipeline
from scvae_cli.config import Config
from scvae_cli.console import Console, in_notebook
from scvae_cli.data.in_memory import check_cells, write_cells
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
INSTEAD = {  # settings of a file or a folder, and what people do with cells in memory
    "data": "give the cells as adata",
    "data.path": "give the cells as adata",
    "output_dir": "give folder=FOLDER",
    "hydra.run.dir": "give folder=FOLDER",
    "resume": "call `scvae train resume=FOLDER`",
    "force": "leave it out",
    "data.layer": "give layer=NAME",
    "data.raw": "give adata.raw.to_adata()",
    "data.gene_names": "set adata.var_names = adata.var[COLUMN]",
}


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
    settings = _checked(adata, settings, inplace=inplace)
    created, whole = _folder(folder), folder is not None
    try:
        words = _words(settings, layer, created[-1] / INPUT, whole=whole)
        config = compose(words)
        write_cells(adata, layer, settings, created[-1] / INPUT)
        run = _execute(config, words, created[-1], _console(progress), whole=whole)
    except BaseException as error:
        begun = (created[-1] / "run.json").exists() and not isinstance(error, InputError)
        if whole and not begun:
            (created[-1] / INPUT).unlink(missing_ok=True)
            discard(created)
        if isinstance(error, InputError) and str(error.value) == str(created[-1] / INPUT):
            raise _of_adata(error) from error
        raise
    finally:
        if not whole:
            shutil.rmtree(created[-1], ignore_errors=True)
    for text in run.record.get("warnings", []):
        warnings.warn(_in_python(text), stacklevel=3)
    if inplace:
        names = adata.obs_names.astype(str)  # numbers, if obs.reset_index() was called
        adata.obsm[key_added] = run.latent.reindex(names).to_numpy(np.float32)
    return run


def _checked(
    adata: anndata.AnnData, settings: Mapping[str, Any], *, inplace: bool
) -> dict[str, Any]:
    """Refuse what cannot be done with these cells, before the work; return plain settings.

    Raises:
        InputError: these are no cells, or too few; a setting is of files only; a name is none that
            a table can hold; or the cells take no obsm.
    """
    check_cells(adata)
    if inplace and adata.isbacked and adata.is_view:
        fix = "give adata.to_memory(), or inplace=False"
        raise InputError(Kind.FORMAT, "adata", "is a view of a file, which takes no obsm", fix)
    settings = {key: _plain(value) for key, value in settings.items()}
    for key, instead in INSTEAD.items():
        if settings.get(key) not in (None, False):
            given = Given("settings", {key: settings[key]}, f"{{{key!r}: {settings[key]!r}}}")
            raise InputError(Kind.CONFLICT, given, "is of a file, and not of adata", instead)
    return settings


def _plain(value: Any) -> Any:
    """Return a setting that numpy or pandas holds as Python's own: a list, a text, a number."""
    if isinstance(value, np.ndarray | pd.Index | pd.Series):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def _in_python(text: str) -> str:
    """Return a warning of a run in the words of `fit`."""
    text = text.replace(f"{INPUT}: ", "adata: ")
    text = re.sub(r"data\.batch_key=([^\s;,]+)", r"batch_key='\1'", text)
    return text.replace("data.label_key=", "labels_key=")


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


def _words(settings: dict[str, Any], layer: str | None, file: Path, *, whole: bool) -> list[str]:
    """Return the words after `scvae train` that ask for this.

    Raises:
        InputError: a logger would write into a folder that is not kept.
    """
    if not whole and settings.get("logger") is not None:
        what = Given("logger", settings["logger"])
        raise InputError(Kind.CONFLICT, what, "writes into the run's folder", "give folder=")
    given: dict[str, Any] = {"data": "file", "data.path": str(file)}
    if layer is not None:  # so that the run knows, and `embed` takes that layer of other cells
        given["data.layer"] = str(layer)
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


def _execute(
    config: Config, words: list[str], path: Path, console: Console, *, whole: bool
) -> TrainedRun:
    """Run the experiment in its folder, whole or up to the latent space, and open it."""
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
    run = load(path)
    if not whole:  # its folder goes
        run.run.hold("latent", "cells", "history")
    return run
