"""Many runs: planned, checked, launched by any of Hydra's launchers, resumed, summed up.

results.csv         a row a job, kept up to date while jobs end
summary.md, .csv    mean, sd and 95 % interval over seeds, a row a setting
differences.csv     settings against each other, paired by seed
figures/*.png, report.html
*_mqc.*             of multiqc=true: the table of means and the maps, for MultiQC
sweep.json          what was asked for, by what version, on which data
NNN-MODEL-DATA-.../ a run's folder for each job
attempts/           folders of jobs that were killed or failed, and were done again
"""

import logging
import shlex
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, read_write

from scvae_cli.atomic import write_file
from scvae_cli.console import Console
from scvae_cli.interrupts import INTERRUPTED, WORDS, exit_code
from scvae_cli.launch.compose import claim_folder, keys_of
from scvae_cli.launch.execute import DONE, FAILED, now
from scvae_cli.launch.jobs import load_data, run_jobs
from scvae_cli.launch.places import at_home, inside, quoted, shown
from scvae_cli.launch.plan import (
    Job,
    Sweep,
    asked,
    check_known,
    check_same,
    check_same_data,
    is_circumstance,
    named_as,
    place_jobs,
    plan_jobs,
    read_sweep,
    threads_of_each,
)
from scvae_cli.launch.recorded import recorded_words
from scvae_cli.launch.train import launch
from scvae_cli.launch.watch import Watch
from scvae_cli.launch.worker import Worker
from scvae_cli.results.multiqc import write_sweep as write_multiqc
from scvae_cli.results.pages import write_summary
from scvae_cli.results.terminal import show
from scvae_cli.runs.claim import discard, lock, point_latest, unlock
from scvae_cli.runs.files import json_text
from scvae_cli.runs.formats import FORMAT
from scvae_cli.runs.provenance import git_state, versions
from scvae_cli.runs.run import Run, find
from scvae_cli.untrusted import check_inside

log = logging.getLogger("scvae")

# Whether another command sums the runs up, so that only the jobs are shown.
JOBS_ONLY: ContextVar[bool] = ContextVar("JOBS_ONLY", default=False)


def sweep(
    config: DictConfig, jobs: Sequence[list[str]], loader: ConfigLoader, launcher: Launcher
) -> None:
    """Run the jobs that have no result yet, and sum up all.

    Args:
        config: what Hydra composed, `hydra` and all.
        jobs: the overrides of each.
        loader: Hydra's, to compose jobs with.
        launcher: what starts them.

    Raises:
        InputError: something asked for is not allowed; nothing was started.
        SystemExit: a job failed, or the sweep was interrupted.
    """
    console = Console(quiet=config.quiet, live=not config.quiet)
    jobs = [[override for override in job if not _steers(override)] for job in jobs]
    plan, n_repeated = plan_jobs(config, jobs, loader)
    worker = Worker()
    begun = _begun(config, plan, worker, console)
    if n_repeated:
        console.line(f"{n_repeated} of {len(jobs)} jobs would repeat others; each is run once")
    before = f", {len(begun.done)} of them done before" if begun.done else ""
    console.line(f"{len(plan)} runs in {shown(begun.folder)}{before}")
    batch = _batch(config, begun)
    code = DONE
    try:
        with console.jobs(len(plan), len(begun.done)) as view, Watch(begun, view):
            run_jobs(config, batch, loader, launcher, worker)
    except (KeyboardInterrupt, SystemExit) as error:
        given = error.code if isinstance(error, SystemExit) else exit_code(error)
        code = given if isinstance(given, int) and given in WORDS else INTERRUPTED
    except OSError as error:  # a full disk, say, on which a job's folder cannot be made
        console.error(_unwritten(error))
        code = FAILED
    except Exception as error:  # of the launcher: a job's own are in its record
        log.exception("the launcher failed")
        console.error(f"{type(error).__name__}: {' '.join(str(error).split())}")
        code = FAILED
    finally:
        worker.close()
    _finish(begun, code, console, n_repeated)


def _begun(config: DictConfig, plan: list[Job], worker: Worker, console: Console) -> Sweep:
    """Begin as `_begin`; end the worker if that fails.

    Raises:
        InputError: as from `_begin`.
        SystemExit: the folder cannot be written to; nothing is left behind.
    """
    try:
        return _begin(config, plan, worker, console)
    except OSError as error:
        worker.close()
        what = "nothing was kept; give another folder with hydra.sweep.dir=FOLDER"
        if config.resume is not None:
            what = f"`scvae train resume={shown(Path(config.resume))}` continues it"
        console.error(f"{_unwritten(error)}; {what}")
        raise SystemExit(FAILED) from error
    except BaseException:
        worker.close()
        raise


