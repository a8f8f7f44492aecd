"""Compose a configuration with Hydra, and put its errors into one line."""

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, NoReturn

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, QuotedString
from hydra.errors import (
    HydraException,
    MissingConfigException,
    OverrideParseException,
    SearchPathException,
)
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from scvae_cli import CONF
from scvae_cli.errors import Given, InputError, Kind, cause, unknown_choice
from scvae_cli.launch.places import (
    PATHS,
    at_home,
    check_not_empty,
    exists,
    folder_name,
    quoted,
    typed,
    with_quoted_path,
)
from scvae_cli.runs.claim import claim

if TYPE_CHECKING:
    from scvae_cli.config import Config

# What Hydra, OmegaConf and YAML raise for words they cannot compose.
CANNOT_COMPOSE = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)

# How a ValueError begins that Hydra raises for what a person typed.
OF_HYDRA = ("Config group override", "The --resolve flag", "Expecting one subcommand")

COMPOSING = RLock()  # held while Hydra is ours

GROUPS = ("model", "data", "experiment")  # folders of conf/ that a word may choose from


def compose(overrides: list[str]) -> "Config":
    """Compose the configuration of `scvae train OVERRIDES` and check it.

    Raises:
        InputError: they cannot be composed, or are not allowed.
    """
    from scvae_cli.settings import parse

    register_resolvers()
    check_not_empty(overrides)
    try:
        with _hydra_alone(), hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            words = [with_quoted_path(word) for word in overrides]
            return parse(hydra.compose("config", words), keys_of(words))
    except CANNOT_COMPOSE as error:
        raise_as_input_error(error, overrides)


@contextmanager
def _hydra_alone() -> Iterator[None]:
    """Have Hydra, of which a process has one, to ourselves; give it back as it was.

    Another thread may compose as well, and a program that calls `fit` may be one of Hydra's own.
    """
    with COMPOSING:
        outer = get_gh_backup()
        GlobalHydra.instance().clear()
        try:
            yield
        finally:
            restore_gh_from_backup(outer)


def keys_of(words: Iterable[str]) -> set[str]:
    """Return the keys that words of a command line set."""
    return {str(word).partition("=")[0].lstrip("+~") for word in words}


def register_resolvers() -> None:
    """Give OmegaConf the functions that conf/ uses."""
    OmegaConf.register_new_resolver("scvae.folder", folder_name, replace=True)


def parse_job(config: DictConfig) -> "Config":
    """Check what Hydra composed for a run."""
    from scvae_cli.settings import parse

    words = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    assert isinstance(words, list)
    given = keys_of(words)
    return parse(OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"]), given)


def claim_folder(config: DictConfig, kind: str) -> tuple[Path, list[Path]]:
    """Claim the folder of hydra.KIND.dir (run or sweep), and tell Hydra which one it became.

    Returns:
        The folder, and all that had to be created for it.

    Raises:
        InputError: it cannot be created, it has no name, or the folder of the other kind is given.
    """
    key = f"hydra.{kind}.dir"
    given = keys_of(config.hydra.overrides.hydra)
    other, where = ("run", "with -m") if kind == "sweep" else ("sweep", "without -m")
    if f"hydra.{other}.dir" in given:
        reason = f"has no effect {where}"
        raise InputError(Kind.CONFLICT, f"hydra.{other}.dir", reason, f"give {key}=FOLDER")
    folder = OmegaConf.select(config, key)
    if folder is None:
        raise InputError(Kind.MISSING, key, "no value", f"give {key}=FOLDER")
    named_by = key if key in given else "output_dir"
    path, created = claim(at_home(folder), exact=key in given, named_by=named_by)
    with read_write(config.hydra):
        OmegaConf.update(config, key, str(path))
        config.hydra.overrides.hydra.append(f"{key}={quoted(path)}")
    return path, created


def raise_as_input_error(error: Exception, arguments: list[str]) -> NoReturn:
    """Raise an error of Hydra's as one line for the user, and any other error as it is.

    Args:
        error: what was raised while Hydra composed or ran.
        arguments: the words that it composed.

    Raises:
        InputError: Hydra could not compose the words.
        KeyboardInterrupt: the error hides one.
    """
    if interrupt := cause(error, KeyboardInterrupt):
        raise interrupt
    if refusal := cause(error, InputError):
        raise refusal from error
    # A ValueError is a fault of this code, unless Hydra says it of a choice such as model=0, or of
    # its own flags.
    if type(error) is ValueError and not str(error).startswith(OF_HYDRA):
        raise error
    raise explain(error, arguments) from error


def explain(error: Exception, arguments: list[str]) -> InputError:
    """Make an error of one line of what Hydra says in several."""
    from scvae_cli.settings import unknown_key

    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: {error.problem}"
        return InputError(Kind.FORMAT, Path(mark.name), where)
    if isinstance(error, SearchPathException):
        return InputError(Kind.MISSING, "--config-dir", f"{first[0].lower()}{first[1:]}")
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_choice(error.missing_cfg_file, error.options or [])
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, arguments)
    if first.startswith("Config group override"):
        given = Given("", next(filter(_chooses_no_text, arguments), first))
        return InputError(Kind.UNKNOWN, given, "no such choice", "`scvae train --help` lists them")
    if match := re.match(r"Ambiguous value for argument '(.*)'", first):
        fix = "add -m to run each, or write a list as [1,2]"
        return InputError(Kind.VALUE, match[1], "several values", fix)
    if match := re.match(r"Could not override '([^']*)'", first):
        key = match[1]
        values = [a.partition("=")[2] for a in arguments if a.lstrip("+").startswith(f"{key}=")]
        return unknown_key(key, values[0] if values else "")
    # Hydra names the preset in the first line, and what is wrong with it in the second.
    lines = str(error).split("\n")
    return InputError(Kind.VALUE, None, " ".join(lines[:2]) if first.endswith(":") else first)


