"""What produced a run: versions of the code and of all that it stands on."""

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = [
    "scvae-cli", "torch", "numpy", "scipy", "pandas", "scikit-learn", "scanpy", "anndata",
    "hydra-core", "omegaconf", "matplotlib", "safetensors",
]  # fmt: skip
NUMERIC = ["scvae-cli", "torch", "numpy", "scipy", "scikit-learn"]  # which numbers depend on


def versions() -> dict[str, str]:
    """Versions of Python, the platform and the packages that a run uses."""
    packages = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "platform": platform.platform(), **packages}


def git_state() -> dict[str, Any] | None:
    """Commit of this code and whether files differ from it; None for an installed package."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(root, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def codes(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """`versions` and `git` of all code that was at work, in order of time.

    Args:
        record: of a run, which has those of its beginning, and of each time it was gone on with.
    """
    resumed = [entry for entry in record.get("resumed", []) if isinstance(entry, dict)]
    return [record, *resumed]


def difference(before: Mapping[str, Any], today: Mapping[str, Any]) -> str | None:
    """What of the code is not as it was when something was begun, and its numbers depend on.

    Args:
        before: what was recorded then: `versions` and `git`.
        today: the same of this process.
    """
    for name in NUMERIC:
        old, new = before["versions"].get(name), today["versions"][name]
        if old != new:
            return f"was begun with {name} {old}, and not {new}"
    then, now = (str((x.get("git") or {}).get("commit"))[:10] for x in (before, today))
    return f"was begun at commit {then}, and not {now}" if then != now else None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
