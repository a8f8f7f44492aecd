"""Scores of batches and types: as scib-metrics gives them, and what must hold of them."""

import json
import tracemalloc
from dataclasses import asdict

import numpy as np
import pytest
import scib_values
from scib_values import Cells
from scipy.sparse import block_diag, csr_array

from scvae_cli.analysis import mixing as module
from scvae_cli.analysis.kbet import kbet
from scvae_cli.analysis.mixing import Mixing, mixing, sample, totals
from scvae_cli.analysis.neighbourhood import Near, fuzzy_graph

STORED = json.loads(scib_values.STORED.read_text(encoding="utf-8"))
VALUES = STORED["values"]
BATCH = {"ilisi", "kbet", "graph_connectivity", "silhouette_batch"}
TYPE = {"clisi", "silhouette_label", "isolated_labels"}


def blobs(n: int, n_types: int, *, batches: np.ndarray, shift: float = 0.0) -> Cells:
    """Points around types that are far apart, moved by `shift` from one batch to the next."""
    rng = np.random.default_rng(3)
    types = rng.permutation(np.arange(n) % n_types)
    latent = 20.0 * np.eye(max(n_types, 5))[types] + rng.standard_normal((n, max(n_types, 5)))
    latent[:, 0] += shift * batches
    return Cells(latent, batches, types)


def halves(n: int) -> np.ndarray:
    """Two batches of the same size, at random."""
    return np.random.default_rng(4).permutation(np.arange(n) % 2)


def undefined(scores: Mixing) -> set[str]:
    return {name for name, value in asdict(scores).items() if np.isnan(value)}


@pytest.mark.parametrize("name", ["pbmc68k", "confounded", "protocols", "plates"])
def test_as_scib_metrics(name, request):
    case = getattr(scib_values, name)
    mixology = name in ("protocols", "plates")
    cells = case(request.getfixturevalue("real_data")) if mixology else case()
    expected = {key: VALUES[name][key] for key in asdict(Mixing())}
    assert asdict(mixing(*cells, seed=1)) == pytest.approx(expected, abs=1e-6)


def test_kbet_of_scib_metrics_with_its_own_neighbours_is_near():
    differences = [abs(case["kbet"] - case["kbet_as_it_is"]) for case in VALUES.values()]
    assert max(differences) < 0.005


@pytest.mark.slow
def test_scib_metrics_still_gives_these_values():
    pytest.importorskip("scib_metrics", reason="scib-metrics is not installed")
    given = scib_values.scib(scib_values.confounded())
    assert given == pytest.approx(VALUES["confounded"], abs=1e-5)


def test_the_graph_is_that_of_umap():
    graph = fuzzy_graph(Near(*scib_values.crowded()))
    assert graph.sum(axis=1) == pytest.approx(np.array(STORED["umap"]), abs=1e-4)
    assert abs(graph - graph.T).max() == 0


def test_mixed_batches_score_high_and_separate_ones_low():
    mixed = mixing(*blobs(800, 3, batches=halves(800)), seed=1)
    apart = mixing(*blobs(800, 3, batches=halves(800), shift=500.0), seed=1)
    assert min(mixed.ilisi, mixed.kbet, mixed.graph_connectivity, mixed.silhouette_batch) > 0.9
    assert max(apart.ilisi, apart.kbet, apart.silhouette_batch) < 0.05
    assert apart.graph_connectivity == pytest.approx(0.5, abs=0.05)


def test_separate_types_score_high_and_mixed_ones_low():
    latent, batches, types = blobs(800, 3, batches=halves(800))
    apart, mixed = (mixing(latent, batches, t, seed=1) for t in (types, halves(800)))
    assert apart.clisi == pytest.approx(1)
    assert min(apart.silhouette_label, apart.isolated_labels) > 0.8
    assert mixed.clisi < 0.1
    assert mixed.silhouette_label == pytest.approx(0.5, abs=0.01)


def test_order_and_names_change_nothing():
    latent, batches, types = scib_values.pbmc68k()
    order = np.random.default_rng(1).permutation(len(latent))
    scores = asdict(mixing(latent, batches, types, seed=1))
    renamed = mixing(latent[order], 5 - 2 * batches[order], 100 - 9 * types[order], seed=2)
    assert asdict(renamed) == pytest.approx(scores, abs=1e-9)


def test_the_place_of_the_space_change_nothing():
    latent, batches, types = scib_values.pbmc68k()
    scores = asdict(mixing(latent, batches, types, seed=1))
    moved = mixing(latent + 1e7, batches, types, seed=1)
    assert asdict(moved) == pytest.approx(scores, abs=1e-6)


