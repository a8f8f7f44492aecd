"""How well batches mix in a latent space and cell types stay apart: the scores of scIB.

Luecken et al., Nature Methods 19, 41 (2022), doi 10.1038/s41592-021-01336-8, with the definitions
of the package scib-metrics (0.5.10), whose values tests/test_mixing.py has. What differs from it:

- Neighbours are exact; those of scib-metrics are approximate (pynndescent) unless it is given
  others, and always in its kBET.
- Where there are fewer than 90 cells, or 50 or 15, all of them are neighbours of each other.
- kBET takes up to 100 components for each type. scib-metrics takes, for each type after a small
  one, no more than that one allowed, so that its value depends on the types' names.
- Numbers are float64, and those of scib-metrics float32: the scores differ by less than 1e-6.
- Cells without a type are left out of all scores but iLISI; scib-metrics takes them for a type.
- What is not defined is NaN, where scib-metrics raises, divides by 0 or takes a mean of the rest.
- NMI in the totals is that of the run: by default mutual information is divided by the geometric
  mean of the two entropies, in scib-metrics by the arithmetic mean. These are close
  where there are as many clusters as types, and differ more where there are not.
- Not computed: principal component regression, which needs the space before integration, and
  BRAS, which newer versions take in place of the silhouette of batches.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from sklearn import config_context
from sklearn.metrics import silhouette_samples

from scvae_cli.analysis.kbet import kbet
from scvae_cli.analysis.neighbourhood import (
    Near,
    connectivity,
    fuzzy_graph,
    lisi,
    lisi_weights,
    nearest,
)

MAX_CELLS = 50_000
# Neighbours of a cell, itself among them, as scib-metrics has them.
OF_LISI, OF_KBET, OF_CONNECTIVITY = 90, 50, 15
FEWEST = 6  # cells for which LISI is defined: a third of them is the perplexity, 2
MEGABYTES = 64  # of distances at a time


@dataclass(frozen=True)
class Mixing:
    """Scores from 0 to 1, higher is better; NaN where one is not defined.

    The first four are of batches, the other three of types.

    Attributes:
        ilisi: of how many batches a cell's neighbours are, (LISI - 1) / (n_batches - 1).
        kbet: share of cells around which batches are as frequent as in all cells of the type.
        graph_connectivity: share of a type's cells that a path of neighbours joins.
        silhouette_batch: 1 - |silhouette of the batches| in each type.
        clisi: of how few types a cell's neighbours are, (n_types - LISI) / (n_types - 1).
        silhouette_label: silhouette of the types, (1 + s) / 2.
        isolated_labels: the same for the types that are in the fewest batches.
    """

    ilisi: float = np.nan
    kbet: float = np.nan
    graph_connectivity: float = np.nan
    silhouette_batch: float = np.nan
    clisi: float = np.nan
    silhouette_label: float = np.nan
    isolated_labels: float = np.nan


@dataclass(frozen=True)
class Totals:
    """Means of scores, each NaN where one of its scores is: else means of fewer would compare.

    Attributes:
        batch_correction: mean of the four scores of batches.
        bio_conservation: mean of the three scores of types, NMI and ARI.
        overall: 0.4 batch_correction + 0.6 bio_conservation.
    """

    batch_correction: float
    bio_conservation: float
    overall: float


def totals(scores: Mixing, *, nmi: float, ari: float) -> Totals:
    """Compute the totals of scIB.

    Args:
        scores: from `mixing`.
        nmi: normalised mutual information of clusters and types.
        ari: adjusted Rand index of the same.
    """
    of_batches = [scores.ilisi, scores.kbet, scores.graph_connectivity, scores.silhouette_batch]
    of_types = [scores.clisi, scores.silhouette_label, scores.isolated_labels, nmi, ari]
    batch, bio = float(np.mean(of_batches)), float(np.mean(of_types))
    return Totals(batch, bio, 0.4 * batch + 0.6 * bio)


def mixing_scores(
    points: np.ndarray,
    batches: np.ndarray,
    labels: np.ndarray,
    scores: Mapping[str, float],
    seed: int,
) -> dict[str, float]:
    """Return the scores that are defined, and the totals, by name.

    Args:
        points: (n_cells, n_dims) of a latent space or a map.
        batches: (n_cells,) numbers.
        labels: (n_cells,) types, -1 where unknown; all the same where none is known.
        scores: `nmi` and `ari` of its clusters, where types are known.
        seed: see `mixing`.
    """
    found = mixing(points, batches, labels, seed=seed)
    of_types = {name: scores.get(name, np.nan) for name in ("nmi", "ari")}
    every = {**asdict(found), **asdict(totals(found, **of_types))}
    return {name: value for name, value in every.items() if np.isfinite(value)}


def mixing(
    latent: np.ndarray,
    batches: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int,
    max_cells: int = MAX_CELLS,
) -> Mixing:
    """Compute how well batches mix and types stay apart.

    Takes memory for a fixed number of neighbours of each cell, and never for all pairs of cells.

    Args:
        latent: (n_cells, n_latent) finite values.
        batches: (n_cells,) numbers.
        labels: (n_cells,) types, -1 where unknown.
        seed: of the sample, and of the start of kBET's eigenvectors.
        max_cells: of more cells, a sample by `sample` is scored.

    Returns:
        The scores. NaN are: iLISI with one batch; kBET and the silhouette of batches where no
        type is in two batches, and kBET where those that are have less than ten cells; cLISI, the
        silhouette of types and the isolated types with one type; silhouettes where no two cells
        are of the same group; all with fewer than `FEWEST` cells, or with so few of known types
        all but iLISI.
    """
    rng = np.random.default_rng(seed)
    if len(latent) > max_cells:
        kept = sample(batches, labels, max_cells, rng)
        latent, batches, labels = latent[kept], batches[kept], labels[kept]
    if len(latent) < FEWEST:
        return Mixing()
    points = latent.astype(np.float64)
    points -= points.mean(axis=0)  # scalar products lose digits far from 0
    near, weights = _weighted(points)
    ilisi = _median_lisi(near, weights, batches)
    typed = labels >= 0
    if typed.sum() < FEWEST:
        return Mixing(ilisi=ilisi)
    if not typed.all():
        points, batches, labels = points[typed], batches[typed], labels[typed]
        near, weights = _weighted(points)
    types = np.unique(labels, return_inverse=True)[1]
    return _with_types(ilisi, points, near, weights, batches, types, rng)


def _with_types(
    ilisi: float,
    points: np.ndarray,
    near: Near,
    weights: np.ndarray,
    batches: np.ndarray,
    types: np.ndarray,
    rng: np.random.Generator,
) -> Mixing:
    """Add the scores of cells whose types are known to iLISI."""
    silhouettes = _silhouettes(points, types)
    return Mixing(
        ilisi=ilisi,
        kbet=kbet(fuzzy_graph(near.first(OF_KBET - 1)), batches, types, rng),
        graph_connectivity=connectivity(near.first(OF_CONNECTIVITY - 1).index, types),
        silhouette_batch=silhouette_batch(points, batches, types),
        clisi=1 - _median_lisi(near, weights, types),
        silhouette_label=float(np.mean(1 + silhouettes) / 2),
        isolated_labels=_isolated(silhouettes, batches, types),
    )


def sample(
    batches: np.ndarray, labels: np.ndarray, n_cells: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw cells without replacement, of each batch and type as many as its share, to within one.

    Sorts the cells by batch and type, at random within both, and takes them at equal steps from
    a random start, so that each cell is as likely to be drawn.

    Args:
        batches: (n_cells,) numbers.
        labels: (n_cells,) numbers.
        n_cells: how many.
        rng: of the order and the start.

    Returns:
        (n_cells,) rows, in rising order.
    """
    order = np.lexsort((rng.permutation(len(batches)), labels, batches))
    steps = (np.arange(n_cells) + rng.random()) * (len(batches) / n_cells)
    return np.sort(order[steps.astype(np.int64)])


