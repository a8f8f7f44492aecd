"""Batches and covariates: how they are read, what networks make of them, runs that have them."""

import json
from dataclasses import replace
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from conftest import DRAWN, PLAIN, representative
from scipy.sparse import csr_array, csr_matrix
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from test_models import OPTIONS, TRAINED

import scvae_cli
from scvae_cli.analysis.mixing import mixing, totals
from scvae_cli.covariates import covariates
from scvae_cli.data.batches import batches_like, suspects
from scvae_cli.data.preprocess import binomial_deviance, chosen_genes
from scvae_cli.data.sources import load
from scvae_cli.errors import InputError, Kind
from scvae_cli.models.checkpoint import unpack
from scvae_cli.models.condition import batch_effects
from scvae_cli.models.registry import build
from scvae_cli.models.sparse import SparseRows
from scvae_cli.models.train import train

BATCHES = {"donor": np.array(list("abcabcab")), "plate": np.array(list("11112222"))}
NUMBERS = {"age": np.array([20.0, 30, 40, 50, 60, 20, 30, 40])}
TOLD = covariates(BATCHES, NUMBERS)
CPU = torch.device("cpu")
TINY = [
    "data=file", "data.path=c.h5ad", "tsne.perplexity=8", "tsne.max_iter=250", "cluster.n_init=2",
    *PLAIN, "epochs=3", "batch_size=32", "latent_dim=3", "data.label_key=kind",
    "hydra.run.dir=r", "data.batch_key=plate",
]  # fmt: skip


def options(name, **changes):
    return {**OPTIONS[name], "covariates": TOLD, **changes}


