"""The KL terms against torch.distributions."""

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from scvae_cli.models.losses import (
    kl_bernoulli,
    kl_normal,
    kl_spike_slab,
    kl_spike_slabs,
    squared_error,
)


@pytest.fixture
def draws():
    generator = torch.Generator().manual_seed(0)
    mu = 3 * torch.randn(50, 6, generator=generator, dtype=torch.float64)
    logvar = 2 * torch.randn(50, 6, generator=generator, dtype=torch.float64)
    gamma = torch.rand(50, 6, generator=generator, dtype=torch.float64).clamp(1e-4, 1 - 1e-4)
    return mu, logvar, gamma


def test_kl_normal(draws):
    mu, logvar, _ = draws
    truth = kl_divergence(Normal(mu, logvar.mul(0.5).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_normal(mu, logvar), truth)


@pytest.mark.parametrize("alpha", [0.01, 0.5, 0.9])
def test_kl_bernoulli(draws, alpha):
    gamma = draws[2]
    prior = Bernoulli(torch.tensor(alpha, dtype=torch.float64))
    truth = kl_divergence(Bernoulli(gamma), prior)
    torch.testing.assert_close(kl_bernoulli(gamma.log(), alpha), truth)


def test_kl_of_the_spike_is_that_of_the_bernoulli_alone(draws):
    mu, logvar, _ = draws
    closed = torch.full_like(mu, -800.0)  # gamma = 0 in float64
    truth = kl_divergence(Bernoulli(torch.tensor(0.0)), Bernoulli(torch.tensor(0.3)))
    expected = truth.double().expand_as(mu)
    torch.testing.assert_close(kl_spike_slab(mu, logvar, closed, 0.3), expected)


def test_kl_spike_slab_by_simulation():
    """The mixture's KL against its definition, E_q[log q - log p], atoms against atoms."""
    mu, sigma, gamma, alpha = 0.7, 0.4, 0.35, 0.2
    generator = torch.Generator().manual_seed(0)
    n = 400_000
    slab = torch.rand(n, generator=generator, dtype=torch.float64) < gamma
    z = mu + sigma * torch.randn(n, generator=generator, dtype=torch.float64)
    ratio = Normal(mu, sigma).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    on = torch.log(torch.tensor(gamma / alpha)) + ratio
    off = torch.log(torch.tensor((1 - gamma) / (1 - alpha))).double()
    truth = torch.where(slab, on, off).mean()
    values = [torch.tensor([[v]], dtype=torch.float64) for v in (mu, sigma, gamma)]
    kl = kl_spike_slab(values[0], 2 * values[1].log(), values[2].log(), alpha)
    torch.testing.assert_close(kl.squeeze(), truth, atol=0.01, rtol=0.0)


def test_gradient_is_finite_where_the_gate_is_fully_open():
    gate = torch.tensor([[2.0, 0.0, -1e-9, -0.5]], requires_grad=True)
    kl_bernoulli(-torch.relu(-gate), 0.5).sum().backward()
    assert torch.isfinite(gate.grad).all()
    assert gate.grad[0, 3] != 0


def test_gradients_match_finite_differences(draws):
    mu, logvar, gamma = (d[:4].clone().requires_grad_() for d in draws)
    assert torch.autograd.gradcheck(
        lambda m, v, g: kl_spike_slab(m, v, g.log(), 0.3), (mu, logvar, gamma)
    )


def test_squared_error_sums_over_genes():
    x, x_hat = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [0.0, 3.0]])
    assert squared_error(x, x_hat).tolist() == [5.0, 9.0]


def test_kl_between_spikes_and_slabs(draws):
    """Each of 50 against each of 3, by PyTorch's KLs of normals and Bernoullis."""
    mu, logvar, gamma = draws
    q = mu, logvar, gamma.log()
    p = tuple(part[:3] / 2 for part in q)  # of log gamma too: its square root
    normals = [Normal(m, v.mul(0.5).exp()) for m, v, _ in (q, p)]
    slabs = kl_divergence(Normal(mu[:, None], normals[0].scale[:, None]), normals[1])
    ours, theirs = torch.broadcast_tensors(gamma[:, None], p[2].exp())
    spikes = kl_divergence(Bernoulli(ours), Bernoulli(theirs))
    torch.testing.assert_close(kl_spike_slabs(q, p), gamma[:, None] * slabs + spikes)
    prior = (torch.zeros(1, 6).double(), torch.zeros(1, 6).double(), torch.full((1, 6), 0.3).log())
    one = kl_spike_slabs(q, prior)[:, 0]
    torch.testing.assert_close(one, kl_spike_slab(*q, 0.3), rtol=1e-6, atol=1e-6)


def test_kl_between_spikes_is_finite_at_the_edges():
    """Gates of exactly 0 or 1 on either side, with finite gradients."""
    log_gamma = torch.tensor([[0.0, -800.0]], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, 2, dtype=torch.float64)
    kl = kl_spike_slabs((zero, zero, log_gamma), (zero, zero, log_gamma.detach().flip(1)))
    (gradient,) = torch.autograd.grad(kl.sum(), log_gamma)
    assert torch.isfinite(kl).all()
    assert torch.isfinite(gradient).all()
