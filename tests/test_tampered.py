"""Runs and sweeps whose files somebody has changed: read, or refused in a line that names one."""

import contextlib
import json
import os
import shutil
from functools import partial
from itertools import product, takewhile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pandas as pd
import pytest
from conftest import FAST, PLAIN, representative
from hypothesis import HealthCheck, given, settings

import scvae_cli
from scvae_cli.cli import main
from scvae_cli.errors import InputError, Kind
from scvae_cli.results.means import summarise
from scvae_cli.results.run_page import run_page
from scvae_cli.results.table import results, settings_of
from scvae_cli.runs.files import read_json
from scvae_cli.runs.run import Run
from scvae_cli.runs.same import read_training

QUICK = ["tsne.perplexity=5", "tsne.max_iter=250", "cluster.n_init=1", *PLAIN]
FILES = ["run.json", "scores.json", "config.yaml", "genes.csv", "history.csv", "latent.csv",
         "cells.csv", "expression.csv", "model.safetensors"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A whole run."""
    path = tmp_path_factory.mktemp("whole") / "r"
    with pytest.MonkeyPatch.context() as patch:
        words = ["train", *FAST, *QUICK, "model=vae", f"hydra.run.dir={path}"]
        patch.setattr("sys.argv", ["scvae", *words])
        patch.chdir(path.parent)
        main(words)
    return path


def forget(folder: Path, name: str) -> None:
    """Takes a file's checksum out of run.json, as somebody would who changes it."""
    with contextlib.suppress(ValueError, RecursionError, KeyError, TypeError, AttributeError):
        record = json.loads((folder / "run.json").read_text())
        del record["files"][name]
        (folder / "run.json").write_text(json.dumps(record))


def refused(result, *names: str, key: str | None = None) -> None:
    """Refused as damaged, in a line that names all these."""
    line = result.refused(Kind.DAMAGED, key)
    for name in names:
        assert name in line


DEEP = "[" * 100_000
RAW = {
    "deep": DEEP.encode(),
    "deep within": b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}",
    "a list": b"[1]",
    "nothing": b"",
    "null": b"null",
    "no UTF-8": b'{"status": "\xff\xfe"}',
    "a long number": b'{"status": ' + b"1" * 10_000 + b"}",
    "cut": b'{"status": "do',
}


SOME = [*product(["run.json"], RAW), ("scores.json", "deep"), ("config.yaml", "cut")]
OTHERS = {*product(["scores.json", "config.yaml"], RAW)} - {*SOME}


@pytest.mark.parametrize(("name", "how"), representative([*SOME, *sorted(OTHERS)], len(SOME)))
def test_what_is_no_record_is_refused(scvae, run, tmp_path, name, how):
    shutil.copytree(run, tmp_path / "t")
    (tmp_path / "t" / name).write_bytes(RAW[how])
    forget(tmp_path / "t", name)
    for words in (["show", "t"], ["compare", "t"], ["embed", "t", "t"]):
        refused(scvae(*words), name)
    if name != "scores.json" or "deep" in how:  # others are made again, or other commands say so
        refused(scvae("verify", "t"), name)
    if name != "scores.json":
        refused(scvae("train", *FAST, *QUICK, "model=vae", "trained=t"), name, key="trained")
    if name == "run.json":
        refused(scvae("train", "resume=t"), name, key="resume")


ODD: dict[str, Any] = {
    "format": ["1", 0, None, True, 1.0],
    "exported": [True, {}, "x"],
    "seconds": [{"a": "b"}, None, [1], {"a": None}],
    "files": [[1], None, {"a": 1}, {"../x": "0" * 64}, {"/etc/passwd": "0" * 64}],
    "git": ["x", {"commit": 1}, []],
    "versions": [None, [], {"torch": 2}],
    "status": [None, 1, "odd", []],
    "reason": [1, {}, []],
    "command": [None, "scvae 'open", [1]],
    "overrides": [None, "a=1", [1]],
    "data": [[], "x", {"name": 1}, {"name": "a", "cell_types": None}],
    "cwd": [None, 1],
    "threads": ["2", 0, -1, 1.5],
    "device": ["abacus", 1],
    "warnings": ["x", [1], {}],
    "resumed": ["x", [1], [{"when": 1}]],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in ODD.items() for v in values])
def test_odd_values_in_run_json_are_refused_by_name(scvae, run, tmp_path, key, value):
    shutil.copytree(run, tmp_path / "t")
    record = json.loads((run / "run.json").read_text())
    (tmp_path / "t" / "run.json").write_text(json.dumps({**record, key: value}))
    for words in (["show", "t"], ["compare", "t"], ["verify", "t"], ["embed", "t", "t"]):
        refused(scvae(*words), "run.json: ", f"({key}")
    refused(scvae("train", "resume=t"), "run.json: ", f"({key}", key="resume")


