"""Command lines of the sub-commands that are not Hydra's."""

import argparse
from typing import NoReturn

from scvae_cli.errors import InputError, Kind


class Parser(argparse.ArgumentParser):
    """argparse whose errors are ours: one line, and the way out."""

    def error(self, message: str) -> NoReturn:
        """Raise what it would have printed."""
        raise InputError(Kind.VALUE, None, message, f"`{self.prog} --help` says more")
