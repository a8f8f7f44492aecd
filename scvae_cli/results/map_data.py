"""The data of the maps in report.html, which report_map.js draws: cells, places, colours.

Arrays are base64 of the smallest type that holds them, least significant byte first.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jinja2.utils import htmlsafe_json_dumps

from scvae_cli.columns import PLACES, map_of, own
from scvae_cli.results.colours import (
    VIRIDIS,
    Look,
    by_size,
    cluster_looks,
    main_types,
    type_looks,
)
from scvae_cli.visible import UNLABELLED, visible

MOST_VALUES = 100  # of a column that have a colour of their own; a legend of more is no help
CLUSTERS = {"cluster": "cluster", "latent_cluster": "cluster of the latent space"}
STEPS = 2**16 - 2  # places along the longest side of a map
UNMAPPED = 2**16 - 1
GENE_STEPS = 255  # values of a gene that differ: one byte a cell
PRECISE = 1e-5  # of the range of a column's numbers: what a colour or a label can show


def map_data(
    maps: Mapping[str, pd.DataFrame],
    links: Mapping[str, str] | None = None,
    genes: Mapping[str, pd.DataFrame | None] | None = None,
) -> dict[str, str]:
    """Return JSON by id: `look` of the types, `cells-N` that runs on the same data share, `run-N`.

    Columns of cells.csv that are not scvae's own were kept; the map can have their colours.
    Groups stand in the order of the legend: the largest first, cells without a type last.

    Args:
        maps: title of a run to its cells.csv.
        links: addresses of the pages of these runs, by their titles.
        genes: title of a run to its expression.csv, if it has one.
    """
    genes = genes or {}
    labels = {title: _texts(cells["cell_type"]) for title, cells in maps.items()}
    types = sorted(set().union(*labels.values()), key=lambda name: (name == UNLABELLED, name))
    codes = {title: pd.Categorical(texts, types).codes for title, texts in labels.items()}
    first, number = _same_cells(maps, codes, genes)
    sizes = np.bincount(np.concatenate([codes[title] for title in first]), minlength=len(types))
    looks, order = type_looks(sizes, types), by_size(sizes, types)
    ranks = np.argsort(order)
    data: dict[str, dict[str, Any]] = {
        "look": {
            "names": [types[i] for i in order] if types != [UNLABELLED] else [],
            "looks": [looks[i] for i in order],
            "scale": VIRIDIS,
        }
    }
    for i, title in enumerate(first):
        data[f"cells-{i}"] = {
            "names": _texts(maps[title]["cell"]),
            "types": packed(ranks[codes[title]]),
            "columns": _columns(maps[title]),
            "genes": _genes(genes.get(title)),
        }
    for i, (title, cells) in enumerate(maps.items()):
        data[f"run-{i}"] = {
            "cells": number[title],
            "link": (links or {}).get(title, ""),
            **_run(cells, codes[title], types, looks),
        }
    return {key: _json(value) for key, value in data.items()}


def _same_cells(
    maps: Mapping[str, pd.DataFrame],
    codes: Mapping[str, np.ndarray],
    genes: Mapping[str, pd.DataFrame | None],
) -> tuple[list[str], dict[str, int]]:
    """Return the first run on each data, and the number of its data for each run.

    Args:
        maps: title of a run to its cells.csv.
        codes: (n_cells,) types of each run's cells.
        genes: title of a run to its expression.csv.
    """
    numbers: dict[str, int] = {}
    first: list[str] = []
    of = {}
    for title, cells in maps.items():
        told = [_texts(cells["cell"]), codes[title].tolist(), _columns(cells)]
        known = _json([*told, _genes(genes.get(title))])
        if known not in numbers:
            numbers[known] = len(first)
            first.append(title)
        of[title] = numbers[known]
    return first, of


def _run(
    cells: pd.DataFrame, labels: np.ndarray, types: list[str], looks: list[Look]
) -> dict[str, Any]:
    """Return the places of a run's cells, and their clusters.

    Args:
        cells: cells.csv of the run.
        labels: (n_cells,) types.
        types: their names.
        looks: of the types.
    """
    columns = PLACES[map_of(cells)]
    mapped = cells[columns[2][0]].notna().to_numpy()
    return {
        "flat": _places(cells, columns[2]),
        "deep": _places(cells, columns[3]),
        "clusterings": {
            title: _clustering(cells[column], mapped, labels, types, looks)
            for column, title in CLUSTERS.items()
            if column in cells
        },
    }


def _clustering(
    column: pd.Series,
    mapped: np.ndarray,
    labels: np.ndarray,
    types: list[str],
    looks: list[Look],
) -> dict[str, Any]:
    """Return clusters: codes (n_cells,), -1 where there is none, names and looks.

    A cluster has the colour of its main type; one without any type has a colour of its own.
    """
    codes, values = pd.factorize(column, sort=True)
    names = [str(value).removesuffix(".0") for value in values]
    counts = np.zeros((len(names), len(types)), dtype=int)
    counted = (codes >= 0) & mapped
    np.add.at(counts, (codes[counted], labels[counted]), 1)
    mains = main_types(counts, types)
    of_clusters = cluster_looks(mains, looks, types)
    titles = []
    for i, (name, main) in enumerate(zip(names, mains, strict=True)):
        n = int(counts[i].sum())
        share = f"{100 * counts[i, main] / max(n, 1):.0f} % of {n}"
        main_type = "" if types[main] == UNLABELLED else f": {types[main]}"
        titles.append(f"{name}{main_type} ({share if main_type else n})")
    return {"codes": packed(codes), "names": names, "titles": titles, "looks": of_clusters}


def _texts(column: pd.Series) -> list[str]:
    return [UNLABELLED if pd.isna(text) else visible(text) for text in column]


def _columns(cells: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the columns that were kept, each as numbers or as texts.

    Args:
        cells: cells.csv of a run.
    """
    kept = cells.drop(columns=[*own(map_of(cells))], errors="ignore")
    return [
        {"name": visible(name), **(_numbers if _is_numeric(column) else _values)(column)}
        for name, column in kept.items()
    ]


