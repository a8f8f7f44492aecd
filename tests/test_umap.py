"""`map=umap`: the map, what a run says of it, and the settings that it does not go with."""

import json
import re
import shutil

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import SMALL
from scipy.sparse import csr_matrix
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

import scvae_cli
from scvae_cli.analysis.tsne import place_others, tsne
from scvae_cli.analysis.umap import umap
from scvae_cli.choice.plan import sweep_words
from scvae_cli.data.sources import load
from scvae_cli.errors import InputError, Kind, RunError
from scvae_cli.results.figures.many_maps import map_table
from scvae_cli.results.figures.maps import map_2d, map_3d
from scvae_cli.results.run_page import run_page
from scvae_cli.results.table import varied
from scvae_cli.runs.run import Run
from scvae_cli.settings import restored

UMAP = {"n_neighbors": 15, "min_dist": 0.1, "n_epochs": 100, "seed": 0}
TSNE = {
    "perplexity": 40.0, "early_exaggeration": 12.0, "learning_rate": "auto", "max_iter": 300,
    "n_iter_without_progress": 300, "min_grad_norm": 1e-7, "metric": "euclidean", "init": "pca",
    "method": "barnes_hut", "angle": 0.5, "seed": 0, "threads": 1,
}  # fmt: skip
SHORT = [*SMALL, "epochs=2", "model=pca", "map=umap", "umap.n_epochs=20", "cluster.n_init=2"]
SOME = ["umap.max_cells=200", "map_3d=true", "h5ad=true", "figures.format=svg"]


@pytest.fixture(scope="module")
def pbmc():
    """700 cells (n_cells, 6) on their principal components."""
    x = load(name="pbmc68k", scale=None).x.toarray()
    return PCA(6, random_state=0).fit_transform(x).astype(np.float32)


def near(points: np.ndarray, others: np.ndarray, n: int) -> np.ndarray:
    """Rows of the nearest of `points` to each of `others`."""
    return NearestNeighbors(n_neighbors=n).fit(points).kneighbors(others, return_distance=False)


def test_it_keeps_neighbours_as_t_sne_does(pbmc):
    chance = np.random.default_rng(0).normal(size=(700, 2))
    maps = umap(pbmc, 2, **UMAP), tsne(pbmc, 2, **TSNE), chance
    of_umap, of_tsne, of_chance = (trustworthiness(pbmc, map_, n_neighbors=15) for map_ in maps)
    assert of_umap > 0.97
    assert of_umap > of_tsne - 0.01
    assert of_chance < 0.55
    islands = np.repeat(np.arange(4) * 50, 30)
    apart = (np.random.default_rng(0).normal(size=(120, 5)) + islands[:, None]).astype(np.float32)
    found = near(places := umap(apart, 3, **UMAP), places, 10)
    assert (islands[found] == islands[:, None]).all()


def test_the_seed_sets_every_byte_whatever_the_threads(pbmc):
    from threadpoolctl import threadpool_limits

    maps = []
    for threads, seed in ((1, 0), (2, 0), (2, 1)):
        with threadpool_limits(threads):
            maps.append(umap(pbmc, 3, **UMAP | {"seed": seed}).tobytes())
    assert maps[0] == maps[1] != maps[2]


@pytest.mark.parametrize("n_dims", [2, 3])
@pytest.mark.parametrize("what", ["two", "three", "five", "twins", "one apart", "a line", "huge"])
def test_odd_cells_have_a_map(what, n_dims, capfd):
    noise = np.random.default_rng(0).normal(size=(40, 4))
    cells, n_neighbors = {
        "two": (noise[:2], 2),
        "three": (noise[:3], 2),
        "five": (noise[:5], 4),
        "twins": (np.repeat(noise[:4], 10, axis=0), 8),
        "one apart": (np.r_[np.zeros((30, 4)), np.ones((1, 4))], 15),
        "a line": (np.arange(40.0)[:, None], 15),
        "huge": (noise * 1e18, 15),
    }[what]
    given = UMAP | {"n_neighbors": n_neighbors, "n_epochs": 20}
    places = [umap(cells.astype(np.float32), n_dims, **given) for _ in range(2)]
    assert places[0].shape == (len(cells), n_dims)
    assert np.isfinite(places[0]).all()
    assert (places[0] == places[1]).all()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("spread", [0.0, 1e-25])
def test_it_refuses_a_collapsed_latent_space(spread):
    noise = np.random.default_rng(0).normal(size=(100, 6)).astype(np.float32)
    with pytest.raises(RunError) as caught:
        umap(noise * np.float32(spread), 2, **UMAP)
    assert caught.value.kind == Kind.COLLAPSED


