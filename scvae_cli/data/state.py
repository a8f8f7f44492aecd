"""Tells whether a file or folder is still what it was."""

from pathlib import Path


def state_of(path: Path) -> list[int]:
    """Return what changes where a file or folder does: number of entries, bytes, last change.

    Raises:
        OSError: it is not there.
    """
    entries = path.rglob("*") if path.is_dir() else ()
    stats = [path.stat(), *(entry.stat() for entry in entries if entry.exists())]
    return [len(stats), sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)]
