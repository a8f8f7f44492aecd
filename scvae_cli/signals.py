"""Interruption: told apart, and held back while something must not be left half-done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM: a cluster's time limit, or `kill`."""


def listen() -> None:
    """From now on SIGTERM ends what goes on as Ctrl-C does, unless somebody handles it already."""
    if not _mine() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return

    def terminate(number: int, frame: Any) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)


class Held:
    """What came while it was held back."""

    def __init__(self) -> None:
        self.came: type[KeyboardInterrupt] | None = None

    def leave(self) -> None:
        """Raises what came, if anything did."""
        if self.came is not None:
            raise self.came


@contextmanager
def held() -> Iterator[Held]:
    """Ctrl-C and SIGTERM only leave a mark until the end of the block; a second one ends it."""
    mark = Held()
    kinds = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
    # A signal that is ignored (under nohup, say) or kills at once is none of ours.
    before = {n: signal.getsignal(n) for n in kinds if _mine() and callable(signal.getsignal(n))}

    def note(number: int, frame: Any) -> None:
        mark.leave()
        mark.came = kinds[signal.Signals(number)]

    for number in before:
        signal.signal(number, note)
    try:
        yield mark
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    mark.leave()


def _mine() -> bool:
    """Whether this thread may handle signals."""
    return threading.current_thread() is threading.main_thread()