def _begin(config: DictConfig, plan: list[Job], worker: Worker, console: Console) -> Sweep:
    """Claim the sweep's folder, or open that of the sweep to resume, and write sweep.json.

    Raises:
        InputError: another sweep is there, or the cells cannot be read; nothing is left behind.
    """
    words = [word for word in sys.argv[1:] if not _steers(word)]
    record: dict[str, Any] = {
        "format": FORMAT,
        "command": shlex.join(["scvae", "train", *words]),
        "versions": versions(),
        "git": git_state(),
        "cwd": str(Path.cwd()),
    }
    resumes = config.resume is not None
    folder, created = (Path(config.resume), []) if resumes else claim_folder(config, "sweep")
    folder = folder.absolute()  # processes elsewhere may be in another folder
    with read_write(config.hydra):  # launchers put files of their own there
        OmegaConf.update(config, "hydra.sweep.dir", str(folder))
    before = read_sweep(folder) if resumes else {}
    plan = named_as(plan, before) if before else plan
    file_lock = lock(folder)
    done: list[Job] = []
    try:
        if before:
            check_known(folder, before, plan)
        if before and not config.force:
            check_same(folder, before, record, plan)
        with console.busy("loading cells"):
            record["data"] = load_data(plan, worker)
        if before and not config.force:
            check_same_data(folder, before, record)
        if before:
            plan, done = place_jobs(folder, plan, force=config.force)
        record["jobs"] = [{"folder": job.name, "overrides": job.overrides} for job in plan]
        record["started"] = [*before.get("started", []), now()]
        write_file(folder / "sweep.json", json_text(record))
    except BaseException:
        unlock(file_lock)
        if created:
            discard(created)
        raise
    if not before:
        point_latest(at_home(config.output_dir), folder)
    return Sweep(folder, plan, done, record, file_lock)


def _batch(config: DictConfig, begun: Sweep) -> list[list[str]]:
    """Return the overrides of each job that has no result yet, with its place and its threads."""
    share = threads_of_each(config, len(begun.plan))
    place = f"hydra.sweep.dir={quoted(begun.folder)}"
    return [
        [*job.overrides, *share, place, f"hydra.sweep.subdir='{job.name}'"]
        for job in begun.plan
        if job not in begun.done
    ]


def _finish(begun: Sweep, code: int, console: Console, n_repeated: int) -> None:
    """Sum up what there is, and leave with an exit code unless all jobs are done."""
    plan, folder = begun.plan, begun.folder
    runs = [run for job in plan if (run := find(folder / job.name)) is not None]
    without = len(plan) - [run.status for run in runs].count("done")
    lost = f"{without} of {len(plan)} runs have no result"
    if code == DONE and without:
        code = FAILED
    try:
        if any(run.flat_settings for run in runs):
            _sum_up(begun, runs, console, n_repeated)
    except OSError as error:
        tables = f"the tables are not whole ({_unwritten(error)})"
        lost, code = f"{lost}, and {tables}" if without else tables, code or FAILED
    finally:
        unlock(begun.file_lock)
    if code != DONE:
        what = f"{WORDS[code]}; " if code in WORDS else ""
        again = f"; `scvae train resume={shown(folder)}` does them again"
        console.error(f"{what}{lost}" + ("" if JOBS_ONLY.get() else again))
        raise SystemExit(code)


def _unwritten(error: OSError) -> str:
    """Say in words which file cannot be written, and why."""
    where = f"{shown(Path(error.filename))}: " if isinstance(error.filename, str) else ""
    return f"{where}{error.strerror or error}"


def _sum_up(begun: Sweep, runs: Sequence[Run], console: Console, n_repeated: int) -> None:
    """Write and show the tables of the jobs there are."""
    n_done = [run.status for run in runs].count("done")
    notes = [f"{len(begun.plan)} runs, {n_done} with a result."]
    if n_repeated:
        notes.append(f"{n_repeated} further jobs would have repeated these and were not run.")
    title = f"Sweep {begun.folder.name}"
    command = begun.record["command"]
    write_summary(
        begun.folder, runs, title=title, notes=notes, by=None, score=None, command=command
    )
    write_multiqc(begun.folder, runs, begun.plan[0].config.multiqc)
    if not JOBS_ONLY.get():
        show(runs, console, by=None, score=None, sort=None)
        console.folder(Path(shown(begun.folder)))


def resume_sweep(folder: Path, others: list[str]) -> None:
    """Resume the sweep in a folder: what has a result is not run again.

    `scvae train resume=FOLDER` is the whole command. Settings that say how to compute are added
    to those it was started with; if others are given, they are taken for all that it has.

    Args:
        folder: of the sweep; its real path.
        others: what else was on the command line.

    Raises:
        InputError: there is no sweep, or its command would run code.
        SystemExit: as from `sweep`.
    """
    check_inside(folder, asked(folder))
    record = read_sweep(folder)
    flags = [] if {"-m", "--multirun"} & set(others) else ["-m"]
    place = f"resume={quoted(folder)}"
    others = ["quiet=true" if word == "--quiet" else word for word in others]
    keys = keys_of(word for word in others if "=" in word and word[0] != "-")
    hydras = [key for key in keys if key.startswith("hydra")]  # another launcher, say
    if not all(key in hydras or key == "force" or is_circumstance(key) for key in keys):
        launch([*flags, place, *others])
        return
    again = [
        word
        for word in recorded_words(str(record["command"]), folder / "sweep.json")
        if not keys & keys_of([word]) and not (hydras and word.lstrip("+~").startswith("hydra"))
    ]
    with inside(record.get("cwd")):  # which the paths in its settings start from
        launch([*flags, place, *others, *again])


def _steers(override: str) -> bool:
    """Return whether a word says how to resume, and not what to run."""
    return override.startswith(("resume=", "force="))
