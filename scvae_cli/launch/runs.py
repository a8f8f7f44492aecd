"""Hydra behind `scvae train`: composes, checks, claims a folder, starts the run.

Nothing here imports torch or scanpy before a run starts, nor pydantic or rich before something is
checked or said, so that help, `--cfg` and tab completion answer at once.
"""

import errno
import hashlib
import logging
import os
import re
import shlex
import sys
import traceback
import warnings
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import hydra
import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    HydraException,
    MissingConfigException,
    OverrideParseException,
    SearchPathException,
)
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from scvae_cli import CONF
from scvae_cli.errors import InputError, RunError, unknown_choice
from scvae_cli.interrupts import INTERRUPTED, WORDS, exit_code, listening, undisturbed
from scvae_cli.launch.presets import check_composed, check_presets, check_texts, without_reading
from scvae_cli.runs.folder import (
    MOVED,
    REPORT,
    RunDir,
    add_file,
    claim,
    damaged,
    discard,
    hold,
    let_go,
    read_json,
    read_settings,
    settings_text,
)
from scvae_cli.runs.provenance import codes, difference, git_state, versions
from scvae_cli.untrusted import check_inside, read_yaml
from scvae_cli.visible import Lines

if TYPE_CHECKING:
    from scvae_cli.config import Config
    from scvae_cli.console import Console

log = logging.getLogger("scvae")

# Presets of launchers have the names of the plugins' own, on purpose.
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore")

PATHS = ["data.path", "data.labels", "data.dir", "trained", "output_dir"]

DONE, FAILED, REFUSED = 0, 1, 2


def launch(arguments: list[str]) -> None:
    """`scvae train` with these arguments.

    Raises:
        InputError: they cannot be read or composed, or the configuration is not allowed.
        SystemExit: the run, or a run of the sweep, did not end well.
    """
    arguments, presets = _sorted_arguments(arguments)
    register_resolvers()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra raises, and does not print and exit
    sys.argv = ["scvae", *arguments]
    start = hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)
    ClaimFolder.created = []
    try:
        if presets is None:
            start()
        else:
            with without_reading():
                check_composed(presets)
                start()
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        _raise_interruption(error)
        if _is_ours(error):
            raise
        raise InputError(_explain(error, arguments)) from error
    except OSError as error:
        created = ClaimFolder.created
        if not created or (created[-1] / "run.json").exists():
            raise
        discard(created)  # Hydra's own record could not be written, and no run began
        raise InputError(
            f"{error.filename or created[-1]}: {error.strerror}; give another place with "
            "output_dir=FOLDER"
        ) from error
    finally:
        created = ClaimFolder.created
        if created and not (created[-1] / "run.json").exists():
            discard(created)  # interrupted before the run began


def job(cfg: DictConfig) -> int:
    """One run, in the folder that Hydra made for it. Returns an exit code."""
    from scvae_cli.config import parse
    from scvae_cli.console import Console

    settings = HydraConfig.get()
    os.chdir(settings.runtime.cwd)  # a launcher's process may be elsewhere
    path = Path(settings.runtime.output_dir)
    of_sweep = settings.mode == RunMode.MULTIRUN  # which then tells how its jobs are
    console = Console(silent=of_sweep)
    logging.captureWarnings(True)
    overrides = list(settings.overrides.task)
    arguments = overrides if of_sweep else sys.argv[1:]
    try:
        config = parse(cfg)
        if of_sweep and config.on_error == "stop" and _a_failed_one(path.parent):
            return FAILED
        for key in _unused(config, overrides):
            console.warn(f"{key} has no effect on model={config.model.name}")
        begun = of_sweep and (path / "run.json").exists()  # a sweep that goes on left it there
        code, _ = start(config, path, arguments, overrides, console, go_on=begun)
        if code == DONE and not of_sweep:
            code = _report(path, console)
        if code != REFUSED:
            console.folder(Path(shown(path)))
        return code
    except InputError as error:
        console.error(str(error))
        return REFUSED
    except KeyboardInterrupt as error:
        if not of_sweep:
            _say_how_to_go_on(error, path, console)
        raise SystemExit(exit_code(error)) from None
    finally:
        _close_log()


