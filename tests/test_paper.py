"""The reproduction: its statistics against scipy's, its plan, its runs, its page."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import FAST
from scipy import stats as scipy_stats

from scvae_cli.analysis.score import types_found
from scvae_cli.analysis.stats import difference, estimate, paired
from scvae_cli.errors import Kind
from scvae_cli.launch.compose import compose
from scvae_cli.paper.audit import AUDIT
from scvae_cli.paper.evidence import COLUMNS, Evidence, read
from scvae_cli.paper.page import text
from scvae_cli.paper.plan import plan

ROOT = Path(__file__).parents[1]
# The report's runs on small cells, in seconds.
SHORT = [*FAST, "map_3d=true", "tsne.max_iter=250", "cluster.n_init=2"]
A = np.array([0.71, 0.74, 0.69, 0.73, 0.75])
B = np.array([0.60, 0.66, 0.58, 0.59, 0.67])


def test_intervals_are_scipys():
    one = estimate(A)
    theirs = scipy_stats.ttest_1samp(A, 0).confidence_interval(0.95)
    assert (one.low, one.high) == pytest.approx((theirs.low, theirs.high))
    two = difference(A, B[:4])
    theirs = scipy_stats.ttest_ind(A, B[:4], equal_var=False).confidence_interval(0.95)
    assert (two.low, two.high) == pytest.approx((theirs.low, theirs.high))
    both = paired(A, B)
    theirs = scipy_stats.ttest_rel(A, B).confidence_interval(0.95)
    assert (both.low, both.high) == pytest.approx((theirs.low, theirs.high))


def test_one_value_says_nothing_of_its_uncertainty():
    for e in (estimate(A[:1]), difference(A[:1], B), paired(A[:1], B[:1])):
        assert np.isinf(e.half)
    assert difference(np.ones(3), np.zeros(3)).half == 0


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    draws = rng.normal(0.3, 1, (1000, 2, 5)) * [[1], [2]]
    hits = [(e := difference(a, b)).low < -0.3 < e.high for a, b in draws]
    assert 0.93 < np.mean(hits) < 0.98
    values = rng.normal(0.3, 2, (4000, 6))
    hits = [abs((e := estimate(five)).mean - one) < e.single for *five, one in values]
    assert 0.94 < np.mean(hits) < 0.96


def test_a_type_is_found_by_a_cluster_that_is_mostly_it_and_has_most_of_it():
    labels = np.array([0] * 10 + [1] * 10 + [2] * 2)
    assert types_found(labels, labels) == 3
    assert types_found(labels, np.zeros(22, int)) == 0
    split = np.array([0] * 6 + [1] * 4 + [2] * 5 + [3] * 5 + [3] * 2)
    assert types_found(labels, split) == 1  # type 1 has half of its cells in each of two


def test_the_plan_covers_the_report():
    runs = plan(range(10), quick=False)
    names = [run.name for run in runs]
    assert len(set(names)) == len(names)
    for seed in range(10):
        for name in ("report-ae", "report-vae", "report-vsc"):
            assert f"{name}-{seed}" in names
        for name in ("corrected-vae", "corrected-vsc", "corrected-pca"):
            assert f"{name}-{seed}" in names
    assert {"code-ae-0", "code-vae-0", "code-vsc-0"} <= set(names)
    # What a run takes from another has been done before, in the same way: for any two seeds.
    configs = {}
    for run in plan(range(2), quick=False):
        config = configs[run.name] = compose(list(run.overrides))
        kind, model, *_ = run.name.split("-")
        assert config.model.name == model
        assert config.seed == int(run.name.rsplit("-", 1)[1]) or kind == "map"
        if run.trained:
            assert names.index(run.trained) < names.index(run.name)
            other = configs[run.trained]
            assert (other.model, other.beta, other.seed) == (
                config.model,
                config.beta,
                config.seed,
            )


def test_the_audit_names_tests_that_exist():
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("*.py"))
    named = re.findall(r"`(test_\w+)`", " ".join(point.shown for point in AUDIT))
    assert len(named) >= 6
    for name in named:
        assert f"def {name}(" in tests, name
    assert [point.number for point in AUDIT] == [f"O{i}" for i in range(1, 16)]


def made_up(n: int = 10, *, collapsed: int = 1) -> Evidence:
    """Tables of a full reproduction with scores of a known kind: AE .69, VAE .61, ... +- .02."""
    rng = np.random.default_rng(0)
    means = {"ae": 0.69, "vae": 0.61, "vsc": 0.6, "pca": 0.74}
    runs, scores = [], []
    for run in plan(range(n), quick=False):
        kind, model, *_ = run.name.split("-")
        seed = int(run.name.rsplit("-", 1)[1])
        lost = kind == "report" and model == "ae" and seed < collapsed
        beta = float(run.name.split("-")[2]) if kind == "beta" else 2.0
        row = dict.fromkeys(COLUMNS["runs"], 0.5) | {
            "run": run.name, "kind": kind, "model": model, "beta": beta,
            "seed": 0 if kind == "map" else seed, "used": 4,
            "status": "failed" if lost else "done",
            "reason": "all cells have the same latent values: collapsed; say" if lost else None,
        }  # fmt: skip
        runs.append(row)
        for labels in ("own", "other") if not lost else ():
            for space in ("tsne", "latent"):
                values = means[model] + 0.02 * rng.normal(size=6)
                row = {"run": run.name, "labels": labels, "space": space}
                scores.append(row | dict(zip(COLUMNS["scores"][3:], values, strict=True)))
    again = [
        {"model": m, "n_init": i, "seed": seed, "nmi": rng.normal(), "ari": rng.normal()}
        for m in ("ae", "vae", "vsc") for i in (100, 1) for seed in range(10)
    ]  # fmt: skip
    versions = dict.fromkeys(("python", "torch", "scikit-learn", "scvae-cli"), "1")
    figures = ["maps_report", "maps_corrected", "scores", "beta", "losses"]
    about = {
        "command": "scvae paper", "n_cells": 2638, "n_genes": 13714, "n_types": 9, "n_latent": 6,
        "n_init": 100, "threads": 2, "versions": versions, "commits": [], "figures": figures,
    }  # fmt: skip
    tables = [pd.DataFrame(some, columns=COLUMNS[name])
              for name, some in zip(COLUMNS, (runs, scores, again), strict=True)]  # fmt: skip
    return Evidence(*tables, about=about)


def test_the_page_counts_a_collapsed_training():
    page = text(made_up())
    assert "**report-ae-0** failed and is in no mean" in page
    assert "1 of 10 trainings of the AE failed: the rate may be from 0.3 to 45 % (95 %)" in page
    (row,) = [line for line in page.splitlines() if line.startswith("| AE beats VAE")]
    without, including = row.split(" | ")[1].split("<br>")
    assert without.startswith("**holds**: +0.0")
    assert including.startswith("with the collapsed run as 0: **undecided**: +0.0")
    evidence = made_up()
    scores = evidence.scores[
        evidence.scores["labels"].eq("own") & evidence.scores["space"].eq("tsne")
    ]
    nmi = scores.set_index("run")["nmi"]
    ae = [0.0, *nmi[[f"report-ae-{i}" for i in range(1, 10)]]]
    vae = nmi[[f"report-vae-{i}" for i in range(10)]]
    low, high = scipy_stats.ttest_ind(ae, vae, equal_var=False).confidence_interval(0.95)
    assert f"{(low + high) / 2:+.3f} ± {(high - low) / 2:.3f}" in including
    assert "as 0" not in text(made_up(collapsed=0))


def test_the_page_counts_three_maps_and_not_twelve_numbers():
    page = text(made_up())
    assert "three tests, not twelve" in page
    assert "of 3\nmaps" in page
    assert "nan" not in page


def test_the_tables_come_back_as_they_were(tmp_path):
    evidence = made_up()
    evidence.write(tmp_path)
    assert text(read(tmp_path)) == text(evidence)


@pytest.mark.skipif(
    not (ROOT / "docs" / "reproduction" / "runs.csv").exists(),
    reason="the tables of docs/reproduction come with the next `make paper`",
)
def test_the_committed_page_is_what_its_tables_give():
    page = (ROOT / "docs" / "reproduction.md").read_text()
    assert text(read(ROOT / "docs" / "reproduction")) == page


def links(page: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", page)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The runs of the quick reproduction, which the first test that asks for them makes."""
    return tmp_path_factory.mktemp("paper") / "runs"


