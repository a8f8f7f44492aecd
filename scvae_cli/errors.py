"""Define the two errors that end a run early: what is at fault, its value, and the kind of fault.

Code that raises one says what it saw; the text for people is made when the error is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Self, TypeVar

from scvae_cli.visible import visible


class Kind(StrEnum):
    """What is wrong with an input, or how a run failed."""

    UNKNOWN = "unknown"  # no command, key, choice, column or layer has this name
    MISSING = "missing"  # a file, a value or a label is needed and is not there
    EXISTS = "exists"  # something is there that would be overwritten
    FORMAT = "format"  # a file is not of a form that is read here
    DAMAGED = "damaged"  # a file is not what was written, or contradicts itself
    VALUE = "value"  # the value of a setting is out of bounds or of another type
    CONTENT = "content"  # values of the cells are not such as a model takes
    NAMES = "names"  # names of cells or genes are there twice, are missing, or match nothing
    EMPTY = "empty"  # no cells, genes or labels are left
    CONFLICT = "conflict"  # a setting does not go with another one, or with the cells
    DIFFERS = "differs"  # cells, settings or code are not those that something began with
    UNSAFE = "unsafe"  # it could run code, or leads to another file
    MEMORY = "memory"  # it takes more memory than there is
    BUSY = "busy"  # another process writes there
    UNAVAILABLE = "unavailable"  # the device, the network or the disk does not do it
    DIVERGED = "diverged"  # training or the map gave values that are not finite
    COLLAPSED = "collapsed"  # all cells have the same latent values


E = TypeVar("E", bound=BaseException)


@dataclass(frozen=True)
class Given:
    """A key with the value that the user gave, or that was the default.

    Attributes:
        key: name of the setting, flag or argument; empty where only the value names the fault.
        value: its value.
        text: the value as users write it; None to write it as on the command line.
    """

    key: str
    value: object
    text: str | None = None

    def __str__(self) -> str:
        """Return `key=value`, or the value if there is no key."""
        text = written(self.value) if self.text is None else self.text
        return f"{self.key}={text}" if self.key else text


class UserError(Exception):
    """An error with a message for the user, which is shown without a traceback.

    Attributes:
        kind: what is wrong.
        key: the setting, flag or argument at fault; None where it is a file, or the whole run.
        value: the key's value, or the path of the file; None where there is none.
        reason: what was seen.
        fix: what the user can do.
        others: further errors that were found with this one.
    """

    def __init__(
        self,
        kind: Kind,
        about: Given | Path | str | None,
        reason: str,
        fix: str = "",
    ) -> None:
        """Make an error.

        Args:
            kind: what is wrong.
            about: a key with its value, a file or folder, or only a key.
            reason: what was seen.
            fix: what the user can do.
        """
        super().__init__(kind, about, reason, fix)
        self.kind, self.about, self.reason, self.fix = kind, about, reason, fix
        self.others: tuple[UserError, ...] = ()
        self.key = about.key or None if isinstance(about, Given) else None
        self.value = about.value if isinstance(about, Given) else None
        if isinstance(about, Path):
            self.value = about
        elif isinstance(about, str):
            self.key = about

    def followed_by(self, others: Sequence["UserError"]) -> Self:
        """Return this error with others, which are shown below it."""
        self.others = (*self.others, *others)
        return self

    def __str__(self) -> str:
        """Return `about: reason; fix` in a line for each error, unprintable characters escaped."""
        about = "" if self.about is None else f"{self.about}: "
        fix = f"; {self.fix}" if self.fix else ""
        return "\n".join([visible(f"{about}{self.reason}{fix}"), *map(str, self.others)])


class InputError(UserError):
    """The input cannot be used."""


class RunError(UserError):
    """The run failed while it worked."""


def cause(error: BaseException, kind: type[E]) -> E | None:
    """Return the error of a kind that led to this one, or None."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, kind):
            return inner
        inner = inner.__cause__ or inner.__context__
    return None


def unknown_choice(key: str, name: str, choices: Sequence[str]) -> InputError:
    """Return the error for an unknown choice: it names the nearest choice, and all there are."""
    near = get_close_matches(name, choices, n=1)
    known = f" (there are {', '.join(choices)})" if choices else ""
    fix = f"did you mean {near[0]}?" if near else ""
    return InputError(Kind.UNKNOWN, Given(key, name), f"no such choice{known}", fix)


def written(value: object) -> str:
    """Return a value as users write it on the command line: `null`, `true`, `[a,b]`, `0.5`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(written, value))}]"
    return str(value)
