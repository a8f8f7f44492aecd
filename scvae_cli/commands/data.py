"""`scvae data WHAT`: what cells are, at a glance, before time is spent on them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from scvae_cli.commands.arguments import Parser
from scvae_cli.commands.json_output import add_json, print_json
from scvae_cli.console import Console
from scvae_cli.data.annotated import read_obs
from scvae_cli.data.batches import suspects
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.labels import named_by_numbers
from scvae_cli.data.sources import SOURCES, load
from scvae_cli.data.stores import has_tables
from scvae_cli.errors import InputError, Kind
from scvae_cli.launch.compose import compose, keys_of
from scvae_cli.launch.places import quoted
from scvae_cli.options import DataConfig, FileConfig

EXAMPLES = {
    "pbmc.h5ad": "which columns may be types or batches?",
    "pbmc.h5ad data.label_key=cell_type": "its types",
    "pbmc.h5ad data.layer=counts": "a layer in place of X",
    "pbmc3k": "cells that scvae knows",
}


def data(arguments: list[str]) -> None:
    """Run `scvae data` with these arguments.

    Raises:
        InputError: they are not allowed, or the cells cannot be had.
    """
    parser = Parser(
        "scvae data",
        description="What a data set is, before time is spent on it: cells, genes, values, types "
        "or the columns that may hold them.",
        examples=EXAMPLES,
    )
    parser.add_argument(
        "what", metavar="NAME-or-FILE", help=f"{', '.join(SOURCES)}, or a file or folder of cells"
    )
    parser.add_argument("overrides", nargs="*", metavar="data.KEY=VALUE", help="its settings")
    add_json(parser)
    asked = parser.parse_intermixed_args(arguments)
    _check(asked.overrides)
    own = ["data=file", f"data.path={quoted(asked.what)}"]
    overrides = [f"data={asked.what}"] if asked.what in SOURCES else own
    console = Console()
    remarks, doubts = list[str](), list[str]()
    config = compose([*overrides, *asked.overrides])
    with console.busy("loading cells"):
        dataset = load(**config.data.model_dump(), say=remarks.append, warn=doubts.append)
    columns = [] if dataset.is_labelled else _columns(config.data)
    likely = _likely(columns)
    if asked.json:
        print_json(_as_json(dataset, columns, likely, remarks, doubts))
        return
    for remark in remarks:
        console.line(remark)
    for doubt in doubts:
        console.warn(doubt)
    console.facts(_facts(dataset).items())
    if dataset.is_labelled:
        console.table(_types(dataset))
        return
    if not columns:
        console.line("no cell types; data.labels=FILE.csv (barcode, type) gives them")
        return
    console.table(columns)
    if likely:
        console.line(f"no cell types; data.label_key={likely} takes them from that column")


def _check(words: list[str]) -> None:
    """Refuse settings (InputError) that are none of data."""
    for key in sorted(keys_of(words)):
        if not key.startswith("data."):
            raise InputError(Kind.UNKNOWN, key, "no setting of data", "give data.KEY=VALUE")


MOST_TYPES = 200  # values of a column that may be types
TYPES = re.compile(r"type|label|annot|ident", re.IGNORECASE)  # in the name of their column


def _columns(source: DataConfig) -> list[dict[str, str]]:
    """Return a row for each column of obs that may be types: its values, and what else it may be.

    Names of cells and measured numbers are left out.
    """
    if not isinstance(source, FileConfig) or not has_tables(path := Path(source.path)):
        return []
    obs = read_obs(path).apply(named_by_numbers)
    batches = suspects(obs, [])
    rows = []
    for name in obs:
        values = obs[name].dropna()
        if pd.api.types.is_float_dtype(values) and (values % 1 == 0).all():
            values = values.astype(int)  # beside missing ones
        n = values.nunique()
        if pd.api.types.is_float_dtype(values) or not 2 <= n <= min(MOST_TYPES, len(obs) // 2):
            continue
        whole = values.astype(str).str.fullmatch(r"\d+").all()
        may_be = "batches" if name in batches else "clusters" if whole else "types"
        first, second = map(str, values.value_counts().index[:2])
        such = f"{first[:20]}, {second[:20]}"
        rows.append({"column": str(name), "values": str(n), "such as": such, "may be": may_be})
    return rows


def _likely(columns: list[dict[str, str]]) -> str | None:
    """Return the column that most likely holds types, if there is one."""
    types = [row["column"] for row in columns if row["may be"] == "types"]
    return next((name for name in types if TYPES.search(name)), types[0] if types else None)


def _as_json(
    dataset: Dataset,
    columns: list[dict[str, str]],
    likely: str | None,
    remarks: list[str],
    warnings: list[str],
) -> dict[str, Any]:
    """Return what the cells are, as JSON has it."""
    x, (groups, names) = dataset.x, dataset.groups
    sizes = np.bincount(groups)
    types = {names[i]: sizes[i] for i in np.argsort(-sizes, kind="stable")}
    return {
        "kind": "data",
        "name": dataset.name,
        "fingerprint": dataset.fingerprint(),
        "n_cells": dataset.n_cells,
        "n_genes": dataset.n_genes,
        "median_genes": np.median((x > 0).sum(axis=1)),
        "share_nonzero": _filled(dataset),
        "min": x.min(),
        "max": x.max(),
        "values": dataset.recipe.values,
        "cell_types": types if dataset.is_labelled else {},
        "columns": [
            {"name": row["column"], "n_values": int(row["values"]), "may_be": row["may be"]}
            for row in columns
        ],
        "label_key": likely,
        "remarks": remarks,
        "warnings": warnings,
    }


def _filled(dataset: Dataset) -> float:
    """Return the share of values that are not zero."""
    x = dataset.x
    return x.nnz / float(np.prod(x.shape)) if isinstance(x, csr_array) else 1.0


def _facts(dataset: Dataset) -> dict[str, str]:
    """Return what there is to say of all cells, line by line."""
    x = dataset.x
    genes = (x > 0).sum(axis=1)
    return {
        "data": dataset.name,
        "cells": f"{dataset.n_cells:,}",
        "genes": f"{dataset.n_genes:,}, {np.median(genes):,.0f} in the median cell",
        "non-zeros": f"{100 * _filled(dataset):.1f} %",
        "values": f"{x.min():.3g} to {x.max():.3g}",
        "fingerprint": dataset.fingerprint()[:16],
    }


def _types(dataset: Dataset) -> list[dict[str, str]]:
    """Return a row a cell type, the largest first: its name, its cells, and their share."""
    groups, names = dataset.groups
    sizes = np.bincount(groups)
    return [
        {
            "cell type": names[i],
            "cells": f"{sizes[i]:,}",
            "%": f"{100 * sizes[i] / dataset.n_cells:.1f}",
        }
        for i in np.argsort(-sizes, kind="stable")
    ]
