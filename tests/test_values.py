"""What values are: seen by totals and steps, on real cells and on what others make of them."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from conftest import PLAIN
from scipy.sparse import csr_matrix

import scvae_cli
from scvae_cli.data.sources import load
from scvae_cli.data.values import doubt, recognise
from scvae_cli.data.wording import command_line
from scvae_cli.errors import Kind
from scvae_cli.launch.compose import compose

TINY = [
    "model=pca", "latent_dim=3", "tsne.perplexity=8", "tsne.max_iter=250", "cluster.n_init=2",
    *PLAIN,
]  # fmt: skip
REAL = {
    "facs": "zheng_facs/zheng_facs_raw.h5ad",
    "three lines": "mixology/lines3_two_protocols.h5ad",
    "five lines": "mixology/lines5_two_plates.h5ad",
}


@pytest.fixture(scope="module")
def simulated() -> csr_matrix:
    """Counts of 120 cells, 400 genes, whose totals differ as those of real cells do."""
    rng = np.random.default_rng(0)
    rates = rng.lognormal(0, 1.5, 400) * rng.lognormal(0, 0.6, (120, 1))
    return csr_matrix(rng.poisson(rates).astype(np.float64))


@pytest.fixture(scope="module", params=["simulated", *REAL])
def counts(request, simulated) -> csr_matrix:
    """Counts of simulated and of real cells, the most variable genes first."""
    if request.param == "simulated":
        return simulated
    cells = anndata.read_h5ad(request.getfixturevalue("real_data") / REAL[request.param])
    some = np.linspace(0, cells.n_obs - 1, 200).astype(int)
    x = csr_matrix(cells.X[some], dtype=np.float64)
    spread = np.asarray(x.power(2).mean(0) - np.square(x.mean(0))).ravel()
    return x[:, np.argsort(-spread)]


def to_total(x: csr_matrix, total: float) -> csr_matrix:
    return csr_matrix(x.multiply(total / x.sum(1)))


def changed(x: csr_matrix, function) -> csr_matrix:
    y = x.copy()
    y.data = function(y.data)
    y.eliminate_zeros()
    return y


def by_length(x: csr_matrix) -> csr_matrix:
    """TPM: by genes' lengths, then to one total."""
    lengths = np.random.default_rng(1).lognormal(0, 0.7, x.shape[1])
    return to_total(csr_matrix(x.multiply(1 / lengths)), 1e6)


def soup(x: csr_matrix) -> csr_matrix:
    """Less what is ambient, as SoupX subtracts it."""
    share = np.asarray(x.sum(0)).ravel() / x.sum()
    rho = np.random.default_rng(1).uniform(0.02, 0.2, x.shape[0])
    dirt = np.repeat(rho * np.asarray(x.sum(1)).ravel(), np.diff(x.indptr)) * share[x.indices]
    return changed(x, lambda data: np.maximum(data - dirt, 0))


def shared(x: csr_matrix) -> csr_matrix:
    """Expected counts, as RSEM's: of a third of the genes, reads are shared."""
    rng = np.random.default_rng(1)
    parted = (rng.random(x.shape[1]) < 0.3)[x.indices]
    return changed(x, lambda d: np.where(parted, np.round(d * rng.beta(5, 1, len(d)), 2), d))


def log2(x: csr_matrix) -> csr_matrix:
    return changed(x, lambda data: np.log2(1 + data))


MADE = {  # how others make values of counts, what they are, and the total if one is known
    "counts": (lambda x: x, "counts", None),
    "some genes' counts": (lambda x: x[:, :200], "counts", None),
    "corrected, all by one factor": (lambda x: x * 0.93, "counts", None),
    "expected counts": (shared, "counts", None),
    "subsampled to one total": (
        lambda x: csr_matrix(sc.pp.downsample_counts(
            anndata.AnnData(csr_matrix(x, dtype=np.float32)), counts_per_cell=200, copy=True,
            random_state=0).X), "counts", None,
    ),
    "CP10k": (lambda x: to_total(x, 1e4), "normalized", 1e4),
    "CPM": (lambda x: to_total(x, 1e6), "normalized", 1e6),
    "CP100, shallow": (lambda x: to_total(x, 100), "normalized", 100),
    "fractions": (lambda x: to_total(x, 1), "normalized", 1),
    "TPM": (by_length, "normalized", 1e6),
    "some genes' CP10k": (lambda x: to_total(x, 1e4)[:, :200], "normalized", None),
    "some genes' percent": (lambda x: to_total(x, 100)[:, :200], "normalized", None),
    "some genes' fractions": (lambda x: to_total(x, 1)[:, :200], "normalized", 1),
    "log CP10k": (lambda x: to_total(x, 1e4).log1p(), "logged", 1e4),
    "log of the median total": (lambda x: to_total(x, 2345.6).log1p(), "logged", 2345.6),
    "some genes' log CP10k": (lambda x: to_total(x, 1e4)[:, :200].log1p(), "logged", None),
    "... in a table of 4 digits": (
        lambda x: changed(to_total(x, 1e4)[:, :200].log1p(), lambda d: d.round(4)), "logged", None,
    ),
    "log2 CPM": (lambda x: log2(to_total(x, 1e6)), "logged", 1e6),
    "log2 TPM": (lambda x: log2(by_length(x)), "logged", 1e6),
    "some genes' log2 CPM": (lambda x: log2(to_total(x, 1e6)[:, :200]), "logged", None),
    "log10 CP10k": (
        lambda x: changed(to_total(x, 1e4), lambda d: np.log10(1 + d)), "logged", 1e4,
    ),
}  # fmt: skip


