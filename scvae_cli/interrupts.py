"""Interruption: told apart, and held back while something must not be left half-done."""

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
ASKED = (signal.SIGTERM, signal.SIGHUP)  # who sends these may send them again
INTERRUPTED = 128 + signal.SIGINT
# What happened, by the exit code of a command that a signal ended: 128 and the signal's number.
WORDS = {
    INTERRUPTED: "interrupted",
    128 + signal.SIGTERM: "terminated",
    128 + signal.SIGHUP: "the terminal was closed",
}


def exit_code(error: BaseException) -> int:
    """The exit code of a command that this signal ended."""
    return next((128 + n for n, kind in KINDS.items() if type(error) is kind), INTERRUPTED)


@contextmanager
def listening() -> Iterator[None]:
    """SIGTERM and SIGHUP raise as Ctrl-C does, unless they are ignored (nohup) or handled already.

    The first one does. Later ones change nothing, so that what it ends can be recorded: a shell
    that is closed sends a second SIGHUP.
    """

    def interrupt(number: int, frame: Any) -> None:
        for n in default:
            signal.signal(n, signal.SIG_IGN)
        raise KINDS[number]

    default = [n for n in ASKED if _mine() and signal.getsignal(n) == signal.SIG_DFL]
    for number in default:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in default:
            signal.signal(number, signal.SIG_DFL)


def ignore() -> dict[int, Any]:
    """Nothing interrupts from now on. Returns the handlers there were, by signal."""
    return {n: signal.signal(n, signal.SIG_IGN) for n in KINDS} if _mine() else {}


@contextmanager
def undisturbed() -> Iterator[None]:
    """Nothing interrupts until the end of the block, which must be short."""
    before = ignore()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    """A signal only leaves a mark until the end of the block; Ctrl-C as the second one ends it."""
    mark = Held()
    # A signal that is ignored (under nohup, say) or kills at once is none of ours.
    before = {n: signal.getsignal(n) for n in KINDS if _mine() and callable(signal.getsignal(n))}

    def note(number: int, frame: Any) -> None:
        if number == signal.SIGINT:
            mark.leave()
        mark.came = mark.came or KINDS[number]

    for number in before:
        signal.signal(number, note)
    try:
        yield mark
    finally:
        for number, handler in before.items():
            ends = mark.came is not None and number in ASKED
            signal.signal(number, signal.SIG_IGN if ends else handler)
    mark.leave()


def _mine() -> bool:
    """Whether this thread may handle signals."""
    return threading.current_thread() is threading.main_thread()
