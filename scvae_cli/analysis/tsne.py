"""From latent space to a map."""

import numpy as np
from sklearn.manifold import TSNE

from scvae_cli.errors import RunError

# Seconds for each cell and doubling of their number, of 1,000 steps on two cores.
_SECONDS = {2: 3.0e-4, 3: 8.7e-4}

ROUNDING = 32 * float(np.finfo(np.float32).eps)  # relative, of what a few layers compute


def expected_seconds(n_cells: int, n_dims: int, max_iter: int) -> float:
    """About how long a map takes: as n log n (Barnes-Hut), by what two cores need for PBMC3k."""
    return _SECONDS[n_dims] * n_cells * float(np.log2(n_cells)) * max_iter / 1000


def choose(n_cells: int, max_cells: int | None, seed: int) -> np.ndarray:
    """Which cells a map shows: all, or `max_cells` of them at random.

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
    """Which latent features differ between cells by more than float32 rounds: (n_latent,) bools.

    Args:
        latent: (n_cells, n_latent) float32.
    """
    differs: np.ndarray = np.ptp(latent, axis=0) > ROUNDING * np.abs(latent).max(axis=0)
    return differs


def tsne(
    latent: np.ndarray,
    n_dims: int,
    *,
    perplexity: float,
    early_exaggeration: float,
    learning_rate: float | str,
    max_iter: int,
    n_iter_without_progress: int,
    min_grad_norm: float,
    metric: str,
    init: str,
    method: str,
    angle: float,
    seed: int,
    threads: int,
) -> np.ndarray:
    """t-SNE by scikit-learn (van der Maaten & Hinton, JMLR 9, 2008).

    Args:
        latent: (n_cells, n_latent).
        n_dims: 2 or 3.
        perplexity: less than n_cells.
        early_exaggeration: see scikit-learn, as all that follow.
        learning_rate: a number or `auto`.
        max_iter: steps.
        n_iter_without_progress: patience.
        min_grad_norm: stop when the gradient is smaller.
        metric: distance in the latent space.
        init: `pca` or `random`; `random` is taken where there are fewer latents than dimensions.
        method: `barnes_hut` or `exact`.
        angle: of Barnes-Hut.
        seed: of the map.
        threads: CPU threads; the map's last bits may depend on it.

    Returns:
        (n_cells, n_dims) float32.

    Raises:
        RunError: all cells are at one point, or the map is not finite.
    """
    spread = np.ptp(latent, axis=0)
    # Squares of smaller distances are 0 in float32. scikit-learn's tree of equal cells overflows
    # the stack, which ends the process.
    if not (varies(latent) & (spread > np.sqrt(np.finfo(np.float32).tiny))).any():
        raise RunError(
            "all cells have the same latent values: the model has collapsed; "
            "another seed, a smaller beta or a smaller lr may help"
        )
    mapper = TSNE(
        n_components=n_dims,
        perplexity=perplexity,
        early_exaggeration=early_exaggeration,
        learning_rate=learning_rate,
        max_iter=max_iter,
        n_iter_without_progress=n_iter_without_progress,
        min_grad_norm=min_grad_norm,
        metric=metric,
        init=init if latent.shape[1] >= n_dims else "random",
        method=method,
        angle=angle,
        random_state=seed,
        n_jobs=threads,
    )
    places: np.ndarray = mapper.fit_transform(latent)
    if not np.isfinite(places).all():
        raise RunError(f"the {n_dims}-D t-SNE map is not finite; try tsne.init=random")
    return places
