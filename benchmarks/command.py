"""What the commands of all benchmarks share."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from scvae_cli.errors import InputError

ROOT = Path(__file__).parents[1]  # of the project
DOCS = ROOT / "docs"


def answer(main: Callable[[], None], name: str) -> None:
    """Run a benchmark's `main`; report wrong input as one line and exit code 2, as scvae does.

    Args:
        main: the command.
        name: the benchmark's, for the line.
    """
    try:
        main()
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)


def with_scvi(python: str) -> str | None:
    """Return the Python if it has scvi-tools; else say so, and return None."""
    there = subprocess.run([python, "-c", "import scvi"], capture_output=True, check=False)
    if there.returncode:
        print("scvi-tools is not installed (pip install '.[peer]'): no scVI", file=sys.stderr)
        return None
    return python
