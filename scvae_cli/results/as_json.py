"""What `show` and `compare` say with --json: values that json can hold, under keys that stay.

docs/pipelines.md lists the keys. Each is always there: null, or empty, where there is nothing.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scvae_cli.results.means import summarise
from scvae_cli.results.table import main_score, results, scores_of, settings_of
from scvae_cli.results.verdict import verdict
from scvae_cli.runs.run import Run


def run_json(run: Run) -> dict[str, Any]:
    """Return what a run was and got."""
    record = run.record
    data = {key: run.data.get(key) for key in ("name", "fingerprint", "n_cells", "n_genes")}
    return {
        "kind": "run",
        **job_json(run),
        "command": record.get("command"),
        "started": record.get("started"),
        "ended": record.get("ended"),
        "seconds": record.get("seconds", {}),
        "data": {**data, "cell_types": run.data["cell_types"]} if run.data else None,
        "settings": run.settings if run.flat_settings else {},
        "losses": run.losses,
        "device": record.get("device"),
        "threads": record.get("threads"),
        "versions": record.get("versions", {}),
        "files": [*run.files],
        "damaged": run.damaged,
    }


def job_json(run: Run) -> dict[str, Any]:
    """Return where a run is, how it ended, and its scores."""
    return {
        "path": str(run.path),
        "status": run.status,
        "reason": run.record.get("reason"),
        "scores": run.scores,
        "warnings": run.warnings,
    }


def comparison_json(
    runs: Sequence[Run], by: Sequence[str] | None = None, score: str | None = None
) -> dict[str, Any]:
    """Return the means of runs, what is best, and each run.

    Args:
        runs: what to sum up.
        by: the columns that make a setting; None for all that vary.
        score: what settings are compared by; None for the NMI on the map, if there is one.
    """
    if not any(run.flat_settings for run in runs):
        return {"by": [], "score": None, "means": [], "verdict": [], "runs": _runs(runs, [])}
    table = results(runs)
    by, score = list(by or settings_of(table)), main_score(table, score)
    settings = [_setting(run, row) for run, (_, row) in zip(runs, table.iterrows(), strict=True)]
    firsts = {tuple(at[key] for key in by): {key: at[key] for key in by} for at in settings}
    rows = summarise(table, by).to_dict("records")
    means = [
        {
            "setting": setting,
            "n": row["n"],
            "failed": row["failed"],
            "scores": {
                name: {of: row[f"{name}_{of}"] for of in ("mean", "sd", "low", "high")}
                for name in scores_of(table)
            },
        }
        for setting, row in zip(firsts.values(), rows, strict=True)
    ]
    lines = verdict(table, by, score)
    runs_told = _runs(runs, settings)
    return {"by": by, "score": score, "means": means, "verdict": lines, "runs": runs_told}


def _setting(run: Run, row: pd.Series) -> dict[str, Any]:
    """Return the settings of a run that vary, as it has them: a table makes floats of numbers."""
    keys = list(row.index[1 : row.index.get_loc("status")])
    return {key: run.flat_settings.get(key, plain(row[key])) for key in keys}


def _runs(runs: Sequence[Run], settings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each run with the settings that vary."""
    known = settings or [{}] * len(runs)
    return [{**job_json(run), "setting": at} for run, at in zip(runs, known, strict=True)]


def plain(value: Any) -> Any:
    """Return a value as json can hold it: no numpy, and null for what is no finite number."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return None if value is pd.NA or value is pd.NaT else value