def batch(n_genes=40):
    """Eight cells: counts, sparse and dense, their values, and covariates."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.3, (8, n_genes)).astype(np.float32)
    counts[:, 0] += 1
    rows = torch.from_numpy(TOLD.rows(np.arange(8)))
    return SparseRows(csr_array(counts)), torch.from_numpy(counts), rows


def test_columns_are_scikit_learns():
    table = pd.DataFrame(BATCHES)
    one_hot = OneHotEncoder(sparse_output=False).fit_transform(table)
    scaled = StandardScaler().fit_transform(pd.DataFrame(NUMBERS))
    rows = TOLD.rows(np.arange(8))
    np.testing.assert_allclose(rows, np.hstack([one_hot, scaled]), rtol=1e-6)
    np.testing.assert_allclose(TOLD.usual, rows.mean(axis=0), atol=1e-7)
    np.testing.assert_array_equal(TOLD.some(np.array([3, 1])).rows(np.arange(2)), rows[[3, 1]])


def test_numbers_alone_are_columns_too():
    rows = covariates({}, NUMBERS).rows(np.arange(8))
    np.testing.assert_array_equal(rows, TOLD.rows(np.arange(8))[:, -1:])


def test_batches_of_two_columns_are_their_combinations():
    batch, names = TOLD.batches
    expected = [f"{d}, {p}" for d, p in zip(BATCHES["donor"], BATCHES["plate"], strict=True)]
    assert [names[i] for i in batch] == expected


# Networks.

CONDITIONING = [
    {},
    {"encode_covariates": True},
    {"batch_embedding": 2},
    {"batch_embedding": 3, "encode_covariates": True, "dispersion": "gene-batch"},
]


@pytest.mark.parametrize("conditioning", CONDITIONING)
@pytest.mark.parametrize("likelihood", ["gaussian", "poisson", "nb", "zinb"])
@pytest.mark.parametrize("name", TRAINED)
def test_sparse_cells_give_the_same_loss_and_gradients(name, likelihood, conditioning):
    sparse, dense, rows = batch()
    results = []
    for x in (sparse, dense):
        model = build(name, 40, 3, seed=0, **options(name, likelihood=likelihood, **conditioning))
        loss = model.loss(x, torch.Generator().manual_seed(0), x, 1.0, rows).total
        loss.backward()
        results.append(
            [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]
        )
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("name", TRAINED)
def test_the_decoder_is_told_twice(name):
    """Of z and covariates side by side; then of what comes out and covariates side by side."""
    model = build(name, 40, 3, seed=0, **options(name))
    z, rows = torch.randn(8, 3), batch()[2]
    h = model.decoder[:-1](torch.cat([z, rows], 1))
    output = model.decoder[-1]
    expected = torch.cat([h, rows], 1) @ output.weight.T + output.bias
    torch.testing.assert_close(model.decode(z, None, rows), expected)
    usual = torch.from_numpy(TOLD.usual).expand(8, -1)
    torch.testing.assert_close(model.decode(z, None), model.decode(z, None, usual))


@pytest.mark.parametrize("name", TRAINED)
def test_the_encoder_is_told_on_request_only(name):
    x, rows, noise = batch()[1], batch()[2], torch.Generator()
    plain = build(name, 40, 3, seed=0, **options(name))
    torch.testing.assert_close(plain.embed(x, "mean", noise, rows), plain.embed(x, "mean", noise))
    told = build(name, 40, 3, seed=0, **options(name, encode_covariates=True))
    as_input = torch.nn.Linear(40 + rows.shape[1], told.encoder[0].weight.shape[1])
    state = told.state_dict()
    weights = torch.cat([state["encoder.0.weight"].T, state["encode.weight"]], 1)
    as_input.load_state_dict({"weight": weights, "bias": state["encoder.0.bias"]})
    h = told.encoder[1:](as_input(torch.cat([x, rows], 1)))
    torch.testing.assert_close(told._encoded(x, rows), h)


def test_dispersions_of_batches_are_those_of_torch():
    """-log P of each cell by torch.distributions, theta being that of the gene in its batches."""
    name = {"likelihood": "nb", "dispersion": "gene-batch"}
    model = build("vae", 40, 3, seed=0, **options("vae", **name))
    _, counts, rows = batch()
    with torch.no_grad():
        model.likelihood.of_batches.normal_(0, 0.1)
    z = torch.randn(8, 3)
    mu = counts.sum(1, keepdim=True) * (model.decode(z, 1.0, rows).expm1())
    log_theta = 10 * (model.likelihood.dispersion + rows[:, :5] @ model.likelihood.of_batches)
    theirs = torch.distributions.NegativeBinomial(log_theta.exp(), logits=mu.log() - log_theta)
    expected = -theirs.log_prob(counts).sum(1).mean()
    torch.testing.assert_close(
        model._reconstruction(counts, counts, z, rows), expected, rtol=1e-4, atol=0
    )


def cells_of_batches(seed=0):
    """Counts whose rates are those of all cells times factors of donor and of plate."""
    rng = np.random.default_rng(seed)
    donors, plates = rng.integers(0, 3, 3000), rng.integers(0, 2, 3000)
    factors = rng.normal(0, 0.5, (3, 12)), rng.normal(0, 0.5, (2, 12))
    rates = np.exp(rng.normal(0, 1, 12) + factors[0][donors] + factors[1][plates])
    counts = rng.poisson(200 * rates / rates.sum(1, keepdims=True)).astype(np.float32)
    told = covariates({"donor": donors.astype(str), "plate": plates.astype(str)}, {})
    return csr_array(counts), told


def test_effects_of_batches_are_those_that_were_simulated():
    """Of counts, as logs: they explain the genes' shares in each batch."""
    counts, told = cells_of_batches()
    donor, plate = batch_effects(counts, told, of_counts=True)
    log_share = np.log(np.ravel(counts.sum(0)) / counts.sum())
    for i, (d, p) in enumerate(np.unique(told.codes, axis=0)):
        members = counts[told.batches[0] == i]
        shares = np.exp(log_share + donor[d] + plate[p])
        seen = np.ravel(members.sum(0)) / members.sum()
        np.testing.assert_allclose(shares / shares.sum(), seen, rtol=0.05)


def test_effects_of_balanced_batches_are_differences_of_means():
    values = np.random.default_rng(0).normal(size=(8, 5))
    told = covariates({"plate": BATCHES["plate"]}, {})
    (effects,) = batch_effects(values, told, of_counts=False)
    means = [values[BATCHES["plate"] == p].mean(0) - values.mean(0) for p in "12"]
    np.testing.assert_allclose(effects, means, atol=1e-12)


