"""Trainings as long as a number of updates, and what is held out to choose their weights."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FAST, PLAIN, SMALL, options_of
from scipy.sparse import csr_array
from torch import Generator
from torch.distributions import Bernoulli, Multinomial, NegativeBinomial

from scvae_cli.data.dataset import Recipe, labelled
from scvae_cli.data.holdout import split_cells, split_molecules
from scvae_cli.errors import Kind, RunError
from scvae_cli.models.checkpoint import Checkpoint, unpack
from scvae_cli.models.ensemble import Ensemble
from scvae_cli.models.model import Loss, Model
from scvae_cli.models.registry import build
from scvae_cli.models.train import train
from scvae_cli.models.validation import MIX, HeldOutCells, HeldOutMolecules
from scvae_cli.runs.files import read_table

CPU = torch.device("cpu")
NARROW = {"encoder": [8], "branch": None, "decoder": [8], "beta": 1.0}
HOW = {"batch_size": 16, "lr": 0.01, "batch_seed": 1, "noise_seed": 2, "device": CPU,
       "on_epoch": lambda row: None}  # fmt: skip


@pytest.fixture
def x():
    return csr_array(np.random.default_rng(0).poisson(0.3, (50, 30)).astype(np.float32))


def model(name="vae", seed=0):
    return build(name, 30, 3, seed=seed, **options_of(name, **NARROW))


def same_weights(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_as_many_updates_give_what_epochs_give(x):
    of_epochs, of_updates = model(), model()
    first = train(of_epochs, x, epochs=5, **HOW)
    second = train(of_updates, x, epochs=None, updates=5 * 4, **HOW)
    assert same_weights(of_epochs, of_updates)
    at = second.set_index("updates")
    assert np.allclose(at["epoch"].iloc[3::4], first["epoch"])
    assert len(second) == 20  # a row an update, up to a hundred
    by_cells = np.array([16, 16, 16, 2])
    means = second["total"].to_numpy().reshape(5, 4) @ by_cells / 50
    assert np.allclose(means, first["total"], rtol=1e-5)


def test_the_last_round_may_be_short_and_end_within_an_epoch(x):
    history = train(model(), x, epochs=None, updates=250, **HOW)
    assert history["updates"].tolist() == [*range(3, 250, 3), 250]
    assert history["epoch"].iloc[-1] == round(62 + 2 * 16 / 50, 3)


def test_warm_ups_follow_updates(x):
    """The KL has no weight in the first hundredth, and all of it after half of the training."""
    history = train(model(), x, epochs=None, updates=200, kl_warmup=0.5, **HOW)
    terms = history["total"] - history["reconstruction"]
    assert terms.iloc[0] == pytest.approx(0, abs=1e-4)
    weights = (terms / history["kl"]).to_numpy()
    assert np.allclose(weights[:50], np.arange(50) / 50, atol=1e-3)
    assert np.allclose(weights[50:], 1, atol=1e-3)


@pytest.mark.parametrize(
    "length", [{"epochs": 6}, {"epochs": None, "updates": 130}, {"epochs": 3, "patience": None}]
)
def test_from_every_checkpoint_the_end_is_the_same(x, length):
    """Also of the weights that are kept, and of when training stops."""
    how = {**HOW, "lr": 0.5, "patience": 3, **length}
    validate = HeldOutCells(x[:10], None, batch_size=4, seed=0, device=CPU)
    kept: list[Checkpoint] = []

    def keep(done, step, take):
        kept.append(unpack(take().pack()))

    first = model("vsc")
    history = train(first, x[10:], validate=validate, keep=keep, **how)
    for checkpoint in kept:
        other = model("vsc", seed=9)
        again = train(other, x[10:], validate=validate, start=checkpoint, **how)
        pd.testing.assert_frame_equal(
            history.drop(columns="seconds"), again.drop(columns="seconds"), check_exact=True
        )
        assert same_weights(first, other)


def test_the_best_weights_are_kept_and_patience_ends_training(x):
    validate = HeldOutCells(x[:10], None, batch_size=4, seed=0, device=CPU)
    trained = model()
    history = train(
        trained, x[10:], epochs=400, validate=validate, patience=5, **{**HOW, "lr": 0.05}
    )
    losses = history["validation"]
    assert len(history) == losses.idxmin() + 1 + 5 < 400
    assert validate(trained) == losses.min() < losses.iloc[-1]


def test_cells_held_out_cost_what_their_loss_is(x):
    """In batches of any size, where the loss draws no noise."""
    ae = build("ae", 30, 3, seed=0, **options_of("ae", encoder=[8], decoder=[8]))
    dense = torch.from_numpy(x.toarray())
    with torch.no_grad():
        decoded = ae.decode(ae.embed(dense, "mean", torch.Generator()), None)
        error = (decoded - dense).square().sum(1)
    ours = HeldOutCells(x, None, batch_size=7, seed=0, device=CPU)(ae)
    assert ours == pytest.approx(float(error.mean()), rel=1e-5)


def test_cells_are_held_out_once_each():
    ours, theirs = split_cells(1000, 0.1, seed=3)
    assert (len(ours), len(theirs)) == (900, 100)
    assert sorted([*ours, *theirs]) == list(range(1000))
    assert len(split_cells(100_000, 0.5, seed=0)[1]) == 5000
    assert len(split_cells(3, 0.1, seed=0)[1]) == 1


@pytest.fixture
def dataset():
    """Cells whose totals are over more genes than the model's; one has no molecule in these."""
    rng = np.random.default_rng(1)
    counts = rng.poisson(3.0, (200, 40))
    counts[5] = 0
    totals = counts.sum(1) + rng.poisson(100, 200)
    x = csr_array(np.log1p(counts / totals[:, None] * 1e4).astype(np.float32))
    names = np.array([f"c{i}" for i in range(200)]), np.array([f"g{i}" for i in range(40)])
    return labelled("mine", x, np.full(200, "T"), *names, Recipe("counts", 1e4, totals)), counts


