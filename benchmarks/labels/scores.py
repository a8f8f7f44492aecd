"""Label the new cells of each split by its runs, and count what is right."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from benchmarks.labels.runs import MODELS
from benchmarks.labels.sets import FACS, Split
from scvae_cli.analysis.transfer import (
    N_NEIGHBORS,
    PROBABILITY,
    QUANTILE,
    UNKNOWN,
    Transferred,
)
from scvae_cli.results.runs import find_runs
from scvae_cli.runs.run import Run
from scvae_cli.saved import load

EDGES = (0.0, 0.5, 0.7, 0.9, 0.99, 1.01)  # of bins of probability; the last has what is 1
# What is tried on FACS: all pairs of limits, and other numbers of neighbours.
DEFAULT = {"n_neighbors": N_NEIGHBORS, "quantile": QUANTILE, "probability": PROBABILITY}
TRIED: list[dict[str, Any]] = [
    *(
        DEFAULT | {"quantile": q, "probability": p}
        for q in (0.9, 0.95, 0.99, 1)
        for p in (0, 0.5, 0.7)
    ),
    *(DEFAULT | {"n_neighbors": n} for n in (5, 30, 50)),
]


def measure(splits: Sequence[Split], cells: Path, runs: Path) -> dict[str, pd.DataFrame]:
    """Measure all runs that are done.

    Args:
        splits: all.
        cells: folder of the parts.
        runs: folder of the sweeps.

    Returns:
        `scores`: a row a run; `calibration`: a row a run and bin of probability, where the run
        saw all types; `tried`: a row a run of FACS and options of `TRIED`.
    """
    tables: dict[str, list[dict[str, Any]]] = {"scores": [], "calibration": [], "tried": []}
    by_name = {split.name: split for split in splits}
    for run in find_runs([runs]):
        if run.status == "done":
            split = by_name[Path(run.settings["data"]["path"]).stem.removesuffix("-ref")]
            for table, row in _rows(run, split, split.file(cells, "new")):
                tables[table].append(row)
    return {name: pd.DataFrame(rows) for name, rows in tables.items()}


def _rows(run: Run, split: Split, new: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield rows of the tables, each with the table's name."""
    head = {
        "set": split.of,
        "split": split.name,
        "left_out": split.what,
        "model": MODELS[str(run.flat_settings["experiment"])],
        "seed": int(run.settings["seed"]),
    }
    trained = load(run.path)
    cells = anndata.read_h5ad(new)
    truth = cells.obs[split.column].astype(str).to_numpy()
    unseen = split.left_out[split.new]
    latent = trained.embed(cells)
    most_common = trained.cells["cell_type"].value_counts().index[0]
    found = count(trained.predict_types(latent), truth, unseen)
    yield "scores", {**head, "majority": (truth == most_common)[~unseen].mean(), **found}
    if not split.what:
        sure = trained.predict_types(latent, probability=0, quantile=1)
        for row in bins(sure, truth):
            yield "calibration", {**head, **row}
    for options in TRIED if split.of == FACS else ():
        predicted = trained.predict_types(latent, **options)
        yield "tried", {**head, **options, **count(predicted, truth, unseen)}


def count(predicted: Transferred, truth: np.ndarray, unseen: np.ndarray) -> dict[str, float]:
    """Return shares of the cells.

    Args:
        predicted: what they got.
        truth: (n_cells,) their types.
        unseen: (n_cells,) whether the run never saw their type.

    Returns:
        Of the cells whose type the run knows: `right`, `wrong` and `unknown`, and `far`, those
        beyond the limit of distance; of the others `found`, those that are unknown, and
        `found_far`; NaN where there is none.
    """
    types, far = predicted.cell_types, predicted.distance > 1
    unknown, right = types == UNKNOWN, types == truth
    return {
        "right": float(right[~unseen].mean()),
        "wrong": float((~right & ~unknown)[~unseen].mean()),
        "unknown": float(unknown[~unseen].mean()),
        "far": float(far[~unseen].mean()),
        "found": float(unknown[unseen].mean()) if unseen.any() else np.nan,
        "found_far": float(far[unseen].mean()) if unseen.any() else np.nan,
    }


def bins(predicted: Transferred, truth: np.ndarray) -> list[dict[str, float]]:
    """Return for bins of probability: `low`, `n`, mean `probability`, share that is `right`.

    Args:
        predicted: types of all cells, also of those whose probability is small.
        truth: (n_cells,) types.
    """
    typed = predicted.cell_types != UNKNOWN
    which = np.digitize(predicted.probability, EDGES) - 1
    rows = []
    for i, low in enumerate(EDGES[:-1]):
        chosen = typed & (which == i)
        if chosen.any():
            right = predicted.cell_types[chosen] == truth[chosen]
            mean = predicted.probability[chosen].mean()
            rows.append(
                {"low": low, "n": chosen.sum(), "probability": mean, "right": right.mean()}
            )
    return rows
