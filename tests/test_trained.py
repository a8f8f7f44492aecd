"""A run used again: `scvae embed`, `h5ad=true`, and the same from Python."""

import json
import pickle
import shutil
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from conftest import PLAIN
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_matrix

import scvae_cli
from scvae_cli.cli import main
from scvae_cli.errors import InputError, Kind
from scvae_cli.trained import TrainedRun

TINY = [
    "tsne.perplexity=8", "tsne.max_iter=250", "cluster.n_init=2", *PLAIN, "epochs=2",
    "batch_size=32", "latent_dim=3", "cluster.n_clusters=3", "hydra.run.dir=r",
]  # fmt: skip


@pytest.fixture(scope="module")
def counts() -> anndata.AnnData:
    """Seventy cells, counts of sixty genes with symbols and ids, one cell nearly empty."""
    rng = np.random.default_rng(1)
    rates = rng.gamma(0.7, 2.0, (3, 60))
    x = rng.poisson(rates[np.arange(70) % 3]).astype(np.float32)
    x[5, 1:] = 0
    x[:, 0] += 1
    x[2:, 7] = 0  # a gene in two cells at most
    var = pd.DataFrame(
        {"gene_ids": [f"ENSG{i:011d}" for i in range(60)]}, index=[f"GENE{i}" for i in range(60)]
    )
    cells = anndata.AnnData(csr_matrix(x), pd.DataFrame(index=[f"c{i}" for i in range(70)]), var)
    cells.layers["counts"] = cells.X.copy()
    sc.pp.normalize_total(cells, target_sum=500)
    sc.pp.log1p(cells)
    cells.obs["kind"] = [f"t{i % 3}" for i in range(70)]
    return cells


def train(scvae, counts, *settings: str) -> None:
    counts.write_h5ad("c.h5ad")
    result = scvae("train", "data=file", "data.path=c.h5ad", *TINY, *settings)
    assert result.code == 0, result.err


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Where runs of `counts` are kept, by name of the model."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def trained(scvae, runs, tmp_path, counts):
    """Gives the test c.h5ad and the run r of a model, trained once for all tests."""

    def give(model: str) -> None:
        if not (runs / model).exists():
            train(scvae, counts, f"model={model}")
            shutil.copytree("r", runs / model)
        else:
            counts.write_h5ad("c.h5ad")
            shutil.copytree(runs / model, "r")

    return give


@pytest.mark.parametrize(
    "settings",
    [
        ["model=vae", "data.layer=counts"],
        ["model=vsc", "embedding=sample", "data.layer=counts", "data.min_genes=5"],
        ["model=vsc", "data.layer=counts", "data.min_cells=3", "data.genes=30"],
        ["model=ae", "data.layer=counts", "data.scale=2", "data.genes=30", "data.target_sum=99"],
        ["model=pca", "data.gene_names=gene_ids"],
    ],
)
def test_its_own_cells_get_its_own_latents(scvae, tmp_path, counts, settings):
    train(scvae, counts, *settings)
    result = scvae("embed", "r", "c.h5ad", "--to", "new.csv")
    assert result.code == 0, result.err
    assert (tmp_path / "new.csv").read_bytes() == (tmp_path / "r" / "latent.csv").read_bytes()


@pytest.mark.slow
def test_pbmc3k_from_the_archives_folder(scvae, real_data, tmp_path):
    """All 2,700 cells of the file: those that the run had get what they had."""
    settings = ["data=pbmc3k", "model=vae", "epochs=1", *PLAIN, "tsne.max_cells=300"]
    assert scvae("train", *settings, "cluster.n_init=1", "hydra.run.dir=r").code == 0
    shutil.unpack_archive(next((real_data / "pbmc3k").glob("*.tar.gz")), tmp_path)
    folder = "filtered_gene_bc_matrices/hg19"
    result = scvae("embed", "r", folder)
    assert "13,714 of the model's 13,714 genes found, by name in var_names" in result.err
    new = pd.read_csv(tmp_path / "latent.csv", index_col="cell")
    own = pd.read_csv(tmp_path / "r" / "latent.csv", index_col="cell")
    assert len(new) == 2700
    # With 62 other cells among them, other rounding; by themselves, to the last bit.
    np.testing.assert_allclose(new.loc[own.index], own, rtol=1e-4, atol=1e-5)
    cells = sc.read_10x_mtx(tmp_path / folder)[own.index]
    exact = scvae_cli.load(tmp_path / "r").embed(cells)
    np.testing.assert_array_equal(exact, own.to_numpy(np.float32))


