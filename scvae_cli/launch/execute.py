"""Execute one run in a folder that exists, and record it from its start to its end."""

import errno
import logging
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scvae_cli.errors import InputError, UserError
from scvae_cli.garbage import importing
from scvae_cli.interrupts import INTERRUPTED, listening, undisturbed
from scvae_cli.launch.places import shown
from scvae_cli.processes import n_processes
from scvae_cli.runs.files import REPORT
from scvae_cli.runs.formats import FORMAT
from scvae_cli.runs.provenance import git_state, versions
from scvae_cli.runs.run import Run
from scvae_cli.runs.writer import MOVED, RunWriter, add_files
from scvae_cli.visible import Lines

if TYPE_CHECKING:
    from scvae_cli.config import Config
    from scvae_cli.console import Console

log = logging.getLogger("scvae")

DONE, FAILED, REFUSED = 0, 1, 2  # exit codes
Scores = dict[str, dict[str, float]]
LESS = "a smaller batch_size takes less"


@listening()  # as a job of a sweep, it may be in a process where nobody does
def start(
    config: "Config",
    path: Path,
    arguments: list[str],
    overrides: list[str],
    console: "Console",
    *,
    resumes: Run | None = None,
) -> tuple[int, Scores]:
    """Execute a run.

    Args:
        config: what to do.
        path: the folder.
        arguments: what follows `scvae train` in the command that does this.
        overrides: those among them that are settings.
        console: where messages go.
        resumes: the run that is there and is resumed.

    Returns:
        An exit code, and the scores by space where there are some.

    Raises:
        KeyboardInterrupt: it was interrupted, which its record says.
    """
    record = first_record(config, arguments, overrides, resumes)
    logging.raiseExceptions = False  # a log that cannot be written is no reason for a traceback
    try:
        writer = RunWriter(path, record, resumes=resumes)
    except InputError as error:
        console.error(str(error))
        return REFUSED, {}
    except OSError as error:
        console.error(fault(error, path))
        return FAILED, {}
    return _recorded(config, writer, console, resumes)


def first_record(
    config: "Config", arguments: list[str], overrides: list[str], resumes: Run | None = None
) -> dict[str, Any]:
    """Return what run.json says when a run starts, or what is new in it when one is resumed."""
    code = {"versions": versions(), "git": git_state()}
    running = {"status": "running", "reason": None}
    if resumes is not None:
        before = resumes.record.get("resumed", [])
        return {"format": FORMAT, **running, "resumed": [*before, {"when": now(), **code}]}
    return {
        "format": FORMAT,
        **running,
        "command": shlex.join(["scvae", "train", *arguments]),
        "overrides": overrides,
        "cwd": str(Path.cwd()),
        "started": now(),
        "seed": config.seed,
        **code,
    }


def _recorded(
    config: "Config", writer: RunWriter, console: "Console", resumes: Run | None
) -> tuple[int, Scores]:
    """Compute, and record how it ended."""
    with ExitStack() as ending:
        try:
            code, reason, scores = _outcome(config, writer, console)
            failed_team = code != DONE and n_processes() > 1  # which torchrun then ends
            # In here, as a signal that came while memory was freed raises only now.
            ending.enter_context(undisturbed(for_good=failed_team))
        except (KeyboardInterrupt, SystemExit):
            ending.enter_context(undisturbed())
            _end(writer, console, INTERRUPTED, "interrupted", resumes)
            raise
        return _end(writer, console, code, reason, resumes), scores


def _outcome(
    config: "Config", writer: RunWriter, console: "Console"
) -> tuple[int, str | None, Scores]:
    """Compute; return an exit code, the reason of a failure, and the scores."""
    try:
        with console.busy("loading libraries"), importing():
            from scvae_cli.pipeline import run
        return DONE, None, run(config, writer, console)
    except Exception as error:
        code = REFUSED if isinstance(error, InputError) else FAILED
        return code, reason_of(error, writer.path), {}


def reason_of(error: Exception, path: Path) -> str:
    """Say in a line why a run in this folder failed; log what nobody expected."""
    if isinstance(error, UserError):
        return str(error)
    log.error("the run failed", exc_info=error)
    if isinstance(error, OSError):
        return fault(error, path)
    name, said = type(error).__name__, " ".join(str(error).split())
    if name == "OutOfMemoryError":  # PyTorch's, of a GPU
        said = said.removeprefix("CUDA out of memory. ")
        return f"the GPU's memory is full ({said}); {LESS}, device=cpu none of it"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in said:  # the latter is PyTorch's
        what = f" ({said})" if said else ""
        return f"the memory is full{what}; {LESS}, and so do fewer data.genes"
    return f"{name}: {said}"


def _end(
    writer: RunWriter, console: "Console", code: int, reason: str | None, resumes: Run | None
) -> int:
    """Record how a run ended, and say why if it failed. Returns the exit code."""
    try:
        if resumes is not None and code == REFUSED:  # nothing was done: it is as it was
            writer.end(status=resumes.record["status"], reason=resumes.record.get("reason"))
        else:
            writer.end(status="failed" if code else "done", reason=reason, ended=now())
    except OSError as error:
        reason, code = reason or fault(error, writer.path), code or FAILED
    if reason and code != INTERRUPTED:
        console.error(reason)
    return code


def fault(error: OSError, path: Path) -> str:
    """Say in a line which file of a run cannot be read or written, and the way out."""
    if error.strerror == MOVED or not path.is_dir():
        return f"{path}: {MOVED}; if it was moved, `scvae train resume=FOLDER` continues it"
    what = f"{error.filename or path}: {error.strerror or error}"
    if not (path / "run.json").exists():
        return f"{what}; nothing was kept; give another folder"
    return f"{what}; what was done is kept, and `scvae train resume={shown(path)}` continues it"


def write_report(path: Path, console: "Console") -> int:
    """Write report.html, and MultiQC's files, of a run that is done. Returns an exit code."""
    from scvae_cli.results.multiqc import run_files
    from scvae_cli.results.run_page import run_page

    try:
        if not path.is_dir():
            raise FileNotFoundError(errno.ENOENT, MOVED, str(path))
        run = Run(path)
        add_files(path, {REPORT: run_page(run).encode(), **run_files(run)})
    except InputError as error:
        console.error(str(error))
        return REFUSED
    except OSError as error:
        console.error(fault(error, path))
        return FAILED
    return DONE


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Write the log of the block to scvae.log of a run's folder."""
    root = logging.getLogger()
    handler = logging.FileHandler(path / "scvae.log", encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(Lines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        with suppress(OSError):
            handler.close()


def now() -> str:
    """Return the time as records have it."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
