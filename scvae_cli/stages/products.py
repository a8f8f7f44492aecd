"""Describe the gates of a sparse model, draw the figures, and write the result for scanpy."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from scvae_cli.analysis.sparsity import Sparsity, describe_gates
from scvae_cli.columns import MAP_NAMES, PLACED
from scvae_cli.config import Config
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.dataset_h5ad import annotated, write_h5ad
from scvae_cli.data.state import state_of
from scvae_cli.data.varying import most_varying
from scvae_cli.errors import InputError
from scvae_cli.measures import MEASURE_NAMES
from scvae_cli.models.model import Model
from scvae_cli.options import FileConfig
from scvae_cli.runs.files import NAMES
from scvae_cli.stages.cells import Loaded
from scvae_cli.stages.context import Context
from scvae_cli.stages.space import Clusters, Maps

MOST_VALUES = 500_000  # of expression.csv, so that neither it nor report.html grows by a megabyte
DIGITS = 2
N_GENES = 20  # genes to name of those that a latent raises, and of those that it lowers


def sparsity_of(context: Context, model: Model, dataset: Dataset) -> Sparsity | None:
    """Write latents.csv and drivers.csv; None where the model has no gates."""
    if not model.has_gates:
        return None
    config, writer = context.config, context.writer
    with context.stage("sparsity") as shown:
        sparsity = describe_gates(
            model,
            dataset.x,
            dataset.covariates,
            labels=dataset.labels,
            cell_types=dataset.cell_types,
            genes=dataset.genes,
            n_top=N_GENES,
            target_sum=dataset.recipe.target_sum,
            sd=dataset.recipe.sd,
            batch_size=config.batch_size,
            device=context.device,
        )
        shown.say(f"{sparsity.n_on:.1f} of {config.latent_dim} latents on in a cell")
    writer.write_table("latents", sparsity.latents)
    writer.write_table("drivers", sparsity.genes)
    return sparsity


def keep_expression(context: Context, dataset: Dataset) -> None:
    """Write expression.csv, whose genes report.html can colour by; nothing without any."""
    n_genes = min(context.config.figures.genes, MOST_VALUES // dataset.n_cells)
    if n_genes and (genes := most_varying(dataset, n_genes, NAMES)):
        columns = {name: np.round(values, DIGITS) for name, values in genes.items()}
        context.writer.write_table("expression", {"cell": dataset.cells, **columns})


def draw_figures(
    context: Context,
    dataset: Dataset,
    history: pd.DataFrame,
    maps: Maps,
    clusters: Clusters,
    scores: dict[str, dict[str, float]],
    sparsity: Sparsity | None,
) -> None:
    """Draw the maps, the loss and the latents; write them to figures/, unless none are wanted."""
    config = context.config
    if (form := config.figures.format) is None:
        return
    # matplotlib takes a second: only here
    from scvae_cli.results.figures.losses import loss_terms
    from scvae_cli.results.figures.maps import map_2d, map_3d, map_batch
    from scvae_cli.results.figures.sparsity import programme_map
    from scvae_cli.results.figures.style import files_of_figure

    with context.stage("figures") as shown:
        groups, type_names = dataset.groups
        cells = groups[maps.mapped], type_names
        first = list(scores["tsne"].items())[:2]
        result = ", ".join(f"{MEASURE_NAMES[name]} {value:.3f}" for name, value in first)
        k_means = clusters.of_map, clusters.centroids
        named = config.title, MAP_NAMES[config.map]
        drawn = {"map_2d": map_2d(maps.of_mapped(2), *cells, *k_means, *named, result)}
        if (told := dataset.covariates) is not None and told.keys:
            batches, names = told.batches
            ilisi = scores["tsne"].get("ilisi")  # few cells have none
            mixing = "batches on the map" + ("" if ilisi is None else f": iLISI {ilisi:.3f}")
            drawn["map_batch"] = map_batch(
                maps.of_mapped(2), *cells, batches[maps.mapped], names, *named, mixing
            )
        if config.map_3d:
            drawn["map_3d"] = map_3d(maps.of_mapped(3), *cells, clusters.of_map, *named)
        if len(history) > 1:
            drawn["loss"] = loss_terms(history, config.beta)
        if sparsity is not None:
            drawn["sparsity"] = programme_map(sparsity.latents, sparsity.genes, config.title)
        for name, figure in drawn.items():
            for file, contents in files_of_figure(name, figure, form, config.figures.dpi):
                context.writer.write_figure(file, contents)
        ending = "" if form == "png" else f" and .{form}"
        shown.say(f"{', '.join(drawn)}: .png{ending}")


def write_anndata(
    context: Context,
    loaded: Loaded,
    latent: np.ndarray,
    maps: Maps,
    clusters: Clusters,
    scores: dict[str, dict[str, float]],
) -> None:
    """Write cells.h5ad, if it is asked for, with all that the input has beside, if that is."""
    if not context.config.h5ad:
        return
    writer, dataset = context.writer, loaded.dataset
    with context.stage("h5ad") as shown:
        kind = context.config.map
        spaces = {"X_scvae": latent, f"X_{kind}": maps.places[2]}
        if 3 in maps.places:
            spaces[f"X_{kind}3d"] = maps.places[3]
        metadata = {
            "config": context.config.model_dump(),
            "scores": scores,
            **writer.provenance(),
        }
        cells = annotated(dataset, dict(clusters.columns), spaces, metadata)
        if (placed := PLACED[kind]) in maps.columns:
            cells.obs[placed] = maps.columns[placed]
        said = ["cells.h5ad"]
        remarks: list[str] = []
        warnings: list[str] = []

        def add(path: Path) -> None:
            said.extend(_add_input(context.config, loaded, path, remarks.append, warnings.append))

        writer.write_with("cells.h5ad", lambda path: write_h5ad(cells, path, add))
        shown.say(", ".join(said))
    for remark in remarks:
        context.console.line(remark)
    for warning in warnings:
        context.warn(warning)


def _add_input(
    config: Config,
    loaded: Loaded,
    path: Path,
    say: Callable[[str], None],
    warn: Callable[[str], None],
) -> Iterator[str]:
    """Add to an h5ad what else the input has; yield words about what that was.

    Args:
        config: of the run.
        loaded: its cells.
        path: the h5ad, which has the results.
        say: called with a line for each element that is left out.
        warn: called where the input is not what the run read: then nothing is added.
    """
    from scvae_cli.data.input_parts import ChangedError, Selected, copy_parts
    from scvae_cli.data.stores import has_tables

    if config.h5ad == "results" or loaded.state is None:
        return
    data, dataset = config.data, loaded.dataset
    assert isinstance(data, FileConfig)
    source = Path(data.path)
    of_csv = set() if data.batches is None else {"batch"}  # not the input's, if it has one too
    kept = set() if dataset.kept is None else {*dataset.kept} - of_csv
    selected = Selected(
        dataset.cells, dataset.genes, data.layer, data.raw, data.gene_names,
        dataset.recipe.as_given, kept,
    )  # fmt: skip
    try:
        if state_of(source) != loaded.state:
            raise ChangedError
        if not has_tables(source):
            return  # a table, or 10x's: nothing beside the values
        copied = copy_parts(source, path, selected, say)
    except (ChangedError, FileNotFoundError, InputError):
        warn(f"{source} is not what this run read: cells.h5ad has only the run's own results")
        return
    if copied:
        yield f"and {copied.total()} elements of {source.name}"
