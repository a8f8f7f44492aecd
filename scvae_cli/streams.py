"""Standard output and error that do not fail: what a run computes outlives its terminal."""

import errno
import io
import os
import select
import sys
from typing import Any


class Unfailing(io.FileIO):
    """The file below a stream. After its first error, what is written is dropped."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes bytes, and returns how many it wrote or dropped."""
        if self.error is None:
            try:
                while (n := super().write(data)) is None:  # somebody made it non-blocking
                    select.select([], [self], [])
                return n
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


def protect() -> None:
    r"""Makes standard output and error of this process streams that never raise.

    Where a reader has left (`| head -1`), a terminal is closed or a disk is full, the command
    goes on in silence. What the encoding has no bytes for is written as `\u....`.
    """
    # One that is closed (`>&-`) gets a file: else that of a run would be opened in its place.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdout, sys.stderr = unfailing(1, sys.stdout), unfailing(2, sys.stderr)


def show_all() -> None:
    r"""Writes what the encoding of standard output and error has no bytes for as `\u....`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def unfailing(number: int, like: io.TextIOWrapper | Any) -> io.TextIOWrapper:
    """A stream that never raises, on an open file, with the encoding and buffering of another."""
    return io.TextIOWrapper(
        io.BufferedWriter(Unfailing(number, "w", closefd=False)),
        encoding=getattr(like, "encoding", None),
        errors="backslashreplace",
        line_buffering=getattr(like, "line_buffering", False),
        write_through=getattr(like, "write_through", False),
    )


def lost(stream: io.TextIOWrapper | Any) -> OSError | None:
    """Why a stream's text did not arrive, if somebody was still there to read it."""
    stream.flush()
    below: Any = stream.buffer
    error: OSError | None = getattr(below.raw, "error", None)
    left = error is not None and error.errno in (errno.EPIPE, errno.EIO)  # or hung up
    return None if left else error