@pytest.mark.parametrize("made", MADE)
def test_what_values_are_is_seen(counts, made):
    make, kind, total = MADE[made]
    x = csr_matrix(make(counts), dtype=np.float32)
    found = recognise(x)
    assert (found.kind, found.sure) == (kind, True), found
    assert found.total == (None if total is None else pytest.approx(total, rel=1e-3)), found
    assert doubt(found, found.kind, command_line("c.h5ad")) is None


@pytest.mark.parametrize("made", [m for m in MADE if m != "corrected, all by one factor"])
@pytest.mark.parametrize("n", [1, 3])
def test_few_cells_are_seen_as_many_are(counts, made, n):
    """A few have one total by chance, and one always."""
    make, kind, _ = MADE[made]
    x = csr_matrix(make(counts), dtype=np.float32)[7 : 7 + n]
    assert recognise(x).kind == kind


TWO_READINGS = {
    "ambient-corrected": (soup, "counts", "data.values=normalized"),
    "rounded TPM": (lambda x: changed(by_length(x), np.rint), "normalized", "data.values=counts"),
    "some genes' TPM": (lambda x: by_length(x)[:, :200], "counts", "data.values=normalized"),
    "some genes' log2 TPM": (
        lambda x: log2(by_length(x))[:, :200], "logged", "data.values=counts",
    ),
}  # fmt: skip


@pytest.mark.parametrize("made", TWO_READINGS)
def test_two_readings_are_said(counts, made):
    make, kind, way_out = TWO_READINGS[made]
    found = recognise(csr_matrix(make(counts), dtype=np.float32))
    assert (found.kind, found.sure) == (kind, False), found
    text = doubt(found, kind, command_line("c.h5ad"))
    assert text is not None
    assert text.endswith(f"taken as {kind} (else {way_out})")


@pytest.mark.parametrize("base", [csr_matrix.log1p, log2])
@pytest.mark.parametrize("n_genes", [None, 200])
def test_logarithms_of_counts_as_they_are_are_told(counts, base, n_genes):
    """`sc.pp.normalize_total` was forgotten before `sc.pp.log1p`."""
    found = recognise(csr_matrix(base(counts)[:, :n_genes], dtype=np.float32))
    assert (found.kind, found.sure) == ("logged", True), found
    text = doubt(found, "logged", command_line("c.h5ad"))
    assert text is not None
    assert "counts that were not normalized (totals " in text
    assert doubt(found, "counts", command_line("c.h5ad")) is None


def write(x: csr_matrix, path) -> None:
    cells = pd.DataFrame(
        {"kind": [f"k{i % 3}" for i in range(x.shape[0])]},
        index=[f"c{i}" for i in range(x.shape[0])],
    )
    genes = pd.DataFrame(index=[f"g{i}" for i in range(x.shape[1])])
    anndata.AnnData(csr_matrix(x, dtype=np.float32), cells, genes).write_h5ad(path)


def prepared(path, *options: str):
    return load(**compose(["data=file", f"data.path='{path}'", *options]).data.model_dump())


@pytest.mark.parametrize("made", ["CP10k", "CPM", "CP100, shallow", "fractions"])
def test_normalized_values_become_what_their_counts_become(simulated, tmp_path, made):
    write(simulated, tmp_path / "counts.h5ad")
    write(MADE[made][0](simulated), tmp_path / "made.h5ad")
    expected, found = prepared(tmp_path / "counts.h5ad"), prepared(tmp_path / "made.h5ad")
    np.testing.assert_allclose(found.x.toarray(), expected.x.toarray(), rtol=1e-5, atol=1e-6)


LOGARITHMS = {"log2": (2, None), "log10": (10, None), "some genes' log2": (2, 200)}


@pytest.mark.parametrize("name", LOGARITHMS)
def test_logarithms_become_natural(simulated, tmp_path, name):
    base, n_genes = LOGARITHMS[name]
    x = to_total(simulated, 1e4)[:, :n_genes]
    write(changed(x, lambda data: np.log1p(data) / np.log(base)), tmp_path / "made.h5ad")
    found = prepared(tmp_path / "made.h5ad")
    np.testing.assert_allclose(found.x.toarray(), x.log1p().toarray(), rtol=1e-5)
    assert not found.recipe.as_given
    found = prepared(tmp_path / "made.h5ad", "data.values=logged")  # who says so has them as given
    np.testing.assert_allclose(found.x.toarray() * np.log(base), x.log1p().toarray(), rtol=1e-5)
    assert found.recipe.as_given