@pytest.fixture
def quick(scvae, runs):
    def run(*more: str):
        return scvae("paper", "--quick", "--runs", str(runs), *SHORT, *more)

    return run


def test_quick_page(quick, runs, tmp_path):
    result = quick("--to", "page")
    assert result.code == 0, result.err
    assert len(list(runs.glob("*/run.json"))) == 7
    page = (tmp_path / "page" / "reproduction.md").read_text()
    assert len(links(page)) == 7  # six figures, and the folder of tables
    for link in links(page)[1:]:
        assert (tmp_path / "page" / link).read_bytes().startswith(b"\x89PNG"), link
    assert "| NMI | VAE | 0.6092 |" in page
    assert "nan" not in page
    for line in page.splitlines():  # one seed is no evidence
        if line.startswith(("| AE beats", "| VSC beats")):
            assert line.count("undecided") == 3

    # The page is what its tables give, and its figures are those that there are.
    evidence = read(tmp_path / "page" / "reproduction")
    assert text(evidence) == page
    shown = {Path(link).stem for link in links(page) if link.endswith(".png")}
    assert shown == set(evidence.about["figures"])

    # A number on the page is that of the run.
    scores = json.loads((runs / "report-vae-0" / "scores.json").read_text())
    row = next(line for line in page.splitlines() if line.startswith("| ARI | VAE | 0.4404 |"))
    assert f"| {scores['tsne']['ari']:.3f} |" in row