def resume(path: Path, others: list[str]) -> None:
    """Goes on with a run: what it has, undamaged, is not done again.

    Args:
        path: its folder; the real path.
        others: what else was on the command line; `force=true` may be.

    Raises:
        InputError: there is nothing to go on with, or not by this version.
        SystemExit: the run did not end well.
    """
    from scvae_cli.console import Console

    check_inside(path, f"resume={shown(path)}")
    let_go(hold(path))  # if no other process is at it
    asked = f"resume={shown(path)}"
    unknown = [word for word in others if word not in ("force=true", "force=false")]
    if unknown:
        raise InputError(
            f"{asked}: goes on with the settings of its config.yaml; leave out {unknown[0]}"
        )
    try:
        record = read_json(path, "run")
    except InputError as error:
        raise InputError(f"{asked}: cannot be gone on with ({error}); start it anew") from error
    config = _settings(path, record)
    console = Console()
    spoilt = damaged(path)
    if record["status"] == "done" and "files" in record and not {*spoilt} - {REPORT}:
        console.line("the run is done, and its files are what it wrote")
        if not spoilt and (path / REPORT).exists():
            code = DONE
        else:
            console.line(f"{REPORT} is missing or not what was written, and is made anew")
            code = _report(path, console)
        console.folder(Path(shown(path)))
        if code != DONE:
            raise SystemExit(code)
        return
    differs = difference(codes(record)[-1], {"versions": versions(), "git": git_state()})
    if differs and "force=true" not in others:
        raise InputError(
            f"{asked}: {differs}; start it anew, or go on all the same with force=true"
        )
    for name in spoilt:
        console.warn(f"{name} is not what the run wrote; it is made anew")
    try:
        # The paths in its settings start from the folder where it began.
        with inside(record.get("cwd")), logged(path):
            code, _ = start(config, path, [], [], console, go_on=True)
            if code == DONE:
                code = _report(path, console)
    except KeyboardInterrupt as error:
        _say_how_to_go_on(error, path, console)
        raise SystemExit(exit_code(error)) from None
    if code != REFUSED:
        console.folder(Path(shown(path)))
    if code != DONE:
        raise SystemExit(code)


def _settings(path: Path, record: dict[str, Any]) -> "Config":
    """The settings of a run that goes on; those that Hydra kept, if config.yaml is damaged.

    Raises:
        InputError: both are.
    """
    from scvae_cli.config import parse, restored

    if "config.yaml" not in damaged(path):
        return restored(read_settings(path), path / "config.yaml")
    with suppress(
        OSError, ValueError, RecursionError, InputError, OmegaConfBaseException, yaml.YAMLError
    ):
        with without_reading():
            config = parse(OmegaConf.create(read_yaml(path / ".hydra" / "config.yaml")))
        written = settings_text(config.model_dump())
        if hashlib.sha256(written).hexdigest() == record.get("files", {}).get("config.yaml"):
            return config
    raise InputError(
        f"resume={shown(path)}: config.yaml is damaged; start the run anew, as "
        f"`{record.get('command')}`"
    )


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """A run's log goes to its folder."""
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


def _say_how_to_go_on(error: KeyboardInterrupt, path: Path, console: "Console") -> None:
    what = WORDS[exit_code(error)]
    if (path / "run.json").exists():
        console.error(f"{what}; `scvae train resume={shown(path)}` goes on from here")
    else:
        console.error(f"{what} before the run began; nothing was kept")


def _a_failed_one(folder: Path) -> bool:
    """Whether a run in that folder failed."""
    for path in folder.glob("*/run.json"):
        with suppress(InputError):
            if read_json(path.parent, "run")["status"] == "failed":
                return True
    return False


