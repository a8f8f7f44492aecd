"""`scvae verify RUN`: the same run once more, and whether the same comes out."""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from scvae_cli.commands.arguments import Parser
from scvae_cli.config import restored
from scvae_cli.console import Console
from scvae_cli.errors import InputError
from scvae_cli.launch.runs import DONE, logged, shown, start
from scvae_cli.runs.folder import (
    MissingError,
    intact,
    read_json,
    read_settings,
    read_table,
    read_weights,
)
from scvae_cli.runs.provenance import codes, difference, git_state, versions

WITHIN = 1e-3  # of the largest value of a column: what rounding may come to
TABLES = ["genes", "history", "latent", "cells"]
OF_VSC = ["latents", "drivers"]
UNEQUAL = {"seconds"}  # columns that differ from run to run


def verify(arguments: list[str]) -> None:
    """`scvae verify` with these arguments.

    Raises:
        InputError: they are not allowed, or there is no run to repeat.
        SystemExit: it failed this time, or came out different.
    """
    parser = Parser(
        "scvae verify",
        description="Does a run once more, and says whether the same came out.",
        epilog="Exit code 0: identical, or within rounding; 1: different.",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a run")
    path = parser.parse_args(arguments).run.absolute()
    try:
        record = read_json(path, "run")
        config = restored(read_settings(path), path / "config.yaml")
        if record["status"] == "done":
            read_json(path, "scores")  # before all is done again
    except MissingError as error:
        hint = "; it is a sweep: name one of its runs" if (path / "sweep.json").exists() else ""
        raise InputError(f"{shown(path)}: no run there ({error.name} is missing){hint}") from error
    console = Console(quiet=True)
    out = Console()
    if not intact(path):
        raise InputError(
            f"{shown(path)}: did not end well, or a file is not what it wrote; "
            f"`scvae train resume={shown(path)}` mends it"
        )
    today = {"versions": versions(), "git": git_state()}
    for changed in filter(None, (difference(code, today) for code in codes(record))):
        out.line(f"{shown(path)} {changed}: rounding may differ")
    again: dict[str, Any] = {k: record[k] for k in ("threads", "device") if k in record}
    with suppress(OSError, KeyError, ValueError):
        os.chdir(record["cwd"])  # which the paths in its settings start from
    with TemporaryDirectory(prefix="scvae-verify-") as folder:
        same = Path(folder) / "run"
        same.mkdir()
        config = config.model_copy(update={**again, "output_dir": folder, "h5ad": False})
        with logged(same):
            code, _ = start(config, same, ["verify"], [], console)
        if code != DONE:
            raise SystemExit(code)
        there = [name for name in OF_VSC if (path / f"{name}.csv").exists()]
        found = {f"{name}.csv": _table(path, same, name) for name in [*TABLES, *there]}
        found["model.safetensors"] = _weights(path, same)
        found["scores.json"] = _scores(path, same)
    out.table([{"file": name, "came out": text or "identical"} for name, text in found.items()])
    texts = [text for text in found.values() if text]
    if any(text.startswith("different") for text in texts):
        raise SystemExit(1)


def _table(theirs: Path, ours: Path, name: str) -> str:
    """How a table differs; empty where it does not."""
    first, second = read_table(theirs, name), read_table(ours, name)
    if list(first) != list(second) or len(first) != len(second):
        return f"different: {len(first)} x {len(first.columns)}, and not {len(second)} x ..."
    worst = 0.0
    for column in [c for c in first if c not in UNEQUAL]:
        a, b = first[column], second[column]
        if a.equals(b):
            continue
        if not pd.api.types.is_float_dtype(a):
            row = int(np.argmax((a != b).to_numpy()))
            return f"different: {column} is {a[row]}, and not {b[row]}, in row {row + 1}"
        off = _off(a.to_numpy(), b.to_numpy())
        row = int(np.argmax(np.abs(a - b)))
        if off > WITHIN:
            return f"different: {column} is {a[row]:.6g}, and not {b[row]:.6g}, in row {row + 1}"
        worst = max(worst, off)
    return f"within {worst:.1g} of the largest value" if worst else ""


def _weights(theirs: Path, ours: Path) -> str:
    """How weights differ; empty where they do not."""
    first, second = (
        {name: tensor.numpy() for name, tensor in read_weights(path)[0].items()}
        for path in (theirs, ours)
    )
    if first.keys() != second.keys():
        return "different: other weights"
    off = {name: _off(first[name], second[name]) for name in first}
    worst = max(off, key=lambda name: off[name])
    if off[worst] > WITHIN:
        return f"different: {worst} by {off[worst]:.2g} of its largest value"
    return f"within {off[worst]:.1g} of the largest value" if off[worst] else ""


def _scores(theirs: Path, ours: Path) -> str:
    """How scores differ; empty where they do not."""
    first, second = read_json(theirs, "scores"), read_json(ours, "scores")
    for space in ("tsne", "latent"):
        for name, value in first[space].items():
            other = second[space][name]
            if abs(value - other) > WITHIN:
                return f"different: {space} {name} is {value:.4f}, and not {other:.4f}"
    return "" if first == second else f"within {WITHIN}"


def _off(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, as a share of the largest value."""
    if a.shape != b.shape:
        return np.inf
    return float(np.nanmax(np.abs(a - b)) / max(np.nanmax(np.abs(a)), 1e-30)) if a.size else 0.0
