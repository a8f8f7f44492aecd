"""Take recorded commands apart, which may be a stranger's, or are to be given to others."""

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.launch.places import as_value
from scvae_cli.launch.presets import HYDRA, LAUNCHERS
from scvae_cli.runs.private import NAMED, PLACES, last_part


def recorded_words(command: str, where: Path) -> list[str]:
    """Return the words of a recorded sweep's command that are needed to resume the sweep.

    Args:
        command: `scvae train -m ...`.
        where: file with the command, for the message.

    Raises:
        InputError: the command cannot be split into words, or a word could run code.
    """
    try:
        words = shlex.split(command)[2:]
    except ValueError as error:
        raise InputError(Kind.DAMAGED, where, f"its command cannot be read: {error}") from error
    kept = []
    remaining = iter(words)
    for word in remaining:
        if word in ("-m", "--multirun") or "hydra.sweep.dir=" in word:
            continue
        if word in ("--config-dir", "-cd"):
            kept += [word, next(remaining, "")]
        elif word.startswith("--config-dir="):
            kept.append(word)
        else:
            _check_word(word, where)
            kept.append(word)
    return kept


def _check_word(word: str, where: Path) -> None:
    """Refuse a word of a recorded command that is not a plain setting."""
    key, equals, value = word.lstrip("+~").partition("=")
    parts = key.split(".")
    allowed = len(parts) > 2 and parts[0] == "hydra" and parts[2] in HYDRA.get(parts[1], ())
    launcher = key == "hydra/launcher" and value in LAUNCHERS
    harmless = not key.startswith("hydra") or allowed or launcher
    if not (equals or word.startswith("~")) or not re.fullmatch(r"[\w./-]+", key) or key[0] == "-":
        raise InputError(
            Kind.UNSAFE, where, f"{word}: is no setting", "give it on the command line"
        )
    if not harmless or "_target_" in word:
        raise InputError(
            Kind.UNSAFE, where, f"{word}: can run code", "give it on the command line"
        )


def shareable_words(words: Iterable[str], clean: Callable[[str], str]) -> list[str]:
    """Return the words of a recorded command without folders; those that name places go.

    Args:
        words: after `scvae train`.
        clean: takes folders out of a text.
    """
    shared = []
    remaining = iter(words)
    for word in remaining:
        key, equals, value = word.partition("=")
        key = key.lstrip("+~")
        if word in ("--config-dir", "-cd"):
            shared += [word, last_part(next(remaining, ""))]
        elif key == "--config-dir":
            shared.append(f"{key}={last_part(value)}")
        elif key in NAMED and equals:
            shared.append(f"{key}={PIECE.sub(_last_part, value)}")
        elif key.split(".")[0].split("/")[0] != "hydra" and key not in (*PLACES, "force"):
            shared.append(clean(word))
    return shared


# A path among the values of a setting, in quotes or not.
PIECE = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,()\[\]'"]+""")


def _last_part(piece: re.Match[str]) -> str:
    """Return the last part of a path as a value for Hydra."""
    text = piece[0]
    if text[0] in "'\"":
        return as_value(last_part(re.sub(r"\\(.)", r"\1", text[1:-1])))
    return last_part(text)


def refuse_export(record: Mapping[str, Any], asked: Given) -> None:
    """Refuse to resume what `scvae export` made.

    Args:
        record: run.json or sweep.json.
        asked: `resume=FOLDER`, for the message.

    Raises:
        InputError: it is an export.
    """
    if record.get("exported") is not None:
        reason = "is an export, which does not say where its cells are and where it began"
        raise InputError(Kind.CONFLICT, asked, reason, "resume what it is a copy of")
