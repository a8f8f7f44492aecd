"""Run the jobs of a sweep: in a worker process one by one, or by a launcher of Hydra's."""

import json
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.core.utils import run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.launch import train
from scvae_cli.launch.compose import register_resolvers
from scvae_cli.launch.execute import now
from scvae_cli.launch.plan import Job
from scvae_cli.launch.worker import Worker, WorkerDiedError
from scvae_cli.runs.writer import mark_failed


def load_data(plan: list[Job], worker: Worker) -> dict[str, str]:
    """Load each data set once, before jobs need it.

    Returns:
        The fingerprint of each by its name.

    Raises:
        InputError: cells cannot be read, or not without ending the process that reads them.
    """
    asked = {
        json.dumps(options, sort_keys=True): options
        for options in (job.config.data.model_dump() for job in plan)
    }
    try:
        return worker.call(_fingerprints, list(asked.values()), plan[0].config.output_dir)
    except WorkerDiedError as error:
        names = ", ".join(dict.fromkeys(options["name"] for options in asked.values()))
        raise InputError(
            Kind.CONTENT, Given("data", names), f"loading the cells ended its process: {error}"
        ) from error


def _fingerprints(asked: list[dict[str, Any]], output_dir: str) -> dict[str, str]:
    """Load data sets; return the fingerprint of each by its name."""
    from scvae_cli.data.sources import load

    fingerprints: dict[str, str] = {}
    for options in asked:
        dataset = load(**options, folder=Path(output_dir))
        name = dataset.name
        if name in fingerprints:
            name = f"{name} {len(fingerprints)}"
        fingerprints[name] = dataset.fingerprint()
    return fingerprints


def run_jobs(
    config: DictConfig,
    batch: list[list[str]],
    loader: ConfigLoader,
    launcher: Launcher,
    worker: Worker,
) -> None:
    """Run jobs by the launcher that the configuration names.

    Args:
        config: what Hydra composed for the sweep.
        batch: the overrides of each job.
        loader: Hydra's, to compose jobs with.
        launcher: Hydra's; jobs of its basic launcher run in the worker, one after the other.
        worker: a process beside this one.
    """
    if isinstance(launcher, BasicLauncher):
        _in_turn(config, batch, loader, worker)
    elif batch:
        worker.close()
        launcher = Plugins.instance().instantiate_launcher(  # for the folder as it is now
            hydra_context=launcher.hydra_context,  # type: ignore[attr-defined]
            task_function=launcher.task_function,  # type: ignore[attr-defined]
            config=config,
        )
        for returned in launcher.launch(batch, initial_job_idx=0):
            _ = returned.return_value  # raises what a job did, if it was not a run's


def _in_turn(
    config: DictConfig, batch: list[list[str]], loader: ConfigLoader, worker: Worker
) -> None:
    """Run jobs one after the other; record as failed those that end their process."""
    for number, overrides in enumerate(batch):
        job_config = loader.load_sweep_config(config, overrides)
        with open_dict(job_config):
            job_config.hydra.job.id = job_config.hydra.job.num = number
        try:
            worker.call(_run_job, job_config)
        except WorkerDiedError as error:
            place = job_config.hydra.sweep
            mark_failed(Path(place.dir) / place.subdir, f"its process ended: {error}", now())


def _run_job(config: DictConfig) -> None:
    """Run one job as Hydra does; raise what it raised, if that was not a run's."""
    version.setbase("1.3")
    setup_globals()
    register_resolvers()
    returned = run_job(
        task_function=train.job,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=HydraContext(config_loader=None, callbacks=Callbacks()),  # type: ignore[arg-type]
    )
    _ = returned.return_value
