"""Number the format of runs and sweeps, and refuse those of a later one; see docs/formats.md."""

from pathlib import Path
from typing import Any

from scvae_cli.errors import InputError, Kind

# Raised when a version that knows only the number before would misread what this one writes.
FORMAT = 1


class NewerError(InputError):
    """A run or a sweep was written in a later format than this version reads."""


def check_format(contents: Any, path: Path) -> None:
    """Refuse run.json or sweep.json of a later format; one without a number is of the first.

    Args:
        contents: of the file; what else is wrong with them, `record.fault` says.
        path: of the file.

    Raises:
        NewerError: its format has a higher number than `FORMAT`.
    """
    number = contents.get("format", 1) if isinstance(contents, dict) else 1
    if type(number) is int and number > FORMAT:
        raise NewerError(
            Kind.DIFFERS,
            path,
            f"is of format {number}, and this scvae reads formats up to {FORMAT}",
            "install a later version of scvae-cli",
        )
