"""From latent space to a map by UMAP.

McInnes, Healy & Melville, arXiv 1802.03426. The neighbours are exact and their graph is that of
`neighbourhood`, which umap-learn would compile for 10 s at each start; umap-learn lays it out.

The layout starts at principal components, and not at eigenvectors of the graph as umap-learn's
own. Of the 700 PBMCs it keeps neighbours as well (trustworthiness .987 in 2-D), and distances
better (Spearman's rho .75, and .52); see Kobak & Linderman, Nature Biotechnology 39, 156 (2021).
Islands of the graph stay in order, and the seed sets every byte: ARPACK starts again at random
without one.
"""

import re
import warnings
from collections.abc import Callable
from io import TextIOBase

import numpy as np
from scipy.sparse import csr_array, csr_matrix
from threadpoolctl import threadpool_limits

from scvae_cli.analysis.neighbourhood import fuzzy_graph, nearest
from scvae_cli.analysis.tsne import check_spread
from scvae_cli.errors import Kind, RunError

MANY = 10_000  # cells beyond which umap-learn takes fewer epochs
EPOCHS = {False: 500, True: 200}  # by whether there are so many
SPREAD = 1.0  # of the cells on the map; with min_dist it says how dense clusters are
LEARNING_RATE = 1.0
REPULSION = 1.0
NEGATIVE = 5  # cells that push a cell away, for one that pulls it
COUNT = re.compile(r"(\d+)/(\d+)")
# Seconds on two cores: to compile; of a cell, a neighbour and an epoch; of two cells' distance.
_SECONDS = 4.0, 2.0e-7, 7e-9


def epochs_of(n_cells: int, n_epochs: int | None) -> int:
    """Return the epochs of a map: as many as asked for, or else as umap-learn takes."""
    return EPOCHS[n_cells > MANY] if n_epochs is None else n_epochs


def umap_seconds(n_cells: int, n_neighbors: int, n_epochs: int | None) -> float:
    """Estimate the seconds of a map, of as many dimensions as you like."""
    start, step, pair = _SECONDS
    edges = float(n_cells) * n_neighbors
    return start + step * edges * epochs_of(n_cells, n_epochs) + pair * float(n_cells) ** 2


def umap(
    latent: np.ndarray,
    n_dims: int,
    *,
    n_neighbors: int,
    min_dist: float,
    n_epochs: int | None,
    seed: int,
    on_step: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Map cells with UMAP. The same seed gives the same bytes, whatever the number of threads.

    Args:
        latent: (n_cells, n_latent).
        n_dims: 2 or 3.
        n_neighbors: of a cell, with the cell itself: at most n_cells.
        min_dist: how near cells may be on the map, from 0 to 1.
        n_epochs: None for `EPOCHS`.
        seed: of the map.
        on_step: is told how many epochs are done, now and then.

    Returns:
        (n_cells, n_dims) float32.

    Raises:
        RunError: all cells are at one point, or the map is not finite.
    """
    check_spread(latent)
    points = latent - latent.mean(axis=0, dtype=float)  # float64
    points /= np.abs(points).max()  # the graph does not depend on it, and squares stay finite
    # Sums of several threads differ in their last bits, which a map magnifies.
    with threadpool_limits(1), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # umap-learn tells that there is no tensorflow
        places = _lay_out(
            fuzzy_graph(nearest(points, n_neighbors - 1)), points, n_dims, min_dist,
            epochs_of(len(points), n_epochs), np.random.RandomState(seed), _shown_to(on_step),
        )  # fmt: skip
    if not np.isfinite(places).all():
        fix = "try another umap.seed, or map=tsne"
        raise RunError(Kind.DIVERGED, None, f"the {n_dims}-D UMAP map is not finite", fix)
    return places


def _lay_out(
    graph: csr_array,
    points: np.ndarray,
    n_dims: int,
    min_dist: float,
    n_epochs: int,
    random: np.random.RandomState,
    shown: dict[str, object],
) -> np.ndarray:
    """Lay out a graph (n_cells, n_cells) of points (n_cells, n_latent): (n_cells, n_dims) float32.

    Args:
        graph: weights of its edges.
        points: for the start.
        n_dims: 2 or 3.
        min_dist: see `umap`.
        n_epochs: passes over all edges.
        random: of the start and of the cells that push others away.
        shown: arguments of tqdm.
    """
    from umap.umap_ import find_ab_params, simplicial_set_embedding  # numba takes seconds

    start = "pca" if min(points.shape) >= n_dims else "random"
    places, _ = simplicial_set_embedding(
        points, csr_matrix(graph), n_dims, LEARNING_RATE, *find_ab_params(SPREAD, min_dist),
        REPULSION, NEGATIVE, n_epochs, start, random, "euclidean", {}, densmap=False,
        densmap_kwds={}, output_dens=False, tqdm_kwds=shown,
    )  # fmt: skip
    return np.asarray(places, np.float32)


def _shown_to(on_step: Callable[[int], None] | None) -> dict[str, object]:
    """Return arguments of tqdm, in which umap-learn counts, that tell epochs to a function."""
    if on_step is None:
        return {"disable": True}
    return {
        "disable": False, "file": _Listener(on_step), "bar_format": "{n_fmt}/{total_fmt}",
        "ascii": True, "ncols": 40,
    }  # fmt: skip


class _Listener(TextIOBase):
    """Takes what tqdm writes, and tells the number of epochs that are done."""

    def __init__(self, on_step: Callable[[int], None]) -> None:
        self._on_step = on_step

    def write(self, text: str) -> int:
        """Take a text that is written."""
        if found := COUNT.search(text):
            self._on_step(int(found[1]))
        return len(text)
