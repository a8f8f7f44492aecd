"""Tells what values are: counts, normalized values, or logarithms of those.

Two properties tell, and each is looked for in x itself and in what x would be a logarithm of
(expm1(x), 2^x - 1, 10^x - 1):

- Normalised cells have one total. On four real data sets, complete or without rare genes, totals
  then differ by less than .2 % (standard deviation over mean), under a wrong base by 3.6 % and
  more, and those of counts by 46 % and more.
- What was counted comes in steps: divided by the cell's least value, the others are whole numbers,
  however many genes were left out since. That is so for 99 % and more of them under the right view
  and for 67 % at most under a wrong one, fractions apart, whose logarithm is nearly themselves.

What has neither (corrected counts; TPM without its other genes) has two readings; `doubt` says so.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from scvae_cli.data.wording import Wording

CONSTANT = 0.01  # totals that differ by less (sd / mean) are one total
ROUNDED = 0.005  # ... of whole numbers, of which Poisson totals of 40,000 have as much
ENOUGH = 5  # cells from which on a constant total tells something
STEPS = 0.9  # share of whole ratios from which on values are steps
RATIOS = 30  # ratios that there must be to say so
SMALLEST_LOG = 0.5  # where all are smaller, logarithms and what they are of are nearly the same
LARGEST_LOG = 25.0  # log1p of seven times 10^10: larger values are no logarithms
NOISE = 1e-4  # most that a computed whole number is off
ROUND = (1.0, 100.0, *(10.0**k for k in range(3, 8)))  # totals that cells are normalised to
SAMPLE = 200  # cells of which ratios are looked at

BASES: dict[str, tuple[float, Callable[[np.ndarray], np.ndarray]]] = {  # largest value, inverse
    "expm1(x)": (LARGEST_LOG, np.expm1),
    "2^x - 1": (LARGEST_LOG, lambda x: np.exp2(x) - 1),
    "10^x - 1": (9.0, lambda x: 10**x - 1),
}
# What logarithms are multiplied by to be natural ones.
TO_NATURAL = {"2^x - 1": float(np.log(2)), "10^x - 1": float(np.log(10))}


class Values(NamedTuple):
    """What values are.

    Attributes:
        kind: `counts`, `normalized` or `logged`.
        why: what tells so.
        whole: whether all are whole numbers.
        total: of each cell, before the logarithm if there was one, where all have the same.
        sure: whether there is no other reading.
        depths: totals of counts that were not brought to one before the logarithm.
        natural: what logarithms are to be multiplied by to be natural ones.
    """

    kind: str
    why: str
    whole: bool
    total: float | None = None
    sure: bool = True
    depths: str | None = None
    natural: float = 1.0


def recognise(x: csr_matrix, like: Mapping[str, Any] | None = None) -> Values:
    """Tell what the values of cells are.

    Args:
        x: (n_cells, n_genes), not negative; all genes that there are.
        like: of new cells, which may be few, what the run's own were: `values`, `total`, `sure`.
    """
    data, like = x.data.astype(np.float64), like or {}
    usual, known = like.get("values"), like.get("total")
    if not len(data):
        return Values(usual or "counts", "all zero", whole=True)
    whole, totals = are_whole(data), _totals(x, data)
    if whole:
        return recognise_whole(totals, known if usual == "normalized" else None)
    span = _span(totals)
    if usual and like.get("sure") is False:
        return Values(usual, f"not whole, {span}; as the run's own", whole, sure=False)
    views = {"x": data} | {
        name: inverse(data)
        for name, (limit, inverse) in BASES.items()
        if SMALLEST_LOG < data.max() <= limit
    }
    sums = {name: _totals(x, view) for name, view in views.items()}
    ones = {name: _one(of_view, known) for name, of_view in sums.items()}
    even = min(sums, key=lambda name: _spread(sums[name]) if ones[name] else np.inf)
    if one := ones[even]:
        if even == "x":
            return Values("normalized", f"the total of each cell is {_number(one)}", whole, one)
        why = f"{even} has the total {_number(one)} in each cell"
        return Values("logged", why, whole, one, natural=TO_NATURAL.get(even, 1.0))
    for name, view in views.items():
        steps = _steps(x, view)
        if steps is None:
            continue
        if name != "x":
            raw = len(steps) >= ENOUGH and np.abs(steps - np.rint(steps)).max() < 2 * CONSTANT
            depths = _span(sums[name]) if raw else None  # each cell's least was a whole number
            why = f"{name} is whole multiples of each cell's least"
            natural = TO_NATURAL.get(name, 1.0)
            return Values("logged", why, whole, depths=depths, natural=natural)
        if len(steps) > 1 and _spread(steps) < CONSTANT:
            return Values("counts", f"whole multiples of {np.median(steps):.4g}, {span}", whole)
        total = 1.0 if totals.max() <= 1 else None
        return Values("normalized", "whole multiples of each cell's least", whole, total)
    return _unsure(data, span, usual)


def are_whole(data: np.ndarray) -> bool:
    """Tell whether all values, float64, are whole numbers, but for rounding."""
    return bool((np.abs(data - np.rint(data)) <= NOISE).all())


def recognise_whole(totals: np.ndarray, known: float | None = None) -> Values:
    """Tell what whole values of cells are, by the totals of the cells that have any.

    Args:
        totals: (n_cells,).
        known: of new cells, the total of a run's own, where these were normalized.
    """
    total = _one(totals, known)
    rounded = total in ROUND and 0 < _spread(totals) < ROUNDED and len(totals) >= ENOUGH
    if total is not None and (rounded or total == known):
        why = f"whole numbers, but the total of each cell is about {_number(total)}"
        return Values("normalized", why, True, total, sure=False)
    return Values("counts", f"whole numbers, {_span(totals)}", whole=True)


def _span(totals: np.ndarray) -> str:
    return f"totals {_number(totals.min())} to {_number(totals.max())}"


def _unsure(data: np.ndarray, span: str, usual: str | None) -> Values:
    """Return the likeliest of several readings of values that are not whole.

    To divide by the total what was so divided does little; not to divide counts leaves the depth
    of sequencing in every component. So values too large for logarithms are counts.
    """
    large = data[data > 0.5]
    if len(large) and (np.abs(large - np.rint(large)) <= NOISE).mean() > 0.3:
        return Values("counts", f"many are whole numbers, {span}", whole=False)
    if data.max() <= LARGEST_LOG:
        kind = "logged"
    else:
        kind = usual if usual in ("counts", "normalized") else "counts"
    why = f"not whole, none above {_number(data.max())}, {span}"
    return Values(kind, why, whole=False, sure=False)


def doubt(values: Values, taken: str, wording: Wording) -> str | None:
    """Return what to know of values that have two readings, or are odd; None if neither.

    Args:
        values: what was recognised.
        taken: the reading that was chosen.
        wording: what the person who gave the values calls the setting of the other one.
    """
    if values.depths is not None and taken == "logged":
        return (
            f"values are logarithms of counts that were not normalized ({values.depths}), so how "
            "deeply a cell was sequenced is left in them; better give the counts"
        )
    if values.sure:
        return None
    if values.whole:
        other = "normalized" if taken == "counts" else "counts"
        reading = "normalized and rounded, or counts of one total"
    elif taken == "logged":
        other, reading = "counts", "logarithms, or counts that were corrected"
    else:
        other = "normalized" if taken == "counts" else "counts"
        reading = "counts that were corrected, or normalized"
    setting = wording.setting("values", other)
    return f"values may be {reading} ({values.why}); taken as {taken} (else {setting})"


def _totals(x: csr_matrix, data: np.ndarray) -> np.ndarray:
    """Return the totals of the cells that have any, with `data` in place of x's."""
    rows = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
    totals = np.bincount(rows, weights=data, minlength=x.shape[0])
    return totals[totals > 0]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _spread(values: np.ndarray) -> float:
    return float(values.std() / values.mean())


