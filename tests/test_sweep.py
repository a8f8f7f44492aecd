"""Sweeps: their table against pandas and scipy, faults, going on, other launchers."""

import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest
from conftest import FAST, SMALL, Result, representative, told_as_json
from filelock import FileLock
from scipy import stats

from scvae_cli.atomic import write_file
from scvae_cli.errors import Kind

SCORES = [f"{space}_{m}" for space in ("tsne", "latent") for m in ("nmi", "ari", "hom", "com")]
QUICK = [*FAST, "tsne.max_iter=250", "cluster.n_init=2"]
GRID = [*QUICK, "threads=1", "model=vae", "beta=0.5,2,1e38", "seed=0,1"]


def the_sweep(tmp_path: Path) -> Path:
    (folder,) = (tmp_path / "outputs").glob("*/*-sweep")
    return folder


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "results.csv", float_precision="round_trip")


def results(folder: Path) -> pd.DataFrame:
    """What a sweep found, without how long it took."""
    return table(folder).drop(columns=["seconds", "overrides"])


def run(folder: Path, *arguments: str) -> Result:
    """`scvae ARGUMENTS` in a process of its own, whose jobs have another."""
    done = subprocess.run(
        [sys.executable, "-m", "scvae_cli", *arguments], cwd=folder, capture_output=True, text=True
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two models, two betas that one of them ignores, three seeds, and a beta that fails."""
    folder = tmp_path_factory.mktemp("swept")
    grid = ["model=vae,pca", "beta=0.5,2,1e38", "seed=range(0,3)", "lr=0.01"]
    result = run(folder, "train", "-m", *QUICK, *grid)
    return result, the_sweep(folder)


@pytest.fixture
def finished(scvae, once):
    """A sweep over two seeds that is done, with figures as PDF."""

    def make(folder: Path) -> None:
        command = ["train", "-m", *QUICK, "model=vae", "seed=0,1", "figures.format=pdf"]
        assert scvae(*command, f"hydra.sweep.dir={folder}").code == 0

    return once("finished", make)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """Makes a folder when the first test asks for it, by a function that fills it."""
    made: dict[str, Path] = {}

    def folder(name: str, make: Callable[[Path], None]) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / "s"
            make(made[name])
        return made[name]

    return folder


def test_a_sweep_ends_in_a_table(swept):
    result, folder = swept
    assert result.code == 1  # three jobs failed, and cost only themselves
    rows = table(folder)
    assert rows["status"].value_counts().to_dict() == {"done": 9, "failed": 3}
    assert (rows.loc[rows["status"] == "failed", "beta"] == 1e38).all()
    assert rows.loc[rows["status"] == "failed", "reason"].str.startswith("the loss is").all()
    # beta means nothing to PCA: three runs and not nine, or its interval would be too narrow.
    assert "6 of 18 jobs would repeat others" in result.err
    assert (rows["model"] == "pca").sum() == 3
    assert rows.loc[rows["model"] == "pca", "beta"].isna().all()
    assert rows["run"].iloc[0] == "000-vae-synthetic-beta0.5-seed0"
    assert rows["run"].iloc[-1] == "011-pca-synthetic-seed2"
    for run in rows.loc[rows["status"] == "done", "run"]:
        scores = json.loads((folder / run / "scores.json").read_text())
        row = rows[rows["run"] == run].iloc[0]
        for score in SCORES:
            space, measure = score.split("_")
            assert row[score] == scores[space][measure]
    assert "3 of 12 runs have no result" in result.err
    for name in ("scores", "scores_by_beta", "maps"):
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "summary.md").read_text()
    assert "- 006-vae-synthetic-beta1e_38-seed0: failed, the loss is" in page.replace("+", "_")
    page = (folder / "report.html").read_text()
    links = set(re.findall(r'href="([^#][^"]*)"', page))
    assert links == {f"{run}/report.html" for run in rows.loc[rows["status"] == "done", "run"]}
    for link in links:
        own = (folder / link).read_text()
        assert "Settings given" in own
        assert '<a href="../report.html">' in own
    for text in ("map NMI", "Loss while training", "vae on synthetic", "latent ARI"):
        assert text in page
    assert "tsne_nmi" not in page
    assert page.count("<polyline") == 6  # of the VAEs that are done
    assert "Traceback" not in result.err


def test_the_summary_is_that_of_pandas_and_scipy(swept):
    _, folder = swept
    rows = table(folder)
    summary = pd.read_csv(folder / "summary.csv").set_index(["model", "beta"])
    good = rows[rows["status"] == "done"].groupby(["model", "beta"], dropna=False)
    assert len(summary) == 4
    for setting, group in good:
        row = summary.loc[[setting]].iloc[0]
        assert (row["n"], row["failed"]) == (3, 0)
        for score in SCORES:
            mean, error = group[score].mean(), group[score].sem()
            assert row[f"{score}_mean"] == pytest.approx(mean, rel=1e-12)
            assert row[f"{score}_sd"] == pytest.approx(group[score].std(), rel=1e-9, abs=1e-15)
            if error > 0:
                low, high = stats.t.interval(0.95, 2, mean, error)
                assert row[f"{score}_low"] == pytest.approx(low, rel=1e-9)
                assert row[f"{score}_high"] == pytest.approx(high, rel=1e-9)
    assert summary.loc[("vae", 1e38), ["n", "failed"]].tolist() == [0, 3]
    pairs = pd.read_csv(folder / "differences.csv")
    assert len(pairs) == 3 * len(SCORES)  # the setting without a result is compared with none
    a, b = (rows[(rows["model"] == "vae") & (rows["beta"] == beta)] for beta in (0.5, 2))
    test = stats.ttest_rel(a["latent_nmi"], b["latent_nmi"]).confidence_interval(0.95)
    pair = pairs.set_index(["a", "b", "score"]).loc[("vae, beta 0.5", "vae, beta 2", "latent_nmi")]
    assert (pair["low"], pair["high"]) == pytest.approx((test.low, test.high), rel=1e-9)
    assert pair["n"] == 3


def test_two_seeds_have_no_interval(finished):
    summary = pd.read_csv(finished / "summary.csv").iloc[0]
    assert summary["n"] == 2
    assert summary[["tsne_nmi_mean", "tsne_nmi_sd"]].notna().all()
    assert summary[["tsne_nmi_low", "tsne_nmi_high"]].isna().all()
    for page in ("summary.md", "report.html"):
        text = (finished / page).read_text()
        assert "with fewer than 3 there is no interval" in text
        assert "\N{PLUS-MINUS SIGN}0" not in text
    assert "nan" not in (finished / "summary.md").read_text().lower()


def test_figures_are_in_the_format_asked_for_and_in_the_record(finished):
    """The PNG, which report.html shows, is there too."""
    names = {path.name for path in (finished / "figures").iterdir()}
    assert names == {f"{name}.{form}" for name in ("maps",) for form in ("png", "pdf")}
    for path in finished.glob("*/run.json"):
        files = json.loads(path.read_text())["files"]
        for name in ("map_2d", "loss"):
            pdf = path.parent / "figures" / f"{name}.pdf"
            assert pdf.read_bytes().startswith(b"%PDF")
            assert files[f"figures/{name}.pdf"] == sha256(pdf.read_bytes()).hexdigest()
            assert f"figures/{name}.png" in files


def test_one_setting_over_seeds(scvae, tmp_path):
    result = scvae("train", "-m", *QUICK, "model=pca", "seed=range(0,4)")
    assert result.code == 0, result.err
    summary = pd.read_csv(the_sweep(tmp_path) / "summary.csv")
    assert summary["n"].tolist() == [4]
    assert result.out.split()[:3] == ["model", "n", "map"]


def test_settings_may_be_lists_and_switches(scvae, tmp_path):
    widths = ["model=vae", "model.encoder=[32],[16,8]", "tsne.learning_rate=auto,200"]
    result = scvae("train", "-m", *QUICK, *widths)
    assert result.code == 0, result.err
    rows = table(the_sweep(tmp_path))
    assert rows["model.encoder"].tolist() == ["[32]", "[32]", "[16, 8]", "[16, 8]"]
    assert rows["tsne.learning_rate"].tolist() == ["auto", "200.0", "auto", "200.0"]
    assert "fewer than 3 seeds are too few to tell" in result.err


def test_on_error_stop(scvae, tmp_path):
    sweep = ["train", "-m", *QUICK, "model=vae", "beta=1e38,2", "on_error=stop"]
    result = scvae(*sweep)
    assert result.code == 1
    rows = table(the_sweep(tmp_path))
    assert rows["status"].tolist() == ["failed"]
    assert "2 of 2 runs have no result" in result.err


def test_bad_jobs_are_refused_before_any_starts(scvae, tmp_path):
    for bad, kind, key, value in [
        ("beta=1,x", Kind.VALUE, "beta", "x"),
        ("model=vae,vea", Kind.UNKNOWN, "model", "vea"),
        ("data.n_types=2,999", Kind.VALUE, "data.n_types", 999),
    ]:
        result = scvae("train", "-m", *QUICK, bad)
        result.refused(kind, key)
        assert result.error.value == value
        assert not (tmp_path / "outputs").exists()


@pytest.fixture
def calm(scvae, once):
    """A sweep that nobody disturbs, of which the jobs of one beta fail."""
    return once("calm", lambda to: scvae("train", "-m", *GRID, f"hydra.sweep.dir={to}"))


@pytest.mark.parametrize(
    "launched",
    representative([[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]]),
)
def test_killed_at_any_moment_and_resumed(scvae, calm, tmp_path, launched):
    """Every job once in the table, with the numbers of a sweep that nobody disturbed."""
    if launched:
        pytest.importorskip(
            "hydra_plugins.hydra_joblib_launcher", reason="needs hydra-joblib-launcher"
        )
    command = [sys.executable, "-m", "scvae_cli", "train", "-m", *GRID, *launched]
    process = subprocess.Popen(
        [*command, "hydra.sweep.dir=killed"], cwd=tmp_path, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wanted = random.Random(len(launched)).uniform(1, 4)
    killed = tmp_path / "killed"
    while process.poll() is None and len(list(killed.glob("*/scores.json"))) < int(wanted):
        time.sleep(0.01)
    time.sleep(wanted % 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {p: p.read_bytes() for p in killed.glob("*/scores.json")}
    ended = [
        json.loads((path.parent / "run.json").read_text())["status"] != "running"
        for path in before
    ]
    if (killed / "results.csv").exists():
        assert set(table(killed)["status"]) <= {"done", "failed"}
    result = scvae("train", "resume=killed")
    assert result.code == 1
    assert "2 of 6 runs have no result" in result.err
    assert len(results(calm)) == 6
    pd.testing.assert_frame_equal(results(killed), results(calm))
    for (path, contents), whole in zip(before.items(), ended, strict=True):
        if whole:  # what was there is what is there
            assert path.read_bytes() == contents
    for name in ("summary.csv", "differences.csv"):
        assert (killed / name).read_bytes() == (calm / name).read_bytes()


def test_resume_redoes_what_is_damaged_and_keeps_the_rest(scvae, tmp_path, finished):
    shutil.copytree(finished, tmp_path / "s")
    whole = results(tmp_path / "s")
    cut, kept = sorted((tmp_path / "s").glob("0*"))
    (cut / "latent.csv").write_bytes((cut / "latent.csv").read_bytes()[:-9])
    stamp = (kept / "latent.csv").stat().st_mtime_ns
    result = scvae("train", "resume=s")
    assert result.code == 0, result.err
    assert "1 of them done before" in result.err
    pd.testing.assert_frame_equal(results(tmp_path / "s"), whole)
    assert (kept / "latent.csv").stat().st_mtime_ns == stamp
    assert [p.name for p in (tmp_path / "s" / "attempts").iterdir()] == [cut.name]
    (kept / "cells.csv").unlink()
    assert "1 of them done before" in scvae("train", "resume=s").err
    for path in (cut, kept):  # called as an older version did
        path.rename(path.with_name(f"{path.name}-n_cells300"))
    record = tmp_path / "s" / "sweep.json"
    record.write_text(re.sub(r'("folder": "[^"]*)', r"\1-n_cells300", record.read_text()))
    (kept.with_name(f"{kept.name}-n_cells300") / "report.html").unlink()  # which is no result
    again = scvae("train", "resume=s")
    assert (again.code, "2 of them done before" in again.err) == (0, True), again.err


@pytest.mark.parametrize(
    ("change", "kind", "named"),
    [
        (["epochs=3"], Kind.DIFFERS, ["000-vae-synthetic-seed0", "epochs=2 epochs=3"]),
        (["seed=range(0,3)"], Kind.DIFFERS, ["002-vae-synthetic-seed2"]),
        (["seed=0"], Kind.DIFFERS, ["also has 001-vae-synthetic-seed1;"]),
        ("version", Kind.DIFFERS, ["torch 1.0"]),
        ("commit", Kind.DIFFERS, ["commit abc"]),
        ("data", Kind.DIFFERS, ["data=synthetic"]),
        ("config", Kind.DIFFERS, ["000-vae-synthetic-seed0", "lr=0.5", " 0.002"]),
        ("damaged", Kind.DAMAGED, ["sweep.json"]),
        ("run", Kind.CONFLICT, ["config.yaml", " -m"]),
        ("nothing", Kind.MISSING, ["sweep.json"]),
    ],
)
def test_resume_refuses_what_differs(scvae, tmp_path, finished, change, kind, named):
    base = ["train", "-m", *QUICK, "model=vae", "figures.format=pdf"]
    shutil.copytree(finished, tmp_path / "s")
    record = tmp_path / "s" / "sweep.json"
    contents = json.loads(record.read_text())
    command = [*base, "seed=0,1"]
    where = "s"
    if isinstance(change, list):
        command += change
    elif change == "version":
        contents["versions"]["torch"] = "1.0"
    elif change == "commit":
        if contents["git"] is None:
            pytest.skip("not a git checkout")
        contents["git"]["commit"] = "abc"
    elif change == "data":
        contents["data"]["synthetic"] = "0"
    elif change == "config":
        config = tmp_path / "s" / "000-vae-synthetic-seed0" / "config.yaml"
        config.write_text(config.read_text().replace("lr: 0.002", "lr: 0.5"))
    elif change == "run":
        where = "s/000-vae-synthetic-seed0"
    elif change == "nothing":
        where = "nowhere"
    record.write_text("{" if change == "damaged" else json.dumps(contents))
    before = {p: p.read_bytes() for p in (tmp_path / "s").rglob("*") if p.is_file()}
    result = scvae(*command, f"resume={where}")
    line = result.refused(kind, "resume")
    assert len(result.err.splitlines()) == 1
    for part in (f"resume={where}: ", *named):
        assert part in line
    assert before == {p: p.read_bytes() for p in (tmp_path / "s").rglob("*") if p.is_file()}
    if change in ("version", "commit", "data"):
        result = scvae(*command, f"resume={where}", "force=true")
        assert result.code == 0, result.err
        assert "2 of them done before" in result.err
    if change == ["seed=range(0,3)"]:
        assert scvae(*command, f"resume={where}", "force=true").code == 0
        assert table(tmp_path / "s")["seed"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("how", [["threads=1"], ["--quiet"], ["quiet=true", "on_error=stop"]])
def test_a_sweep_is_resumed_with_other_circumstances(scvae, tmp_path, finished, how):
    shutil.copytree(finished, tmp_path / "s")
    result = scvae("train", "resume=s", *how)
    assert result.code == 0, result.err
    record = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert [job["folder"][:3] for job in record["jobs"]] == ["000", "001"]
    assert len(list((tmp_path / "s").glob("*/scores.json"))) == 2
    assert all(w in record["command"] for w in how if w != "--quiet")


@pytest.mark.parametrize("force", [[], ["force=true"]])
def test_a_sweep_is_not_replaced_by_one_without_its_jobs(scvae, tmp_path, finished, force):
    shutil.copytree(finished, tmp_path / "s")
    before = {p: p.read_bytes() for p in (tmp_path / "s").rglob("*") if p.is_file()}
    line = scvae("train", "resume=s", "seed=7", *force).refused(Kind.DIFFERS, "resume")
    assert "force" not in line
    assert before == {p: p.read_bytes() for p in (tmp_path / "s").rglob("*") if p.is_file()}


def full(monkeypatch, *names: str) -> None:
    """Let the disk be full when files of these names are written."""

    def write(path: Path, contents: bytes) -> None:
        if path.name in names:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write_file(path, contents)

    for module in ("launch.sweep", "results.table", "results.pages"):
        monkeypatch.setattr(f"scvae_cli.{module}.write_file", write)


def test_a_sweep_that_meets_a_full_disk(scvae, tmp_path, finished, monkeypatch):
    shutil.copytree(finished, tmp_path / "s")
    before = (tmp_path / "s" / "sweep.json").read_bytes()
    with monkeypatch.context() as patch:
        full(patch, "sweep.json")
        new = scvae("train", "-m", *QUICK, "model=pca", "seed=0,1", "hydra.sweep.dir=a/new")
        old = scvae("train", "resume=s")
    for result, fix in ((new, "nothing was kept"), (old, "`scvae train resume=s` continues it")):
        assert (result.code, result.err.count("\n")) == (1, 1), result.err
        assert "sweep.json: No space left on device; " in result.err
        assert fix in result.err
    assert [p.name for p in tmp_path.iterdir()] == ["s"]
    assert (tmp_path / "s" / "sweep.json").read_bytes() == before
    with monkeypatch.context() as patch:
        full(patch, "results.csv", "summary.csv")
        result = scvae("train", "resume=s")
    assert (result.code, "Traceback" in result.err) == (1, False), result.err
    assert "results.csv: No space left on device" in result.err
    assert "`scvae train resume=s`" in result.err
    assert not (tmp_path / "s" / ".lock").exists()


def test_a_table_that_cannot_be_written_ends_no_sweep(scvae, tmp_path, monkeypatch):
    def write(path: Path, table: pd.DataFrame) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("scvae_cli.launch.watch.write_csv", write)
    result = scvae("train", "-m", *QUICK, "model=pca", "seed=0", "hydra.sweep.dir=s")
    assert (result.code, "Traceback" in result.err) == (0, False), result.err


def test_the_flag_that_names_a_folder_is_blamed_for_it(scvae, finished):
    scvae("compare", str(finished), "--to", "/proc/x/y").refused(Kind.UNAVAILABLE, "--to")


@pytest.mark.parametrize("name", ["results.csv", "report.html"])
def test_a_comparison_that_meets_a_full_disk(scvae, tmp_path, finished, monkeypatch, name):
    full(monkeypatch, name)
    result = scvae("compare", str(finished), "--to", "a/c")
    assert result.code == 1
    assert f"{name}: No space left on device; nothing was kept" in result.err
    assert "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []


def test_sweeps_of_one_second_do_not_share_a_folder(scvae, tmp_path, monkeypatch):
    """Of processes that claim one at once, test_run.py has a test."""

    class Then(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2001, 2, 3, 4, 5, 6)

    monkeypatch.setattr("hydra.core.utils.datetime", Then)
    for _ in range(2):
        assert scvae("train", "-m", *QUICK, "model=pca", "seed=0,1").code == 0
    sweeps = list((tmp_path / "outputs" / "2001-02-03").glob("04-05-06-sweep*"))
    assert len(sweeps) == 2
    assert all(len(table(sweep)) == 2 for sweep in sweeps)


def test_a_sweep_into_a_new_folder_is_resumed(scvae, tmp_path):
    """The folder of output_dir is there by then, for which its name gets quotes."""
    words = ["-m", *QUICK, "model=pca", "seed=0,1", "output_dir=new"]
    assert scvae("train", *words).code == 0
    (folder,) = (tmp_path / "new").glob("*/*-sweep")
    (folder / "001-pca-synthetic-seed1" / "scores.json").unlink()
    result = scvae("train", f"resume={folder}")
    assert result.code == 0, result.err
    assert (folder / "001-pca-synthetic-seed1" / "scores.json").exists()


def test_two_processes_do_not_resume_one_sweep(scvae, tmp_path, finished):
    shutil.copytree(finished, tmp_path / "s")
    with FileLock(tmp_path / "s" / ".lock"):
        result = scvae("train", "resume=s")
    result.refused(Kind.BUSY)
    assert result.error.value == tmp_path / "s"
    assert scvae("train", "resume=s").code == 0


def test_the_data_are_prepared_once(scvae, monkeypatch):
    from scvae_cli.data import sources

    calls = []
    source = sources.SOURCES["synthetic"]

    def counted(**options):
        calls.append(options)
        return source(**options)

    monkeypatch.setitem(sources.SOURCES, "synthetic", counted)
    monkeypatch.setattr(sources, "_LOADED", {})
    assert scvae("train", "-m", *QUICK, "model=pca,ae", "seed=0,1", "data.seed=3").code == 0
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("plugin", "launcher"),
    [
        ("hydra_submitit_launcher", "submitit_local"),
        pytest.param("hydra_ray_launcher", "ray", marks=pytest.mark.slow),
    ],
)
def test_other_launchers_find_the_same(scvae, calm, tmp_path, plugin, launcher):
    """Of joblib's, the sweep that is killed and resumed says the same."""
    pytest.importorskip(f"hydra_plugins.{plugin}", reason=f"{plugin} is not installed")
    some = [*GRID[:-2], "beta=0.5,1e38", "seed=0"]
    there = scvae("train", "-m", *some, f"hydra/launcher={launcher}", "hydra.sweep.dir=there")
    assert there.code == 1, there.err
    assert "1 of 2 runs have no result" in there.err
    found, rows = (results(f).drop(columns="run") for f in (tmp_path / "there", calm))
    same = rows[(rows["seed"] == 0) & (rows["beta"] != 2)].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, same)