def silhouette_batch(points: np.ndarray, batches: np.ndarray, types: np.ndarray) -> float:
    """Compute 1 - |silhouette of the batches|, mean of each type's cells and then of the types.

    Args:
        points: (n_cells, n_dims).
        batches: (n_cells,) numbers.
        types: (n_cells,) from 0.

    Returns:
        The mean of the types that are in two batches or more, and have two cells in one; NaN
        where there is none.
    """
    means = []
    for number in range(int(types.max()) + 1):
        cells = types == number
        within = np.unique(batches[cells], return_inverse=True)[1]
        widths = np.abs(_silhouettes(points[cells], within))
        means.append(1 - widths.mean())
    defined = np.array(means)[~np.isnan(means)]
    return float(defined.mean()) if len(defined) else np.nan


def _silhouettes(points: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the silhouette of each cell, NaN where groups are one or as many as cells."""
    if not 0 < groups.max() < len(groups) - 1:
        return np.full(len(groups), np.nan)
    with config_context(working_memory=MEGABYTES):
        widths: np.ndarray = silhouette_samples(points, groups)
    return widths


def _isolated(silhouettes: np.ndarray, batches: np.ndarray, types: np.ndarray) -> float:
    """Return the mean scaled silhouette of the types in the fewest batches, mean over types."""
    pairs = np.unique(np.column_stack([types, batches]), axis=0)
    n_batches = np.bincount(pairs[:, 0])
    means = np.bincount(types, weights=1 + silhouettes) / np.bincount(types) / 2
    return float(means[n_batches == n_batches.min()].mean())


def _weighted(points: np.ndarray) -> tuple[Near, np.ndarray]:
    """Return the neighbours of each cell and their weights in LISI."""
    near = nearest(points, OF_LISI - 1)
    return near, lisi_weights(near.distances, (near.index.shape[1] + 1) // 3)


def _median_lisi(near: Near, weights: np.ndarray, groups: np.ndarray) -> float:
    """Return the median LISI, scaled from 0 (one group) to 1 (all); NaN if there is only one."""
    numbers, groups = np.unique(groups, return_inverse=True)
    if len(numbers) == 1:
        return np.nan
    return float((np.median(lisi(weights, near.index, groups)) - 1) / (len(numbers) - 1))
