"""Files that appear whole or not at all: written under another name, which they then leave.

The other name says who writes, `.NAME.writing-PLACE-PROCESS-RANDOM`, so that what a killed process
left can be told from what a living one writes.
"""

import hashlib
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

TEMPORARY = re.compile(r"\..+\.writing-(?P<place>[0-9a-f]{8})-(?P<process>[0-9]+)-[0-9a-f]{8}")
FORGOTTEN = 86_400  # seconds after which nobody elsewhere still writes a file


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives the path of a temporary file beside `path`, which takes its place at the end.

    It is forced to disk before. At an error it is removed, and `path` stays as it was. What
    killed processes left in that folder is removed first.

    Raises:
        OSError: it cannot be written; names `path`.
    """
    clear(path.parent)
    temporary = temporary_path(path)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno:  # h5py's have a text alone
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_file(path: Path, contents: bytes) -> None:
    """Writes a file, whole or not at all.

    Raises:
        OSError: it cannot be written; names the file.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(contents)


def temporary_path(path: Path) -> Path:
    """A path beside `path` where no other file is, and that says who writes what."""
    name = path.name[:50]  # names end at 255 bytes
    return path.with_name(f".{name}.writing-{_place()}-{os.getpid()}-{secrets.token_hex(4)}")


def clear(folder: Path, *, alone: bool = False) -> None:
    """Removes the temporary files in a folder whose writers were killed.

    Of a writer on another machine nobody here knows whether it lives. Its files are removed when
    they are a day old, or at once where this process holds the folder's lock.

    Args:
        folder: where they may be.
        alone: whether this process holds the folder's lock.
    """
    with suppress(OSError):  # whoever writes there later has the same chance
        for path in folder.iterdir():
            found = TEMPORARY.fullmatch(path.name)
            if found is None:
                continue
            if found["place"] == _place():
                written = _lives(int(found["process"]))
            else:
                written = not alone and time.time() - path.lstat().st_mtime < FORGOTTEN
            if not written:
                path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    """Whether a process of this machine lives."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it does, and is another user's
        return True
    return True


@cache
def _place() -> str:
    """Where process numbers mean the same: this machine since it started, this container."""
    facts = [platform.node()]
    with suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]
