"""What notebooks start with: `%%bash` shows both streams in order, and fails if a command does."""

import subprocess
import warnings

from IPython.core.magic import register_cell_magic

warnings.filterwarnings("ignore", "IProgress not found")  # tqdm's, of libraries


@register_cell_magic
def bash(_: str, cell: str) -> None:
    """Run commands, and print what a terminal without colours would show."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", cell],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    print(done.stdout, end="")
    done.check_returncode()
