"""`scvae_cli.fit`: a model of cells in memory, the same as the command's."""

import gc
import tempfile
from concurrent.futures import ThreadPoolExecutor

import anndata
import numpy as np
import pandas as pd
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from scipy.sparse import csr_matrix

import scvae_cli
from scvae_cli import CONF
from scvae_cli.errors import InputError, Kind
from scvae_cli.runs.files import read_json

FEW = {"updates": 5, "batch_size": 32}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with a `tmp` for temporary files."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def adata():
    rng = np.random.default_rng(0)
    rates = rng.gamma(1.0, 2.0, (2, 30))[np.repeat([0, 1], 40)]
    kinds = {"kind": np.repeat(["a", "b"], 40), "plate": ["1", "2"] * 40, "n": 1.0}
    obs = pd.DataFrame(kinds, index=[f"cell {i}" for i in range(80)])
    cells = anndata.AnnData(csr_matrix(rng.poisson(rates).astype(np.float32)), obs)
    cells.layers["twice"] = cells.X * 2
    return cells


@pytest.mark.filterwarnings("ignore:the network decodes")  # five updates are few
def test_it_is_the_latent_space_of_the_command_and_leaves_nothing(scvae, folder, adata):
    run = scvae_cli.fit(adata, model="vae", likelihood="nb", batch_key="plate", seed=3, **FEW)
    assert [*adata.obsm] == ["X_scvae"]
    adata.write_h5ad(folder / "cells.h5ad")
    words = ["data=file", "data.path=cells.h5ad", "data.batch_key=plate", "model=vae", "seed=3"]
    few = ["tsne.perplexity=5", "cluster.n_clusters=2", "map_3d=false", "likelihood=nb"]
    command = ["train", *words, *few, *(f"{k}={v}" for k, v in FEW.items())]
    assert scvae(*command, "hydra.run.dir=a").code == 0
    latent = scvae_cli.load(folder / "a").latent.to_numpy(np.float32)
    assert np.array_equal(latent, adata.obsm["X_scvae"])
    assert np.array_equal(run.embed(adata), latent)
    assert run.history["total"].iloc[-1] < run.history["total"].iloc[0]
    assert [*(folder / "tmp").iterdir()] == [run.path]
    del run
    gc.collect()
    assert not [*(folder / "tmp").iterdir()]


def test_a_folder_gets_the_whole_run(folder, adata):
    how = {"model": "pca", "settings": {"tsne.perplexity": 5, "map_3d": False}, "folder": "new/a"}
    adata.obs["odd"] = [{}, *[1] * 79]  # which no h5ad can hold
    with pytest.warns(UserWarning, match="plate .* may say in which batch"):
        run = scvae_cli.fit(adata, labels_key="kind", inplace=False, layer="twice", **how)
    assert not adata.obsm
    assert list(run.cells["plate"]) == ["1", "2"] * 40  # kept for the colours of the map
    assert run.path == folder / "new" / "a"
    assert (run.path / "report.html").exists()
    assert run.scores["latent"]["ari"] == 1.0  # 30 genes tell two kinds of cells apart
    kept = anndata.read_h5ad(run.path / "input.h5ad")
    assert (adata.layers["twice"] != kept.X).nnz == 0
    with pytest.raises(InputError) as refused:
        scvae_cli.fit(adata, **how)
    assert refused.value.kind == Kind.EXISTS
    assert (run.path / "report.html").exists()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"labels_key": "type"}, ["data.label_key=type", "kind, plate"]),
        ({"batch_key": ["plate", "day"]}, ["data.batch_key=day", "kind, plate"]),
        ({"layer": "counts"}, ["layer=counts", "twice"]),
        ({"likelyhood": "nb"}, ["likelyhood=", "likelihood"]),
        ({"epochs": -1}, ["epochs=-1", "at least 0"]),
        ({"settings": {"data.genes": 31}}, ["data.genes=31", "which is 30 in"]),
    ],
)
@pytest.mark.parametrize("place", [None, "new/a"])
def test_what_cannot_be_is_refused_and_leaves_nothing(folder, adata, asked, words, place):
    with pytest.raises(InputError) as refused:
        scvae_cli.fit(adata, folder=place, **asked)
    for word in words:
        assert word in str(refused.value)
    assert [*folder.rglob("*")] == [folder / "tmp"]
    assert not adata.obsm


def test_what_no_h5ad_can_hold_is_text_or_left_out(folder, adata):
    adata.obs["odd"], adata.obs["mixed"] = [{}, *[1] * 79], ["a", 1, None, "b"] * 20
    with pytest.warns(UserWarning, match="plate .* may say in which batch"):
        run = scvae_cli.fit(adata, model="pca", labels_key="mixed", latent_dim=2)
    assert list(run.cells["cell_type"][:4]) == ["a", "1", "unlabelled", "b"]
    scvae_cli.fit(adata, model="pca", latent_dim=2, batch_key="plate", kl_warmup=None, updates=9)


