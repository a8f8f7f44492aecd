"""The models against the report's text, the VAE they contain, and scikit-learn."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import options_of
from omegaconf import OmegaConf
from scipy.sparse import random_array
from sklearn.decomposition import PCA as SklearnPCA
from torch import nn

from scvae_cli import CONF
from scvae_cli.models.adam import Adam
from scvae_cli.models.losses import kl_bernoulli
from scvae_cli.models.registry import MODELS, build
from scvae_cli.models.sparse import GeneLinear

GATES = ("c", "c_end", "alpha", "gate", "spike_warmup")
OPTIONS = {name: options_of(name) for name in MODELS}
OPTIONS["vsc_uai"] = options_of(
    "vsc_uai", pseudo_inputs=5, c_end=None, gate="relu", spike_warmup=0.0
)
TRAINED = ["ae", "vae", "vsc", "vsc_uai"]


def make(name, n_genes=40, **changes):
    return build(name, n_genes, 6, seed=0, **{**OPTIONS[name], **changes})


def cells(n=32, n_genes=40):
    return torch.rand(n, n_genes, generator=torch.Generator().manual_seed(1))


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def linears(module):
    """(inputs, outputs) of each linear layer; the one on genes keeps its weights transposed."""
    return [
        tuple(m.weight.shape) if isinstance(m, GeneLinear) else tuple(m.weight.shape[::-1])
        for m in module.modules()
        if isinstance(m, nn.Linear | GeneLinear)
    ]


def kinds(module):
    return [type(m).__name__.replace("GeneLinear", "Linear") for m in module]


# Widths and activations: report, section 2.4.


def test_autoencoder_is_the_reports():
    model = make("ae", n_genes=13714)
    assert linears(model.encoder) == [(13714, 128), (128, 32), (32, 16), (16, 6)]
    assert linears(model.decoder) == [(6, 16), (16, 32), (32, 128), (128, 13714)]
    assert kinds(model.encoder) == ["Linear", "Linear", "ReLU", "Linear", "ReLU", "Linear", "ReLU"]
    assert kinds(model.decoder) == ["Linear", "ReLU", "Linear", "ReLU", "Linear", "ReLU", "Linear"]


@pytest.mark.parametrize("name", ["vae", "vsc"])
def test_variational_models_are_the_reports(name):
    model = make(name, n_genes=13714)
    assert linears(model.encoder) == [(13714, 128), (128, 32)]
    assert kinds(model.encoder) == ["Linear", "Linear", "ReLU"]
    heads = [model.mu, model.sigma] + ([model.gate] if name == "vsc" else [])
    assert len({id(head) for head in heads}) == len(heads)
    for head in heads:
        assert kinds(head) == ["Linear", "ReLU", "Linear"]
        assert linears(head) == [(32, 16), (16, 6)]
    assert linears(model.decoder) == [(6, 16), (16, 32), (32, 128), (128, 13714)]


def test_what_the_authors_code_did_differently_can_be_had():
    """800-400-6 with bare heads, decoder 80-400-800, a ReLU first, and none on z."""
    wide = {"encoder": [800, 400], "branch": None, "decoder": [80, 400, 800]}
    model = make("vsc", **wide, first_activation="relu")
    assert linears(model.encoder) == [(40, 800), (800, 400)]
    assert type(model.encoder[1]).__name__ == "ReLU"
    assert linears(model.mu) == [(400, 6)]
    assert linears(model.decoder) == [(6, 80), (80, 400), (400, 800), (800, 40)]
    z = make("ae", latent_activation="linear").embed(cells(), "mean", noise())
    assert (z < 0).any()


def test_the_gate_alpha_and_c_are_the_authors_code():
    """The report gives none of them: log gamma = -ReLU(-v), alpha 0.5, c 50."""
    options = OmegaConf.load(CONF / "model" / "vsc.yaml")
    model = make("vsc", **{key: options[key] for key in GATES})
    v = torch.linspace(-3, 3, 7)
    assert torch.equal(model.log_gamma(v), v.clamp(max=0.0))
    assert (model.alpha, model.c, model.c_end) == (0.5, 50.0, 50.0)


def test_the_loss_is_a_mean_over_cells():
    """As the report has it, 2.1.1; its authors' code sums over the batch."""
    model, x = make("ae"), cells()
    each = [model.loss(cell[None], noise()).total for cell in x]
    assert torch.allclose(model.loss(x, noise()).total, torch.stack(each).mean())
    z = model.embed(x, "mean", noise())
    whole = (model.decoder(z) - x).square().sum() / len(x)
    assert torch.allclose(model.loss(x, noise()).total, whole)


