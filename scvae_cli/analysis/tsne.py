"""From latent space to a map."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from threading import Lock, get_ident
from typing import Any, TextIO

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from scvae_cli.errors import Kind, RunError

# Seconds for each cell and doubling of their number, of 1,000 steps on two cores.
_SECONDS = {2: 3.0e-4, 3: 8.7e-4}
_STARTED = 1.25e-3  # of a 3-D map that starts from the 2-D one: 7e-4 to 2.2e-3 from 700 to 10,000

PIECE = 50_000  # cells that are placed at once
NEAR = 5  # mapped cells that say where another cell is placed
TINY = float(np.finfo(np.float32).tiny)
ITERATION = re.compile(r"\[t-SNE\] Iteration (\d+): error")
RAISED = 0.3  # of the standard deviation of a 2-D map: that of the third axis where 3-D begins
ROUNDING = 32 * float(np.finfo(np.float32).eps)  # relative error of a few layers


def expected_seconds(n_cells: int, n_dims: int, max_iter: int, *, started: bool = False) -> float:
    """Estimate the seconds of a map: as n log n (Barnes-Hut), from PBMC3k on two cores.

    Args:
        n_cells: of the map.
        n_dims: 2 or 3.
        max_iter: number of steps.
        started: whether a 3-D map starts from the 2-D one.
    """
    seconds = _STARTED if started else _SECONDS[n_dims]
    return seconds * n_cells * float(np.log2(n_cells)) * max_iter / 1000


def choose(n_cells: int, max_cells: int | None, seed: int) -> np.ndarray:
    """Choose the cells that a map shows: all, or `max_cells` of them at random.

    Args:
        n_cells: how many there are.
        max_cells: how many may be mapped; None for all.
        seed: of the choice.

    Returns:
        Their indices, rising.
    """
    if max_cells is None or n_cells <= max_cells:
        return np.arange(n_cells)
    return np.sort(np.random.default_rng(seed).choice(n_cells, max_cells, replace=False))


def varies(latent: np.ndarray) -> np.ndarray:
    """Tell which latent features differ between cells by more than float32 rounds: (n_latent,).

    Args:
        latent: (n_cells, n_latent) float32.
    """
    differs: np.ndarray = np.ptp(latent, axis=0) > ROUNDING * np.abs(latent).max(axis=0)
    return differs


def tsne(
    latent: np.ndarray,
    n_dims: int,
    *,
    init: str | np.ndarray,
    seed: int,
    threads: int,
    on_step: Callable[[int], None] | None = None,
    **options: Any,
) -> np.ndarray:
    """Map cells with t-SNE by scikit-learn (van der Maaten & Hinton, JMLR 9, 2008).

    Args:
        latent: (n_cells, n_latent).
        n_dims: 2 or 3.
        init: `pca`, `random` (for `pca` too where latents are fewer than n_dims), or the places.
        seed: of the map.
        threads: CPU threads; the map's last bits may depend on it.
        on_step: is told the number of every fiftieth iteration.
        options: the other arguments of scikit-learn's TSNE, such as perplexity (less than
            n_cells) and max_iter.

    Returns:
        (n_cells, n_dims) float32.

    Raises:
        RunError: all cells are at one point, or the map is not finite.
    """
    check_spread(latent)
    mapper = TSNE(
        n_components=n_dims,
        init="random" if isinstance(init, str) and latent.shape[1] < n_dims else init,
        random_state=seed,
        n_jobs=threads,
        verbose=0 if on_step is None else 2,  # scikit-learn tells of iterations in no other way
        **options,
    )
    with nullcontext() if on_step is None else _heard(on_step):
        places: np.ndarray = mapper.fit_transform(latent)
    if not np.isfinite(places).all():
        raise RunError(
            Kind.DIVERGED, None, f"the {n_dims}-D t-SNE map is not finite", "try tsne.init=random"
        )
    return places


def from_2d(latent: np.ndarray, flat: np.ndarray, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of `tsne` for a 3-D map that starts from the 2-D one.

    Cells start on the 2-D map, raised along the third principal component; nothing is exaggerated.
    From there, 300 steps leave less divergence than 1,000 from principal components and keep about
    as many of a cell's 15 neighbours, or more: KL .112 for .147 and .871 for .865 on 700 PBMCs,
    .073 for .087 and .883 for .880 on 499 cells of three lines, .310 for .445 and .824 for .798 on
    PBMC3k, .724 for .865 and .594 for .596 on 3,774 sorted PBMCs. A shrunken 2-D map starts worse.

    Args:
        latent: (n_cells, n_latent).
        flat: (n_cells, 2) the 2-D map.
        options: of `tsne` for a map by itself; the third axis is random, by their seed, where
            there is no third component.
    """
    across = np.random.default_rng(options["seed"]).normal(size=len(latent))
    if min(latent.shape) >= 3:
        wide = latent.astype(float)  # whose squares are not 0 where distances are small
        third = PCA(3, svd_solver="covariance_eigh").fit_transform(wide)[:, 2]
        across = third if third.std() > 0 else across
    start = np.column_stack([flat, RAISED * flat.std() * across / across.std()])
    rate = options["learning_rate"]
    if rate == "auto":  # scikit-learn's rule for a map by itself
        rate = max(len(latent) / options["early_exaggeration"] / 4, 50.0)
    own = {"init": start.astype(np.float32), "early_exaggeration": 1.0, "learning_rate": rate}
    return {**options, **own}


