"""Map the cells, cluster map and latent space, and score the clusters."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from scvae_cli.analysis.cluster import kmeans, nearest_centroid
from scvae_cli.analysis.mixing import mixing_scores
from scvae_cli.analysis.score import score, silhouette
from scvae_cli.analysis.tsne import choose, expected_seconds, from_2d, place_others, tsne
from scvae_cli.analysis.umap import epochs_of, umap, umap_seconds
from scvae_cli.columns import MAP_NAMES, PLACED, PLACES
from scvae_cli.config import Config, TSNEConfig, UMAPConfig
from scvae_cli.console import Stage, minutes
from scvae_cli.data.dataset import Dataset
from scvae_cli.errors import Kind, RunError
from scvae_cli.stages.cells import Loaded, types_in_words
from scvae_cli.stages.context import Context

ANNOUNCED = 60  # seconds of maps that are announced beforehand


@dataclass(frozen=True)
class Maps:
    """The cells on maps.

    Attributes:
        mapped: (n_mapped,) indices of the cells that are mapped.
        places: number of dimensions to (n_cells, n_dims) float32; of cells that are not mapped
            NaN, or where `place_others` puts them.
        columns: the same as columns of cells.csv.
    """

    mapped: np.ndarray
    places: Mapping[int, np.ndarray]
    columns: Mapping[str, np.ndarray]

    def of_mapped(self, n_dims: int) -> np.ndarray:
        """Return the places (n_mapped, n_dims) of the mapped cells."""
        places: np.ndarray = self.places[n_dims][self.mapped]
        return places


@dataclass(frozen=True)
class Clusters:
    """The clusters of k-means.

    Attributes:
        of_map: (n_mapped,) on the 2-D map.
        centroids: (n_clusters, 2) on the 2-D map.
        of_latent: (n_cells,) in the latent space.
        columns: both as columns of cells.csv; `cluster` of a cell that was placed afterwards is
            that of the nearest centroid, and missing where a cell has no place.
    """

    of_map: np.ndarray
    centroids: np.ndarray
    of_latent: np.ndarray
    columns: Mapping[str, Any]


def name_cells(context: Context, dataset: Dataset) -> None:
    """Write cells.csv with what is known of the cells, for runs that do not map them."""
    context.writer.write_table("cells", _named(dataset))


def map_cells(context: Context, dataset: Dataset, latent: np.ndarray) -> Maps:
    """Map the cells by t-SNE or UMAP in two dimensions, and three if asked; write cells.csv.

    Args:
        context: of the run.
        dataset: the cells.
        latent: (n_cells, n_latent).
    """
    config, n_cells = context.config, dataset.n_cells
    mapped = choose(n_cells, config.mapping.max_cells, config.mapping.seed)
    dims = [2, 3] if config.map_3d else [2]
    _announce(context, len(mapped), n_cells, dims)
    places: dict[int, np.ndarray] = {}
    columns: dict[str, np.ndarray] = {}
    for n_dims in dims:
        names = PLACES[config.map][n_dims]

        with context.stage(f"{config.map}_{n_dims}d") as shown:
            compute = partial(_map, context, latent, mapped, places.get(2), shown)
            places[n_dims] = context.kept_or("cells", names, n_cells, compute)
            shown.say(f"{_breadth(config.mapping)}, {len(mapped):,} cells")
        columns |= dict(zip(names, places[n_dims].T, strict=True))
        if n_dims == 2 and config.mapping.place_others and len(mapped) < n_cells:
            columns[PLACED[config.map]] = ~np.isin(np.arange(n_cells), mapped)
        context.writer.write_table("cells", {**_named(dataset), **columns})
    return Maps(mapped, places, columns)


def _map(
    context: Context, latent: np.ndarray, mapped: np.ndarray, flat: np.ndarray | None, shown: Stage
) -> np.ndarray:
    """Return places (n_cells, n_dims) of the mapped cells, and of the others if asked to.

    Args:
        context: of the run.
        latent: (n_cells, n_latent).
        mapped: indices of the cells to map.
        flat: (n_cells, 2) the 2-D map, if this is to be the 3-D one.
        shown: the stage.
    """
    settings, n_dims = context.config.mapping, 2 if flat is None else 3
    options = settings.model_dump(exclude={"max_cells", "max_iter_3d", "place_others"})
    if isinstance(settings, TSNEConfig):
        if flat is not None and settings.max_iter_3d is not None:
            options |= {"max_iter": settings.max_iter_3d}
            options = from_2d(latent[mapped], flat[mapped], options)
        n_steps, step = options["max_iter"], "iteration"
        compute: Callable[..., np.ndarray] = partial(tsne, threads=context.threads)
    else:
        n_steps, step = epochs_of(len(mapped), settings.n_epochs), "epoch"
        compute = umap
    places = np.full((len(latent), n_dims), np.nan, np.float32)

    def on_step(n: int) -> None:
        shown.step(n, n_steps, step)

    on_step(0)
    try:
        places[mapped] = compute(latent[mapped], n_dims, on_step=on_step, **options)
    except RunError as error:
        raise _explained(error, context.config) from error
    if settings.place_others and len(mapped) < len(latent):
        places = place_others(latent, mapped, places[mapped], threads=context.threads)
    return places


def _explained(error: RunError, config: Config) -> RunError:
    """Return the error with what may help, where a network gives all cells the same place."""
    hints = {"seed": "another seed", "beta": "a smaller beta", "lr": "a smaller lr"}
    advice = config.advice(hints)
    if error.kind != Kind.COLLAPSED or not advice:
        return error
    return RunError(error.kind, None, f"{error.reason}: the model has collapsed", advice)


def cluster_cells(context: Context, loaded: Loaded, latent: np.ndarray, maps: Maps) -> Clusters:
    """Cluster the 2-D map and the latent space by k-means; write cells.csv."""
    dataset, n_clusters = loaded.dataset, loaded.n_clusters
    options = context.config.cluster.model_dump() | {"n_clusters": n_clusters}
    with context.stage("cluster") as shown:
        of_map, centroids = kmeans(maps.of_mapped(2), **options)
        of_latent, _ = kmeans(latent, **options)
        shown.say(f"{n_clusters} clusters, best of {context.config.cluster.n_init}")
    for where, numbers in (("the 2-D map", of_map), ("the latent space", of_latent)):
        if (n := len(np.unique(numbers))) < n_clusters:
            context.warn(f"k-means finds {n} clusters on {where}, of the {n_clusters} asked for")
    everywhere = pd.Series(of_map, maps.mapped, dtype="Int64").reindex(range(dataset.n_cells))
    if PLACED[context.config.map] in maps.columns:
        everywhere = everywhere.fillna(pd.Series(nearest_centroid(maps.places[2], centroids)))
    columns = {"cluster": everywhere, "latent_cluster": of_latent}
    context.writer.write_table(
        "cells",
        {
            **_named(dataset),
            "cluster": everywhere,
            **maps.columns,
            "latent_cluster": of_latent,
        },
    )
    return Clusters(of_map, centroids, of_latent, columns)


def score_clusters(
    context: Context, loaded: Loaded, latent: np.ndarray, maps: Maps, clusters: Clusters
) -> dict[str, dict[str, float]]:
    """Score the clusters against the cell types, or by their silhouette; write scores.json.

    Where batches are known, score also how well they mix and types stay apart.

    Returns:
        Scores by measure, of the 2-D map (`tsne`) and the latent space (`latent`).
    """
    dataset, mapped = loaded.dataset, maps.mapped
    options = context.config.score.model_dump(exclude={"max_cells"})
    with context.stage("score") as shown:
        if dataset.is_labelled:
            labels = dataset.labels
            known = labels >= 0
            of_map = score(
                labels[mapped][known[mapped]], clusters.of_map[known[mapped]], **options
            )
            of_latent = score(labels[known], clusters.of_latent[known], **options)
            scores = {"tsne": asdict(of_map), "latent": asdict(of_latent)}
            shown.say(f"against {types_in_words(dataset)}")
        else:
            most, seed = context.config.score.max_cells, context.config.cluster.seed
            scores = {
                "tsne": {
                    "silhouette": silhouette(
                        maps.of_mapped(2), clusters.of_map, max_cells=most, seed=seed
                    )
                },
                "latent": {
                    "silhouette": silhouette(latent, clusters.of_latent, max_cells=most, seed=seed)
                },
            }
            shown.say("by the silhouette of the clusters")
        if (told := dataset.covariates) is not None and told.keys:
            batches, seed = told.batches[0], context.config.cluster.seed
            labels = dataset.labels if dataset.is_labelled else np.full(dataset.n_cells, -1)
            scores["tsne"] |= mixing_scores(
                maps.of_mapped(2), batches[mapped], labels[mapped], scores["tsne"], seed
            )
            scores["latent"] |= mixing_scores(latent, batches, labels, scores["latent"], seed)
    context.writer.write_scores({**scores, **options, "n_clusters": loaded.n_clusters})
    return scores


def _named(dataset: Dataset) -> dict[str, Any]:
    """Return the first columns of cells.csv: what is known of the cells."""
    kept = {} if dataset.kept is None else dict(dataset.kept.items())
    return {"cell": dataset.cells, "cell_type": dataset.types, **kept}


def _announce(context: Context, n_mapped: int, n_cells: int, dims: list[int]) -> None:
    """Say before a long map how long it will take, and if it leaves cells out."""
    config = context.config
    name, placed = MAP_NAMES[config.map], config.mapping.place_others
    seconds = seconds_of_maps(config, n_cells)
    if n_mapped < n_cells:
        context.console.line(
            f"  {name} maps {n_mapped:,} of {n_cells:,} cells, drawn at random"
            f" ({config.map}.max_cells)"
            + (", and the others are placed beside their nearest" if placed else "")
        )
    if seconds > ANNOUNCED:
        alone = isinstance(config.mapping, TSNEConfig) and config.mapping.max_iter_3d is None
        most = "most" if alone else "half"
        hint = f", of which map_3d=false saves {most}" if 3 in dims else ""
        context.console.line(f"  {name} will take about {minutes(seconds)} on two cores{hint}")


def seconds_of_maps(config: Config, n_cells: int) -> float:
    """Estimate the seconds that all maps of so many cells take."""
    settings = config.mapping
    n_mapped = min(n_cells, settings.max_cells or n_cells)
    if isinstance(settings, TSNEConfig):
        flat = expected_seconds(n_mapped, 2, settings.max_iter)
        raises = settings.max_iter_3d is not None
        steps = settings.max_iter_3d or settings.max_iter
        return flat + config.map_3d * expected_seconds(n_mapped, 3, steps, started=raises)
    return (1 + config.map_3d) * umap_seconds(n_mapped, settings.n_neighbors, settings.n_epochs)


def _breadth(settings: TSNEConfig | UMAPConfig) -> str:
    """Name the setting that says how many neighbours of a cell a map looks at."""
    if isinstance(settings, TSNEConfig):
        return f"perplexity {settings.perplexity:g}"
    return f"{settings.n_neighbors} neighbours"
