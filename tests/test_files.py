"""Cells of one's own: every format gives the same cells, and whatever is wrong is one line."""

import errno
import gzip
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import yaml
from conftest import PLAIN, representative
from scipy.io import mmwrite
from scipy.sparse import csr_matrix
from sklearn.metrics import silhouette_score

from scvae_cli.data.sources import load
from scvae_cli.errors import Kind, written
from scvae_cli.launch.compose import compose

TINY = [
    "model=pca", "latent_dim=3", "tsne.perplexity=8", "tsne.max_iter=250", "cluster.n_init=2",
    "map_3d=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def counts() -> anndata.AnnData:
    """Sixty cells of three types, counts of forty genes."""
    rng = np.random.default_rng(0)
    types = np.arange(60) % 3
    rates = rng.gamma(2.0, 1.0, (3, 40))
    x = rng.poisson(3 * rates[types]).astype(np.float32)
    letters = rng.choice(list("ACGT"), (60, 14))
    names = [f"{''.join(word)}-1" for word in letters]
    genes = ["MT-CO1", "RPL3", *(f"GENE{i}" for i in range(38))]
    obs = pd.DataFrame({"kind": [f"type {t}" for t in types]}, index=names)
    var = pd.DataFrame({"gene_ids": [f"ENSG{i:011d}" for i in range(40)]}, index=genes)
    return anndata.AnnData(csr_matrix(x), obs, var)


def write_10x(cells: anndata.AnnData, folder: Path, *, version: int, packed: bool) -> Path:
    folder.mkdir()
    genes = pd.DataFrame({"id": cells.var["gene_ids"], "name": cells.var_names})
    if version == 3:
        genes["type"] = "Gene Expression"
    name = "genes.tsv" if version == 2 else "features.tsv"
    genes.to_csv(folder / name, sep="\t", header=False, index=False)
    (folder / "barcodes.tsv").write_text("\n".join(cells.obs_names) + "\n")
    mmwrite(folder / "matrix.mtx", cells.X.T.astype(int))
    if packed:
        for path in list(folder.iterdir()):
            with gzip.open(f"{path}.gz", "wb") as out:
                out.write(path.read_bytes())
            path.unlink()
    return folder


def write_h5(cells: anndata.AnnData, path: Path) -> Path:
    """As Cell Ranger 3 writes it."""
    x = csr_matrix(cells.X)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = cells.obs_names.to_numpy(dtype="S")
        group["data"] = x.data.astype(np.int32)
        group["indices"], group["indptr"] = x.indices, x.indptr
        group["shape"] = np.array(cells.shape[::-1], dtype=np.int32)
        features = group.create_group("features")
        features["id"] = cells.var["gene_ids"].to_numpy(dtype="S")
        features["name"] = cells.var_names.to_numpy(dtype="S")
        features["feature_type"] = np.array([b"Gene Expression"] * cells.n_vars)
        features["genome"] = np.array([b"GRCh38"] * cells.n_vars)
    return path


WRITERS = {
    "h5ad": lambda cells, to: cells.write_h5ad(to / "c.h5ad") or to / "c.h5ad",
    "dense h5ad": lambda cells, to: (
        anndata.AnnData(cells.X.toarray(), cells.obs, cells.var).write_h5ad(to / "d.h5ad")
        or to / "d.h5ad"
    ),
    "zarr": lambda cells, to: cells.write_zarr(to / "c.zarr") or to / "c.zarr",
    "10x h5": lambda cells, to: write_h5(cells, to / "c.h5"),
    "10x v2": lambda cells, to: write_10x(cells, to / "v2", version=2, packed=False),
    "10x v2 gz": lambda cells, to: write_10x(cells, to / "v2z", version=2, packed=True),
    "10x v3": lambda cells, to: write_10x(cells, to / "v3", version=3, packed=False),
    "10x v3 gz": lambda cells, to: write_10x(cells, to / "v3z", version=3, packed=True),
    "csv": lambda cells, to: cells.to_df().to_csv(to / "c.csv") or to / "c.csv",
    "csv of genes": lambda cells, to: cells.to_df().T.to_csv(to / "t.csv") or to / "t.csv",
    "tsv.gz": lambda cells, to: cells.to_df().to_csv(to / "c.tsv.gz", sep="\t") or to / "c.tsv.gz",
    "txt of genes": lambda cells, to: (
        cells.to_df().T.to_csv(to / "t.txt", sep="\t") or to / "t.txt"
    ),
}  # fmt: skip


def prepared(path: Path, *options: str):
    return load(**compose(["data=file", f"data.path='{path}'", *options]).data.model_dump())


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_cells(counts, tmp_path, name):
    dataset = prepared(WRITERS[name](counts, tmp_path))
    expected = counts.copy()
    sc.pp.normalize_total(expected, target_sum=1e4)
    sc.pp.log1p(expected)
    np.testing.assert_array_equal(dataset.x.toarray(), expected.X.toarray())
    assert list(dataset.cells) == list(counts.obs_names)
    assert list(dataset.genes) == list(counts.var_names)


@pytest.mark.slow
def test_pbmc3k_is_the_same_from_three_formats(real_data, tmp_path):
    """10x's folder, an h5ad and an h5 of the counts, against the source that the report uses."""
    shutil.unpack_archive(next((real_data / "pbmc3k").glob("*.tar.gz")), tmp_path)
    folder = tmp_path / "filtered_gene_bc_matrices" / "hg19"
    cells = sc.read_10x_mtx(folder)
    cells.write_h5ad(tmp_path / "c.h5ad")
    symbols = pd.read_csv(folder / "genes.tsv", sep="\t", header=None)[
        1
    ]  # h5 has them as they are
    named = cells.copy()
    named.var_names = symbols.to_numpy()
    write_h5(named, tmp_path / "c.h5")
    first, *others = [
        prepared(path).fingerprint() for path in (folder, tmp_path / "c.h5ad", tmp_path / "c.h5")
    ]
    assert others == [first, first]
    ours = prepared(tmp_path / "c.h5ad", "data.min_cells=3", "data.min_genes=201")
    report = load(**compose(["data=pbmc3k"]).data.model_dump())
    kept = np.isin(ours.cells, report.cells)
    shared = pd.Index(ours.genes).get_indexer(report.genes)
    assert (shared >= 0).all()
    theirs = report.x.toarray()
    # The report drops rare genes before it normalises, and cells by other limits too.
    assert kept.sum() == report.n_cells
    np.testing.assert_allclose(ours.x[kept][:, shared].toarray(), theirs, rtol=2e-3)


def test_what_values_are_is_seen_and_can_be_said(counts, tmp_path):
    logged = counts.copy()
    sc.pp.normalize_total(logged, target_sum=1e4)
    logged.layers["normal"] = logged.X.copy()
    sc.pp.log1p(logged)
    logged.raw = counts
    logged.write_h5ad(tmp_path / "l.h5ad")
    path = tmp_path / "l.h5ad"
    said: list[str] = []
    for options, found in (
        ([], "values are logged: expm1(x) has the total 10,000 in each cell; left as they are"),
        (["data.layer=normal"], "values are normalized: the total of each cell is 10,000; "),
        (["data.raw=true"], "values are counts: whole numbers, totals 172 to 279; norm"),
    ):
        arguments = ["data=file", f"data.path={path}", *options]
        dataset = load(**compose(arguments).data.model_dump(), say=said.append)
        assert any(line.startswith(f"l.h5ad: {found}") for line in said)
        said.clear()
        np.testing.assert_allclose(dataset.x.toarray(), logged.X.toarray(), rtol=1e-6)
    assert list(prepared(path, "data.gene_names=gene_ids").genes) == list(counts.var["gene_ids"])


def test_the_most_variable_genes_are_scanpys(real_data):
    path = real_data / "zheng_facs" / "zheng_facs_raw.h5ad"
    dataset = prepared(path, "data.genes=300", "data.label_key=subpop")
    cells = anndata.read_h5ad(path)
    whole = cells.copy()
    sc.pp.normalize_total(whole, target_sum=1e4)
    sc.pp.log1p(whole)
    sc.pp.highly_variable_genes(cells, flavor="seurat_v3", n_top_genes=300)
    best = cells.var["highly_variable"].to_numpy()
    assert list(dataset.genes) == list(cells.var_names[best])
    np.testing.assert_allclose(dataset.x.toarray(), whole[:, best].X.toarray(), rtol=1e-5)
    assert len(dataset.cell_types) == 5


@pytest.mark.parametrize(
    ("key", "nmi", "ari", "within"),
    [("celltype", 0.722, 0.641, 0.01), ("subpop", 0.9, 0.9, 0.05)],
)
def test_sorted_cells_train_and_score(real_data, scvae, tmp_path, key, nmi, ari, within):
    """Labels from antibodies: principal components find them, as others measured (.72 / .64).

    The five groups of them are easier.
    """
    path = real_data / "zheng_facs" / "zheng_facs_raw.h5ad"
    settings = [
        "data=file", f"data.path={path}", "data.genes=2000", f"data.label_key={key}",
        "model=pca", *PLAIN, "tsne.max_iter=250", "tsne.max_cells=500",
    ]  # fmt: skip
    assert scvae("train", *settings, "hydra.run.dir=r").code == 0
    scores = json.loads((tmp_path / "r" / "scores.json").read_text())
    assert scores["latent"]["nmi"] == pytest.approx(nmi, abs=within)
    assert scores["latent"]["ari"] == pytest.approx(ari, abs=within)


def test_cells_without_labels(counts, scvae, tmp_path):
    counts.write_h5ad(tmp_path / "c.h5ad")
    base = ["train", "data=file", "data.path=c.h5ad", *TINY]
    result = scvae(*base, "hydra.run.dir=ten")
    assert result.code == 0, result.err
    assert "k-means makes 10 clusters" in result.err
    assert "data.label_key=" in result.err
    assert pd.read_csv(tmp_path / "ten" / "cells.csv")["latent_cluster"].nunique() == 10
    result = scvae(*base, "cluster.n_clusters=3", "hydra.run.dir=r")
    assert result.code == 0, result.err
    assert "k-means makes" not in result.err
    scores = json.loads((tmp_path / "r" / "scores.json").read_text())
    cells = pd.read_csv(tmp_path / "r" / "cells.csv")
    latent = pd.read_csv(tmp_path / "r" / "latent.csv").drop(columns="cell")
    assert scores["latent"] == {
        "silhouette": pytest.approx(silhouette_score(latent, cells["latent_cluster"]), rel=1e-4)
    }
    assert set(cells["cell_type"]) == {"unlabelled"}
    sweep = scvae("train", "-m", *base[1:], "cluster.n_clusters=3", "seed=0,1")
    assert sweep.code == 0, sweep.err
    assert "silh." in sweep.out
    assert "Highest" not in sweep.err  # one setting alone
    compared = scvae("compare", "r", "outputs", "--score", "tsne_nmi")
    compared.refused(Kind.UNKNOWN, "--score")
    assert compared.error.value == "tsne_nmi"


def test_labels_from_a_table(counts, scvae, tmp_path):
    counts.write_h5ad(tmp_path / "c.h5ad")
    counts.obs["kind"].iloc[::-1].to_csv(tmp_path / "kinds.csv")
    path = tmp_path / "c.h5ad"
    by_key = prepared(path, "data.label_key=kind")
    by_file = prepared(path, f"data.labels={tmp_path / 'kinds.csv'}")
    assert by_key.fingerprint() == by_file.fingerprint()
    counts.obs.assign(kind=counts.obs["kind"], other="a").to_csv(tmp_path / "wide.csv")
    words = ["data=file", f"data.path={path}", f"data.labels={tmp_path / 'wide.csv'}", *TINY]
    refused = scvae("train", *words)
    refused.refused(Kind.FORMAT, "data.labels")
    assert "columns (" in refused.error.reason


@pytest.mark.parametrize("name", ["c.h5ad", "c.zarr"])
def test_columns_that_may_be_types_are_listed(counts, scvae, tmp_path, name):
    counts = counts.copy()
    counts.obs["number"] = pd.Categorical([1.0, 2.0, np.nan] * 20)
    write = counts.write_h5ad if name.endswith("h5ad") else counts.write_zarr
    write(tmp_path / name)
    out = scvae("data", name).out
    assert "kind" in out
    assert "data.label_key=" in scvae("data", name).err
    assert "1, 2" in out or "2, 1" in out
    assert "1.0" not in out


def broken(cells: anndata.AnnData, to: Path, name: str) -> str:
    """A file with something wrong, and its name."""
    bad = cells.copy()
    x = bad.X.toarray()
    if name == "nan":
        x[3, 4] = np.nan
    elif name == "inf":
        x[3, 4] = np.inf
    elif name == "scaled":
        x = x - x.mean(0)
    elif name == "empty cell":
        x[7] = 0
    elif name == "all zero":
        x[:] = 0
    bad.X = csr_matrix(x)
    if name == "two cells of a name":
        bad.obs_names = [*bad.obs_names[:-1], bad.obs_names[0]]
    elif name == "two genes of a name":
        bad.var_names = [*bad.var_names[:-1], bad.var_names[0]]
    elif name == "no label":
        bad.obs["kind"] = pd.Series([None] * 60, bad.obs_names, dtype="category")
    elif name == "one label":
        bad.obs["kind"] = "only"
    elif name == "numbers as labels":
        bad.obs["kind"] = np.linspace(0, 1, bad.n_obs)
    elif name == "fractions":
        bad.X = bad.X * np.float32(0.5)
    elif name == "no X":
        bad.X = None
    elif name == "few":
        bad = bad[:2].copy()
    elif name == "none":
        bad = bad[:0].copy()
    if name.endswith((".csv", ".txt", ".tsv.gz", ".h5", ".h5ad", ".xyz", ".mtx")):
        contents = {
            "words.csv": b"cell,g1,g2\na,1,two\nb,3,4\n",
            "column.csv": b"cell\na\nb\n",
            "empty.csv": b"",
            "tabs.csv": b"cell\tg1\na\t1\n",
            "short.tsv.gz": gzip.compress(b"cell\tg\na\t1\n")[:-9],
            "ragged.csv": b"cell,g1,g2\na,1,2,3,4\nb,1\n",
        }.get(name, b"\x89HDF\r\n\x1a\n" + b"\0" * 99 if name.endswith(("h5", "h5ad")) else b"??")
        (to / name).write_bytes(contents)
        return name
    if name.startswith("10x"):
        folder = write_10x(cells, to / "ten", version=2, packed=False)
        if name == "10x without genes":
            (folder / "genes.tsv").unlink()
        elif name == "10x without barcodes":
            (folder / "barcodes.tsv").unlink()
        elif name == "10x without matrix":
            (folder / "matrix.mtx").unlink()
        elif name == "10x of short barcodes":
            (folder / "barcodes.tsv").write_text("AAAC-1\n")
        elif name == "10x of a cut matrix":
            whole = (folder / "matrix.mtx").read_text()
            (folder / "matrix.mtx").write_text(whole[: len(whole) // 2])
        return "ten"
    if name == "folder":
        (to / "folder").mkdir()
        return "folder"
    bad.write_h5ad(to / "c.h5ad")
    if name == "cut":
        contents = (to / "c.h5ad").read_bytes()
        (to / "c.h5ad").write_bytes(contents[: len(contents) // 2])
    return "c.h5ad"


# The kind of fault, the key, and what else the line has to name.
PATH = "data.path"
BAD_FILES = {
    "nan": (Kind.CONTENT, PATH, ": 1 "),
    "inf": (Kind.CONTENT, PATH, ": 1 "),
    "scaled": (Kind.CONTENT, PATH, "(-"),
    "empty cell": (Kind.CONTENT, PATH, ": 1 "),
    "all zero": (Kind.CONTENT, PATH, ": 60 "),
    "two cells of a name": (Kind.NAMES, PATH, "obs_names"),
    "two genes of a name": (Kind.NAMES, PATH, "gene MT-CO1 "),
    "no label": (Kind.EMPTY, "data.label_key", "kind: 60 of 60 cells"),
    "one label": (Kind.EMPTY, "data.label_key", ", only"),
    "numbers as labels": (Kind.VALUE, "data.label_key", " 0.0169"),
    "no X": (Kind.MISSING, PATH, "data.layer"),
    "few": (Kind.VALUE, "tsne.perplexity", "is 2 in data=c.h5ad"),
    "none": (Kind.EMPTY, PATH, "0 cells x 40 genes"),
    "cut": (Kind.FORMAT, PATH, ""),
    "folder": (Kind.MISSING, PATH, ": matrix.mtx "),
    "10x without genes": (Kind.MISSING, PATH, ": features.tsv or genes.tsv "),
    "10x without barcodes": (Kind.MISSING, PATH, ": barcodes.tsv "),
    "10x without matrix": (Kind.MISSING, PATH, ": matrix.mtx "),
    "10x of short barcodes": (Kind.DAMAGED, PATH, "40 genes and 1 barcodes"),
    "10x of a cut matrix": (Kind.DAMAGED, PATH, "matrix.mtx: "),
    "words.csv": (Kind.CONTENT, PATH, "column g2 "),
    "column.csv": (Kind.FORMAT, PATH, "commas are"),
    "empty.csv": (Kind.EMPTY, PATH, ""),
    "tabs.csv": (Kind.FORMAT, PATH, ".tsv"),
    "short.tsv.gz": (Kind.DAMAGED, PATH, ""),
    "ragged.csv": (Kind.FORMAT, PATH, "3 columns"),
    "damaged.h5": (Kind.FORMAT, PATH, ""),
    "damaged.h5ad": (Kind.FORMAT, PATH, ""),
    "strange.xyz": (Kind.FORMAT, PATH, ".h5ad, .h5mu, .zarr"),
    "matrix.mtx": (Kind.MISSING, PATH, "features.tsv or genes.tsv "),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_one_line(counts, scvae, tmp_path, name):
    file = broken(counts, tmp_path, name)
    before = set(tmp_path.rglob("*"))
    words = [] if file != "c.h5ad" else ["data.label_key=kind"]
    base = ["train", "data=file", f"data.path={file}", "cluster.n_clusters=2", *TINY]
    result = scvae(*base, *words)
    kind, key, fact = BAD_FILES[name]
    assert result.refused(kind, key) == result.err.rstrip("\n")
    assert fact in result.err
    value = Path(str(result.error.value))
    assert key != PATH or file in (str(value), str(value.parent), "matrix.mtx")
    assert set(tmp_path.rglob("*")) == before


BAD_KEYS = {
    "data.path=nowhere.h5ad": (Kind.MISSING, ""),
    "data.path=null": (Kind.VALUE, ""),
    "data.path=[a,b]": (Kind.VALUE, ""),
    "data.label_key=knd": (Kind.UNKNOWN, "c.h5ad (there are kind); did you mean kind?"),
    "data.labels=nowhere.csv": (Kind.MISSING, os.strerror(errno.ENOENT)),
    "data.labels=c.h5ad": (Kind.FORMAT, "UTF-8"),
    "data.layer=counts": (Kind.UNKNOWN, "c.h5ad"),
    "data.raw=true": (Kind.MISSING, "c.h5ad"),
    "data.raw=2": (Kind.VALUE, ""),
    "data.gene_names=ids": (Kind.UNKNOWN, " gene_ids;"),
    "data.transpose=perhaps": (Kind.VALUE, ""),
    "data.values=count": (Kind.VALUE, "'counts'"),
    "data.min_genes=-1": (Kind.VALUE, "0"),
    "data.min_genes=41": (Kind.EMPTY, "leaves 0 cells x 40 genes"),
    "data.min_cells=0.5": (Kind.VALUE, ""),
    "data.genes=1": (Kind.VALUE, "2"),
    "data.genes=40": (Kind.VALUE, "which is 40 in c.h5ad"),
    "data.genes=all": (Kind.VALUE, ""),
    "data.target_sum=0": (Kind.VALUE, "0"),
    "data.scale=-1": (Kind.VALUE, "0"),
    "data.n_cells=9": (Kind.UNKNOWN, "data=synthetic"),
    "data.pth=x": (Kind.UNKNOWN, "data.path?"),
    "cluster.n_clusters=60": (Kind.VALUE, "60 in data=c.h5ad"),
    "cluster.n_clusters=1": (Kind.VALUE, "2"),
    "latent_dim=40": (Kind.VALUE, "40 in data=c.h5ad"),
    "tsne.perplexity=60": (Kind.VALUE, "60 in data=c.h5ad"),
    "data=fiel": (Kind.UNKNOWN, "file?"),
    "data.labels=kinds.csv": (Kind.CONFLICT, "data.label_key=kind"),
    "data.labels=half.csv": (Kind.CONFLICT, "data.label_key=kind"),
}


@pytest.mark.parametrize("bad", BAD_KEYS)
def test_a_bad_key_is_one_line(counts, scvae, tmp_path, bad):
    counts.write_h5ad(tmp_path / "c.h5ad")
    counts.obs["kind"].to_csv(tmp_path / "kinds.csv")
    before = set(tmp_path.rglob("*"))
    base = ["data=file", "data.path=c.h5ad", "data.label_key=kind", *TINY]
    if bad in ("data.labels=nowhere.csv", "data.labels=c.h5ad"):
        base.remove("data.label_key=kind")
    (key, value), (kind, fact) = bad.split("="), BAD_KEYS[bad]
    kept = [o for o in base if o.split("=")[0] != key]
    result = scvae("train", *kept, bad)
    assert result.refused(kind, key) == result.err.rstrip("\n")
    assert written(result.error.value) == value
    assert fact in f"{result.error.reason}; {result.error.fix}"
    assert set(tmp_path.rglob("*")) == before


def test_too_strict_filters_are_one_line(counts, scvae, tmp_path):
    counts.write_h5ad(tmp_path / "c.h5ad")
    result = scvae("data", "c.h5ad", "data.min_cells=61")
    line = result.refused(Kind.EMPTY, "data.min_cells")
    assert "data.min_cells=61: leaves 60 cells x 0 genes" in line


@pytest.mark.parametrize(
    ("labels", "kind", "fact"),
    [
        ("cell,kind\n", Kind.MISSING, "60 of 60 cells"),
        ("cell\na\n", Kind.FORMAT, "'cell'"),
        ("", Kind.EMPTY, ""),
    ],
)
def test_labels_that_do_not_match(counts, scvae, tmp_path, labels, kind, fact):
    counts.write_h5ad(tmp_path / "c.h5ad")
    (tmp_path / "k.csv").write_text(labels)
    result = scvae("train", "data=file", "data.path=c.h5ad", "data.labels=k.csv", *TINY)
    assert result.refused(kind, "data.labels") == result.err.rstrip("\n")
    assert fact in result.err


def test_the_axis_of_cells_is_said_aloud(counts, scvae, tmp_path):
    counts.to_df().T.to_csv(tmp_path / "t.csv")
    base = ["train", "data=file", "data.path=t.csv", "cluster.n_clusters=3", *TINY]
    result = scvae(*base)
    assert result.code == 0
    assert "t.csv: rows are genes, as their names tell (else data.transpose=false)" in result.err
    other = scvae(*base, "data.transpose=false")
    assert "40 cells x 60 genes" in other.err


def composed(scvae, *words: str) -> dict:
    result = scvae("train", *words, "--cfg", "job")
    assert result.code == 0, result.err
    return yaml.safe_load(result.out)["data"]


@pytest.mark.parametrize("name", ["c.h5ad", "it's \u00e9=1, .h5ad", "t.CSV.gz", "dir/m.zarr/"])
def test_a_file_of_any_name_is_the_data(scvae, tmp_path, monkeypatch, name):
    (tmp_path / "dir").mkdir()
    (tmp_path / name).touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    path = name.removesuffix("/")
    for words in ([name], [f"data={name}"], ["data=file", f"data.path={name}"], [f"~/{name}"]):
        data = composed(scvae, *words)
        assert (data["name"], data["path"].removeprefix("~/").removesuffix("/")) == ("file", path)


def test_names_of_data_come_before_files(scvae, tmp_path):
    (tmp_path / "pbmc68k").touch()
    (tmp_path / "beta=2").touch()
    (tmp_path / "my" / "data").mkdir(parents=True)
    (tmp_path / "my" / "data" / "mine.h5ad.yaml").write_text("name: synthetic\n")
    assert composed(scvae, "data=pbmc68k", "beta=2")["name"] == "pbmc68k"
    assert composed(scvae, "data=mine.h5ad", "--config-dir", "my")["name"] == "synthetic"


def test_a_sweep_over_files_is_resumed(counts, scvae, tmp_path):
    names = ["it's \u00e9=1 .h5ad", "b.h5ad"]
    for name in names:
        counts.write_h5ad(tmp_path / name)
        counts = counts[:50].copy()
    words = [f"data={','.join(names)}", "data.label_key=kind", *TINY, "hydra.sweep.dir=s"]
    result = scvae("train", "-m", *words)
    assert result.code == 0, result.err
    first, second = sorted((tmp_path / "s").glob("0*"))
    assert (first.name, second.name) == ("000-pca-it_s_\u00e9=1_", "001-pca-b")
    (first / "scores.json").unlink()
    result = scvae("train", "resume=s")
    assert (result.code, "1 of them done before" in result.err) == (0, True), result.err
    assert scvae("show", "s").out.splitlines()[1].endswith("2 of 2 are done")


PAGE = (Path(__file__).parents[1] / "docs" / "your-data.md").read_text()


def prepare_page(counts, to: Path) -> None:
    """The files that the page's commands name."""
    cells = counts.copy()
    cells.var_names = ["CD3D", "MS4A1", *cells.var_names[2:]]
    cells.obs["cell_type"] = cells.obs["kind"]
    cells.obs["sample"] = ["a", "b"] * 30
    cells.layers["counts"] = cells.X.copy()
    cells.raw = cells
    cells.write_h5ad(to / "pbmc.h5ad")
    cells[::2].write_h5ad(to / "new.h5ad")
    cells.obs["kind"].to_csv(to / "types.csv")
    cells.to_df().T.to_csv(to / "table.csv.gz")
    write_10x(cells, to / "filtered_feature_bc_matrix", version=3, packed=True)


def run_page(scvae, command: str) -> None:
    arguments = [a.replace("data.genes=2000", "data.genes=30") for a in shlex.split(command)[1:]]
    tiny = [o for o in TINY if not o.startswith("model=")] + ["epochs=2"]
    fewer = {"updates=3000": "updates=4", "seed=range(0,3)": "seed=range(0,2)"}
    arguments = [fewer.get(a, a) for a in arguments]
    given = {a.split("=")[0].replace("updates", "epochs") for a in arguments}
    kept = [o for o in tiny if o.split("=")[0] not in given]
    few = ["--candidates", "pca-20,pca-sqrt", "--seeds", "1"] if arguments[0] == "choose" else []
    result = scvae(*arguments, *(kept if arguments[0] == "train" else few))
    assert result.code == 0, result.err


COMMANDS = re.findall(r"^(scvae .*?)\s*(?:#.*)?$", PAGE, flags=re.M)


ALONE = [c for c in COMMANDS if "reference" not in c]
CHOOSE = [c for c in ALONE if c.startswith("scvae choose")]


@pytest.mark.parametrize(
    "command", [*(c for c in ALONE if c not in CHOOSE), *representative(CHOOSE[::-1])]
)
def test_every_command_of_the_page_runs(counts, scvae, tmp_path, command):
    prepare_page(counts, tmp_path)
    run_page(scvae, command)


def test_what_the_page_does_with_a_run(counts, scvae, tmp_path):
    """Its commands, then its Python, in order."""
    prepare_page(counts, tmp_path)
    commands = [c for c in COMMANDS if "reference" in c]
    assert len(commands) == 5
    for command in commands:
        run_page(scvae, command)
    snippets = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    assert len(snippets) == 3
    names: dict = {}
    for snippet in snippets:
        exec(snippet.replace("CD3E", counts.var_names[3]).replace("MS4A1", "GENE9"), names)
    assert names["adata"].obsm["X_scvae"].shape == (30, 3)
    assert list(names["expected"]) == [counts.var_names[3], "GENE9"]