@pytest.fixture
def made(quick, runs):
    """The runs, and a page of them."""
    if not (runs / "reproduction.md").exists():
        assert quick().code == 0
    return runs


def test_what_is_done_is_not_done_again_and_never_overwritten(quick, made):
    before = {path: path.stat().st_mtime_ns for path in made.glob("*/run.json")}
    again = quick()
    assert (again.code, again.err.count("done before")) == (0, 7)
    assert before == {path: path.stat().st_mtime_ns for path in made.glob("*/run.json")}
    # A run of other settings in a place is no result of these, and stays.
    settings = made / "code-ae-0" / "config.yaml"
    settings.write_text(settings.read_text().replace("\nseed: 0", "\nseed: 9"))
    once_more = quick()
    assert (once_more.code, once_more.err.count("done before")) == (0, 6)
    assert (made / "code-ae-0-2" / "run.json").exists()
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())


def test_other_labels_are_scored_too(quick, made, tmp_path):
    cells = pd.read_csv(made / "report-ae-0" / "cells.csv")
    table = pd.DataFrame({"cell": cells["cell"], "label": cells["cluster"]})
    table.to_csv(tmp_path / "mine.csv", index=False)
    assert quick("--labels", "mine.csv").code == 0
    section = (made / "reproduction.md").read_text().split("2-D map, against the other labels")[1]
    assert "| ARI | AE | 0.5798 | 1.000 |" in section  # its own clusters


@pytest.mark.slow
def test_interrupted_it_continues_where_it_was(scvae, tmp_path):
    command = [sys.executable, "-m", "scvae_cli", "paper", "--quick", *SHORT]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    runs = tmp_path / "outputs" / "paper-quick"

    def done() -> set[str]:
        records = [(p.parent.name, json.loads(p.read_text())) for p in runs.glob("*/run.json")]
        return {name for name, record in records if record["status"] == "done"}

    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as first:
        while len(done()) < 2 and first.poll() is None:
            time.sleep(0.05)
        first.send_signal(signal.SIGINT)
        assert b"continues" in first.stderr.read()
    assert first.returncode == 130
    before = done()
    assert 2 <= len(before) < 7
    second = scvae("paper", "--quick", *SHORT)
    assert second.code == 0, second.err
    assert second.err.count("done before") == len(before)
    assert (runs / "reproduction.md").exists()


@pytest.mark.parametrize(
    ("argument", "kind", "key", "named"),
    [
        ("--seeds=1", Kind.VALUE, "--seeds", "--seeds=1: "),
        ("--seeds=x", Kind.VALUE, "--seeds", "--seeds: "),
        ("--fast", Kind.UNKNOWN, None, "--fast"),
        ("bta=2", Kind.UNKNOWN, "bta", " beta?"),
        ("--labels=none.csv", Kind.MISSING, "--labels", "--labels=none.csv: "),
        ("quick", Kind.VALUE, None, "quick: "),
        ("data.dir=nowhere", Kind.MISSING, "data.dir", "data.dir=nowhere: "),
    ],
)
def test_mistakes_are_answered_in_one_line(scvae, tmp_path, argument, kind, key, named):
    result = scvae("paper", argument)
    assert named in result.refused(kind, key)
    assert len(result.err.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("*"))


def test_the_notebook_saw_log_normalised_values(real_data):
    """Its first loss, of an untrained network: 989,484.75 for 240 cells."""
    from omegaconf import OmegaConf

    from scvae_cli.data.sources import load

    options = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "data" / "pbmc3k.yaml"))
    squares = {}
    for scale in (None, 10.0):
        dataset = load(**{**options, "scale": scale})
        values = dataset.x if scale else dataset.x.data
        squares[scale] = np.square(values, dtype=np.float64).sum() / dataset.n_cells
    assert squares[None] == pytest.approx(4033, abs=1)
    assert squares[10.0] == pytest.approx(10603, abs=1)
    assert squares[None] == pytest.approx(989_484.75 / 240, rel=0.03)
