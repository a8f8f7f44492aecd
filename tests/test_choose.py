"""`scvae choose`: criteria without types, the verdict, the command."""

import io
import json
from pathlib import Path
from threading import Thread
from time import sleep

import anndata
import numpy as np
import pandas as pd
import pytest
from conftest import PLAIN, SMALL, options_of
from scipy.sparse import csr_array
from scipy.stats import binom
from sklearn.decomposition import PCA as SklearnPCA
from sklearn.metrics import adjusted_rand_score

from scvae_cli import CONF
from scvae_cli.analysis.choosing import (
    N_NEIGHBOURS,
    PRIOR,
    agreements,
    kept_neighbours,
    nearest,
    predicted,
)
from scvae_cli.choice.plan import CANDIDATES, CONTROL
from scvae_cli.choice.verdict import judge
from scvae_cli.data.dataset import Recipe, labelled
from scvae_cli.data.holdout import halves
from scvae_cli.data.preprocess import binomial_deviance
from scvae_cli.errors import Kind
from scvae_cli.launch.compose import compose
from scvae_cli.launch.worker import Worker
from scvae_cli.models.registry import build
from scvae_cli.runs.files import read_table

CELLS = ["synthetic", *(word for word in SMALL if word.startswith("data.") or "=" not in word)]
STEADY, LUCKY = np.array([0.010, 0.011, 0.0105]), np.array([0.02, -0.01, 0])
QUICK = ["--candidates", "pca-20,pca-sqrt,vae-nb", "updates=3", "batch_size=64",
         "hydra/launcher=basic", "tsne.max_iter=250", *PLAIN]  # fmt: skip


@pytest.fixture
def cells():
    """Profiles of three types, (200 cells,) of one each, and two measurements of the cells."""
    rng = np.random.default_rng(0)
    profiles = rng.dirichlet(np.full(60, 0.3), 3)
    types = rng.integers(0, 3, 200)
    measured = [np.array([rng.multinomial(n, profiles[t]) for t in types]) for n in (500, 50)]
    return profiles, types, *measured


def matrix(counts):
    return csr_array(counts.astype(np.float32))


def test_neighbours_of_the_same_type_predict_what_the_type_predicts(cells):
    """Up to what the profiles themselves could; neighbours at random predict nothing."""
    profiles, types, kept, held = cells
    mean = kept.sum(0) / kept.sum()
    best = (held * np.log(profiles[types] / mean)).sum() / held.sum()
    rng = np.random.default_rng(1)
    apart = np.eye(3)[types] + rng.normal(0, 0.01, (200, 3))
    ours = predicted(nearest(apart), matrix(kept), matrix(held))
    assert 0.95 * best < ours < best
    assert predicted(nearest(rng.normal(size=(200, 3))), matrix(kept), matrix(held)) < 0.1 * best


def test_the_prediction_is_the_smoothed_mean_of_the_neighbours(cells):
    *_, kept, held = cells
    index = nearest(np.random.default_rng(2).normal(size=(200, 2)))
    shares = (kept.sum(0) + 1) / (kept.sum(0) + 1).sum()
    total = 0.0
    for cell, near in enumerate(index):
        pooled = kept[near].sum(0)
        share = (pooled + PRIOR * shares) / (pooled.sum() + PRIOR)
        total += (held[cell] * np.log(share / shares)).sum()
    assert predicted(index, matrix(kept), matrix(held)) == pytest.approx(total / held.sum())


def test_a_cell_is_not_its_own_neighbour():
    index = nearest(np.random.default_rng(0).normal(size=(40, 2)))
    assert index.shape == (40, N_NEIGHBOURS)
    assert not (index == np.arange(40)[:, None]).any()


def test_kept_neighbours_are_those_in_both_lists():
    rng = np.random.default_rng(0)
    first, second = (nearest(rng.normal(size=(50, 2))) for _ in range(2))
    shared = [len({*a} & {*b}) / N_NEIGHBOURS for a, b in zip(first, second, strict=True)]
    assert kept_neighbours(first, second) == pytest.approx(np.mean(shared))
    assert kept_neighbours(first, first) == 1