def test_the_record_says_why_a_run_failed(folder, adata, monkeypatch):
    def fail(*_):
        raise ValueError("two\nlines")

    monkeypatch.setattr("scvae_cli.pipeline.load_cells", fail)
    with pytest.raises(ValueError, match="two"):
        scvae_cli.fit(adata, labels_key="kind", folder="a", settings={"tsne.perplexity": 5})
    record = read_json(folder / "a", "run")
    assert (record["status"], record["reason"]) == ("failed", "ValueError: two lines")


def test_scaled_values_name_what_there_is_in_their_place(folder, adata):
    adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X.toarray() - 1.0
    with pytest.raises(InputError) as refused:
        scvae_cli.fit(adata, labels_key="kind")
    assert (refused.value.kind, refused.value.key) == (Kind.CONTENT, "adata")
    assert "layer='counts'" in refused.value.fix
    adata.X[:] = np.nan
    with pytest.raises(InputError) as refused:
        scvae_cli.fit(adata, labels_key="kind")
    assert refused.value.key == "adata"
    assert "input.h5ad" not in str(refused.value)


def test_numbers_reach_the_run_with_all_their_digits(folder, adata):
    del adata.obs["plate"]
    asked = {"model": "vae", "beta": 1.23456789, "lr": np.float64(0.00123456789)}
    with pytest.warns(UserWarning, match="no better than the mean"):
        run = scvae_cli.fit(adata, epochs=1, settings={"data.target_sum": 4321.5678}, **asked)
    assert (run.config.beta, run.config.lr) == (1.23456789, 0.00123456789)
    assert run.config.data.target_sum == 4321.5678


def test_hydra_may_be_in_use(folder, adata):
    """Within a program of Hydra's, and in two threads at once."""
    del adata.obs["plate"]
    how = {"model": "pca", "latent_dim": 2, "inplace": False}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        with ThreadPoolExecutor(2) as threads:
            runs = list(threads.map(lambda _: scvae_cli.fit(adata, **how), range(2)))
        assert GlobalHydra.instance().is_initialized()
    assert [len(run.latent) for run in runs] == [80, 80]


def test_a_loaded_run_stays_what_it_was_when_a_link_leads_elsewhere(folder, adata):
    del adata.obs["plate"]
    for name, seed in (("a", 0), ("b", 1)):
        how = {"folder": name, "seed": seed, "latent_dim": 2, "model": "projection"}
        settings = {"tsne.perplexity": 5, "map_3d": False, "figures.format": None}
        scvae_cli.fit(adata, labels_key="kind", settings=settings, **how)
    (folder / "latest").symlink_to("a")
    run = scvae_cli.load("latest")
    (folder / "latest").unlink()
    (folder / "latest").symlink_to("b")
    own = pd.read_csv(folder / "a" / "latent.csv", index_col="cell")
    pd.testing.assert_frame_equal(run.latent, own, check_dtype=False)


@pytest.mark.filterwarnings("ignore:Transforming to str index")
def test_cells_may_be_named_by_numbers(folder, adata):
    del adata.obs["plate"]
    adata.obs = adata.obs.reset_index(drop=True)
    adata.obs.index = range(80)
    run = scvae_cli.fit(adata, model="pca", latent_dim=2)
    np.testing.assert_array_equal(adata.obsm["X_scvae"], run.latent.to_numpy(np.float32))


@pytest.mark.parametrize("key", ["data.raw", "data.layer", "data.gene_names"])
def test_parts_of_a_file_are_no_parts_of_cells_in_memory(folder, adata, key):
    with pytest.raises(InputError) as refused:
        scvae_cli.fit(adata, model="pca", settings={key: "counts"})
    assert (refused.value.kind, refused.value.key) == (Kind.CONFLICT, "settings")


def test_a_view_of_a_file_is_refused_before_the_work(folder, adata):
    adata.write_h5ad("a.h5ad")
    with pytest.raises(InputError, match="to_memory"):
        scvae_cli.fit(anndata.read_h5ad("a.h5ad", backed="r")[:60], model="pca")


def test_a_whole_run_without_types_has_ten_clusters(folder, adata):
    asked = {"latent_dim": 2, "settings": {"tsne.perplexity": 5, "map_3d": False}}
    del adata.obs["plate"]
    run = scvae_cli.fit(adata, model="pca", folder="new/a", **asked)
    assert run.cells["latent_cluster"].nunique() == 10
    assert set(run.scores["latent"]) == {"silhouette"}
