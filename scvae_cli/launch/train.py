"""`scvae train`: check the words, let Hydra compose them, claim a folder, execute the run.

Nothing here imports torch or scanpy before a run starts, nor pydantic or rich before something is
checked or said, so that `--cfg` and tab completion answer at once.
"""

import logging
import os
import re
import sys
import traceback
import warnings
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from scvae_cli import CONF
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.garbage import importing
from scvae_cli.interrupts import exit_code
from scvae_cli.launch.compose import (
    CANNOT_COMPOSE,
    claim_folder,
    explain,
    keys_of,
    parse_job,
    raise_as_input_error,
    register_resolvers,
)
from scvae_cli.launch.execute import DONE, FAILED, REFUSED, start, write_report
from scvae_cli.launch.places import check_not_empty, shown, with_cells, with_quoted_path
from scvae_cli.launch.presets import check_composed, check_presets, check_texts, without_reading
from scvae_cli.launch.resume import say_how_to_resume
from scvae_cli.runs.claim import discard
from scvae_cli.runs.files import read_json
from scvae_cli.runs.run import Run

if TYPE_CHECKING:
    from scvae_cli.config import Config

# Presets of launchers have the names of the plugins' own, on purpose.
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore")


def launch(arguments: list[str]) -> None:
    """Do `scvae train` with these arguments.

    Raises:
        InputError: they cannot be read or composed, or the configuration is not allowed.
        SystemExit: the run, or a run of the sweep, did not end well.
    """
    check_not_empty(arguments)
    arguments, presets = _sorted_arguments(arguments)
    register_resolvers()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra raises, and does not print and exit
    sys.argv = ["scvae", *arguments]
    begin = hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)
    ClaimFolder.created = []
    try:
        if presets is None:
            with _composed_once(arguments):
                begin()
        else:
            with without_reading():
                check_composed(presets)
                begin()
    except CANNOT_COMPOSE as error:
        raise_as_input_error(error, arguments)
    except OSError as error:
        created = ClaimFolder.created
        if not created or (created[-1] / "run.json").exists():
            raise
        discard(created)  # Hydra's own record could not be written, and no run began
        raise InputError(
            Kind.UNAVAILABLE,
            Path(error.filename or created[-1]),
            str(error.strerror),
            "nothing was kept; give another folder",
        ) from error
    finally:
        created = ClaimFolder.created
        if created and not (created[-1] / "run.json").exists():
            discard(created)  # interrupted before the run began


@contextmanager
def _composed_once(arguments: list[str]) -> Iterator[None]:
    """Keep Hydra from composing everything twice, the first time to ask for `hydra.mode` alone.

    conf/ does not set it, but a user's presets might. Unless one of the words does, `-m` decides.
    """
    ask = Hydra.get_mode
    if not any("hydra.mode" in word for word in arguments):
        Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = ask  # type: ignore[method-assign]


def job(cfg: DictConfig) -> int:
    """Do one run, in the folder that Hydra made for it. Returns an exit code."""
    with importing():
        from scvae_cli.console import Console
        from scvae_cli.settings import parse

    settings = HydraConfig.get()
    os.chdir(settings.runtime.cwd)  # a launcher's process may be elsewhere
    path = Path(settings.runtime.output_dir)
    of_sweep = settings.mode == RunMode.MULTIRUN  # which then shows how its jobs are
    console = Console(silent=of_sweep)
    logging.captureWarnings(True)
    overrides = list(settings.overrides.task)
    arguments = overrides if of_sweep else sys.argv[1:]
    try:
        config = parse(cfg, keys_of(overrides))
        if config.quiet:
            console = Console(quiet=True, silent=of_sweep, live=False)
        if of_sweep and config.on_error == "stop" and _a_failed_one(path.parent):
            return FAILED
        for key, why in _unused(config, overrides).items():
            console.warn(f"{key} has no effect with {why}")
        # A sweep that is resumed leaves the folders of jobs that were interrupted.
        begun = Run(path) if of_sweep and (path / "run.json").exists() else None
        code, _ = start(config, path, arguments, overrides, console, resumes=begun)
        if code == DONE:
            code = write_report(path, console)
        if code != REFUSED:
            console.folder(Path(shown(path)))
        return code
    except InputError as error:
        console.error(str(error))
        return REFUSED
    except KeyboardInterrupt as error:
        if not of_sweep:
            say_how_to_resume(error, path, console)
        raise SystemExit(exit_code(error)) from None
    finally:
        _close_log()