def test_agreement_is_the_mean_ari_with_the_others():
    a, b, c = np.random.default_rng(0).integers(0, 3, (3, 30))
    assert agreements([a, b, c])[1] == pytest.approx(
        (adjusted_rand_score(b, a) + adjusted_rand_score(b, c)) / 2
    )


def test_halves_are_two_measurements_of_all_molecules(cells):
    *_, counts, _ = cells
    logs = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4).astype(np.float32)
    names = np.array([f"c{i}" for i in range(200)]), np.array([f"g{i}" for i in range(60)])
    totals = counts.sum(1).astype(float)
    dataset = labelled("x", csr_array(logs), np.full(200, "T"), *names,
                       Recipe("counts", 1e4, totals))  # fmt: skip
    first, second = (half.toarray() for half in halves(dataset, seed=0))
    for half in (first, second):
        assert np.allclose(np.expm1(half).sum(1), 1e4, rtol=1e-4)
        assert abs((half > 0).sum() / (logs > 0).sum() - 0.85) < 0.15
    assert (((first > 0) | (second > 0)) == (logs > 0)).all()
    assert not np.allclose(first, second)


def test_deviance_is_twice_the_log_likelihood_ratio_of_binomials(cells):
    *_, counts, _ = cells
    n, p = counts.sum(1, keepdims=True), counts.sum(0) / counts.sum()
    own, common = (binom.logpmf(counts, n, share) for share in (counts / n, p))
    expected = 2 * (own - common).sum(0)
    assert np.allclose(binomial_deviance(matrix(counts)), expected, rtol=1e-6, atol=1e-6)


def test_components_of_square_roots_are_scikit_learns(cells):
    *_, counts, _ = cells
    logs = np.log1p(counts / counts.sum(1, keepdims=True) * 100).astype(np.float32)
    model = build("pca", 60, 4, seed=0, **options_of("pca", values="sqrt"))
    model.solve(csr_array(logs), 0)
    roots = np.sqrt(counts / counts.sum(1, keepdims=True) * 100)
    theirs = SklearnPCA(4, svd_solver="full").fit(roots)
    import torch

    z = model.embed(torch.from_numpy(logs), "mean", torch.Generator()).numpy()
    ours = np.abs(np.corrcoef(z.T, theirs.transform(roots).T)[:4, 4:])
    assert np.allclose(np.diag(ours), 1, atol=1e-3)
    decoded = model.decode(torch.from_numpy(z), None).numpy()
    back = theirs.inverse_transform(theirs.transform(roots)).clip(0)
    assert np.allclose(np.sqrt(np.expm1(decoded)), back, atol=1e-3)


def judged(values):
    """Judge a table of `predicted`, (n_seeds,) by candidate."""
    rows = [
        {"candidate": name, "seed": seed, "predicted": value}
        for name, some in values.items()
        for seed, value in enumerate(some)
    ]
    return judge(pd.DataFrame(rows), CANDIDATES)


def test_what_beats_the_control_is_recommended():
    base = np.array([0.20, 0.22, 0.21])
    verdict = judged({CONTROL: base, "vae-nb": base + STEADY, "ae-nb": base + LUCKY})
    assert (verdict.chosen, verdict.better) == ("vae-nb", ("vae-nb",))
    assert verdict.gap.mean == pytest.approx(0.0105)
    assert "vae-nb predicts held-out molecules better than pca-sqrt" in verdict.in_words()[0]


def test_where_nothing_beats_the_control_it_is_recommended_and_said():
    base = np.array([0.20, 0.22, 0.21])
    ahead = judged({CONTROL: base, "vae-nb": base + LUCKY})
    assert (ahead.chosen, ahead.better, ahead.highest) == (CONTROL, (), "vae-nb")
    assert "may be luck" in ahead.in_words()[0]
    behind = judged({CONTROL: base, "vae-nb": base - 0.01})
    assert (behind.chosen, behind.gap) == (CONTROL, None)
    assert behind.in_words() == ["Nothing predicts held-out molecules better than pca-sqrt."]


def test_without_the_control_the_highest_is_recommended_and_said():
    verdict = judged({"pca-10": [0.2, 0.2, 0.2], "vae-nb": [0.3, 0.31, 0.29]})
    assert verdict.chosen == "vae-nb"
    assert "pca-sqrt has no result" in verdict.in_words()[0]


