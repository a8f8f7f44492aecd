"""Command lines of the sub-commands that are not Hydra's."""

import argparse
import re
import textwrap
from collections.abc import Mapping
from typing import NoReturn

from scvae_cli.errors import InputError, Kind

WIDTH = 79


def add_quiet(
    parser: argparse.ArgumentParser,
    text: str = "print only warnings, errors and paths of what was written",
) -> None:
    """Add the flag to a command, with this text in its help."""
    parser.add_argument("--quiet", action="store_true", help=text)


class Parser(argparse.ArgumentParser):
    """argparse with examples below its help, whose errors are ours: one line, and the way out."""

    def __init__(
        self, prog: str, *, description: str, examples: Mapping[str, str], epilog: str = ""
    ) -> None:
        """Make the parser of a command.

        Args:
            prog: the command.
            description: what it does.
            examples: what may follow the command, each with what it is for.
            epilog: what else there is to say.
        """
        lines = [textwrap.fill(epilog, WIDTH), ""] if epilog else []
        shown = {f"  {prog} {words}": what for words, what in examples.items()}
        width = max(map(len, shown)) + 3
        beside = width + max(map(len, shown.values())) <= WIDTH
        for line, what in shown.items():
            lines += [f"{line:<{width}}{what}"] if beside else [line, f"      {what}"]
        lines.insert(2 if epilog else 0, "Examples:")
        super().__init__(
            prog,
            description=textwrap.fill(description, WIDTH),
            epilog="\n".join(lines),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Raise what it would have printed: `argument --seeds: invalid int value: 'x'`, say."""
        fix = f"`{self.prog} --help` says more"
        for action in self._actions:
            if action.nargs == "*":  # which argparse counts among those that are required
                message = message.replace(f", {action.metavar}", "")
        if match := re.fullmatch(r"argument (\S+): (.*)", message):
            raise InputError(Kind.VALUE, match[1], match[2], fix)
        kind = Kind.MISSING if "are required" in message else Kind.UNKNOWN
        raise InputError(kind, None, message, fix)
