"""Likelihoods of counts: against torch.distributions and scipy, and on cells."""

import json
from itertools import product

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import PLAIN, SMALL, options_of, representative
from mpmath import mp, mpf
from scipy import stats
from scipy.sparse import csr_array
from torch.distributions import NegativeBinomial, Poisson

from scvae_cli.data import tenx
from scvae_cli.data.sources import load
from scvae_cli.errors import Kind
from scvae_cli.launch.compose import compose
from scvae_cli.models import compiled, kernels, likelihoods
from scvae_cli.models.batches import place
from scvae_cli.models.likelihoods import Likelihood
from scvae_cli.models.registry import build
from scvae_cli.models.sparse import SparseRows
from scvae_cli.models.sparse_likelihoods import sparse_negative_binomial
from scvae_cli.models.train import train

GENES, WIDTH = 30, 5


def in_forms(x):
    """Counts (n_cells, n_genes) in each form that a likelihood takes."""
    rows = csr_array(x.numpy())
    return {"sparse": SparseRows(rows), "compiled": SparseRows(rows, compiled=True), "dense": x}


def draws(seed=0):
    """Counts (9, 30) of which one cell has none, means and dispersions, float64."""
    rng = np.random.default_rng(seed)
    x = rng.negative_binomial(1, 0.4, (9, GENES)) * (rng.random((9, GENES)) < 0.4)
    x[3] = 0
    mu = rng.gamma(1.0, 2.0, (9, GENES))
    theta = rng.gamma(2.0, 1.0, GENES)
    return (torch.from_numpy(a.astype(np.float64)) for a in (x, mu, theta))


def test_poisson_is_that_of_torch():
    x, mu, _ = draws()
    torch.testing.assert_close(likelihoods.poisson(x, mu.log()), Poisson(mu).log_prob(x).sum(1))


def test_negative_binomial_is_that_of_torch_and_scipy():
    x, mu, theta = draws()
    ours = likelihoods.negative_binomial(x, mu.log(), theta.log())
    torch.testing.assert_close(
        ours, NegativeBinomial(theta, logits=mu.log() - theta.log()).log_prob(x).sum(1)
    )
    theirs = stats.nbinom.logpmf(x.numpy(), theta.numpy(), (theta / (theta + mu)).numpy()).sum(1)
    np.testing.assert_allclose(ours.numpy(), theirs)


@pytest.mark.parametrize("name", ["poisson", "nb", "zinb"])
def test_probabilities_sum_to_one(name):
    x = torch.arange(3000.0, dtype=torch.float64)[:, None]
    mu, theta, dropout = torch.full_like(x, 3.7), x.new_tensor([0.8]), torch.full_like(x, 0.3)
    log_p = {
        "poisson": lambda: likelihoods.poisson(x, mu.log()),
        "nb": lambda: likelihoods.negative_binomial(x, mu.log(), theta.log()),
        "zinb": lambda: likelihoods.zero_inflated(x, mu.log(), theta.log(), dropout),
    }[name]()
    assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-12)
    mean = float((log_p.exp() * x[:, 0]).sum())
    assert mean == pytest.approx(3.7 * (1 if name != "zinb" else 1 / (1 + np.exp(0.3))))


def test_zero_inflation_adds_zeros():
    """pi + (1 - pi) P(0) at zero, (1 - pi) P(x) elsewhere, by scipy; none of it is the NB."""
    x, mu, theta = draws()
    pi = 0.25
    dropout = torch.full_like(mu, np.log(pi / (1 - pi)))
    nb = stats.nbinom.pmf(x.numpy(), theta.numpy(), (theta / (theta + mu)).numpy())
    theirs = np.log(np.where(x.numpy() == 0, pi, 0) + (1 - pi) * nb).sum(1)
    logs = mu.log(), theta.log()
    np.testing.assert_allclose(likelihoods.zero_inflated(x, *logs, dropout), theirs)
    never = torch.full_like(mu, -80.0)
    torch.testing.assert_close(
        likelihoods.zero_inflated(x, *logs, never), likelihoods.negative_binomial(x, *logs)
    )


def parts(name, dtype=torch.float64):
    torch.manual_seed(0)
    x, _, _ = draws()
    output = torch.nn.Linear(WIDTH, GENES).to(dtype)
    likelihood = Likelihood(name, GENES, WIDTH).to(dtype)
    if name != "poisson":
        torch.nn.init.normal_(likelihood.dispersion, std=0.1)
    h = torch.randn(9, WIDTH, dtype=dtype, requires_grad=True)
    return x.to(dtype), h, output, likelihood


