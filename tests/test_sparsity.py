"""Gates, traversals and their tables, against matrices, definitions and markers that are known."""

from io import BytesIO

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import DRAWN, FAST, options_of
from matplotlib.image import imread
from torch import nn

from scvae_cli.analysis.sparsity import (
    Gates,
    by_type,
    gated_steps,
    infer_gates,
    percentile_steps,
    points,
    top_genes,
    traverse,
)
from scvae_cli.data.sources import load
from scvae_cli.models.linear import PCA
from scvae_cli.models.registry import build
from scvae_cli.models.train import train
from scvae_cli.results.figures.sparsity import MINUS, programme_map, programmes
from scvae_cli.results.figures.style import DPI, PAGE, render

CPU = torch.device("cpu")
GENES = np.array([f"g{i}" for i in range(6)])
RNG = np.random.default_rng(0)


def small(name: str, **options):
    """A model of six genes and two latents."""
    narrow = {"encoder": [4], "branch": None, "decoder": [3], "first_activation": "relu"}
    shared = options_of(name, beta=1.0, **narrow) if name != "ae" else {}
    if name == "vsc":
        shared["gate"] = "sigmoid"
    return build(name, 6, 2, seed=0, **{**shared, **options})


def linear(model, matrix: np.ndarray, bias: np.ndarray):
    """The model, its decoder z @ matrix + bias."""
    layer = nn.Linear(*matrix.shape)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(matrix.T))
        layer.bias.copy_(torch.from_numpy(bias))
    model.decoder = nn.Sequential(layer)
    return model


def four_kinds() -> Gates:
    """Forty B cells (z1 on, at 2), forty NK cells (z1 on, at -1), twenty others, nine with z2."""
    gamma, mu = np.full((109, 2), 0.01), np.full((109, 2), 7.0)
    gamma[:80, 0] = 0.9
    mu[:40, 0], mu[40:80, 0] = 2.0, -1.0
    gamma[100:, 1] = 0.9
    return Gates(gamma, mu)


KINDS = np.repeat([0, 1, 2], [40, 40, 29])


@pytest.mark.parametrize("gate", ["relu", "sigmoid"])
def test_gates_are_those_of_the_definition(gate):
    model = small("vsc", gate=gate)
    x = RNG.normal(size=(20, 6)).astype(np.float32)
    found = infer_gates(model, x, batch_size=7, device=CPU)
    w, b = (p.detach().numpy() for p in (model.encoder[0].weight, model.encoder[0].bias))
    h = np.maximum(x @ w + b, 0)
    v, mu = (
        h @ head.weight.detach().numpy().T + head.bias.detach().numpy()
        for head in (model.gate, model.mu)
    )
    gamma = 1 / (1 + np.exp(-v)) if gate == "sigmoid" else np.exp(-np.maximum(-v, 0))
    np.testing.assert_allclose(found.gamma, gamma, rtol=1e-5)
    np.testing.assert_allclose(found.mu, mu, rtol=1e-4, atol=1e-6)


def test_shares_by_type_are_those_of_a_count():
    table = by_type(four_kinds(), labels=KINDS, cell_types=["B", "NK", "rest"])
    assert table["latent"].tolist() == ["z1"] * 3 + ["z2"] * 3
    table = table.set_index(["latent", "cell_type"])
    assert table["n_cells"].tolist() == [40, 40, 29] * 2
    assert table.loc[("z1", "B"), ["on", "positive", "negative"]].tolist() == [1, 1, 0]
    assert table.loc[("z1", "NK"), ["on", "positive", "negative"]].tolist() == [1, 0, 1]
    assert table.loc[("z1", "rest"), "on"] == 0
    assert table.loc[("z2", "rest"), "positive"] == pytest.approx(9 / 29)
    assert table.loc[("z2", "rest"), "gamma"] == pytest.approx((9 * 0.9 + 20 * 0.01) / 29)
    assert four_kinds().n_on == pytest.approx(89 / 109)


def test_signs_do_not_cancel_and_a_few_cells_make_no_step():
    """The mean over both signs is .5, where no cell is; z2 is on in nine cells alone."""
    steps = gated_steps(four_kinds())
    assert steps.to_numpy().tolist() == [[0, "positive", 0, 2.0], [0, "negative", 0, -1.0]]


def test_a_typical_value_is_weighted_by_gamma():
    gamma, mu = np.full((20, 1), 0.6), np.full((20, 1), 1.0)
    gamma[10:], mu[10:] = 0.9, 3.0
    assert gated_steps(Gates(gamma, mu))["end"].tolist() == pytest.approx([(0.6 + 2.7) / 1.5])


def test_effects_of_a_known_matrix():
    matrix, bias = RNG.normal(size=(2, 6)), RNG.normal(size=6)
    model = linear(small("vsc"), matrix, bias)
    steps = gated_steps(four_kinds())
    at = points(steps, centre=np.array([0.3, -2.0]))
    assert [place.tolist() for place in at] == [
        [[0, -2], [0, -2]], [[2, -2], [-1, -2]],
    ]  # fmt: skip
    effects = traverse(model, *at, target_sum=None, sd=None, device=CPU)
    np.testing.assert_allclose(effects, [2 * matrix[0], -matrix[0]], atol=1e-5)
    sd = np.arange(1.0, 7.0)
    scaled = traverse(model, *at, target_sum=None, sd=sd, device=CPU)
    np.testing.assert_allclose(scaled, effects * sd, rtol=1e-6)