def test_autoencoders_latents_are_not_negative():
    assert (make("ae").embed(cells(), "mean", noise()) >= 0).all()


@pytest.mark.parametrize("name", ["vae", "vsc"])
def test_sigma_is_read_from_its_head_as_asked(name):
    """One head, two readings: log sigma^2 = 2 log sigma."""
    x = cells()
    text, code = (make(name, sigma=kind) for kind in ("log_sigma", "log_variance"))
    head = text.sigma(text.encoder(x))
    assert torch.allclose(text.posterior(x)[1], torch.log(head.exp() ** 2), atol=1e-6)
    assert torch.equal(code.posterior(x)[1], head)


@pytest.mark.parametrize("name", TRAINED)
def test_every_parameter_gets_a_gradient(name):
    model = make(name)
    model.loss(cells(), noise()).total.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", ["vae", "vsc"])
def test_beta_weighs_the_kl_term(name):
    for beta in (0.0, 0.5, 4.0):
        loss = make(name, beta=beta).loss(cells(), noise())
        torch.testing.assert_close(loss.total, loss.reconstruction + beta * loss.kl)


def test_vsc_with_open_gates_is_the_vae():
    """gamma = 1: the KL less its Bernoulli term, the loss and the embedding are the VAE's."""
    vae, vsc = make("vae"), make("vsc", c=1e9)  # c so steep that no eta closes an open gate
    vsc.load_state_dict({**vsc.state_dict(), **vae.state_dict()})
    with torch.no_grad():
        vsc.gate[-1].weight.zero_()
        vsc.gate[-1].bias.fill_(5.0)
    x = cells()
    theirs, ours = vae.loss(x, noise()), vsc.loss(x, noise())
    log_gamma = vsc.posterior(x)[2]
    assert (log_gamma == 0).all()
    bernoulli = kl_bernoulli(log_gamma, 0.5).sum(1).mean()
    torch.testing.assert_close(ours.kl - bernoulli, theirs.kl)
    torch.testing.assert_close(ours.reconstruction, theirs.reconstruction)
    for kind in ("mean", "mu"):
        torch.testing.assert_close(vsc.embed(x, kind, noise()), vae.embed(x, kind, noise()))


def test_vsc_samples_have_the_posterior_mean_and_the_spike():
    """With a steep gate the share of zeros is 1 - gamma and the mean is gamma * mu."""
    model = make("vsc", c=1e6)
    mu, logvar, log_gamma = torch.tensor([[2.0]]), torch.tensor([[-2.0]]), torch.tensor([[-0.7]])
    n = 200_000
    z = model.sample(*(t.expand(n, 1) for t in (mu, logvar, log_gamma)), noise())
    gamma = float(log_gamma.exp())
    assert float((z.abs() < 1e-6).float().mean()) == pytest.approx(1 - gamma, abs=0.005)
    assert float(z.mean()) == pytest.approx(gamma * 2.0, abs=0.02)


