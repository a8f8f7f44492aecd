"""Many runs: planned, checked, launched by any of Hydra's launchers, gone on with, summed up.

results.csv         a row a job, kept up to date while jobs end
summary.md, .csv    mean, sd and 95 % interval over seeds, a row a setting
differences.csv     settings against each other, paired by seed
figures/*.png, report.html
sweep.json          what was asked for, by what version, on which data
NNN-MODEL-DATA-.../ a run's folder for each job
attempts/           folders of jobs that were killed or failed, and were done again
"""

import json
import logging
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from time import perf_counter
from typing import Any

from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.core.utils import run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from scvae_cli.atomic import write_file
from scvae_cli.config import Config
from scvae_cli.console import Console, Jobs, minutes
from scvae_cli.errors import InputError
from scvae_cli.interrupts import INTERRUPTED, WORDS, exit_code
from scvae_cli.launch import runs as launch
from scvae_cli.launch.presets import check_job, recorded_words
from scvae_cli.launch.worker import Worker, WorkerDiedError
from scvae_cli.results.pages import write_summary
from scvae_cli.results.runs import Run, read_run
from scvae_cli.results.table import results, write_csv
from scvae_cli.results.terminal import show
from scvae_cli.runs import provenance
from scvae_cli.runs.folder import (
    MissingError,
    claim,
    difference,
    discard,
    essential,
    hold,
    intact,
    let_go,
    mark_failed,
    point_latest,
    read_json,
    read_settings,
)
from scvae_cli.threads import available
from scvae_cli.untrusted import check_inside

log = logging.getLogger("scvae")

LOOK = 0.5  # seconds between looks at how jobs are


@dataclass(frozen=True)
class Job:
    """One run of a sweep: its folder's name, what to say after `scvae train`, and what it is."""

    name: str
    overrides: list[str]
    config: Config

    @property
    def settings(self) -> dict[str, Any]:
        """What its results depend on."""
        return essential(self.config.model_dump())


def sweep(
    config: DictConfig, jobs: Sequence[list[str]], loader: ConfigLoader, launcher: Launcher
) -> None:
    """Runs those jobs that have no result yet, and sums up all.

    Args:
        config: what Hydra composed, `hydra` and all.
        jobs: the overrides of each.
        loader: Hydra's, to compose jobs with.
        launcher: what starts them.

    Raises:
        InputError: something asked for is not allowed; nothing was started.
        SystemExit: a job failed, or the sweep was interrupted.
    """
    console = Console()
    jobs = [[override for override in job if not _steers(override)] for job in jobs]
    resume, force = config.resume, config.force
    plan, repeated = _plan(config, jobs, loader)
    words = [word for word in sys.argv[1:] if not _steers(word)]
    record: dict[str, Any] = {
        "command": shlex.join(["scvae", "train", *words]),
        "versions": provenance.versions(),
        "git": provenance.git_state(),
        "cwd": str(Path.cwd()),
    }
    if resume is None:
        folder, created = launch.claim_folder(config, "sweep")
    else:
        folder, created = Path(resume), []
    folder = folder.absolute()  # processes elsewhere may be in another folder
    with read_write(config.hydra):  # launchers put files of their own there
        OmegaConf.update(config, "hydra.sweep.dir", str(folder))
    before = _read(folder) if resume is not None else {}
    lock = hold(folder)
    worker = Worker()
    try:
        if before and not force:
            _compare(folder, before, record, plan)
        with console.busy("loading cells"):
            record["data"] = _load(plan, worker)
        if before and not force:
            _compare_data(folder, before, record)
        plan, done = _place(folder, plan, fresh=not before, force=force)
    except BaseException:
        worker.close()
        let_go(lock)
        if created:
            discard(created)
        raise
    record["jobs"] = [{"folder": job.name, "overrides": job.overrides} for job in plan]
    record["started"] = [*before.get("started", []), launch.now()]
    write_file(folder / "sweep.json", (json.dumps(record, indent=2) + "\n").encode())
    if not before:
        point_latest(launch.at_home(config.output_dir), folder)
    left = [job for job in plan if job not in done]
    shown = launch.shown(folder)
    if repeated:
        console.line(f"{repeated} of {len(jobs)} jobs would repeat others; each is run once")
    console.line(
        f"{len(plan)} runs in {shown}" + (f", {len(done)} of them done before" if done else "")
    )
    share = _threads(config, len(plan))
    place = f"hydra.sweep.dir={launch.quoted(folder)}"
    batch = [[*job.overrides, *share, place, f"hydra.sweep.subdir='{job.name}'"] for job in left]
    code = launch.DONE
    try:
        with console.jobs(len(plan), len(done)) as view, _Watch(folder, plan, done, view):
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
    except (KeyboardInterrupt, SystemExit) as error:
        told = error.code if isinstance(error, SystemExit) else exit_code(error)
        code = told if isinstance(told, int) and told in WORDS else INTERRUPTED
    except Exception as error:  # of the launcher: a job's own are in its record
        log.exception("the launcher failed")
        console.error(f"{type(error).__name__}: {' '.join(str(error).split())}")
        code = launch.FAILED
    finally:
        worker.close()
    states = _finish(folder, plan, record, console, repeated)
    let_go(lock)
    if code == launch.DONE and states.count("done") < len(plan):
        code = launch.FAILED
    if code != launch.DONE:
        without = len(plan) - states.count("done")
        what = f"{WORDS[code]}; " if code in WORDS else ""
        console.error(
            f"{what}{without} of {len(plan)} runs have no result; "
            f"`scvae train resume={shown}` does them again"
        )
        raise SystemExit(code)


