"""The presets that are compared, what is computed of scores that are made up, and the page."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.latents import page
from benchmarks.latents.cost import compared
from benchmarks.latents.methods import CONTROLS, EARLY, METHODS, OTHERS, SHIPPED, SHORT, peers
from benchmarks.latents.page_scores import firsts
from benchmarks.latents.questions import UAI, gaps, questions
from benchmarks.latents.runs import Training
from benchmarks.latents.scores import near_best, scored
from benchmarks.latents.sets import CIRCULAR, INDEPENDENT, Cells, Labels
from benchmarks.latents.tables import (
    Tables,
    correlations,
    joining,
    left_out,
    level,
    overall,
    ranking,
    regrets,
)
from scvae_cli import CONF
from scvae_cli.analysis.stats import difference
from scvae_cli.choice.plan import CANDIDATES
from scvae_cli.launch.compose import compose

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


def test_every_preset_is_compared():
    found = {path.stem for path in (CONF / "experiment" / "benchmark").glob("*.yaml")}
    assert found == {*OTHERS, *CONTROLS}
    assert {*CANDIDATES, *OTHERS, *CONTROLS} < {*METHODS}


@pytest.mark.parametrize("preset", [*OTHERS, *CONTROLS])
def test_presets_are_what_they_are_called(preset):
    config = compose([f"experiment=benchmark/{preset}", "data=pbmc3k"])
    name = {"untrained": "vae", "vsc-uai-nb": "vsc_uai"}.get(preset, preset.split("-")[0])
    assert config.model.name == name
    likelihoods = [kind for kind in ("poisson", "zinb", "nb") if kind in preset.split("-")]
    if preset == "projection":
        assert config.likelihood is None
    elif preset != "untrained":
        assert config.likelihood == (likelihoods[0] if likelihoods else "gaussian")
    features = preset in ("vae-nb-latent", "ae", "vae", "vsc", "projection")
    assert config.embedding == ("mean" if features else "decoded")
    text = (CONF / "experiment" / "benchmark" / f"{preset}.yaml").read_text()
    assert f"\n# scvae train experiment=benchmark/{preset} data=...\n" in text


@pytest.mark.parametrize("preset", OTHERS)
def test_presets_train_as_long_as_candidates(preset):
    """Only where gates are learnt first may training not stop when losses rise."""
    config = compose([f"experiment=benchmark/{preset}", "data=pbmc3k"])
    ours = compose(["experiment=choose/vae-nb", "data=pbmc3k"])
    length = ("epochs", "updates", "batch_size", "lr", "validation", "validation_share")
    assert [getattr(config, key) for key in length] == [getattr(ours, key) for key in length]
    assert config.patience == (None if getattr(config.model, "spike_warmup", 0) else ours.patience)


@pytest.mark.parametrize(
    ("n_cells", "epochs"), [(3774, 149), (2638, 211), (1000, None), (200, None)]
)
def test_scvi_has_as_many_updates_as_ours_where_that_is_shorter(n_cells, epochs):
    options = peers(n_cells)
    assert {SHIPPED, EARLY} <= {*options}
    assert options.get(SHORT) == (epochs and ["--epochs", f"{epochs}", "--warmup", f"{epochs}"])
    if epochs:
        batches = int(np.ceil(np.ceil(0.9 * n_cells) / 128))
        assert (epochs - 1) * batches < 4000 <= epochs * batches


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


def test_controls_are_no_rivals_of_the_best():
    values = {"pca-20": np.array([0.7, 0.71, 0.69]), "untrained": np.array([0.1, 0.9, 0.2])}
    assert firsts(values) == ["pca-20"]


def test_methods_that_lack_a_set_are_not_ranked(tables):
    lacks = (tables.scores["method"] == "vae-nb") & (tables.scores["labels"] == "b")
    table = overall(tables._replace(scores=tables.scores[~lacks]), METHODS)
    assert "vae-nb" not in table.index
    assert list(table.columns) == ["A", "B"]


def test_gaps_are_those_of_seeds_and_of_sets(tables):
    gap = gaps(tables, "pca-sqrt", "pca-20")
    assert [round(one.mean, 6) for one in gap.by_labels["a, fine"]] == [0.2, 0.2]
    assert gap.over_sets.n == 2  # A and B: clusters of counts have no say
    assert gap.over_sets.mean == pytest.approx((0.2 + 0.3) / 2)
    assert gaps(tables, "pca-sqrt", "scvi").by_labels == {}


@pytest.mark.parametrize(
    ("gain", "said"),
    [(0.1, "earns"), (-0.1, "does not earn"), (0.0, "has not shown that it earns")],
)
def test_the_page_says_whether_pseudo_inputs_are_worth_it(tables, gain, said):
    scores = tables.scores[tables.scores["method"].isin(["vae-nb", "pca-50"])].copy()
    scores["method"] = scores["method"].replace({"vae-nb": UAI, "pca-50": "vsc-nb-sound"})
    noise = np.random.default_rng(0).normal(0, 0.001, len(scores))
    scores["nmi"] = scores["ari"] = 0.5 + noise + gain * (scores["method"] == UAI)
    text = questions(tables._replace(scores=scores))
    assert f"`model=vsc_uai`, the VSC as published, {said} its place" in text


def test_epochs_of_a_race_are_compared_by_turn_and_by_the_fastest():
    race = compared([[0.5, 0.9, 0.5], [0.4, 0.2, 0.8]], [[2.0], [2.0]])
    assert (race["least"], race["most"], race["fastest"]) == (4.0, 5.0, 10.0)


def test_scores_of_a_training_are_computed_once(tmp_path, monkeypatch):
    folder = tmp_path / "vae-nb-0"
    folder.mkdir()
    names = [f"c{i}" for i in range(60)]
    places = np.repeat([[0.0, 0.0], [9.0, 9.0]], 30, axis=0)
    places += np.random.default_rng(0).normal(size=places.shape)
    table = pd.DataFrame(places, columns=["z1", "z2"]).assign(cell=names)
    table[["cell", "z1", "z2"]].to_csv(folder / "latent.csv", index=False)
    types = pd.DataFrame({"cell": names, "type": ["a"] * 30 + ["b"] * 30})
    types.to_csv(tmp_path / "types.csv", index=False)
    cells = Cells([], {"x": Labels(INDEPENDENT, "made up", file=tmp_path / "types.csv")})
    monkeypatch.setattr("benchmarks.latents.scores.find_runs", lambda _: [None])
    kept = tmp_path / "scores"
    first = scored(cells, [Training("vae-nb", 0, folder)], kept)
    assert (first.loc[first["space"] == "latent", ["nmi", "ari"]] == 1).all().all()
    changed = pd.read_csv(kept / "vae-nb-0.csv").assign(nmi=0.25)
    changed.to_csv(kept / "vae-nb-0.csv", index=False)
    assert (scored(cells, [Training("vae-nb", 0, folder)], kept)["nmi"] == 0.25).all()


def test_the_page_is_made_of_its_tables(tmp_path):
    (tmp_path / "benchmark").mkdir()
    for file in (DOCS / "benchmark").iterdir():
        (tmp_path / "benchmark" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "benchmark" / "scores.png").unlink()
    page.render(tmp_path)
    assert (tmp_path / "benchmark.md").read_text() == (DOCS / "benchmark.md").read_text()
    assert (tmp_path / "benchmark" / "scores.png").read_bytes()[:4] == b"\x89PNG"