def _report(path: Path, console: "Console") -> int:
    """The page of a run that is done. Returns an exit code."""
    from scvae_cli.results.pages import run_page
    from scvae_cli.results.runs import open_run

    try:
        if not path.is_dir():
            raise FileNotFoundError(errno.ENOENT, MOVED, str(path))
        add_file(path, REPORT, run_page(open_run(path)).encode())
    except InputError as error:
        console.error(str(error))
        return REFUSED
    except OSError as error:
        console.error(_fault(error, path))
        return FAILED
    return DONE


@listening()  # as a job of a sweep, it may be in a process where nobody does
def start(
    config: "Config",
    path: Path,
    arguments: list[str],
    overrides: list[str],
    console: "Console",
    *,
    go_on: bool = False,
) -> tuple[int, dict[str, Any]]:
    """A run in a folder that exists, recorded there from its start to its end.

    Args:
        config: what to do.
        path: the folder.
        arguments: what follows `scvae train` in the command that does this.
        overrides: those among them that are settings.
        console: where to say how it goes.
        go_on: whether the run was begun there before.

    Returns:
        An exit code, and the scores by space where there are some.

    Raises:
        KeyboardInterrupt: it was interrupted, which its record says.
    """
    record: dict[str, Any] = {"status": "running", "reason": None}
    before: dict[str, Any] = {}
    if go_on:
        before = read_json(path, "run")
        today = {"when": now(), "versions": versions(), "git": git_state()}
        record["resumed"] = [*before.get("resumed", []), today]
    else:
        record |= {
            "command": shlex.join(["scvae", "train", *arguments]),
            "overrides": overrides,
            "cwd": str(Path.cwd()),
            "started": now(),
            "seed": config.seed,
            "versions": versions(),
            "git": git_state(),
        }
    logging.raiseExceptions = False  # a log that cannot be written is no reason for a traceback
    try:
        run_dir = RunDir(path, record, go_on=go_on)
    except InputError as error:
        console.error(str(error))
        return REFUSED, {}
    except OSError as error:
        console.error(_fault(error, path))
        return FAILED, {}

    def end(code: int, reason: str | None) -> int:
        status = "failed" if code else "done"
        try:
            if go_on and code == REFUSED:  # nothing was done: it is as it was
                run_dir.end(status=before["status"], reason=before.get("reason"))
            else:
                run_dir.end(status=status, reason=reason, ended=now())
        except OSError as error:
            reason, code = reason or _fault(error, path), code or FAILED
        if reason and code != INTERRUPTED:
            console.error(reason)
        return code

    try:
        with console.busy("loading libraries"):
            from scvae_cli.pipeline import run
        scores = run(config, run_dir, console)
    except InputError as error:
        return end(REFUSED, str(error)), {}
    except RunError as error:
        return end(FAILED, str(error)), {}
    except (KeyboardInterrupt, SystemExit):
        with undisturbed():
            end(INTERRUPTED, "interrupted")
        raise
    except OSError as error:
        log.exception("the run failed")
        return end(FAILED, _fault(error, path)), {}
    except Exception as error:
        log.exception("the run failed")
        return end(FAILED, f"{type(error).__name__}: {' '.join(str(error).split())}"), {}
    return end(DONE, None), scores


def _fault(error: OSError, path: Path) -> str:
    """A file that cannot be read or written, in a line."""
    if error.strerror == MOVED or not path.is_dir():
        return f"{path}: {MOVED}; if it was moved, `scvae train resume=FOLDER` goes on with it"
    what = f"{error.filename or path}: {error.strerror or error}"
    if not (path / "run.json").exists():
        return f"{what}; nothing was kept; give another place with output_dir=FOLDER"
    return f"{what}; what was done stays, and `scvae train resume={shown(path)}` goes on with it"


def compose(overrides: list[str]) -> "Config":
    """The configuration of `scvae train OVERRIDES`, checked.

    Raises:
        InputError: they cannot be composed, or are not allowed.
    """
    from scvae_cli.config import parse

    register_resolvers()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return parse(hydra.compose("config", [_quoted_path(word) for word in overrides]))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        _raise_interruption(error)
        if _is_ours(error):
            raise
        raise InputError(_explain(error, overrides)) from error