def test_a_launcher_that_is_not_installed(scvae, tmp_path, monkeypatch):
    from hydra.core.plugins import Plugins

    known = Plugins.instance().class_name_to_class
    for name in list(known):
        if "joblib" in name:
            monkeypatch.delitem(known, name)
    result = scvae("train", "-m", *QUICK, "seed=0,1", "hydra/launcher=joblib")
    assert list(tmp_path.iterdir()) == []
    line = result.refused(Kind.UNAVAILABLE, "hydra/launcher")
    assert line.startswith("scvae: hydra/launcher=joblib: ")
    assert "`pip install hydra-joblib-launcher`" in line
    assert len(result.err.splitlines()) == 1


def test_flags_that_exclude_each_other(scvae):
    line = scvae("train", "-m", "seed=0,1", "--cfg", "job").refused(Kind.CONFLICT, "--multirun")
    assert "--cfg" in line


def test_compare_sums_up_any_runs(swept, scvae, tmp_path):
    _, folder = swept
    assert scvae("train", *QUICK, "model=ae", "output_dir=one").code == 0
    result = scvae("compare", str(folder), "one", "--sort", "tsne_nmi", "--to", "both")
    assert result.code == 0, result.err
    rows = table(tmp_path / "both")
    assert len(rows) == 13
    assert "3 of 13 runs have no result" in result.err
    means = [float(line.split()[3]) for line in result.out.splitlines() if "±" in line]
    assert means == sorted(means, reverse=True)
    assert (tmp_path / "both" / "report.html").exists()
    again = scvae("compare", str(folder), "--to", "both")
    assert again.refused(Kind.EXISTS).startswith("scvae: both: ")
    by = scvae("compare", str(folder), "--by", "model", "--json", "--to", "json")
    told = told_as_json(by, "compare PATH ...")
    assert any("Means are over beta too" in note for note in told["notes"])
    summary = pd.read_csv(tmp_path / "json" / "summary.csv", float_precision="round_trip")
    assert [mean["setting"] for mean in told["means"]] == summary[["model"]].to_dict("records")
    for of in ("mean", "low", "high"):
        means = [mean["scores"]["latent_nmi"][of] for mean in told["means"]]
        assert means == summary[f"latent_nmi_{of}"].to_list()
    assert told["written"] == "json"


