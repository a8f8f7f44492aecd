"""Which of the processes that torchrun started this one is."""

import os


def n_processes() -> int:
    """Return how many processes are to train one model together; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def is_first() -> bool:
    """Return whether this process does the run; the others help it to train."""
    return n_processes() == 1 or int(os.environ["RANK"]) == 0