@pytest.mark.parametrize("likelihood", ["poisson", "nb", "zinb"])
def test_effects_on_counts_are_of_their_logarithms(likelihood):
    """Gene 0 has a tenth of the counts, and 2/11 of them when z1 doubles its odds."""
    matrix = np.zeros((2, 6))
    matrix[0, 0] = np.log(2)
    share = np.array([0.1, 0.3, 0.2, 0.2, 0.1, 0.1])
    model = linear(small("vsc", likelihood=likelihood), matrix, np.log(share))
    steps = pd.DataFrame({"latent": [0], "sign": ["positive"], "start": [0.0], "end": [1.0]})
    at = points(steps, centre=np.zeros(2))
    (effect,) = traverse(model, *at, target_sum=1e4, sd=None, device=CPU)
    after = np.array([2, 3, 2, 2, 1, 1]) / 11
    np.testing.assert_allclose(effect, np.log1p(1e4 * after) - np.log1p(1e4 * share), atol=1e-4)
    assert effect[0] > 0 > effect[1]


@pytest.mark.parametrize("name", ["vae", "pca"])
def test_a_latent_that_is_never_off_goes_from_the_median(name):
    latent = np.column_stack([np.arange(101.0), -np.arange(101.0)])
    steps = percentile_steps(latent)
    assert steps[["start", "end"]].to_numpy().tolist() == [
        [50, 95], [50, 5], [-50, -5], [-50, -95],
    ]  # fmt: skip
    matrix = RNG.normal(size=(2, 6)).astype(np.float32)
    if name == "pca":
        model = PCA(6, 2)
        model.components.copy_(torch.from_numpy(matrix))
    else:
        model = linear(small("vae"), matrix, np.zeros(6))
    at = points(steps, centre=latent.mean(0))
    effects = traverse(model, *at, target_sum=None, sd=None, device=CPU)
    expected = np.array([45 * matrix[0], -45 * matrix[0], 45 * matrix[1], -45 * matrix[1]])
    np.testing.assert_allclose(effects, expected, atol=1e-3)


def test_top_genes_are_ranked_by_their_effect():
    steps = gated_steps(four_kinds())
    effects = np.array([[0.1, 3, -2, 0, 1, -5], [0, 0, 0, 0, 0, 1]])
    table = top_genes(steps, effects, genes=GENES, n_top=2)
    first = table[table["sign"] == "positive"]
    assert first["gene"].tolist() == ["g1", "g4", "g5", "g2"]
    assert first["effect"].tolist() == [3, 1, -5, -2]
    assert first["change"].tolist() == ["raised"] * 2 + ["lowered"] * 2
    assert first["rank"].tolist() == [1, 2, 1, 2]
    assert (first["latent"] == "z1").all()
    assert table[table["sign"] == "negative"]["gene"].tolist() == ["g5"]
    every = top_genes(steps, effects, genes=GENES, n_top=20)
    assert len(every) == 5 + 1  # a gene that does not change is neither raised nor lowered
    assert ((every["effect"] > 0) == (every["change"] == "raised")).all()


def test_a_latent_that_lowers_genes_only_has_its_rows_in_the_figure():
    found = four_kinds()
    steps = gated_steps(found)
    table = top_genes(steps, -np.ones((len(steps), 6)), genes=GENES, n_top=2)
    latents = by_type(found, labels=np.zeros(len(found.mu), int), cell_types=["a"])
    rows, genes = programmes(latents, table)
    assert [*rows][:2] == ["z1 +", f"z1 {MINUS}"]
    assert genes[:2] == ["(none by 0.1)"] * 2


def test_where_no_latent_is_on_there_are_no_top_genes():
    steps = gated_steps(Gates(np.zeros((30, 2)), np.ones((30, 2))))
    at = points(steps, centre=np.zeros(2))
    effects = traverse(small("vsc"), *at, target_sum=None, sd=None, device=CPU)
    table = top_genes(steps, effects, genes=GENES, n_top=20)
    assert (len(table), "gene" in table) == (0, True)


@pytest.mark.parametrize(("n_latent", "n_types", "word"), [(2, 1, "a"), (30, 15, "long name ")])
@pytest.mark.parametrize("on", [0.0, 1.0])
def test_nothing_in_the_figure_is_cut(n_latent, n_types, word, on):
    """Its border is white; and a row a sign, or a row a latent where none is on."""
    labels = np.arange(300) % n_types
    found = Gates(np.full((300, n_latent), on), RNG.normal(size=(300, n_latent)))
    steps = gated_steps(found)
    effects = RNG.normal(size=(len(steps), 6))
    tables = (
        by_type(found, labels=labels, cell_types=[f"{word * 5}{i}" for i in range(n_types)]),
        top_genes(steps, effects, genes=np.array([word * 8 + gene for gene in GENES]), n_top=5),
    )
    picture = imread(BytesIO(render(programme_map(*tables, "title"))))[:, :, :3]
    edges = picture[0], picture[-1], picture[:, 0], picture[:, -1]
    assert all((edge == 1).all() for edge in edges)
    assert len(programmes(*tables)[0]) == n_latent * (2 if on else 1)
    assert picture.shape[1] == round(PAGE * DPI)


