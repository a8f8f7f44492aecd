"""Record what produced a run: versions of the code and of the packages it uses."""

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = [
    "scvae-cli", "torch", "numpy", "scipy", "pandas", "scikit-learn", "scanpy", "anndata",
    "hydra-core", "omegaconf", "matplotlib", "safetensors", "umap-learn", "numba",
]  # fmt: skip
NUMERIC = ["scvae-cli", "torch", "numpy", "scipy", "scikit-learn"]  # which numbers depend on
LATER = ["umap-learn", "numba"]  # so do maps on these, which runs of older versions do not record


def versions() -> dict[str, str]:
    """Return the versions of Python, the platform and the packages that a run uses."""
    packages = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "platform": platform.platform(), **packages}


def git_state() -> dict[str, Any] | None:
    """Return the commit of this code and whether files differ from it; None if it is installed."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(root, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def codes(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return `versions` and `git` of all code that computed a run, in order of time.

    Args:
        record: of a run: it has those of its start, and of each time it was resumed.
    """
    resumed = [entry for entry in record.get("resumed", []) if isinstance(entry, dict)]
    return [record, *resumed]


def difference(before: Mapping[str, Any], today: Mapping[str, Any]) -> str | None:
    """Name the first package that numbers depend on, or the commit, that differs; None if none.

    Args:
        before: `versions` and `git` as recorded when a run or sweep began.
        today: the same of this process.
    """
    for name in NUMERIC + [name for name in LATER if name in before["versions"]]:
        old, new = before["versions"].get(name), today["versions"][name]
        if old != new:
            return f"was begun with {name} {old}, and not {new}"
    then, now = (str((x.get("git") or {}).get("commit"))[:10] for x in (before, today))
    return f"was begun at commit {then}, and not {now}" if then != now else None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
