"""cells.h5ad has all that the input has, cut to the cells and genes of the run."""

import shutil

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import PLAIN
from scipy.sparse import csr_matrix

from scvae_cli.data.input_parts import ChangedError, Selected, copy_parts
from scvae_cli.runs.run import Run

N, GENES = 60, 20
LEFT = [i for i in range(N) if i != 30]  # cell 30 has one gene, which data.min_genes leaves out
WORDS = [
    "train", "data=file", "data.path=c.h5ad", "data.label_key=kind", "data.min_genes=2",
    "data.genes=12", "data.genes_by=deviance", "model=pca", "latent_dim=2", "tsne.perplexity=5",
    "tsne.max_iter=250", "cluster.n_init=1", *PLAIN, "hydra.run.dir=r",
]  # fmt: skip


def make() -> anndata.AnnData:
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.gamma(0.7, 3.0, (3, GENES))[np.arange(N) % 3]) + 1.0
    x[30, 1:] = 0
    obs = pd.DataFrame(
        {
            "kind": [f"t{i % 3}" for i in range(N)],
            "cluster": "x",
            "passed": [i % 2 == 0 for i in range(N)],
            "leiden": pd.Categorical([str(i % 12) for i in range(N)], map(str, range(12))),
            "barcode": [f"B{i}" for i in range(N)],
            "rank": pd.array([None if i == 4 else i for i in range(N)], "Int64"),
        },
        index=[f"c{i}" for i in range(N)],
    )
    names = [f"g{i}" for i in range(GENES)]
    var = pd.DataFrame({"id": "mine", "ens": [f"ENS{i}" for i in range(GENES)]}, index=names)
    cells = anndata.AnnData(csr_matrix(x.astype("f4")), obs, var)
    cells.raw = cells.copy()
    cells.layers["dense"] = cells.X.toarray() + 7
    cells.obsm["X_pca"] = rng.normal(size=(N, 3))
    cells.obsm["X_tsne"] = rng.normal(size=(N, 2))
    cells.obsm["table"] = pd.DataFrame({"q": range(N)}, index=cells.obs_names)
    cells.varm["PCs"] = rng.normal(size=(GENES, 3))
    cells.obsp["near"] = csr_matrix(np.diag(np.arange(N)) + np.eye(N, k=1))
    cells.uns["leiden_colors"] = [f"#0000{i:02d}" for i in range(12)]
    cells.uns["cluster_colors"] = ["#111111"]
    cells.uns["scvae"] = {"run": "an earlier one"}
    return cells


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "c.h5ad"
    make().write_h5ad(path)
    return path


@pytest.fixture
def run(source, scvae, tmp_path):
    shutil.copy(source, tmp_path)
    return lambda *words: scvae(*WORDS, *words)


def test_a_run_brings_all_along(run, tmp_path):
    result = run("h5ad=true")
    assert result.code == 0, result.err
    made, given = anndata.read_h5ad(tmp_path / "r" / "cells.h5ad"), make()[LEFT]
    genes = list(made.var_names)
    assert made.shape == (N - 1, 12)
    for name in ("passed", "leiden", "barcode", "rank", "kind"):
        want = given.obs[name].astype(made.obs[name].dtype)
        pd.testing.assert_series_equal(made.obs[name], want, obj=name)
    assert list(made.obs["leiden"].cat.categories) == [str(i) for i in range(12)]
    assert list(made.obs["input_cluster"]) == ["x"] * (N - 1)
    assert set(made.obs["cluster"]) == {"0", "1", "2"}  # scvae's own
    assert list(made.var["input_id"]) == ["mine"] * 12
    assert list(made.var["ens"]) == [f"ENS{name[1:]}" for name in genes]
    kept = given[:, genes]
    np.testing.assert_array_equal(made.layers["dense"], kept.layers["dense"])
    np.testing.assert_array_equal(made.layers["input_X"].toarray(), kept.X.toarray())
    assert 0 < made.X.max() < 10 < made.layers["input_X"].max()  # logarithms, and counts
    np.testing.assert_array_equal(made.raw.X.toarray(), given.raw.X.toarray())
    assert list(made.raw.var_names) == list(given.var_names)
    np.testing.assert_array_equal(made.obsm["X_pca"], given.obsm["X_pca"])
    np.testing.assert_array_equal(made.obsm["input_X_tsne"], given.obsm["X_tsne"])
    assert list(made.obsm["table"]["q"]) == LEFT
    np.testing.assert_array_equal(made.varm["PCs"], kept.varm["PCs"])
    np.testing.assert_array_equal(made.obsp["near"].toarray(), given.obsp["near"].toarray())
    assert len(made.uns["leiden_colors"]) == 12
    assert list(made.uns["input_cluster_colors"]) == ["#111111"]
    assert made.uns["input_scvae"] == {"run": "an earlier one"}
    assert "command" in made.uns["scvae"]
    assert Run(tmp_path / "r").is_intact


