"""PBMC3k from raw counts, against Seurat's labels, the report's clusters and 10x's hashes."""

import io
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from conftest import FAST, PLAIN
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from scipy.sparse import csr_array
from sklearn.metrics import adjusted_rand_score

from scvae_cli import CONF
from scvae_cli.data import sources, tenx
from scvae_cli.data.celltypes import MARKERS, find_clusters, name_clusters
from scvae_cli.data.preprocess import log_normalize
from scvae_cli.errors import InputError, Kind
from scvae_cli.settings import parse

OPTIONS = OmegaConf.to_container(OmegaConf.load(CONF / "data" / "pbmc3k.yaml"))
STABLE = ["B", "CD14+ Mono", "FCGR3A+ Mono", "DC", "Platelet"]


def load(**changes):
    sources._LOADED.clear()  # what is on disk counts here
    return sources.load(**{**OPTIONS, **changes})


def types(dataset):
    return np.array(dataset.cell_types)[dataset.labels]


@pytest.fixture
def archive(real_data):
    return real_data / "pbmc3k" / tenx.ARCHIVE


@pytest.fixture
def pbmc3k(real_data, monkeypatch):
    monkeypatch.setenv("SCVAE_DATA_DIR", str(real_data))
    return load()


def test_seurats_filter_gives_seurats_cells_and_genes(pbmc3k, real_data):
    assert pbmc3k.x.shape == (2638, 13714)
    assert pbmc3k.x.nnz == 2_238_732
    seurat = pd.read_csv(real_data / "pbmc3k" / "seurat_labels.csv")
    assert set(seurat["barcode"]) == set(pbmc3k.cells)
    np.testing.assert_allclose(np.expm1(pbmc3k.x.toarray()).sum(1), 1e4, rtol=1e-4)


def test_variable_genes_are_those_of_the_raw_counts(pbmc3k, archive):
    """Scanpy's own, on what 10x ships; a cell's total stays that of all its genes."""
    raw = tenx.read(archive)[pbmc3k.cells, pbmc3k.genes].copy()
    sc.pp.highly_variable_genes(raw, flavor="seurat_v3", n_top_genes=2000)
    few = load(genes=2000)
    assert list(few.genes) == list(pbmc3k.genes[raw.var["highly_variable"].to_numpy()])
    assert list(few.labels) == list(pbmc3k.labels)
    counts = raw[:, few.genes].X
    assert abs(few.counts() - counts).max() == 0
    totals = np.ravel(raw.X.sum(axis=1))
    np.testing.assert_allclose(
        np.expm1(few.x[:, [0]].toarray().ravel()),
        counts[:, [0]].toarray().ravel() / totals * 1e4,
        rtol=1e-4,
    )
    assert few.gene_table()["used"].sum() == 2000
    assert len(few.gene_table()) == 13714
    with pytest.raises(InputError) as caught:
        load(genes=20000)
    error = caught.value
    assert (error.kind, error.key, error.value) == (Kind.VALUE, "data.genes", 20000)
    assert "13714" in error.reason


def test_types_from_the_counts_agree_with_seurats(pbmc3k, real_data):
    seurat = pd.read_csv(real_data / "pbmc3k" / "seurat_labels.csv", index_col="barcode")
    seurat = seurat["cell_type"].reindex(pbmc3k.cells).to_numpy()
    ours = types(pbmc3k)
    assert set(ours) == set(seurat) == set(MARKERS)
    assert adjusted_rand_score(seurat, ours) >= 0.93
    assert (seurat == ours).mean() > 0.95  # names too, not clusters alone
    for name in STABLE:
        assert (ours == name).sum() == pytest.approx((seurat == name).sum(), rel=0.02), name


def test_types_from_the_counts_agree_with_the_reports_clusters(pbmc3k, real_data):
    """The clusters that the report was scored on, NK (144) included: Seurat's object has 155."""
    report = pd.read_csv(real_data / "published" / "ae_tsne.csv", index_col="barcode")
    report = report["cluster"].reindex(pbmc3k.cells).to_numpy()
    ours = types(pbmc3k)
    assert adjusted_rand_score(report, ours) >= 0.93
    for name in [*STABLE, "NK"]:
        theirs = pd.Series(report[ours == name]).mode()[0]
        assert (ours == name).sum() == pytest.approx((report == theirs).sum(), rel=0.02), name