def test_genes_in_another_order_by_ids_and_more_of_them(scvae, tmp_path, counts):
    train(scvae, counts, "model=vae", "data.layer=counts", "data.genes=30")
    rng = np.random.default_rng(2)
    raw = anndata.AnnData(counts.layers["counts"], counts.obs, counts.var)
    more = anndata.AnnData(
        csr_matrix(rng.poisson(9, (70, 5)).astype(np.float32)),
        counts.obs,
        pd.DataFrame({"gene_ids": [f"ENSG9{i:010d}" for i in range(5)]}, index=list("vwxyz")),
    )
    other = anndata.concat([raw, more], axis=1, merge="same")[:, rng.permutation(65)].copy()
    other.var_names = other.var.pop("gene_ids") + ".12"  # as GENCODE names them
    other.write_h5ad(tmp_path / "other.h5ad")
    result = scvae("embed", "r", "other.h5ad", "data.layer=null")
    assert result.code == 0, result.err
    assert "30 of the model's 30 genes found, by id in var_names" in result.err
    assert (tmp_path / "latent.csv").read_bytes() == (tmp_path / "r/latent.csv").read_bytes()


def test_of_two_genes_of_one_symbol_the_first_is_meant(scvae, trained, tmp_path, counts):
    """As `var_names_make_unique` has it: the others become GENE3-1, GENE3-2."""
    trained("vae")
    other = anndata.concat([counts, counts[:, 3:5]], axis=1, merge="same")
    other.X[:, 60:] *= 2
    other.var["symbol"] = other.var_names
    other.var_names = [f"row{i}" for i in range(62)]
    run = scvae_cli.load(tmp_path / "r")
    np.testing.assert_array_equal(run.embed(other), run.latent.to_numpy(np.float32))


def test_genes_that_are_missing_count_as_zero(scvae, trained, tmp_path, counts):
    trained("vae")
    fewer = counts[:, :45].copy()
    fewer.write_h5ad(tmp_path / "fewer.h5ad")
    result = scvae("embed", "r", "fewer.h5ad")
    assert "45 of the model's 60 genes found" in result.err
    assert "the others count as zero" in result.err
    zeros = counts.copy()
    zeros.X = zeros.X.toarray()
    zeros.X[:, 45:] = 0
    run = scvae_cli.load(tmp_path / "r")
    latent = pd.read_csv(tmp_path / "latent.csv", index_col="cell").to_numpy(np.float32)
    np.testing.assert_array_equal(latent, run.embed(zeros))
    counts[:, :20].write_h5ad(tmp_path / "few.h5ad")
    line = scvae("embed", "r", "few.h5ad", "--to", "x.csv").refused(Kind.NAMES, "data.path")
    for part in ("few.h5ad", "20 of", " 60 ", "50%", "(GENE20 is missing)"):
        assert part in line
    assert not (tmp_path / "x.csv").exists()


def test_values_are_brought_to_what_the_run_had(scvae, tmp_path, counts):
    train(scvae, counts, "model=vae", "data.layer=counts", "data.target_sum=500")
    run = scvae_cli.load("r")
    own = run.latent.to_numpy(np.float32)
    said: list[str] = []
    np.testing.assert_array_equal(run.embed(counts, layer="counts", say=said.append), own)
    assert said[1].startswith("values are counts (whole numbers, totals ")
    assert said[1].endswith("), normalized to 500 and logged here")
    np.testing.assert_allclose(run.embed(counts, layer="X", say=said.append), own, atol=1e-5)
    assert said[3].startswith("values are logged (expm1(x) ")
    assert said[3].endswith("), left as they are (the run's were counts)")
    normal = counts.copy()
    normal.X = normal.X.expm1()
    np.testing.assert_allclose(run.embed(normal, layer="X", say=said.append), own, atol=1e-5)
    assert said[5].startswith("values are normalized (the total of each cell is 500), ")
    assert said[5].endswith("logged here (the run's were counts)")
    base2 = counts.copy()
    base2.X = base2.X / np.log(2)
    np.testing.assert_allclose(run.embed(base2, layer="X", say=said.append), own, atol=1e-5)
    assert said[7].endswith("), made natural logarithms here (the run's were counts)")


