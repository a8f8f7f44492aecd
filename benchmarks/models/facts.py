"""Collect what benchmark.json holds: everything on the page that is no score."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from benchmarks.models.cells import Data
from benchmarks.models.presets import PEER, PEERS
from scvae_cli.runs.run import Run

Epochs = Mapping[str, Sequence[Sequence[float]]]


def collect(
    scores: pd.DataFrame,
    cost: pd.DataFrame,
    measured: str,
    epochs: Epochs,
    sets: Mapping[str, Data],
    failed: Sequence[Run],
) -> dict[str, Any]:
    """Return the facts; see `page.write` for the arguments."""
    return {
        "cost": costs(cost),
        "measured": measured,
        "race": race(epochs),
        "failed": reasons(failed),
        "cells": cells(sets, scores),
        "missing": missing(sets, scores),
        "machine": machine(),
    }


def costs(cost: pd.DataFrame) -> list[dict[str, Any]]:
    """Return seconds of training, epochs and peak memory (MB) of each method, as shown."""
    return [
        {
            "method": str(row.method), "seconds": round(float(row.seconds), 1),
            "epochs": int(row.epochs), "peak": round(row.peak / 2**20),
        }
        for row in cost.itertuples()
    ]  # fmt: skip


def race(epochs: Epochs) -> dict[str, Any]:
    """Return median seconds of an epoch in each turn, ours and scVI's, and how they compare."""
    if not epochs:
        return {}
    ours, theirs = ([median(turn) for turn in epochs[side]] for side in ("ours", PEER))
    ratios = [b / a for a, b in zip(ours, theirs, strict=False)]
    fastest = min(map(min, epochs[PEER])) / min(map(min, epochs["ours"]))
    return {
        "ours": [round(s, 2) for s in ours],
        PEER: [round(s, 2) for s in theirs],
        "least": round(min(ratios), 1),
        "most": round(max(ratios), 1),
        "fastest": round(fastest, 1),
    }


def reasons(failed: Sequence[Run]) -> list[str]:
    """Return a line for each run that failed: what it was, and why."""
    lines = [
        f"{str(run.settings.get('experiment')).removeprefix('benchmark/')}, seed "
        f"{run.settings.get('seed')}, {run.settings.get('data')}: {run.record.get('reason')}"
        for run in failed
    ]
    return list(dict.fromkeys(lines))


def cells(sets: Mapping[str, Data], scores: pd.DataFrame) -> dict[str, str]:
    """Return the overrides of each set of cells that has scores."""
    scored = set(scores["labels"])
    return {
        name: " ".join(_public(data.overrides))
        for name, data in sets.items()
        if scored & set(data.labels)
    }


def missing(sets: Mapping[str, Data], scores: pd.DataFrame) -> dict[str, list[str]]:
    """Return the methods that have not been run yet, by set of cells."""
    wanted = {(method, name) for name, data in sets.items() for method in data.presets} | {
        (peer, name) for name, data in sets.items() if data.has_counts for peer in PEERS
    }
    set_of = {labels: name for name, data in sets.items() for labels in data.labels}
    there = {(row.method, set_of.get(row.labels)) for row in scores.itertuples()}
    absent: dict[str, list[str]] = {}
    for method, name in sorted(wanted - there):
        absent.setdefault(name, []).append(method)
    return absent


def machine() -> str:
    """Return where scores were computed, and with what."""
    versions = ", ".join(f"{n} {version(n)}" for n in ("torch", "scikit-learn", "igraph"))
    return f"{platform.machine()}, Python {platform.python_version()}, {versions}"


def _public(overrides: Sequence[str]) -> list[str]:
    """Return overrides without the folders of this machine."""
    return [
        f"{key}={Path(value.strip(chr(39))).name}" if key == "data.path" else f"{key}={value}"
        for key, _, value in (o.partition("=") for o in overrides)
    ]
