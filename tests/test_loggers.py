"""`logger=`: what TensorBoard and MLflow read back is history.csv, settings and scores."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from conftest import FAST, PLAIN, SMALL

import scvae_cli
from scvae_cli.console import Stage
from scvae_cli.errors import InputError, Kind
from scvae_cli.runs.run import Run

TINY = ["data.n_cells=60", "data.n_genes=30", "tsne.perplexity=5", "tsne.max_iter=250",
        "cluster.n_init=1", *PLAIN, "model=vae"]  # fmt: skip
BOTH = "logger=[tensorboard,mlflow]"

# Runs the command where no connection can be made, and shows those that were tried.
ALONE = """
import os, socket, sys
tried = []
def connect(self, address):
    tried.append(address)
    raise OSError("no network")
socket.socket.connect = socket.socket.connect_ex = connect
before = dict(os.environ)
from scvae_cli.cli import main
main(sys.argv[1:])
changed = {k for k in {*before, *os.environ} if before.get(k) != os.environ.get(k)}
print("tried", tried, "changed", {k for k in changed if "MLFLOW" in k or "TRACK" in k})
"""
CI = {"CI", "PYTEST_CURRENT_TEST", "GITHUB_ACTIONS", "GITLAB_CI", "MLFLOW_DISABLE_TELEMETRY"}


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> tuple[Run, str]:
    """A run with both loggers, whose environment asks MLflow to send; what it printed."""
    folder = tmp_path_factory.mktemp("logged")
    words = ["train", *FAST, *TINY, BOTH, "hydra.run.dir=r"]
    env = {key: value for key, value in os.environ.items() if key not in CI}
    env["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *words], cwd=folder, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return Run(folder / "r"), done.stdout + done.stderr


def of_tensorboard(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of each scalar."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


@pytest.fixture
def of_mlflow(monkeypatch):
    """Returns the only run of a store, and steps and values of each metric."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    def read(path: Path):
        client = MlflowClient((path / "mlruns").as_uri())
        found = client.search_runs([e.experiment_id for e in client.search_experiments()])
        assert len(found) == 1
        identity = found[0].info.run_id
        return found[0], {
            key: [(m.step, m.value) for m in client.get_metric_history(identity, key)]
            for key in found[0].data.metrics
        }

    return read


def expected(run: Run) -> dict[str, list[tuple[int, float]]]:
    """What history.csv and scores.json have."""
    history = pd.read_csv(run.path / "history.csv")
    rows = {
        name: [*zip(history["epoch"], history[name], strict=True)]
        for name in history
        if name != "epoch"
    }
    return rows | {name: [(0, value)] for name, value in run.flat_scores.items()}


def same(ours, theirs) -> None:
    assert {name: [step for step, _ in rows] for name, rows in ours.items()} == {
        name: [step for step, _ in rows] for name, rows in theirs.items()
    }
    for name, rows in ours.items():
        assert [v for _, v in rows] == pytest.approx([v for _, v in theirs[name]], rel=1e-5), name


def test_both_have_the_history_and_the_scores(logged, of_mlflow):
    run, _ = logged
    same(of_tensorboard(run.path), expected(run))
    entry, metrics = of_mlflow(run.path)
    same(metrics, expected(run))
    assert entry.info.status == "FINISHED"
    assert entry.data.params == {
        key: "null" if value is None else str(value)
        for key, value in run.flat_settings.items()
        if key != "experiment"
    }


def test_tensorboard_has_the_settings(logged):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    run, _ = logged
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    given = HParamsPluginData.FromString(content).session_start_info.hparams
    assert given["model"].string_value == "vae"
    assert given["beta"].number_value == run.flat_settings["beta"]
    assert given["ensemble"].string_value == "null"


def test_nothing_is_sent_whatever_the_environment_says(logged):
    _, printed = logged
    assert "tried [] changed set()" in printed
    assert "MLFLOW_TRACKING_URI is not used" in printed


def test_a_run_that_is_resumed_has_each_step_once(scvae, monkeypatch, of_mlflow):
    def interrupt(self, row, total):
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    words = ["train", *SMALL, *TINY, "epochs=4", "checkpoint.every=1", BOTH, "hydra.run.dir=r"]
    with monkeypatch.context() as patch:
        patch.setattr(Stage, "progress", interrupt)
        assert scvae(*words).code == 130
    assert len(of_tensorboard(Path("r"))["total"]) == 3
    entry, _ = of_mlflow(Path("r").absolute())
    assert entry.info.status == "FAILED"
    assert scvae("train", "resume=r").code == 0
    run = Run(Path("r").absolute())
    same(of_tensorboard(run.path), expected(run))
    shutil.rmtree("r/mlruns")
    (run.path / "latent.csv").unlink()  # the training is whole, what follows is done again
    assert scvae("train", "resume=r").code == 0
    same(of_tensorboard(run.path), expected(run))
    same(of_mlflow(run.path)[1], expected(run))


def test_members_of_an_ensemble_have_names(scvae):
    words = ["train", *FAST, *TINY, "ensemble=2", "logger=tensorboard", "hydra.run.dir=r"]
    assert scvae(*words).code == 0
    history = pd.read_csv("r/history.csv")
    logged = of_tensorboard(Path("r"))
    for member, rows in history.groupby("member"):
        there = logged[f"member{member}/total"]
        assert [step for step, _ in there] == [*rows["epoch"]]
        assert [v for _, v in there] == pytest.approx([*rows["total"]], rel=1e-5)


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_what_is_not_installed_is_refused_before_anything_is_written(
    scvae, monkeypatch, tmp_path, name
):
    monkeypatch.setattr("scvae_cli.settings.find_spec", lambda _: None)
    line = scvae("train", *FAST, f"logger={name}").refused(Kind.UNAVAILABLE, "logger")
    assert f"pip install scvae-cli[{name}]" in line
    assert not [*tmp_path.iterdir()]


def test_other_loggers_and_folders_that_go_are_refused(scvae):
    assert "tensorboard" in scvae("train", "logger=wandb").refused(Kind.VALUE, "logger")
    with pytest.raises(InputError, match="give folder="):
        scvae_cli.fit(AnnData(np.ones((9, 4), np.float32)), logger="tensorboard")
