"""The compiled functions of `compiled`, whose docstring says what they compute.

numba calls the C library's exp and log number by number. Those here are sums and products only, of
which the compiler makes instructions for many numbers at a time. Polynomials and constants are of
Moshier's Cephes (expf, logf); the results are within two units in the last place.

All of them are in this file, as numba does not see that a function of another file has changed.
"""

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

F = np.float32
# Cells whose gradients in what all cells share are summed apart from others'. As this does not
# follow the number of threads, neither do results.
CHUNK = 64
LAST = 16  # the largest count in the tables
LOG_FACTORIALS = np.array([math.lgamma(i + 1) for i in range(256)])
Function = Callable[..., Any]


def compiled(*flags: str) -> Callable[[Function], Function]:
    """Return what compiles a function in which a * b + c is rounded once, under LLVM's flags."""
    fastmath = {"contract", *flags}
    with_flags: Callable[[Function], Function]
    with_flags = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=fastmath)
    return with_flags


contracted = compiled()
summed = compiled("reassoc", "nsz")  # sums in any order: in that of the code they are slow


@contracted
def exp(z: Any) -> Any:
    """Compute the exponential of z, which is 0 or less; below -87, that of -87."""
    z = F(-87.0) if z < F(-87.0) else z  # keeps NaN
    n = np.int32(z * F(1.44269504) - F(0.5))
    r = z - F(n) * F(0.693359375)
    r = r + F(n) * F(2.12194440e-4)
    p = F(1.9875691500e-4)
    p = p * r + F(1.3981999507e-3)
    p = p * r + F(8.3334519073e-3)
    p = p * r + F(4.1665795894e-2)
    p = p * r + F(1.6666665459e-1)
    p = p * r + F(5.0000001201e-1)
    return (p * r * r + r + F(1)) * _power_of_two(n)


@contracted
def log1p(r: Any) -> Any:
    """Compute the log of 1 + r, for r of 0 or more."""
    y = F(1) + r
    # 1 + r = 2^k (1 + f), f from sqrt(1/2) - 1 to sqrt(2) - 1; where k is 0, f is r itself.
    k = (F(y).view(np.int32) - np.int32(0x3F3504F3)) >> np.int32(23)
    t = _power_of_two(-k)
    f = r * t + (t - F(1))
    p = F(7.0376836292e-2)
    p = p * f - F(1.1514610310e-1)
    p = p * f + F(1.1676998740e-1)
    p = p * f - F(1.2420140846e-1)
    p = p * f + F(1.4249322787e-1)
    p = p * f - F(1.6668057665e-1)
    p = p * f + F(2.0000714765e-1)
    p = p * f - F(2.4999993993e-1)
    p = p * f + F(3.3333331174e-1)
    rest = f * f * f * p - F(0.5) * f * f - F(k) * F(2.12194440e-4)
    return f + rest + F(k) * F(0.693359375)


@contracted
def _power_of_two(n: int) -> Any:
    return np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@contracted
def fill_tables(theta: np.ndarray, of_counts: np.ndarray) -> None:
    """Write the sums over j < x of log(1 + j / theta), and of j / (theta + j), for x <= LAST.

    The second is less the first one's slope in log theta.
    """
    of_counts[:, :2] = F(0)  # of no and of one count
    for x in range(2, LAST + 1):
        _add_term(F(x - 1), theta, of_counts[:, x - 1], of_counts[:, x])


@contracted
def _add_term(j: float, theta: np.ndarray, less: np.ndarray, more: np.ndarray) -> None:
    """Write the sums with one term more, (2, n_genes)."""
    logs, slopes, more_logs, more_slopes = less[0], less[1], more[0], more[1]
    for gene in range(theta.size):
        u = j / theta[gene]
        more_logs[gene] = logs[gene] + log1p(u)
        more_slopes[gene] = slopes[gene] + u / (F(1) + u)


