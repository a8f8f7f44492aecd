"""The terms of the losses, one number per cell, each under its formula."""

from torch import Tensor

# The smallest distance from gamma to 1 that counts: nearer, log(1 - gamma) has no useful gradient.
_EDGE = 1e-6
ACTIVE = 0.01  # nats: a latent with a smaller KL is the prior, whatever the cell


def squared_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """Compute ||x - x_hat||^2, summed over genes (report 2.1.1).

    Args:
        x: (n_cells, n_genes) values.
        x_hat: (n_cells, n_genes) reconstructions.

    Returns:
        (n_cells,)
    """
    return (x - x_hat).square().sum(1)


def kl_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """Compute KL(N(mu, sigma^2) || N(0, 1)), for each latent.

    (mu^2 + sigma^2 - 1 - log sigma^2) / 2.
    Kingma & Welling, Auto-Encoding Variational Bayes (2013), appendix B.

    Args:
        mu: (n_cells, n_latent) means.
        logvar: (n_cells, n_latent) log sigma^2.

    Returns:
        (n_cells, n_latent)
    """
    return 0.5 * (mu.square() + logvar.exp() - 1.0 - logvar)


def kl_bernoulli(log_gamma: Tensor, alpha: float) -> Tensor:
    """Compute KL(Bernoulli(gamma) || Bernoulli(alpha)), for each latent.

    gamma log(gamma / alpha) + (1 - gamma) log((1 - gamma) / (1 - alpha)). Finite, with finite
    gradients, also where gamma is exactly 1.

    Args:
        log_gamma: (n_cells, n_latent) log probabilities, at most 0.
        alpha: prior probability, between 0 and 1.

    Returns:
        (n_cells, n_latent)
    """
    gamma = log_gamma.exp()
    rest = (1.0 - gamma).clamp_min(_EDGE)
    on, off = (gamma.new_full((), share).log() for share in (alpha, 1.0 - alpha))
    return gamma * (log_gamma - on) + rest * (rest.log() - off)


def kl_spike_slab(mu: Tensor, logvar: Tensor, log_gamma: Tensor, alpha: float) -> Tensor:
    """Compute the KL of a spike-and-slab posterior from its prior, for each latent.

    gamma KL(N(mu, sigma^2) || N(0, 1)) + KL(Bernoulli(gamma) || Bernoulli(alpha)).
    Tonolini, Jensen & Murray-Smith, Variational Sparse Coding (2019).

    Args:
        mu: (n_cells, n_latent) means of the slab.
        logvar: (n_cells, n_latent) log sigma^2 of the slab.
        log_gamma: (n_cells, n_latent) log probability of the slab.
        alpha: its prior probability.

    Returns:
        (n_cells, n_latent)
    """
    return log_gamma.exp() * kl_normal(mu, logvar) + kl_bernoulli(log_gamma, alpha)


def kl_spike_slabs(q: tuple[Tensor, Tensor, Tensor], p: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Compute the KL of each spike-and-slab q from each spike-and-slab p, for each latent.

    gamma KL(N(mu, sigma^2) || N(mu_p, sigma_p^2)) + KL(Bernoulli(gamma) || Bernoulli(gamma_p)).
    Finite where a gamma_p is exactly 0 or 1.

    Args:
        q: mu, log sigma^2 and log gamma, each (n_cells, n_latent).
        p: the same, each (n_priors, n_latent).

    Returns:
        (n_cells, n_priors, n_latent)
    """
    mu, logvar, log_gamma = (part[:, None] for part in q)
    mu_p, logvar_p, log_gamma_p = p
    gamma, gamma_p = log_gamma.exp(), log_gamma_p.exp().clamp(_EDGE, 1.0 - _EDGE)
    ratio = ((mu - mu_p).square() + logvar.exp()) / logvar_p.exp()
    slab = 0.5 * (ratio - 1.0 + logvar_p - logvar)
    rest = (1.0 - gamma).clamp_min(_EDGE)
    spike = gamma * (log_gamma - gamma_p.log()) + rest * (rest.log() - (1.0 - gamma_p).log())
    return gamma * slab + spike
