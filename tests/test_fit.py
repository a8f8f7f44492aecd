"""`scvae_cli.fit`: a model of cells in memory, the same as the command's."""

import pickle
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from threading import Thread

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from scipy.sparse import csr_matrix

import scvae_cli
from scvae_cli import CONF
from scvae_cli.analysis.tsne import tsne
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
    assert not [*(folder / "tmp").iterdir()]
    again = pickle.loads(pickle.dumps(run))
    for table in ("latent", "history", "cells"):
        pd.testing.assert_frame_equal(getattr(again, table), getattr(run, table))
    assert np.array_equal(again.embed(adata), latent)


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
    assert (adata.layers["twice"] != kept.layers["twice"]).nnz == 0
    latent = run.latent.to_numpy(np.float32)  # of that layer, which other cells may have too
    for opened in (run, scvae_cli.load(run.path)):
        np.testing.assert_allclose(opened.embed(adata), latent, atol=1e-5)
    halved = adata.copy()
    halved.X, halved.layers = halved.layers["twice"], None
    np.testing.assert_allclose(run.embed(halved), latent, atol=1e-5)
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


PCA = {"model": "pca", "latent_dim": 2}


def normalised(adata, total=None, base=None):
    """Cells of one total, logged or not: the median total if none is given."""
    cells = adata.copy()
    sc.pp.normalize_total(cells, target_sum=total)
    if base is not None:
        cells.X.data = np.log1p(cells.X.data) / np.log(base)
    return cells


READ = {  # what a run has of its cells, what it takes, and how other cells of these counts are
    "a layer": (lambda a: normalised(a, base=np.e), {"layer": "counts"}, np.e, None),
    "the median total": (normalised, {}, None, None),
    "counts": (lambda a: a, {}, 2, 5000.0),
    "counts again": (lambda a: a, {}, np.e, None),
    "logarithms": (lambda a: normalised(a, base=np.e), {}, np.e, 1e4),
}


@pytest.mark.parametrize("name", READ)
def test_cells_get_the_place_that_they_have_in_the_run(folder, adata, name):
    """Whatever was done to them since; a few, too, where the run tells how to read them."""
    del adata.obs["plate"]
    adata.layers["counts"] = adata.X.copy()
    own, how, base, total = READ[name]
    run = scvae_cli.fit(own(adata), **PCA, **how)
    expected, cells = run.latent.to_numpy(np.float32), normalised(adata, total, base)
    np.testing.assert_allclose(run.embed(cells), expected, atol=1e-4)
    decoded = run.decode(cells)
    for some in (slice(0, 1), slice(3, 4), slice(2, 5)) if not name.startswith("counts") else ():
        np.testing.assert_allclose(run.embed(cells[some]), expected[some], atol=1e-4)
        np.testing.assert_allclose(run.decode(cells[some]), decoded.iloc[some], atol=1e-4)


@pytest.mark.parametrize("values", ["logged", "counts"])
def test_what_was_said_of_the_values_holds_for_other_cells(folder, adata, values):
    del adata.obs["plate"]
    cells = normalised(adata, 1e6, 2)
    run = scvae_cli.fit(cells, settings={"data.values": values}, **PCA)
    np.testing.assert_allclose(run.embed(cells[:9]), run.latent.to_numpy()[:9], atol=1e-4)


def test_a_reading_that_was_not_sure_holds_for_other_cells(folder, adata):
    """A few genes of normalised cells: some cells look like counts, and others do not."""
    del adata.obs["plate"]
    cells = normalised(adata, 1e4)
    cells.X.data *= np.random.default_rng(0).uniform(0.5, 2, len(cells.X.data))
    with pytest.warns(UserWarning, match="values may be"):
        run = scvae_cli.fit(cells, **PCA)
    for some in (slice(0, 3), slice(40, 80)):
        np.testing.assert_allclose(run.embed(cells[some]), run.latent.to_numpy()[some], atol=1e-4)