@pytest.mark.parametrize("name", ["poisson", "nb", "zinb"])
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-11), (torch.float32, 2e-4)])
def test_leaving_out_zeros_changes_nothing(name, dtype, within):
    x, h, output, likelihood = parts(name, dtype)
    parameters = [h, *output.parameters(), *likelihood.parameters()]
    found = {}
    for form, counts in in_forms(x).items():
        loss = likelihood(counts, h, output)
        found[form] = (loss, *torch.autograd.grad(3 * loss, parameters))
    for form in ("sparse", "compiled"):
        for ours, theirs in zip(found[form], found["dense"], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=within, atol=within)


@pytest.mark.parametrize("name", ["poisson", "nb", "zinb"])
def test_gradients(name):
    x, h, output, likelihood = parts(name)
    rows = SparseRows(csr_array(x.numpy()))

    def loss(h, weight, *others):
        state = dict(zip([n for n, _ in likelihood.named_parameters()], others, strict=True))
        linear = torch.nn.utils.stateless._reparametrize_module
        with linear(output, {"weight": weight}), linear(likelihood, state):
            return likelihood(rows, h, output)

    inputs = (h, output.weight, *likelihood.parameters())
    assert torch.autograd.gradcheck(loss, inputs)


LOG_THETAS = np.array([-29, -10, -3, 0, 2.2, 2.4, 4, 5.9, 6.1, 8, 10, 14, 18, 25, 29, 0, 8, 25])
COUNTS = [0, 1, 2, 7, 300, 100_000]


def exact(x, log_mu, log_theta, dropout=None):
    """-log P of a count, its slopes in log mu (mu held apart), log theta and dropout, by mpmath.

    Beside each, the sizes of the terms that it is the sum of.
    """
    x, log_mu, log_theta = mpf(float(x)), mpf(float(log_mu)), mpf(float(log_theta))
    mu, theta = mp.exp(log_mu), mp.exp(log_theta)
    spread = theta * mp.log1p(mu / theta)
    rising = mp.loggamma(x + theta) - mp.loggamma(theta)
    log_p = rising - mp.loggamma(x + 1) - spread + x * (log_mu - mp.log(theta + mu))
    by_theta = theta * (mp.digamma(x + theta) - mp.digamma(theta)) - spread
    by_theta += (mu - x) * theta / (theta + mu)
    sizes = [
        1 + x * (1 + abs(log_mu) + max(0, -log_theta)) + mp.loggamma(x + 1) + spread,
        spread - mu * theta / (theta + mu) + x * mu / (mu + theta) + x * x / (x + theta),
    ]
    share = mpf(0)
    if dropout is not None:
        pi = 1 / (1 + mp.exp(-mpf(float(dropout))))
        own = (1 - pi) * mp.exp(log_p)
        if x == 0:
            share = pi / (pi + own)
            log_p = mp.log(pi + own)
        else:
            log_p += mp.log(1 - pi)
        sizes[0] += abs(mpf(float(dropout)))
    slopes = (1 - share) * by_theta, (share - pi if dropout is not None else mpf(0))
    return -log_p, -slopes[0], -slopes[1], *sizes


@pytest.mark.parametrize(
    ("name", "form", "dtype"),
    [
        *product(("nb", "zinb"), ("sparse", "dense"), (torch.float32, torch.float64)),
        ("nb", "compiled", torch.float32),
    ],
)
def test_losses_and_slopes_are_exact_for_every_dispersion(name, form, dtype):
    """Against mpmath, for log theta from -29 to 29 and counts to 100,000, each with each."""
    rng = np.random.default_rng(0)
    n_genes = len(LOG_THETAS)
    x = np.stack([np.roll(np.resize(COUNTS, n_genes), i) for i in range(len(COUNTS))])
    x[:, -3:] = [0, 1, 3]
    output = torch.nn.Linear(2, n_genes).to(dtype)
    likelihood = Likelihood(name, n_genes, 2).to(dtype)
    with torch.no_grad():
        output.bias.copy_(torch.from_numpy(rng.normal(scale=4.0, size=n_genes)))
        likelihood.dispersion.copy_(torch.from_numpy(LOG_THETAS / 10))
        if name == "zinb":
            likelihood.dropout.weight.zero_()
            likelihood.dropout.bias.copy_(torch.from_numpy(np.resize([-3, 90, 0, -90], n_genes)))
    with mp.workdps(40):
        for row in x:
            cell = torch.from_numpy(row[None]).to(dtype)
            counts = in_forms(cell)[form]
            loss = likelihood(counts, torch.zeros(1, 2, dtype=dtype), output)
            slopes = torch.autograd.grad(loss, list(likelihood.parameters()), allow_unused=True)
            shares = torch.log_softmax(output.bias.detach().double(), 0)
            log_mu = shares + np.log(row.sum())
            dropout = likelihood.dropout.bias.detach() if name == "zinb" else [None] * n_genes
            log_theta = likelihood.log_theta.detach().double()
            theirs = [exact(*some) for some in zip(row, log_mu, log_theta, dropout, strict=True)]
            value, by_theta, by_dropout, size, size_theta = np.array(
                [[float(v) for v in t] for t in theirs]
            ).T
            within = 2e-5 if dtype == torch.float32 else 1e-6
            assert abs(loss.item() - value.sum()) <= within * size.sum()
            found = slopes[0].numpy() / 10
            assert (np.abs(found - by_theta) <= within * size_theta).all()
            if name == "zinb":
                assert np.abs(slopes[-1].numpy() - by_dropout).max() <= 10 * within