ANY = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
        st.sampled_from([10**400, "done", "vae", "2020-01-01", "${x}", "a\0b"]),
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)  # fmt: skip


def places(value, at=()):
    """Where each value of nested ones is."""
    yield at
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in items:
        yield from places(inner, (*at, key))


@settings(
    max_examples=150, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(data=st.data())
def test_any_value_anywhere_is_read_or_refused(run, tmp_path, data):
    """One value of a record, of the scores or of the settings is another."""
    name = data.draw(st.sampled_from(["run.json", "scores.json", "config.yaml"]))
    folder = tmp_path / "t"
    if not folder.exists():
        shutil.copytree(run, folder)
    for file in ("run.json", "scores.json", "config.yaml"):
        shutil.copy(run / file, folder / file)
    import yaml

    text = (run / name).read_text()
    contents = yaml.safe_load(text) if name == "config.yaml" else json.loads(text)
    *where, last = data.draw(st.sampled_from([at for at in places(contents) if at]))
    inner = contents
    for key in where:
        inner = inner[key]
    inner[last] = data.draw(ANY)
    dump = yaml.safe_dump if name == "config.yaml" else json.dumps
    (folder / name).write_text(dump(contents))
    forget(folder, name)

    settings_then = yaml.safe_load((run / "config.yaml").read_text())
    with contextlib.suppress(InputError):
        read_training(folder, settings_then, "fingerprint")
    with contextlib.suppress(InputError):
        loaded = scvae_cli.load(folder)
        _ = loaded.cells, loaded.latent, loaded.provenance()
    with contextlib.suppress(InputError):
        changed = Run(folder).read_all()
        table = results([changed])
        summarise(table, settings_of(table))
        run_page(changed)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", representative(["garbage", "pipe", "gone", "folder"], 2))
def test_a_file_that_is_none(scvae, run, tmp_path, name, how):
    shutil.copytree(run, tmp_path / "t")
    file = tmp_path / "t" / name
    file.unlink()
    if how == "pipe":  # which would be waited for
        os.mkfifo(file)
    elif how == "folder":
        file.mkdir()
    elif how == "garbage":
        file.write_bytes(b"\xff\xfe\x00,\r\n\x01")
        forget(tmp_path / "t", name)
    if name not in ("scores.json", "history.csv", "expression.csv"):
        read = partial(scvae_cli.load, "t")
        if name in ("latent.csv", "cells.csv"):  # which are read when they are asked for
            read = partial(getattr, read(), name.removesuffix(".csv"))
        with pytest.raises(InputError) as caught:
            read()
        assert caught.value.kind == (Kind.DAMAGED if how == "garbage" else Kind.MISSING)
        assert name in str(caught.value)
    result = scvae("show", "t")
    assert "Traceback" not in result.err
    if result.code == 0 and how != "garbage":  # whose checksum is gone
        assert f"but {name} is " in result.out
    for words in (["compare", "t", "--to", "c"], ["verify", "t"] if how != "garbage" else []):
        assert not words or "Traceback" not in scvae(*words).err


def test_show_tells_what_is_lost(scvae, run, tmp_path):
    shutil.copytree(run, tmp_path / "t")
    assert "status    done\n" in scvae("show", "t").out
    (tmp_path / "t" / "model.safetensors").unlink()
    with (tmp_path / "t" / "latent.csv").open("ab") as file:
        file.write(b"x")
    (line,) = [x for x in scvae("show", "t").out.splitlines() if x.startswith("status")]
    assert line.split(None, 1)[1].startswith("done, but ")
    assert "model.safetensors is missing" in line
    assert "latent.csv is not what it wrote" in line
    assert "`scvae train resume=t` mends it" in line


def test_damaged_runs_are_left_out_of_a_comparison_and_told(scvae, run, tmp_path):
    for name in ("a", "b", "c"):
        shutil.copytree(run, tmp_path / "runs" / name)
    for name, seed in (("b", 1), ("c", 2)):
        path = tmp_path / "runs" / name / "config.yaml"
        path.write_text(path.read_text().replace("\nseed: 0", f"\nseed: {seed}"))
    (tmp_path / "runs" / "b" / "scores.json").write_text('{"tsne": {"nmi": null}}')
    result = scvae("compare", "runs")
    assert result.code == 0, result.err
    (line,) = [x for x in result.err.splitlines() if x.startswith("Left out: ")]
    assert "runs/b/scores.json: damaged (tsne.nmi: must be a valid number)" in line
    (row,) = [x.split() for x in result.out.splitlines() if x.startswith(" vae ")]
    assert row[:2] == ["vae", "2"]


@pytest.mark.parametrize("how", ["emptied", "gone"])
def test_a_page_is_a_file_of_the_run(scvae, run, tmp_path, how):
    shutil.copytree(run, tmp_path / "t")
    page = tmp_path / "t" / "report.html"
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "t").rglob("*.*")}
    assert "report.html" in read_json(tmp_path / "t", "run")["files"]
    if how == "emptied":
        page.write_bytes(b"")
    else:
        page.unlink()
    assert "report.html" in scvae("show", "t").out
    assert scvae("verify", "t").code == 2
    result = scvae("train", "resume=t")
    assert result.code == 0, result.err
    assert page.stat().st_size > 10_000
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "t").rglob("*.*")}
    assert {p.name for p in before if after[p] != before[p]} <= {"report.html", "run.json"}
    assert "status    done\n" in scvae("show", "t").out
    assert "the run is done" in scvae("train", "resume=t").err


