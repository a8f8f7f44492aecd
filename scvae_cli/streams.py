"""Replace standard output and error by streams that never fail, as a run outlives its terminal."""

import codecs
import errno
import io
import os
import select
import sys
from typing import Any

PLAIN = {"±": "+-", "…": "...", "–": "-", "−": "-", "×": "x", "→": "->"}  # noqa: RUF001


def _plainer(error: UnicodeError) -> tuple[str | bytes, int]:
    r"""Return what stands for a character that an encoding lacks: `+-`, else `\u....`."""
    if isinstance(error, UnicodeEncodeError) and (text := PLAIN.get(error.object[error.start])):
        return text, error.start + 1
    return codecs.backslashreplace_errors(error)


codecs.register_error("plainer", _plainer)


class Unfailing(io.FileIO):
    """The file below a stream. After its first error, it drops what is written to it."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write bytes, and return how many were written or dropped."""
        if self.error is None:
            try:
                while (n := super().write(data)) is None:  # another process made it non-blocking
                    select.select([], [self], [])
                return n
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


def protect() -> None:
    r"""Replace standard output and error of this process by streams that never raise.

    Where a reader has left (`| head -1`), a terminal is closed or a disk is full, the command
    continues without output. Characters that the encoding lacks are written as `+-` or `\u....`.
    """
    # A closed stream (`>&-`) gets /dev/null: else the next file of a run would get its number.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdout, sys.stderr = unfailing(1, sys.stdout), unfailing(2, sys.stderr)
    if not sys.stderr.isatty():
        # Notebooks set FORCE_COLOR for `!scvae`: rich would move a cursor that is not there.
        os.environ.setdefault("TTY_COMPATIBLE", "0")


def show_all() -> None:
    r"""Let standard output and error write `+-` or `\u....` for what their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plainer")


def unfailing(number: int, like: io.TextIOWrapper | Any) -> io.TextIOWrapper:
    """Return a stream on an open file that never raises, encoded and buffered as `like` is."""
    return io.TextIOWrapper(
        io.BufferedWriter(Unfailing(number, "w", closefd=False)),
        encoding=getattr(like, "encoding", None),
        errors="plainer",
        line_buffering=getattr(like, "line_buffering", False),
        write_through=getattr(like, "write_through", False),
    )


def lost(stream: io.TextIOWrapper | Any) -> OSError | None:
    """Return the error by which a stream lost text; None without one, or where its reader left."""
    stream.flush()
    below: Any = stream.buffer
    error: OSError | None = getattr(below.raw, "error", None)
    reader_left = error is not None and error.errno in (errno.EPIPE, errno.EIO)
    return None if reader_left else error
