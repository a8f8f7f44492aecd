"""Trainings that were too short, or that got nowhere, say so; long enough ones do not."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FAST, PLAIN, options_of
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.stats import nbinom

from scvae_cli.config import Config
from scvae_cli.covariates import covariates
from scvae_cli.errors import Kind, RunError
from scvae_cli.launch.compose import compose
from scvae_cli.models.mean_profile import mean_profile_error
from scvae_cli.models.registry import build
from scvae_cli.runs.run import Run
from scvae_cli.stages.length import falling, kept_loss
from scvae_cli.stages.space import _explained

MEAN = 100.0  # the loss of the genes' means
HOW = {"batch_size": 7, "device": torch.device("cpu")}


def config(*words: str) -> Config:
    return compose(["data=synthetic", "model=vsc", *words])


def curve(*loss: float) -> pd.DataFrame:
    total = np.array(loss)
    return pd.DataFrame({"total": total, "reconstruction": total - 4, "kl": 2.0})


def decay(n: int, half: float) -> pd.DataFrame:
    """A loss that falls from 150 to 50, half of what is left in `half` rounds; with noise."""
    noise = np.random.default_rng(0).normal(0, 0.3, n)
    return curve(*(50 + 100 * 0.5 ** (np.arange(n) / half) + noise))


def test_a_loss_still_falls_or_does_not():
    assert falling(config(), decay(200, 10), MEAN) == 0
    assert falling(config(), decay(20, 10), MEAN) > 0.1
    assert falling(config(), curve(*np.linspace(150, 50, 100)), MEAN) > 0.1
    assert falling(config(), curve(150, 99), MEAN) > 0.5
    assert falling(config(), curve(99), MEAN) == 0  # one round tells nothing
    assert falling(config(), curve(*np.linspace(50, 60, 50)), MEAN) == 0


def test_no_more_is_learnt_than_all():
    """Of what the loss falls while it is above that of the means, nothing is learnt."""
    assert falling(config(), curve(150, 99), MEAN) == 1
    assert falling(config(), curve(150, 98, 96), MEAN) == pytest.approx(0.5)


def test_advice_names_what_acts():
    hints = {"seed": "another seed", "beta": "a smaller beta", "lr": "a smaller lr"}
    told = {
        "vae": "another seed, a smaller beta or a smaller lr may help",
        "ae": "another seed or a smaller lr may help", "pca": "",
    }  # fmt: skip
    for model, advice in told.items():
        assert compose(["data=synthetic", f"model={model}"]).advice(hints) == advice
    assert "beta" not in config("beta=0").advice(hints)
    assert config().advice({"data": "more cells"}) == "more cells may help"
    one_place = RunError(Kind.COLLAPSED, None, "all cells have the same latent values")
    assert "beta" in str(_explained(one_place, config()))
    assert _explained(one_place, compose(["data=synthetic", "model=pca"])) is one_place


@pytest.mark.parametrize(
    ("words", "same"),
    [("model=pca embedding=sample", True), ("model=ae embedding=mu", True),
     ("model=pca embedding=mean", False), ("model=vae embedding=sample", False),
     ("model=ae embedding=decoded", False)],
)  # fmt: skip
def test_an_embedding_that_is_the_mean_has_no_effect(words, same):
    unused = compose(["data=synthetic", *words.split()]).without_effect
    assert unused.get("embedding") == (words.split()[0] if same else None)


def test_a_warm_up_at_the_end_changes_the_loss_on_purpose():
    rows = curve(*np.linspace(150, 50, 100))
    for key in ("kl_warmup", "model.spike_warmup"):
        assert falling(config(f"{key}=0.95"), rows, MEAN) == 0
        assert falling(config(f"{key}=0.5"), rows, MEAN) > 0


def test_the_loss_that_counts_has_all_of_the_kl_and_the_weights_that_are_kept():
    rows = curve(*[60.0] * 10)
    assert kept_loss(config(), rows) == 60
    stopped = rows.assign(total=56.3)  # by a warm-up of which training saw a little
    assert kept_loss(config("kl_warmup=0.99"), stopped) == 60
    assert kept_loss(config("kl_warmup=0.5"), stopped[:1]) == 60
    autoencoder = compose(["data=synthetic", "model=ae"])
    assert kept_loss(autoencoder, rows.assign(kl=0.0)) == 56
    rows = curve(70, 61, 50).assign(validation=[3, 1, 2])
    assert kept_loss(config(), rows) == 61


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.gamma(2, 2, 12) * np.where(np.arange(40)[:, None] < 15, 1, 3))
    return (x + np.eye(40, 12)).astype(np.float32)


BATCH = np.repeat(["a", "b"], [15, 25])


def network(model: str, likelihood: str, **options):
    narrow = {"encoder": [8], "branch": None, "decoder": [8]}
    return build(
        model, 12, 3, seed=0, **options_of(model, **narrow, likelihood=likelihood), **options
    )


@pytest.mark.parametrize("told", [None, covariates({"plate": BATCH}, {})], ids=["", "batches"])
def test_the_error_of_the_genes_means(counts, told):
    """Within each batch, by numpy and scipy."""
    parts = [counts] if told is None else [counts[:15], counts[15:]]
    x = np.log1p(counts)
    logged = [x] if told is None else [x[:15], x[15:]]
    squares = sum(((part - part.mean(0)) ** 2).sum() for part in logged) / 40
    for values in (x, csr_array(x)):
        model = network("vae", "gaussian", covariates=told)
        assert mean_profile_error(model, values, None, told, **HOW) == pytest.approx(squares, 1e-5)
    model = network("vae", "nb", covariates=told)
    theta = model.likelihood.log_theta.exp().detach().numpy()
    log_p = 0.0
    for part in parts:
        mu = part.sum(1, keepdims=True) * part.sum(0) / part.sum()
        log_p += nbinom.logpmf(part, theta, theta / (theta + mu)).sum()
    found = mean_profile_error(model, csr_array(x), csr_array(counts), told, **HOW)
    assert found == pytest.approx(-log_p / 40, rel=1e-4)


def test_the_error_of_a_zero_inflated_network_that_knows_no_cell(counts):
    """One that gives all cells the same, fitted by scipy, is no better than what it gives."""
    model = network("vae", "zinb")
    shown = np.random.default_rng(1).binomial(1, np.linspace(0.3, 1.0, 12), counts.shape)
    some = (counts * shown).astype(np.float32)
    some[:, -1] += 1  # no cell is empty
    totals, theta = some.sum(1, keepdims=True), model.likelihood.log_theta.exp().detach().numpy()

    def loss(found: np.ndarray) -> float:
        logits, odds = np.split(found, 2)
        mu, pi = totals * np.exp(logits) / np.exp(logits).sum(), 1 / (1 + np.exp(-odds))
        nb = nbinom.pmf(some, theta, theta / (theta + mu))
        return -float(np.log(pi * (some == 0) + (1 - pi) * nb).sum()) / 40

    best = minimize(loss, np.repeat([0.0, -2.0], 12), method="L-BFGS-B", options={"maxfun": 10**5})
    cells = csr_array(np.log1p(some)), csr_array(some), None
    with torch.no_grad():
        for layer in (model.decoder[-1], model.likelihood.dropout):
            layer.weight.zero_()
        model.likelihood.dropout.bias.copy_(torch.from_numpy(best.x[12:]))
        assert best.fun < mean_profile_error(model, *cells, **HOW) < 1.03 * best.fun
        model.decoder[-1].bias.copy_(torch.from_numpy(best.x[:12]))
    found = mean_profile_error(model, *cells, **HOW)
    assert found == pytest.approx(best.fun, rel=1e-5)
    with torch.no_grad():  # what is added to each cell's odds, and is the same on average
        weight = model.likelihood.dropout.weight
        weight.normal_(generator=torch.Generator().manual_seed(0))
        z = model.embed(torch.from_numpy(np.log1p(some)), "mean", torch.Generator())
        model.likelihood.dropout.bias.sub_(weight @ model.hidden(z, None).mean(0))
    again = mean_profile_error(model, *cells, **HOW)
    assert again == pytest.approx(found, rel=1e-4)


def test_a_run_says_so(scvae, tmp_path):
    words = ["model=vae", *PLAIN, "embedding=mean"]
    assert scvae("train", *FAST, *words, "lr=1e-9", "hydra.run.dir=r").code == 0
    warning, control = Run(tmp_path / "r").warnings
    untrained, trained = re.findall(r"0\.\d\d", control)
    assert "the same network before training" in control
    assert untrained == trained  # as nothing moved
    words = [*words, "epochs=150", "hydra.run.dir=long"]
    assert scvae("train", *FAST, *words).code == 0
    assert "before training" not in " ".join(Run(tmp_path / "long").warnings)
    assert "decodes cells no better than the mean of each gene would" in warning
    assert "epochs=4, a smaller beta or another lr may help" in warning
    assert warning in (tmp_path / "r" / "report.html").read_text()