def test_molecules_are_held_out_once_each(dataset):
    cells, counts = dataset
    kept, held = split_molecules(cells, 0.3, seed=0)
    assert np.array_equal(kept.counts().toarray() + held.toarray(), counts)
    n = counts.sum()
    assert abs(held.sum() - 0.3 * n) < 4 * np.sqrt(0.3 * 0.7 * n)
    lost = cells.recipe.totals - kept.recipe.totals
    assert (lost >= held.sum(1)).all()
    n = cells.recipe.totals.sum()
    assert abs(lost.sum() - 0.3 * n) < 4 * np.sqrt(0.3 * 0.7 * n)
    logs = np.log1p(kept.counts().toarray() / kept.recipe.totals[:, None] * 1e4)
    assert np.allclose(kept.x.toarray(), logs, atol=1e-5)


class Known(Model):
    """A model that knows the genes' shares of each cell."""

    def __init__(self, shares):
        super().__init__()
        self.known, self.at = torch.from_numpy(shares).float(), 0

    def loss(self, x, generator, counts=None, progress=1.0, covariates=None):
        return Loss.without_kl(torch.zeros(()))

    def embed(self, x, kind, generator, covariates=None):
        self.at += 7
        return self.known[self.at - 7 : self.at]

    def decode(self, z, target_sum, covariates=None):
        return torch.log1p(target_sum * z)


def test_molecules_cost_what_a_multinomial_says(dataset):
    cells, _ = dataset
    kept, held = split_molecules(cells, 0.5, seed=0)
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(40), 200).astype(np.float32)
    validate = HeldOutMolecules(kept.x, held, target_sum=1e4, batch_size=7, device=CPU)
    rates = np.expm1(kept.x.toarray()).sum(0)
    mixed = (1 - MIX) * shares + MIX * rates / rates.sum()
    total = 0.0
    for row, p in zip(torch.from_numpy(held.toarray()), torch.from_numpy(mixed), strict=True):
        n = int(row.sum())
        if n:
            ways = torch.lgamma(row.sum() + 1) - torch.lgamma(row + 1).sum()
            total -= float(Multinomial(n, p).log_prob(row) - ways)
    assert validate(Known(shares)) == pytest.approx(total / float(held.sum()), rel=1e-4)


@pytest.mark.parametrize("n_members", [1, 2])
def test_shares_are_those_of_counts_that_are_drawn(n_members):
    """Zeros that a zero-inflated model adds hide molecules; by torch.distributions."""
    options = options_of("ae", encoder=[8], decoder=[8], likelihood="zinb")
    members = [build("ae", 12, 3, seed=seed, **options) for seed in range(n_members)]
    z, drawn, total = torch.randn(4, 3, generator=Generator().manual_seed(0)), 0.0, 1000.0
    for member in members:
        dropout = member.likelihood.dropout
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            dropout.bias.copy_(torch.linspace(-3, 3, 12))
            h = member.hidden(z, None)
            mu = total * torch.softmax(member.decoder[-1](h), 1)
            theta = member.likelihood.log_theta.exp()
            counts = NegativeBinomial(theta, logits=mu.log() - theta.log()).sample((20000,))
            counts *= Bernoulli(logits=-dropout(h)).sample((20000,))
        drawn = drawn + counts.mean(0) / counts.mean(0).sum(1, keepdim=True) / n_members
    model = members[0] if n_members == 1 else Ensemble(members, 3)
    places = z if n_members == 1 else torch.cat([z, z], 1)
    with torch.no_grad():
        found = model.shares(places, 1e4)
        expressed = torch.expm1(model.decode(places, 1e4)) / 1e4
    torch.testing.assert_close(found, drawn, rtol=0.05, atol=2e-3)
    assert (found - expressed).abs().max() > 0.05  # else this would not tell them apart


