"""Define the two errors that end a run early, each with a message for the user."""

from collections.abc import Sequence
from difflib import get_close_matches

from scvae_cli.visible import visible


class UserError(Exception):
    """An error with a message for the user: its arguments are lines, shown without a traceback."""

    def __str__(self) -> str:
        """Return the lines, with unprintable characters escaped."""
        return "\n".join(map(visible, self.args))


class InputError(UserError):
    """The input cannot be used: the message names the key or file, its value and a remedy."""


class RunError(UserError):
    """The run failed while it worked: the message says where, what was seen and what may help."""


def unknown_choice(group: str, name: str, choices: Sequence[str]) -> str:
    """Return the message for an unknown choice: it names the nearest choice, and all there are."""
    near = get_close_matches(name, choices, n=1)
    hint = f" did you mean {near[0]}?" if near else ""
    known = f" (there are {', '.join(choices)})" if choices else ""
    return f"{group}={name}: no such choice{known}{';' if hint else ''}{hint}"
