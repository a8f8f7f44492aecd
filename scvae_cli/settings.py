"""Check the settings that Hydra composed or a run wrote, and name the keys that are wrong."""

from collections.abc import Callable, Collection, Iterable, Iterator
from copy import deepcopy
from difflib import SequenceMatcher, get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import ValidationError

from scvae_cli.config import Config
from scvae_cli.errors import Given, InputError, Kind, cause, written
from scvae_cli.options import Block

# Keys that take null only where the model ignores them; `epochs`, also where `updates` is given.
NEEDED = ("epochs", "beta", "kl_warmup", "likelihood", "lr", "validation_share")


def parse(cfg: DictConfig, given: Collection[str] = ()) -> Config:
    """Check a composed configuration.

    Args:
        cfg: the configuration that Hydra composed, without its node `hydra`.
        given: keys that the command line sets: one of `epochs` and `updates` there takes the
            place of the other one.

    Returns:
        The run's configuration, interpolations resolved; keys that the model ignores are None.

    Raises:
        InputError: a key is unknown or missing, or a value is outside what is allowed.
    """
    try:
        values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise InputError(
            Kind.MISSING, error.full_key, "no value", f"give {error.full_key}=VALUE"
        ) from error
    except OmegaConfBaseException as error:
        if refusal := cause(error, InputError):  # of a resolver that presets may not use
            raise refusal from error
        raise InputError(Kind.VALUE, error.full_key, f"{str(error).splitlines()[0]}") from error
    assert isinstance(values, dict)
    _choose_length(values, given)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        first, *others = _complaints(error, cfg, values)
        raise first.followed_by(others) from error
    config = _without_ignored(config)
    check_extras(config)
    if config.epochs is not None and config.updates is not None:
        reason = f"does not go together with epochs={config.epochs}"
        fix = "give one of them, and null for the other"
        raise InputError(Kind.CONFLICT, Given("updates", config.updates), reason, fix)
    _check_needed(config)
    return config


def _check_needed(config: Config) -> None:
    """Refuse null for a key that the model needs."""
    for key in NEEDED:
        if key == "epochs" and config.updates is not None:
            continue
        if getattr(config, key) is None and key not in config.ignored:
            what = "one" if key == "likelihood" else "a number"
            raise InputError(
                Kind.MISSING, Given(key, None), f"model={config.model.name} needs {what}"
            )


def check_extras(config: Config) -> None:
    """Refuse a logger whose library is not installed.

    Raises:
        InputError: it is not.
    """
    for name in config.logger or []:
        if find_spec(name) is None:
            given = Given("logger", name)
            fix = f"pip install scvae-cli[{name}]"
            raise InputError(Kind.UNAVAILABLE, given, f"{name} is not installed", fix)


def _without_ignored(config: Config) -> Config:
    """Return a configuration whose ignored keys are None; refuse `umap=null` with `map=umap`."""
    if not config.has_mapping:
        raise InputError(Kind.MISSING, Given(config.map, None), f"map={config.map} needs its keys")
    return config.model_copy(update=dict.fromkeys(config.ignored))


def _choose_length(values: dict[Any, Any], given: Collection[str]) -> None:
    """Leave out `epochs` where the command line gives `updates`, and the other way round."""
    for ours, other in (("epochs", "updates"), ("updates", "epochs")):
        if ours in given and other not in given and values.get(ours) is not None:
            values[other] = None


def restored(values: dict[str, Any], path: Path) -> Config:
    """Check the configuration that a run has written.

    Args:
        values: the configuration.
        path: file it was read from, for the message.

    Raises:
        InputError: the configuration is damaged, or was written by another version.
    """
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        first = _complaints(error, OmegaConf.create(values), values)[0]
        raise InputError(
            Kind.DAMAGED, path, f"{first} (damaged, or of another version of scvae)"
        ) from error
    if not config.has_mapping:
        raise InputError(Kind.DAMAGED, path, f"damaged (it has no settings of map={config.map})")
    return config


# Words in pydantic's messages, and those that replace them.
WORDS = {
    "Input should be": "must be",
    "List should have": "must have",
    " after validation, not 0": "",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    "a valid list": "a list",
    "a valid string": "text",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
}


def _complaints(error: ValidationError, cfg: DictConfig, values: Any) -> list[InputError]:
    """Return an error for each key that pydantic rejects; members of a union share one.

    A key that only refers to another (`tsne.seed` to `seed`) gets none; the other one does.
    """
    errors: dict[str, InputError] = {}
    allowed: dict[str, list[str]] = {}
    for problem in error.errors():
        key = _key(problem["loc"], values)
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, parent) if parent else cfg
        if isinstance(node, DictConfig) and OmegaConf.is_interpolation(node, name):
            continue
        if problem["type"] == "extra_forbidden":
            errors[key] = unknown_key(key, str(problem["input"]))
        elif problem["type"] == "missing":
            errors[key] = InputError(Kind.MISSING, key, "no value", f"give {key}=VALUE")
        else:
            given = Given(key, problem["input"], _shown(problem["input"]))
            if problem["type"] == "model_type":
                own = next((k for k in known_keys() if k.startswith(f"{key}.")), key)
                why = "is a name for several keys", f"give {own}=VALUE, say"
            else:
                allowed.setdefault(key, []).append(_in_our_words(problem["msg"]))
                why = _joined(allowed[key], key, values), ""
            errors[key] = InputError(Kind.VALUE, given, *why)
    return list(errors.values())