def test_the_true_shares_are_the_best(dataset):
    cells, _ = dataset
    kept, held = split_molecules(cells, 0.5, seed=0)
    validate = HeldOutMolecules(kept.x, held, target_sum=1e4, batch_size=7, device=CPU)
    flat = validate(Known(np.full((200, 40), 1 / 40)))
    wrong = validate(Known(np.eye(40)[np.arange(200) % 40]))  # one gene is all
    assert flat == pytest.approx(np.log(40), abs=0.02)
    assert flat < wrong < 10  # and no gene that is off costs infinitely much


def test_a_run_keeps_its_best_weights_and_says_so(scvae, tmp_path):
    settings = ["model=vae", "likelihood=nb", *PLAIN, "hydra.run.dir=r"]
    result = scvae("train", *SMALL, *settings, "updates=30", "validation=cells")
    assert result.code == 0, result.err
    history = read_table(tmp_path / "r", "history")
    assert history["updates"].iloc[-1] == 30
    assert "warning: the validation loss still fell" in result.err
    assert "updates=60" in result.err
    of_molecules = [*SMALL, *settings[:3], "updates=30", "validation=molecules"]
    scvae("train", *of_molecules, "trained=r").refused(Kind.DIFFERS, "trained")
    assert scvae("train", *of_molecules, "hydra.run.dir=m").code == 0
    assert scvae("train", *of_molecules, "hydra.run.dir=n").code == 0
    for name in ("model.safetensors", "latent.csv"):
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "n" / name).read_bytes()


def test_a_validation_loss_that_is_not_finite_ends_training(x):
    with pytest.raises(RunError) as caught:
        train(model(), x, epochs=3, validate=lambda _: float("inf"), **HOW)
    assert caught.value.kind == Kind.DIVERGED


def test_some_cells_are_left_to_train_on():
    ours, theirs = split_cells(20, 0.99, 0)
    assert (len(ours), len(theirs)) == (1, 19)


@pytest.mark.parametrize("share", [1e-6, 1 - 1e-6])
def test_one_part_without_molecules_is_refused(scvae, share):
    words = [*FAST, "model=vae", "validation=molecules", f"validation_share={share}"]
    scvae("train", *words).refused(Kind.VALUE, "validation_share")


def test_an_untrained_control_may_be_validated(scvae):
    words = [*SMALL, "model=vae", "epochs=0", "validation=cells"]
    result = scvae("train", *words)
    assert result.code == 0, result.err
    assert "mean of each gene" not in result.err


REFUSED = {
    ("updates=3", "epochs=4"): (Kind.CONFLICT, "updates"),
    ("updates=null", "epochs=null"): (Kind.MISSING, "epochs"),
    ("updates=0",): (Kind.VALUE, "updates"),
    ("validation=genes",): (Kind.VALUE, "validation"),
    ("validation=cells", "validation_share=1"): (Kind.VALUE, "validation_share"),
    ("validation=cells", "validation_share=null"): (Kind.MISSING, "validation_share"),
    ("validation=cells", "patience=0"): (Kind.VALUE, "patience"),
    ("data=pbmc68k", "validation=molecules"): (Kind.CONFLICT, "validation"),
    ("data=synthetic", "data.scale=10", "validation=molecules"): (Kind.CONFLICT, "validation"),
    (*SMALL, "model=vae", "embedding=decoded", "latent_dim=300", "data.n_genes=400"): (
        Kind.VALUE,
        "latent_dim",
    ),
    (*SMALL, "cluster.max_cells=3"): (Kind.VALUE, "cluster.n_clusters"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_does_not_go_together_is_refused(scvae, tmp_path, words):
    scvae("train", *words).refused(*REFUSED[words])
    assert not list(tmp_path.iterdir())


def test_what_has_no_effect_is_said(scvae):
    result = scvae("train", *FAST, "model=pca", "patience=3")
    assert "warning: patience has no effect with" in result.err
