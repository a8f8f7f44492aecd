"""Cases for the scores of batches and types, and what scib-metrics and UMAP give for them.

Writes scib_values.json, which test_mixing.py reads, where scib-metrics 0.5.10 is installed:

    SCVAE_DATA_DIR=FOLDER python tests/scib_values.py
"""

import json
import os
import warnings
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import anndata
import numpy as np
from scipy.sparse import coo_matrix
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

STORED = Path(__file__).with_suffix(".json")
LIBRARIES = ["scib-metrics", "jax", "numpy", "pynndescent", "umap-learn", "scipy"]


class Cells(NamedTuple):
    latent: np.ndarray
    batches: np.ndarray
    types: np.ndarray


def pbmc68k() -> Cells:
    """Return 700 PBMCs on 10 components, all as scanpy ships them; a batch is a cycle phase.

    One type has 8 cells, and one batch 17.
    """
    scanpy = find_spec("scanpy")
    folder = Path(scanpy.origin).parent / "datasets"
    with warnings.catch_warnings():  # the file is of an older format
        warnings.simplefilter("ignore")
        cells = anndata.read_h5ad(folder / "10x_pbmc68k_reduced.h5ad")
    return Cells(
        cells.obsm["X_pca"][:, :10].astype(np.float64),
        cells.obs["phase"].cat.codes.to_numpy(dtype=np.int64),
        cells.obs["bulk_labels"].cat.codes.to_numpy(dtype=np.int64),
    )


def confounded() -> Cells:
    """Return 1000 points, four types of which two are in one batch only, and a batch of 12.

    Of the other types, one is moved a little from batch to batch and the other is not.
    """
    rng = np.random.default_rng(7)
    types = rng.integers(0, 4, 1000)
    batches = np.where(types == 2, 0, np.where(types == 3, 1, rng.integers(0, 2, 1000)))
    batches[np.flatnonzero(types == 0)[:12]] = 2
    latent = 2.5 * rng.standard_normal((4, 6))[types] + rng.standard_normal((1000, 6))
    latent += np.where(types == 1, 1.0, 0.0)[:, None] * batches[:, None]
    return Cells(latent, batches, types)


def protocols(folder: Path) -> Cells:
    """Return 499 cells of three lines by two protocols, which are far apart."""
    return mixology(folder / "mixology" / "lines3_two_protocols.h5ad", "protocol")


def plates(folder: Path) -> Cells:
    """Return 612 cells of five lines on two plates of one protocol, which are near."""
    return mixology(folder / "mixology" / "lines5_two_plates.h5ad", "plate")


def mixology(path: Path, batch: str) -> Cells:
    """Return cells of Tian et al., Nature Methods 16, 479 (2019), on 10 components."""
    cells = anndata.read_h5ad(path)
    x = cells.X.toarray().astype(np.float64)
    x = np.log1p(1e4 * x / x.sum(axis=1, keepdims=True))
    return Cells(
        PCA(n_components=10, svd_solver="full").fit_transform(x),
        np.unique(cells.obs[batch], return_inverse=True)[1],
        np.unique(cells.obs["cell_line"], return_inverse=True)[1],
    )


def scib(cells: Cells) -> dict[str, float]:
    """Compute the scores by scib-metrics, from exact neighbours.

    `kbet` is the mean over types, each given with all others as one: given all types at once, the
    package takes fewer components of each type that comes after a small one. `kbet_as_it_is` is
    that, with the approximate neighbours that the package always takes there.
    """
    import scib_metrics
    from scib_metrics import nearest_neighbors

    def exact(x: np.ndarray, n_neighbors: int) -> nearest_neighbors.NeighborsResults:
        near = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(x)
        distances, index = near.kneighbors()
        itself = np.arange(len(x))[:, None]
        index = np.hstack([itself, index[:, : n_neighbors - 1]])
        distances = np.hstack([np.zeros_like(itself, dtype=float), distances[:, :-1]])
        return nearest_neighbors.NeighborsResults(indices=index, distances=distances)

    latent, batches, types = cells
    near = exact(latent, 90)
    per_type = []
    with mock.patch.object(nearest_neighbors, "pynndescent", exact):
        for number in np.unique(types):
            only = (types != number).astype(np.int64)  # the type comes first
            _, table = scib_metrics.kbet_per_label(
                near.subset_neighbors(50), batches, only, return_df=True
            )
            per_type.append(table.set_index("cluster").loc[0, "kBET"])
    values = {
        "ilisi": scib_metrics.ilisi_knn(near, batches),
        "kbet": np.nanmean(per_type),
        "kbet_as_it_is": scib_metrics.kbet_per_label(near.subset_neighbors(50), batches, types),
        "graph_connectivity": scib_metrics.graph_connectivity(near.subset_neighbors(15), types),
        "silhouette_batch": scib_metrics.silhouette_batch(latent, types, batches),
        "clisi": scib_metrics.clisi_knn(near, types),
        "silhouette_label": scib_metrics.silhouette_label(latent, types),
        "isolated_labels": scib_metrics.isolated_labels(latent, types, batches),
    }
    return {name: round(float(value), 7) for name, value in values.items()}


def crowded() -> tuple[np.ndarray, np.ndarray]:
    """Return 14 neighbours of 60 points, of which 20 are in one place: rows and distances."""
    points = np.random.default_rng(0).standard_normal((60, 3))
    points[:20] = points[0]
    distances = np.round(cdist(points, points), 6)
    np.fill_diagonal(distances, np.inf)
    index = np.argsort(distances, axis=1, kind="stable")[:, :14]
    return index, np.take_along_axis(distances, index, axis=1)


def umap(index: np.ndarray, distances: np.ndarray) -> list[float]:
    """Compute the sum of each point's weights in the graph of UMAP, which counts the point too."""
    from umap.umap_ import fuzzy_simplicial_set

    itself = np.arange(len(index))[:, None]
    graph, *_ = fuzzy_simplicial_set(
        coo_matrix((len(index), 1)), index.shape[1] + 1, None, None,
        knn_indices=np.hstack([itself, index]),
        knn_dists=np.hstack([0.0 * itself, distances]).astype(np.float32),
    )  # fmt: skip
    return [round(float(value), 5) for value in np.ravel(graph.sum(axis=1))]


def main() -> None:
    folder = Path(os.environ["SCVAE_DATA_DIR"])
    cases = {case.__name__: case() for case in (pbmc68k, confounded)}
    cases |= {case.__name__: case(folder) for case in (protocols, plates)}
    stored = {
        "command": "SCVAE_DATA_DIR=FOLDER python tests/scib_values.py",
        "versions": {name: version(name) for name in LIBRARIES},
        "umap": umap(*crowded()),
        "values": {name: scib(cells) for name, cells in cases.items()},
    }
    STORED.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
