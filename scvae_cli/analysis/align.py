"""Take out of a latent space what is left of batches, cluster by cluster.

The linear step of Harmony (Korsunsky et al., Nature Methods 16, 1289 (2019), doi
10.1038/s41592-019-0619-0): each batch is moved by the distance of its mean from the mean of all
cells of a cluster. Harmony's penalty on clusters that hold few of a batch is left out. A network
that was told of batches has brought them near each other; where they lie apart, as they do on
principal components, little is moved. What was found is kept, and moves other cells alike.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import softmax
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from scvae_cli.analysis.cluster import kmeans
from scvae_cli.rows import gathered

# Chosen on cells that docs/batches.md does not judge it on (docs/batches/chosen.csv). More rounds
# and wider clusters mix batches better, and types that are in one batch only with others.
ROUNDS = 2
WIDTH = 0.05  # of clusters, on the unit sphere: Harmony's sigma
CELLS = 30  # of a cluster, in the mean
MOST_CLUSTERS = 100
STAYING = 1.0  # cells with no shift that each batch of a cluster has beside its own

MOST_CELLS = 20_000  # that centroids are found on
BATCH = 8192
K_MEANS: dict[str, Any] = {
    "init": "k-means++", "n_init": 3, "max_iter": 300, "tol": 1e-4, "algorithm": "lloyd",
}  # fmt: skip


class Shifts(NamedTuple):
    """How far each batch is moved in each cluster, round after round.

    Attributes:
        batches: (n_batches,) their names.
        clusters: (n_rounds, n_clusters, n_features) float32 directions, as long as clusters are
            narrow: a cell is in each cluster by the softmax of its own direction times these.
        steps: (n_rounds, n_clusters, n_batches, n_features) float32 what is subtracted.
    """

    batches: Sequence[str]
    clusters: np.ndarray
    steps: np.ndarray

    def table(self) -> pd.DataFrame:
        """Return shifts.csv: round, cluster, its direction c1, ..., batch, its step z1, ..."""
        n_rounds, n_clusters, n_batches, n_features = self.steps.shape
        shape = n_rounds, n_clusters, n_batches
        number = np.indices(shape).reshape(3, -1)
        names = np.array(self.batches, dtype=object)[number[2]]
        columns = {"round": number[0] + 1, "cluster": number[1] + 1, "batch": names}
        clusters = np.broadcast_to(self.clusters[:, :, None], self.steps.shape)
        for letter, values in (("c", clusters), ("z", self.steps)):
            flat = values.reshape(-1, n_features).T
            columns |= {f"{letter}{i}": column for i, column in enumerate(flat, start=1)}
        return pd.DataFrame(columns)

    @classmethod
    def of(cls, table: pd.DataFrame, n_features: int) -> "Shifts":
        """Return the shifts of shifts.csv.

        Raises:
            ValueError: these are none of so many features.
        """
        shape = int(table["round"].max()), int(table["cluster"].max())
        n_batches = len(table) // (shape[0] * shape[1])
        clusters, steps = (
            table[[f"{letter}{i}" for i in range(1, n_features + 1)]]
            .to_numpy(np.float32)
            .reshape(*shape, n_batches, n_features)
            for letter in "cz"
        )
        found = cls(tuple(table["batch"][:n_batches]), clusters[:, :, 0], steps)
        finite = np.isfinite(clusters).all() and np.isfinite(steps).all()
        if not finite or not found.table().equals(found._typed(table)):
            raise ValueError("these are no shifts")
        return found

    def _typed(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table that was read, its columns and their types those of `table`."""
        own = self.table()
        return table[[*own.columns]].astype(own.dtypes)


def find_shifts(
    z: np.ndarray,
    batch: np.ndarray,
    batches: Sequence[str],
    *,
    seed: int,
    rounds: int = ROUNDS,
    width: float = WIDTH,
) -> Shifts:
    """Find what moves batches onto each other.

    Args:
        z: (n_cells, n_features) float32 places of cells.
        batch: (n_cells,) index of each cell's batch.
        batches: the batches' names.
        seed: of the clusters.
        rounds: how often clusters are made, and batches moved.
        width: of clusters, on the unit sphere.
    """
    n_clusters = int(np.clip(round(len(z) / CELLS), 1, MOST_CLUSTERS))
    clusters, steps = [], []
    for number in range(rounds):
        how = K_MEANS | {"seed": (seed + number) % 2**32}
        _, centres = kmeans(normalize(z), n_clusters=n_clusters, max_cells=MOST_CELLS, **how)
        clusters.append((2 / width * normalize(centres)).astype(np.float32))
        steps.append(_steps(z, batch, len(batches), clusters[-1]))
        z = shift(z, batch, Shifts(batches, clusters[-1][None], steps[-1][None]))
    return Shifts(tuple(batches), np.stack(clusters), np.stack(steps))


def shift(z: np.ndarray, batch: np.ndarray, shifts: Shifts) -> np.ndarray:
    """Return the places (n_cells, n_features), float32, of cells that are moved.

    Args:
        z: (n_cells, n_features) float32 where they were.
        batch: (n_cells,) index of each cell's batch, -1 where it is none of them: it stays.
        shifts: of the batches.
    """

    def parts() -> Iterator[np.ndarray]:
        for here, of in _pieces(z, batch):
            for clusters, steps in zip(shifts.clusters, shifts.steps, strict=True):
                weights = _weights(here, clusters)
                for number in np.unique(of[of >= 0]):
                    cells = of == number
                    here[cells] -= weights[cells] @ steps[:, number]
            yield here.astype(np.float32)

    with threadpool_limits(1):
        return gathered(parts(), len(z))


def _pieces(z: np.ndarray, batch: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield places (n, n_features), a float64 copy, and batches (n,) of some cells at a time."""
    for start in range(0, len(z), BATCH):
        yield z[start : start + BATCH].astype(np.float64), batch[start : start + BATCH]


def _steps(z: np.ndarray, batch: np.ndarray, n_batches: int, clusters: np.ndarray) -> np.ndarray:
    """Return steps (n_clusters, n_batches, n_features): from all cells of a cluster to a batch.

    A batch of few cells is moved less.
    """
    n_cells = np.zeros((len(clusters), n_batches))
    sums = np.zeros((len(clusters), n_batches, z.shape[1]))
    with threadpool_limits(1):
        for here, of in _pieces(z, batch):
            weights = _weights(here, clusters)
            for number in np.unique(of):
                cells = of == number
                n_cells[:, number] += weights[cells].sum(0)
                sums[:, number] += weights[cells].T @ here[cells]
    tiny = np.finfo(float).tiny
    mean = sums.sum(1) / np.maximum(n_cells.sum(1), tiny)[:, None]
    from_mean = sums - n_cells[:, :, None] * mean[:, None]
    steps: np.ndarray = from_mean / (n_cells + STAYING)[:, :, None]
    return steps.astype(np.float32)


def _weights(z: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Return how much of each cell is in each cluster, (n_cells, n_clusters); rows sum to 1."""
    weights: np.ndarray = softmax(normalize(z) @ clusters.T.astype(np.float64), axis=1)
    return weights