def test_an_input_that_changed_meanwhile_is_a_warning(run, tmp_path, monkeypatch):
    monkeypatch.setattr("scvae_cli.stages.products.state_of", lambda path: [1, 2, 3])
    assert run("h5ad=true").code == 0
    assert "barcode" not in anndata.read_h5ad(tmp_path / "r" / "cells.h5ad").obs
    (warning,) = [line for line in Run(tmp_path / "r").warnings if "is not what" in line]
    assert warning.startswith("c.h5ad is not what this run read")


def copied(path, given, *, cells=("c5", "c2"), genes=("g3", "g1"), said=None, **options):
    """What a target of these cells and genes has after a copy."""
    target = path / "to.h5ad"
    obs, var = (pd.DataFrame(index=pd.Index(names)) for names in (cells, genes))
    anndata.AnnData(np.zeros((len(cells), len(genes)), "f4"), obs, var).write_h5ad(target)
    how = {"layer": None, "raw": False, "gene_names": None, "logged": False, "kept": ()} | options
    copy_parts(
        given,
        target,
        Selected(np.array(cells), np.array(genes), **how),
        [].append if said is None else said.append,
    )
    return anndata.read_h5ad(target)


def test_order_and_names_are_those_of_the_run(tmp_path):
    make().write_zarr(tmp_path / "c.zarr")
    made = copied(tmp_path, tmp_path / "c.zarr", genes=("ENS3", "ENS1"), gene_names="ens")
    np.testing.assert_array_equal(
        made.layers["dense"], make()[["c5", "c2"], ["g3", "g1"]].layers["dense"]
    )
    assert list(made.obs["barcode"]) == ["B5", "B2"]
    assert made.obsp["near"].shape == (2, 2)
    assert "input_X" not in copied(tmp_path, tmp_path / "c.zarr", logged=True).layers


def test_of_raw_with_genes_that_var_lacks_the_matrices_stay_behind(source, tmp_path):
    cells = anndata.read_h5ad(source)
    fewer = cells[:, 5:].copy()
    fewer.raw = cells
    fewer.write_h5ad(tmp_path / "raw.h5ad")
    said: list[str] = []
    made = copied(tmp_path, tmp_path / "raw.h5ad", raw=True, said=said)
    assert not made.layers
    assert not made.varm
    assert list(made.var["ens"]) == ["ENS3", "ENS1"]
    assert made.raw.shape == (2, GENES)
    assert "raw has genes that var lacks" in said[0]
    made = copied(tmp_path, tmp_path / "raw.h5ad", raw=True, genes=("g9", "g7"))
    assert made.layers["dense"].shape == (2, 2)


def test_what_cannot_be_copied_is_left_out_by_name(source, tmp_path):
    path = tmp_path / "c.h5ad"
    shutil.copy(source, path)
    with h5py.File(path, "r+") as file:
        file["obsm/X_pca"].attrs["encoding-type"] = "odd"
        file.move("layers/dense", "layers/moved")
        del file["obsp/near"]
        file["obsp/near"] = np.eye(3)
        file["obsp/near"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        raw = file["raw/var"]
        raw.move("ens", "_index_of")
        raw.move(raw.attrs["_index"], "names")
        raw.move("_index_of", "_index")  # as SeuratDisk has it
        raw.attrs["_index"], raw.attrs["column-order"] = "names", ["_index"]
    said: list[str] = []
    made = copied(tmp_path, path, said=said)
    assert [line.split(": ")[1].split(" is left")[0] for line in said] == [
        "obsm/X_pca",
        "obsp/near",
    ]
    assert "moved" in made.layers
    assert list(made.raw.var["input_index"])[:2] == ["ENS0", "ENS1"]


def test_another_files_cells_are_refused_before_anything_is_written(source, tmp_path):
    with pytest.raises(ChangedError):
        copied(tmp_path, source, cells=("c1", "other"))
    with pytest.raises(ChangedError):
        copied(tmp_path, source, gene_names="nowhere")
    assert not anndata.read_h5ad(tmp_path / "to.h5ad").obs.columns.size


def test_a_kept_column_gets_its_own_kind_back(source, tmp_path):
    target, given = tmp_path / "to.h5ad", make()[:3]
    obs = pd.DataFrame({"passed": ["True", "False", "True"]}, index=given.obs_names)
    var = pd.DataFrame(index=given.var_names)
    anndata.AnnData(np.zeros((3, GENES), "f4"), obs, var).write_h5ad(target)
    names = np.array(given.obs_names), np.array(given.var_names)
    copy_parts(source, target, Selected(*names, None, False, None, False, {"passed"}), print)
    made = anndata.read_h5ad(target)
    assert list(made.obs["passed"]) == [True, False, True]
    assert next(iter(made.obs)) == "passed"
    assert "input_passed" not in made.obs
