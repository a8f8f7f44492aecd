"""The presets that are compared, and what the page says of scores that are made up."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from benchmarks.models import page
from benchmarks.models.cells import FOUND_TYPES
from benchmarks.models.presets import CONTROLS, COUNTS, LOGS
from benchmarks.models.questions import questions
from benchmarks.models.table import Table, level
from benchmarks.sparsity import page as sparsity_page
from benchmarks.sparsity.differences import gaps, pairs_of
from benchmarks.sparsity.measures import MEASURES, measure
from benchmarks.sparsity.programmes import TOP, Programmes, Truth
from benchmarks.sparsity.runs import MODELS
from scvae_cli import CONF
from scvae_cli.analysis.stats import difference
from scvae_cli.launch.compose import compose

PRESETS = [*CONTROLS, *LOGS, *COUNTS]
DOCS = Path(__file__).parents[1] / "docs"
FACS = "FACS, 10 populations"


def test_every_preset_is_compared():
    found = {path.stem for path in (CONF / "experiment" / "benchmark").glob("*.yaml")}
    assert found == set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_what_they_are_called(preset):
    config = compose([f"experiment=benchmark/{preset}", "data=synthetic"])
    name = {"untrained": "vae", "vsc-uai-nb": "vsc_uai"}.get(preset, preset.split("-")[0])
    assert config.model.name == name
    likelihoods = [kind for kind in ("poisson", "zinb", "nb") if kind in preset.split("-")]
    if preset.startswith(("pca", "projection")):
        assert config.likelihood is None
    elif preset != "untrained":
        assert config.likelihood == (likelihoods[0] if likelihoods else "gaussian")
    if preset.startswith("pca"):
        assert config.latent_dim == int(preset.split("-")[1])
    assert config.embedding == "mean"
    text = (CONF / "experiment" / "benchmark" / f"{preset}.yaml").read_text()
    assert f"\n# scvae train experiment=benchmark/{preset} data=...\n" in text


def made_up(ours, peer, pca):
    """Scores of five seeds around these means, on all labels."""
    rng = np.random.default_rng(0)
    means = {"vae-nb": ours, "scvi": peer, "pca-10": pca, "pca-6": pca - 0.2, "ae": 0.3}
    return pd.DataFrame(
        [
            {
                "method": method, "seed": seed, "labels": labels, "space": space, "by": by,
                **{m: mean + rng.normal(0, 0.01) for m in ("nmi", "ari", "hom", "com")},
            }
            for method, mean in means.items()
            for labels in (FACS, FOUND_TYPES)
            for space in ("latent", "map")
            for by in ("k-means", "Leiden")
            for seed in range(5)
        ]
    )  # fmt: skip


def test_the_page_says_who_is_first_and_how_long_it_took(tmp_path):
    columns = ["method", "seconds", "epochs", "peak"]
    cost = pd.DataFrame([("vae-nb", 2.0, 100, 2**29)], columns=columns)
    times = {"ours": [[0.5, 0.9, 0.5], [0.4, 0.2, 0.8]], "scvi": [[2.0], [2.0]]}
    path = page.write(made_up(0.8, 0.7, 0.6), cost, "FACS", times, {}, [], tmp_path)
    text = path.read_text()
    assert text.count("**vae-nb** 0.") == 2 * 2 * 4
    assert "4.0 to 5.0 times as long, and 10.0 times as long by the fastest" in text
    assert (tmp_path / "benchmark.png").read_bytes()[:4] == b"\x89PNG"
    assert len(pd.read_csv(tmp_path / "benchmark.csv")) == 5 * 5 * 2 * 4


def test_the_committed_page_is_what_its_files_give():
    table = Table(pd.read_csv(DOCS / "benchmark.csv"))
    facts = json.loads((DOCS / "benchmark.json").read_text())
    assert page.text(table, facts) == (DOCS / "benchmark.md").read_text()


def test_methods_as_good_as_the_best_are_rarely_left_out():
    """Plain intervals leave out more than one of twenty; so many are named on the page."""
    rng = np.random.default_rng(0)
    left_out, plain = [], []
    for draw in rng.normal(size=(150, 25, 5)):
        values = {str(i): row for i, row in enumerate(draw)}
        first = max(values, key=lambda m: values[m].mean())
        left_out.append(1 - len(level(values, first)) / 24)
        gaps = [difference(values[first], row) for m, row in values.items() if m != first]
        plain.append(np.mean([gap.low > 0 for gap in gaps]))
    assert np.mean(left_out) < 0.05
    assert 0.14 < np.mean(plain) < 0.2


def test_the_first_and_those_level_with_it():
    table = Table(made_up(0.8, 0.8, 0.6))
    methods = table.methods(FACS)
    assert methods[-1] == "ae"
    first, others = table.top(FACS, "latent", "k-means", "nmi", methods)
    assert {first, *others} == {"vae-nb", "scvi"}


@pytest.mark.parametrize(("gain", "said"), [(0.1, "earns"), (0.0, "does not earn")])
def test_the_page_says_whether_pseudo_inputs_are_worth_it(gain, said):
    scores = made_up(0.8, 0.8, 0.6)
    names = {"vae-nb": "vsc-uai-nb", "pca-10": "vsc-nb-sound"}
    scores["method"] = scores["method"].replace(names)
    scores.loc[scores["method"] == "vsc-nb-sound", ["nmi", "ari"]] += 0.2 - gain
    text = questions(Table(scores))
    assert f"`model=vsc_uai`, the VSC as published, {said} its place" in text


def noise(rng, n_seeds=5):
    """Measures of models that do not differ, turned or not, as docs/sparsity.csv has them."""
    names = [f"{name}{turned}" for name in MODELS for turned in ("", ", turned")]
    rows = [
        {"model": name, "seed": seed, "on": 5.0 if name in SPARSE else np.nan}
        | dict(zip(MEASURES, rng.normal(size=len(MEASURES)), strict=True))
        for name in names
        for seed in range(n_seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


SPARSE = [name for name in MODELS if name.startswith("VSC")]
FACTS = {"n_cells": 3774, "n_genes": 2000, "n_textbook": 10}


def test_sparse_models_that_do_not_differ_are_rarely_above():
    rng = np.random.default_rng(0)
    corrected, plain = [], []
    for _ in range(120):
        found = dict(iter(noise(rng).groupby("model", sort=False)))
        some = gaps(found, pairs_of(SPARSE)["VAE"])
        corrected.append(any(gap.says == "higher" for gap in some))
        plain.append(
            any(
                any(low > 0 for low, _ in ends) and not any(high < 0 for _, high in ends)
                for name in SPARSE
                if (ends := [(g.estimate.low, g.estimate.high) for g in some if g.a == name])
            )
        )
    assert np.mean(corrected) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 120)
    assert 0.1 < np.mean(plain) < 0.4  # one of four, as the page says


def test_a_sparse_model_that_differs_is_above():
    values = noise(np.random.default_rng(1))
    name = "VSC, alpha 0.1"
    values.loc[values["model"] == name, "gain"] += 20.0
    text = sparsity_page.text(values, FACTS)
    assert "VAE do not? Yes, for VSC, alpha 0.1: above the VAE" in text
    assert f"*{name}* against *VAE*: higher in own minus other markers; not told apart in" in text
    shared = values["model"] == f"{name}, turned"
    values.loc[shared, "gain"] = values.loc[values["model"] == name, "gain"].to_numpy() + 0.01
    text = sparsity_page.text(values, FACTS)
    assert "VAE do not? Not shown. Above the VAE in one measure" in text
    assert f"*{name}* against *{name}, turned*: lower in own minus other markers" in text


def test_turned_models_are_paired_by_seed():
    found = dict(iter(noise(np.random.default_rng(2)).groupby("model", sort=False)))
    a, b = found["VAE"], found["VAE, turned"]
    by_measure = {g.measure: g for g in gaps(found, [("VAE", "VAE, turned")])}
    theirs = ttest_rel(a["gain"].to_numpy(), b["gain"].to_numpy()).confidence_interval(0.95)
    assert (by_measure["gain"].estimate.low, by_measure["gain"].estimate.high) == pytest.approx(
        (theirs.low, theirs.high)
    )


def test_a_model_with_few_programmes_is_measured_on_all_types():
    """Two programmes that tell two of ten types perfectly say nothing of the other eight."""
    labels = np.repeat(np.arange(10), 20)
    rng = np.random.default_rng(0)
    types = tuple(str(i) for i in range(10))
    markers = [frozenset(f"{i}-{j}" for j in range(TOP)) for i in range(10)]
    known = Truth(labels, types, markers, {(0, "0-0")})

    def found(n):
        levels = (labels[:, None] == np.arange(n)) + 0.01 * rng.uniform(size=(200, n))
        return Programmes(np.arange(n), markers[:n], levels)

    few, all_of_them = measure(found(2), known), measure(found(10), known)
    assert all_of_them["auroc"] == 1.0
    assert all_of_them["own"] == 100.0
    assert few["auroc"] < 0.7
    assert few["marked"] == 2
    none = measure(Programmes(np.arange(0), [], np.empty((200, 0))), known)
    assert none == few | dict.fromkeys(few, 0.0) | {"auroc": 0.5}


@pytest.mark.skipif(
    not (DOCS / "sparsity.csv").exists(),
    reason="docs/sparsity.csv comes with the next `make sparsity`",
)
def test_the_committed_page_on_sparsity_is_what_its_files_give():
    values = pd.read_csv(DOCS / "sparsity.csv", float_precision="round_trip")
    facts = json.loads((DOCS / "sparsity.json").read_text())
    assert sparsity_page.text(values, facts) == (DOCS / "sparsity.md").read_text()
