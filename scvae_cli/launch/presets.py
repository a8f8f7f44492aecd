"""Refuse untrusted presets and recorded commands that would make Hydra run code.

Hydra imports and calls the classes (callbacks, launchers, sweepers, loggers) that the section
`hydra` of its configuration names. `check_presets` reads each file, so that its message can name
the file. `check_composed` decides: the composed section `hydra` must be that of conf/ and the
command line, except for folders and a launcher's numbers and names.
"""

import re
import stat
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from scvae_cli import CONF
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.untrusted import Plain, check_inside

# Launchers that a preset may choose, and their keys that it may set; other keys of launchers are
# commands or addresses.
LAUNCHERS = {"basic", "joblib", "submitit_local", "submitit_slurm", "ray"}
LAUNCHING = {
    "account", "array_parallelism", "batch_size", "constraint", "cpus_per_gpu", "cpus_per_task",
    "exclude", "gpus_per_node", "gpus_per_task", "gres", "mem_gb", "mem_per_cpu", "mem_per_gpu",
    "max_num_timeout", "n_jobs", "name", "nodes", "partition", "pre_dispatch", "qos",
    "tasks_per_node", "timeout_min",
}  # fmt: skip
HYDRA = {"run": {"dir"}, "sweep": {"dir", "subdir"}, "launcher": LAUNCHING}
# Keys that Hydra writes itself and makes no objects from.
NOTED = {("runtime",), ("overrides",), ("mode",)} | {
    ("job", key) for key in ("override_dirname", "id", "num", "config_name")
}
# Resolvers of interpolations that read the environment, or parse text as configuration.
READING = ["env", "decode", "create"]
PRESETS = "command-line"  # Hydra's name for the folder of --config-dir
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def check_presets(folder: Path) -> None:
    """Refuse a folder of presets with a file that sets a forbidden key.

    Raises:
        InputError: a file sets a key that can run code, leads out of the folder, or is not plain
            YAML; names the file.
    """
    check_inside(folder, Given("--config-dir", folder))
    for path in sorted(folder.rglob("*")):
        if not (path.is_dir() or stat.S_ISREG(path.stat().st_mode)):
            raise InputError(Kind.UNSAFE, path, "is no file", "remove it from the presets")
        if path.suffix in (".yaml", ".yml") and path.is_file():
            _check_preset(path, path.relative_to(folder))