def test_a_dispersion_out_of_bounds_is_poisson_and_can_return():
    """Where float32 has no number for theta, which would be 0 or infinite."""
    x, h, output, likelihood = parts("nb", torch.float32)
    poisson = Likelihood("poisson", GENES, WIDTH)
    for log_theta, counts in product((90.0, -200.0), in_forms(x).values()):
        torch.nn.init.constant_(likelihood.dispersion, log_theta / likelihoods.PACE)
        loss = likelihood(counts, h, output)
        (slope,) = torch.autograd.grad(loss, [likelihood.dispersion])
        assert torch.isfinite(loss)
        if log_theta > 0:
            torch.testing.assert_close(loss, poisson(counts, h, output))
        assert (slope * log_theta >= 0).all()  # down where it is too large, up where too small
        assert (slope != 0).any()


def test_logits_that_are_far_apart_are_finite():
    """A share of the cell's counts that float32 has no number for."""
    for name in ("poisson", "nb", "zinb"):
        x, h, output, likelihood = parts(name, torch.float32)
        torch.nn.init.zeros_(output.weight)
        with torch.no_grad():
            output.bias.copy_(torch.linspace(-300, 300, GENES))
        for counts in in_forms(x).values():
            loss = likelihood(counts, h, output)
            slopes = torch.autograd.grad(loss, [output.bias, *likelihood.parameters()])
            assert torch.isfinite(loss)
            assert all(torch.isfinite(slope).all() for slope in slopes)


def compiled_and_plain(x, log_theta, threads=1):
    """Losses and gradients of counts (n_cells, n_genes), float32."""
    torch.manual_seed(0)
    product, bias = torch.randn(x.shape), torch.randn(x.shape[1])
    rows = csr_array(x.numpy())
    torch.set_num_threads(threads)
    found = compiled.negative_binomial(SparseRows(rows), product.clone(), bias, log_theta)
    torch.set_num_threads(1)
    product, bias, log_theta = (t.double().requires_grad_() for t in (product, bias, log_theta))
    counts = SparseRows(rows.astype(np.float64))
    loss = sparse_negative_binomial(counts, product, bias, log_theta, None)
    return found, (loss.detach(), *torch.autograd.grad(loss, [product, bias, log_theta]))