class ClaimFolder(Callback):
    """Checks what Hydra composed before any folder exists, then claims one that is new.

    Hydra calls it at the start and at the end of a single run. An error leaves by SystemExit,
    as Hydra turns any other exception of a callback into a warning.
    """

    created: ClassVar[list[Path]] = []

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the configuration and point hydra.run.dir at a new folder."""
        with _leaving_on_errors():
            if (folder := parse_job(config).resume) is not None:
                raise InputError(
                    Kind.CONFLICT, Given("resume", folder), "give it on the command line"
                )
            check_texts(config)
            _, ClaimFolder.created = claim_folder(config, "run")

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Leave with the run's exit code; discard the folder of a run that was refused."""
        code = kwargs["job_return"].return_value
        if code == REFUSED or not (self.created[-1] / "run.json").exists():
            discard(self.created)  # no run began
        if code != DONE:
            raise SystemExit(code)


@contextmanager
def _leaving_on_errors() -> Iterator[None]:
    """Leave with one line for bad input, a traceback for a fault of ours.

    Hydra would continue after either.
    """
    try:
        yield
    except (InputError, HydraException, OmegaConfBaseException) as error:
        from scvae_cli.console import Console

        shown = error if isinstance(error, InputError) else explain(error, sys.argv[1:])
        Console().error(str(shown))
        raise SystemExit(REFUSED) from error
    except Exception as error:
        traceback.print_exc()
        raise SystemExit(FAILED) from error


def _a_failed_one(folder: Path) -> bool:
    """Return whether a run in that folder failed."""
    for path in folder.glob("*/run.json"):
        with suppress(InputError):
            if read_json(path.parent, "run")["status"] == "failed":
                return True
    return False


def _unused(config: "Config", overrides: list[str]) -> dict[str, str]:
    """Return the keys given on the command line that have no effect, and why."""
    unused, given = config.without_effect, sorted(keys_of(overrides))
    reasons = {key: unused.get(key.partition(".")[0], unused.get(key)) for key in given}
    return {key: why for key, why in reasons.items() if why is not None}


def _close_log() -> None:
    """Close the run's log, so that what follows does not go there."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, logging.FileHandler)]:
        root.removeHandler(handler)
        with suppress(OSError):  # a full disk: what it would have written is lost
            handler.close()


def _sorted_arguments(arguments: list[str]) -> tuple[list[str], Namespace | None]:
    """Put flags first, then overrides: Hydra takes no flag between two overrides.

    Returns:
        The arguments in that order; as they were parsed, if they name a folder of presets.

    Raises:
        InputError: what Hydra would not refuse, or would refuse in many lines.
    """
    arguments = ["quiet=true" if word == "--quiet" else word for word in arguments]
    parser = get_args_parser()
    parser.error = _fail  # type: ignore[method-assign]
    parsed = parser.parse_intermixed_args(arguments)
    _check_flags(parsed)
    presets = parsed.config_dir is not None and Path(parsed.config_dir).is_dir()
    if presets:
        check_presets(Path(parsed.config_dir))
    places = [CONF, *([Path(parsed.config_dir)] if presets else [])]
    choices = [path.stem for place in places for path in place.glob("data/*.yaml")]
    overrides = [with_quoted_path(word) for word in with_cells(parsed.overrides, choices)]
    flags = [a for a in arguments if a not in parsed.overrides]
    parsed.overrides = overrides
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        given = Given(key, value)
        if key == "hydra.searchpath":
            fix = "give a folder with --config-dir"
            raise InputError(Kind.UNSAFE, given, "not supported", fix)
        if key == "hydra.verbose" and re.fullmatch(r"[\d.]+|null", value):
            raise InputError(Kind.VALUE, given, "must be true, false or names of loggers")
        if key in ("model.name", "data.name"):
            fix = f"use {key.removesuffix('.name')}={value}"
            raise InputError(Kind.CONFLICT, given, "cannot be set alone", fix)
    return flags + overrides, parsed if presets else None


def _check_flags(parsed: Namespace) -> None:
    """Refuse flags that would run code, or that exclude each other."""
    if parsed.config_path is not None:
        fix = "give a folder of presets with --config-dir"
        raise InputError(Kind.UNSAFE, "--config-path", "not supported", fix)
    if parsed.config_name is not None:
        given = Given("--config-name", parsed.config_name)
        raise InputError(Kind.UNSAFE, given, "not supported", "give a preset, experiment=NAME")
    if parsed.experimental_rerun is not None:
        raise InputError(
            Kind.UNSAFE, "--experimental-rerun", "not supported, as it loads a pickle"
        )
    what = [flag for flag in ("run", "multirun", "cfg", "info") if getattr(parsed, flag)]
    if len(what) > 1:
        reason = f"does not go together with --{what[1]}"
        raise InputError(Kind.CONFLICT, f"--{what[0]}", reason, "give one of them")


def _fail(message: str) -> NoReturn:
    raise InputError(Kind.VALUE, None, message, "`scvae train --help` lists the flags")
