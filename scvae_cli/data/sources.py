"""Names the sources of cells and loads from them.

A source is a function in a module of its own, `source_NAME`, that returns a `Dataset`. To add one,
write that module, add a line to `SOURCES`, and write its settings to conf/data/NAME.yaml (and
their types to `scvae_cli.config`). Scanpy takes a second to import, so a source imports what needs
it when it is asked for cells.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from scipy.sparse import csr_array

from scvae_cli.data.announcer import Announcer
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.source_file import file
from scvae_cli.data.source_pbmc3k import pbmc3k
from scvae_cli.data.source_pbmc68k import pbmc68k
from scvae_cli.data.source_synthetic import synthetic
from scvae_cli.data.state import state_of
from scvae_cli.errors import Given, InputError, Kind

SOURCES: dict[str, Callable[..., Dataset]] = {
    "pbmc68k": pbmc68k,
    "pbmc3k": pbmc3k,
    "synthetic": synthetic,
    "file": file,
}

KEPT = 2  # data sets in memory
_LOADED: dict[str, tuple[Dataset, list[str]]] = {}  # and what may be wrong with each


def load(
    *,
    name: str,
    scale: float | None,
    on_download: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda text: None,
    warn: Callable[[str], None] = lambda text: None,
    folder: Path | None = None,
    **options: Any,
) -> Dataset:
    """Load or simulate cells; the last ones are kept for the next run of a sweep.

    Args:
        name: a key of `SOURCES`.
        scale: clip of the z-scores, or None to leave the log-normalised values as they are.
        on_download: see `Announcer`.
        say: see `Announcer`.
        warn: see `Announcer`; called each time that the cells are asked for.
        folder: see `Announcer`.
        options: arguments of the source.

    Returns:
        The cells, ready for a model.

    Raises:
        InputError: the source cannot be had, or not like this.

    Example:
        >>> cells = load(name="pbmc68k", scale=None)
        >>> cells.n_cells, cells.n_genes, len(cells.cell_types)
        (700, 765, 10)
    """
    _check_choice_of_genes(options)
    _check_place(scale, options)
    key = json.dumps([name, scale, options, *_states(options)], sort_keys=True)
    if key not in _LOADED:
        doubts: list[str] = []
        announcer = Announcer(say, doubts.append, on_download, folder)
        dataset = SOURCES[name](announcer=announcer, **options)
        while len(_LOADED) >= KEPT:
            _LOADED.pop(next(iter(_LOADED)))
        _LOADED[key] = (dataset if scale is None else _scaled(dataset, scale)), doubts
    for text in _LOADED[key][1]:
        warn(text)
    return _LOADED[key][0]


def _check_choice_of_genes(options: Mapping[str, Any]) -> None:
    """Refuse to choose genes by something, but not how many."""
    by = options.get("genes_by", "variance")
    if by != "variance" and options["genes"] is None:
        given = Given("data.genes_by", by)
        raise InputError(
            Kind.CONFLICT, given, "needs the number of genes to keep", "give data.genes=2000"
        )


def _check_place(scale: float | None, options: Mapping[str, Any]) -> None:
    """Refuse to lay z-scores on disk (InputError)."""
    if scale is not None and options.get("on_disk") is True:
        given = Given("data.on_disk", True)
        reason = f"z-scores (data.scale={scale:g}) have no zeros, and lie in memory"
        raise InputError(Kind.CONFLICT, given, reason, "leave one of them out")


def _states(options: Mapping[str, Any]) -> list[list[int]]:
    """Return the states of the files that options name, which may change between two runs."""
    named = [options[key] for key in ("path", "labels", "batches") if options.get(key)]
    # os.path, as Path raises for a name that is too long
    return [state_of(Path(path)) for path in named if os.path.exists(path)]  # noqa: PTH110


def _scaled(dataset: Dataset, clip: float) -> Dataset:
    """Return the same cells with z-scores, cut off at `clip`."""
    from scvae_cli.data.preprocess import scale

    assert isinstance(dataset.x, csr_array)
    z, mean, sd = scale(dataset.x, clip=clip)
    before = dataset.fingerprint()
    recipe = replace(dataset.recipe, mean=mean, sd=sd, clip=clip, unscaled=before)
    return replace(dataset, x=z, recipe=recipe)
