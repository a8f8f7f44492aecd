"""Command lines of the sub-commands that are not Hydra's."""

import argparse
import re
from typing import NoReturn

from scvae_cli.errors import InputError, Kind


class Parser(argparse.ArgumentParser):
    """argparse whose errors are ours: one line, and the way out."""

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