@pytest.mark.parametrize("center", [-6.0, -1.0, 1.0, 2.3, 6.0, 15.0])
def test_compiled_code_is_as_exact_as_float32(center):
    """Against float64 and gamma functions; counts on both sides of where the tables end."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.negative_binomial(0.3, 0.03, (130, 40)).astype(np.float32))
    assert (x > kernels.LAST).sum() > 100
    x[5] = 0
    log_theta = center + torch.randn(40, generator=torch.Generator().manual_seed(1))
    ours, theirs = compiled_and_plain(x, log_theta)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.double() - b).norm() <= 1e-6 * b.norm()


def test_compiled_code_gives_the_same_bytes_with_every_number_of_threads():
    x = torch.from_numpy(np.random.default_rng(0).poisson(1.0, (200, 30)).astype(np.float32))
    one, three = (compiled_and_plain(x, torch.zeros(30), threads)[0] for threads in (1, 3))
    for a, b in zip(one, three, strict=True):
        assert torch.equal(a, b)


def test_compiled_logarithms_and_exponentials_are_those_of_numpy():
    r = np.concatenate([[0], np.logspace(-37, 30, 3000), np.linspace(0, 3, 3000)]).astype("f4")
    ours = np.array([kernels.log1p(value) for value in r])
    np.testing.assert_allclose(ours, np.log1p(r.astype(float)), rtol=2.5e-7)
    z = np.linspace(-87, 0, 3000).astype("f4")
    ours = np.array([kernels.exp(value) for value in z])
    np.testing.assert_allclose(ours, np.exp(z.astype(float)), rtol=2.5e-7)
    assert np.isnan(kernels.exp(np.float32(np.nan)))


def test_compiled_code_does_not_hide_that_training_diverged():
    """The largest logit of a cell is looked for without regard to NaN."""
    for wrong in (np.nan, np.inf):
        x, h, output, likelihood = parts("nb", torch.float32)
        with torch.no_grad():
            output.bias[7] = wrong
        x[:, 7] = 0
        assert not torch.isfinite(likelihood(in_forms(x)["compiled"], h, output))


def test_counts_that_are_not_whole_do_without_compiled_code():
    x, h, output, likelihood = parts("nb", torch.float32)
    forms = in_forms(x + (x > 0) / 2)
    torch.testing.assert_close(
        likelihood(forms["compiled"], h, output), likelihood(forms["dense"], h, output)
    )


def test_long_trainings_compile_and_short_ones_do_not(monkeypatch):
    assert [compiled.pays(n) for n in (5e8, 2e9)] == [False, True]
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert not compiled.pays(2e9)


@pytest.mark.parametrize("name", ["gaussian", "poisson", "nb", "zinb"])
def test_only_what_is_compiled_takes_cells_for_it(monkeypatch, name):
    """Elsewhere dense cells are computed with as such, which is faster than with all as sparse."""
    monkeypatch.setattr(compiled, "ENOUGH", 0)
    x = csr_array(np.random.default_rng(0).poisson(3.0, (30, GENES)).astype(np.float32))
    options = options_of("vae", likelihood=name, encoder=[8], decoder=[8], branch=None)
    forms = []

    def placed(*arguments, **options):
        batches = place(*arguments, **options)
        forms.append(type(next(batches.in_order(30)).counts))
        return batches

    monkeypatch.setattr("scvae_cli.models.train.place", placed)
    train(
        build("vae", GENES, 2, seed=0, **options), x, epochs=1, batch_size=30, lr=1e-3,
        batch_seed=0, noise_seed=0, device=torch.device("cpu"), counts=x,
        on_epoch=lambda row: None,
    )  # fmt: skip
    assert forms == [SparseRows if name == "nb" else torch.Tensor]


def test_a_compiled_training_is_a_plain_one_but_for_rounding(monkeypatch):
    rng = np.random.default_rng(0)
    x = csr_array(rng.poisson(rng.gamma(0.5, 1.0, (1, GENES)), (90, GENES)).astype(np.float32))
    options = options_of("vae", likelihood="nb", encoder=[8], decoder=[8], branch=None)
    histories, calls = [], []
    original = compiled.negative_binomial

    def counted(*arguments):
        calls.append(1)
        return original(*arguments)

    monkeypatch.setattr(compiled, "negative_binomial", counted)
    for enough in (np.inf, 0, 0):
        monkeypatch.setattr(compiled, "ENOUGH", enough)
        histories.append(
            train(
                build("vae", GENES, 2, seed=0, **options), x, epochs=3, batch_size=30, lr=1e-3,
                batch_seed=0, noise_seed=0, device=torch.device("cpu"), counts=x,
                on_epoch=lambda row: None,
            )["total"]
        )  # fmt: skip
    assert len(calls) == 18
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-4)
    assert list(histories[1]) == list(histories[2])


def test_the_mean_is_the_cells_total_shared_out():
    x, h, output, likelihood = parts("nb")
    mu = x.sum(1, keepdim=True).clamp_min(1) * torch.softmax(output(h), 1)
    theirs = NegativeBinomial(likelihood.log_theta.exp(), logits=mu.log() - likelihood.log_theta)
    torch.testing.assert_close(likelihood(x, h, output), -theirs.log_prob(x).sum(1).mean())


def test_counts_come_back_from_logarithms(real_data):
    """PBMC3k's own, from disk and anew, and variable genes of the sorted cells."""
    raw = tenx.read(next((real_data / "pbmc3k").glob("*.tar.gz")))
    raw = raw[:, ~raw.var_names.duplicated()]
    for _ in range(2):
        dataset = load(**compose(["data=pbmc3k"]).data.model_dump())
        theirs = raw[dataset.cells, dataset.genes].X.toarray()
        np.testing.assert_array_equal(dataset.counts().toarray(), theirs)
    path = real_data / "zheng_facs" / "zheng_facs_raw.h5ad"
    dataset = load(
        **compose(["data=file", f"data.path={path}", "data.genes=500"]).data.model_dump()
    )
    theirs = anndata.read_h5ad(path)[dataset.cells, dataset.genes].X.toarray()
    np.testing.assert_array_equal(dataset.counts().toarray(), theirs)


