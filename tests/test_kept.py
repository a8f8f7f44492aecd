"""Columns of obs that are kept: in cells.csv and cells.h5ad, read back, drawn, and refused."""

import json
import shutil
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array, csr_matrix

import scvae_cli
from scvae_cli.cli import main
from scvae_cli.data.kept import read_kept
from scvae_cli.data.sources import load
from scvae_cli.errors import InputError, Kind
from scvae_cli.results.run_page import run_page
from scvae_cli.runs.run import Run

N = 60
COLUMNS = {
    "plate": [i % 2 for i in range(N)],
    "age": [i % 7 + 0.5 for i in range(N)],
    "total": [10**6 + i for i in range(N)],
    "score": [np.nan if i == 3 else i / 8 for i in range(N)],
    "rank": pd.array([None if i == 4 else i for i in range(N)], "Int64"),
    "note": [("", "NA", "001", 'a,b\n"c"\r', "1e5")[i % 5] for i in range(N)],
    "leiden": pd.Categorical([None if i == 5 else str(i % 4) for i in range(N)]),
    "passed": [i % 2 == 0 for i in range(N)],
    "empty": pd.Categorical([None] * N),
    "id": list(range(N)),  # a name that other tables have for a text
}
WORDS = [
    "train", "data=file", "data.path=c.h5ad", "data.label_key=kind", "data.min_genes=2",
    "model=pca", "latent_dim=2", "tsne.perplexity=5", "tsne.max_iter=250", "cluster.n_init=1",
    "map_3d=false", "h5ad=true", "hydra.run.dir=r",
]  # fmt: skip
KEEP = ["data.keep=[total,score,rank,note,leiden,passed,empty,id,plate,g3]",
        "data.batch_key=plate", "data.covariates=age"]  # fmt: skip
