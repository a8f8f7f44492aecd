"""Finds the raw counts of 10x Genomics' PBMC3k or downloads them, verifies and reads them."""

import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anndata

from scvae_cli.atomic import replacing
from scvae_cli.errors import Given, InputError, Kind

ARCHIVE = "pbmc3k_filtered_gene_bc_matrices.tar.gz"
URL = f"https://cf.10xgenomics.com/samples/cell-exp/1.1.0/pbmc3k/{ARCHIVE}"
# Of the files inside: the archive's own hash depends on who packed it.
SHA256 = {
    "matrix.mtx": "7d92358b9d29128a225c50f2a662d6ccca9c71bc665e0af82692ed1361eb94e4",
    "genes.tsv": "8778dd78085086be6dcafa8334f95f7cf76b25526e8ef2b63186db5127a1492c",
    "barcodes.tsv": "58c2a224a2b4258f7e8799a18890bda6d23824b247b80db2b08a0dcc36a4c660",
}
INSIDE = Path("filtered_gene_bc_matrices") / "hg19"


def cache_dir() -> Path:
    """Return where downloads and prepared cells are kept: $SCVAE_CACHE_DIR or the user's cache."""
    from pooch import os_cache

    return Path(os.environ.get("SCVAE_CACHE_DIR") or str(os_cache("scvae")))


def find(folder: str | None, *, on_download: Callable[[int, int], None]) -> Path:
    """Find the archive, or the folder that it unpacks to; download it where it is nowhere.

    Args:
        folder: where it must be; None to look in $SCVAE_DATA_DIR and the user's cache.
        on_download: called with bytes done and bytes in all while downloading.

    Raises:
        InputError: `folder` does not hold it, or it cannot be downloaded.
    """
    if folder is not None:
        for path in _places(Path(folder)):
            return path
        raise InputError(
            Kind.MISSING, Given("data.dir", folder), f"holds no {ARCHIVE}, nor the folder {INSIDE}"
        )
    cache = cache_dir()
    roots = [Path(root) for root in (os.environ.get("SCVAE_DATA_DIR"), str(cache)) if root]
    for path in chain.from_iterable(map(_places, roots)):
        return path
    import pooch  # only here: with requests it takes a third of a second
    import requests

    try:
        loader = pooch.HTTPDownloader(progressbar=_Progress(on_download), timeout=20)
        cache.mkdir(parents=True, exist_ok=True)
        with replacing(cache / ARCHIVE) as temporary:
            loader(URL, str(temporary), None)
        return cache / ARCHIVE
    except (requests.RequestException, OSError) as error:
        raise InputError(
            Kind.UNAVAILABLE,
            Given("data", "pbmc3k"),
            f"cannot download {URL} ({type(error).__name__})",
            f"put that file into {cache}, or use data=pbmc68k, which needs no download",
        ) from error


def read(path: Path) -> anndata.AnnData:
    """Read the counts (2,700 cells x 32,738 genes), once every byte is known to be 10x's.

    Args:
        path: the archive, or the folder that holds the three files.

    Raises:
        InputError: a file is missing, damaged or not the one that 10x published.
    """
    import scanpy as sc

    contents = _from_archive(path) if path.is_file() else _from_folder(path)
    for name, wanted in SHA256.items():
        sha = hashlib.sha256(contents.get(name, b"")).hexdigest()
        if sha != wanted:
            state = "is not the file that 10x published" if name in contents else "is missing"
            raise InputError(Kind.DAMAGED, path, f"{name} {state}", f"replace it by that of {URL}")
    with TemporaryDirectory() as clean:
        for name in SHA256:
            (Path(clean) / name).write_bytes(contents[name])
        return sc.read_10x_mtx(clean)


class _Progress:
    """What pooch wants of a progress bar."""

    def __init__(self, show: Callable[[int, int], None]) -> None:
        self.total = 0
        self._done = 0
        self._show = show

    def update(self, n: int) -> None:
        self._done += n
        self._show(self._done, self.total)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass


def _places(root: Path) -> Iterator[Path]:
    """List where the data may be below a folder, or that path itself."""
    if root.is_file():
        yield root
    for folder in (root, root / "pbmc3k"):
        for path in (folder / ARCHIVE, folder / INSIDE, folder / "hg19", folder):
            if path.is_file() or (path / "matrix.mtx").is_file():
                yield path


def _from_folder(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in SHA256 if (path / name).is_file()}


def _from_archive(path: Path) -> dict[str, bytes]:
    """Read plain files by their base names; none is unpacked to a path of the archive."""
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = Path(member.name).name
                if member.isfile() and name in SHA256 and member.size < 2**26:
                    handle: Any = archive.extractfile(member)
                    contents[name] = handle.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise InputError(
            Kind.DAMAGED, path, f"damaged ({error})", "delete it to download it again"
        ) from error
    return contents
