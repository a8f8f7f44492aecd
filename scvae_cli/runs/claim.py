"""Claim a folder that no other run has, lock it, discard it, link `latest` to it."""

import logging
import os
import shutil
from collections.abc import Container, Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from scvae_cli.atomic import TEMPORARY, clear, temporary_path
from scvae_cli.errors import InputError, Kind

log = logging.getLogger("scvae")

LOCK = ".lock"
RESERVE_FILE = ".reserve"
LONGEST = 256  # letters of a name, which no file system has more of
# All that there is before a run has begun to compute.
BEGINNINGS = {
    ".hydra", LOCK, RESERVE_FILE, "config.yaml", "genes.csv", "multirun.yaml", "run.json",
    "scvae.log",
}  # fmt: skip


def claim(wanted: Path, *, exact: bool, named_by: str = "output_dir") -> tuple[Path, list[Path]]:
    """Create a folder that no other run has, with a file `.lock` in it, which `unlock` removes.

    Args:
        wanted: its path.
        exact: whether it has to be that path; otherwise a number is added where it exists.
        named_by: the setting, flag or argument that names the place, for the message.

    Returns:
        The folder, and all folders that had to be created for it, outermost first.

    Raises:
        InputError: it cannot be created, or it has to be that path and holds something already.
    """
    try:
        missing = [p for p in wanted.parents if not p.exists()]
        for n in count(1):
            wanted.parent.mkdir(parents=True, exist_ok=True)
            path = wanted if n == 1 else wanted.with_name(f"{wanted.name}-{n}")
            if _take(path, or_empty=exact):
                return path, [*reversed(missing), path]
            if exact:
                raise InputError(Kind.EXISTS, path, "exists already", "give a folder of its own")
    except OSError as error:
        _remove_empty(missing)
        what = wanted if len(wanted.name) < LONGEST else wanted.parent
        raise InputError(
            Kind.UNAVAILABLE,
            named_by,
            f"cannot create {what}: {error.strerror}",
            f"give another with {named_by}{' ' if named_by[0] == '-' else '='}FOLDER",
        ) from error
    raise AssertionError


def _take(path: Path, *, or_empty: bool) -> bool:
    """Create a folder, or take one that is empty, for this process.

    Of several processes that find it empty, the one that creates its `.lock` has it.

    Returns:
        Whether this process has it now.
    """
    try:
        path.mkdir()
    except FileExistsError:
        if not or_empty or not path.is_dir() or any(path.iterdir()):
            return False
    try:
        (path / LOCK).touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        _remove_empty([path])
        raise
    if any(inside.name != LOCK for inside in path.iterdir()):  # another was here, and has ended
        (path / LOCK).unlink(missing_ok=True)
        return False
    return True


def _remove_empty(innermost_first: Iterable[Path]) -> None:
    for path in innermost_first:
        with suppress(OSError):  # it holds something by now, and stays
            path.rmdir()


def discard(created: list[Path], *, beside: Container[str] = ()) -> None:
    """Remove a claimed folder, and those created for it that are empty, innermost first.

    A folder that holds anything else than the beginning of a run stays: somebody may have moved
    the run and put another folder in its place. So does one where another process writes.

    Args:
        created: from `claim`.
        beside: names of files and folders that this process may have put there besides.
    """
    if not created[-1].is_dir():
        return
    try:
        file_lock = lock(created[-1])
    except InputError:
        return
    with suppress(OSError):
        names = {path.name for path in created[-1].iterdir()}
        ours = (n for n in names if n in BEGINNINGS or n in beside or TEMPORARY.fullmatch(n))
        if len(names) > len([*ours]):
            unlock(file_lock)
            return
    shutil.rmtree(created[-1], ignore_errors=True)
    file_lock.release()
    _remove_empty(reversed(created[:-1]))


def lock(path: Path) -> FileLock:
    """Keep other processes from writing to a folder, until `unlock`.

    Raises:
        InputError: another process writes there.
    """
    file_lock = FileLock(path / LOCK, blocking=False)
    try:
        file_lock.acquire()
    except Timeout as error:
        raise InputError(
            Kind.BUSY, path, "another process writes there", "wait for it, or stop it"
        ) from error
    except (OSError, NotImplementedError) as error:
        log.warning("%s cannot be locked: %s", path, error)
    return file_lock


def unlock(file_lock: FileLock) -> None:
    """Let other processes write to the folder again, and leave no file there."""
    with suppress(OSError):
        Path(file_lock.lock_file).unlink(missing_ok=True)
    file_lock.release()


def point_latest(output_dir: Path, folder: Path, name: str = "latest") -> None:
    """Point output_dir/latest at a folder below output_dir, if links can be made.

    A file or folder called `latest` that is no such link belongs to the user, and stays.

    Args:
        output_dir: where run folders go.
        folder: of a run or a sweep.
        name: of the link.
    """
    root, target = (Path(os.path.realpath(path)) for path in (output_dir, folder))
    latest = root / name
    if root not in target.parents or not (_is_ours(latest) or not os.path.lexists(latest)):
        return
    clear(root)
    link = temporary_path(latest)
    try:
        link.symlink_to(target.relative_to(root), target_is_directory=True)
        link.replace(latest)
    except OSError:
        link.unlink(missing_ok=True)


def _is_ours(link: Path) -> bool:
    """Return whether a path is a link as `point_latest` makes them: into its own folder."""
    if not link.is_symlink():
        return False
    target = link.readlink()
    return not target.is_absolute() and ".." not in target.parts