@pytest.mark.parametrize("older", [False, True])
def test_logarithms_of_a_run_are_those_of_its_cells(scvae, counts, older):
    """Older runs took them to any base, and left them as they were."""
    counts = counts.copy()
    counts.X = counts.X / np.log(2)
    train(scvae, counts, "model=pca")
    if older:
        record = json.loads(Path("r/run.json").read_text())
        del record["data"]["natural"]
        Path("r/run.json").write_text(json.dumps(record))
    said: list[str] = []
    run = scvae_cli.load("r")
    run.embed(counts, say=said.append)
    done = "left as they are" if older else "made natural logarithms here"
    assert said[1].endswith(f"), {done}")
    found = run.embed(counts)
    if not older:
        np.testing.assert_allclose(found, run.latent.to_numpy(np.float32), atol=1e-5)
        counts.X = counts.X * np.log(2)
        np.testing.assert_allclose(run.embed(counts), found, atol=1e-5)


def test_counts_are_refused_where_their_total_is_not_known(scvae, trained, counts):
    trained("vae")
    run = scvae_cli.load("r")
    with pytest.raises(InputError) as caught:
        run.embed(counts, layer="counts")
    assert (caught.value.kind, caught.value.key) == (Kind.CONFLICT, "adata")
    assert run.embed(counts, layer="counts", values="logged").shape == (70, 3)


def test_a_copy_for_scanpy(scvae, tmp_path, counts):
    counts.obsm["table"] = pd.DataFrame({"i": np.ones(70)}, counts.obs_names)
    train(scvae, counts, "model=vae", "data.layer=counts")
    with h5py.File("c.h5ad", "a") as file:  # as SeuratDisk writes
        table = file["obsm/table"]
        table.move("_index", "name")
        table.move("i", "_index")
        table.attrs.update({"_index": "name", "column-order": ["_index"]})
    before = (tmp_path / "c.h5ad").read_bytes()
    result = scvae("embed", "r", "c.h5ad", "--h5ad", "out.h5ad")
    assert result.code == 0, result.err
    assert (tmp_path / "c.h5ad").read_bytes() == before
    with h5py.File("out.h5ad") as file:  # no table of which may have a column _index
        assert "index" in file["obsm/table"].attrs["column-order"]
    out = sc.read_h5ad(tmp_path / "out.h5ad")
    assert list(out.layers) == ["counts"]
    np.testing.assert_array_equal(out.X.toarray(), counts.X.toarray())
    latent = pd.read_csv(tmp_path / "latent.csv", index_col="cell")
    np.testing.assert_array_equal(out.obsm["X_scvae"], latent.to_numpy(np.float32))
    config = json.loads(out.uns["scvae"]["config"])
    assert (config["model"]["name"], out.uns["scvae"]["run"]) == ("vae", str(tmp_path / "r"))
    sc.pp.neighbors(out, use_rep="X_scvae", n_neighbors=5, method="gauss")
    assert out.obsp["connectivities"].nnz > 70


def test_cells_that_cannot_be_written_are_refused_before_the_work(
    scvae, tmp_path, counts, monkeypatch
):
    def write(cells, path):
        raise ValueError("no such dtype")

    train(scvae, counts, "model=pca", "data.layer=counts")
    monkeypatch.setattr("scvae_cli.commands.embed.write_h5ad", write)
    monkeypatch.setattr(TrainedRun, "embed", lambda *_, **__: pytest.fail("embeds"))
    line = scvae("embed", "r", "c.h5ad", "--h5ad", "out.h5ad").refused(Kind.CONTENT)
    assert line == "scvae: out.h5ad: the cells cannot be written: no such dtype"
    assert not [path for path in tmp_path.iterdir() if path.name in ("out.h5ad", "latent.csv")]


