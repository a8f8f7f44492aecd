"""Keep Python from looking for garbage among modules, which stay until the process ends.

It looks through all objects again and again while many are made, as imports do: that takes a
quarter of the time to import torch, scikit-learn and anndata, and most of the time to end.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

_ours = Event()


def own_process() -> None:
    """Say that this process does nothing but `scvae`, so that no object of others is kept."""
    _ours.set()


@contextmanager
def importing() -> Iterator[None]:
    """Import without looking for garbage.

    In a process of ours, Python never looks through what is there after the import. Where nothing
    was imported this changes nothing: else a second run would hide the garbage of the first.
    """
    looks, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            spare()
        if looks:
            gc.enable()


def spare() -> None:
    """Never look for garbage among what there is now, if this process is ours."""
    if _ours.is_set():
        gc.freeze()
