"""Refuse settings that cannot work with the cells."""

import numpy as np

from scvae_cli.analysis.tsne import choose
from scvae_cli.columns import own
from scvae_cli.config import Config, TSNEConfig, UMAPConfig
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.holdout import split_cells
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.options import NetworkBlock
from scvae_cli.processes import n_processes


def check_settings(config: Config, dataset: Dataset, n_clusters: int) -> None:
    """Refuse settings that cannot work with these cells.

    Raises:
        InputError: one cannot.
    """
    if config.ensemble is not None and (n := n_processes()) > 1:
        reason = f"does not go with torchrun's {n} processes: members are trained side by side"
        raise InputError(
            Kind.CONFLICT, Given("ensemble", config.ensemble), reason, "start one process"
        )
    if config.likelihood not in (None, "gaussian"):
        _check_counts(config, dataset)
    _check_columns(config, dataset)
    settings = config.mapping
    mapped_labels = dataset.labels[choose(dataset.n_cells, settings.max_cells, settings.seed)]
    if dataset.is_labelled and len(np.unique(mapped_labels[mapped_labels >= 0])) < 2:
        raise InputError(
            Kind.EMPTY,
            Given(f"{config.map}.max_cells", settings.max_cells),
            "the cells of the map have fewer than two types",
            "give a larger number, or null for all cells",
        )
    if config.data.scale is not None and (refused := config.model.refuses_scale):
        reason = f"does not go with the z-scores of data.scale={config.data.scale:g}"
        raise InputError(Kind.CONFLICT, Given(*refused), reason, "leave one of them out")
    if config.validation == "molecules":
        _check_molecules(config, dataset)
    if config.aligns_batches and (dataset.covariates is None or not dataset.covariates.keys):
        given = Given("embedding", config.embedding)
        fix = "give data.batch_key=COLUMN, or embedding=decoded"
        raise InputError(Kind.CONFLICT, given, "the cells have no batches", fix)
    if isinstance(config.model, NetworkBlock):
        _check_conditioning(config.model, config.likelihood, dataset)
    _check_sizes(config, dataset, n_clusters)


def _check_columns(config: Config, dataset: Dataset) -> None:
    """Refuse a column that is kept by a name that the run itself needs.

    Those of t-SNE no run keeps; see `data.kept`.
    """
    for name in () if dataset.kept is None else dataset.kept:
        if name in own(config.map):
            reason = f"writes a column {name} to cells.csv, and the cells have one that is kept"
            fix = "rename it in obs, or name others with data.keep=[]"
            raise InputError(Kind.CONFLICT, Given("map", config.map), reason, fix)


def _check_counts(config: Config, dataset: Dataset) -> None:
    """Refuse a likelihood of counts where values are none."""
    if dataset.recipe.totals is None:
        raise InputError(
            Kind.CONFLICT,
            Given("likelihood", config.likelihood),
            f"needs counts, and data={dataset.name} has {dataset.recipe.values} values",
            "give counts, or likelihood=gaussian",
        )
    if not dataset.recipe.whole:
        raise InputError(
            Kind.CONFLICT,
            Given("likelihood", config.likelihood),
            f"needs whole counts, and those of data={dataset.name} are not whole",
            "give likelihood=gaussian",
        )
    if config.data.scale is not None:
        raise InputError(
            Kind.CONFLICT,
            Given("likelihood", config.likelihood),
            f"needs counts, and data.scale={config.data.scale:g} makes z-scores",
            "leave one of them out",
        )


def _check_molecules(config: Config, dataset: Dataset) -> None:
    """Refuse to hold out molecules where values are not counts of them."""
    given = Given("validation", config.validation)
    if dataset.recipe.totals is None or not dataset.recipe.whole:
        reason = f"needs whole counts, which data={dataset.name} has not"
        raise InputError(Kind.CONFLICT, given, reason, "give counts, or validation=cells")
    if config.data.scale is not None:
        reason = f"needs counts, and data.scale={config.data.scale:g} makes z-scores"
        raise InputError(Kind.CONFLICT, given, reason, "leave one of them out")


def _check_sizes(config: Config, dataset: Dataset, n_clusters: int) -> None:
    """Refuse numbers that must be less than those of cells or genes."""
    n_cells = dataset.n_cells
    settings = config.mapping
    n_mapped = min(n_cells, settings.max_cells or n_cells)
    mapped = "mapped cells" if n_mapped < n_cells else "cells"
    limits = [
        (*_limited(settings), n_mapped, mapped),
        ("latent_dim", config.latent_dim, dataset.n_genes, "genes"),
        ("cluster.n_clusters", n_clusters, n_mapped, mapped),
    ]
    if (fitted := config.cluster.max_cells) is not None:
        limits.append(("cluster.n_clusters", n_clusters, fitted, "cells of cluster.max_cells"))
    if config.embeds_decoded:
        limits.append(("latent_dim", config.latent_dim, n_cells, "cells"))
    if config.model.needs_cells:
        held = config.validation == "cells"
        n_left = len(split_cells(n_cells, config.validation_share or 0, 0)[0]) if held else n_cells
        limits.append(("latent_dim", config.latent_dim, n_left, "cells"))
    for key, value, limit, what in limits:
        if value >= limit:
            raise InputError(
                Kind.VALUE,
                Given(key, value),
                f"must be less than the number of {what}, which is {limit} in data={dataset.name}",
            )


def _limited(settings: TSNEConfig | UMAPConfig) -> tuple[str, float]:
    """Return the setting, with its key, that says how many neighbours of a cell a map looks at."""
    if isinstance(settings, TSNEConfig):
        return "tsne.perplexity", settings.perplexity
    return "umap.n_neighbors", settings.n_neighbors


def _check_conditioning(model: NetworkBlock, likelihood: str | None, dataset: Dataset) -> None:
    """Refuse options about batches and covariates that would do nothing."""
    told = dataset.covariates
    if model.encode_covariates and told is None:
        raise InputError(
            Kind.CONFLICT,
            Given("model.encode_covariates", True),
            "the cells have neither batches nor covariates",
            "give data.batch_key or data.covariates",
        )
    of_batches = {
        "model.batch_embedding": model.batch_embedding,
        "model.dispersion": None if model.dispersion == "gene" else model.dispersion,
    }
    for key, value in of_batches.items():
        if value is not None and (told is None or not told.keys):
            given = Given(key, value)
            raise InputError(
                Kind.CONFLICT, given, "the cells have no batches", "give data.batch_key"
            )
    if model.dispersion != "gene" and likelihood not in ("nb", "zinb"):
        raise InputError(
            Kind.CONFLICT,
            Given("model.dispersion", model.dispersion),
            f"likelihood={likelihood} has no dispersions",
            "give likelihood=nb or zinb",
        )
