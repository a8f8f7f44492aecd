"""One run, from cells to scores, in order of time. Read this first."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from scvae_cli.analysis.cluster import kmeans
from scvae_cli.analysis.diagnose import diagnose
from scvae_cli.analysis.embed import embed
from scvae_cli.analysis.score import score, silhouette
from scvae_cli.analysis.sparsity import by_type, drivers, gated_steps, gates, points, traverse
from scvae_cli.analysis.tsne import choose, expected_seconds, tsne
from scvae_cli.config import Config
from scvae_cli.console import Console, Stage, minutes
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.dataset_h5ad import annotated, write_h5ad
from scvae_cli.data.sources import load
from scvae_cli.errors import InputError, RunError
from scvae_cli.interrupts import held
from scvae_cli.models.build import PCA, VSC, Model, build
from scvae_cli.models.checkpoint import Checkpoint, Keeper, unpack
from scvae_cli.models.train import columns, solve, train
from scvae_cli.runs.folder import RunDir, read_training
from scvae_cli.threads import available, for_step

MEASURES = {"nmi": "NMI", "ari": "ARI"}
DRIVEN = 20  # genes to name of those that a latent raises, and as many that it lowers
ANNOUNCED = 60  # seconds of t-SNE that nobody has to be told of beforehand


def run(config: Config, run_dir: RunDir, console: Console) -> dict[str, dict[str, float]]:
    """Runs an experiment; every product is in the folder before the next stage starts.

    Args:
        config: what to do.
        run_dir: where to put it.
        console: where to say so.

    Returns:
        The scores of k-means on the 2-D map (`tsne`) and on the latent space (`latent`).

    Raises:
        InputError: the configuration does not fit this machine or these cells; nothing was done.
        RunError: the run went wrong; what it had by then is in the folder.
    """
    threads = config.threads or available()
    device = _device(config.device)
    seeds = config.seeds
    seconds = run_dir.seconds  # of a run that goes on, what it took before
    warnings: list[str] = []

    @contextmanager
    def stage(name: str) -> Iterator[Stage]:
        run_dir.note(stage=name)
        with console.stage(name) as shown:
            yield shown
        seconds[name] = round(seconds.get(name, 0.0) + shown.seconds, 4)
        run_dir.note(seconds=seconds)

    def warn(text: str) -> None:
        warnings.append(text)
        run_dir.note(warnings=warnings)
        console.warn(text)

    run_dir.write_config(config.model_dump())

    with stage("load") as shown:
        found: list[str] = []  # said once it is known that all will do
        doubts: list[str] = []
        dataset = load(
            **config.data.model_dump(),
            on_download=shown.download,
            say=found.append,
            warn=doubts.append,
        )
        n_clusters = _n_clusters(config, dataset)
        _check(config, dataset, n_clusters)
        fingerprint = dataset.fingerprint()
        if run_dir.fingerprint not in (None, fingerprint):
            raise InputError(f"{run_dir.path}: was begun on other cells, genes or labels")
        if config.trained is not None:
            ready = read_training(Path(config.trained), config.model_dump(), fingerprint)
        for line in found:
            console.line(line)
        for doubt in doubts:
            warn(doubt)
        console.line(f"{config.title}, seed {config.seed}, {device.type}, threads {threads}")
        shown.say(f"{dataset.n_cells:,} cells x {dataset.n_genes:,} genes, {_types(dataset)}")
    # Only now: loading some cells, scanpy's numba sets OpenMP, and so torch, to all cores.
    torch.set_num_threads(threads)
    threadpool_limits(threads)  # of BLAS and OpenMP, which scikit-learn computes with
    run_dir.note(device=str(device), threads=threads, data=_summary(dataset, fingerprint))
    run_dir.write_table("genes", dataset.gene_table())
    run_dir.point_latest(Path(config.output_dir))

    with stage("train") as shown:
        options = config.model_options
        model = build(
            n_genes=dataset.n_genes, n_latent=config.latent_dim, seed=seeds.weights, **options
        ).to(device)
        kept = run_dir.kept_training()
        if kept is not None or config.trained is not None:
            weights, history = kept or ready
            try:
                model.load_state_dict(weights)
            except RuntimeError as error:
                where = f"trained={config.trained}" if kept is None else f"{run_dir.path}"
                raise InputError(
                    f"{where}: its weights are not those of model={config.model.name}; train it "
                    "again"
                ) from error
        elif isinstance(model, PCA):
            history = solve(
                model, dataset.x, batch_size=config.batch_size, seed=seeds.weights, device=device
            )
        else:
            history = _train(config, model, dataset, device, run_dir, shown, warn)
        if len(history):
            last = history.iloc[-1]
            terms = f"reconstruction {last['reconstruction']:.6g}, kl {last['kl']:.4g}"
            shown.say(f"loss {last['total']:.6g}: {terms}")
        else:
            shown.say("none: a control")
    run_dir.write_table("history", history)
    run_dir.write_model(
        model.state_dict(),
        {"n_genes": dataset.n_genes, "n_latent": config.latent_dim, **options},
    )

    with stage("embed") as shown:
        run_dir.drop_checkpoint()  # now that the record has the weights
        names = [f"z{i}" for i in range(1, config.latent_dim + 1)]
        latent = run_dir.kept("latent", names, dataset.n_cells)
        if latent is None:
            latent = embed(
                model,
                dataset.x,
                kind=config.embedding,
                batch_size=config.batch_size,
                seed=seeds.sample,
                device=device,
            )
        findings = diagnose(model, dataset.x, latent, batch_size=config.batch_size, device=device)
        shown.say(f"{config.latent_dim} latent features, {config.embedding}")
    latents = dict(zip(names, latent.T, strict=True))
    run_dir.write_table("latent", {"cell": dataset.cells, **latents})
    for finding in findings:
        warn(finding)

    cells = {"cell": dataset.cells, "cell_type": dataset.types}
    options = config.tsne.model_dump()
    mapped = choose(dataset.n_cells, options.pop("max_cells"), config.tsne.seed)
    dims = {2: "tsne", 3: "tsne3d"} if config.map_3d else {2: "tsne"}
    _announce(console, len(mapped), dataset.n_cells, list(dims), config.tsne.max_iter)
    maps: dict[int, np.ndarray] = {}
    places: dict[str, np.ndarray] = {}
    spaces = {"X_scvae": latent}
    for n_dims, prefix in dims.items():
        names = [f"{prefix}_{i}" for i in range(1, n_dims + 1)]
        with stage(f"tsne_{n_dims}d") as shown:
            whole = run_dir.kept("cells", names, dataset.n_cells)
            if whole is None:
                whole = np.full((dataset.n_cells, n_dims), np.nan, np.float32)
                whole[mapped] = tsne(latent[mapped], n_dims, threads=threads, **options)
            shown.say(f"perplexity {config.tsne.perplexity:g}, {len(mapped):,} cells")
        maps[n_dims], spaces[f"X_{prefix}"] = whole[mapped], whole
        places |= dict(zip(names, whole.T, strict=True))
        run_dir.write_table("cells", {**cells, **places})

    with stage("cluster") as shown:
        options = config.cluster.model_dump() | {"n_clusters": n_clusters}
        clusters, centroids = kmeans(maps[2], **options)
        latent_clusters, _ = kmeans(latent, **options)
        shown.say(f"{n_clusters} clusters, best of {config.cluster.n_init}")
    for where, numbers in (("the 2-D map", clusters), ("the latent space", latent_clusters)):
        if (n_found := len(np.unique(numbers))) < n_clusters:
            warn(f"k-means finds {n_found} clusters on {where}, of the {n_clusters} asked for")
    of_map = pd.Series(clusters, mapped, dtype="Int64").reindex(range(dataset.n_cells))
    run_dir.write_table(
        "cells",
        {**cells, "cluster": of_map, **places, "latent_cluster": latent_clusters},
    )

    with stage("score") as shown:
        options = config.score.model_dump()
        if dataset.is_labelled:
            labels = dataset.labels
            known = labels >= 0
            scores = {
                "tsne": asdict(
                    score(labels[mapped][known[mapped]], clusters[known[mapped]], **options)
                ),
                "latent": asdict(score(labels[known], latent_clusters[known], **options)),
            }
        else:
            scores = {
                "tsne": {"silhouette": silhouette(maps[2], clusters)},
                "latent": {"silhouette": silhouette(latent, latent_clusters)},
            }
        shown.say(f"against {_types(dataset)}" if dataset.is_labelled else "of the clusters alone")
    run_dir.write_scores({**scores, **options, "n_clusters": n_clusters})

    if isinstance(model, VSC):
        with stage("sparsity") as shown:
            found_gates = gates(model, dataset.x, batch_size=config.batch_size, device=device)
            latents_on = by_type(found_gates, labels=dataset.labels, cell_types=dataset.cell_types)
            steps = gated_steps(found_gates)
            effects = traverse(
                model,
                *points(steps, centre=found_gates.centre),
                target_sum=dataset.recipe.target_sum,
                sd=dataset.recipe.sd,
                device=device,
            )
            driven = drivers(steps, effects, genes=dataset.genes, n_top=DRIVEN)
            shown.say(f"{found_gates.n_on:.1f} of {config.latent_dim} latents on in a cell")
        run_dir.write_table("latents", latents_on)
        run_dir.write_table("drivers", driven)

    with stage("figures") as shown:
        from scvae_cli.results import figures  # matplotlib, wanted here alone

        groups, type_names = dataset.groups
        seen = groups[mapped], type_names
        first = list(scores["tsne"].items())[:2]
        result = ", ".join(f"{MEASURES.get(name, name)} {value:.3f}" for name, value in first)
        drawn = {
            "map_2d": figures.map_2d(maps[2], *seen, clusters, centroids, config.title, result),
        }
        if config.map_3d:
            drawn["map_3d"] = figures.map_3d(maps[3], *seen, config.title)
        if len(history) > 1:
            drawn["loss"] = figures.loss_terms(history, config.beta)
        if isinstance(model, VSC):
            drawn["sparsity"] = figures.sparsity(latents_on, driven, config.title)
        for name, png in drawn.items():
            run_dir.write_figure(name, png)
        shown.say(", ".join(f"{name}.png" for name in drawn))

    if config.h5ad:
        with stage("h5ad") as shown:
            both = {"cluster": of_map, "latent_cluster": latent_clusters}
            told = {"config": config.model_dump(), "scores": scores, **run_dir.provenance()}
            cells_h5ad = annotated(dataset, both, spaces, told)
            run_dir.write_with("cells.h5ad", lambda path: write_h5ad(cells_h5ad, path))
            shown.say("cells.h5ad")
    console.scores({"2-D map": scores["tsne"], "latent space": scores["latent"]})
    return scores


def _train(
    config: Config,
    model: Model,
    dataset: Dataset,
    device: torch.device,
    run_dir: RunDir,
    shown: Stage,
    warn: Callable[[str], None],
) -> pd.DataFrame:
    """Trains from the start or a checkpoint, kept on the way; see `train`."""
    epochs, lr = config.epochs, config.lr
    assert epochs is not None
    assert lr is not None
    rows: list[dict[str, float]] = []
    threads = torch.get_num_threads()
    step = {
        "batch_size": min(config.batch_size, dataset.n_cells),
        "n_genes": dataset.n_genes,
        "width": config.model_options["encoder"][0],
    }

    def on_epoch(row: dict[str, float]) -> None:
        rows.append(row)
        shown.epoch(row, epochs)

    with held() as interrupt:
        torch.set_num_threads(for_step(threads, **step))
        try:
            return train(
                model,
                dataset.x,
                epochs=epochs,
                batch_size=config.batch_size,
                lr=lr,
                batch_seed=config.seeds.batches,
                noise_seed=config.seeds.noise,
                device=device,
                on_epoch=on_epoch,
                counts=None if config.likelihood == "gaussian" else dataset.counts(),
                kl_warmup=config.kl_warmup or 0.0,
                start=_checkpoint(run_dir, warn),
                keep=Keeper(config.checkpoint.every, run_dir.write_checkpoint, interrupt),
            )
        except RunError:
            if rows:
                run_dir.write_table("history", pd.DataFrame(rows, columns=columns(model)))
            raise
        finally:
            torch.set_num_threads(threads)


def _checkpoint(run_dir: RunDir, warn: Callable[[str], None]) -> Checkpoint | None:
    """Where the training of a run that goes on stood; None to begin."""
    contents = run_dir.read_checkpoint()
    try:
        return None if contents is None else unpack(contents)
    except ValueError as error:
        warn(f"checkpoint.safetensors is damaged ({error}); training begins anew")
        return None


def _announce(
    console: Console, n_mapped: int, n_cells: int, dims: list[int], max_iter: int
) -> None:
    """Says before a long map how long it will take, and if it leaves cells out."""
    seconds = sum(expected_seconds(n_mapped, n_dims, max_iter) for n_dims in dims)
    if n_mapped < n_cells:
        console.line(
            f"  t-SNE maps {n_mapped:,} of {n_cells:,} cells, drawn at random (tsne.max_cells)"
        )
    if seconds > ANNOUNCED:
        hint = ", of which map_3d=false saves most" if 3 in dims else ""
        console.line(f"  t-SNE will take about {minutes(seconds)} on two cores{hint}")


def _types(dataset: Dataset) -> str:
    if not dataset.is_labelled:
        return "no known types"
    rest = f" of {len(dataset.labels) - dataset.n_unlabelled:,} cells"
    return f"{len(dataset.cell_types)} cell types" + (rest if dataset.n_unlabelled else "")


def _n_clusters(config: Config, dataset: Dataset) -> int:
    """k, as given or as many as there are types."""
    if config.cluster.n_clusters is not None:
        return config.cluster.n_clusters
    if dataset.is_labelled:
        return len(dataset.cell_types)
    raise InputError(
        "cluster.n_clusters=null: these cells have no labels, whose number it would be; give "
        "data.label_key=COLUMN, or cluster.n_clusters=K"
    )


def _summary(dataset: Dataset, fingerprint: str) -> dict[str, Any]:
    sizes = np.bincount(dataset.labels[dataset.labels >= 0]).tolist()
    without = {"n_unlabelled": dataset.n_unlabelled} if dataset.n_unlabelled else {}
    return {
        "name": dataset.name,
        "fingerprint": fingerprint,
        "n_cells": dataset.n_cells,
        "n_genes": dataset.n_genes,
        "cell_types": dict(zip(dataset.cell_types, sizes, strict=True)),
        **without,
        "values": dataset.recipe.values,
        "target_sum": dataset.recipe.target_sum,
    }


def _device(name: str) -> torch.device:
    """The device of that name, or the best there is for `auto`."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, found in there.items() if found), "cpu")
    if not there.get(name, True):
        raise InputError(f"device={name}: there is none on this machine; use device=cpu or auto")
    return torch.device(name)


