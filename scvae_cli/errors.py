"""The two ways in which a run ends early, each with a line for the person who started it."""

from collections.abc import Sequence
from difflib import get_close_matches

from scvae_cli.visible import visible


class ToldError(Exception):
    """An error that is told in lines, its arguments; names in them are made visible."""

    def __str__(self) -> str:
        """The lines."""
        return "\n".join(map(visible, self.args))


class InputError(ToldError):
    """What was asked for cannot be done: names the key or file, its value and the way out."""


class RunError(ToldError):
    """The run went wrong on the way: says where, what was seen and what may help."""


def unknown_choice(group: str, name: str, choices: Sequence[str]) -> str:
    """The line for a choice that does not exist: the nearest that does, and all there are."""
    near = get_close_matches(name, choices, n=1)
    hint = f" did you mean {near[0]}?" if near else ""
    known = f" (there are {', '.join(choices)})" if choices else ""
    return f"{group}={name}: no such choice{known}{';' if hint else ''}{hint}"