@pytest.mark.parametrize(
    ("model", "likelihood"),
    representative([("vae", "nb"), ("ae", "poisson"), ("vsc", "zinb"), ("ae", "nb")], 2),
)
def test_models_of_counts_find_the_types_and_untrained_ones_do_not(
    scvae, tmp_path, model, likelihood
):
    settings = [
        *SMALL, f"model={model}", f"likelihood={likelihood}", "beta=1",
        "model.encoder=[64]", "model.decoder=[64]", "model.first_activation=relu",
    ]  # fmt: skip
    if model == "ae":
        settings.append("model.latent_activation=linear")
    scores = []
    for folder, changes in (("r", ["epochs=60"]), ("u", ["epochs=1", "lr=1e-9"])):
        result = scvae("train", *settings, *changes, f"hydra.run.dir={folder}")
        assert result.code == 0, result.err
        scores.append(json.loads((tmp_path / folder / "scores.json").read_text())["latent"]["ari"])
    assert scores[0] > 0.8
    assert scores[1] < 0.5
    history = pd.read_csv(tmp_path / "r" / "history.csv")
    assert history["reconstruction"].iloc[-1] < history["reconstruction"].iloc[0]


def test_a_run_of_counts_embeds_other_cells(scvae, tmp_path):
    rng = np.random.default_rng(0)
    rates = rng.gamma(0.7, 2.0, (3, 60))[np.arange(90) % 3]
    names = pd.DataFrame(index=[f"c{i}" for i in range(90)])
    cells = anndata.AnnData(csr_array(rng.poisson(rates).astype(np.float32)), names)
    cells.write_h5ad(tmp_path / "c.h5ad")
    settings = ["data=file", "data.path=c.h5ad", "likelihood=nb", "epochs=2", *PLAIN,
                "tsne.perplexity=8", "cluster.n_clusters=3", "hydra.run.dir=r"]  # fmt: skip
    assert scvae("train", *settings).code == 0
    assert scvae("embed", "r", "c.h5ad").code == 0
    assert (tmp_path / "latent.csv").read_bytes() == (tmp_path / "r/latent.csv").read_bytes()


@pytest.mark.parametrize(
    ("words", "kind", "fact"),
    [
        (["likelihood=nb"], Kind.CONFLICT, "data=pbmc68k"),
        (["likelihood=nb", "data=synthetic", "data.scale=10"], Kind.CONFLICT, "data.scale=10"),
        (["likelihood=normal"], Kind.VALUE, "'gaussian', 'poisson', 'nb' or 'zinb'"),
        (["likelihood=null"], Kind.MISSING, "model=vsc"),
    ],
)
def test_mistakes_are_one_line(scvae, tmp_path, words, kind, fact):
    result = scvae("train", *words)
    line = result.refused(kind, "likelihood")
    assert line == result.err.rstrip("\n")
    assert words[0] in line
    assert fact in line
    assert not (tmp_path / "outputs").exists()


def test_principal_components_have_none(scvae, tmp_path):
    result = scvae("train", *SMALL, "model=pca", "likelihood=nb")
    assert result.code == 0
    assert "likelihood has no effect with model=pca" in result.err


def test_dispersions_are_found_where_they_are():
    """Counts of known theta, .5 to 50: training ends near, from a start near Poisson's.

    Beta is so large that z is noise, and cannot explain away what genes vary.
    """
    rng = np.random.default_rng(0)
    theta = np.exp(np.linspace(np.log(0.5), np.log(50), GENES))
    mu = np.full(GENES, 20.0)
    counts = rng.negative_binomial(theta, theta / (theta + mu), (2000, GENES))
    narrow = {"encoder": [8], "decoder": [8], "first_activation": "relu", "branch": None}
    options = options_of("vae", beta=1e4, likelihood="nb", **narrow)
    model = build("vae", GENES, 2, seed=0, **options)
    x = csr_array(counts.astype(np.float32))
    train(
        model, csr_array(np.log1p(x.toarray())), epochs=60, batch_size=100, lr=1e-3, batch_seed=0,
        noise_seed=0, device=torch.device("cpu"), on_epoch=lambda row: None, counts=x,
    )  # fmt: skip
    found = model.likelihood.log_theta.detach().numpy()
    few = theta < 10  # above, one is as good as another
    assert np.abs(found - np.log(theta))[few].max() < 0.7
    assert np.corrcoef(found, np.log(theta))[0, 1] > 0.95