def resumed(folder: Path, others: list[str]) -> None:
    """Goes on with the sweep in a folder: what has a result is not run again.

    `scvae train resume=FOLDER` is the whole command; settings may be given again beside it.

    Args:
        folder: of the sweep; its real path.
        others: what else was on the command line.

    Raises:
        InputError: there is no sweep, or its command would run code.
        SystemExit: as from `sweep`.
    """
    check_inside(folder, _asked(folder))
    record = _read(folder)
    flags = [] if {"-m", "--multirun"} & set(others) else ["-m"]
    place = f"resume={launch.quoted(folder)}"
    if any("=" in a and not a.startswith(("hydra", "force=")) for a in others):
        launch.launch([*flags, place, *others])
        return
    again = recorded_words(str(record["command"]), folder / "sweep.json")
    if any(a.startswith("hydra") for a in others):  # another launcher, say
        again = [w for w in again if not w.startswith("hydra")]
    with launch.inside(record.get("cwd")):  # which the paths in its settings start from
        launch.launch([*flags, place, *others, *again])


def _asked(folder: Path) -> str:
    """What was asked for, in messages."""
    return f"resume={launch.shown(folder)}"


def _steers(override: str) -> bool:
    """Whether a word says how to go on, and not what to run."""
    return override.startswith(("resume=", "force="))


def _plan(
    config: DictConfig, jobs: Sequence[list[str]], loader: ConfigLoader
) -> tuple[list[Job], int]:
    """Every job that is not another again, composed and checked; how many were."""
    common = set.intersection(*(set(job) for job in jobs))
    plan: list[Job] = []
    known: set[str] = set()
    for overrides in jobs:
        composed = loader.load_sweep_config(config, list(overrides))
        job_config = launch.parse_job(composed)
        check_job(composed)
        job = Job(_name(len(plan), job_config, overrides, common), list(overrides), job_config)
        what = json.dumps(job.settings, sort_keys=True)
        if what not in known:
            known.add(what)
            plan.append(job)
    return plan, len(jobs) - len(plan)


def _name(number: int, config: Config, overrides: list[str], common: set[str]) -> str:
    """A job's folder: its number in the plan and what makes it differ from others."""
    differs = [o for o in overrides if o not in common]
    keys = ("model=", "data=", *(f"{key}=" for key in config.model.ignores))
    named = [_short(o).replace("=", "", 1) for o in differs if not o.startswith(keys)]
    return f"{number:03d}-{launch.slug(config.model.name, config.data.name, *named)}"


def _short(override: str) -> str:
    """An override whose value, if it is a path, is its last part."""
    key, _, value = override.partition("=")
    return f"{key}={Path(value).name}" if key in launch.PATHS else override


def _read(folder: Path) -> dict[str, Any]:
    """sweep.json of a folder.

    Raises:
        InputError: there is none, or none that can be read.
    """
    try:
        return read_json(folder, "sweep")
    except MissingError as error:
        run = (folder / "run.json").exists()
        what = "a run, and not a sweep" if run else "no sweep there (sweep.json is missing)"
        raise InputError(f"{_asked(folder)}: {what}; give the folder of a sweep") from error
    except InputError as error:
        raise InputError(f"{_asked(folder)}: {error}; start the sweep anew") from error


