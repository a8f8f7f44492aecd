"""Holds what a source calls while it gets cells."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Announcer:
    """What a source calls while it gets cells.

    Attributes:
        say: takes a line about what no setting says and the source had to find out.
        warn: takes a line about what may be something else than the source took it for.
        on_download: takes the bytes that are downloaded, and the bytes in all.
        folder: on whose disk large values may lie; None where they must be in memory.
    """

    say: Callable[[str], None]
    warn: Callable[[str], None]
    on_download: Callable[[int, int], None]
    folder: Path | None = None
