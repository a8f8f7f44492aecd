"""Turn signals into exceptions, and hold signals back during work that must not be cut short."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM: a cluster's time limit, or `kill`."""


class HungUp(KeyboardInterrupt):
    """SIGHUP: the terminal was closed, or the connection to it was lost."""


KINDS: dict[int, type[KeyboardInterrupt]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
    signal.SIGHUP: HungUp,
}
ASKED = (signal.SIGTERM, signal.SIGHUP)  # their sender may send them again
INTERRUPTED = 128 + signal.SIGINT
# What happened, by the exit code of a command that a signal ended: 128 plus the signal's number.
WORDS = {
    INTERRUPTED: "interrupted",
    128 + signal.SIGTERM: "terminated",
    128 + signal.SIGHUP: "the terminal was closed",
}


def exit_code(error: BaseException) -> int:
    """Return the exit code of a command that this exception ended."""
    return next((128 + n for n, kind in KINDS.items() if type(error) is kind), INTERRUPTED)


@contextmanager
def listening() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise within the block, as Ctrl-C does.

    A signal that is ignored (under nohup) or has a handler stays as it is. Only the first signal
    raises. Later ones are ignored, so that the end of the run can be recorded: a shell that is
    closed sends SIGHUP twice.
    """

    def interrupt(number: int, frame: Any) -> None:
        for n in unhandled:
            signal.signal(n, signal.SIG_IGN)
        raise KINDS[number]

    unhandled = [n for n in ASKED if _mine() and signal.getsignal(n) == signal.SIG_DFL]
    for number in unhandled:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in unhandled:
            signal.signal(number, signal.SIG_DFL)


def ignore() -> dict[int, Any]:
    """Ignore all three signals from now on, and return their former handlers by signal."""
    return {n: signal.signal(n, signal.SIG_IGN) for n in KINDS} if _mine() else {}


@contextmanager
def undisturbed(*, for_good: bool = False) -> Iterator[None]:
    """Ignore all three signals until the end of the block, which must be short.

    Args:
        for_good: ignore them after it, too.
    """
    handlers = ignore()
    try:
        yield
    finally:
        for number, handler in () if for_good else handlers.items():
            signal.signal(number, handler)


class Held:
    """The first signal that arrived while signals were held back, if any did."""

    def __init__(self) -> None:
        self.came: type[KeyboardInterrupt] | None = None

    def leave(self) -> None:
        """Raise the exception of the signal that arrived, if one did."""
        if self.came is not None:
            raise self.came


@contextmanager
def held() -> Iterator[Held]:
    """Hold signals back until the end of the block, which then raises the first that arrived.

    Ctrl-C after another signal, or a second Ctrl-C, raises the first one at once.
    """
    arrived = Held()
    # A signal that is ignored (under nohup, for example) or kills at once keeps its handler.
    handlers = {n: signal.getsignal(n) for n in KINDS if _mine() and callable(signal.getsignal(n))}

    def note(number: int, frame: Any) -> None:
        if number == signal.SIGINT:
            arrived.leave()
        arrived.came = arrived.came or KINDS[number]

    for number in handlers:
        signal.signal(number, note)
    try:
        yield arrived
    finally:
        for number, handler in handlers.items():
            ends = arrived.came is not None and number in ASKED
            signal.signal(number, signal.SIG_IGN if ends else handler)
    arrived.leave()


def _mine() -> bool:
    """Return whether this thread may set signal handlers."""
    return threading.current_thread() is threading.main_thread()