def _compare(
    folder: Path, before: dict[str, Any], record: dict[str, Any], plan: list[Job]
) -> None:
    """Refuses to go on with what is not the same sweep, or not the same code."""
    way_out = "start it anew, or go on all the same with force=true"

    def refuse(what: str) -> None:
        raise InputError(f"{_asked(folder)}: {what}; {way_out}")

    theirs = [job["folder"] for job in before["jobs"]]
    ours = [job.name for job in plan]
    for name in ours:
        if name not in theirs:
            refuse(f"the sweep there has no job {name}")
    for name in theirs:
        if name not in ours:
            refuse(f"the sweep there also has {name}")
    asked = {job["folder"]: set(job["overrides"]) for job in before["jobs"]}
    for job in plan:
        if new := sorted(set(job.overrides) ^ asked[job.name]):
            refuse(f"{job.name} differs in {' '.join(new)}")
    if differs := provenance.difference(before, record):
        refuse(differs)
    for job in plan:
        run = read_run(folder / job.name)
        if run is not None and run.settings:
            settings = read_settings(folder / job.name)
            for key, value in job.settings.items():
                if settings.get(key) != value:
                    refuse(f"{job.name} has {difference(key, settings.get(key), value)}")


def _compare_data(folder: Path, before: dict[str, Any], record: dict[str, Any]) -> None:
    for name, fingerprint in record["data"].items():
        if before.get("data", {}).get(name, fingerprint) != fingerprint:
            raise InputError(
                f"{_asked(folder)}: data={name} are other cells, genes or labels than then; "
                "start it anew, or go on all the same with force=true"
            )


def _load(plan: list[Job], worker: Worker) -> dict[str, str]:
    """Prepares each data set once, before jobs need it; the fingerprint of each by its name.

    Raises:
        InputError: cells cannot be had, or not without ending the process that reads them.
    """
    asked = {
        json.dumps(options, sort_keys=True): options
        for options in (job.config.data.model_dump() for job in plan)
    }
    try:
        return worker.call(_fingerprints, list(asked.values()))
    except WorkerDiedError as error:
        names = ", ".join(dict.fromkeys(options["name"] for options in asked.values()))
        raise InputError(f"data={names}: loading the cells ended its process: {error}") from error


def _fingerprints(asked: list[dict[str, Any]]) -> dict[str, str]:
    """Loads data sets; the fingerprint of each by its name."""
    from scvae_cli.data.sources import load

    found: dict[str, str] = {}
    for options in asked:
        dataset = load(**options)
        name = dataset.name if dataset.name not in found else f"{dataset.name} {len(found)}"
        found[name] = dataset.fingerprint()
    return found


def _in_turn(
    config: DictConfig, batch: list[list[str]], loader: ConfigLoader, worker: Worker
) -> None:
    """Runs jobs one after the other; one that ends its process is recorded as failed."""
    for number, overrides in enumerate(batch):
        job_config = loader.load_sweep_config(config, overrides)
        with open_dict(job_config):
            job_config.hydra.job.id = job_config.hydra.job.num = number
        try:
            worker.call(_run_job, job_config)
        except WorkerDiedError as error:
            place = job_config.hydra.sweep
            reason = f"its process ended: {error}"
            mark_failed(Path(place.dir) / place.subdir, reason, launch.now())


def _run_job(config: DictConfig) -> None:
    """One job as Hydra runs it; raises what it raised, if that was not a run's."""
    version.setbase("1.3")
    setup_globals()
    launch.register_resolvers()
    returned = run_job(
        task_function=launch.job,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=HydraContext(config_loader=None, callbacks=Callbacks()),  # type: ignore[arg-type]
    )
    _ = returned.return_value