def _genes(expression: pd.DataFrame | None) -> dict[str, Any]:
    """Return genes: names, the largest value of each, and steps (n_genes, n_cells) from 0 to it.

    Args:
        expression: expression.csv of a run, if it has one.
    """
    if expression is None:
        return {"names": [], "tops": [], "steps": packed(np.zeros(0, dtype=int))}
    values = np.nan_to_num(expression.drop(columns="cell").to_numpy(dtype=float).T, posinf=0)
    tops = values.max(1, initial=0)
    steps = np.rint(np.clip(values / np.where(tops > 0, tops, 1)[:, None], 0, 1) * GENE_STEPS)
    names = [visible(name) for name in expression.columns if name != "cell"]
    return {"names": names, "tops": tops.tolist(), "steps": packed(steps.astype(int))}


def _is_numeric(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


def _numbers(column: pd.Series) -> dict[str, Any]:
    """Return numbers (n_cells,), NaN where there is none, and the least and the largest."""
    values = column.to_numpy(dtype=float)
    values = np.where(np.isfinite(values), values, np.nan)
    known = values[np.isfinite(values)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    reach = [float(low), float(high if high > low else low + 1)]
    return {"numbers": packed(values), "range": reach}


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
        "names": [names[i] for i in order],
        "codes": packed(ranks[codes]),
        "looks": [looks[i] for i in order[:MOST_VALUES]],
    }


def _places(cells: pd.DataFrame, names: Sequence[str]) -> dict[str, Any] | None:
    """Return places (n_cells, n_axes) in steps of the longest side; None without such a map."""
    if not {*names} <= {*cells}:
        return None
    places = cells[[*names]].to_numpy(dtype=float)
    places[~np.isfinite(places).all(1)] = np.nan
    if np.isnan(places).all():
        return None
    low, high = np.nanmin(places, 0), np.nanmax(places, 0)
    # Halves: the whole may be infinite.
    steps = (places / 2 - low / 2) / ((high / 2 - low / 2).max() or 1) * STEPS
    whole = np.where(np.isnan(steps), UNMAPPED, np.rint(np.nan_to_num(steps)))
    return packed(whole.astype(np.uint16))


def packed(values: np.ndarray) -> dict[str, str]:
    """Return an array as base64, and the type that report_map.js reads it by.

    Whole numbers stay as they are; others lose at most `PRECISE` of their range.
    """
    if values.dtype != np.uint16:
        values = values.astype(_least(values))
    little = values.astype(values.dtype.newbyteorder("<"))
    return {"type": values.dtype.str[1:], "base64": base64.b64encode(little.tobytes()).decode()}


def _least(values: np.ndarray) -> str:
    """Return the smallest type of numbers for these values."""
    known = values[np.isfinite(values)]
    if not known.size:
        return "i1" if values.dtype.kind == "i" else "f4"
    low, high = known.min(), known.max()
    if known.size == values.size and (known % 1 == 0).all():
        for kind in ("i1", "u1", "i2", "i4"):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return kind
    with np.errstate(over="ignore", invalid="ignore"):
        lost = np.abs(known.astype("f4").astype(float) - known).max()
        precise = lost <= PRECISE * (high - low)
    return "f4" if precise and np.isfinite(lost) else "f8"


def _json(value: Any) -> str:
    """Return JSON that cannot end the script element it is in; ASCII, so no odd line ends."""
    return htmlsafe_json_dumps(value, separators=(",", ":"), allow_nan=False)