def test_rounding_beats_nothing():
    verdict = judged(
        {CONTROL: [0.1 + 0.2, 0.2, 0.25], "pca-50": [0.3 + 4e-12, 0.2 + 3e-12, 0.25 + 3e-12]}
    )
    assert (verdict.chosen, verdict.better) == (CONTROL, ())


def test_two_seeds_decide_nothing():
    verdict = judged({CONTROL: [0.2, 0.21], "vae-nb": [0.3, 0.31]})
    assert verdict.chosen == CONTROL
    assert "too few to tell" in verdict.in_words()[0]


@pytest.mark.parametrize("shared", [0, 1, 2])
def test_too_few_seeds_in_common_give_no_interval(shared):
    """Some runs failed, others of the control."""
    base = np.array([0.2, 0.21, 0.22, 0.23, 0.24, 0.25])
    control = np.where(np.arange(6) < 3, base, np.nan)
    other = np.where(np.arange(6) >= 3 - shared, base + 0.1, np.nan)
    verdict = judged({CONTROL: control, "vae-nb": other})
    assert (verdict.chosen, verdict.highest, verdict.gap) == (CONTROL, "vae-nb", None)
    (line,) = verdict.in_words()
    assert "Highest: vae-nb. It has fewer than 3 seeds in common with pca-sqrt" in line


def test_equal_candidates_beat_the_control_in_one_of_twenty_tables_at_most():
    rng = np.random.default_rng(0)
    names = [CONTROL, "pca-50", "vae-nb", "ae-nb", "vsc-nb"]
    tables = [{name: rng.normal(size=3) for name in names} for _ in range(400)]
    false = sum(judged(table).chosen != CONTROL for table in tables)
    assert false <= 400 * 0.05 + 2 * np.sqrt(400 * 0.05 * 0.95)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """A folder for what is chosen, and how often it was."""
    return tmp_path_factory.mktemp("choose") / "c", []


@pytest.fixture
def choose(scvae, chosen):
    """Where `scvae choose` wrote, what it said, and how to call it again: it continues."""
    folder, results = chosen

    def run():
        results.append(scvae("choose", *CELLS, *QUICK, "--to", str(folder)))
        assert results[-1].code == 0, results[-1].err

    if not results:
        run()
    return folder, results[0], run


def test_choose_trains_measures_recommends_and_runs(choose):
    folder, done, _ = choose
    table = pd.read_csv(folder / "choice.csv")
    assert table.groupby("candidate")["seed"].apply(list).to_dict() == {
        name: [0, 1, 2] for name in ("pca-20", "pca-sqrt", "vae-nb")
    }
    assert table[["predicted", "agreement", "neighbours", "latent_nmi"]].notna().all().all()
    (run,) = folder.glob("chosen-*")
    command = json.loads((run / "run.json").read_text())["command"]
    assert f"experiment=choose/{run.name.removeprefix('chosen-')} " in f"{command} "
    latent = read_table(run, "latent").iloc[:, 1:].to_numpy(np.float32)
    assert np.array_equal(anndata.read_h5ad(run / "cells.h5ad").obsm["X_scvae"], latent)
    assert "had no say" in (folder / "choice.md").read_text()
    assert all(len(line) <= 80 for line in done.out.splitlines())
    assert "Which latent space?" in (folder / "report.html").read_text()


def test_a_candidate_that_is_hardly_trained_predicts_less(choose):
    mean = pd.read_csv(choose[0] / "choice.csv").groupby("candidate")["predicted"].mean()
    assert mean["vae-nb"] < 0.8 * mean["pca-20"]


def test_choose_continues_where_it_was(choose):
    folder, _, run = choose
    first = (folder / "choice.csv").read_bytes()
    kept = {p: p.stat().st_mtime_ns for p in folder.glob("*/model.safetensors")}
    (folder / "choice.csv").unlink()
    damaged = next(folder.glob("*seed2*vae-nb"))
    (damaged / "scores.json").unlink()
    run()
    changed = {p.parent for p, when in kept.items() if p.stat().st_mtime_ns != when}
    assert changed == {damaged}
    seconds = {"seconds"}
    old, new = (pd.read_csv(io.BytesIO(b)) for b in (first, (folder / "choice.csv").read_bytes()))
    pd.testing.assert_frame_equal(old.drop(columns=seconds), new.drop(columns=seconds))