@pytest.mark.parametrize("options", [[], ["data.values=counts"]])
def test_corrected_counts_are_divided_by_their_totals(simulated, tmp_path, options):
    x = soup(simulated)
    write(x, tmp_path / "c.h5ad")
    found = prepared(tmp_path / "c.h5ad", *options)
    np.testing.assert_allclose(np.expm1(found.x.toarray()).sum(1), 1e4, rtol=1e-4)
    assert found.recipe.values == "counts"
    assert found.counts() is None


def test_corrected_counts_have_no_likelihood_of_counts(simulated, scvae, tmp_path):
    write(soup(simulated), tmp_path / "c.h5ad")
    base = ["train", "data=file", "data.path=c.h5ad", "data.label_key=kind", *TINY[1:]]
    result = scvae(*base, "model=vae", "likelihood=nb", "data.values=counts")
    result.refused(Kind.CONFLICT, "likelihood")
    assert "likelihood=gaussian" in result.error.fix
    result = scvae(*base, "model=pca", "hydra.run.dir=r")
    assert result.code == 0
    assert "warning: c.h5ad: values may be counts that were corrected, or normalized" in result.err
    assert "may be counts that were corrected" in (tmp_path / "r" / "run.json").read_text()
    sweep = scvae("train", "-m", *base[1:], "model=pca", "seed=0,1")
    assert sweep.code == 0
    for run in (tmp_path / "outputs").rglob("run.json"):
        assert "may be counts that were corrected" in run.read_text()


def test_few_cells_are_embedded_as_many_are(simulated, scvae, tmp_path):
    """One cell has one total, whatever it is."""
    fractions = to_total(simulated, 1)
    for name, x in (("c", simulated), ("f", fractions), ("l", to_total(simulated, 1e4).log1p())):
        write(x, tmp_path / f"{name}.h5ad")
    base = ["train", "data=file", "data.path=c.h5ad", "data.label_key=kind", *TINY]
    assert scvae(*base, "hydra.run.dir=r").code == 0
    run = scvae_cli.load(tmp_path / "r")
    own = run.latent.to_numpy()
    for name in "cfl":
        cells = anndata.read_h5ad(tmp_path / f"{name}.h5ad")
        for n in (1, 2, 120):
            np.testing.assert_allclose(run.embed(cells[:n]), own[:n], atol=1e-3, err_msg=name)


def test_where_else_the_counts_are_is_said(simulated, scvae, tmp_path):
    x = to_total(simulated, 1e4).log1p().toarray()
    cells = anndata.AnnData(csr_matrix(x - x.mean(0), dtype=np.float32))
    cells.write_h5ad(tmp_path / "none.h5ad")
    cells.raw = anndata.AnnData(csr_matrix(x, dtype=np.float32))
    cells.write_h5ad(tmp_path / "raw.h5ad")
    cells.layers["scaled"] = cells.X.copy()
    cells.layers["UMIs"] = csr_matrix(simulated, dtype=np.float32)
    cells.write_h5ad(tmp_path / "layer.h5ad")
    for name, *facts in (
        ("none", ""),
        ("raw", "data.raw=true", "logged"),
        ("layer", "data.layer=UMIs", "counts"),
    ):
        result = scvae("data", f"{name}.h5ad")
        result.refused(Kind.CONTENT, "data.path")
        assert all(fact in result.error.fix for fact in facts)
        assert ("data." in result.error.fix) == (name != "none")


def test_variable_genes_of_rare_genes_are_one_line(scvae, tmp_path):
    rng = np.random.default_rng(0)
    x = np.zeros((60, 200))
    for gene in range(200):
        x[rng.choice(60, 1 if gene < 190 else 2, replace=False), gene] = 1
    x[:, 0] = 1
    write(csr_matrix(x), tmp_path / "c.h5ad")
    result = scvae("data", "c.h5ad", "data.genes=50")
    result.refused(Kind.CONTENT, "data.genes")
    assert "data.min_cells=3" in result.error.fix


def test_variable_genes_of_few_genes_are_found_with_a_wider_loess():
    """Thirty genes that vary: too few for the loess at Seurat's span."""
    from scvae_cli.data.preprocess import variable_genes

    rng = np.random.default_rng(0)
    x = np.hstack([rng.poisson(1.0, (60, 30)), np.ones((60, 30))]).astype(np.float32)
    x[0, :30] = x[1, :30] = 0
    cells = anndata.AnnData(csr_matrix(x))
    with pytest.raises(ValueError, match="condition"):
        sc.pp.highly_variable_genes(cells, flavor="seurat_v3", n_top_genes=20, inplace=False)
    found = variable_genes(cells, 20)
    assert len(found) == 20
    assert found.max() < 30