def test_it_tells_its_epochs_and_gives_the_same_map(pbmc, capfd):
    told: list[int] = []
    assert (umap(pbmc, 2, **UMAP, on_step=told.append) == umap(pbmc, 2, **UMAP)).all()
    assert told == sorted(told)
    assert told[-1] == UMAP["n_epochs"]
    assert capfd.readouterr() == ("", "")


def test_placed_cells_lie_by_their_neighbours(pbmc):
    mapped, others = np.arange(0, 700, 2), np.arange(1, 700, 2)
    places = place_others(pbmc, mapped, umap(pbmc[mapped], 2, **UMAP), threads=1)
    theirs = near(pbmc[mapped], pbmc[others], 15)
    on_map = near(places[mapped], places[others], 15)
    kept = [len({*a} & {*b}) / 15 for a, b in zip(theirs, on_map, strict=True)]
    assert np.mean(kept) > 0.5  # by chance .04


def test_all_that_a_run_says_of_its_map_is_true(scvae, tmp_path):
    result = scvae("train", *SHORT, *SOME, "tsne.perplexity=7", "hydra.run.dir=r")
    assert result.code == 0, result.err
    assert "warning: tsne.perplexity has no effect with map=umap" in result.err
    assert "UMAP maps 200 of 300 cells, drawn at random (umap.max_cells), and the" in result.err
    assert re.search(r"UMAP 2-D +15 neighbours, 200 cells", result.err)
    assert "t-SNE" not in result.out + result.err
    assert not re.search(r"Warning|overridden|umap_\.py", result.err)
    run = tmp_path / "r"
    page = (run / "report.html").read_text()
    for text in (page, (run / "scvae.log").read_text()):
        assert "t-SNE" not in text
        assert "UMAP" in text
    for text in ("The map is UMAP.", "UMAP mapped 200 cells", "drew the 3-D map (UMAP)"):
        assert text in page
    cells = pd.read_csv(run / "cells.csv")
    assert [*cells][3:] == ["umap_1", "umap_2", "umap_placed", "umap3d_1", "umap3d_2", "umap3d_3",
                            "latent_cluster"]  # fmt: skip
    assert cells["umap_placed"].sum() == 100
    assert cells.notna().all(axis=None)
    h5ad = anndata.read_h5ad(run / "cells.h5ad")
    assert {*h5ad.obsm} == {"X_scvae", "X_umap", "X_umap3d"}
    assert np.allclose(h5ad.obsm["X_umap"], cells[["umap_1", "umap_2"]])
    assert h5ad.obs["umap_placed"].sum() == 100
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["map"], config["tsne"]) == ("umap", None)
    verified = scvae("verify", "r")
    assert verified.code == 0, verified.out
    assert re.search(r"cells.csv +identical", verified.out)


def test_figures_name_the_map():
    places, labels = np.random.default_rng(0).normal(size=(30, 3)), np.arange(30) % 3
    flat = map_2d(places[:, :2], labels, ["a", "b", "c"], labels, places[:3, :2], "t", "UMAP", "r")
    deep = map_3d(places, labels, ["a", "b", "c"], labels, "t", "UMAP")
    for figure, name in ((flat, "UMAP 1 →, UMAP 2 ↑"), (deep, "UMAP 3")):
        texts = [t.get_text() for t in (*figure.texts, *(t for a in figure.axes for t in a.texts))]
        assert name in texts
        assert "t-SNE" not in " ".join(texts)
    cells = pd.DataFrame(
        {"cell_type": ["a", "b"] * 5, "umap_1": range(10), "umap_2": 0.5, "umap_placed": False}
    )
    assert len(map_table({"one": cells}).axes[0].collections)


def test_a_resumed_run_keeps_its_map(scvae, run_of, tmp_path, monkeypatch):
    shutil.copytree(run_of(*SHORT), tmp_path / "r")
    before = (tmp_path / "r" / "cells.csv").read_bytes()
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    (tmp_path / "r" / "scores.json").unlink()
    (tmp_path / "r" / "run.json").write_text(json.dumps({**record, "status": "running"}))

    def fail(*_, **__):
        raise AssertionError("mapped again")

    with monkeypatch.context() as patch:
        patch.setattr("scvae_cli.stages.space.umap", fail)
        result = scvae("train", "resume=r")
    assert result.code == 0, result.err
    assert (tmp_path / "r" / "cells.csv").read_bytes() == before