def place_others(
    latent: np.ndarray, mapped: np.ndarray, places: np.ndarray, *, threads: int
) -> np.ndarray:
    """Put the cells that are not on a map beside those that are near in the latent space.

    A cell gets the mean place of those of its `NEAR` nearest mapped cells that lie on the map
    within the first one's second neighbour, weighted by 1 / distance^2. With a tenth of 3,774
    sorted PBMCs mapped, cells so placed keep .28 of their 15 neighbours; at the place of the
    nearest cell .26, at the mean of three .25, at the median of five .21.

    Args:
        latent: (n_cells, n_latent).
        mapped: (n_mapped,) indices of the cells that are on the map.
        places: (n_mapped, n_dims) their places.
        threads: CPU threads.

    Returns:
        (n_cells, n_dims) float32 places of all cells.
    """
    others = np.setdiff1d(np.arange(len(latent)), mapped)
    near = min(NEAR, len(mapped))
    index = NearestNeighbors(n_neighbors=near, n_jobs=threads).fit(latent[mapped])
    beside = NearestNeighbors(n_neighbors=min(2, len(mapped) - 1), n_jobs=threads)
    reach = beside.fit(places).kneighbors()[0][:, -1]  # of other cells than the cell itself
    everywhere = np.empty((len(latent), places.shape[1]), np.float32)
    everywhere[mapped] = places
    for some in np.split(others, range(PIECE, len(others), PIECE)):
        distances, who = index.kneighbors(latent[some])
        first = places[who[:, :1]]
        is_close = np.linalg.norm(places[who] - first, axis=2) <= reach[who[:, :1]]
        weights = is_close / (np.square(distances) + TINY)
        weights /= weights.sum(axis=1, keepdims=True)
        everywhere[some] = (weights[:, :, None] * places[who]).sum(axis=1)
    return everywhere


_on_steps: dict[int, Callable[[int], None]] = {}  # by the thread that maps
_changing = Lock()


class _Overheard:
    """Is the standard output, but takes what a thread prints in which scikit-learn maps."""

    def __init__(self, stdout: TextIO) -> None:
        self.stdout = stdout

    def write(self, text: str) -> int:
        """Take a text that is printed, and tell the iteration if it names one."""
        on_step = _on_steps.get(get_ident())
        if on_step is None:
            return self.stdout.write(text)
        if found := ITERATION.match(text):
            on_step(int(found[1]))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stdout, name)


@contextmanager
def _heard(on_step: Callable[[int], None]) -> Iterator[None]:
    """Tell of the iterations that scikit-learn prints in this thread within the block."""
    with _changing:
        if not isinstance(sys.stdout, _Overheard):
            sys.stdout = _Overheard(sys.stdout)
        _on_steps[get_ident()] = on_step
    try:
        yield
    finally:
        with _changing:
            del _on_steps[get_ident()]
            if not _on_steps and isinstance(sys.stdout, _Overheard):
                sys.stdout = sys.stdout.stdout


def check_spread(latent: np.ndarray) -> None:
    """Refuse cells that are all at one point (RunError).

    Squares of smaller distances are 0 in float32. scikit-learn's tree of equal cells overflows the
    stack, which ends the process.
    """
    spread = np.ptp(latent, axis=0)
    if not (varies(latent) & (spread > np.sqrt(np.finfo(np.float32).tiny))).any():
        raise RunError(
            Kind.COLLAPSED,
            None,
            "all cells have the same latent values",
        )