@pytest.mark.parametrize(("n_lost", "is_tested"), [(12, True), (60, False)])
def test_kbet_leaves_out_small_pieces_of_a_type_unless_they_are_many(n_lost, is_tested):
    rng = np.random.default_rng(1)
    weights = rng.random((100, 100))
    pieces = [weights + weights.T] + [np.ones((6, 6))] * (n_lost // 6)
    graph = csr_array(block_diag([csr_array(piece) for piece in pieces]))
    n = graph.shape[0]
    rate = kbet(graph, rng.permutation(np.arange(n) % 2), np.zeros(n, int), rng)
    assert rate > 0.8 if is_tested else rate == 0


def test_cells_without_a_type_count_for_batches_only():
    latent, batches, types = scib_values.pbmc68k()
    known = types % 3 > 0
    scores = mixing(latent, batches, np.where(known, types, -1), seed=1)
    alone = mixing(latent[known], batches[known], types[known], seed=1)
    assert scores.ilisi == mixing(latent, batches, types, seed=1).ilisi != alone.ilisi
    assert asdict(scores) | {"ilisi": 0} == pytest.approx(asdict(alone) | {"ilisi": 0})


@pytest.mark.parametrize(
    ("batches", "types", "missing"),
    [
        ("one", "some", {"ilisi", "kbet", "silhouette_batch"}),
        ("halves", "one", TYPE),
        ("halves", "none", (BATCH | TYPE) - {"ilisi"}),
        ("types", "some", {"kbet", "silhouette_batch"}),
        ("single", "some", set()),
        ("hundreds", "some", set()),
        ("halves", "cells", {"kbet", *TYPE, "silhouette_batch"} - {"clisi"}),
        ("cells", "some", {"silhouette_batch"}),
    ],
)
def test_what_is_not_defined_is_nan(batches, types, missing):
    n = 600
    some = blobs(n, 3, batches=np.zeros(n))
    numbers = {
        "one": np.zeros(n, int), "none": np.full(n, -1), "some": some.types, "types": some.types,
        "halves": halves(n), "single": np.arange(n) == 5, "hundreds": np.arange(n) % 500,
        "cells": np.arange(n),
    }  # fmt: skip
    scores = mixing(some.latent, numbers[batches], numbers[types], seed=1)
    assert undefined(scores) == missing
    assert all(-1e-9 <= value <= 1 + 1e-9 for value in asdict(scores).values() if value == value)


@pytest.mark.parametrize("n", [1, 5, 6, 20, 89, 90, 91])
def test_few_cells(n):
    scores = mixing(*blobs(n, 2, batches=np.arange(n) // 2 % 2), seed=1)
    assert undefined(scores) == (BATCH | TYPE if n < 6 else {"kbet"} if n < 20 else set())


def test_a_space_that_is_one_point():
    scores = mixing(np.ones((200, 4)), halves(200), np.arange(200) % 3, seed=1)
    assert undefined(scores) == set()
    assert scores.silhouette_label == pytest.approx(0.5)


def test_a_sample_has_each_batch_and_type_in_its_share():
    batches = np.repeat([0, 1, 2], [7000, 2990, 10])
    labels = np.arange(10_000) % 3 - 1
    drawn = sample(batches, labels, 999, np.random.default_rng(1))
    assert len(np.unique(drawn)) == 999
    for batch in range(3):
        for label in (-1, 0, 1):
            group = (batches == batch) & (labels == label)
            assert abs(group[drawn].sum() - 0.0999 * group.sum()) < 1


def test_each_cell_is_as_likely_to_be_drawn():
    batches, labels = np.array([0] * 9 + [1]), np.arange(10) % 2
    draws = [sample(batches, labels, 5, np.random.default_rng(seed)) for seed in range(2000)]
    assert np.bincount(np.concatenate(draws)) == pytest.approx(np.full(10, 1000), abs=100)
    assert len({tuple(rows) for rows in draws}) > 20


def test_more_cells_are_scored_by_a_sample():
    cells = blobs(500, 3, batches=halves(500), shift=2.0)
    drawn = sample(cells.batches, cells.types, 300, np.random.default_rng(7))
    scores = mixing(*cells, seed=7, max_cells=300)
    assert scores == mixing(*cells, seed=7, max_cells=300) != mixing(*cells, seed=8, max_cells=300)
    alone = mixing(*(part[drawn] for part in cells), seed=1)
    assert asdict(scores) == pytest.approx(asdict(alone), abs=1e-9)


def test_memory_is_not_for_all_pairs(monkeypatch):
    monkeypatch.setattr(module, "MEGABYTES", 4)
    cells = blobs(4000, 8, batches=halves(4000))
    tracemalloc.start()
    mixing(*cells, seed=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 4000**2 / 2


def test_totals_are_those_of_scib():
    scores = Mixing(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    made = totals(scores, nmi=0.8, ari=0.9)
    assert asdict(made) == pytest.approx(
        {"batch_correction": 0.25, "bio_conservation": 0.7, "overall": 0.52}
    )
    missing = totals(Mixing(0.1, np.nan, 0.3, 0.4, 0.5, 0.6, 0.7), nmi=0.8, ari=0.9)
    assert np.isnan([missing.batch_correction, missing.overall]).all()
    assert missing.bio_conservation == made.bio_conservation
