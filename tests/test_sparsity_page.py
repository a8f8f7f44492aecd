"""What docs/sparsity.md says of measures that are made up."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from benchmarks.sparsity import page as sparsity_page
from benchmarks.sparsity.differences import gaps, pairs_of
from benchmarks.sparsity.measures import MEASURES, measure
from benchmarks.sparsity.programmes import TOP, Programmes, Truth
from benchmarks.sparsity.runs import MODELS

DOCS = Path(__file__).parents[1] / "docs"


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