@pytest.mark.parametrize("name", ["vae", "vsc"])
def test_samples_are_seeded_and_means_are_not_samples(name):
    model, x = make(name), cells()
    first, again, other = (model.embed(x, "sample", noise(s)) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(model.embed(x, "mean", noise(0)), model.embed(x, "mean", noise(1)))


def test_vsc_mean_is_gated_and_mu_is_not():
    model, x = make("vsc"), cells()
    mu, _, log_gamma = model.posterior(x)
    assert (log_gamma < 0).any()
    torch.testing.assert_close(model.embed(x, "mean", noise()), mu * log_gamma.exp())
    torch.testing.assert_close(model.embed(x, "mu", noise()), mu)


def test_spikes_warm_up_from_the_prior():
    """At first the slab is N(0, 1), so that its KL is that of the gates; later what heads give."""
    model, x = make("vsc", spike_warmup=0.5), cells()
    mu, logvar, log_gamma = model.posterior(x, progress=0.0)
    assert not mu.any()
    assert not logvar.any()
    gates = kl_bernoulli(log_gamma, 0.5).sum(1).mean()
    torch.testing.assert_close(model.loss(x, noise(), None, 0.0).kl, gates)
    at_once = make("vsc")
    for done in (0.5, 1.0):
        warm = model.loss(x, noise(), None, done)
        torch.testing.assert_close(warm.total, at_once.loss(x, noise()).total)
    assert model.loss(x, noise(), None, 0.25).kl < model.loss(x, noise(), None, 0.5).kl


def test_c_grows_in_a_straight_line():
    x = cells()
    grows, halfway = make("vsc", c=50.0, c_end=200.0), make("vsc", c=125.0)
    torch.testing.assert_close(
        grows.loss(x, noise(), None, 0.5).total, halfway.loss(x, noise()).total
    )
    steep = make("vsc", c=200.0).embed(x, "sample", noise())
    torch.testing.assert_close(grows.embed(x, "sample", noise()), steep)
    assert not torch.equal(steep, halfway.embed(x, "sample", noise()))


def test_a_pseudo_input_that_is_the_cell_leaves_the_kl_of_the_aggregate():
    model, x = make("vsc_uai", pseudo_inputs=1, gate="sigmoid", alpha=0.2), cells(1)
    with torch.no_grad():
        model.pseudo.copy_(x)
    on = model.posterior(x)[2].exp().mean()
    p, q = (torch.distributions.Bernoulli(probs) for probs in (on, torch.tensor(0.2)))
    expected = 6 * torch.distributions.kl_divergence(p, q)
    torch.testing.assert_close(model.loss(x, noise()).kl, expected)


def test_the_selector_weighs_pseudo_inputs():
    """As sure as it gets, the prior is one pseudo-input's, whichever others there are."""
    few, many = make("vsc_uai", pseudo_inputs=1), make("vsc_uai", pseudo_inputs=5)
    shared = {k: v for k, v in few.state_dict().items() if "pseudo" not in k and "sel" not in k}
    many.load_state_dict({**many.state_dict(), **shared})
    with torch.no_grad():
        many.pseudo[3] = few.pseudo[0]
        many.selector.bias[3] = 1e4
    x = cells()
    torch.testing.assert_close(few.loss(x, noise()).kl, many.loss(x, noise()).kl)


def test_a_posterior_like_its_pseudo_inputs_has_collapsed():
    model = make("vsc_uai", pseudo_inputs=1, gate="sigmoid", alpha=0.2)
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
        [*model.mu.parameters()][-1].fill_(2.0)  # far from N(0, 1), which is not its prior
        [*model.gate.parameters()][-1].fill_(float(torch.logit(torch.tensor(0.2))))
    assert any("collapse" in said for said in model.diagnose([(cells(), None)]))


def test_monitors_tell_the_kl_and_stuck_gates():
    x = cells()
    for gate in ("relu", "sigmoid"):
        model = make("vsc", gate=gate)
        loss = model.loss(x, noise())
        monitored = dict(zip(model.monitors, loss.monitors.tolist(), strict=True))
        kls = [monitored.pop(f"kl_z{i}") for i in range(1, 7)]
        assert sum(kls) == pytest.approx(loss.kl.item(), rel=1e-5)
        gamma = model.posterior(x)[2].exp().detach()
        stuck = float((gamma == 1).float().mean())
        assert monitored == pytest.approx({"gamma": float(gamma.mean()), "dead_gates": stuck})
        assert (stuck > 0.2) == (gate == "relu")


def test_a_random_projection_is_orthonormal_and_not_pca():
    x = random_array((200, 40), density=0.3, rng=np.random.default_rng(0), format="csr")
    x = x.astype(np.float32)
    model, other = make("projection"), make("projection")
    model.solve(x, 0)
    other.solve(x, 1)
    torch.testing.assert_close(model.components @ model.components.T, torch.eye(6))
    assert not torch.allclose(model.components, other.components)
    dense = torch.from_numpy(x.toarray())
    z = model.embed(dense, "mean", noise())
    centred = dense - dense.mean(0)
    left = (centred.square().sum(1) - z.square().sum(1)).mean()  # Pythagoras
    torch.testing.assert_close(model.loss(dense, noise()).total, left)


def test_pca_is_scikit_learns():
    x = random_array((200, 40), density=0.3, rng=np.random.default_rng(0), format="csr")
    x = x.astype(np.float32)
    model = make("pca")
    model.solve(x, 0)
    dense = x.toarray().astype(np.float64)
    truth = SklearnPCA(6, svd_solver="full").fit(dense)
    z = model.embed(torch.from_numpy(x.toarray()), "mean", noise()).numpy()
    expected = truth.transform(dense)
    signs = np.sign((z * expected).sum(0))
    np.testing.assert_allclose(z * signs, expected, atol=1e-3)
    error = ((dense - truth.inverse_transform(expected)) ** 2).sum(1).mean()
    loss = model.loss(torch.from_numpy(x.toarray()), noise())
    assert float(loss.total) == pytest.approx(error, rel=1e-4)


def test_pca_has_one_component_if_asked():
    x = random_array((60, 40), density=0.3, rng=np.random.default_rng(0), format="csr")
    model = build("pca", 40, 1, seed=0, **options_of("pca"))
    model.solve(x.astype(np.float32), 0)
    theirs = SklearnPCA(1, svd_solver="full").fit(x.toarray()).components_
    np.testing.assert_allclose(model.components.abs().numpy(), np.abs(theirs), atol=1e-4)


def test_every_model_has_its_options_in_conf():
    assert {path.stem for path in (CONF / "model").glob("*.yaml")} == {*MODELS}


@pytest.mark.parametrize("name", MODELS)
def test_fresh_weights_depend_on_the_seed_alone(name):
    before = torch.random.get_rng_state()
    first, again = make(name), make(name)
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("large", [1, 100, 10**6])
@pytest.mark.parametrize("name", TRAINED)
def test_our_adam_is_pytorchs(name, large, monkeypatch):
    monkeypatch.setattr("scvae_cli.models.adam.LARGE", large)
    mine, theirs = make(name), make(name)
    ours, adam = (
        Adam(mine.parameters(), 0.01),
        torch.optim.Adam(theirs.parameters(), 0.01, fused=True),
    )
    x = cells()
    for step in range(5):
        ours.step(mine.loss(x, noise(step)).total)
        adam.zero_grad()
        theirs.loss(x, noise(step)).total.backward()
        adam.step()
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_training_does_not_import_the_compiler():
    code = (
        "import sys, numpy as np, torch; from scvae_cli.models.registry import build; "
        "from scvae_cli.models.train import train; model = build('ae', 9, 2, seed=0, encoder=[4], "
        "decoder=[4], first_activation='relu', latent_activation='linear', "
        "likelihood='gaussian'); "
        "train(model, np.ones((8, 9), 'f4'), epochs=1, batch_size=4, lr=.1, batch_seed=0, "
        "noise_seed=0, device=torch.device('cpu'), on_epoch=print); "
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_reports_gates_get_stuck_and_sigmoid_ones_do_not():
    """Gates that are exactly 1 have no gradient; a sigmoid is Bernoulli's with these logits."""
    stuck = {}
    for gate in ("relu", "sigmoid"):
        model = make("vsc", gate=gate)
        v = model.gate(model.encoder(cells()))
        log_gamma = model.posterior(cells())[2]
        (gradient,) = torch.autograd.grad(model.log_gamma(v).sum(), v)
        stuck[gate] = float((gradient == 0).float().mean())
        if gate == "sigmoid":
            theirs = torch.distributions.Bernoulli(logits=v).probs
            torch.testing.assert_close(log_gamma.exp(), theirs)
    assert stuck["relu"] > 0.2
    assert stuck["sigmoid"] == 0.0