def _check_preset(path: Path, name: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    package_lines = [line for line in text.splitlines() if "@package" in line]
    if name.parts[0] == "hydra" or any("hydra" in line for line in package_lines):
        raise InputError(
            Kind.UNSAFE, path, "presets may not configure Hydra", "do so on the command line"
        )
    if len(name.parts) == 1 and name.stem == "config":
        raise InputError(
            Kind.UNSAFE, path, "stands in for conf/config.yaml", "put it into experiment/"
        )
    try:
        values = yaml.load(text, Plain)
    except yaml.MarkedYAMLError as error:  # Hydra's own loader accepts tags; this one does not
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        is_yaml = isinstance(
            error, yaml.composer.ComposerError | yaml.constructor.ConstructorError
        )
        kind = Kind.UNSAFE if is_yaml else Kind.FORMAT
        raise InputError(kind, path, f"line {line}: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:  # of aliases, say
        raise InputError(Kind.UNSAFE, path, str(error)) from error
    for key in _forbidden(values):
        raise InputError(Kind.UNSAFE, path, f"{key}: presets may not set this, which can run code")


def check_composed(parsed: Namespace) -> None:
    """Refuse a command line whose presets change the objects that Hydra makes.

    Args:
        parsed: the command line, parsed by Hydra's own parser.

    Raises:
        InputError: a preset changes the section `hydra`, or leads out of the folder of presets.
    """
    mode = RunMode.MULTIRUN if parsed.multirun else RunMode.RUN
    composed = _inside(Path(parsed.config_dir), parsed.overrides, mode)
    _check_hydra(composed, mode)


def _inside(folder: Path, words: Sequence[str], mode: RunMode) -> DictConfig:
    """Compose words with a folder of presets, out of which no preset may lead.

    Raises:
        InputError: one does.
    """
    loader = _loader(folder)
    for default in loader.compute_defaults_list("config", list(words), mode).defaults:
        if ".." in Path(default.config_path or "").parts:
            where = Path(default.parent or folder)
            reason = f"defaults: {default.config_path}: leads out of the folder of presets"
            raise InputError(Kind.UNSAFE, where, reason)
    return loader.load_configuration("config", list(words), mode)


def check_job(composed: DictConfig) -> None:
    """Refuse a job of a sweep whose presets change the objects that Hydra makes.

    Args:
        composed: the job's configuration, with its section `hydra`.

    Raises:
        InputError: a preset changes the section `hydra` or leads out of the folder of presets, or
            `check_texts` refuses a text.
    """
    for source in composed.hydra.runtime.config_sources:
        if source.provider == PRESETS:
            words = OmegaConf.to_container(composed.hydra.overrides.task, resolve=False)
            assert isinstance(words, list)
            _inside(Path(source.path), words, RunMode.RUN)
            _check_hydra(composed, RunMode.RUN)
    check_texts(composed)


def check_texts(composed: DictConfig) -> None:
    """Refuse texts with control characters, which could add lines to a batch script.

    Raises:
        InputError: a folder or a setting of the launcher has a control character.
    """
    for section in ("launcher", "run.dir", "sweep.dir"):
        node = OmegaConf.select(composed, f"hydra.{section}", throw_on_missing=False)
        values = (
            OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
        )
        for key, value in _leaves(values, (section,)):
            command = "setup" in key  # presets may not set it
            if isinstance(value, str) and CONTROL.search(value) and not command:
                raise InputError(
                    Kind.UNSAFE,
                    Given(f"hydra.{'.'.join(key)}", value, repr(value)),
                    "has a control character",
                    "leave it out",
                )


@contextmanager
def without_reading() -> Iterator[None]:
    """Refuse the resolvers of `READING` within the block, which resolves untrusted settings."""

    def refuse(*_: Any) -> None:
        raise InputError(
            Kind.UNSAFE, None, f"presets may not use {', '.join(f'oc.{name}' for name in READING)}"
        )

    try:
        for name in READING:
            OmegaConf.register_new_resolver(f"oc.{name}", refuse, replace=True)
        yield
    finally:
        for name in READING:
            OmegaConf.register_new_resolver(f"oc.{name}", getattr(oc, name), replace=True)


def _loader(folder: Path | None) -> ConfigLoaderImpl:
    """Return Hydra's loader of conf/ and of a folder of presets, which it searches first."""
    search_path = create_config_search_path(str(CONF))
    if folder is not None:
        search_path.prepend(
            PRESETS, f"file://{folder.absolute()}", SearchPathQuery(provider="schema")
        )
    return ConfigLoaderImpl(config_search_path=search_path)


def _check_hydra(composed: DictConfig, mode: RunMode) -> None:
    """Refuse a section `hydra` that differs from that of only conf/ and the command line."""
    node = composed.hydra
    words = [str(word) for word in node.overrides.hydra]
    launcher = node.runtime.choices.get("hydra/launcher")
    if launcher not in LAUNCHERS:
        raise InputError(
            Kind.UNSAFE, Given("hydra/launcher", launcher), "no launcher that presets may choose"
        )
    if not any(word.lstrip("+").startswith("hydra/launcher=") for word in words):
        words.append(f"hydra/launcher={launcher}")
    trusted = _loader(None).load_configuration("config", words, mode).hydra
    actual, expected = (
        dict(_leaves(OmegaConf.to_container(tree, resolve=False), ())) for tree in (node, trusted)
    )
    for key in [*actual, *(key for key in expected if key not in actual)]:
        noted = key[:1] in NOTED or key[:2] in NOTED
        may_differ = noted or (len(key) > 1 and key[1] in HYDRA.get(key[0], ()))
        if not may_differ and actual.get(key) != expected.get(key):
            raise InputError(
                Kind.UNSAFE,
                f"hydra.{'.'.join(map(str, key))}",
                "presets may not set this, which can run code",
            )


def _leaves(values: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield path and value of each leaf of mappings and lists; an empty one is a leaf."""
    items = (
        values.items() if isinstance(values, dict)
        else enumerate(values) if isinstance(values, list)
        else ()
    )  # fmt: skip
    empty = True
    for key, value in items:
        empty = False
        yield from _leaves(value, (*path, str(key)))
    if empty:
        yield path, values


def _forbidden(values: Any, prefix: str = "") -> Iterator[str]:
    """Yield the keys that presets may not set; `prefix` is the key of `values`, with a dot."""
    if isinstance(values, list):
        for value in values:
            yield from _forbidden(value, prefix)
        return
    if not isinstance(values, dict):
        return
    for key, value in values.items():
        name = f"{prefix}{key}"
        if prefix == "" and key == "hydra":
            yield from (f"hydra.{part}" for part in _forbidden_of_hydra(value))
        elif prefix == "" and key == "defaults":
            yield from _forbidden_defaults(value)
        elif key == "_target_" or name.startswith("hydra"):
            yield name
        else:
            yield from _forbidden(value, f"{name}.")


def _forbidden_of_hydra(values: Any) -> Iterator[str]:
    for section, keys in values.items() if isinstance(values, dict) else [("", values)]:
        for key in keys if isinstance(keys, dict) else [""]:
            if key not in HYDRA.get(section, ()):
                yield f"{section}.{key}".strip(".")


def _forbidden_defaults(values: Any) -> Iterator[str]:
    """Yield entries of a defaults list that choose groups of Hydra, or move a group elsewhere."""
    for entry in values if isinstance(values, list) else [values]:
        for key, value in (entry if isinstance(entry, dict) else {str(entry): None}).items():
            group = str(key).removeprefix("override ").strip().removeprefix("/")
            launcher = group == "hydra/launcher" and value in LAUNCHERS
            if "@" in f"{key}{value}" or (group.startswith("hydra") and not launcher):
                yield f"defaults: {key}"
