"""`scvae train resume=RUN`: continue a run with what it has, undamaged."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.interrupts import WORDS, exit_code
from scvae_cli.launch.compose import keys_of
from scvae_cli.launch.execute import DONE, REFUSED, logged, start, write_report
from scvae_cli.launch.places import exists, inside, shown
from scvae_cli.launch.presets import without_reading
from scvae_cli.launch.recorded import refuse_export
from scvae_cli.runs.claim import lock, unlock
from scvae_cli.runs.files import REPORT, settings_text
from scvae_cli.runs.formats import NewerError
from scvae_cli.runs.provenance import codes, difference, git_state, versions
from scvae_cli.runs.run import Run
from scvae_cli.untrusted import check_inside, read_yaml

if TYPE_CHECKING:
    from scvae_cli.config import Config
    from scvae_cli.console import Console


def resume(path: Path, others: list[str]) -> None:
    """Continue a run: what it has, undamaged, is not done again.

    Args:
        path: its folder; the real path.
        others: what else was on the command line; `force=` and `quiet=` may be, or `--quiet`.

    Raises:
        InputError: there is nothing to resume, or not by this version.
        SystemExit: the run did not end well.
    """
    from scvae_cli.console import Console

    others = ["quiet=true" if word == "--quiet" else word for word in others]
    run = _open(path, others)
    config = _settings(run)
    quiet = "quiet=true" in others or (config.quiet and "quiet=false" not in others)
    console = Console(quiet=quiet, live=not quiet)
    if run.has_result:
        code = _finished(run, console)
    else:
        _check_code(run, "force=true" in others)
        for name in run.damaged:
            console.warn(f"{name} differs from what the run wrote, and is made again")
        code = _continued(run, config, console)
    if code != REFUSED:
        console.folder(Path(shown(path)))
    if code != DONE:
        raise SystemExit(code)


def say_how_to_resume(error: KeyboardInterrupt, path: Path, console: "Console") -> None:
    """Say what interrupted a run, and the command that continues it."""
    what = WORDS[exit_code(error)]
    if (path / "run.json").exists():
        console.error(f"{what}; `scvae train resume={shown(path)}` continues it")
    else:
        console.error(f"{what} before the run began; nothing was kept")


def _open(path: Path, others: list[str]) -> Run:
    """Open the run that is to be resumed, if no other process writes there."""
    asked = Given("resume", shown(path))
    check_inside(path, asked)
    unlock(lock(path))
    allowed = [f"{key}={value}" for key in ("force", "quiet") for value in ("true", "false")]
    unknown = [word for word in others if word not in allowed]
    if unknown:
        raise InputError(
            Kind.CONFLICT,
            asked,
            "continues with the settings of its config.yaml",
            f"leave out {unknown[0]}",
        )
    try:
        run = Run(path)
    except NewerError:
        raise
    except InputError as error:
        raise InputError(
            Kind.DAMAGED, asked, f"cannot be resumed ({error})", "start a new run"
        ) from error
    refuse_export(run.record, asked)
    return run


def _finished(run: Run, console: "Console") -> int:
    """Make the pages of a run that is done, if one is not there. Returns an exit code."""
    console.line("the run is done, and its files are what it wrote")
    wanted = [REPORT, *(["scores_mqc.tsv"] if run.settings.get("multiqc") else [])]
    lost = [*run.damaged, *(name for name in wanted if not (run.path / name).exists())]
    if not lost:
        return DONE
    names = ", ".join(dict.fromkeys(lost))
    console.line(f"{names}: missing, or not what was written; made again")
    return write_report(run.path, console)


def _check_code(run: Run, force: bool) -> None:
    """Refuse a run of other code, unless it is forced."""
    differs = difference(codes(run.record)[-1], {"versions": versions(), "git": git_state()})
    if differs and not force:
        raise InputError(
            Kind.DIFFERS,
            Given("resume", shown(run.path)),
            differs,
            "start a new run, or continue all the same with force=true",
        )


def _continued(run: Run, config: "Config", console: "Console") -> int:
    """Do what is left of a run. Returns an exit code.

    Raises:
        SystemExit: it was interrupted.
    """
    try:
        # The paths in its settings start from the folder where it began.
        with inside(run.record.get("cwd")), logged(run.path):
            check_cells(config)
            code, _ = start(config, run.path, [], [], console, resumes=run)
            return write_report(run.path, console) if code == DONE else code
    except KeyboardInterrupt as error:
        say_how_to_resume(error, run.path, console)
        raise SystemExit(exit_code(error)) from None


def check_cells(config: "Config") -> None:
    """Refuse a run whose file of cells is not where its path leads from here, where it began.

    Raises:
        InputError: it is not.
    """
    path = getattr(config.data, "path", None)
    if path is None or exists(path):
        return
    given = Given("data.path", path)
    reason = f"no such file or folder in {Path.cwd()}, where the run began"
    raise InputError(Kind.MISSING, given, reason, "put it there, or a link to it")


def _settings(run: Run) -> "Config":
    """Return the settings of a run; those that Hydra kept, if config.yaml is damaged.

    Raises:
        InputError: both are.
    """
    from scvae_cli.settings import parse, restored

    if "config.yaml" not in run.damaged:
        return restored(run.settings, run.path / "config.yaml")
    with suppress(
        OSError, ValueError, RecursionError, InputError, OmegaConfBaseException, YAMLError
    ):
        with without_reading():
            recorded = run.record.get("overrides", [])
            composed = OmegaConf.create(read_yaml(run.path / ".hydra" / "config.yaml"))
            config = parse(composed, keys_of(recorded))
        written = settings_text(config.model_dump())
        if hashlib.sha256(written).hexdigest() == run.files.get("config.yaml"):
            return config
    raise InputError(
        Kind.DAMAGED,
        Given("resume", shown(run.path)),
        "config.yaml is damaged",
        f"start a new run, as `{run.record.get('command')}`",
    )