@pytest.mark.parametrize("of_counts", [True, False])
def test_a_batch_of_which_all_cells_are_held_out_has_no_effect(of_counts):
    counts, told = cells_of_batches()
    kept = np.flatnonzero(told.codes[:, 0] != 1)
    rest = covariates({"donor": told.codes[kept, 0].astype(str)}, {})
    donor = replace(
        told.some(kept), keys=("donor",), values=told.values[:1], codes=told.codes[kept, :1]
    )
    (effects,) = batch_effects(counts[kept], donor, of_counts=of_counts)
    (expected,) = batch_effects(counts[kept], rest, of_counts=of_counts)
    np.testing.assert_allclose(effects[[0, 2]], expected)
    assert not effects[1].any()


@pytest.mark.parametrize("embedding", [None, 3])
def test_the_decoder_begins_with_the_effects_of_batches(embedding):
    """Where z and the first layer say nothing, shares are those of the cell's batch."""
    counts, told = cells_of_batches()
    model = build(
        "vae", 12, 3, seed=0, covariates=told,
        **{**OPTIONS["vae"], "likelihood": "nb", "batch_embedding": embedding},
    )  # fmt: skip
    model.begin(counts, counts, told)
    first = [told.batches[0].tolist().index(i) for i in range(6)]
    rows = torch.from_numpy(told.rows(np.array(first)))
    output = model.decoder[-1]
    width = model.condition.width
    logits = (model.condition(rows, 6) @ output.weight[:, -width:].T).detach().numpy()
    expected = sum(
        e[told.codes[first, k]] for k, e in enumerate(batch_effects(counts, told, of_counts=True))
    )
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_a_network_without_covariates_is_as_it_was():
    """The same weights, name by name: runs of before can be read, and repeat."""
    names = set(build("vae", 40, 3, seed=0, **OPTIONS["vae"]).state_dict())
    assert not {n for n in names if "condition" in n or "encode." in n}


# Files.


