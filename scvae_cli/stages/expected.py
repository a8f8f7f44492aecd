"""Say before a long run how long it will take, in how much memory, and what is sampled."""

import resource
import sys
from contextlib import suppress
from pathlib import Path
from time import perf_counter

import numpy as np
from scipy.sparse import csr_array

from scvae_cli.analysis.decoded import MOST_CELLS
from scvae_cli.analysis.mixing import MAX_CELLS
from scvae_cli.config import Config
from scvae_cli.console import minutes
from scvae_cli.data.dataset import Dataset
from scvae_cli.mapped import is_mapped, size_of
from scvae_cli.models.model import Model
from scvae_cli.models.rounds import Settings, rounds_of
from scvae_cli.models.train import train
from scvae_cli.stages.cells import Loaded
from scvae_cli.stages.context import Context
from scvae_cli.stages.fit import computing_with, new_model, threads_of_step, training_settings
from scvae_cli.stages.space import seconds_of_maps
from scvae_cli.untrusted import pages

MANY = 50_000  # cells from which on a run says what it will take
TRIAL = 40  # batches of an epoch that is timed, at most
# Of what follows training, fitted to a quiet machine (docs/performance/growth.csv):
PASSES = 0.3  # epochs that embedding takes
SECONDS = 6e-5  # of a cell: clusters, places, tables and the page
ALIGNING = 2e-5  # of a cell
START = 15.0  # seconds of any run: figures, libraries
SOLVING = 5e-7  # seconds of a value that is not zero, for 20 principal components
BYTES = 500  # of a cell: tables and their texts


def announce(context: Context, loaded: Loaded) -> None:
    """Say what a run on many cells will take, and note it in run.json.

    Training is timed on some cells, by a model that is thrown away.
    """
    dataset, config = loaded.dataset, context.config
    if dataset.n_cells < MANY or context.writer.kept_training() is not None:
        return
    model = new_model(config, dataset, context.device, alone=True)
    n_weights = sum(weights.numel() for weights in model.parameters())
    epoch, training = _times(context, loaded, model)
    maps = seconds_of_maps(config, dataset.n_cells)
    each = SECONDS + ALIGNING * config.aligns_batches
    seconds = training + PASSES * epoch + maps + each * dataset.n_cells + START
    needed = _needed(config, dataset, n_weights)
    disk = size_of(dataset.x.nnz) if is_mapped(dataset.x) else 0.0
    # What lies on disk is in memory as long as nobody needs the room.
    peak = _own() + needed if disk else max(_peak(), pages()[1] + needed)
    disk *= 3 if config.validation == "molecules" else 1  # at most: both parts of the molecules
    expected = {"seconds": round(seconds), "bytes": round(peak)}
    context.writer.note(expected=expected | ({"disk": round(disk)} if disk else {}))
    most = " at most" if config.patience is not None else ""
    on_disk = f" and {disk / 1e9:.1f} GB of disk until it ends" if disk else ""
    context.console.line(
        f"  will take about {minutes(seconds)}{most}, of which {minutes(training)} to train, and "
        f"{peak / 1e9:.1f} GB of memory{on_disk}; {_sampled(config, dataset)}"
    )


def _times(context: Context, loaded: Loaded, model: Model) -> tuple[float, float]:
    """Return the seconds of an epoch, and of all of the training."""
    config, dataset = context.config, loaded.dataset
    if loaded.training is not None:  # by the run that `trained=` names
        return 0.0, 0.0
    if model.is_solved:
        x = dataset.x
        return 0.0, SOLVING * (x.size if isinstance(x, np.ndarray) else x.nnz)
    told = dataset.covariates
    members = training_settings(config)
    n_steps = rounds_of(dataset.x, members[0]).n_steps
    n_tried = max(1, min(TRIAL, n_steps // 10))  # three times: less than the training itself
    first = np.arange(min(n_tried * config.batch_size, dataset.n_cells))
    x = dataset.x[: len(first)]
    counts = None if config.likelihood in (None, "gaussian") else dataset.counts(len(first))
    covariates = None if told is None else told.some(first)
    model.begin(x, counts, covariates)
    short: Settings = {**members[0], "epochs": 3, "updates": None}
    times = [perf_counter()]
    with computing_with(threads_of_step(config, model, len(first))):
        train(
            model, x, device=context.device, on_epoch=lambda row: times.append(perf_counter()),
            counts=counts, covariates=covariates, **short,
        )  # fmt: skip
    step = float(np.diff(times)[1:].mean()) / rounds_of(x, short).length
    epoch = len(members) * step * dataset.n_cells / config.batch_size
    return epoch, len(members) * step * n_steps / min(context.threads, len(members))


def _needed(config: Config, dataset: Dataset, n_weights: int) -> float:
    """Return the bytes that a run takes beside its cells."""
    needed = 16.0 * n_weights * (config.ensemble or 1)  # with gradients and two moments
    if config.validation == "molecules" and not (
        is_mapped(dataset.x) or isinstance(dataset.x, np.ndarray)
    ):
        needed += size_of(dataset.x.nnz)  # the values of those that are not held out
    if config.model_options.get("values") == "sqrt" and isinstance(dataset.x, csr_array):
        needed += 4.0 * dataset.x.nnz  # the roots of PCA
    if config.embeds_decoded:  # what is decoded, and the copy of it that PCA centres
        needed += 8.4 * min(dataset.n_cells, MOST_CELLS) * dataset.n_genes
    per_cell = BYTES + 8 * config.n_features
    return needed + float(per_cell) * dataset.n_cells


def _sampled(config: Config, dataset: Dataset) -> str:
    """Say which stages do not compute with all cells, in the words of their settings."""
    limits = {
        f"{config.map}.max_cells": config.mapping.max_cells,
        "cluster.max_cells": config.cluster.max_cells,
    }
    if not dataset.is_labelled:
        limits["score.max_cells"] = config.score.max_cells
    some = [f"{key}={n}" for key, n in limits.items() if n is not None and n < dataset.n_cells]
    if config.embeds_decoded and dataset.n_cells > MOST_CELLS:
        some.append(f"embedding={config.embedding} ({MOST_CELLS:,} cells)")
    if (told := dataset.covariates) is not None and told.keys and dataset.n_cells > MAX_CELLS:
        some.append(f"scores of batches ({MAX_CELLS:,} cells)")
    return f"samples are drawn for {', '.join(some)}" if some else "nothing is sampled"


def _own() -> float:
    """Return the bytes of memory of this process that are of no file."""
    with suppress(OSError, IndexError):
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return 1024 * float(status.partition("RssAnon:")[2].split()[0])
    return pages()[1]


def _peak() -> float:
    """Return the most bytes of memory that this process has had."""
    with suppress(OSError, IndexError):
        # What getrusage says may be the peak of the process that started this one.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return 1024 * float(status.partition("VmHWM:")[2].split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)