@pytest.mark.parametrize("labels", [["data.label_key=kind"], []])
def test_the_whole_result_as_one_h5ad(scvae, tmp_path, counts, labels):
    train(scvae, counts, "h5ad=true", "tsne.max_cells=50", "data.layer=counts", *labels)
    result = sc.read_h5ad(tmp_path / "r" / "cells.h5ad")
    cells = pd.read_csv(tmp_path / "r" / "cells.csv", index_col="cell")
    latent = pd.read_csv(tmp_path / "r" / "latent.csv", index_col="cell")
    np.testing.assert_array_equal(result.obsm["X_scvae"], latent.to_numpy(np.float32))
    np.testing.assert_array_equal(
        result.obsm["X_tsne"], cells[["tsne_1", "tsne_2"]].to_numpy(np.float32)
    )
    assert result.obs["tsne_placed"].sum() == 20
    clusters = result.obs["cluster"].astype(float).to_numpy()
    np.testing.assert_array_equal(clusters, cells["cluster"])
    assert set(result.obs["cell_type"]) == ({"t0", "t1", "t2"} if labels else {"unlabelled"})
    expected = counts.copy()
    expected.X = expected.layers["counts"].copy()
    sc.pp.normalize_total(expected, target_sum=1e4)
    sc.pp.log1p(expected)
    np.testing.assert_array_equal(result.X.toarray(), expected.X.toarray())
    assert json.loads(result.uns["scvae"]["data"])["n_cells"] == 70
    figure = sc.pl.tsne(result, color=["cluster", "cell_type"], show=False, return_fig=True)
    figure.savefig(tmp_path / "f.png")
    assert (tmp_path / "f.png").stat().st_size > 5000


def test_from_python(scvae, tmp_path, counts):
    train(scvae, counts, "data.label_key=kind", "model=vsc")
    run = scvae_cli.load(tmp_path / "r")
    written = json.loads((tmp_path / "r" / "scores.json").read_text())
    assert run.scores == {space: written[space] for space in ("tsne", "latent")}
    assert isinstance(run.model, torch.nn.Module)
    assert not run.model.training
    mu, _, log_gamma = run.model.posterior(torch.from_numpy(counts.X.toarray()))
    mean = (log_gamma.exp() * mu).detach().numpy()
    np.testing.assert_allclose(mean, run.latent, rtol=1e-4, atol=1e-5)
    untouched = counts.copy()
    np.testing.assert_array_equal(run.embed(counts), run.latent.to_numpy(np.float32))
    np.testing.assert_array_equal(counts.X.toarray(), untouched.X.toarray())
    assert set(run.cells["cell_type"]) == {"t0", "t1", "t2"}


def negative(cells):
    cells.X = cells.X.toarray() - 1


def text(cells):
    cells.X = cells.X.toarray().astype(str)


def empty(cells):
    cells.X = cells.X.multiply(np.arange(70)[:, None] != 3).tocsr()


def corrected(cells):
    cells.X = np.random.default_rng(3).gamma(2, 1, cells.shape)


def unchanged(cells):
    pass