@contracted
def _beyond(more: float, theta: float) -> tuple[float, float]:
    """Return what `more` counts beyond LAST add to the sums of `fill_tables`.

    By Stirling's series, as `negative_binomial.count_terms`, of theta + LAST in place of theta: as
    that is 16 or more, the series is exact, and in float64 nothing is lost as its terms cancel.
    """
    a = theta + LAST
    log_u, s, t = math.log1p(more / a), more / (more + a), a / (more + a)
    excess = log_u - s
    log = (a + more) * excess - log_u / 2 - s / (12 * a) + (1 - t**3) / (360 * a**3)
    slope = more * s - a * excess - s / 2
    slope -= s * (1 + t) / (12 * a) * (1 - (1 + t * t) / (10 * a * a))
    return log + more * math.log1p(LAST / theta), theta / a * slope + more * (LAST / a)


@contracted
def _log_factorial(x: int) -> Any:
    """Return log x!."""
    return LOG_FACTORIALS[x] if x < LOG_FACTORIALS.size else math.lgamma(x + 1.0)


@compiled(
    "reassoc", "nsz", "nnan"
)  # of NaN, any number may be the largest: what follows gives NaN all the same
def _add_bias(logits: np.ndarray, bias: np.ndarray) -> Any:
    """Add the bias to a cell's logits; return the largest of them."""
    top = logits[0] + bias[0]
    for gene in range(logits.size):
        logits[gene] += bias[gene]
        top = max(top, logits[gene])
    return top


@summed
def _exponentials(logits: np.ndarray, top: float, to: np.ndarray) -> Any:
    """Write exp(logits - top); return their sum."""
    total = F(0)
    for gene in range(logits.size):
        to[gene] = exp(logits[gene] - top)
        total += to[gene]
    return total


@summed
def _as_if_zero(
    row: np.ndarray, mean: float, theta: np.ndarray, inverse: np.ndarray, grad_theta: np.ndarray
) -> tuple[Any, Any]:
    """Compute what each gene of a cell adds if it has no count.

    Args:
        row: (4, n_genes), of which the first has exp(logits - top). The others get mu theta /
            (theta + mu), theta / (theta + mu) and log(1 + mu / theta).
        mean: mu divided by that.
        theta: (n_genes,) inverse dispersions.
        inverse: (n_genes,) 1 / theta.
        grad_theta: (n_genes,), to which the slope in log theta is added.

    Returns:
        The sum of theta log(1 + mu / theta), and that of mu theta / (theta + mu).
    """
    loss, total = F(0), F(0)
    e, by_log_mu, rests, logs = row[0], row[1], row[2], row[3]
    for gene in range(theta.size):
        r = e[gene] * mean * inverse[gene]
        rest = F(1) / (F(1) + r)
        share = r * rest
        log = log1p(r)
        few = F(1 / 4) + share * F(1 / 5)  # see `negative_binomial.excess`
        few = (F(1 / 2) + share * (F(1 / 3) + share * few)) * share * share
        excess = few if share < F(0.0412) else log - share
        grad_theta[gene] += theta[gene] * excess
        loss += theta[gene] * log
        by_log_mu[gene], rests[gene], logs[gene] = share * theta[gene], rest, log
        total += by_log_mu[gene]
    return loss, total


@summed
def _write_gradient(
    row: np.ndarray, per_share: float, scale: float, to: np.ndarray, grad_bias: np.ndarray
) -> None:
    """Write the gradient in a cell's logits, and add it to that in the bias."""
    e, by_log_mu = row[0], row[1]
    for gene in range(to.size):
        to[gene] = (by_log_mu[gene] - e[gene] * per_share) * scale
        grad_bias[gene] += to[gene]


@summed
def _total(values: np.ndarray) -> Any:
    """Return the counts of a cell; 1 if it has none: then, it has no mean to speak of."""
    total = F(0)
    for x in values:
        total += x
    return max(total, F(1))