@pytest.fixture(scope="module")
def counts() -> anndata.AnnData:
    """Ninety cells of three kinds on two plates, whose genes differ in depth."""
    rng = np.random.default_rng(1)
    rates = rng.gamma(0.7, 2.0, (3, 60))
    plates = rng.gamma(2.0, 0.5, (2, 60))
    x = rng.poisson(rates[np.arange(90) % 3] * plates[np.arange(90) // 45]).astype(np.float32)
    x[:, 0] += 1
    obs = pd.DataFrame(index=[f"c{i}" for i in range(90)])
    cells = anndata.AnnData(
        csr_matrix(x), obs, pd.DataFrame(index=[f"GENE{i}" for i in range(60)])
    )
    cells.obs["kind"] = [f"t{i % 3}" for i in range(90)]
    cells.obs["plate"] = [f"p{i // 45}" for i in range(90)]
    cells.obs["number"] = np.arange(90) // 30
    cells.obs["donor"] = pd.Categorical([f"d{i % 5}" for i in range(90)])
    cells.obs["age"] = np.arange(90) % 7 + 0.5
    cells.obs["one"] = "same"
    cells.obs["holes"] = [None if i == 4 else "x" if i % 2 else "y" for i in range(90)]
    cells.obs["rare"] = ["alone" if i == 7 else "rest" for i in range(90)]
    cells.obs["name"] = cells.obs_names
    cells.obs["flat"] = 3.0
    return cells


def read(counts, folder, **changes):
    counts.write_h5ad(folder / "c.h5ad")
    options: dict[str, Any] = {
        "path": str(folder / "c.h5ad"), "label_key": "kind", "labels": None, "unlabelled": [],
        "batch_key": None, "batches": None, "covariates": [], "keep": [], "layer": None,
        "raw": False, "gene_names": None, "transpose": None, "genome": None, "values": "auto",
        "min_genes": 0, "min_cells": 0, "genes": None, "genes_by": "variance", "on_disk": "auto",
        "target_sum": 1e4,
    }  # fmt: skip
    warnings: list[str] = []
    return load(name="file", scale=None, warn=warnings.append, **options | changes), warnings


def test_columns_of_obs_and_a_table(counts, tmp_path):
    cells, _ = read(counts, tmp_path, batch_key=["number", "donor"], covariates=["age"])
    told = cells.covariates
    assert (told.keys, told.values[0]) == (("number", "donor"), ("0", "1", "2"))
    np.testing.assert_allclose(
        told.numbers[:, 0] * told.sd + told.mean, counts.obs["age"], rtol=1e-6
    )
    counts.obs["plate"].to_csv(tmp_path / "b.csv")
    table, _ = read(counts, tmp_path, batches=str(tmp_path / "b.csv"))
    column, _ = read(counts, tmp_path, batch_key=["plate"])
    np.testing.assert_array_equal(table.covariates.codes, column.covariates.codes)


def test_the_fingerprint_tells_batches(counts, tmp_path):
    plain, by_plate, by_donor, with_age = (
        read(counts, tmp_path, **changes)[0].fingerprint()
        for changes in (
            {}, {"batch_key": ["plate"]}, {"batch_key": ["donor"]},
            {"batch_key": ["plate"], "covariates": ["age"]},
        )
    )  # fmt: skip
    assert len({plain, by_plate, by_donor, with_age}) == 4


def test_what_looks_like_batches_is_named(counts, tmp_path):
    _, warnings = read(counts, tmp_path)
    assert "plate (2 values), donor (5 values)" in warnings[-1]
    assert "data.batch_key=plate" in warnings[-1]
    _, warnings = read(counts, tmp_path, batch_key=["plate"])
    assert not [w for w in warnings if "batch_key" in w]
    names = ["sample_id", "Library", "orig.ident", "n_genes", "batch"]
    obs = pd.DataFrame({name: ["a", "b"] * 10 for name in names} | {"donor": range(20)})
    assert suspects(obs, ["batch"]) == ["sample_id", "Library", "orig.ident"]


def test_confounding_is_named(counts, tmp_path):
    own = counts.copy()
    own.obs["plate"] = np.where(own.obs["kind"] == "t2", "p1", own.obs["plate"])
    assert (
        "1 of 3 cell types occur in one batch only (p1): t2"
        in read(own, tmp_path, batch_key=["plate"])[1][-1]
    )
    own.obs["sample"] = own.obs["kind"].astype(str) + "x"
    assert "cannot be told apart" in read(own, tmp_path, batch_key=["sample"])[1][-1]


def test_variable_genes_within_batches_are_scanpys(real_data):
    cells = anndata.read_h5ad(real_data / "mixology/lines3_two_protocols.h5ad")
    cells.X = csr_matrix(cells.X)
    batches = cells.obs["protocol"].to_numpy(dtype=str)
    order = np.argsort(batches, kind="stable")
    theirs = sc.pp.highly_variable_genes(
        cells[order].copy(),
        flavor="seurat_v3",
        n_top_genes=500,
        batch_key="protocol",
        inplace=False,
    )
    ours = chosen_genes(cells, 500, by="variance", batches=batches)
    np.testing.assert_array_equal(ours, np.flatnonzero(theirs["highly_variable"]))
    parts = [csr_array(cells.X[batches == b]) for b in np.unique(batches)]
    sums = sum(binomial_deviance(part) for part in parts)
    ours = chosen_genes(cells, 500, by="deviance", batches=batches)
    assert set(ours) == set(np.argsort(-sums, kind="stable")[:500])


def test_small_batches_have_no_say_in_the_choice_of_genes(counts):
    batches = np.where(np.arange(90) < 3, "tiny", "rest")
    ours = chosen_genes(counts, 20, by="deviance", batches=batches)
    theirs = chosen_genes(counts[3:].copy(), 20, by="deviance")
    np.testing.assert_array_equal(ours, theirs)


BAD = {
    "data.batch_key=nowhere": (Kind.UNKNOWN, "data.batch_key", "no such column"),
    "data.batch_key=one": (Kind.EMPTY, "data.batch_key", "all 90 cells have one value, same"),
    "data.batch_key=holes": (Kind.MISSING, "data.batch_key", "1 of 90 cells, such as c4"),
    "data.batch_key=name": (Kind.VALUE, "data.batch_key", "90 values for 90 cells"),
    "data.batch_key=age": (Kind.VALUE, "data.batch_key", "data.covariates=age takes numbers"),
    "data.batch_key=kind": (Kind.CONFLICT, "data.batch_key", "is data.label_key too"),
    "data.batch_key=[plate,plate]": (Kind.VALUE, "data.batch_key", "is given twice"),
    "data.batches=b.csv": (Kind.CONFLICT, "data.batches", "not both"),
    "data.covariates=donor": (Kind.VALUE, "data.covariates", "data.batch_key=donor takes them"),
    "data.covariates=flat": (Kind.VALUE, "data.covariates", "one value in all cells"),
    "model.dispersion=gene-batch": (Kind.CONFLICT, "model.dispersion", "has no dispersions"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_column_is_one_line(counts, scvae, tmp_path, bad):
    counts.write_h5ad(tmp_path / "c.h5ad")
    kind, key, text = BAD[bad]
    assert text in scvae("train", *TINY, bad).refused(kind, key)
    assert not (tmp_path / "r").exists() or not any((tmp_path / "r").glob("*.csv"))


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ("model.encode_covariates=true", "model.encode_covariates"),
        ("model.batch_embedding=2", "model.batch_embedding"),
        ("model.dispersion=gene-batch", "model.dispersion"),
    ],
)
def test_options_that_would_do_nothing_are_refused(scvae, option, key):
    scvae("train", "data=synthetic", "model=vae", option).refused(Kind.CONFLICT, key)


def test_simulated_batches():
    """Each batch multiplies the genes' rates by its own factors, and own types stay in one."""
    sizes = {"n_cells": 4000, "n_genes": 50, "n_types": 4, "umis": 2000, "umis_sd": 0.1,
             "gene_sd": 0.5, "markers": 0.1, "fold": 4, "seed": 3, "target_sum": 1e4}  # fmt: skip
    batches = {"n_batches": 2, "own_types": 1}
    cells = load(name="synthetic", scale=None, **sizes, **batches, batch_sd=0.5)
    assert cells.covariates.sizes == (2,)
    batch = cells.covariates.codes[:, 0]
    table = pd.crosstab(cells.labels, batch).to_numpy()
    assert (table[:3] > 400).all()
    assert sorted(table[3]) == [0, 1000]
    counts = cells.counts().toarray()
    ratios = [
        np.log(counts[(cells.labels == t) & (batch == 0)].mean(0))
        - np.log(counts[(cells.labels == t) & (batch == 1)].mean(0))
        for t in (0, 1)
    ]
    assert np.corrcoef(*ratios)[0, 1] > 0.98, "the same factors in each type"
    assert 0.5 < ratios[0].std() < 0.95, "sd of the difference of two normals of sd .5 is .71"
    same = load(name="synthetic", scale=None, **sizes, n_batches=1, own_types=0, batch_sd=0.5)
    assert same.covariates is None


# Runs.


@pytest.mark.parametrize(
    "settings",
    representative([
        ["model=vsc", "ensemble=2", "data.covariates=age", "model.encode_covariates=true"],
        ["model=ae", "likelihood=zinb", "model.dispersion=gene-batch", "model.batch_embedding=2",
         "data.batch_key=[plate,donor]", "validation=molecules", "patience=2"],
        ["model=vae", "likelihood=nb"],
        ["model=pca", "data.genes=20"],
        ["model=vsc_uai", "validation=cells", "patience=1", "data.batch_key=rare"],
    ], 2),
)  # fmt: skip
def test_a_run_embeds_its_own_cells_again(counts, scvae, tmp_path, settings):
    counts.write_h5ad(tmp_path / "c.h5ad")
    result = scvae("train", *TINY, *settings)
    assert result.code == 0, result.err
    run = scvae_cli.load(tmp_path / "r")
    np.testing.assert_allclose(run.embed(counts), run.latent, rtol=1e-4, atol=1e-5)
    batches = json.loads((tmp_path / "r" / "run.json").read_text())["data"]["batches"]
    key = next(iter(batches))
    assert batches[key] == counts.obs[key].value_counts().sort_index().to_dict()
    assert scvae("verify", "r").code == 0


def test_a_run_scores_how_well_batches_mix(counts, scvae, tmp_path):
    """By `analysis.mixing`, with NMI and ARI of k-means, in scores.json and on the terminal."""
    counts.write_h5ad(tmp_path / "c.h5ad")
    result = scvae("train", *TINY, *DRAWN, "model=pca")
    scores = json.loads((tmp_path / "r" / "scores.json").read_text())
    run = scvae_cli.load(tmp_path / "r")
    plates = (counts.obs["plate"] == "p1").to_numpy().astype(int)
    kinds = counts.obs["kind"].str[1:].astype(int).to_numpy()
    found = mixing(run.latent.to_numpy(), plates, kinds, seed=0)
    ours = scores["latent"]
    assert ours["ilisi"] == pytest.approx(found.ilisi)
    total = totals(found, nmi=ours["nmi"], ari=ours["ari"])
    assert ours["overall"] == pytest.approx(total.overall)
    assert set(scores["tsne"]) == set(ours) > {"kbet", "clisi", "batch_correction"}
    head, row = [line for line in result.out.splitlines() if "iLISI" in line or "latent" in line][
        1:
    ]
    assert head.split() == ["batches", "in", "iLISI", "kBET", "batch", "bio", "total"]
    assert row.split()[-1] == f"{total.overall:.3f}"
    assert row.split() in [line.split() for line in scvae("show", "r").out.splitlines()]


def test_runs_with_batches_are_compared_by_their_scores(counts, scvae, tmp_path):
    counts.write_h5ad(tmp_path / "c.h5ad")
    words = [w for w in TINY if not w.startswith("hydra.run")]
    result = scvae("train", "-m", *words, "model=pca,vae", "seed=0,1,2", "hydra.sweep.dir=s")
    assert result.code == 0, result.err
    assert "latent batch" in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    table = pd.read_csv(tmp_path / "s" / "results.csv")
    assert table["latent_overall"].notna().all()
    compared = scvae("compare", "s", "--score", "latent_overall", "--to", "c")
    assert compared.code == 0, compared.err
    assert "Highest overall" in compared.err


def test_cells_without_types_mix_too(counts, scvae, tmp_path):
    counts.write_h5ad(tmp_path / "c.h5ad")
    words = [w for w in TINY if not w.startswith("data.label_key")]
    assert scvae("train", *words, *DRAWN, "model=pca", "cluster.n_clusters=3").code == 0
    scores = json.loads((tmp_path / "r" / "scores.json").read_text())
    assert set(scores["latent"]) == {"silhouette", "ilisi"}


def test_cells_of_new_batches(counts, scvae, tmp_path):
    """Without covariates the encoder needs none; with them, it must know the batch."""
    counts.write_h5ad(tmp_path / "c.h5ad")
    new = counts[:30].copy()
    new.obs["plate"] = "p9"
    new.write_h5ad(tmp_path / "new.h5ad")
    assert scvae("train", *TINY, "model=vae").code == 0
    assert scvae("embed", "r", "new.h5ad", "--to", "plain.csv").code == 0
    again = pd.read_csv(tmp_path / "plain.csv", index_col="cell")
    run = scvae_cli.load(tmp_path / "r")
    np.testing.assert_allclose(again, run.latent[:30], rtol=1e-4, atol=1e-5)
    told = [*TINY, "model=vae", "model.encode_covariates=true", "hydra.run.dir=e"]
    assert scvae("train", *told).code == 0
    text = scvae("embed", "e", "new.h5ad", "--to", "e.csv").refused(Kind.UNKNOWN, "data.path")
    assert "plate p9 is no batch of the run (p0, p1)" in text
    assert not (tmp_path / "e.csv").exists()
    with pytest.raises(InputError, match="told of plate"):
        scvae_cli.load(tmp_path / "e").embed(anndata.AnnData(new.X, var=new.var))


@pytest.mark.parametrize(
    "settings",
    representative(
        [["model=vae", "likelihood=nb", "data.batch_key=[plate,donor]"], ["model=pca"]], 1
    ),
)
def test_a_run_aligns_and_embeds_alike(counts, scvae, tmp_path, settings):
    """Its own cells get their places again; of another batch, or of none named, unmoved ones."""
    counts.write_h5ad(tmp_path / "c.h5ad")
    words = [*TINY, *settings, "hydra.run.dir=a"]
    assert scvae("train", *words, "embedding=aligned").code == 0
    assert scvae("train", *words, "embedding=decoded", "trained=a", "hydra.run.dir=d").code == 0
    aligned, decoded = (scvae_cli.load(tmp_path / name) for name in "ad")
    said: list[str] = []
    np.testing.assert_allclose(
        aligned.embed(counts, say=said.append), aligned.latent, rtol=1e-4, atol=1e-4
    )
    assert not any("aligned" in line for line in said)
    assert np.abs(aligned.latent - decoded.latent).to_numpy().max() > 0.01
    other = counts.copy()
    other.obs["plate"] = ["p0"] * 5 + ["p9"] * (len(other) - 5)
    places = aligned.embed(other, say=said.append)
    assert any(f"{len(other) - 5} of {len(other)} cells are of no batch" in line for line in said)
    np.testing.assert_allclose(places[5:], decoded.latent[5:], rtol=1e-4, atol=1e-4)
    bare = counts.copy()
    bare.obs = bare.obs[[]]
    np.testing.assert_allclose(
        aligned.embed(bare, say=said.append), decoded.latent, rtol=1e-4, atol=1e-4
    )
    assert "obs has no plate" in said[-1]
    verified = scvae("verify", "a")
    assert verified.code == 0
    assert "shifts.csv" in verified.out
    path = tmp_path / "a" / "shifts.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(InputError, match="damaged"):
        scvae_cli.load(tmp_path / "a")


def test_names_of_batches_that_are_numbers():
    """As they are read: 1.0 is batch 1, also beside missing values; 0.5 is none."""
    run = covariates({"plate": np.array(["1", "2", "2"]), "donor": np.array(["x", "x", "y"])}, {})
    obs = pd.DataFrame({"plate": [2.0, np.nan, 0.5, 1.0], "donor": ["x", "x", "x", "y"]})
    said: list[str] = []
    names = run.batches[1]
    assert names == ("1, x", "2, x", "2, y")
    assert batches_like(obs, run, names, said.append).tolist() == [1, -1, -1, -1]
    whole = obs.drop(index=2).astype("category")
    assert batches_like(whole, run, names, lambda text: None).tolist() == [1, -1, -1]
    assert said[0].startswith("3 of 4 cells are of no batch of the run (nan, x)")
    assert batches_like(obs[["plate"]], run, names, said.append).tolist() == [-1] * 4
    assert said[1].startswith("obs has no donor")


def test_cells_without_batches_are_not_aligned(counts, scvae, tmp_path):
    counts.write_h5ad(tmp_path / "c.h5ad")
    words = [w for w in TINY if not w.startswith("data.batch_key")]
    result = scvae("train", *words, "model=vae", "embedding=aligned")
    assert "give data.batch_key=COLUMN" in result.refused(Kind.CONFLICT, "embedding")
    assert not (tmp_path / "r").exists()


def test_batches_of_a_damaged_record(counts, scvae, tmp_path):
    counts.write_h5ad(tmp_path / "c.h5ad")
    assert scvae("train", *TINY, "model=vae", "epochs=1").code == 0
    scvae_cli.load(tmp_path / "r")
    path = tmp_path / "r" / "run.json"
    record = json.loads(path.read_text())
    for damage in ({"plate": 3}, [1], "x", {"plate": {"p0": 1}}):
        record["data"]["batches"] = damage
        path.write_text(json.dumps(record))
        with pytest.raises(InputError):
            scvae_cli.load(tmp_path / "r")


def test_from_every_checkpoint_the_end_is_the_same():
    counts, told = cells_of_batches()
    x = csr_array(counts.log1p())
    how: dict[str, Any] = {
        "epochs": 2, "batch_size": 1000, "lr": 1e-3, "batch_seed": 0, "noise_seed": 1,
        "device": CPU, "on_epoch": lambda row: None, "counts": counts, "covariates": told,
    }  # fmt: skip

    def fresh():
        words = {"likelihood": "nb", "dispersion": "gene-batch", "encode_covariates": True}
        model = build("vsc", 12, 3, seed=0, covariates=told, **{**OPTIONS["vsc"], **words})
        model.begin(x, counts, told)
        return model

    kept: list[bytes] = []
    whole = fresh()
    train(whole, x, keep=lambda *state: kept.append(state[2]().pack()), **how)
    assert len(kept) > 6
    for contents in kept[::3]:
        other = fresh()
        train(other, x, start=unpack(contents), **how)
        for name, weights in whole.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], weights, rtol=0, atol=0)


def test_pages_have_the_scores_of_batches_in_a_table_of_their_own(counts, scvae, tmp_path):
    counts.write_h5ad(tmp_path / "c.h5ad")
    assert scvae("train", *TINY, "model=pca").code == 0
    page = (tmp_path / "r" / "report.html").read_text()
    assert "<h2>Batches</h2>" in page
    assert "graph connectivity" in page
    words = [w for w in TINY if not w.startswith(("hydra.run", "data.batch_key"))]
    assert scvae("train", *words, "model=pca", "hydra.run.dir=plain").code == 0
    assert "<h2>Batches</h2>" not in (tmp_path / "plain" / "report.html").read_text()