PYTHON = {  # an edit of the cells, arguments of `embed`, and what it says then
    "negative": (
        negative, {},
        "adata: has negative values (-1), so it was scaled; give layer='counts', "
        "where there are counts values",
    ),
    "text": (text, {}, "adata: its values are <U32, and not numbers"),
    "no layer": (
        unchanged, {"layer": "x"},
        "layer='x': no such layer in adata (there are counts; None is X)",
    ),
    "no raw": (unchanged, {"raw": True}, "raw=True: adata has no raw"),
    "no X": (
        lambda cells: delattr(cells, "X"), {},
        "adata: has no X (layers: counts); name a layer with layer",
    ),
    "no column": (
        unchanged, {"gene_names": "symbol"},
        "gene_names='symbol': no such column of var in adata (there are gene_ids; "
        "None is its index)",
    ),
    "no cell": (
        empty, {},
        "adata: 1 of 70 cells, such as c3, have nothing in the run's genes; leave them out "
        "(scanpy.pp.filter_cells(adata, min_genes=1) does)",
    ),
    "counts": (
        unchanged, {"layer": "counts"},
        "adata: values are counts, and the run's were logged; treat them as those were "
        "(values='logged' takes them as they are)",
    ),
    "no kind": (
        unchanged, {"values": "log"},
        "values='log': is not auto, counts, normalized or logged",
    ),
    "other genes": (
        lambda cells: cells.var.__setitem__("gene_ids", "ENSG1"),
        {"gene_names": "gene_ids"},
        "gene_names='gene_ids': the gene ENSG1 is there twice; mend the column, or give "
        "gene_names=None",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def pca(tmp_path_factory, counts):
    """A run on the logarithms, which `embed` does not change."""
    folder = tmp_path_factory.mktemp("pca")
    counts.write_h5ad(folder / "c.h5ad")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["train", "data=file", "data.path=c.h5ad", "model=pca", *TINY])
    return scvae_cli.load(folder / "r")


@pytest.mark.parametrize("name", PYTHON)
def test_python_is_told_in_its_own_words(pca, counts, name):
    edit, arguments, said = PYTHON[name]
    cells = counts.copy()
    edit(cells)
    with pytest.raises(InputError) as error:
        pca.embed(cells, **arguments)
    assert str(error.value) == said


def test_python_is_told_of_genes_and_doubts_in_its_own_words(pca, counts):
    cells = counts.copy()
    cells.var_names = [f"other{i}" for i in range(60)]
    del cells.var["gene_ids"]
    with pytest.raises(InputError) as caught:
        pca.embed(cells)
    assert (caught.value.kind, caught.value.key) == (Kind.NAMES, "adata")
    assert caught.value.fix.startswith("gene_names=COLUMN ")
    said: list[str] = []
    corrected(cells := counts.copy())
    pca.embed(cells, say=said.append)
    assert any(line.endswith("taken as logged (else values='counts')") for line in said), said


def test_the_command_is_told_in_the_words_of_settings(scvae, trained, tmp_path, counts):
    trained("pca")
    cells = counts.copy()
    negative(cells)
    cells.write_h5ad("n.h5ad")
    line = scvae("embed", "r", "n.h5ad").refused(Kind.CONTENT, "data.path")
    assert line.startswith("scvae: data.path=n.h5ad: ")
    assert "-1" in line
    assert "data.layer=counts" in line
    line = scvae("embed", "r", "c.h5ad", "data.layer=counts").refused(Kind.CONFLICT, "data.path")
    assert "data.values=logged" in line
    cells = counts.copy()
    empty(cells)
    cells.write_h5ad("e.h5ad")
    line = scvae("embed", "r", "e.h5ad").refused(Kind.CONTENT, "data.path")
    assert "data.min_genes=1" in line
    cells.var_names = [f"other{i}" for i in range(60)]
    del cells.var["gene_ids"]
    cells.write_h5ad("o.h5ad")
    line = scvae("embed", "r", "o.h5ad").refused(Kind.NAMES, "data.path")
    assert "data.gene_names=COLUMN" in line


BAD: dict[str, tuple[list[str], Kind, str | None, str]] = {
    "nowhere": (["nowhere", "c.h5ad"], Kind.MISSING, None, "nowhere: "),
    "no cells": (["r", "d.h5ad"], Kind.MISSING, "data.path", "data.path=d.h5ad: "),
    "no key": (["r", "c.h5ad", "data.genes=9"], Kind.UNKNOWN, "data.genes", "data.genes=9: "),
    "no layer": (["r", "c.h5ad", "data.layer=x"], Kind.UNKNOWN, "data.layer", "data.layer=x: "),
    "no file": (["r"], Kind.MISSING, None, ""),
    "there already": (["r", "c.h5ad", "--to", "c.h5ad"], Kind.EXISTS, None, "c.h5ad: "),
    "one file": (
        ["r", "c.h5ad", "--to", "x.h5ad", "--h5ad", "x.h5ad"],
        Kind.CONFLICT,
        "--to",
        "--to=x.h5ad: ",
    ),
    "another format": (
        ["r", "c.h5ad", "--h5ad", "x.zarr"],
        Kind.FORMAT,
        "--h5ad",
        "--h5ad=x.zarr: ",
    ),
    "packed": (["r", "c.h5ad", "--to", "x.csv.gz"], Kind.FORMAT, "--to", "--to=x.csv.gz: "),
    "no folder": (["r", "c.h5ad", "--h5ad", "a/b.h5ad"], Kind.MISSING, None, "a/b.h5ad: "),
    "empty cell": (
        ["r", "empty.h5ad"],
        Kind.CONTENT,
        "data.path",
        "data.path=empty.h5ad: 1 of 70 ",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_one_line(scvae, trained, tmp_path, counts, name):
    trained("pca")
    empty = counts.copy()
    empty.X = csr_matrix(np.where(np.arange(70)[:, None] == 3, 0, counts.X.toarray()))
    empty.write_h5ad("empty.h5ad")
    before = set(tmp_path.rglob("*"))
    words, kind, key, about = BAD[name]
    assert scvae("embed", *words).refused(kind, key).startswith(f"scvae: {about}")
    assert set(tmp_path.rglob("*")) == before


class Harm:
    """What a stranger's pickle would do."""

    def __reduce__(self):
        return Path.touch, (Path("harmed"),)


def spoil(run: Path, how: str) -> None:
    weights = load_file(run / "model.safetensors")
    record = json.loads((run / "run.json").read_text())
    if how == "bit":
        contents = bytearray((run / "model.safetensors").read_bytes())
        contents[-5] ^= 1
        (run / "model.safetensors").write_bytes(contents)
        return
    record["files"] = {}  # a stranger's run, whose checksums are the stranger's too
    (run / "run.json").write_text(json.dumps(record))
    if how == "pickle":
        (run / "model.safetensors").write_bytes(pickle.dumps(Harm()))
    elif how == "torch":
        torch.save({"weights": Harm()}, run / "model.safetensors")
    elif how == "shape":
        save_file({k: v[:1].clone() for k, v in weights.items()}, run / "model.safetensors")
    elif how == "type":
        save_file({k: v.double() for k, v in weights.items()}, run / "model.safetensors")
    elif how == "huge":
        config = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(
            config.replace("latent_dim: 3", f"latent_dim: {2**31 - 1}")
        )
    elif how == "python":
        config = (run / "config.yaml").read_text()
        call = "!!python/object/apply:pathlib.Path.touch [!!python/object:pathlib.Path [harmed]]"
        (run / "config.yaml").write_text(config.replace("seed: 0", f"seed: {call}", 1))
    elif how == "header":
        (run / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    elif how == "genes":
        (run / "genes.csv").write_text("gene\nGENE1\n")
    elif how == "key":
        (run / "config.yaml").write_text("model: {name: vae, evil: 1}\n")
    elif how == "json":
        (run / "run.json").write_text("[1, 2")


SPOILT = {
    **dict.fromkeys(["bit", "pickle", "torch", "header"], (Kind.DAMAGED, "model.safetensors")),
    **dict.fromkeys(["shape", "type", "huge"], (Kind.DIFFERS, "model.safetensors")),
    **dict.fromkeys(["python", "key"], (Kind.DAMAGED, "config.yaml")),
    "genes": (Kind.DAMAGED, "genes.csv"),
    "json": (Kind.DAMAGED, "run.json"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_strangers_run_does_no_harm(scvae, trained, tmp_path, counts, how):
    trained("vae")
    spoil(tmp_path / "r", how)
    kind, file = SPOILT[how]
    assert scvae("embed", "r", "c.h5ad").refused(kind).startswith(f"scvae: r/{file}: ")
    assert not (tmp_path / "harmed").exists()
    assert not (tmp_path / "latent.csv").exists()
