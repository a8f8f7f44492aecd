"""From cells of known types to the types of others, by neighbours in a latent space."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.neighbors import KNeighborsClassifier

from scvae_cli.errors import Given, InputError, Kind

UNKNOWN = "unknown"  # the type of cells that get none
N_NEIGHBORS = 15
PROBABILITY = 0.5
QUANTILE = 0.95
MOST = 10_000  # reference cells, drawn at random, whose distances give the limit


@dataclass(frozen=True, eq=False)
class Transferred:
    """Types that cells have got from their neighbours.

    Attributes:
        cell_types: (n_cells,) names of types; `UNKNOWN` where `probability` is too small or
            `distance` above 1.
        probability: (n_cells,) of the most likely type, also where the cell does not get it.
        distance: (n_cells,) mean distance to the neighbours, divided by the limit.
    """

    cell_types: np.ndarray
    probability: np.ndarray
    distance: np.ndarray


def transfer(
    reference: np.ndarray,
    cell_types: np.ndarray,
    latent: Any,
    *,
    n_neighbors: int = N_NEIGHBORS,
    probability: float = PROBABILITY,
    quantile: float = QUANTILE,
) -> Transferred:
    """Give cells the types of their nearest neighbours among the cells of a reference.

    The probability of a type is its share of the neighbours, each of which counts by the inverse
    of its distance. The limit of distance is a quantile of the mean distances of the reference
    cells to their own neighbours, without themselves.

    Args:
        reference: (n_reference, n_latent) places of cells of known types.
        cell_types: (n_reference,) their types.
        latent: (n_cells, n_latent) places of the others, as an array or a table.
        n_neighbors: how many neighbours have a say.
        probability: cells whose most likely type has less get none.
        quantile: cells farther from their neighbours than this share of the reference cells are
            from theirs get none.

    Raises:
        InputError: an argument is out of bounds, or there are too few cells in the reference.

    Example:
        >>> places = np.array([[0.0], [1.0], [2.0], [8.0], [9.0], [10.0]])
        >>> types = np.repeat(["T", "B"], 3)
        >>> transfer(places, types, np.array([[1.5], [50.0]]), n_neighbors=2).cell_types
        array(['T', 'unknown'], dtype=object)
    """
    latent = latent.toarray() if issparse(latent) else np.asarray(latent)
    _check(reference, latent, n_neighbors, probability, quantile)
    near = KNeighborsClassifier(n_neighbors, weights="distance").fit(reference, cell_types)
    shares = near.predict_proba(latent)
    most = np.max(shares, axis=1)
    distance = near.kneighbors(latent)[0].mean(axis=1) / _limit(near, reference, quantile)
    types = near.classes_[np.argmax(shares, axis=1)].astype(object)
    types[(most < probability) | (distance > 1)] = UNKNOWN
    return Transferred(types, most, distance)


def _limit(near: KNeighborsClassifier, reference: np.ndarray, quantile: float) -> float:
    """Return a quantile of the mean distances of the reference's cells to their neighbours."""
    some = np.arange(len(reference))
    if len(some) > MOST:
        some = np.sort(np.random.default_rng(0).permutation(len(some))[:MOST])
    # One more than asked for: each cell finds itself, or one that is where it is.
    own = near.kneighbors(reference[some], near.n_neighbors + 1)[0][:, 1:].mean(axis=1)
    return max(float(np.quantile(own, quantile)), float(np.finfo(np.float32).tiny))


def _check(
    reference: np.ndarray,
    latent: np.ndarray,
    n_neighbors: int,
    probability: float,
    quantile: float,
) -> None:
    """Refuse arguments that are out of bounds.

    Raises:
        InputError: they are.
    """
    for key, share in (("probability", probability), ("quantile", quantile)):
        if not 0 <= share <= 1:
            raise InputError(Kind.VALUE, Given(key, share), "must be from 0 to 1")
    if not 1 <= n_neighbors < len(reference):
        given = Given("n_neighbors", n_neighbors)
        bounds = f"must be at least 1, and less than the {len(reference)} cells of known type"
        raise InputError(Kind.VALUE, given, bounds)
    n = reference.shape[1]
    if latent.ndim != 2 or latent.shape[1] != n or not len(latent):
        shape = f"has the shape {latent.shape}, and must be (n_cells, {n})"
        raise InputError(Kind.VALUE, "latent", shape, "give what `embed` returns")
    if latent.dtype.kind not in "fiu" or not np.isfinite(latent).all():
        raise InputError(Kind.CONTENT, "latent", "has values that are no finite numbers")
