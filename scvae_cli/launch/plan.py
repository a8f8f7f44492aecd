"""The plan of a sweep: its jobs, their folders, which of them have a result."""

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from scvae_cli.config import Config
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.launch.compose import keys_of, parse_job
from scvae_cli.launch.places import folder_name, shown
from scvae_cli.launch.presets import check_job
from scvae_cli.launch.recorded import refuse_export
from scvae_cli.runs.claim import LOCK, claim
from scvae_cli.runs.files import MissingError, read_json
from scvae_cli.runs.formats import NewerError
from scvae_cli.runs.provenance import difference
from scvae_cli.runs.run import Run, find, likely_run
from scvae_cli.runs.same import CIRCUMSTANCES, essential, first_difference
from scvae_cli.threads import available

WAY_OUT = "start a new sweep, or continue all the same with force=true"


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        name: of its folder.
        overrides: what follows `scvae train`.
        config: its settings.
    """

    name: str
    overrides: list[str]
    config: Config

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that its results depend on."""
        return essential(self.config.model_dump())


@dataclass(frozen=True)
class Sweep:
    """A sweep that is about to run.

    Attributes:
        folder: where it is.
        plan: all jobs.
        done: those that have a result already.
        record: sweep.json.
        file_lock: of the folder.
    """

    folder: Path
    plan: list[Job]
    done: list[Job]
    record: dict[str, Any]
    file_lock: FileLock


def plan_jobs(
    config: DictConfig, jobs: Sequence[list[str]], loader: ConfigLoader
) -> tuple[list[Job], int]:
    """Compose and check every job.

    Returns:
        The jobs, without those that repeat another, and how many of these there were.
    """
    common = set.intersection(*(set(job) for job in jobs))
    plan: list[Job] = []
    known: set[str] = set()
    for overrides in jobs:
        composed = loader.load_sweep_config(config, list(overrides))
        job_config = parse_job(composed)
        check_job(composed)
        job = Job(_name(len(plan), job_config, overrides, common), list(overrides), job_config)
        what = json.dumps(job.settings, sort_keys=True)
        if what not in known:
            known.add(what)
            plan.append(job)
    return plan, len(jobs) - len(plan)


def _name(number: int, config: Config, overrides: list[str], common: set[str]) -> str:
    """Name a job's folder: its number in the plan and what makes it differ from others."""
    ignored = config.ignored
    differs = [o for o in overrides if o not in common and re.split("[.=]", o)[0] not in ignored]
    return f"{number:03d}-{folder_name(config.model.name, config.data.name, differs)}"


def named_as(plan: Sequence[Job], before: dict[str, Any]) -> list[Job]:
    """Return the jobs by the names of their folders in a sweep.json, which may be an older one."""
    names = {_asks(job["overrides"]): job["folder"] for job in before["jobs"]}
    return [replace(job, name=names.get(_asks(job.overrides), job.name)) for job in plan]


def is_circumstance(word: str) -> bool:
    """Return whether a setting says where and how to compute, and not what."""
    (key,) = keys_of([word])
    return key.split(".")[0] in CIRCUMSTANCES


def _asks(words: Iterable[str]) -> frozenset[str]:
    """Return the words that say what to compute.

    They are without the quotes that a path gets once there is a file of its name.
    """
    said = (re.sub(r"['\"\\]", "", word) for word in words)
    return frozenset(word for word in said if not is_circumstance(word))


def asked(folder: Path) -> Given:
    """Return `resume=FOLDER`, as messages begin."""
    return Given("resume", shown(folder))


def read_sweep(folder: Path) -> dict[str, Any]:
    """Read sweep.json of a folder.

    Raises:
        InputError: there is none, or none that can be read or resumed.
    """
    try:
        record = read_json(folder, "sweep")
    except MissingError as error:
        run = (folder / "run.json").exists()
        what = "no run or sweep there (run.json and sweep.json are missing)"
        fix = likely_run(Path(shown(folder)), "give the folder of a run or a sweep")
        if run:
            what, fix = "a run, and not a sweep", "give the folder of a sweep"
        raise InputError(Kind.MISSING, asked(folder), what, fix) from error
    except NewerError:
        raise
    except InputError as error:
        raise InputError(Kind.DAMAGED, asked(folder), str(error), "start a new sweep") from error
    refuse_export(record, asked(folder))
    return record


