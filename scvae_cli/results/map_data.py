"""The data of the maps in report.html, which report.js draws: cells, places, colours."""

from collections.abc import Mapping
from math import floor, isnan, log10
from typing import Any

import numpy as np
import pandas as pd
from jinja2.utils import htmlsafe_json_dumps

from scvae_cli.results.colours import Look, by_size, cluster_looks, main_types, type_looks
from scvae_cli.visible import UNLABELLED, visible

MANY = 5000  # cells beyond which SVG is slow


def map_data(maps: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Return JSON by id: `look` of the types, `cells-N` that runs on the same data share, `run-N`.

    Args:
        maps: title of a run to its cells.csv.
    """
    labels = {title: _texts(cells["cell_type"]) for title, cells in maps.items()}
    types = sorted(set().union(*labels.values()), key=lambda name: (name == UNLABELLED, name))
    codes = {title: pd.Categorical(texts, types).codes for title, texts in labels.items()}
    sizes = np.zeros(len(types), dtype=int)
    blocks: dict[str, int] = {}  # runs on the same data share their cells
    block_of = {}
    for title, cells in maps.items():
        block = _json({"names": _texts(cells["cell"]), "types": codes[title].tolist()})
        if block not in blocks:
            blocks[block] = len(blocks)
            sizes += np.bincount(codes[title], minlength=len(types))
        block_of[title] = blocks[block]
    looks = type_looks(sizes, types)
    look = {
        "types": types,
        "looks": [one._asdict() for one in looks],
        "ranks": np.argsort(by_size(sizes, types)).tolist(),  # the largest type is 0
        "many": MANY,
    }
    runs = [
        {"cells": block_of[title], **_run(cells, codes[title], types, looks)}
        for title, cells in maps.items()
    ]
    return {
        "look": _json(look),
        **{f"cells-{i}": block for block, i in blocks.items()},
        **{f"run-{i}": _json(run) for i, run in enumerate(runs)},
    }


def _run(
    cells: pd.DataFrame, labels: np.ndarray, types: list[str], looks: list[Look]
) -> dict[str, Any]:
    """Return the places of a run's cells, their clusters, and how those are drawn.

    Args:
        cells: cells.csv of the run.
        labels: (n_cells,) types.
        types: their names.
        looks: of the types.
    """
    clusters, names = pd.factorize(cells["cluster"], sort=True)
    shown = (clusters >= 0) & cells["tsne_1"].notna().to_numpy()
    counts = np.zeros((len(names), len(types)), dtype=int)
    np.add.at(counts, (clusters[shown], labels[shown]), 1)
    mains = main_types(counts, types)
    return {
        "flat": _places(cells, "tsne_"),
        "deep": _places(cells, "tsne3d_"),
        "clusters": clusters.tolist(),
        "names": [str(name).removesuffix(".0") for name in names],
        "mains": mains.tolist(),
        "looks": [look._asdict() for look in cluster_looks(mains, looks)],
    }


def _texts(column: pd.Series) -> list[str]:
    return [UNLABELLED if pd.isna(text) else visible(text) for text in column]


def _places(cells: pd.DataFrame, prefix: str) -> list[list[float | None]]:
    """Return coordinates axis by axis, to a thousandth or better of the largest.

    Values are None where cells were not mapped; without such a map there are no axes.
    """
    places = cells.filter(regex=f"^{prefix}").to_numpy(dtype=float)
    largest = np.abs(places[np.isfinite(places)]).max(initial=0) or 1
    digits = 3 - floor(log10(largest))
    return [[None if isnan(v) else round(v, digits) for v in axis] for axis in places.T.tolist()]


def _json(value: Any) -> str:
    """Return JSON that cannot end the script element it is in; ASCII, so no odd line ends."""
    return htmlsafe_json_dumps(value, separators=(",", ":"), allow_nan=False)