def _place(
    folder: Path, plan: list[Job], *, fresh: bool, force: bool
) -> tuple[list[Job], list[Job]]:
    """Finds the results that are there; what failed or cannot be gone on with makes room.

    Returns:
        The plan, its jobs by the names of the folders where they are or will be; those that have
        a whole result.
    """
    if fresh:
        return plan, []
    there = {path.parent.name: path.parent for path in sorted(folder.glob("*/run.json"))}
    settings = {name: _settings(path) for name, path in there.items()}
    placed: list[Job] = []
    done: list[Job] = []
    kept: set[str] = set()
    for job in plan:
        names = [job.name, *(n for n in there if n != job.name)]
        same = [n for n in names if settings.get(n) == job.settings and n not in kept]
        name = next((n for n in same if intact(there[n])), None)
        placed.append(job if name is None else Job(name, job.overrides, job.config))
        if name is not None:
            kept.add(name)
            done.append(placed[-1])
    for job in placed:
        begun = folder / job.name
        if job in done or not begun.exists() or (_can_go_on(begun) and not force):
            continue
        attempt, _ = claim(folder / "attempts" / job.name, exact=False)
        begun.replace(attempt)
    return placed, done


def _can_go_on(path: Path) -> bool:
    """Whether a run was killed or interrupted, and not failed of itself."""
    run = read_run(path)
    return (
        run is not None
        and bool(run.settings)
        and (run.status == "unfinished" or run.record.get("reason") == "interrupted")
    )


def _settings(path: Path) -> dict[str, Any] | None:
    with suppress(InputError):
        return essential(read_settings(path))
    return None


def _threads(config: DictConfig, n_jobs: int) -> list[str]:
    """`threads=` for each of several jobs at once, so that together they use what there is."""
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


class _Watch:
    """While jobs run, wherever they do: keeps results.csv and the terminal up to date.

    Jobs may be in other processes or on other machines. Their folders tell how they are.
    """

    def __init__(self, folder: Path, plan: list[Job], done: list[Job], view: Jobs) -> None:
        self._folder, self._plan, self._view = folder, plan, view
        self._runs: dict[str, Run] = {}
        for job in done:
            run = read_run(folder / job.name)
            assert run is not None
            self._runs[job.name] = run
        self._before = len(done)
        self._start = perf_counter()
        self._over = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._look()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(LOOK):
            self._look()

    def _look(self) -> None:
        running, new = [], False
        for job in self._plan:
            if job.name in self._runs:
                continue
            run = read_run(self._folder / job.name)
            if run is None:
                continue
            if run.status == "unfinished":
                running.append(f"{job.name}: {run.record.get('stage', 'start')}")
                continue
            self._runs[job.name] = run
            new = True
            self._view.ended(self._told(job, run), run.warnings)
        ended = len(self._runs) - self._before
        left = len(self._plan) - len(self._runs)
        seconds = (perf_counter() - self._start) / ended * left if ended else None
        failed = sum(run.status == "failed" for run in self._runs.values())
        self._view.update(len(self._runs) - failed, running, failed, left - len(running), seconds)
        if new:
            runs = [self._runs[job.name] for job in self._plan if job.name in self._runs]
            write_csv(self._folder / "results.csv", results(runs))

    def _told(self, job: Job, run: Run) -> str:
        number = f"[{len(self._runs):>{len(str(len(self._plan)))}}/{len(self._plan)}]"
        if run.status == "failed":
            return f"{number} {job.name}  failed: {run.record.get('reason')}"
        taken = minutes(sum(run.record.get("seconds", {}).values()))
        shown = (("tsne_nmi", "NMI"), ("tsne_ari", "ARI"), ("tsne_silhouette", "silhouette"))
        scores = [f"{word} {run.scores[name]:.3f}" for name, word in shown if name in run.scores]
        return f"{number} {job.name}  {' '.join(scores)}  {taken}"


def _finish(
    folder: Path, plan: list[Job], record: dict[str, Any], console: Console, repeated: int
) -> list[str]:
    """Sums up what there is; the status of each job."""
    runs = [run for job in plan if (run := read_run(folder / job.name)) is not None]
    states = [run.status for run in runs]
    if not any(run.settings for run in runs):
        return states
    notes = [
        f"{len(plan)} runs, {states.count('done')} with a result. Command: {record['command']}"
    ]
    if repeated:
        notes.append(f"{repeated} further jobs would have repeated these and were not run.")
    title = f"Sweep {folder.name}"
    write_summary(folder, runs, title=title, notes=notes, by=None, score=None)
    show(runs, console, by=None, score=None, sort=None)
    console.folder(Path(launch.shown(folder)))
    return states
