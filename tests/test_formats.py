"""Runs of every format there was, made by the code of their time: see docs/formats.md."""

import json
import re
import shutil
from pathlib import Path

import anndata
import numpy as np
import pytest

import scvae_cli
from scvae_cli.errors import Kind
from scvae_cli.runs.formats import FORMAT

HERE = Path(__file__).parent / "formats"
FORMATS = sorted(path for path in HERE.iterdir() if path.name.isdigit())
RUNS = sorted(path.parent.relative_to(HERE) for path in HERE.glob("*/*/run.json"))
JOBS = sorted(path.parent.relative_to(HERE) for path in HERE.glob("*/*/*/run.json"))


@pytest.fixture
def at(tmp_path, scvae):
    """Copies the runs of a format to the working directory; see `scvae` of conftest.py."""

    def copy(number: str) -> Path:
        shutil.copytree(HERE / number, tmp_path, dirs_exist_ok=True)
        return tmp_path

    return copy


def test_there_are_runs_of_every_format_and_of_no_machine():
    assert [path.name for path in FORMATS] == [str(n + 1) for n in range(FORMAT)]
    for folder in FORMATS:
        assert {path.name for path in folder.iterdir()} >= {
            "vae", "vsc", "pca", "ensemble", "batches", "decoded", "aligned", "sweep",
            "cells.h5ad",
        }  # fmt: skip
        texts = [p.read_text() for p in folder.rglob("*") if p.suffix in (".json", ".yaml")]
        assert not [line for text in texts for line in re.findall(r"[\s\"=]/\w+/.*", text)]


@pytest.mark.parametrize("path", [*RUNS, *JOBS], ids=str)
def test_a_run_opens_and_embeds_its_own_cells_and_others(path):
    run = scvae_cli.load(HERE / path)
    cells = anndata.read_h5ad(HERE / path.parts[0] / "cells.h5ad")
    assert np.allclose(run.embed(cells), run.latent, atol=1e-5)
    some = cells[3:9, ::-1].copy()  # other cells, whose genes are in another order
    assert np.allclose(run.embed(some), run.latent[3:9], atol=1e-5)
    assert len(run.history) == len(run.history.dropna(how="all"))
    assert run.cells["cell_type"].tolist() == cells.obs["kind"].tolist()
    assert set(run.predict_types(run.embed(some)).cell_types) <= {"a", "b", "unknown"}


@pytest.mark.parametrize("path", RUNS, ids=str)
def test_a_run_is_shown_and_done_once_more(scvae, at, path):
    at(path.parts[0])
    shown = scvae("show", path.name)
    assert "status    done\n" in shown.out, shown.err
    # Maps and clusters may be others where rounding is.
    lines = scvae("verify", path.name)
    outcome = dict(re.findall(r"^  (\S+) +(identical|within .*|different.*?) *$", lines.out, re.M))
    for name in ("genes.csv", "history.csv", "latent.csv", "model.safetensors"):
        assert not outcome[name].startswith("different"), lines.out
    assert lines.code in (0, 1)


@pytest.mark.parametrize("number", [path.name for path in FORMATS])
def test_runs_are_compared_and_a_sweep_is_shown(scvae, at, number):
    folder = at(number)
    compared = scvae("compare", *(p.name for p in folder.iterdir() if p.is_dir()), "--to", "c")
    assert compared.code == 0, compared.err
    assert "Left out" not in compared.err
    n_runs = len([path for path in RUNS + JOBS if path.parts[0] == number])
    assert len((folder / "c" / "results.csv").read_text().splitlines()) == 1 + n_runs
    assert "2 of 2 are done" in scvae("show", "sweep").out


@pytest.mark.parametrize("number", [path.name for path in FORMATS])
def test_runs_are_resumed_or_it_is_said_why_not(scvae, at, number):
    folder = at(number)
    assert "the run is done" in scvae("train", "resume=pca").err
    assert (folder / "pca" / "report.html").exists()
    for name in ("vae/run.json", "sweep/sweep.json"):
        record = json.loads((folder / name).read_text())
        record["versions"]["scvae-cli"] = "0.0.1"
        if name == "vae/run.json":
            record["status"] = "running"
        (folder / name).write_text(json.dumps(record))
    (folder / "vae" / "scores.json").unlink()
    assert "was begun" in scvae("train", "resume=vae").refused(Kind.DIFFERS, "resume")
    latent = (folder / "vae" / "latent.csv").read_bytes()
    result = scvae("train", "resume=vae", "force=true")
    assert result.code == 0, result.err
    assert (folder / "vae" / "latent.csv").read_bytes() == latent
    assert "was begun" in scvae("train", "resume=sweep").refused(Kind.DIFFERS, "resume")


LATER = FORMAT + 1
COMMANDS = [
    ["show", "pca"], ["verify", "pca"], ["embed", "pca", "cells.h5ad"], ["compare", "pca"],
    ["export", "pca", "--to", "x"], ["train", "resume=pca"], ["train", "resume=sweep"],
    ["show", "sweep"], ["export", "sweep", "--to", "x"], ["train", "trained=pca", "model=pca"],
]  # fmt: skip


def test_a_later_format_is_refused_by_every_command(scvae, at):
    folder = at(str(FORMAT))
    for name in ("pca/run.json", "sweep/sweep.json"):
        record = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({"format": LATER, "status": "of later days"}))
        assert record["format"] == FORMAT
    for words in COMMANDS:
        line = scvae(*words).refused(Kind.DIFFERS)
        assert re.search(r"(pca/run|sweep/sweep)\.json: ", line)
        assert f"is of format {LATER}, and this scvae reads formats up to {FORMAT}" in line
        assert "install a later version" in line


def test_a_run_of_before_the_number_is_of_the_first(scvae, at):
    path = at("1") / "pca" / "run.json"
    record = json.loads(path.read_text())
    del record["format"]
    path.write_text(json.dumps(record))
    assert scvae("show", "pca").code == 0