def test_compare_does_not_average_over_other_cells(scvae, tmp_path):
    for seed in (0, 1):
        other = [f"data.seed={seed}", f"seed={seed}", f"hydra.run.dir=r/{seed}"]
        assert scvae("train", *QUICK, "model=pca", *other).code == 0
    # Labels that differ are other data too, whatever the settings say.
    shutil.copytree(tmp_path / "r" / "0", tmp_path / "r" / "2")
    record = tmp_path / "r" / "2" / "run.json"
    sha = json.loads(record.read_text())["data"]["fingerprint"]
    record.write_text(record.read_text().replace(sha, "f" * 64))
    result = scvae("compare", "r", "--by", "model")
    assert result.code == 0, result.err
    assert "see data_sha" in result.err
    assert len([line for line in result.out.splitlines() if line.strip()]) == 4


def test_compare_counts_a_run_once(scvae, tmp_path):
    for name in ("a", "b"):
        assert scvae("train", *QUICK, "model=pca", f"hydra.run.dir=r/{name}").code == 0
    result = scvae("compare", "r", "r/a")
    assert "1 runs repeat others" in result.err
    assert [line.split()[1] for line in result.out.splitlines() if "pca" in line] == ["1"]


@pytest.mark.parametrize(
    ("arguments", "kind", "key", "named"),
    [
        (["nowhere"], Kind.MISSING, None, "nowhere: "),
        (["."], Kind.MISSING, None, " .: "),
        ([".", "--score", "tsne_nim"], Kind.UNKNOWN, "--score", "--score=tsne_nim: "),
        (["r", "--by", "betta"], Kind.UNKNOWN, "--by", "--by=betta: "),
        (["r", "--sort", "x"], Kind.UNKNOWN, "--sort", "--sort=x: "),
        ([], Kind.MISSING, None, " PATH"),
    ],
)
def test_compare_refuses_in_one_line(scvae, tmp_path, arguments, kind, key, named):
    if "r" in arguments:
        assert scvae("train", *QUICK, "model=pca", "hydra.run.dir=r").code == 0
    result = scvae("compare", *arguments)
    assert named in result.refused(kind, key)
    assert len(result.err.splitlines()) == 1


def test_sweeps_need_no_more_than_defaults_say(scvae, tmp_path):
    """A sweep of the same settings as single runs gives the same bytes."""
    words = [*SMALL, "epochs=2", "model=vae"]
    assert scvae("train", "-m", *words, "seed=0,1").code == 0
    assert scvae("train", *words, "seed=1", "output_dir=one").code == 0
    (one,) = (tmp_path / "one").glob("*/*-vae-*")
    twin = next(the_sweep(tmp_path).glob("001-*"))
    for name in ("latent.csv", "cells.csv", "model.safetensors"):
        assert (one / name).read_bytes() == (twin / name).read_bytes()
