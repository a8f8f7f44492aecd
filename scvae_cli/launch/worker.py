"""Call functions in a second process, so that a crash there ends only the call."""

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
from scvae_cli.garbage import own_process, spare
from scvae_cli.interrupts import listening

T = TypeVar("T")
# Seconds in which a worker that got the same signal as this process ends by itself.
GRACE = 2.0


class WorkerDiedError(Exception):
    """The worker's process ended during a call; the message says how."""


class Worker:
    """A process that calls functions. The first call starts it, and the next after a crash."""

    def __init__(self) -> None:
        # Torch's threads do not survive a fork.
        self._context = multiprocessing.get_context("spawn")
        self._process: multiprocessing.process.BaseProcess | None = None
        self._ours: Connection | None = None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in the worker's process, and return its result.

        Args:
            function: a function that can be imported by name.
            arguments: picklable values; the result must be picklable too.

        Raises:
            WorkerDiedError: the worker's process ended during the call.
            KeyboardInterrupt: this process was interrupted; the worker has been ended.
            Exception: the function raised it.
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
        """End the process, which must be idle."""
        if self._ours is not None:
            self._end()

    def _start(self) -> None:
        self._ours, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), name="scvae-worker")
        self._process.start()
        theirs.close()

    def _stop(self, *, at_once: bool) -> None:
        """End the process by SIGTERM, at once or after GRACE, and wait until it has ended."""
        if self._process is None:
            return
        self._process.join(0 if at_once else GRACE)
        if self._process.is_alive():
            self._process.terminate()
        self._end()

    def _end(self) -> str:
        """Close the connection, wait until the process ends, and return in words how it ended."""
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
    """Call the functions that arrive, and send the outcomes, until the connection is closed."""
    # Ctrl-C reaches every process of a terminal; the other process decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    streams.protect()
    own_process()
    Thread(target=_end_with_parent, daemon=True).start()
    with listening(), suppress(EOFError, ConnectionError, KeyboardInterrupt):
        while True:
            function, arguments = calls.recv()
            calls.send(_outcome(function, arguments))
    spare()  # the process ends


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    """Call a function; return whether it raised, and the value that it returned or raised."""
    try:
        return False, function(*arguments)
    except BaseException as error:
        error.add_note(traceback.format_exc())
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # an exception whose own arguments cannot be pickled
            return True, RuntimeError(f"{type(error).__name__}: {error}")
        return True, error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
