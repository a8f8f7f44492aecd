"""`scvae data WHAT`: what cells are, at a glance, before time is spent on them."""

import numpy as np
from scipy.sparse import csr_array

from scvae_cli.commands.arguments import Parser
from scvae_cli.console import Console
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.sources import SOURCES, load
from scvae_cli.launch.compose import compose
from scvae_cli.launch.places import quoted


def data(arguments: list[str]) -> None:
    """Run `scvae data` with these arguments.

    Raises:
        InputError: they are not allowed, or the cells cannot be had.
    """
    parser = Parser("scvae data", description="What a data set is, before time is spent on it.")
    parser.add_argument(
        "what", metavar="NAME-or-FILE", help=f"{', '.join(SOURCES)}, or a file or folder of cells"
    )
    parser.add_argument("overrides", nargs="*", metavar="data.KEY=VALUE", help="its settings")
    asked = parser.parse_args(arguments)
    if asked.what in SOURCES:
        overrides = [f"data={asked.what}"]
    else:
        overrides = ["data=file", f"data.path={quoted(asked.what)}"]
    console = Console()
    remarks: list[str] = []
    doubts: list[str] = []
    config = compose([*overrides, *asked.overrides])
    with console.busy("loading cells"):
        dataset = load(**config.data.model_dump(), say=remarks.append, warn=doubts.append)
    for remark in remarks:
        console.line(remark)
    for doubt in doubts:
        console.warn(doubt)
    console.facts(_facts(dataset).items())
    if dataset.is_labelled:
        console.table(_types(dataset))
    else:
        console.line("no cell types; data.label_key=COLUMN names them in an h5ad")


def _facts(dataset: Dataset) -> dict[str, str]:
    """Return what there is to say of all cells, line by line."""
    x = dataset.x
    genes = (x > 0).sum(axis=1)
    filled = x.nnz / np.prod(x.shape) if isinstance(x, csr_array) else 1.0
    return {
        "data": dataset.name,
        "cells": f"{dataset.n_cells:,}",
        "genes": f"{dataset.n_genes:,}, {np.median(genes):,.0f} in the median cell",
        "non-zeros": f"{100 * filled:.1f} %",
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