def test_what_a_run_was_resumed_with_is_kept(scvae, run, tmp_path):
    """The versions that began it and those that went on, as often as that was."""
    shutil.copytree(run, tmp_path / "t")
    record = json.loads((run / "run.json").read_text())
    today = record["versions"]["torch"]
    record |= {"versions": {**record["versions"], "torch": "1.0"}, "resumed": ["2020-01-01"]}
    (tmp_path / "t" / "run.json").write_text(json.dumps({**record, "status": "running"}))
    (tmp_path / "t" / "latent.csv").unlink()
    assert " torch 1.0" in scvae("train", "resume=t").refused(Kind.DIFFERS, "resume")
    result = scvae("train", "resume=t", "force=true")
    assert result.code == 0, result.err
    after = json.loads((tmp_path / "t" / "run.json").read_text())
    assert after["versions"]["torch"] == "1.0"
    assert after["resumed"][0] == "2020-01-01"  # as an older version wrote it
    assert after["resumed"][1]["versions"]["torch"] == today
    assert set(after["resumed"][1]) == {"when", "versions", "git"}
    page = (tmp_path / "t" / "report.html").read_text()
    assert f"<dt>torch</dt><dd>1.0; {today}</dd>" in page
    (tmp_path / "t" / "latent.csv").unlink()
    result = scvae("train", f"resume={tmp_path / 't'}")  # by what went on with it last
    assert result.code == 0, result.err


WARNING = "4 of 6 latent features are on for every cell: gates | of 1"


def test_warnings_are_wherever_results_are(scvae, run, tmp_path):
    shutil.copytree(run, tmp_path / "runs" / "a")
    record = json.loads((run / "run.json").read_text())
    path = tmp_path / "runs" / "a" / "run.json"
    path.write_text(json.dumps({**record, "warnings": [WARNING]}))
    (tmp_path / "runs" / "a" / "report.html").unlink()
    assert scvae("train", "resume=runs/a").code == 0
    assert f"</strong> {WARNING}" in (tmp_path / "runs" / "a" / "report.html").read_text()
    assert f"warning   {WARNING}\n" in scvae("show", "runs/a").out
    assert f"warning: {WARNING} (a)\n" in scvae("compare", "runs", "--to", "c").err
    assert pd.read_csv(tmp_path / "c" / "results.csv")["warnings"].tolist() == [WARNING]
    assert WARNING in (tmp_path / "c" / "report.html").read_text()
    assert f"- a: {WARNING}".replace("|", "\\|") in (tmp_path / "c" / "summary.md").read_text()


def test_a_sweep_tells_the_warnings_of_its_jobs(scvae, tmp_path):
    words = [*FAST, *QUICK, "data.n_cells=300", "model=vae", "beta=1000,1", "hydra.sweep.dir=s"]
    result = scvae("train", "-m", *words)
    assert result.code == 0, result.err
    lines = result.err.splitlines()
    (job,) = [i for i, line in enumerate(lines) if "000-vae" in line and "NMI" in line]
    of_job = takewhile(lambda line: line.startswith("    warning: "), lines[job + 1 :])
    shown = [line.removeprefix("    warning: ") for line in of_job]
    assert "posterior collapse" in shown[1]
    told = pd.read_csv(tmp_path / "s" / "results.csv")["warnings"]
    assert told[0] == "; ".join(shown)
    page = (tmp_path / "s" / "report.html").read_text()
    assert all(warning in page for warning in shown)


def test_a_strangers_sweep_is_read_or_refused(scvae, tmp_path):
    (tmp_path / "s").mkdir()
    whole = {"command": "scvae train -m seed=0,1", "versions": {}, "jobs": []}
    for key, value in [("command", "scvae 'open"), ("command", 1), ("versions", None),
                       ("jobs", [1]), ("jobs", [{"folder": 1}]), ("data", [])]:  # fmt: skip
        (tmp_path / "s" / "sweep.json").write_text(json.dumps({**whole, key: value}))
        refused(scvae("train", "resume=s"), "sweep.json: ", f"({key}", key="resume")
    (tmp_path / "s" / "sweep.json").write_text(DEEP)
    refused(scvae("train", "resume=s"), "sweep.json: ", key="resume")
