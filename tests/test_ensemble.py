"""Ensembles: members are what single runs are, side by side, in one latent space."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL, options_of
from scipy.sparse import csr_array
from sklearn.metrics import pairwise_distances

import scvae_cli
from scvae_cli.errors import Kind
from scvae_cli.models.checkpoint import unpack
from scvae_cli.models.ensemble import Ensemble
from scvae_cli.models.registry import build
from scvae_cli.models.together import Together
from scvae_cli.models.train import train
from scvae_cli.models.validation import HeldOutCells

CPU = torch.device("cpu")
OPTIONS = {"encoder": [8], "branch": None, "decoder": [8], "beta": 1.0}
HOW = {"epochs": 6, "batch_size": 16, "lr": 0.2, "patience": 2}
SEEDS = [{"batch_seed": i, "noise_seed": 10 + i} for i in range(3)]
SETTINGS = [{**HOW, **seeds} for seeds in SEEDS]


@pytest.fixture
def x():
    return csr_array(np.random.default_rng(0).poisson(0.3, (50, 30)).astype(np.float32))


def ensemble(seeds=(4, 5, 6)):
    model = build("vae", 30, 3, seed=seeds[0], others=seeds[1:], **options_of("vae", **OPTIONS))
    assert isinstance(model, Ensemble)
    return model


def trained(x, threads=2, start=None, stop_after=None):
    """Train an ensemble, or until so many steps are done; return it, history, last checkpoint."""
    validate = HeldOutCells(x[:10], None, batch_size=4, seed=0, device=CPU)
    model, calls, kept = ensemble((4, 5, 6) if start is None else (7, 8, 9)), [], []

    def interrupted():
        calls.append(0)
        return stop_after is not None and len(calls) > stop_after

    def keep(done, step, take):
        kept.append(unpack(take().pack()))
        if interrupted():
            raise KeyboardInterrupt

    together = Together(
        model.models, x[10:], device=CPU, settings=SETTINGS, validate=validate, start=start
    )
    try:
        history = together.train(
            threads, on_round=lambda row: None, interrupted=interrupted, keep=keep
        )
    except KeyboardInterrupt:
        return None, None, kept[-1]
    return model, history, kept[-1]


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_members_are_what_single_trainings_are(x):
    model, history, _ = trained(x)
    validate = HeldOutCells(x[:10], None, batch_size=4, seed=0, device=CPU)
    for i, (seed, settings) in enumerate(zip((4, 5, 6), SETTINGS, strict=True)):
        single = build("vae", 30, 3, seed=seed, **options_of("vae", **OPTIONS))
        rows = train(
            single, x[10:], device=CPU, on_epoch=lambda row: None, validate=validate, **settings
        )
        assert same(single, model.models[i])
        theirs = history[history["member"] == i + 1].drop(columns=["member", "seconds"])
        pd.testing.assert_frame_equal(
            rows.drop(columns="seconds"), theirs.reset_index(drop=True), check_exact=True
        )
    assert not same(model.models[0], model.models[1])
    assert history["member"].value_counts().nunique() > 1  # each has its own patience


@pytest.mark.parametrize("threads", [1, 3])
def test_results_do_not_depend_on_how_many_are_trained_at_a_time(x, threads):
    assert same(trained(x)[0], trained(x, threads)[0])


@pytest.mark.parametrize("stop_after", [1, 2, 7, 12, 20, 33])
def test_an_interrupted_ensemble_ends_the_same(x, stop_after):
    """Wherever each member was when the signal came."""
    whole, history, _ = trained(x)
    _, none, checkpoint = trained(x, stop_after=stop_after)
    assert none is None
    resumed, again, _ = trained(x, start=checkpoint)
    assert same(whole, resumed)
    pd.testing.assert_frame_equal(
        history.drop(columns="seconds"), again.drop(columns="seconds"), check_exact=True
    )


def test_a_checkpoint_of_fewer_members_is_refused(x):
    checkpoint = trained(x)[2]
    del checkpoint.tensors["member2"]
    with pytest.raises(ValueError, match="another model"):
        trained(x, start=checkpoint)


def test_the_joined_space_has_the_mean_of_the_members_distances(x):
    """Each member's space scaled by hand, its distances by scikit-learn."""
    model = ensemble()
    cells, noise = torch.from_numpy(x.toarray()), torch.Generator()
    with torch.no_grad():
        latents = [member.embed(cells, "mean", noise).numpy() for member in model.models]
        latents[1] *= 100  # a member whose latents are far larger
        model.models[1].mu.weight *= 100
        model.models[1].mu.bias *= 100
        model.standardise(latents)
        z = model.embed(cells, "mean", noise).numpy()
    squares = np.zeros((50, 50))
    for latent in latents:
        scaled = latent / np.sqrt(((latent - latent.mean(0)) ** 2).sum() / len(latent))
        squares += pairwise_distances(scaled, metric="sqeuclidean")
    assert np.allclose(pairwise_distances(z, metric="sqeuclidean"), squares, rtol=1e-3, atol=1e-4)
    assert np.allclose(z.mean(0), 0, atol=1e-5)


def test_a_member_that_is_the_same_for_all_cells_tells_nothing():
    model = ensemble()
    flat = np.full((50, 3), 1e6, np.float32) + np.random.default_rng(0).normal(0, 1e-3, (50, 3))
    model.standardise([flat.astype(np.float32)] * 3)
    assert model.scale.eq(1).all()


def test_decoding_undoes_the_scales(x):
    model = ensemble()
    cells, noise = torch.from_numpy(x.toarray()), torch.Generator()
    with torch.no_grad():
        parts = [member.embed(cells, "mean", noise) for member in model.models]
        model.standardise([part.numpy() for part in parts])
        ours = model.decode(model.embed(cells, "mean", noise), None)
        theirs = torch.stack(
            [member.decode(z, None) for member, z in zip(model.models, parts, strict=True)]
        ).mean(0)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_run_of_an_ensemble(scvae, tmp_path):
    """Its first member is the single run of that seed; it is loaded, verified and taken again."""
    words = [*SMALL, "epochs=4", "model=vae"]
    assert scvae("train", *words, "hydra.run.dir=one").code == 0
    result = scvae("train", *words, "ensemble=3", "hydra.run.dir=r")
    assert result.code == 0, result.err
    run, one = scvae_cli.load("r"), scvae_cli.load("one")
    assert isinstance(run.model, Ensemble)
    assert same(run.model.models[0], one.model)
    latent = run.latent.to_numpy()
    assert latent.shape == (300, 3 * 6)
    assert np.allclose(latent.var(0).reshape(3, 6).sum(1), 1, rtol=1e-3)
    assert scvae("verify", "r").code == 0
    taken = [*words, "trained=r", "ensemble=3", "tsne.seed=5"]
    assert scvae("train", *taken, "hydra.run.dir=t").code == 0
    assert (tmp_path / "t/latent.csv").read_bytes() == (tmp_path / "r/latent.csv").read_bytes()
    scvae("train", *words, "trained=r").refused(Kind.DIFFERS, "trained")
    scvae("train", *words, "ensemble=1").refused(Kind.VALUE, "ensemble")