SIMULATED = {
    "name": "synthetic", "scale": None, "n_cells": 500, "n_genes": 300, "n_types": 4,
    "umis": 400.0, "umis_sd": 0.3, "gene_sd": 1.0, "markers": 0.1, "fold": 5.0, "seed": 0,
    "n_batches": 1, "batch_sd": 0.5, "own_types": 0,
    "target_sum": 1e4,
}  # fmt: skip


def simulated_markers() -> list[set[str]]:
    """The genes that each type raises, drawn again as `data.synthetic` draws them."""
    rng = np.random.default_rng(SIMULATED["seed"])
    rng.normal(0.0, 1.0, 300)
    drawn = [rng.choice(300, 30, replace=False) for _ in range(4)]
    return [{f"gene_{i + 1:03d}" for i in genes} for genes in drawn]


def test_latents_of_one_type_raise_the_markers_that_were_simulated():
    dataset = load(**SIMULATED)
    torch.set_num_threads(1)  # a model so small gains nothing from more
    model = build(
        "vsc", 300, 4, seed=2, beta=1.0, encoder=[64], branch=None, sigma="log_sigma",
        decoder=[64], first_activation="relu", likelihood="nb", c=50.0, c_end=None, alpha=0.5,
        gate="sigmoid", spike_warmup=0.0,
    )  # fmt: skip
    train(
        model, dataset.x, epochs=80, batch_size=64, lr=0.003, batch_seed=0, noise_seed=0,
        device=CPU, on_epoch=lambda row: None, counts=dataset.counts(),
    )  # fmt: skip
    found = infer_gates(model, dataset.x, batch_size=256, device=CPU)
    steps = gated_steps(found)
    at = points(steps, centre=found.centre)
    effects = traverse(model, *at, target_sum=1e4, sd=None, device=CPU)
    driven = top_genes(steps, effects, genes=dataset.genes, n_top=15)
    latents = by_type(found, labels=dataset.labels, cell_types=dataset.cell_types)
    marked = set()
    for (latent, sign), top in driven[driven["change"] == "raised"].groupby(["latent", "sign"]):
        shares = latents.loc[latents["latent"] == latent, sign].to_numpy()
        if shares.max() > 0.9 and np.sort(shares)[-2] < 0.3:
            right = [np.mean(top["gene"].isin(genes)) for genes in simulated_markers()]
            assert right[shares.argmax()] > 0.6  # a tenth of all genes are
            assert right[shares.argmin()] < 0.3
            marked.add(shares.argmax())
    # All four with this seed, here; with some, or where a processor rounds otherwise, fewer
    # latents are of one type alone, and there is less to test.
    assert len(marked) >= 2


def test_tables_come_out_again(scvae, tmp_path):
    base = [*FAST, *DRAWN, "model=vsc"]
    assert scvae("train", *base, "hydra.run.dir=a").code == 0
    files = ["latents.csv", "drivers.csv", "figures/sparsity.png"]
    before = {name: (tmp_path / "a" / name).read_bytes() for name in files}
    assert scvae("train", *base, "trained=a", "hydra.run.dir=b").code == 0
    for name in files:
        assert (tmp_path / "b" / name).read_bytes() == before[name]
        (tmp_path / "a" / name).write_bytes(b"damaged")
    assert scvae("train", "resume=a").code == 0
    assert {name: (tmp_path / "a" / name).read_bytes() for name in files} == before
    result = scvae("verify", "a")
    assert result.code == 0, result.err
    assert "drivers.csv" in result.out
    assert "latents.csv" in result.out
    page = (tmp_path / "a" / "report.html").read_text()
    assert "Latents on by cell type, and the genes that they raise" in page


def test_cells_without_types_and_models_without_gates(scvae, tmp_path):
    counts = np.random.default_rng(0).poisson(1.0, (300, 20)).astype(np.float32)
    anndata.AnnData(counts).write_h5ad(tmp_path / "cells.h5ad")
    base = [
        *(setting for setting in FAST if not setting.startswith("data")), *DRAWN,
        "data=file", "data.path=cells.h5ad", "cluster.n_clusters=3",
    ]  # fmt: skip
    for model in ("vsc", "vae"):
        result = scvae("train", *base, f"model={model}", f"hydra.run.dir={model}")
        assert result.code == 0, result.err
    latents = pd.read_csv(tmp_path / "vsc" / "latents.csv")
    assert (latents["n_cells"] == 300).all()
    assert latents["latent"].tolist() == [f"z{i}" for i in range(1, 7)]
    assert not (tmp_path / "vae" / "latents.csv").exists()
    assert not (tmp_path / "vae" / "figures" / "sparsity.png").exists()
