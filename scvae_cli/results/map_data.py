"""The data of the maps in report.html, which report.js draws: cells, places, colours."""

from collections.abc import Mapping, Sequence
from math import floor, isfinite, isnan, log10
from typing import Any

import numpy as np
import pandas as pd
from jinja2.utils import htmlsafe_json_dumps

from scvae_cli.columns import OWN, PLACES
from scvae_cli.results.colours import (
    VIRIDIS,
    Look,
    by_size,
    cluster_looks,
    main_types,
    type_looks,
)
from scvae_cli.visible import UNLABELLED, visible

MANY = 5000  # cells beyond which SVG is slow
MOST_VALUES = 100  # of a column that have a colour of their own; a legend of more is no help
DIGITS = 5  # that tell the numbers of a column apart, after the first one
WHOLE = 2**53  # above it, not all whole numbers are floats


def map_data(maps: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Return JSON by id: `look` of the types, `cells-N` that runs on the same data share, `run-N`.

    Columns of cells.csv that are not scvae's own were kept; the map can have their colours.

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
        known = {"names": _texts(cells["cell"]), "types": codes[title].tolist()}
        block = _json({**known, "columns": _columns(cells)})
        if block not in blocks:
            blocks[block] = len(blocks)
            sizes += np.bincount(codes[title], minlength=len(types))
        block_of[title] = blocks[block]
    looks = type_looks(sizes, types)
    look = {
        "types": types,
        "looks": [one._asdict() for one in looks],
        "ranks": np.argsort(by_size(sizes, types)).tolist(),  # the largest type is 0
        "scale": [[i / (len(VIRIDIS) - 1), colour] for i, colour in enumerate(VIRIDIS)],
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
        "flat": _places(cells, PLACES[2]),
        "deep": _places(cells, PLACES[3]),
        "clusters": clusters.tolist(),
        "names": [str(name).removesuffix(".0") for name in names],
        "mains": mains.tolist(),
        "looks": [look._asdict() for look in cluster_looks(mains, looks)],
    }


def _texts(column: pd.Series) -> list[str]:
    return [UNLABELLED if pd.isna(text) else visible(text) for text in column]


def _columns(cells: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the columns that were kept, each as numbers or as texts.

    Args:
        cells: cells.csv of a run.
    """
    kept = cells.drop(columns=[*OWN], errors="ignore")
    return [
        {"name": visible(name), **(_numbers if _is_numeric(column) else _values)(column)}
        for name, column in kept.items()
    ]


def _is_numeric(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


def _numbers(column: pd.Series) -> dict[str, Any]:
    """Return numbers (n_cells,), None where there is none, and the least and the largest."""
    values = column.to_numpy(dtype=float)
    known = values[np.isfinite(values)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    half = high / 2 - low / 2  # the whole may be infinite
    digits = DIGITS - floor(log10(half or abs(high) or 1))

    def rounded(value: float) -> float | int | None:
        if not isfinite(value):
            return None
        value = round(value, digits)
        return int(value) if value.is_integer() and abs(value) < WHOLE else value

    reach = [float(low), float(high if half else low + 1)]
    return {"numbers": [rounded(value) for value in values.tolist()], "range": reach}


def _values(column: pd.Series) -> dict[str, Any]:
    """Return the values, the most frequent first, and codes (n_cells,), -1 where there is none.

    Looks are those of types; only the first `MOST_VALUES` values have them.
    """
    codes, values = pd.factorize(column, sort=True)
    sizes = np.bincount(codes[codes >= 0], minlength=len(values))
    names = [visible(value) for value in values]
    order = by_size(sizes, names)
    looks = type_looks(sizes, names)
    ranks = np.append(np.argsort(order), -1)  # the last one is that of code -1
    return {
        "values": [names[i] for i in order],
        "codes": ranks[codes].tolist(),
        "looks": [looks[i]._asdict() for i in order[:MOST_VALUES]],
    }


def _places(cells: pd.DataFrame, names: Sequence[str]) -> list[list[float | None]]:
    """Return coordinates axis by axis, to a thousandth or better of the largest.

    Values are None where cells were not mapped; without such a map there are no axes.
    """
    places = cells[[name for name in names if name in cells]].to_numpy(dtype=float)
    largest = np.abs(places[np.isfinite(places)]).max(initial=0) or 1
    digits = 3 - floor(log10(largest))
    return [[None if isnan(v) else round(v, digits) for v in axis] for axis in places.T.tolist()]


def _json(value: Any) -> str:
    """Return JSON that cannot end the script element it is in; ASCII, so no odd line ends."""
    return htmlsafe_json_dumps(value, separators=(",", ":"), allow_nan=False)
