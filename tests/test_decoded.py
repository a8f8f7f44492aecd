"""Cells placed by what a network decodes of them: against scikit-learn, and in whole runs."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL, options_of
from sklearn.decomposition import PCA

import scvae_cli
from scvae_cli.analysis.decoded import Axes, find_axes, project
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