def test_the_folder_gives_what_the_archive_gives(archive, tmp_path, pbmc3k, monkeypatch):
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    monkeypatch.setenv("SCVAE_CACHE_DIR", str(tmp_path / "cache"))
    assert load(dir=str(tmp_path)).fingerprint() == pbmc3k.fingerprint()
    assert load(dir=str(tmp_path / tenx.INSIDE)).fingerprint() == pbmc3k.fingerprint()


@pytest.mark.parametrize(
    "damage",
    ["truncated", *(pytest.param(d, marks=pytest.mark.slow) for d in ("flipped", "empty"))],
)
def test_a_damaged_cache_is_built_again(pbmc3k, tmp_path, monkeypatch, damage):
    monkeypatch.setenv("SCVAE_CACHE_DIR", str(tmp_path))
    assert load().fingerprint() == pbmc3k.fingerprint()
    (kept,) = tmp_path.glob("*.h5ad")
    good = kept.read_bytes()
    assert list(tmp_path.iterdir()) == [kept]
    with monkeypatch.context() as patch:
        patch.setattr(tenx, "read", None)  # a good cache needs no counts
        assert load().fingerprint() == pbmc3k.fingerprint()
    bad = bytearray(good)
    if damage == "flipped":
        bad[len(bad) // 2] ^= 1
    kept.write_bytes({"truncated": good[: len(good) // 2], "empty": b""}.get(damage, bytes(bad)))
    assert load().fingerprint() == pbmc3k.fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr(tenx, "read", None)
        assert load().fingerprint() == pbmc3k.fingerprint()


def test_labels_of_ones_own(pbmc3k, real_data):
    path = real_data / "pbmc3k" / "seurat_labels.csv"
    labelled = load(labels=str(path))
    seurat = pd.read_csv(path, index_col="barcode")["cell_type"]
    assert list(types(labelled)) == list(seurat.reindex(labelled.cells))
    assert labelled.fingerprint() != pbmc3k.fingerprint()


def test_cells_without_a_label_of_ones_own_stay(pbmc3k, tmp_path):
    table = pd.DataFrame({"barcode": pbmc3k.cells, "label": types(pbmc3k)})
    table.iloc[5:].to_csv(tmp_path / "labels.csv", index=False)
    partly = load(labels=str(tmp_path / "labels.csv"))
    assert (partly.labels[:5] == -1).all()
    assert list(np.array(partly.cell_types)[partly.labels[5:]]) == list(types(pbmc3k)[5:])


@pytest.mark.parametrize(
    ("fault", "kind", "named"),
    [
        ("twice", Kind.NAMES, "AAACATACAACCAC-1"),
        ("one column", Kind.FORMAT, "'barcode'"),
        ("nowhere", Kind.MISSING, ""),
        ("binary", Kind.FORMAT, "UTF-16"),
    ],
)
def test_bad_labels_are_refused(pbmc3k, tmp_path, fault, kind, named):
    path = tmp_path / "labels.csv"
    table = pd.DataFrame({"barcode": pbmc3k.cells, "label": types(pbmc3k)})
    if fault == "twice":
        pd.concat([table, table[:1]]).to_csv(path, index=False)
    elif fault == "one column":
        table[["barcode"]].to_csv(path, index=False)
    elif fault == "binary":
        path.write_bytes(b"\xff\xfe\x00\x01" * 100)
    with pytest.raises(InputError) as caught:
        load(labels=str(path))
    error = caught.value
    assert (error.kind, error.key, error.value) == (kind, "data.labels", str(path))
    assert named in error.reason


@pytest.mark.parametrize("fault", ["truncated", "altered", "missing", "not an archive"])
def test_counts_that_are_not_10xs_are_refused(archive, tmp_path, fault):
    path = tmp_path / tenx.ARCHIVE
    if fault == "truncated":
        path.write_bytes(archive.read_bytes()[:1_000_000])
    elif fault == "not an archive":
        path.write_text("<html>404</html>")
    else:
        with tarfile.open(archive) as good, tarfile.open(path, "w:gz", compresslevel=1) as bad:
            for member in good:
                if not member.isfile() or (fault == "missing" and "genes" in member.name):
                    continue
                contents = good.extractfile(member).read()
                if "barcodes" in member.name and fault == "altered":
                    contents = contents.replace(b"AAACATACAACCAC-1", b"AAACATACAACCAC-2")
                member.size = len(contents)
                bad.addfile(member, io.BytesIO(contents))
    with pytest.raises(InputError) as caught:
        tenx.read(path)
    assert (caught.value.kind, caught.value.value) == (Kind.DAMAGED, path)
    named = {"altered": "barcodes.tsv ", "missing": "genes.tsv "}
    assert named.get(fault, "") in caught.value.reason


def test_an_archive_cannot_write_outside(tmp_path):
    path = tmp_path / "in" / tenx.ARCHIVE
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as bad:
        member = tarfile.TarInfo("../../matrix.mtx")
        member.size = 5
        bad.addfile(member, io.BytesIO(b"12345"))
    with pytest.raises(InputError) as caught:
        tenx.read(path)
    assert (caught.value.kind, caught.value.value) == (Kind.DAMAGED, path)
    assert "matrix.mtx " in caught.value.reason
    assert {p.name for p in tmp_path.rglob("*")} == {"in", tenx.ARCHIVE}


def test_the_archive_is_downloaded_once(archive, tmp_path, monkeypatch):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(archive.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/{tenx.ARCHIVE}"
    monkeypatch.setattr(tenx, "URL", address)
    monkeypatch.setenv("SCVAE_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("SCVAE_DATA_DIR")
    seen = []
    path = tenx.find(None, on_download=lambda done, total: seen.append((done, total)))
    server.shutdown()
    server.server_close()
    size = archive.stat().st_size
    assert path.read_bytes() == archive.read_bytes()
    assert path.parent == tmp_path
    assert seen[-1] == (size, size)
    assert tenx.find(None, on_download=None) == path


def test_offline_says_what_to_do(scvae, tmp_path, monkeypatch):
    monkeypatch.setattr(tenx, "URL", f"http://127.0.0.1:9/{tenx.ARCHIVE}")
    monkeypatch.setenv("SCVAE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("SCVAE_DATA_DIR", raising=False)
    result = scvae("train", "data=pbmc3k")
    line = result.refused(Kind.UNAVAILABLE, "data")
    assert len(result.err.splitlines()) == 1
    for part in (tenx.URL, str(tmp_path / "cache"), "data=pbmc68k"):
        assert part in line
    assert not (tmp_path / "outputs").exists()


def test_limits_that_leave_no_cells_are_refused(pbmc3k, scvae, tmp_path):
    for limit in ("min_genes=9999", "max_genes=1", "min_cells=9999"):
        result = scvae("train", "data=pbmc3k", f"data.qc.{limit}")
        result.refused(Kind.EMPTY, "data.qc")
        assert len(result.err.splitlines()) == 1, result.err
    assert not (tmp_path / "outputs").exists()


def test_the_first_load_says_nothing(real_data, scvae, tmp_path, monkeypatch):
    sources._LOADED.clear()
    monkeypatch.setenv("SCVAE_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("SCVAE_DATA_DIR", str(real_data))
    result = scvae("train", "data=pbmc3k", "tsne.perplexity=9999")
    assert list((tmp_path / "empty").glob("*.h5ad"))
    assert len(result.err.splitlines()) == 1, result.err


def test_a_folder_without_the_counts_is_refused(scvae, tmp_path):
    result = scvae("train", "data=pbmc3k", f"data.dir={tmp_path}")
    result.refused(Kind.MISSING, "data.dir")
    assert result.error.value == str(tmp_path)


def planted(n_types=4):
    """Counts whose types are known, with one marker each at the front."""
    cells = sources.load(
        name="synthetic", scale=None, n_cells=400, n_genes=600, n_types=n_types, umis=1500.0,
        umis_sd=0.3, gene_sd=1.0, markers=0.1, fold=6.0, seed=0, target_sum=1e4,
        n_batches=1, batch_sd=0.5, own_types=0,
    )  # fmt: skip
    counts = np.expm1(cells.x.toarray()).round().astype(np.float32)
    return sc.AnnData(counts), cells


def test_planted_types_are_found():
    counts, cells = planted()
    x = log_normalize(csr_array(counts.X), target_sum=1e4)
    found = find_clusters(counts, x, **{**OPTIONS["clusters"], "n_genes": 200})
    assert adjusted_rand_score(cells.labels, found) > 0.95
    again = find_clusters(counts, x, **{**OPTIONS["clusters"], "n_genes": 200})
    assert np.array_equal(found, again)


@pytest.mark.parametrize("seed", range(3))
def test_names_follow_markers_and_never_numbers(seed):
    rng = np.random.default_rng(seed)
    names = list(MARKERS)
    order = rng.permutation(9)
    genes = np.array(sorted({gene for markers in MARKERS.values() for gene in markers}))
    clusters = np.repeat(np.arange(10), 20)  # the tenth has no marker
    x = rng.random((200, len(genes))).astype(np.float32)
    for cluster, name in enumerate(order):
        for marker in MARKERS[names[name]]:
            x[clusters == cluster, np.flatnonzero(genes == marker)[0]] += 3
    found = name_clusters(csr_array(x), genes, clusters)
    assert found == [*(names[i] for i in order), "unnamed 1"]


# The differences between the report's text and its authors' code; see the presets.
DEEP = {
    "encoder": [800, 400],
    "branch": None,
    "sigma": "log_variance",
    "decoder": [80, 400, 800],
}
TEXT = {"encoder": [128, 32], "branch": 16, "sigma": "log_sigma"}
PRESETS: dict[str, Any] = {
    "report/ae": {"beta": None, "latent_activation": "relu", "encoder": [128, 32, 16]},
    "report/vae": {"beta": 2.0, "embedding": "sample", **TEXT},
    "report/vsc": {"beta": 2.0, "embedding": "sample", **TEXT},
    "corrected/pca": {"beta": None},
    "corrected/ae": {"beta": None, "latent_activation": "relu"},
    "corrected/vae": {"beta": 2.0, "embedding": "mean"},
    "corrected/vsc": {"beta": 2.0, "embedding": "mean"},
    "code/ae": {"beta": None, "latent_activation": "linear", "encoder": [128, 32, 16]},
    "code/vae": {"beta": 2.0, "embedding": "sample", "first_activation": "linear", **DEEP},
    "code/vsc": {"beta": 1.0, "embedding": "mu", "first_activation": "relu", **DEEP},
}


def test_every_preset_is_known():
    found = {str(p.relative_to(CONF / "experiment"))[:-5] for p in CONF.glob("experiment/*/*")}
    others = ("benchmark/", "choose/")  # whose own tests know them
    assert {name for name in found if not name.startswith(others)} == set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_what_they_say(preset):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = parse(compose("config", [f"experiment={preset}"]))
    values = {**config.model.model_dump(), **config.model_dump()}
    assert {key: values[key] for key in PRESETS[preset]} == PRESETS[preset]
    kind, model = preset.split("/")
    assert (config.model.name, config.data.name) == (model, "pbmc3k")
    assert (config.latent_dim, config.cluster.n_init, config.tsne.perplexity) == (6, 100, 40.0)
    as_code = (240, None, "random", 200.0)
    as_text = (256, None, "pca", "auto")
    found = (config.batch_size, config.data.scale, config.tsne.init, config.tsne.learning_rate)
    assert found == (as_code if kind == "code" else as_text)
    text = (CONF / "experiment" / f"{preset}.yaml").read_text()
    assert f"\n# scvae train experiment={preset}\n" in text


def test_a_preset_runs_on_the_reports_cells(scvae, real_data, tmp_path):
    short = [a for a in FAST if not a.startswith(("data", "batch", "lr"))]
    quick = [*PLAIN, "tsne.max_cells=300"]
    result = scvae("train", "experiment=report/vsc", *short, *quick)
    assert result.code == 0, result.err
    assert "2,638 cells x 13,714 genes, 9 cell types" in result.err