def _in_our_words(message: str) -> str:
    """Return what pydantic says in the words that we say it in."""
    for theirs, ours in WORDS.items():
        message = message.replace(theirs, ours)
    return message


def _joined(allowed: list[str], key: str, values: Any) -> str:
    """Join what a key may be: members of a union, and null."""
    first, *others = allowed
    named = ["null"] if _takes_null(key, values) else []
    return ", or ".join([first, *(text.removeprefix("must be ") for text in others), *named])


def _takes_null(key: str, values: Any) -> bool:
    """Tell whether null would not be rejected for a key of this configuration."""
    changed = block = deepcopy(values)
    *parents, last = key.split(".")
    for name in parents:
        block = block.get(name) if isinstance(block, dict) else None
    if key in NEEDED or not isinstance(block, dict):
        return False
    block[last] = None
    try:
        Config.model_validate(changed)
    except ValidationError as error:
        return all(_key(problem["loc"], changed) != key for problem in error.errors())
    return True


def _key(location: tuple[int | str, ...], values: Any) -> str:
    """Return the key of a pydantic location, without the members of unions that it also names."""
    parts: list[str] = []
    for part in location:
        in_list = isinstance(values, list) and isinstance(part, int)
        if in_list or (isinstance(values, dict) and part in values):
            values = values[part]
        elif part != location[-1] or not isinstance(values, dict):
            continue
        parts.append(str(part))
    return ".".join(parts)


def _shown(value: Any) -> str:
    """Return a value as users type it: `null` and `true`, other values as str."""
    return written(value) if value is None or isinstance(value, bool | list) else str(value)


# What people type for a key, and what they mean.
MEANT: dict[str, Callable[[str], str]] = {
    "seeds": lambda value: (
        f"-m seed={value}" if "," in value else f"seed={value}; -m 'seed=range(0,3)' runs three"
    ),
    "clusters": lambda value: f"cluster.n_clusters={value}",
    "learning_rate": lambda value: f"lr={value}",
    "n_latent": lambda value: f"latent_dim={value}",
    "file": lambda value: f"data={value}",
    "batch": lambda value: f"data.batch_key={value} for batches of cells, or batch_size",
    "labels": lambda value: f"data.label_key={value} for a column, or data.labels for a csv file",
}


def known_keys() -> list[str]:
    """Return all keys that there are, of all choices."""
    return list(_owners())


def unknown_key(key: str, value: str) -> InputError:
    """Return the error for an unknown key: it names the nearest key, or the choice that has it."""
    given = Given(key, value)
    owners = _owners()
    if key in owners:
        owner = " or ".join(owners[key])
        return InputError(Kind.UNKNOWN, given, "no such key here", f"it belongs to {owner}")
    if key in MEANT:
        return InputError(Kind.UNKNOWN, given, "no such key", f"give {MEANT[key](value)}")
    last = {k.rsplit(".", 1)[-1]: k for k in owners}
    near = [last[key]] if key in last else _nearest(key, owners)
    near = near or [last[name] for name in _nearest(key.rsplit(".", 1)[-1], last)]
    if near:
        meant = " or ".join(sorted(near))
        return InputError(Kind.UNKNOWN, given, "no such key", f"did you mean {meant}?")
    return InputError(Kind.UNKNOWN, given, "no such key", "`scvae train --help` lists them")


def _nearest(key: str, names: Iterable[str]) -> list[str]:
    """Return the names most like a key: several if they are equally like it, up to three."""
    near = get_close_matches(key, names, n=3, cutoff=0.7)
    likeness = [SequenceMatcher(None, name, key).ratio() for name in near]
    return [name for name, ratio in zip(near, likeness, strict=True) if ratio == likeness[0]]


def _owners() -> dict[str, list[str]]:
    """Return all keys, each with the choices (`data=synthetic`) that have it; []: all have it."""
    owners: dict[str, list[str]] = {}
    for key, choice in _keys(Config, ""):
        owners.setdefault(key, []).extend([choice] if choice else [])
    return owners


def _keys(block: type[Block], prefix: str, choice: str = "") -> Iterator[tuple[str, str]]:
    for name, field in block.model_fields.items():
        yield prefix + name, choice
        members = get_args(field.annotation) or (field.annotation,)
        for member in members:
            if isinstance(member, type) and issubclass(member, Block):
                owner = member.model_fields.get("name")
                needed = f"{name}={get_args(owner.annotation)[0]}" if owner else ""
                yield from _keys(member, f"{prefix}{name}.", needed)
