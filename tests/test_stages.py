"""Data, training, clustering and scores, each against a truth from elsewhere."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from conftest import options_of
from scipy.sparse import csr_array, issparse
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.metrics import adjusted_rand_score, v_measure_score

from scvae_cli import CONF
from scvae_cli.analysis.cluster import kmeans, nearest_centroid
from scvae_cli.analysis.embed import embed
from scvae_cli.analysis.score import score, silhouette
from scvae_cli.analysis.tsne import from_2d, place_others, tsne
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.neighbours import leiden, shared_neighbours
from scvae_cli.data.preprocess import log_normalize
from scvae_cli.data.sources import SOURCES, _scaled, load
from scvae_cli.errors import InputError, Kind, RunError
from scvae_cli.models.registry import build
from scvae_cli.models.train import train

SYNTHETIC = {
    "name": "synthetic", "scale": None, "n_cells": 500, "n_genes": 300, "n_types": 4,
    "umis": 400.0, "umis_sd": 0.3, "gene_sd": 1.0, "markers": 0.1, "fold": 5.0, "seed": 0,
    "n_batches": 1, "batch_sd": 0.5, "own_types": 0,
    "target_sum": 1e4,
}  # fmt: skip
KMEANS = {
    "init": "k-means++", "n_init": 100, "max_iter": 300, "tol": 1e-4, "algorithm": "lloyd",
    "seed": 0,
}  # fmt: skip
TSNE = {
    "perplexity": 20.0, "early_exaggeration": 12.0, "learning_rate": "auto", "max_iter": 250,
    "n_iter_without_progress": 300, "min_grad_norm": 1e-7, "metric": "euclidean", "init": "pca",
    "method": "barnes_hut", "angle": 0.5, "seed": 0, "threads": 1,
}  # fmt: skip


def test_every_source_has_settings():
    assert {path.stem for path in (CONF / "data").glob("*.yaml")} == {*SOURCES}


def test_pbmc68k_is_scanpys():
    ours, theirs = load(name="pbmc68k", scale=None), sc.datasets.pbmc68k_reduced()
    assert (ours.n_cells, ours.n_genes, len(ours.cell_types)) == (700, 765, 10)
    assert np.array_equal(ours.x.toarray(), theirs.raw.X.toarray())
    names = np.array(ours.cell_types)[ours.labels]
    assert pd.Series(names).eq(theirs.obs["bulk_labels"].astype(str).to_numpy()).all()
    assert list(ours.cells) == list(theirs.obs_names)
    assert list(ours.genes) == list(theirs.raw.var_names)


def test_log_normalize_is_scanpys_recipe():
    counts = np.random.default_rng(0).poisson(1.0, (20, 30)).astype(np.float32)
    expected = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)
    values = log_normalize(csr_array(counts), target_sum=1e4)
    assert issparse(values)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values.toarray(), expected, rtol=1e-5)


def test_scaled_data_are_clipped_z_scores():
    plain, scaled = load(**SYNTHETIC), load(**{**SYNTHETIC, "scale": 2.0})
    dense = plain.x.toarray().astype(np.float64)
    z = (dense - dense.mean(0)) / np.where(dense.std(0), dense.std(0, ddof=1), 1)
    np.testing.assert_allclose(scaled.x, np.minimum(z, 2), atol=1e-4)
    assert scaled.x.min() < -2  # Seurat's ScaleData cuts off above alone
    assert scaled.x.dtype == np.float32
    assert scaled.fingerprint() != plain.fingerprint()


def test_synthetic_cells_are_what_was_asked_for():
    data = load(**SYNTHETIC)
    assert data.x.shape == (500, 300)
    assert np.bincount(data.labels).tolist() == [125] * 4
    totals = np.expm1(data.x.toarray()).sum(1)
    np.testing.assert_allclose(totals, 1e4, rtol=1e-4)


def test_synthetic_types_differ_and_cells_of_one_type_do_not():
    """A nearest-centroid rule learnt on one half recognises the other; shuffled labels do not."""
    data = load(**SYNTHETIC)
    x = data.x.toarray()

    def accuracy(labels):
        centroids = np.stack([x[:250][labels[:250] == t].mean(0) for t in range(4)])
        nearest = ((x[250:, None] - centroids) ** 2).sum(2).argmin(1)
        return (nearest == labels[250:]).mean()

    assert accuracy(data.labels) > 0.95
    assert accuracy(np.random.default_rng(0).permutation(data.labels)) < 0.4


def test_synthetic_default_is_as_sparse_as_pbmc3k():
    """2,238,732 non-zeros in 2,638 x 13,714: 6.2 %."""
    from omegaconf import OmegaConf

    from scvae_cli import CONF

    options = OmegaConf.to_container(OmegaConf.load(CONF / "data" / "synthetic.yaml"))
    data = load(**{**options, "n_cells": 1000, "n_genes": 13714})
    assert data.x.nnz / np.prod(data.x.shape) == pytest.approx(0.062, abs=0.006)


def test_simulation_depends_on_its_seed_alone():
    assert load(**SYNTHETIC).fingerprint() == load(**SYNTHETIC).fingerprint()
    assert load(**SYNTHETIC).fingerprint() != load(**{**SYNTHETIC, "seed": 1}).fingerprint()


@pytest.mark.parametrize("scale", [None, 2.0])
def test_the_fingerprint_is_of_the_counts_and_not_of_the_last_bits_of_logarithms(scale):
    """Processors with AVX-512 have other last bits; a run begun on one continues on another."""
    here = load(**SYNTHETIC)
    logs, more = here.x.data.copy(), here.x.data.copy()
    logs[::3] = np.nextafter(logs[::3], np.float32(np.inf))
    more[0] = np.log1p(np.expm1(more[0]) + 1e4 / here.recipe.totals[0])  # a count more
    values = [csr_array((v, here.x.indices, here.x.indptr)) for v in (here.x.data, logs, more)]
    cells = [replace(here, x=x) for x in values]
    if scale:
        cells = [_scaled(dataset, scale) for dataset in cells]
    first, second, third = (dataset.fingerprint() for dataset in cells)
    assert first == second != third


@pytest.mark.parametrize("change", ["totals", "target_sum", "indices", "clip"])
def test_the_fingerprint_is_of_all_that_values_come_from(change):
    here = load(**SYNTHETIC)
    recipe = here.recipe
    if change == "clip":
        assert _scaled(here, 2.0).fingerprint() != _scaled(here, 3.0).fingerprint()
        return
    if change == "indices":
        other = replace(here, x=csr_array(here.x[:, ::-1]))
    elif change == "totals":
        other = replace(here, recipe=replace(recipe, totals=recipe.totals * 2))
    else:
        other = replace(here, recipe=replace(recipe, target_sum=2e4))
    assert here.fingerprint() != other.fingerprint()


def test_the_fingerprint_takes_no_copy_of_the_counts():
    n_cells, width = 60_000, 100
    indices = np.tile(np.arange(width, dtype=np.int32), n_cells)
    starts = np.arange(0, indices.size + 1, width, dtype=np.int32)
    x = csr_array((np.full(indices.size, np.log1p(100), np.float32), indices, starts))
    here = load(**SYNTHETIC)
    recipe = replace(here.recipe, totals=np.full(n_cells, 100.0))
    names = np.arange(n_cells).astype(str)
    cells = Dataset("many", x, np.zeros(n_cells, int), ("a",), names, names[:width], recipe)
    tracemalloc.start()
    try:
        cells.fingerprint()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < x.data.nbytes, peak


def test_more_types_than_cells_are_refused():
    with pytest.raises(InputError) as caught:
        load(**{**SYNTHETIC, "n_types": 501})
    error = caught.value
    assert (error.kind, error.key, error.value) == (Kind.VALUE, "data.n_types", 501)


@pytest.mark.parametrize("damage", ["nan", "labels", "names", "type"])
def test_a_dataset_checks_itself(damage):
    x = csr_array(np.eye(4, dtype=np.float32))
    labels, cells = np.array([0, 1, 0, 1]), np.array(list("abcd"))
    types: tuple[str, ...] = ("s", "t")
    if damage == "nan":
        x.data[0] = np.nan
    elif damage == "labels":
        labels = labels[:3]
    elif damage == "names":
        cells = np.array(list("aacd"))
    else:
        types = ("s", "t", "u")
    with pytest.raises(AssertionError):
        Dataset("d", x, labels, types, cells, np.array(list("efgh")))


def small_training(x, *, lr=1e-3, batch_size=64):
    options = options_of("ae", encoder=[8], decoder=[8], latent_activation="linear")
    model = build("ae", x.shape[1], 2, seed=0, **options)
    history = train(
        model, x, epochs=5, batch_size=batch_size, lr=lr, batch_seed=1, noise_seed=2,
        device=torch.device("cpu"), on_epoch=lambda row: None,
    )  # fmt: skip
    return model, history


def test_training_lowers_the_loss_and_every_cell_counts_once():
    x = load(**SYNTHETIC).x
    _, history = small_training(x)
    assert history["total"].is_monotonic_decreasing
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5]
    # With a learning rate of (almost) nothing an epoch's mean is that of the untrained model,
    # whatever the batches: also if the last batch is smaller.
    whole = small_training(x, lr=1e-12, batch_size=500)[1]["reconstruction"][0]
    parts = small_training(x, lr=1e-12, batch_size=333)[1]["reconstruction"][0]
    assert parts == pytest.approx(whole, rel=1e-5)


def test_sparse_and_dense_data_train_alike():
    x = load(**SYNTHETIC).x
    _, sparse = small_training(x)
    _, dense = small_training(x.toarray())
    assert sparse["total"].tolist() == dense["total"].tolist()


def test_a_loss_that_is_not_finite_stops_the_training():
    with pytest.raises(RunError) as caught:
        small_training(load(**SYNTHETIC).x, lr=1e30)
    assert caught.value.kind == Kind.DIVERGED
    assert "epoch 1" in caught.value.reason


@pytest.mark.parametrize("spread", [0.0, 1e-25])
def test_tsne_refuses_a_collapsed_latent_space(spread):
    """scikit-learn's PCA start divides by a spread of 0 there, and its tree then crashes."""
    noise = np.random.default_rng(0).normal(size=(100, 6)).astype(np.float32)
    with pytest.raises(RunError) as caught:
        tsne(noise * np.float32(spread), 2, **TSNE)
    assert caught.value.kind == Kind.COLLAPSED