def test_rounded_values_of_one_total_are_no_counts_one_cell_at_a_time_either(folder, adata):
    del adata.obs["plate"]
    cells = normalised(adata, 1e6)
    cells.X.data = np.rint(cells.X.data)
    with pytest.warns(UserWarning, match="normalized and rounded"):
        run = scvae_cli.fit(cells, **PCA)
    for some in (slice(0, 1), slice(4, 80)):
        np.testing.assert_allclose(run.embed(cells[some]), run.latent.to_numpy()[some], atol=1e-4)


ODD = {
    "intervals": lambda n: pd.cut(np.arange(float(n)), 3),
    "Float64": lambda n: pd.array([1.5, None] * (n // 2), dtype="Float64"),
    "sparse": lambda n: pd.arrays.SparseArray([0, 0, 1, 0] * (n // 4)),
    "dates": lambda n: pd.Categorical(pd.to_datetime(["2026-01-01", "2026-01-02"] * (n // 2))),
    "tuples": lambda n: pd.Categorical([(1, 2), (3,)] * (n // 2)),
    "complex": lambda n: np.arange(n) * 1j,
    "categories of kinds": lambda n: pd.Categorical(["a", 1] * (n // 2)),
}


@pytest.mark.filterwarnings("ignore:.*has whole numbers")
@pytest.mark.parametrize("name", ODD)
def test_columns_that_nobody_named_are_no_matter(folder, adata, name):
    del adata.obs["plate"]
    expected = scvae_cli.fit(adata, **PCA).latent
    adata.obs["odd"] = ODD[name](80)
    pd.testing.assert_frame_equal(scvae_cli.fit(adata, **PCA).latent, expected)
    if name in ("Float64", "complex"):
        return
    run = scvae_cli.fit(adata, labels_key="odd", **PCA)
    assert len(set(run.cells["cell_type"])) in (2, 3)


def test_the_name_of_the_index_is_no_matter(folder, adata):
    del adata.obs["plate"]
    adata.obs.index.name = "n"
    scvae_cli.fit(adata, **PCA)


@pytest.mark.parametrize("named_first", [False, True])
def test_genes_are_found_by_their_ids(folder, adata, named_first):
    del adata.obs["plate"]
    if named_first:
        adata.var["symbol"] = [f"S{i}" for i in range(30)]
    adata.var["gene_ids"] = adata.var_names
    adata.var_names = [f"S{i}" for i in range(30)]
    run = scvae_cli.fit(adata, **PCA)
    by_id = adata.copy()
    by_id.var_names = adata.var["gene_ids"]
    by_id.var = by_id.var[[]]
    np.testing.assert_allclose(run.embed(by_id), run.latent.to_numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("cells", "asked", "reason"),
    [
        (lambda a: "cells.h5ad", {}, "is a str; give an AnnData"),
        (lambda a: a[:2].copy(), {}, "has 2 cells; 3 are the fewest"),
        (lambda a: a, {"settings": {"data.path": "b.h5ad"}}, "give the cells as adata"),
        (lambda a: a, {"data": "pbmc68k"}, "give the cells as adata"),
        (lambda a: a, {"resume": "x"}, "scvae train resume=FOLDER"),
        (lambda a: a, {"output_dir": "x"}, "give folder=FOLDER"),
        (lambda a: a, {"labels_key": 0}, "no such column of obs in adata"),
        (lambda a: named(a, "c\0"), {}, "no table can hold"),
        (lambda a: named(a, "c\ud800"), {}, "no table can hold"),
        (lambda a: named(a, None), {}, "names of cells are missing (1 of 80)"),
        (lambda a: twice(a), {"batch_key": "kind"}, "2 columns of obs have this name"),
    ],
)
def test_what_is_no_cells_of_ours_is_one_line(folder, adata, cells, asked, reason):
    with pytest.raises(InputError) as refused:
        scvae_cli.fit(cells(adata), **PCA, **asked)
    assert reason in str(refused.value).replace("\n", " ")
    assert not [*(folder / "tmp").iterdir()]


def named(adata, name):
    adata.obs_names = pd.Index([name, *adata.obs_names[1:]], dtype=object)
    return adata


def twice(adata):
    adata.obs = pd.concat([adata.obs, adata.obs[["kind"]]], axis=1)
    return adata


def test_a_negative_value_anywhere_is_told_with_the_way_out(folder, adata):
    many = anndata.concat([adata] * 60, index_unique="-")
    many.layers["counts"] = many.X.copy()
    many.X = many.X.toarray()
    many.X[-1, -1] = -1
    with pytest.raises(InputError, match=r"negative values \(-1\).*layer='counts'"):
        scvae_cli.fit(many, **PCA)


def test_names_in_arrays_are_names(folder, adata):
    for kind in (np.array, pd.Index, tuple):
        run = scvae_cli.fit(adata, batch_key=kind(["plate"]), **PCA)
        assert run.covariates.keys == ("plate",)


def test_warnings_are_in_the_words_of_python(folder, adata):
    with pytest.warns(UserWarning, match=r"^adata: plate .*; batch_key='plate' tells the model"):
        scvae_cli.fit(adata, **PCA)


@pytest.mark.parametrize("after", ["genes", "model"])
def test_an_interrupt_leaves_nothing(folder, adata, monkeypatch, after):
    def interrupt(*_, **__):
        raise KeyboardInterrupt  # as Ctrl-C does; a signal may come when the test is over

    where = {"genes": "fit_model", "model": "embed_cells"}[after]
    monkeypatch.setattr(f"scvae_cli.pipeline.{where}", interrupt)
    with pytest.raises(KeyboardInterrupt):
        scvae_cli.fit(adata, batch_key="plate", **PCA)
    assert not [*(folder / "tmp").iterdir()]


def test_what_other_threads_print_goes_on_its_way_while_a_map_is_made():
    z, steps = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32), []
    how = {"init": "pca", "seed": 0, "threads": 1, "perplexity": 5.0, "max_iter": 250}

    def say(n):
        steps.append(n)
        print("of the thread that maps")

    def mapped():
        tsne(z, 2, on_step=say, **how)

    with redirect_stdout(StringIO()) as printed:
        before = sys.stdout
        threads = [Thread(target=mapped) for _ in range(2)]
        for thread in threads:
            thread.start()
        n = 0
        while any(thread.is_alive() for thread in threads):
            print("of another")
            n += 1
        for thread in threads:
            thread.join()
        assert sys.stdout is before
    assert steps.count(50) == 2
    assert printed.getvalue().count("of another\n") == n
    assert "t-SNE" not in printed.getvalue()


def test_types_are_predicted_of_tables_and_lists_too(folder, adata):
    run = scvae_cli.fit(adata, labels_key="kind", batch_key="plate", **PCA)
    expected = run.predict_types(run.latent.to_numpy()).cell_types
    for kind in (lambda t: t, lambda t: t.to_numpy().tolist(), lambda t: csr_matrix(t.to_numpy())):
        assert (run.predict_types(kind(run.latent)).cell_types == expected).all()
    with pytest.raises(InputError, match="no finite numbers"):
        run.predict_types(run.latent.astype(str))
    with pytest.raises(InputError, match="no such gene in the model"):
        run.decode(adata, genes=[100, 101])  # type: ignore[list-item]


@pytest.mark.filterwarnings("ignore:the network decodes")
def test_a_batch_may_be_given_as_obs_has_it(folder, adata):
    adata.obs["plate"] = [1.0, 2.0] * 40
    run = scvae_cli.fit(adata, model="vae", likelihood="nb", batch_key="plate", **FEW)
    of_text = run.decode(adata[:3], batch="2")
    pd.testing.assert_frame_equal(run.decode(adata[:3], batch=adata.obs["plate"].iloc[1]), of_text)


def test_a_run_is_found_in_the_home_folder(folder, adata, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    how = {"settings": {"tsne.perplexity": 5, "map_3d": False, "figures.format": None}}
    scvae_cli.fit(adata, labels_key="kind", batch_key="plate", folder="~/mine", **PCA, **how)
    assert (folder / "mine" / "run.json").exists()
    assert len(scvae_cli.load("~/mine").latent) == 80