class AfterTheFirstRun(Thread):
    """A timer that does not wait for the time, but until a run is done."""

    def __init__(self, seconds, function):
        super().__init__()
        self.function = function

    def run(self):
        while not any("done" in p.read_text() for p in Path("c").glob("*/run.json")):
            sleep(0.1)
        sleep(2)
        self.function()

    def cancel(self):
        self.join()


def test_minutes_end_the_training_and_what_there_is_is_measured(scvae, tmp_path, monkeypatch):
    monkeypatch.setattr("scvae_cli.commands.choose.Timer", AfterTheFirstRun)
    monkeypatch.setattr("scvae_cli.launch.sweep.Worker", Worker)  # which the time's end stops
    result = scvae(
        "choose", *CELLS, "--candidates", "vae-nb", "--to", "c", "--minutes", "9",
        "updates=100000", "batch_size=64", "hydra/launcher=basic", *PLAIN,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "9 minutes are over" in result.err
    assert list(pd.read_csv(tmp_path / "c" / "choice.csv")["candidate"]) == [CONTROL]


@pytest.mark.parametrize(
    ("words", "kind", "key"),
    [
        (["pbmc68k"], Kind.CONFLICT, "data"),
        (["synthetic", "data.n_cells=40"], Kind.CONTENT, "data"),
        (["synthetic", "data.scale=10"], Kind.CONFLICT, "data.scale"),
        (["synthetic", "data.n_batches=2"], Kind.CONFLICT, None),
        (["none.h5ad"], Kind.MISSING, "data.path"),
        (["synthetic", "--candidates", "pca-20,nonsense"], Kind.UNKNOWN, "--candidates"),
        (["synthetic", "--seeds", "0"], Kind.VALUE, "--seeds"),
        (["synthetic", "--minutes", "0"], Kind.VALUE, "--minutes"),
        (["synthetic", "model=vae"], Kind.CONFLICT, "model"),
        (["synthetic", "nonsense=1"], Kind.UNKNOWN, "nonsense"),
        (["synthetic", "nonsense"], Kind.VALUE, None),
    ],
)
def test_what_choose_refuses(scvae, tmp_path, words, kind, key):
    result = scvae("choose", *words)
    assert result.code == 2, result.err
    assert (result.error.kind, result.error.key) == (kind, key), result.err
    assert "Traceback" not in result.err
    assert not list(tmp_path.rglob("*"))


def test_choose_does_not_write_where_something_else_is(scvae, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    scvae("choose", *CELLS, "--to", "mine").refused(Kind.EXISTS, "--to")


def test_choose_names_its_own_flag_where_nothing_can_be_written(scvae, tmp_path):
    (tmp_path / "file").touch()
    line = scvae("choose", *CELLS, "--to", "file/c").refused(Kind.UNAVAILABLE, "--to")
    assert line.endswith("give another with --to FOLDER")
    line = scvae("choose", *CELLS, "output_dir=file").refused(Kind.UNAVAILABLE, "--to")
    assert "file/" in line  # where it was to go


def test_every_candidate_has_a_preset():
    presets = {path.stem for path in (CONF / "experiment" / "choose").glob("*.yaml")}
    assert presets == {*CANDIDATES}


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_candidates_are_what_they_are_called(candidate):
    config = compose([
        f"experiment=choose/{candidate}", "data=file", "data.path=x", "data.genes=2000"
    ])  # fmt: skip
    name, *rest = candidate.split("-")
    assert config.model.name == name
    assert config.validation == "molecules"
    if name == "pca":
        width = next((int(word) for word in rest if word.isdigit()), 20)
        values = "sqrt" if {"sqrt", "deviance"} & {*rest} else "log"
        assert (config.latent_dim, config.model_dump()["model"]["values"]) == (width, values)
    else:
        assert (config.likelihood, config.epochs, config.updates) == ("nb", None, 4000)
        assert config.patience is not None
        assert config.latent_dim == (20 if "wide" in rest else 10)
    by = config.model_dump()["data"]["genes_by"]
    assert by == ("deviance" if "deviance" in rest else "variance")