def test_embedding_refuses_weights_that_are_not_finite():
    model, _ = small_training(load(**SYNTHETIC).x)
    with torch.no_grad():
        model.encoder[0].bias.fill_(torch.nan)
    with pytest.raises(RunError) as caught:
        embed(
            model, load(**SYNTHETIC).x, kind="mean", batch_size=64, seed=0,
            device=torch.device("cpu"),
        )  # fmt: skip
    assert caught.value.kind == Kind.DIVERGED


def test_tsne_tells_its_iterations_and_gives_the_same_map(capsys):
    latent = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    told: list[int] = []
    first, second = tsne(latent, 2, **TSNE, on_step=told.append), tsne(latent, 2, **TSNE)
    np.testing.assert_array_equal(first, second)
    assert told == list(range(50, TSNE["max_iter"] + 1, 50))
    assert capsys.readouterr().out == ""


def test_tsne_maps_fewer_latents_than_dimensions():
    latent = np.random.default_rng(0).normal(size=(100, 1)).astype(np.float32)
    assert tsne(latent, 3, **TSNE).shape == (100, 3)


def test_a_3d_map_from_the_2d_one_is_as_good_in_fewer_steps_and_lies_like_it():
    x = load(name="pbmc68k", scale=None).x.toarray()[:400]
    latent = PCA(6, random_state=0).fit_transform(x).astype(np.float32)
    flat = tsne(latent, 2, **(TSNE | {"max_iter": 500}))
    alone = tsne(latent, 3, **(TSNE | {"max_iter": 1000}))
    raised_map = tsne(latent, 3, **from_2d(latent, flat, TSNE | {"max_iter": 300}))
    kept = [trustworthiness(latent, map_, n_neighbors=15) for map_ in (flat, alone, raised_map)]
    assert kept[2] > kept[0]
    assert kept[2] > kept[1] - 0.001
    for axis in range(2):
        assert np.corrcoef(flat[:, axis], raised_map[:, axis])[0, 1] > 0.95
    assert np.abs(np.corrcoef(raised_map[:, 2], latent[:, 2])[0, 1]) > 0.5


