"""Put means and differences over seeds into words."""

import numpy as np

from scvae_cli.analysis.stats import Estimate


def verdict(difference: Estimate) -> str:
    """Return whether a claim that a difference is positive holds, beyond its 95 % interval."""
    if not np.isfinite(difference.half):
        return "undecided"
    if difference.low > 0:
        return "holds"
    return "does not hold" if difference.high < 0 else "undecided"


def signed(difference: Estimate) -> str:
    """Return a difference with its sign and its interval: `+0.072 ± 0.041`."""
    return f"{difference.mean:+.3f}" + interval(difference, 3)


def plain(mean: Estimate, digits: int, *, sd: bool = False) -> str:
    """Return a mean with its interval and, if asked for, its standard deviation in brackets."""
    spread = f" ({mean.sd:.{digits}f})" if sd and np.isfinite(mean.half) else ""
    return f"{mean.mean:.{digits}f}" + interval(mean, digits) + spread


def interval(estimate: Estimate, digits: int) -> str:
    """Return half the width of the interval, ` ± 0.041`; nothing where one value has none."""
    return f" ± {estimate.half:.{digits}f}" if np.isfinite(estimate.half) else ""
