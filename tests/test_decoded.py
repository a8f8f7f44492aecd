"""Cells placed by what a network decodes of them: against scikit-learn, and in whole runs."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from conftest import SMALL, options_of
from scipy.sparse import csr_matrix
from sklearn.decomposition import PCA

import scvae_cli
from scvae_cli.analysis.decoded import Axes, find_axes, project
from scvae_cli.covariates import as_of, covariates
from scvae_cli.data import alike
from scvae_cli.errors import InputError, Kind, RunError
from scvae_cli.models.registry import build


def model(likelihood="nb"):
    return build("vae", 30, 4, seed=0, **options_of("vae", likelihood=likelihood))


@pytest.mark.parametrize("rooted", [True, False])
def test_axes_are_scikit_learns_of_decoded_rates(rooted):
    z = np.random.default_rng(0).normal(size=(700, 4)).astype(np.float32)
    network = model()
    with torch.no_grad():
        values = network.decode(torch.from_numpy(z), 1e4).numpy()
    values = np.sqrt(np.expm1(values)) if rooted else values
    theirs = PCA(3, svd_solver="full").fit_transform(values)
    axes = find_axes(network, z, 3, target_sum=1e4, rooted=rooted, seed=0)
    ours = project(network, z, axes, target_sum=1e4, rooted=rooted)
    signs = np.sign((ours * theirs).sum(0))
    np.testing.assert_allclose(ours * signs, theirs, atol=1e-3 * np.abs(theirs).max())


def test_axes_are_read_as_they_were_written(tmp_path):
    network = model()
    z = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    axes = find_axes(network, z, 2, target_sum=1e4, rooted=True, seed=0)
    axes.table(np.array([f"g{i}" for i in range(30)])).to_csv(tmp_path / "a.csv", index=False)
    again = Axes.of(pd.read_csv(tmp_path / "a.csv"))
    for ours, theirs in zip(again, axes, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("z", "kind"), [(0.0, Kind.COLLAPSED), (1e30, Kind.DIVERGED)])
def test_what_has_no_axes_is_refused(z, kind):
    places = np.full((50, 4), z, np.float32) * np.random.default_rng(0).normal(size=(50, 4))
    network = build("ae", 30, 4, seed=0, **options_of("ae"))
    with pytest.raises(RunError) as caught:
        find_axes(network, places, 2, target_sum=1e4, rooted=True, seed=0)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "settings",
    [["model=vae", "likelihood=nb"], pytest.param(["model=vsc"], marks=pytest.mark.slow),
     ["model=ae", "ensemble=2"], ["model=vae", "data.scale=10"]],
)  # fmt: skip
def test_a_run_on_decoded_axes(scvae, tmp_path, settings):
    """Its cells have as many coordinates as latents; it verifies, and others are placed alike."""
    words = [*SMALL, "epochs=4", "h5ad=true", "embedding=decoded"]
    result = scvae("train", *words, *settings, "hydra.run.dir=r")
    assert result.code == 0, result.err
    run = scvae_cli.load(tmp_path / "r")
    assert run.latent.shape == (300, 6)
    assert list(run.run.table("axes"))[:3] == ["gene", "mean", "z1"]
    spread = run.latent.to_numpy().var(0)
    assert (np.diff(spread) < 1e-6).all(), "principal components, the largest first"
    assert scvae("verify", "r").code == 0
    if "data.scale=10" not in settings:
        assert scvae("embed", "r", "r/cells.h5ad", "--to", "again.csv").code == 0
        again = pd.read_csv(tmp_path / "again.csv", index_col="cell")
        np.testing.assert_allclose(again, run.latent, rtol=1e-3, atol=1e-3)
    path = tmp_path / "r" / "axes.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(InputError, match="damaged"):
        scvae_cli.load(tmp_path / "r")


def test_the_model_of_another_embedding_is_taken(scvae, tmp_path):
    words = [*SMALL, "epochs=2", "model=vae"]
    assert scvae("train", *words, "hydra.run.dir=first").code == 0
    result = scvae("train", *words, "trained=first", "embedding=decoded", "hydra.run.dir=second")
    assert result.code == 0, result.err
    first, second = (
        (tmp_path / n / "model.safetensors").read_bytes() for n in ("first", "second")
    )
    assert first == second


def test_linear_models_lie_on_their_own_components(scvae, tmp_path):
    words = [*SMALL, "model=pca"]
    assert scvae("train", *words, "hydra.run.dir=mean").code == 0
    assert scvae("train", *words, "embedding=decoded", "hydra.run.dir=decoded").code == 0
    mean, decoded = ((tmp_path / n / "latent.csv").read_bytes() for n in ("mean", "decoded"))
    assert mean == decoded


def log_normalized(cells: anndata.AnnData) -> np.ndarray:
    cells = cells.copy()
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    return cells.X.toarray()


@pytest.fixture(scope="module")
def drawn() -> tuple[anndata.AnnData, np.ndarray]:
    """Counts of three types of cells in two batches, and the shares that they were drawn from."""
    rng = np.random.default_rng(0)
    of_type, of_batch = rng.gamma(1.0, 1.0, (3, 60)), rng.gamma(20.0, 0.05, (2, 60))
    types, batch = np.arange(400) % 3, np.arange(400) // 3 % 2
    rates = of_type[types] * of_batch[batch]
    shares = rates / rates.sum(1, keepdims=True)
    counts = rng.poisson(shares * 150).astype(np.float32)
    obs = pd.DataFrame({"part": np.array(["a", "b"])[batch], "n": rng.normal(size=400)})
    obs.index = [f"cell {i}" for i in range(400)]
    var = pd.DataFrame(index=[f"gene {i}" for i in range(60)])
    return anndata.AnnData(csr_matrix(counts), obs, var), shares


def distance(values: np.ndarray, shares: np.ndarray) -> float:
    return float(np.sqrt(np.mean((np.expm1(values) / 1e4 - shares) ** 2)))


@pytest.mark.filterwarnings("ignore:.*latent features tell nothing")  # three types are few
@pytest.mark.parametrize("ensemble", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_what_is_decoded_is_nearer_to_the_truth_than_what_was_counted(
    drawn, ensemble, monkeypatch
):
    cells, shares = drawn
    how = {"model": "vae", "likelihood": "nb", "updates": 400, "batch_size": 100, "lr": 0.005}
    run = scvae_cli.fit(cells, inplace=False, latent_dim=3, ensemble=ensemble, **how)
    decoded = run.decode(cells)
    assert decoded.shape == shares.shape
    assert decoded.to_numpy().dtype == np.float32
    assert list(decoded.index) == list(cells.obs_names)
    assert distance(decoded, shares) < 0.7 * distance(log_normalized(cells), shares)
    some = run.decode(cells[:7], genes=["gene 9", "gene 2"])
    np.testing.assert_allclose(some, decoded.loc[some.index, ["gene 9", "gene 2"]], rtol=1e-4)
    assert list(run.decode(cells[:7], genes="gene 9")) == ["gene 9"]
    with pytest.raises(InputError, match=r"genes=gene 99: no such gene.*did you mean gene 9\?"):
        run.decode(cells, genes=["gene 9", "gene 99"])
    run.genes.loc[3, "used"] = False
    with pytest.raises(InputError, match=r"genes=gene 3: is not one of .*; train with more data"):
        run.decode(cells, genes=["gene 3"])
    run.genes.loc[3, "used"] = True
    with pytest.raises(InputError, match="was not told of batches; leave it out"):
        run.decode(cells, batch="a")
    monkeypatch.setattr(alike, "free_memory", lambda: 4.0 * 400 * 59)
    assert run.decode(cells, genes=list(cells.var_names[1:])).shape == (400, 59)
    with pytest.raises(InputError, match=r"400 cells x 60 genes need .*; name fewer genes"):
        run.decode(cells)


@pytest.mark.filterwarnings("ignore:.*latent features tell nothing")  # three types are few
def test_cells_are_decoded_as_of_a_batch(drawn):
    """The two batches differ as the shares do from which the counts were drawn."""
    cells, shares = drawn
    how = {"model": "vae", "likelihood": "nb", "updates": 400, "batch_size": 100, "lr": 0.005}
    settings = {"data.covariates": ["n"]}
    keys = {"batch_key": "part", "latent_dim": 3, "settings": settings}
    run = scvae_cli.fit(cells, inplace=False, **keys, **how)
    decoded = {name: run.decode(cells, batch=name) for name in "ab"}
    for name, values in decoded.items():
        own = (cells.obs["part"] == name).to_numpy()
        assert distance(values[own], shares[own]) < 0.3 * distance(values[~own], shares[~own])
    low, usual, high = (
        v.mean().to_numpy() for v in (decoded["a"], run.decode(cells), decoded["b"])
    )
    apart = np.abs(high - low) > 0.3
    assert apart.sum() > 10
    assert (np.abs((usual - low) / (high - low) - 0.5)[apart] < 0.4).all()
    pd.testing.assert_frame_equal(run.decode(cells, batch={"part": "b"}), decoded["b"])
    with pytest.raises(InputError, match=r"part=c: no such choice \(there are a, b\)"):
        run.decode(cells, batch="c")
    with pytest.raises(InputError, match=r"value for each of part; give \{'part': \.\.\.\}"):
        run.decode(cells, batch={"donor": "b"})


def test_batches_may_be_numbers_and_of_several_columns():
    told = covariates({"plate": np.array(["1", "2", "2"]), "donor": np.array(["a", "b", "a"])}, {})
    row = as_of(told, {"donor": "b", "plate": 2})
    np.testing.assert_array_equal(row, told.rows(np.array([1]))[0])
    one = covariates({"plate": np.array(["1", "2", "2"])}, {"age": np.array([1.0, 2.0, 6.0])})
    np.testing.assert_array_equal(as_of(one, 2), [0, 1, 0])  # at the mean age
    with pytest.raises(InputError, match="must have a value for each of plate, donor"):
        as_of(told, "2")


@pytest.mark.parametrize("scale", [None, 10.0])
def test_a_linear_model_decodes_what_scikit_learn_does(drawn, scale):
    cells, _ = drawn
    settings = {"data.scale": scale}
    run = scvae_cli.fit(cells, inplace=False, model="pca", latent_dim=5, settings=settings)
    values = log_normalized(cells)
    mean, sd = (0, 1) if scale is None else (values.mean(0), values.std(0, ddof=1))
    x = np.minimum((values - mean) / sd, scale or np.inf)
    theirs = PCA(5, svd_solver="full").fit(x)
    expected = theirs.inverse_transform(theirs.transform(x)) * sd + mean
    np.testing.assert_allclose(run.decode(cells), expected, atol=2e-3)
    batched = scvae_cli.fit(cells, inplace=False, model="pca", latent_dim=5, batch_key="part")
    with pytest.raises(InputError, match="the run's model was not told of batches"):
        batched.decode(cells, batch="a")
