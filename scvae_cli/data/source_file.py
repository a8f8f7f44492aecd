"""The source `file`: cells of one's own."""

from pathlib import Path
from typing import Any

import anndata
import numpy as np

from scvae_cli.data.announcer import Announcer
from scvae_cli.data.asked import Options
from scvae_cli.data.batches import warn_of_confounding
from scvae_cli.data.dataset import Dataset, labelled
from scvae_cli.data.labels import doubt_types, labels_of, mark_unlabelled, read_labels
from scvae_cli.data.prepared import read_whole
from scvae_cli.data.space_for import moved
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.visible import UNLABELLED


def file(*, announcer: Announcer, **options: Any) -> Dataset:
    """Read cells of one's own, and log-normalise them if they are not yet.

    Args:
        announcer: called with what values were taken to be, and what may be wrong about that.
        options: the attributes of `Options`.

    Raises:
        InputError: the file cannot be read, or is not what it should be.
        RunError: the file changed while it was read.
    """
    from scvae_cli.data.streamed import read_in_pieces  # and with it h5py and zarr

    asked = Options(**options)
    prepared = read_in_pieces(asked, announcer) or read_whole(asked, announcer)
    x = moved(prepared.x, asked, announcer)
    cells, told = prepared.cells, prepared.told
    types = _types(cells, asked, announcer)
    if told is not None:
        warn_of_confounding(told, types, announcer.warn)
    name, names = Path(asked.path).name, cells.obs_names.to_numpy()
    dataset = labelled(name, x, types, names, prepared.genes, prepared.recipe, told, prepared.kept)
    if (given := _given(asked)) and not dataset.is_labelled:
        raise InputError(
            Kind.EMPTY,
            given,
            f"all cells have one label, {dataset.cell_types[0]}",
            "give a column with two types or more",
        )
    return dataset


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
    for text in doubt_types(types, given, asked.unlabelled):
        announcer.warn(text)
    return mark_unlabelled(types, names, given, unlabelled=asked.unlabelled, say=announcer.say)


def _given(asked: Options) -> Given | None:
    """Return the setting that gives the types; None where none does."""
    if asked.label_key is not None:
        return Given("data.label_key", asked.label_key)
    return None if asked.labels is None else Given("data.labels", asked.labels)
