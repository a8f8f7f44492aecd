"""Choose how many CPU threads a run uses, and how they wait for each other."""

import os
from contextlib import suppress

# Multiplications of a step below which a second thread costs more than it saves. Measured on two
# idle cores, time with one thread divided by time with two: .48 to .83 up to 5e7, .69 to .72 at
# 6.5e7, .85 to 1.17 at 1.3e8, 1.16 at 2.6e8.
SMALL_STEP = 1.5e8


def wait_asleep() -> None:
    """Let OpenMP's waiting threads sleep, unless the user's environment says how they wait.

    Threads that wait by spinning take the CPU from the threads they wait for, as soon as another
    process needs it too. OpenMP reads the variable once, when torch or scikit-learn is imported.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def available() -> int:
    """Return the number of CPU threads that this process may use.

    It is the smallest of the machine's CPUs, the process's affinity, its cgroup's quota and
    OMP_NUM_THREADS.
    """
    from joblib import cpu_count

    threads: int = cpu_count()
    with suppress(KeyError, ValueError):  # one number, or one for each level of nesting
        threads = min(threads, max(1, int(os.environ["OMP_NUM_THREADS"].split(",")[0])))
    return threads


def for_step(threads: int, *, batch_size: int, layer_size: int) -> int:
    """Return the number of threads for a gradient step: 1 where more would make it slower.

    Args:
        threads: number of threads available.
        batch_size: cells per step.
        layer_size: weights of the largest layer.
    """
    return 1 if batch_size * layer_size < SMALL_STEP else threads
