"""The validation of `scvae choose`: what it computes of scores that are made up, and the page."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.choice import page
from benchmarks.choice.scores import near_best
from benchmarks.choice.sets import CIRCULAR, INDEPENDENT
from benchmarks.choice.tables import (
    Tables,
    correlations,
    joining,
    left_out,
    ranking,
    regrets,
)

DOCS = Path(__file__).parents[1] / "docs"
# Mean score of each method on each set of cells.
MEANS = {
    "A": {"pca-20": 0.6, "pca-10": 0.5, "pca-50": 0.7, "pca-sqrt": 0.8, "vae-nb": 0.9},
    "B": {"pca-20": 0.6, "pca-10": 0.5, "pca-50": 0.4, "pca-sqrt": 0.9, "vae-nb": 0.2},
    "C": {"pca-20": 0.9, "pca-10": 0.5, "pca-50": 0.4, "pca-sqrt": 0.1, "vae-nb": 0.2},
}
ABOUT: dict[str, Any] = {
    "labels": {
        "a, fine": {"set": "A", "kind": INDEPENDENT, "source": "x"},
        "a, coarse": {"set": "A", "kind": INDEPENDENT, "source": "x"},
        "b": {"set": "B", "kind": INDEPENDENT, "source": "x"},
        "c": {"set": "C", "kind": CIRCULAR, "source": "x"},
    },
    "versions": {"Python": "3"},
}


@pytest.fixture
def tables():
    """Tables in which `predicted` is the score itself, and `neighbours` its opposite."""
    noise = np.random.default_rng(0)
    scores, criteria, joined = [], [], []
    for labels, about in ABOUT["labels"].items():
        for method, mean in MEANS[about["set"]].items():
            for by in ("k-means", "Leiden"):
                head = {"method": method, "labels": labels, "by": by}
                for seed in range(3):
                    for space in ("latent", "map"):
                        value = {"nmi": mean + 0.001 * seed, "ari": mean - 0.001 * seed}
                        scores.append({**head, "seed": seed, "space": space, **value})
                if method == "vae-nb":
                    more = {"way": "side by side", "n": 3, "nmi": mean + 0.1, "ari": mean + 0.1}
                    joined.append({**head, **more})
    for name, means in MEANS.items():
        for method, mean in means.items():
            for seed in range(3):
                row = {"set": name, "candidate": method, "seed": seed, "seconds": 1.0}
                near = mean + 0.0001 * noise.normal()
                more = {"predicted": near, "agreement": mean, "neighbours": -mean}
                criteria.append({**row, **more})
    return Tables(pd.DataFrame(scores), pd.DataFrame(criteria), pd.DataFrame(joined), ABOUT)


def test_regret_is_the_distance_to_the_highest_candidate(tables):
    lost = regrets(tables, "latent", "k-means").round(6)
    assert lost["highest"].tolist() == ["vae-nb", "vae-nb", "pca-sqrt", "pca-20"]
    assert lost["scvae choose"].tolist() == [0, 0, 0, 0]  # which follows `predicted`
    assert lost["always pca-20"].tolist() == [0.3, 0.3, 0.3, 0]
    assert lost["always pca-sqrt"].tolist() == [0.1, 0.1, 0, 0.8]
    assert lost["PCA, best width"].tolist() == [0.2, 0.2, 0.3, 0]


def test_what_is_best_elsewhere_is_chosen_without_the_cells_it_is_judged_on(tables):
    assert left_out(tables, "A") == "pca-sqrt"  # by B alone: clusters of counts have no say
    assert left_out(tables, "B") == "vae-nb"
    order = ranking(tables)
    assert order.index[0] == "pca-sqrt"
    assert order["pca-sqrt"] == pytest.approx(0.85)  # cells with two sets of labels count once


def test_criteria_are_correlated_with_scores(tables):
    table = correlations(tables)
    assert np.allclose(table["predicted"], 1)
    assert np.allclose(table["neighbours"], -1)


def test_joining_gains_what_it_scores_above_one_seed(tables):
    assert np.allclose(joining(tables)["gain"], 0.1)


def test_k_means_near_the_best_are_all_returned():
    """Four corners and three clusters: two of the corners are one cluster, whichever."""
    rng = np.random.default_rng(0)
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * 10.0
    points = np.repeat(corners, 50, axis=0) + rng.normal(0, 0.01, (200, 2))
    found = near_best(points, 3, seed=0)
    joined = {
        tuple(sorted(np.flatnonzero([len({*c[50 * i : 50 * i + 50], *c[50 * j : 50 * j + 50]}) == 1
                                     for i in range(4) for j in range(i)])))
        for c in found
    }  # fmt: skip
    assert len(joined) == 4  # the sides of the square


def test_the_page_is_made_of_its_tables(tmp_path):
    (tmp_path / "choice").symlink_to(DOCS / "choice")
    page.render(tmp_path)
    assert (tmp_path / "choice.md").read_text() == (DOCS / "choice.md").read_text()