@pytest.mark.parametrize("n_latent", [1, 2, 3])
def test_a_3d_map_is_raised_without_a_third_component(n_latent):
    latent = np.random.default_rng(0).normal(size=(50, n_latent))
    latent[:, 2:] = 0
    flat = 7 * np.random.default_rng(1).normal(size=(50, 2))
    start = from_2d(latent, flat, TSNE)["init"]
    np.testing.assert_array_equal(start[:, :2], flat.astype(np.float32))
    assert start[:, 2].std() == pytest.approx(0.3 * flat.std(), rel=1e-5)
    np.testing.assert_array_equal(start, from_2d(latent, flat, TSNE)["init"])


def test_clusters_are_numbered_by_size():
    rng = np.random.default_rng(0)
    truth = np.repeat(range(6), [20, 100, 50, 10, 70, 30])
    points = rng.normal(size=(280, 2)) + 50 * truth[:, None]
    clusters, centroids = kmeans(points, n_clusters=6, **KMEANS)
    assert np.bincount(clusters).tolist() == [100, 70, 50, 30, 20, 10]
    for i in range(6):
        np.testing.assert_allclose(centroids[i], points[clusters == i].mean(0))


@pytest.mark.parametrize("name", ["ae", "vae", "vsc"])
def test_a_sample_of_the_cells_gives_the_scores_of_all(real_data, name):
    """NMI of k-means has an sd of .007 to .015 from start to start, a silhouette of .01."""
    published = pd.read_csv(real_data / "published" / f"{name}_tsne.csv")
    points, types = published[["x", "y"]].to_numpy(), published["cluster"].to_numpy()
    all_of_them, _ = kmeans(points, n_clusters=9, **KMEANS)
    some, centroids = kmeans(points, n_clusters=9, max_cells=1000, **KMEANS)
    nmi = [score(types, found, nmi_average="geometric").nmi for found in (all_of_them, some)]
    assert nmi[1] == pytest.approx(nmi[0], abs=0.03)
    assert (some == nearest_centroid(points, centroids)).all()
    assert (np.diff(np.bincount(some)) <= 0).all()
    exact, drawn = (silhouette(points, all_of_them, max_cells=n) for n in (None, 1000))
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=0.02)


