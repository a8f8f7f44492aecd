"""Take the command of a recorded sweep apart, which may be a stranger's."""

import re
import shlex
from pathlib import Path

from scvae_cli.errors import InputError, Kind
from scvae_cli.launch.presets import HYDRA, LAUNCHERS


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
