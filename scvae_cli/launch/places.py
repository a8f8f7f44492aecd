"""Paths and names: as typed, as shown, as Hydra reads them, as folders are called."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATHS = [
    "data.path",
    "data.labels",
    "data.dir",
    "trained",
    "output_dir",
]  # settings that are paths

_home: list[str] = []  # the user's folder, while this process is in another


@contextmanager
def inside(folder: str | None) -> Iterator[None]:
    """Change to another folder for the block, if it exists; paths are still shown from the user's.

    Args:
        folder: where to go; None for nowhere else.
    """
    before = os.getcwd()  # noqa: PTH109
    if folder is None or not Path(folder).is_dir():
        yield
        return
    _home.append(before)
    try:
        os.chdir(folder)
        yield
    finally:
        os.chdir(before)
        _home.pop()


def shown(path: Path) -> str:
    """Return the path from the user's folder where that is shorter."""
    relative = os.path.relpath(path, _home[0] if _home else None)
    return str(path) if relative.startswith("..") else relative


def at_home(text: str) -> Path:
    """Return a path with `~` and `~user` replaced; those of unknown users stay."""
    return Path(os.path.expanduser(text))  # noqa: PTH111


def quoted(path: Path | str) -> str:
    """Return a path or a text as a value that Hydra reads back as it is."""
    # OmegaConf resolves ${...} unless a backslash stands before it; Hydra takes backslashes as
    # they are, but for those before a quote.
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", str(path))
    text = re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + ("\\'" if match[2] else ""), text)
    return f"'{text}'"


def with_quoted_path(override: str) -> str:
    """Quote the value of a setting that names an existing file, so that Hydra takes any name."""
    key, _, value = override.partition("=")
    if key not in PATHS or not value or not at_home(value).exists():
        return override
    return f"{key}={quoted(value)}"


def slug(*parts: str) -> str:
    """Join parts of a folder's name, without awkward characters, in 100 bytes at most."""
    name = re.sub(r"[^\w.=+-]+", "_", "-".join(str(p) for p in parts if p))
    return name.encode()[:100].decode(errors="ignore")
