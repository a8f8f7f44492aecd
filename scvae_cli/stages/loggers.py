"""Log a run for TensorBoard and MLflow too, in its folder; nothing is sent anywhere.

What is there is written anew by each process that fits the model, so that a run that is resumed
has no step twice.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from scvae_cli.runs.run import flattened
from scvae_cli.stages.context import Context

Row = Mapping[str, Any]
Log = Callable[[Row], object]
# What MLflow reads from the environment while scvae calls it. It refuses its own file store
# unless it is allowed, and counts its users unless it is told not to.
ENVIRONMENT = {
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


def logged(context: Context, fit: Callable[[Log], pd.DataFrame], *, live: bool) -> pd.DataFrame:
    """Fit a model, log the rows of its history to each of `logger=`, and return the history.

    Args:
        context: of the run.
        fit: fits the model, calls its argument with each row while it trains, and returns all.
        live: whether to log those rows when they come, and not those of the history at the end.
    """
    with ExitStack() as stack:
        logs = [stack.enter_context(ROWS[name](context)) for name in _names(context)]
        seen: list[Row] = []

        def log(row: Row) -> None:
            seen.append(row)
            for log_row in logs:
                log_row(row)

        history = fit(log if live else len)
        if not seen:
            for row in history.to_dict("records"):
                log({str(name): value for name, value in row.items()})
    return history


def log_scores(context: Context, scores: Mapping[str, Mapping[str, float]]) -> None:
    """Log the scores of a run, for TensorBoard together with its settings."""
    flat = {
        f"{space}_{name}": value for space, row in scores.items() for name, value in row.items()
    }
    for name in _names(context):
        SCORES[name](context, flat)


def _names(context: Context) -> list[str]:
    """Return what `logger=` names, each once."""
    return [*dict.fromkeys(context.config.logger or [])]


def _scalars(row: Row) -> tuple[dict[str, float], int]:
    """Return what to log of a row by the names of its columns, and the step: epoch or update.

    Columns of a member of an ensemble are `member1/total`, ...
    """
    step = "updates" if "updates" in row else "epoch"
    prefix = f"member{row['member']:.0f}/" if "member" in row else ""
    values = {f"{prefix}{k}": float(v) for k, v in row.items() if k not in ("member", step)}
    return values, int(row[step])


def _emptied(context: Context, name: str) -> Path:
    """Return a folder of the run that is not there."""
    folder = context.writer.path / name
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _settings(context: Context) -> dict[str, Any]:
    """Return the settings by dotted keys, nulls and lists as text."""
    flat = flattened(context.config.model_dump())
    return {key: "null" if value is None else value for key, value in flat.items()}


@contextmanager
def _tensorboard_rows(context: Context) -> Iterator[Log]:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(_emptied(context, "tensorboard")) as board:

        def log(row: Row) -> None:
            values, step = _scalars(row)
            for name, value in values.items():
                board.add_scalar(name, value, step)
            board.flush()

        yield log


def _tensorboard_scores(context: Context, scores: Mapping[str, float]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(context.writer.path / "tensorboard") as board:
        board.add_hparams(_settings(context), dict(scores), run_name=".")  # in the same folder


@contextmanager
def _mlflow_rows(context: Context) -> Iterator[Log]:
    if "MLFLOW_TRACKING_URI" in os.environ:
        context.console.line("MLFLOW_TRACKING_URI is not used: mlruns/ in the run's folder is")
    folder = _emptied(context, "mlruns")
    # MLflow makes these only once in a process, which may fit more than one run in a folder.
    (folder / ".trash").mkdir(parents=True)
    with _mlflow(folder) as client:
        from mlflow.entities import Metric, Param

        experiment = client.create_experiment("scvae")
        run = client.create_run(experiment, run_name=context.writer.path.name).info.run_id
        params = [Param(key, str(value)) for key, value in _settings(context).items()]
        client.log_batch(run, params=params)

        def log(row: Row) -> None:
            values, step = _scalars(row)
            now = time.time_ns() // 10**6
            client.log_batch(run, [Metric(k, v, now, step) for k, v in values.items()])

        try:
            yield log
        except BaseException:
            client.set_terminated(run, "FAILED")
            raise
        client.set_terminated(run)


def _mlflow_scores(context: Context, scores: Mapping[str, float]) -> None:
    with _mlflow(context.writer.path / "mlruns") as client:
        (experiment,) = client.search_experiments(filter_string="name = 'scvae'")
        (run,) = client.search_runs([experiment.experiment_id])
        for name, value in scores.items():
            client.log_metric(run.info.run_id, name, value)


@contextmanager
def _mlflow(folder: Path) -> Iterator[Any]:
    """Yield a client of MLflow's whose store is this folder, whatever the environment says."""
    before = {key: os.environ.get(key) for key in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        from mlflow import MlflowClient

        yield MlflowClient(folder.as_uri(), registry_uri=folder.as_uri())
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


ROWS = {"tensorboard": _tensorboard_rows, "mlflow": _mlflow_rows}
SCORES = {"tensorboard": _tensorboard_scores, "mlflow": _mlflow_scores}
