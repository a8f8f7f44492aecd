"""What produced a run: versions of the code and of all that it stands on."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = [
    "scvae-cli", "torch", "numpy", "scipy", "pandas", "scikit-learn", "scanpy", "anndata",
    "hydra-core", "omegaconf", "matplotlib", "safetensors",
]  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of Python, the platform and the packages that a run uses."""
    packages = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "platform": platform.platform(), **packages}


def git_state() -> dict[str, Any] | None:
    """Commit of this code and whether files differ from it; None for an installed package."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(root, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