def check_same(
    folder: Path, before: dict[str, Any], record: dict[str, Any], plan: list[Job]
) -> None:
    """Refuse to resume another sweep, or a sweep of other code.

    Args:
        folder: of the sweep.
        before: its sweep.json.
        record: sweep.json as it would be now.
        plan: the jobs asked for now.
    """

    def refuse(what: str) -> NoReturn:
        raise InputError(Kind.DIFFERS, asked(folder), what, WAY_OUT)

    theirs = [job["folder"] for job in before["jobs"]]
    ours = [job.name for job in plan]
    for name in ours:
        if name not in theirs:
            refuse(f"the sweep there has no job {name}")
    for name in theirs:
        if name not in ours:
            refuse(f"the sweep there also has {name}")
    overrides = {job["folder"]: _asks(job["overrides"]) for job in before["jobs"]}
    for job in plan:
        if new := sorted(_asks(job.overrides) ^ overrides[job.name]):
            refuse(f"{job.name} differs in {' '.join(new)}")
    if differs := difference(before, record):
        refuse(differs)
    for job in plan:
        run = find(folder / job.name)
        if run is not None and run.flat_settings:
            there = essential(run.settings)
            for key, value in job.settings.items():
                if there.get(key) != value:
                    differs = first_difference(key, there.get(key), value)
                    refuse(f"{job.name} has {differs}")


def check_known(folder: Path, before: dict[str, Any], plan: list[Job]) -> None:
    """Refuse jobs of which none is one of the sweep's, whose record would forget its runs."""
    theirs = {job["folder"] for job in before["jobs"]}
    if not theirs & {job.name for job in plan}:
        reason = (
            f"none of the jobs asked for is one of the sweep there (the first: {plan[0].name})"
        )
        fix = "give no settings, or all of the sweep's; or start a new sweep"
        raise InputError(Kind.DIFFERS, asked(folder), reason, fix)


def check_same_data(folder: Path, before: dict[str, Any], record: dict[str, Any]) -> None:
    """Refuse to resume a sweep on other cells."""
    for name, fingerprint in record["data"].items():
        if before.get("data", {}).get(name, fingerprint) != fingerprint:
            raise InputError(
                Kind.DIFFERS,
                asked(folder),
                f"the cells, genes or labels of data={name} are not those it began with",
                WAY_OUT,
            )


def place_jobs(folder: Path, plan: list[Job], *, force: bool) -> tuple[list[Job], list[Job]]:
    """Find the results that are there; move away what failed or cannot be resumed.

    Returns:
        The plan, its jobs by the names of the folders where they are or will be; those that have
        a whole result.
    """
    runs = {}
    for path in sorted(folder.glob("*/run.json")):
        with suppress(InputError):
            runs[path.parent.name] = Run(path.parent)
    settings = {name: _settings(run) for name, run in runs.items()}
    placed: list[Job] = []
    done: list[Job] = []
    kept: set[str] = set()
    for job in plan:
        names = [job.name, *(n for n in runs if n != job.name)]
        same = [n for n in names if settings.get(n) == job.settings and n not in kept]
        name = next((n for n in same if runs[n].has_result), None)
        placed.append(job if name is None else replace(job, name=name))
        if name is not None:
            kept.add(name)
            done.append(placed[-1])
    for job in placed:
        begun = folder / job.name
        if job in done or not begun.exists() or (_can_resume(begun) and not force):
            continue
        attempt, _ = claim(folder / "attempts" / job.name, exact=False)
        (attempt / LOCK).unlink()  # a folder takes the place of an empty one only
        begun.replace(attempt)
    return placed, done


def _can_resume(path: Path) -> bool:
    """Return whether a run was killed or interrupted, and did not fail by itself."""
    run = find(path)
    return (
        run is not None
        and bool(run.flat_settings)
        and (run.status == "unfinished" or run.record.get("reason") == "interrupted")
    )


def _settings(run: Run) -> dict[str, Any] | None:
    with suppress(InputError):
        return essential(run.settings)
    return None


def threads_of_each(config: DictConfig, n_jobs: int) -> list[str]:
    """Return `threads=` for each of several jobs at once, which share all threads."""
    launcher = config.hydra.launcher
    if config.threads is not None:
        return []
    if "n_jobs" in launcher:  # joblib
        at_once = launcher.n_jobs if launcher.n_jobs > 0 else available() + 1 + launcher.n_jobs
        return [f"threads={max(1, available() // max(1, min(at_once, n_jobs)))}"]
    if "cpus_per_task" in launcher:  # submitit
        return [f"threads={launcher.cpus_per_task or 1}"]
    if "ray" in launcher:
        return [f"threads={max(1, int(OmegaConf.select(launcher, 'ray.remote.num_cpus') or 1))}"]
    return []
