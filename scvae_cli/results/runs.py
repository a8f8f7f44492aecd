"""What the folder of a run tells: its record, settings, scores and losses."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scvae_cli.errors import InputError
from scvae_cli.measures import SPACES
from scvae_cli.runs.folder import LOSSES, read_json, read_settings, read_table
from scvae_cli.runs.provenance import codes


@dataclass(frozen=True)
class Run:
    """One run, as its folder tells it.

    Attributes:
        path: the folder.
        record: run.json.
        settings: config.yaml, flat (`tsne.perplexity`); `model` and `data` are their names,
            `experiment` that of the preset, if there is one.
        scores: by names such as `tsne_nmi`; empty where there are none.
        losses: the last epoch's reconstruction error and KL, if there was one.
    """

    path: Path
    record: Mapping[str, Any]
    settings: Mapping[str, Any]
    scores: Mapping[str, float]
    losses: Mapping[str, float]

    @property
    def status(self) -> str:
        """`done`, `failed`, or `unfinished` where it was killed or still runs."""
        status = str(self.record["status"])
        return status if status in ("done", "failed") else "unfinished"

    @property
    def warnings(self) -> list[str]:
        """What a person should know before believing the result."""
        return list(self.record.get("warnings", []))

    @property
    def data(self) -> Mapping[str, Any]:
        """What run.json says of the cells; empty where the run ended before they were loaded."""
        return self.record.get("data") or {}

    def cells(self) -> pd.DataFrame:
        """Read cells.csv, which a run has that is done.

        Raises:
            InputError: it is missing or damaged.
        """
        return read_table(self.path, "cells", ["cell", "cell_type", "cluster", "tsne_1", "tsne_2"])


def open_run(path: Path) -> Run:
    """Read the run in a folder.

    Raises:
        InputError: there is none (`MissingError`), or a file of it is damaged.
    """
    record = read_json(path, "run")
    settings, scores, losses = {}, {}, {}
    if (path / "config.yaml").exists():
        settings = {**_flat(read_settings(path)), "experiment": _experiment(record)}
        for key, kind in {"model": str, "data": str, "seed": int}.items():
            if not isinstance(settings.get(key), kind):
                raise InputError(f"{path / 'config.yaml'}: damaged (it names no {key})")
    if (path / "scores.json").exists():
        by_space = read_json(path, "scores")
        scores = {f"{space}_{m}": v for space in SPACES for m, v in by_space[space].items()}
    if (path / "history.csv").exists():
        last = read_table(path, "history", LOSSES).tail(1)
        losses = {name: float(v) for name in ("reconstruction", "kl") for v in last[name]}
    return Run(path, record, settings, scores, losses)


def read_run(path: Path) -> Run | None:
    """Read the run in a folder; None where there is none that can be read."""
    with suppress(InputError):
        return open_run(path)
    return None


def find_runs(paths: Iterable[Path], damaged: list[str] | None = None) -> list[Run]:
    """Read the runs in these folders and below, each once, in order of their paths.

    Args:
        paths: where to look.
        damaged: gets a line for each run that cannot be read.
    """
    folders: dict[Path, None] = {}
    for path in paths:
        for record in sorted(path.rglob("run.json")):
            if "attempts" not in record.relative_to(path).parts:
                folders[record.parent.resolve()] = None
    runs = []
    for folder in folders:
        try:
            runs.append(open_run(folder))
        except InputError as error:
            if damaged is not None:
                damaged.append(str(error))
    return runs


def cells_in_words(data: Mapping[str, Any]) -> str:
    """Return what run.json says of the cells: `700 cells x 765 genes, 10 cell types`."""
    n_types = len(data["cell_types"])
    types = f"{n_types} cell types" if n_types > 1 else "no known types"
    if data.get("n_unlabelled"):
        types += f", {data['n_unlabelled']:,} cells without a label"
    return f"{data['n_cells']:,} cells x {data['n_genes']:,} genes, {types}"


def provenance(runs: Sequence[Run]) -> dict[str, str]:
    """Return commits, versions, data and the like of these runs, each value once."""
    facts: dict[str, dict[str, None]] = {}

    def add(key: str, value: object) -> None:
        if value is not None:
            facts.setdefault(key, {})[str(value)] = None

    for run in runs:
        for code in codes(run.record):
            git = code.get("git") or {}
            changed = ", with uncommitted changes" if git.get("dirty") else ""
            add("commit", f"{git['commit'][:10]}{changed}" if git else None)
            for name, version in code["versions"].items():
                add(name, version)
        data = run.data
        add("data", f"{data['name']}, sha256 {data['fingerprint'][:16]}" if data else None)
        add("device", run.record.get("device"))
        add("threads", run.record.get("threads"))
        add("first run started", run.record.get("started") if run is runs[0] else None)
        add("command", run.record.get("command") if len(runs) == 1 else None)
    return {key: "; ".join(values) for key, values in facts.items()}


def _experiment(record: Mapping[str, Any]) -> str | None:
    """Return the preset that a run was asked for, if any."""
    words = [word.partition("=") for word in record.get("overrides", [])]
    return next((value for key, _, value in reversed(words) if key == "experiment"), None)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted keys; a block's `name` by the block's own key."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            name = prefix.rstrip(".") if key == "name" and prefix else f"{prefix}{key}"
            flat[name] = str(value) if isinstance(value, list) else value
    return flat