def _chooses_no_text(word: str) -> bool:
    """Return whether a word chooses something from a group of conf/ that is no name, as a 0."""
    if not re.match(r"[+~]*(model|data|experiment|hydra/\w+)=", word):
        return False
    override = OverridesParser.create().parse_override(word)
    values = override.value()
    if isinstance(values, ChoiceSweep):
        values = values.list
    chosen = values if isinstance(values, list) else [values]
    return not all(isinstance(value, str | QuotedString) for value in chosen)


def _no_choice(missing: str, options: Sequence[str]) -> InputError:
    """Return the error for a file of conf/, such as `model/vcs`, that is not there."""
    group, _, name = missing.rpartition("/")
    if group.startswith("experiment/"):  # NAME is then the last part of report/NAME
        group, _, folder = group.partition("/")
        ours = sorted(CONF.glob(f"experiment/{glob.escape(folder)}/*.yaml"))
        name, options = f"{folder}/{name}", [f"{folder}/{path.stem}" for path in ours] or options
    if group.split("/")[0] == "data":
        name = missing.removeprefix("data/")
        if exists(name):  # in a sweep
            fix = "give files as data.path=A,B beside data=file"
            reason = "a file does not go beside names of data"
            return InputError(Kind.CONFLICT, Given("data", name), reason, fix)
        if "/" in name:
            return InputError(Kind.MISSING, Given("data", name), "no such file or folder")
    return unknown_choice(group or "--config-name", name, options)


def _unreadable(word: str, arguments: Sequence[str]) -> InputError:
    """Return the error for a word that Hydra cannot read, with the one that was meant."""
    from scvae_cli.settings import known_keys

    key, equals, value = word.partition("=")
    given = Given("", word)
    if equals and key in PATHS and key != "output_dir":
        return InputError(Kind.MISSING, Given(key, value), "no such file or folder")
    if equals:
        fix = f"if {key} is a text, quote it twice: {typed(f'{key}={quoted(value)}')}"
        return InputError(Kind.VALUE, given, "cannot be read as KEY=VALUE", fix)
    after = arguments[arguments.index(word) + 1 :] if word in arguments else []
    groups = [p.parent.name for p in CONF.glob(f"*/{glob.escape(word)}.yaml")]
    if word in (*GROUPS, *known_keys()):
        follows = after and re.fullmatch(r"[^=-][^=]*", after[0])
        fix = f"give {word}={after[0] if follows else 'VALUE'}"
    elif groups and groups[0] in GROUPS:
        fix = f"give {groups[0]}={word}"
    else:
        return InputError(Kind.VALUE, given, "is neither KEY=VALUE nor a file of cells")
    return InputError(Kind.VALUE, given, "is not KEY=VALUE", fix)