def test_a_sweep_tells_maps_apart(scvae, tmp_path):
    words = [word for word in SHORT if not word.startswith("map=")]
    grid = ["map=tsne,umap", "umap.n_neighbors=5,10", "data.n_cells=80", "tsne.perplexity=8"]
    result = scvae("train", "-m", *words, *grid, "hydra.sweep.dir=s")
    assert result.code == 0, result.err
    rows = pd.read_csv(tmp_path / "s" / "results.csv")
    assert sorted(rows["map"]) == ["tsne", "umap", "umap"]  # t-SNE has no n_neighbors
    assert [*rows][1:5] == ["model", "map", "umap.n_neighbors", "seed"]
    means = pd.read_csv(tmp_path / "s" / "summary.csv")
    assert means["n"].tolist() == [1, 1, 1]
    assert (tmp_path / "s" / "figures" / "maps.png").exists()


def test_seeds_of_maps_are_no_setting():
    runs = [
        {"map": kind, "seed": seed, f"{kind}.seed": seed, f"{kind}.max_cells": 9, other: None}
        for kind, other in (("tsne", "umap"), ("umap", "tsne"))
        for seed in (0, 1)
    ]
    settings = pd.DataFrame([{"model": "pca", "data": "d", "experiment": None, **r} for r in runs])
    assert varied(settings) == ["model", "map", "seed"]
    settings.loc[3, "umap.max_cells"] = 10
    assert varied(settings) == ["model", "map", "umap.max_cells", "seed"]


BAD = {
    "umap.n_neighbors=300": (Kind.VALUE, "umap.n_neighbors", "which is 300 in data=synthetic"),
    "umap.n_neighbors=1": (Kind.VALUE, "umap.n_neighbors", "at least 2"),
    "umap.min_dist=2": (Kind.VALUE, "umap.min_dist", "at most 1"),
    "umap.max_cells=10": (Kind.VALUE, "umap.n_neighbors", "mapped cells, which is 10"),
    "umap=null": (Kind.MISSING, "umap", "map=umap"),
    "map=pca": (Kind.VALUE, "map", "'tsne' or 'umap'"),
    "umap.metric=cosine": (Kind.UNKNOWN, "umap.metric", ""),
}


@pytest.mark.parametrize("bad", BAD)
def test_settings_that_cannot_be_are_refused(scvae, bad):
    kind, key, text = BAD[bad]
    assert text in scvae("train", *SHORT, bad).refused(kind, key)


def test_a_run_with_t_sne_keeps_a_column_called_as_umap_s(scvae, tmp_path):
    """As runs of before there was `map` may have done; a run with UMAP needs the name itself."""
    x = csr_matrix(np.random.default_rng(0).poisson(3.0, (40, 20)).astype(np.float32))
    obs = pd.DataFrame({"kind": ["a", "b"] * 20, "umap_1": np.linspace(0, 1, 40)})
    obs.index = pd.Index([f"c{i}" for i in range(40)])
    adata = anndata.AnnData(x, obs, obsm={"X_umap": np.ones((40, 2))})
    adata.write_h5ad(tmp_path / "c.h5ad")
    words = ["train", "c.h5ad", "data.label_key=kind", "model=pca", "latent_dim=2", "h5ad=true",
             "tsne.perplexity=5", "tsne.max_iter=250", "map_3d=false",
             "umap.n_epochs=20"]  # fmt: skip
    assert scvae(*words, "hydra.run.dir=r").code == 0
    run = Run(tmp_path / "r")
    assert run.cells()["umap_1"].tolist() == pytest.approx(obs["umap_1"].tolist())
    assert '"name":"umap_1"' in run_page(run)
    refused = scvae(*words, "map=umap").refused(Kind.CONFLICT, "map")
    assert "rename it" in refused
    assert scvae(*words, "map=umap", "data.keep=[]", "hydra.run.dir=u").code == 0
    spaces = anndata.read_h5ad(tmp_path / "u" / "cells.h5ad").obsm
    assert {*spaces} == {"X_scvae", "X_umap", "input_X_umap"}


def test_few_cells_are_fitted_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    adata = anndata.AnnData(np.random.default_rng(0).poisson(3.0, (9, 8)).astype(np.float32))
    scvae_cli.fit(adata, model="pca", latent_dim=2, settings={"map": "umap"})
    assert adata.obsm["X_scvae"].shape == (9, 2)


def test_a_record_without_the_settings_of_its_map_is_damaged(run_of):
    path = run_of(*SHORT) / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    assert restored(settings, path).mapping.n_neighbors == 15
    with pytest.raises(InputError) as caught:
        restored(settings | {"umap": None}, path)
    assert caught.value.kind == Kind.DAMAGED


def test_candidates_of_choose_have_short_maps_of_either_kind():
    for words, short in (([], "tsne.max_cells=1000"), (["map=umap"], "umap.max_cells=1000")):
        given = sweep_words(["pca-20"], 1, words)
        assert [word for word in given if "max_cells" in word] == [short]
