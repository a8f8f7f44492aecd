"""Decides whether the values of a file lie in memory or on disk, and moves them there."""

import shutil
from pathlib import Path

from scipy.sparse import csr_array

from scvae_cli.data.announcer import Announcer
from scvae_cli.data.asked import Options
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.mapped import Collected, is_mapped, size_of
from scvae_cli.untrusted import check_memory, free_memory

SHARE = 0.5  # of the free memory: what values may take there; the rest is for all else
PIECE = 4096  # cells that are written at once


def folder_for(n_values: int, asked: Options, announcer: Announcer) -> Path | None:
    """Return the folder on whose disk values are to lie; None for memory.

    They go there where that is asked for, or with `auto` where they would take more than `SHARE`
    of the free memory.

    Args:
        n_values: how many there are.
        asked: what is asked for.
        announcer: which has the folder, and is told.

    Raises:
        InputError: neither memory nor the disk has room for them.
    """
    needed, folder = size_of(n_values), announcer.folder
    wanted = asked.on_disk is True or (asked.on_disk == "auto" and needed > SHARE * free_memory())
    if folder is None or not wanted:
        check_memory(needed, asked.path)
        return None
    if needed > (left := shutil.disk_usage(folder).free):
        sizes = f"{needed / 1e9:,.1f} GB on the disk of {folder}, which has {left / 1e9:,.1f} GB"
        reason = f"needs {sizes} left"
        fix = "give fewer genes, or another disk (output_dir=FOLDER)"
        raise InputError(Kind.UNAVAILABLE, Given("data.on_disk", asked.on_disk), reason, fix)
    announcer.say(
        f"{Path(asked.path).name}: {n_values / 1e6:,.0f} million values of the genes kept lie on "
        f"disk ({needed / 1e9:,.1f} GB in {folder}, in a file without a name) until the run ends"
    )
    return folder


def moved(x: csr_array, asked: Options, announcer: Announcer) -> csr_array:
    """Return values that were read whole, moved to disk if that is asked for.

    Raises:
        InputError: the disk has no room for them.
        OSError: the disk is full.
    """
    if asked.on_disk is not True or is_mapped(x):
        return x
    if (folder := folder_for(x.nnz, asked, announcer)) is None:
        return x
    with Collected(x.shape, x.nnz, folder) as collected:
        for start in range(0, x.shape[0], PIECE):
            collected.add(x[start : start + PIECE])
        return collected.matrix()
