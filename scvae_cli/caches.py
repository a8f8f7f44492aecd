"""Where libraries keep what they compiled, on machines where little can be written."""

import atexit
import os
import shutil
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp


def let_numba_cache() -> None:
    """Gives numba a folder for this process where it has none that it can write.

    numba keeps compiled functions beside scanpy's files or in the user's cache. Where it can write
    to neither, as in some containers, the import of scanpy fails. The folder is new and belongs to
    this user, because numba runs what it finds there.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    scanpy = find_spec("scanpy")
    if scanpy is None or scanpy.origin is None or _can_write(Path(scanpy.origin).parent):
        return
    from pooch import os_cache

    users = os_cache("numba")
    with suppress(OSError, RuntimeError):
        users.mkdir(parents=True, exist_ok=True)
        if _can_write(users):
            return
    with suppress(OSError):
        os.environ["NUMBA_CACHE_DIR"] = folder = mkdtemp(prefix="scvae-numba-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _can_write(folder: Path) -> bool:
    with suppress(OSError), TemporaryFile(dir=folder):
        return True
    return False
