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

    In a process of ours, never look among what there is afterwards, if anything was imported: the
    next run in the process leaves garbage of the last one where it is found.
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
