"""`scvae show RUN` and `scvae data WHAT`: what a run got, and what cells are, at a glance."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from scvae_cli.commands.arguments import Parser
from scvae_cli.console import Console, minutes
from scvae_cli.data.sources import SOURCES, load
from scvae_cli.errors import InputError
from scvae_cli.launch.runs import compose, quoted
from scvae_cli.results import summary
from scvae_cli.runs.folder import damaged


def show(arguments: list[str]) -> None:
    """`scvae show` with these arguments.

    Raises:
        InputError: they are not allowed, or there is no run.
    """
    parser = Parser("scvae show", description="What a run was and got.")
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a run")
    path: Path = parser.parse_args(arguments).run
    if not (path / "run.json").exists():
        sweep = (path / "sweep.json").exists()
        hint = f"; it is a sweep: `scvae compare {path}`" if sweep else ""
        raise InputError(f"{path}: no run there (run.json is missing){hint}")
    run = summary.open_run(path)
    console = Console()
    warnings = [("warning", text) for text in run.warnings]
    console.facts([*_of_run(run).items(), *warnings])
    if run.scores:
        console.scores(
            {
                name: {
                    score.partition("_")[2]: value
                    for score, value in run.scores.items()
                    if score.startswith(f"{space}_")
                }
                for space, name in summary.SPACES.items()
            }
        )


def data(arguments: list[str]) -> None:
    """`scvae data` with these arguments.

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
    found: list[str] = []
    doubts: list[str] = []
    config = compose([*overrides, *asked.overrides])
    with console.busy("loading cells"):
        dataset = load(**config.data.model_dump(), say=found.append, warn=doubts.append)
    for line in found:
        console.line(line)
    for doubt in doubts:
        console.warn(doubt)
    x = dataset.x
    genes = (x > 0).sum(axis=1)
    filled = x.nnz / np.prod(x.shape) if isinstance(x, csr_array) else 1.0
    console.facts(
        {
            "data": dataset.name,
            "cells": f"{dataset.n_cells:,}",
            "genes": f"{dataset.n_genes:,}, {np.median(genes):,.0f} in the median cell",
            "non-zeros": f"{100 * filled:.1f} %",
            "values": f"{x.min():.3g} to {x.max():.3g}",
            "fingerprint": dataset.fingerprint()[:16],
        }.items()
    )
    if dataset.is_labelled:
        groups, names = dataset.groups
        sizes = np.bincount(groups)
        console.table(
            [
                {
                    "cell type": names[i],
                    "cells": f"{sizes[i]:,}",
                    "%": f"{100 * sizes[i] / dataset.n_cells:.1f}",
                }
                for i in np.argsort(-sizes, kind="stable")
            ]
        )
    else:
        console.line("no cell types; data.label_key=COLUMN names them in an h5ad")


def _status(run: summary.Run) -> str:
    """How it ended, and whether what it wrote is there."""
    reason = run.record.get("reason")
    status = run.status + (f": {reason}" if reason else "")
    lost = [
        f"{name} is {'not what it wrote' if (run.path / name).exists() else 'missing'}"
        for name in damaged(run.path)
    ]
    mend = f"; `scvae train resume={run.path}` mends it"
    return f"{status}, but {', '.join(lost)}{mend}" if lost else status


def _of_run(run: summary.Run) -> dict[str, str]:
    """What there is to say of it, line by line."""
    record: Mapping[str, Any] = run.record
    known = record.get("data")
    seconds = record.get("seconds", {})
    facts = {
        "run": str(run.path),
        "status": _status(run),
        "command": str(record.get("command")),
        "started": str(record.get("started")),
        "took": ", ".join(f"{name} {minutes(s)}" for name, s in seconds.items() if s >= 0.5),
        "data": f"{known['name']}, {summary.cells_of(known)}" if known else "",
        "model": ", ".join(
            f"{key} {run.settings[key]}"
            for key in ("model", "beta", "latent_dim", "epochs", "seed", "embedding")
            if run.settings.get(key) is not None
        ),
        "loss": ", ".join(f"{name} {value:.6g}" for name, value in run.losses.items()),
        "versions": ", ".join(
            f"{name} {record['versions'][name]}"
            for name in ("scvae-cli", "torch", "scikit-learn")
            if name in record.get("versions", {})
        ),
    }
    return {key: value for key, value in facts.items() if value}
