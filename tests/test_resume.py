"""Going on with runs by any path, and the link `latest`."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from anndata import AnnData
from conftest import FAST
from scipy.sparse import csr_matrix

from scvae_cli.errors import Kind
from scvae_cli.runs.claim import point_latest

QUICK = [*FAST, "model=pca", "tsne.max_iter=250", "cluster.n_init=2"]


def unfinish(run: Path) -> None:
    """Leaves a run as one that was killed after its training."""
    for name in ("latent.csv", "cells.csv", "scores.json"):
        (run / name).unlink()
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": "running"}))


@pytest.mark.parametrize("how", ["latest", "relative", "home", "through a link", "elsewhere"])
def test_an_unfinished_run_is_resumed_by_any_path(scvae, run_of, tmp_path, monkeypatch, how):
    run, latest = tmp_path / "outputs" / "today" / "run", tmp_path / "outputs" / "latest"
    shutil.copytree(run_of(*QUICK), run)
    latest.symlink_to("today/run")
    scores = (run / "scores.json").read_bytes()
    unfinish(run)
    given = f"{run.relative_to(tmp_path)}/"
    if how == "latest":
        given = "outputs/latest"
    elif how == "home":
        monkeypatch.setenv("HOME", str(tmp_path))
        given = f"~/{given}"
    elif how == "through a link":
        (tmp_path / "a link").symlink_to(tmp_path / "outputs")
        given = "'a link/latest'"  # as Hydra wants a space to be quoted
    elif how == "elsewhere":
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        given = f"../{given}"
    here = Path.cwd()
    result = scvae("train", f"resume={given}")
    assert result.code == 0, result.err
    assert (run / "scores.json").read_bytes() == scores
    assert latest.resolve() == run  # and not itself
    assert Path.cwd() == here


def test_a_sweep_is_resumed_from_another_folder(scvae, tmp_path, monkeypatch):
    path = tmp_path / "my" / "experiment" / "small.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("# @package _global_\nlatent_dim: 3\n")
    command = ["--config-dir", "my", "experiment=small", *QUICK, "seed=0,1"]
    assert scvae("train", "-m", *command, "hydra.sweep.dir=s").code == 0
    before = (tmp_path / "s" / "summary.csv").read_bytes()
    unfinish(next((tmp_path / "s").glob("000-*")))
    (tmp_path / "link").symlink_to("s")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = scvae("train", "resume=../link")
    assert result.code == 0, result.err
    assert "1 of them done before" in result.err
    assert (tmp_path / "s" / "summary.csv").read_bytes() == before


def test_a_link_to_itself_is_refused(scvae, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    result = scvae("train", "resume=loop")
    result.refused(Kind.UNKNOWN, "resume")
    assert (result.error.value, result.err.count("\n")) == ("loop", 1)


def test_latest_is_a_sweep_and_not_its_last_job(scvae, tmp_path):
    assert scvae("train", "-m", *QUICK, "seed=0,1").code == 0
    (sweep,) = (tmp_path / "outputs").glob("*/*-sweep")
    assert (tmp_path / "outputs" / "latest").resolve() == sweep


@pytest.mark.parametrize("what", ["a file", "a folder", "a link elsewhere", "a dangling link"])
def test_what_somebody_called_latest_stays(tmp_path, what):
    mine, run = tmp_path / "outputs" / "latest", tmp_path / "outputs" / "run"
    run.mkdir(parents=True)
    if what == "a file":
        mine.write_text("my notes")
    elif what == "a folder":
        mine.mkdir()
    else:
        mine.symlink_to(tmp_path if what == "a link elsewhere" else "../gone")
    before = os.lstat(mine)
    point_latest(tmp_path / "outputs", run)
    assert os.lstat(mine) == before


def test_a_strangers_run_changes_no_link_outside_it(scvae, run_of, tmp_path):
    shutil.copytree(run_of(*QUICK), tmp_path / "outputs" / "theirs")
    unfinish(tmp_path / "outputs" / "theirs")
    assert scvae("train", "resume=outputs/theirs").code == 0
    assert not os.path.lexists(tmp_path / "outputs" / "latest")


@pytest.mark.parametrize("command", ["verify", "resume"])
def test_where_the_cells_are_looked_for_is_said(scvae, tmp_path, monkeypatch, command):
    """Paths start from the folder where the run began, which another folder may be by now."""
    (tmp_path / "began").mkdir()
    monkeypatch.chdir(tmp_path / "began")
    cells = AnnData(csr_matrix(np.random.default_rng(0).poisson(3.0, (60, 9)).astype(np.float32)))
    cells.write_h5ad("c.h5ad")
    words = ["model=pca", "latent_dim=2", "tsne.perplexity=5", "map_3d=false", "hydra.run.dir=r"]
    assert scvae("train", "c.h5ad", *words).code == 0
    Path("c.h5ad").rename(tmp_path / "c.h5ad")
    Path("r").rename(tmp_path / "r")
    monkeypatch.chdir(tmp_path)
    if command == "resume":
        unfinish(tmp_path / "r")
    given = ["verify", "r"] if command == "verify" else ["train", "resume=r"]
    line = scvae(*given).refused(Kind.MISSING, "data.path")
    assert f"no such file or folder in {tmp_path / 'began'}, where the run began" in line