def _one(totals: np.ndarray, known: float | None = None) -> float | None:
    """Return the total of all cells, a round number where it is near one; None if they differ.

    A few cells have one total by chance; that counts only if it is a round or a `known` one.
    """
    if _spread(totals) > CONSTANT:
        return None
    if known is not None and np.abs(totals / known - 1).max() < CONSTANT:
        return known
    middle = float(np.median(totals))
    near = min(ROUND, key=lambda total: abs(np.log(total / middle)))
    if abs(near / middle - 1) < CONSTANT:
        return near
    return middle if len(totals) >= ENOUGH else None


def _steps(x: csr_matrix, view: np.ndarray) -> np.ndarray | None:
    """Return the least value of each cell, if the others are multiples of it; None if not."""
    whole, least, n = 0, [], 0
    for row in np.unique(np.linspace(0, x.shape[0] - 1, SAMPLE).astype(int)):
        values = view[x.indptr[row] : x.indptr[row + 1]]
        values = values[values > 0]
        if not len(values):
            continue
        ratios = values / values.min()
        ratios = ratios[(ratios > 1.001) & (ratios < 20)]  # beyond, rounded texts are not exact
        whole += int((np.abs(ratios - np.rint(ratios)) < 0.02).sum())
        n += len(ratios)
        least.append(values.min())
    return np.array(least) if n >= RATIOS and whole >= STEPS * n else None
