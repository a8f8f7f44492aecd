"""Write files whole or not at all: under a temporary name first, which is then renamed.

The temporary name, `.NAME.writing-PLACE-PROCESS-RANDOM`, says which process writes the file, so
that the files of killed processes can be removed and those of living ones kept.
"""

import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

TEMPORARY = re.compile(r"\..+\.writing-(?P<place>[0-9a-f]{8})-(?P<process>[0-9]+)-[0-9a-f]{8}")
FORGOTTEN = 86_400  # seconds after which no process on another machine still writes a file


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file beside `path`, and rename it to `path` at the end.

    The file is forced to disk before it is renamed. At an error it is removed, and `path` stays
    as it was. Temporary files of killed processes in the same folder are removed first.

    Raises:
        OSError: the file cannot be written; names `path`.
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
        if isinstance(error, OSError) and error.errno:  # an error of h5py has only a text
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_file(path: Path, contents: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        OSError: the file cannot be written; names it.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(contents)


@contextmanager
def making(path: Path) -> Iterator[Path]:
    """Yield a new folder with the name of `path`, and move it to `path` at the end.

    Its files are forced to disk before. At an error nothing of it is left.

    Raises:
        OSError: something is at `path` by now, or the folder cannot be written.
    """
    clear(path.parent)
    outside = temporary_path(path)
    try:
        folder = outside / path.name
        folder.mkdir(parents=True)
        yield folder
        for file in [file for file in folder.rglob("*") if file.is_file()]:
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "exists already", str(path))
        folder.rename(path)
    finally:
        shutil.rmtree(outside, ignore_errors=True)


def temporary_path(path: Path) -> Path:
    """Return an unused path beside `path`, whose name has the file's name and its writer."""
    name = path.name[:50]  # a file name has 255 bytes at most
    return path.with_name(f".{name}.writing-{_place()}-{os.getpid()}-{secrets.token_hex(4)}")


def clear(folder: Path, *, locked: bool = False) -> None:
    """Remove the temporary files and folders in a folder whose writers were killed.

    Whether a writer on another machine still runs cannot be checked from here. Its files are
    removed when they are a day old, or at once where this process holds the folder's lock.

    Args:
        folder: the folder to clear; its subfolders stay as they are.
        locked: whether this process holds the folder's lock.
    """
    with suppress(OSError):  # the next process that writes there tries again
        for path in folder.iterdir():
            match = TEMPORARY.fullmatch(path.name)
            if match is None:
                continue
            if match["place"] == _place():
                in_use = _lives(int(match["process"]))
            else:
                in_use = not locked and time.time() - path.lstat().st_mtime < FORGOTTEN
            if not in_use and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif not in_use:
                path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    """Return whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it runs, as another user's
        return True
    return True


@cache
def _place() -> str:
    """Return a code of this machine since its start and of this container: 8 hex digits.

    Process numbers can be compared only between processes with the same code.
    """
    facts = [platform.node()]
    with suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8"))
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]