def test_a_rare_type_is_in_every_silhouette():
    points = np.random.default_rng(0).normal(size=(500, 2)) + np.eye(500, 2) * 1000
    types = np.arange(500).clip(0, 2)  # the first two are alone
    assert np.isfinite(silhouette(points, types, max_cells=3, seed=1))


def test_a_silhouette_needs_two_cells_of_some_cluster():
    points, clusters = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20).clip(0, 17)
    assert np.isfinite(silhouette(points, clusters, max_cells=2, seed=0))


def test_cells_are_placed_between_the_mapped_ones_that_they_are_between():
    """On a line in the latent space, which the map bends; and where a mapped cell is, there."""
    line = np.arange(0, 41, dtype=np.float32)[:, None]
    mapped = np.arange(0, 41, 2)
    bent = np.column_stack([np.cos(mapped / 20), np.sin(mapped / 20)]).astype(np.float32)
    places = place_others(np.vstack([line, line[6:7]]), np.arange(0, 41, 2), bent, threads=1)
    assert (places[mapped] == bent).all()
    np.testing.assert_allclose(places[41], bent[3], atol=1e-6)
    between = places[1:40:2]
    ends = (bent[:-1] + bent[1:]) / 2
    np.testing.assert_allclose(between, ends, atol=0.06)


def test_arithmetic_nmi_is_the_v_measure_and_geometric_is_not():
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(0, 3, 200), rng.integers(0, 7, 200)
    arithmetic = score(labels, clusters, nmi_average="arithmetic")
    geometric = score(labels, clusters, nmi_average="geometric")
    assert arithmetic.nmi == pytest.approx(v_measure_score(labels, clusters))
    assert geometric.nmi == pytest.approx((geometric.hom * geometric.com) ** 0.5)
    assert abs(geometric.ari) < 0.05


# The report's table (section 3.3) from the maps that its authors published.
PUBLISHED = {
    "ae": (0.7209, 0.5798, 0.7704, 0.6745),
    "vae": (0.6092, 0.4404, 0.6543, 0.5673),
    "vsc": (0.6456, 0.4653, 0.6921, 0.6021),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_maps_give_the_published_table(real_data, name):
    published = pd.read_csv(real_data / "published" / f"{name}_tsne.csv")
    clusters, _ = kmeans(published[["x", "y"]].to_numpy(), n_clusters=9, **KMEANS)
    scores = score(published["cluster"].to_numpy(), clusters, nmi_average="geometric")
    ours = (scores.nmi, scores.ari, scores.hom, scores.com)
    assert ours == pytest.approx(PUBLISHED[name], abs=0.003)


def test_leiden_finds_blobs_and_as_many_clusters_as_asked():
    points, truth = make_blobs([80, 60, 50, 40, 30], 5, cluster_std=0.6, random_state=0)
    graph = shared_neighbours(points, 20, 1 / 15)
    found = leiden(graph, n_clusters=5, seed=0)
    assert adjusted_rand_score(truth, found) == 1.0
    assert len(np.unique(leiden(graph, n_clusters=9, seed=0))) == 9
    assert np.array_equal(found, leiden(graph, n_clusters=5, seed=0))
    assert leiden(graph, n_clusters=2, seed=0).max() == 4  # no fewer: nothing joins the blobs


def test_shared_neighbours_are_jaccard_indices():
    """Of the sets of nearest cells, itself among them, by hand."""
    points = np.array([[0.0], [1.0], [2.1], [10.0], [11.0], [12.1]])
    graph = shared_neighbours(points, 3, 0.0)
    near = [set(np.argsort(abs(points[:, 0] - p))[:3]) for p in points[:, 0]]
    weights = {tuple(e.tuple): e["weight"] for e in graph.es}
    assert len(weights) == 6
    for (i, j), weight in weights.items():
        assert weight == pytest.approx(len(near[i] & near[j]) / len(near[i] | near[j]))
