"""One run, from cells to scores, in order of time. Read this first."""

from scvae_cli.config import Config
from scvae_cli.console import Console
from scvae_cli.measures import SPACES
from scvae_cli.runs.writer import RunWriter
from scvae_cli.stages.cells import load_cells
from scvae_cli.stages.context import open_context
from scvae_cli.stages.control import doubt_training
from scvae_cli.stages.embed import embed_cells
from scvae_cli.stages.expected import announce
from scvae_cli.stages.fit import fit_model
from scvae_cli.stages.follow import train_along
from scvae_cli.stages.loggers import log_scores
from scvae_cli.stages.products import (
    draw_figures,
    keep_expression,
    sparsity_of,
    write_anndata,
)
from scvae_cli.stages.space import (
    cluster_cells,
    map_cells,
    name_cells,
    score_clusters,
)


def run(config: Config, writer: RunWriter, console: Console) -> dict[str, dict[str, float]]:
    """Run an experiment; every product is in the folder before the next stage starts.

    Args:
        config: what to do.
        writer: of the folder where the products go.
        console: where messages go.

    Returns:
        The scores of k-means on the 2-D map (`tsne`, by UMAP too) and on the latent space
        (`latent`), by measure.

    Raises:
        InputError: the configuration does not fit this machine or these cells; nothing was done.
        RunError: the run went wrong; what it had made by then is in the folder.
    """
    context = open_context(config, writer, console)
    loaded = load_cells(context)
    dataset = loaded.dataset
    announce(context, loaded)
    model, history = fit_model(context, loaded)
    latent = embed_cells(context, model, dataset)
    maps = map_cells(context, dataset, latent)
    clusters = cluster_cells(context, loaded, latent, maps)
    scores = score_clusters(context, loaded, latent, maps, clusters)
    log_scores(context, scores)
    doubt_training(context, loaded, latent, n_epochs=len(history))
    sparsity = sparsity_of(context, model, dataset)
    keep_expression(context, dataset)
    draw_figures(context, dataset, history, maps, clusters, scores, sparsity)
    write_anndata(context, loaded, latent, maps, clusters, scores)
    console.scores({name: scores[space] for space, name in SPACES.items()})
    return scores


def fit(config: Config, writer: RunWriter, console: Console) -> None:
    """Do the first half of `run`: cells, model, latent space."""
    context = open_context(config, writer, console)
    loaded = load_cells(context)
    model, _ = fit_model(context, loaded)
    embed_cells(context, model, loaded.dataset)
    name_cells(context, loaded.dataset)


def help_to_train() -> None:
    """Do what a process of torchrun's does that is not the first: a part of each batch."""
    train_along()