class ClaimFolder(Callback):
    """Checks what Hydra composed before any folder exists, then claims one that is new.

    Hydra calls it at the start and at the end of a single run. An error leaves by SystemExit,
    as Hydra turns any other exception of a callback into a warning.
    """

    created: ClassVar[list[Path]] = []

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Checks the configuration and points hydra.run.dir at a new folder."""
        with _leaving_on_errors():
            if (folder := parse_job(config).resume) is not None:
                raise InputError(f"resume={folder}: give it on the command line")
            check_texts(config)
            _, ClaimFolder.created = claim_folder(config, "run")

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Leaves with the run's exit code; of a run that was refused no folder stays behind."""
        code = kwargs["job_return"].return_value
        if code == REFUSED or not (self.created[-1] / "run.json").exists():
            discard(self.created)  # no run began
        if code != DONE:
            raise SystemExit(code)


def parse_job(config: DictConfig) -> "Config":
    """What Hydra composed for a run, checked."""
    from scvae_cli.config import parse

    return parse(OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"]))


def claim_folder(config: DictConfig, kind: str) -> tuple[Path, list[Path]]:
    """Claims the folder of hydra.KIND.dir (run or sweep), and tells Hydra which one it became.

    Returns:
        The folder, and all that had to be created for it.
    """
    key = f"hydra.{kind}.dir"
    given = any(str(o).startswith(f"{key}=") for o in config.hydra.overrides.hydra)
    path, created = claim(at_home(OmegaConf.select(config, key)), exact=given)
    with read_write(config.hydra):
        OmegaConf.update(config, key, str(path))
        config.hydra.overrides.hydra.append(f"{key}={quoted(path)}")
    return path, created


@contextmanager
def _leaving_on_errors() -> Iterator[None]:
    """One line for bad input, a traceback for a fault of ours; Hydra would go on after either."""
    try:
        yield
    except (InputError, HydraException, OmegaConfBaseException) as error:
        from scvae_cli.console import Console

        bad_input = isinstance(error, InputError)
        Console().error(str(error) if bad_input else _explain(error, sys.argv[1:]))
        raise SystemExit(REFUSED) from error
    except Exception as error:
        traceback.print_exc()
        raise SystemExit(FAILED) from error


def _close_log() -> None:
    """The run is over: what is said from now on is not for its log."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, logging.FileHandler)]:
        root.removeHandler(handler)
        with suppress(OSError):  # a full disk: what it would have written is lost
            handler.close()


def _unused(config: "Config", overrides: list[str]) -> list[str]:
    """Keys given on the command line that the model has no use for."""
    given = {override.split("=")[0].lstrip("+") for override in overrides}
    return [key for key in config.model.ignores if key in given]


def register_resolvers() -> None:
    """Gives OmegaConf the functions that conf/ uses."""
    OmegaConf.register_new_resolver("scvae.slug", slug, replace=True)


_home: list[str] = []  # the user's folder, while this process is in another


@contextmanager
def inside(folder: str | None) -> Iterator[None]:
    """Goes to another folder for a while, if it is there; paths are shown from the user's."""
    before = os.getcwd()  # noqa: PTH109
    if folder is None or not Path(folder).is_dir():
        yield
        return
    _home.append(before)
    try:
        os.chdir(folder)
        yield
    finally:
        os.chdir(before)
        _home.pop()


def shown(path: Path) -> str:
    """The path from the user's folder where that is shorter."""
    relative = os.path.relpath(path, _home[0] if _home else None)
    return str(path) if relative.startswith("..") else relative


def quoted(path: Path | str) -> str:
    """A path or a text as a value that Hydra reads back as it is."""
    # OmegaConf resolves ${...} unless a backslash stands before it; Hydra takes backslashes as
    # they are, but for those before a quote.
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", str(path))
    text = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
    return f"'{text}'"


def now() -> str:
    """The time, as records have it."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def slug(*parts: str) -> str:
    """Parts of a folder's name, without what would be awkward in one, in 100 bytes at most."""
    name = re.sub(r"[^\w.=+-]+", "_", "-".join(str(p) for p in parts if p))
    return name.encode()[:100].decode(errors="ignore")


def _sorted_arguments(arguments: list[str]) -> tuple[list[str], Namespace | None]:
    """Flags first, then overrides: Hydra takes no flag between two overrides.

    Returns:
        The arguments in that order; as they were parsed, if they name a folder of presets.

    Raises:
        InputError: what Hydra would not refuse, or would refuse in many lines.
    """
    parser = get_args_parser()

    def fail(message: str) -> NoReturn:
        raise InputError(f"{message}; `scvae train --help` lists the flags")

    parser.error = fail  # type: ignore[method-assign]
    parsed = parser.parse_intermixed_args(arguments)
    if parsed.config_path is not None:
        fail("--config-path: not supported; give a folder of presets with --config-dir")
    if parsed.config_name is not None:
        fail(f"--config-name={parsed.config_name}: not supported; give a preset, experiment=NAME")
    presets = parsed.config_dir is not None and Path(parsed.config_dir).is_dir()
    if presets:
        check_presets(Path(parsed.config_dir))
    if parsed.experimental_rerun is not None:
        fail("--experimental-rerun: not supported, as it loads a pickle")
    what = [flag for flag in ("run", "multirun", "cfg", "info") if getattr(parsed, flag)]
    if len(what) > 1:
        fail(f"--{what[0]} and --{what[1]} do not go together")
    overrides: list[str] = [_quoted_path(override) for override in parsed.overrides]
    flags = [a for a in arguments if a not in parsed.overrides]
    parsed.overrides = overrides
    for override in overrides:
        if re.match(r"[+]*hydra\.searchpath=", override):
            raise InputError(f"{override}: not supported; give a folder with --config-dir")
        if found := re.match(r"[+]*(model|data)\.name=(.*)", override):
            raise InputError(
                f"{override}: the name goes with its settings; use {found[1]}={found[2]}"
            )
    return flags + overrides, parsed if presets else None


def at_home(text: str) -> Path:
    """A path as typed; a `~` of nobody's stays."""
    return Path(os.path.expanduser(text))  # noqa: PTH111


def _quoted_path(override: str) -> str:
    """A setting that names a file which is there, so that Hydra takes the name as it is."""
    key, _, value = override.partition("=")
    if key not in PATHS or not value or not at_home(value).exists():
        return override
    return f"{key}={quoted(value)}"


def _raise_interruption(error: BaseException) -> None:
    """Raises the interruption that an error of Hydra's hides, if one does."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            raise cause
        cause = cause.__cause__ or cause.__context__


def _is_ours(error: Exception) -> bool:
    """Whether it is a fault of this code, and not what Hydra says of a choice such as model=0."""
    return type(error) is ValueError and not str(error).startswith("Config group override")


def _explain(error: Exception, arguments: list[str]) -> str:
    """One line for what Hydra says in several."""
    from scvae_cli.config import unknown_key

    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: {error.problem}"
    if isinstance(error, SearchPathException):
        return f"--config-dir: {first[0].lower()}{first[1:]}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return unknown_choice(group or "--config-name", name, error.options or [])
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read as KEY=VALUE; quote special characters"
    if first.startswith("Config group override"):
        groups = r"[+~]*(model|data|experiment|hydra/\w+)?="
        return f"{next((a for a in arguments if re.match(groups, a)), first)}: names no choice"
    if found := re.match(r"Ambiguous value for argument '(.*)'", first):
        return f"{found[1]}: several values; add -m to run each, or write a list as [1,2]"
    if found := re.match(r"Could not override '([^']*)'", first):
        key = found[1]
        given = [a.partition("=")[2] for a in arguments if a.lstrip("+").startswith(f"{key}=")]
        return unknown_key(key, given[0] if given else "")
    return first