ORDER = ["plate", "age", "total", "score", "rank", "note", "leiden", "passed", "empty", "id"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Sixty cells, and one in their midst that `data.min_genes` leaves out."""
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.gamma(0.7, 3.0, (3, 20))[np.arange(N) % 3]) + 1.0
    obs = pd.DataFrame(COLUMNS | {"kind": [f"t{i % 3}" for i in range(N)], "cluster": "x"})
    rows = [*range(30), 0, *range(30, N)]
    x, obs = x[rows].astype(np.float32), obs.iloc[rows]
    x[30, 1:] = 0
    obs.index = pd.Index([f"c{i}" for i in range(N + 1)])
    genes = pd.DataFrame(index=[f"g{i}" for i in range(20)])
    path = tmp_path_factory.mktemp("source") / "c.h5ad"
    anndata.AnnData(csr_matrix(x), obs, genes).write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def run(source, tmp_path_factory):
    """A run that keeps all kinds of columns."""
    path = tmp_path_factory.mktemp("kept")
    shutil.copy(source, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["scvae", *WORDS, *KEEP])
        patch.chdir(path)
        main([*WORDS, *KEEP])
    return path / "r"


def expected():
    """The columns as they should be: numbers as they are, all else text or None."""
    table = pd.DataFrame(COLUMNS)
    table["plate"] = table["plate"].astype(str)  # batches are names
    table["passed"] = table["passed"].astype(str)
    table["rank"] = table["rank"].astype(float)
    for name in ("note", "leiden", "empty"):
        table[name] = table[name].astype(object).where(table[name].notna(), None)
    return table.replace({"note": {"": None}})[ORDER]


def test_cells_csv_has_them_and_is_read_back(run):
    cells = Run(run).cells()
    assert list(cells)[:3] == ["cell", "cell_type", "plate"]
    pd.testing.assert_frame_equal(cells[ORDER], expected())
    assert list(scvae_cli.load(run).cells)[1:12] == [*ORDER, "g3"]
    assert Run(run).data["name"] == "c.h5ad"


def test_a_gene_is_kept_as_the_model_sees_it(run):
    values = anndata.read_h5ad(run / "cells.h5ad")[:, "g3"].X.toarray()[:, 0]
    assert len(set(values)) > 5
    np.testing.assert_array_equal(Run(run).cells()["g3"].to_numpy("float32"), values)
    np.testing.assert_array_equal(anndata.read_h5ad(run / "cells.h5ad").obs["g3"], values)


def test_scanpy_gets_them_as_they_were(run, source):
    obs, given = anndata.read_h5ad(run / "cells.h5ad").obs, anndata.read_h5ad(source).obs
    pd.testing.assert_frame_equal(obs[ORDER], given.drop(index="c30")[ORDER])


def test_without_the_input_scanpy_gets_categories_and_numbers(source, scvae, tmp_path):
    shutil.copy(source, tmp_path)
    assert scvae(*WORDS, *KEEP, "h5ad=results").code == 0
    obs = anndata.read_h5ad(tmp_path / "r" / "cells.h5ad").obs
    assert "kind" not in obs
    for name, column in expected().items():
        if column.dtype == object:
            assert isinstance(obs[name].dtype, pd.CategoricalDtype), name
            column = column.where(column.notna(), None)
            assert [None if pd.isna(v) else v for v in obs[name]] == list(column), name
        else:
            np.testing.assert_array_equal(obs[name], column, strict=True)


def test_no_model_sees_them(run, source, scvae, tmp_path):
    """The same cells and results without them, and one training for both."""
    shutil.copy(source, tmp_path)
    words = [*WORDS, *KEEP[1:], f"trained={run}"]
    assert scvae(*words).code == 0
    assert Run(tmp_path / "r").fingerprint == Run(run).fingerprint
    assert (tmp_path / "r" / "latent.csv").read_bytes() == (run / "latent.csv").read_bytes()
    first = ["plate", "age", "note", "leiden", "passed", "total", "score", "rank", "id"]
    assert list(Run(tmp_path / "r").cells())[2:12] == [*first, "cluster"]
    log = (tmp_path / "r" / "scvae.log").read_text()
    assert "can take the colours of note, leiden, passed, total, score, rank, id" in log


def test_columns_that_nobody_named_are_few(source, monkeypatch):
    cells = anndata.read_h5ad(source)
    for i in range(20):
        cells.obs[f"n{i}"] = cells.obs["age"] + i
    cells.obs["barcode"] = cells.obs_names
    cells.obs["odd\0"] = cells.obs["leiden"]
    cells.obs["texts"] = ["a\0", *"b" * N]
    said: list[str] = []

    def kept(*keep):
        options: dict[str, Any] = {
            "batches": None,
            "numbers": [],
            "label_key": "kind",
            "ids": None,
        }
        x = csr_array(cells.X)
        return read_kept(cells, None, path=source, keep=keep, x=x, say=said.append, **options)

    columns = kept("auto")
    assert list(columns)[:4] == ["note", "leiden", "passed", "plate"]
    assert len(columns.columns) == 12
    assert "the first 12 of 29" in said.pop()
    assert list(kept("id", "auto", "g3"))[:3] == ["id", "note", "leiden"]
    monkeypatch.setattr("scvae_cli.data.kept.MOST_CELLS", N)
    said.clear()
    assert kept("auto") is None
    assert "data.keep=[COLUMN]" in said.pop()
    monkeypatch.setattr("scvae_cli.data.kept.MOST_GENES", 2)
    with pytest.raises(InputError, match="names 3 genes"):
        kept("g1", "g2", "g3")


BAD = {
    "data.keep=nowhere": (
        Kind.UNKNOWN,
        "data.keep",
        "no such column of obs in c.h5ad (there are plate, age",
    ),
    "data.keep=[age,g77]": (Kind.UNKNOWN, "data.keep", "and no such gene"),
    "data.keep=[age,age]": (Kind.VALUE, "data.keep", "is given twice"),
    "data.keep=cluster": (Kind.CONFLICT, "data.keep", "rename it in obs"),
    "data.keep=_index": (Kind.CONFLICT, "data.keep", "rename it in obs"),
    "data.keep=tsne3d_3": (Kind.CONFLICT, "data.keep", "rename it in obs"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_column_is_one_line(source, scvae, tmp_path, bad):
    shutil.copy(source, tmp_path)
    kind, key, text = BAD[bad]
    assert text in scvae(*WORDS, bad).refused(kind, key)
    assert not list((tmp_path / "r").glob("*.csv"))


def test_names_of_batches_and_covariates_may_clash_too(source, scvae, tmp_path):
    cells = anndata.read_h5ad(source)
    cells.obs["cluster"], cells.obs["tsne_1"] = cells.obs["plate"], cells.obs["age"]
    cells.obs["batch"] = "other"
    cells.write_h5ad(tmp_path / "c.h5ad")
    cells.obs["plate"].to_csv(tmp_path / "b.csv")
    for key, name in (("data.batch_key", "cluster"), ("data.covariates", "tsne_1")):
        assert "rename it" in scvae(*WORDS, f"{key}={name}").refused(Kind.CONFLICT, key)
    words = [*WORDS, "data.batches=b.csv", "data.keep=batch"]
    assert "rename it" in scvae(*words).refused(Kind.CONFLICT, "data.keep")


def test_a_kept_column_must_be_readable(source, scvae, tmp_path):
    shutil.copy(source, tmp_path)
    with h5py.File(tmp_path / "c.h5ad", "r+") as file:
        file["obs/score"].attrs["encoding-type"] = "odd"
    assert "obs/score" in scvae(*WORDS, "data.keep=score").refused(Kind.FORMAT, "data.path")


@pytest.mark.parametrize(
    "kept",
    [[1], "x", {"age": 1}, {"age": "date"}, {"tsne_1": "text"}, {"latent_cluster": "text"},
     {"nowhere": "text"}, {"note": "number"}],
)  # fmt: skip
def test_a_record_that_somebody_changed_is_refused(run, scvae, tmp_path, kept):
    shutil.copytree(run, tmp_path / "t")
    record = json.loads((run / "run.json").read_text())
    record["data"]["kept"] = kept
    (tmp_path / "t" / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError) as caught:
        run_page(Run(tmp_path / "t"))
    assert caught.value.kind == Kind.DAMAGED
    scvae("compare", "t", "--to", "c").refused(Kind.DAMAGED)


def test_figures_by_batch_are_of_runs_with_batches(run):
    assert (run / "figures" / "map_batch.png").stat().st_size > 10_000
    assert "<figcaption>2-D map" not in (run / "report.html").read_text()  # it has maps that move
    assert Run(run).files.keys() >= {"figures/map_batch.png"}


def test_simulated_batches_are_kept():
    options = {"n_cells": 20, "n_genes": 9, "n_types": 2, "umis": 50, "umis_sd": 0.1, "gene_sd": 1,
               "markers": 0.2, "fold": 4, "seed": 0, "target_sum": 1e4, "n_batches": 2,
               "batch_sd": 0.5, "own_types": 0}  # fmt: skip
    cells = load(name="synthetic", scale=None, **options)
    batch, names = cells.covariates.batches
    assert list(cells.kept["batch"]) == [names[i] for i in batch]
