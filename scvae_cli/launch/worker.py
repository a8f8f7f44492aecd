"""A process beside this one for heavy work: a crash there costs only what it was doing."""

import multiprocessing
import os
import pickle
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Any, TypeVar

from scvae_cli import streams
from scvae_cli.interrupts import listening

T = TypeVar("T")
GRACE = (
    2.0  # seconds in which a worker ends by itself, where it got the same signal as this process
)


class WorkerDiedError(Exception):
    """The worker's process ended while it was at work: says how."""


class Worker:
    """Calls functions in a process of its own, started by the first call and after each crash."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")  # torch's threads survive no fork
        self._process: multiprocessing.process.BaseProcess | None = None
        self._ours: Connection | None = None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Calls a function there and waits for it.

        Args:
            function: importable by name.
            arguments: picklable, as what it returns.

        Raises:
            WorkerDiedError: its process ended.
            KeyboardInterrupt: this process was interrupted; the worker was told, and has ended.
            Exception: whatever the function raised.
        """
        try:
            if self._ours is None:
                self._start()
            assert self._ours is not None
            self._ours.send((function, arguments))
            raised, value = self._ours.recv()
        except (EOFError, ConnectionError):
            raise WorkerDiedError(self._end()) from None
        except KeyboardInterrupt as error:
            self._stop(at_once=type(error) is KeyboardInterrupt)
            raise
        if raised:
            raise value
        result: T = value
        return result

    def close(self) -> None:
        """Ends the process, which has nothing to do."""
        if self._ours is not None:
            self._end()

    def _start(self) -> None:
        self._ours, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), name="scvae-worker")
        self._process.start()
        theirs.close()

    def _stop(self, *, at_once: bool) -> None:
        """Tells the process to end as SIGTERM does, and waits until what it did is on disk."""
        if self._process is None:
            return
        self._process.join(0 if at_once else GRACE)
        if self._process.is_alive():
            self._process.terminate()
        self._end()

    def _end(self) -> str:
        """Waits for the end of the process; how it ended, in words."""
        assert self._ours is not None
        assert self._process is not None
        self._ours.close()
        self._process.join()
        code = self._process.exitcode or 0
        self._ours = self._process = None
        if code >= 0:
            return f"exit code {code}"
        return {-signal.SIGKILL: "killed, perhaps for its memory"}.get(
            code, f"signal {signal.Signals(-code).name}"
        )


def _serve(calls: Connection) -> None:
    """Does what is asked for until nobody asks any more."""
    # Ctrl-C reaches every process of a terminal: the other one tells this one what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    streams.protect()
    Thread(target=_end_with_parent, daemon=True).start()
    with listening(), suppress(EOFError, ConnectionError, KeyboardInterrupt):
        while True:
            function, arguments = calls.recv()
            calls.send(_outcome(function, arguments))


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    """Whether it raised, and what it returned or raised."""
    try:
        return False, function(*arguments)
    except BaseException as error:
        error.add_note(traceback.format_exc())
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # an exception with arguments of its own
            return True, RuntimeError(f"{type(error).__name__}: {error}")
        return True, error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