@contracted
def chunks(
    counts: tuple[np.ndarray, np.ndarray, np.ndarray],
    logits: np.ndarray,
    bias: np.ndarray,
    theta: np.ndarray,
    of_counts: np.ndarray,
    losses: np.ndarray,
    of_genes: np.ndarray,
    part: tuple[int, int],
) -> None:
    """Compute the loss and gradients of the cells in some chunks.

    Args:
        counts: see `SparseRows.arrays`.
        logits: (n_cells, n_genes) less their bias, which are overwritten by their gradients.
        bias: (n_genes,) of the logits.
        theta: (n_genes,) inverse dispersions.
        of_counts: (2, LAST + 1, n_genes) of `fill_tables`.
        losses: (n_chunks,), to which the sum of -log P is written.
        of_genes: (n_chunks, 2, n_genes), to which the gradients in bias and log theta are written.
        part: the first chunk, and the one behind the last.
    """
    values, genes, starts = counts
    n_cells, n_genes = logits.shape
    scale, inverse = F(1 / n_cells), F(1) / theta
    row = np.empty((4, n_genes), F)
    for chunk in range(part[0], part[1]):
        losses[chunk] = 0.0
        of_genes[chunk] = F(0)
        grad_bias, grad_theta = of_genes[chunk, 0], of_genes[chunk, 1]
        for cell in range(chunk * CHUNK, min((chunk + 1) * CHUNK, n_cells)):
            own = slice(starts[cell], starts[cell + 1])
            total = _total(values[own])
            top = _add_bias(logits[cell], bias)
            norm = _exponentials(logits[cell], top, row[0])
            at_zero, by_logits = _as_if_zero(row, F(total / norm), theta, inverse, grad_theta)
            shift = F(math.log(total / norm) - top)
            at_counts, by_counts = _counts(
                values[own], genes[own], logits[cell], shift, row, theta, inverse, of_counts,
                grad_theta,
            )  # fmt: skip
            losses[chunk] += at_zero + at_counts
            by_logits = F((by_logits - by_counts) / norm)
            _write_gradient(row, by_logits, scale, logits[cell], grad_bias)
        of_genes[chunk, 1] *= scale


@contracted
def _counts(
    values: np.ndarray,
    genes: np.ndarray,
    logits: np.ndarray,
    shift: float,
    row: np.ndarray,
    theta: np.ndarray,
    inverse: np.ndarray,
    of_counts: np.ndarray,
    grad_theta: np.ndarray,
) -> tuple[Any, Any]:
    """Add what a cell's counts that are not zero add to -log P and its gradients.

    Args:
        values: (n,) counts.
        genes: (n,) of each.
        logits: (n_genes,).
        shift: log mu less the logit.
        row: (4, n_genes) of `_as_if_zero`, of which the second gets the gradient in log mu.
        theta: (n_genes,) inverse dispersions.
        inverse: (n_genes,) 1 / theta.
        of_counts: (2, LAST + 1, n_genes) of `fill_tables`.
        grad_theta: (n_genes,), to which the slope in log theta is added.

    Returns:
        The sum of -log P's terms, and that of x theta / (theta + mu).
    """
    by_log_mu, rests, logs = row[1], row[2], row[3]
    rising, falling = of_counts[0], of_counts[1]
    loss, total = 0.0, F(0)
    for i in range(values.size):
        x, gene, count = values[i], np.uintp(genes[i]), int(values[i])
        among = np.uintp(min(count, LAST))
        log, slope = float(rising[among, gene]), float(falling[among, gene])
        if count > LAST:
            more_log, more_slope = _beyond(count - LAST, theta[gene])
            log, slope = log + more_log, slope + more_slope
        loss += x * (logs[gene] - (logits[gene] + shift)) - log + _log_factorial(count)
        rest = x * rests[gene]
        # by_log_mu is theta times the share mu / (theta + mu) before it changes: a cell has a gene
        # once.
        grad_theta[gene] += F(slope) - x * (by_log_mu[gene] * inverse[gene])
        by_log_mu[gene] -= rest
        total += rest
    return loss, total