def _check(config: Config, dataset: Dataset, n_clusters: int) -> None:
    """Refuses what cannot work with this many cells and genes."""
    n_cells, n_genes = dataset.n_cells, dataset.n_genes
    n_mapped = min(n_cells, config.tsne.max_cells or n_cells)
    mapped = "mapped cells" if n_mapped < n_cells else "cells"
    if config.likelihood not in (None, "gaussian") and dataset.recipe.totals is None:
        raise InputError(
            f"likelihood={config.likelihood}: needs counts, and data={dataset.name} has "
            f"{dataset.recipe.values} values; give counts, or likelihood=gaussian"
        )
    if config.likelihood not in (None, "gaussian") and not dataset.recipe.whole:
        raise InputError(
            f"likelihood={config.likelihood}: is of whole numbers, and the counts of "
            f"data={dataset.name} are not; give likelihood=gaussian"
        )
    if config.likelihood not in (None, "gaussian") and config.data.scale is not None:
        raise InputError(
            f"likelihood={config.likelihood}: is of counts, and data.scale={config.data.scale:g} "
            "makes z-scores; leave one of them out"
        )
    mapped_labels = dataset.labels[choose(n_cells, config.tsne.max_cells, config.tsne.seed)]
    if dataset.is_labelled and len(np.unique(mapped_labels[mapped_labels >= 0])) < 2:
        raise InputError(
            f"tsne.max_cells={config.tsne.max_cells}: of the mapped cells, less than two types "
            "have a label; map more"
        )
    limits = [
        ("tsne.perplexity", config.tsne.perplexity, n_mapped, mapped),
        ("latent_dim", config.latent_dim, n_genes, "genes"),
        ("cluster.n_clusters", n_clusters, n_mapped, mapped),
    ]
    if config.model.name == "pca":
        limits.append(("latent_dim", config.latent_dim, n_cells, "cells"))
    for key, value, limit, what in limits:
        if value >= limit:
            raise InputError(
                f"{key}={value:g}: must be less than the number of {what}, "
                f"which is {limit} in data={dataset.name}"
            )
