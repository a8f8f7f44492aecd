"""Paths and names: as typed, as shown, as Hydra reads them, as folders are called."""

import os
import re
import shlex
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scvae_cli.errors import Given, InputError, Kind

PATHS = [
    "data.path",
    "data.labels",
    "data.batches",
    "data.dir",
    "trained",
    "output_dir",
]  # settings that are paths
# Settings that are texts, also of digits alone.
NAMES = {
    *PATHS, "hydra.run.dir", "hydra.sweep.dir", "multiqc", "data.label_key", "data.batch_key",
    "data.layer", "data.gene_names", "data.genome",
}  # fmt: skip
LISTS = {"data.batch_key", "data.unlabelled", "data.covariates", "data.keep"}  # of such texts
NO_TEXT = re.compile(r"[\d_.eE+-]+|nan|inf", re.IGNORECASE)  # what Hydra takes for a number
CELLS = re.compile(r"\.(h5ad|h5mu|zarr|h5|(csv|tsv|txt|mtx)(\.gz)?)/?$", re.IGNORECASE)
# Settings that folders are not named after: they change no result, or name columns and files.
UNNAMED = {
    "model", "data", "data.path", "data.labels", "data.batches", "data.dir", "data.label_key",
    "data.batch_key", "data.unlabelled", "data.keep", "data.on_disk",
    "output_dir", "device", "threads", "map_3d", "h5ad", "logger", "multiqc", "quiet", "on_error",
    "resume", "force",
}  # fmt: skip
MOST_NAMED = 3  # settings in the name of a folder
LONGEST = 24  # letters of each

_home: list[str] = []  # the user's folder, while this process is in another


@contextmanager
def inside(folder: str | None) -> Iterator[None]:
    """Change to another folder for the block, if it exists; paths are still shown from the user's.

    Args:
        folder: where to go; None for nowhere else.
    """
    before = os.getcwd()  # noqa: PTH109
    if folder is None or not Path(folder).is_dir():
        yield
        return
    _home.append(before)
    try:
        os.chdir(folder)
        yield
    finally:
        os.chdir(before)
        _home.pop()


def shown(path: Path) -> str:
    """Return the path from the user's folder where that is shorter."""
    relative = os.path.relpath(path, _home[0] if _home else None)
    return str(path) if relative.startswith("..") else relative


def at_home(text: str) -> Path:
    """Return a path with `~` and `~user` replaced; those of unknown users stay."""
    return Path(os.path.expanduser(text))  # noqa: PTH111


def quoted(path: Path | str) -> str:
    """Return a path or a text as a value that Hydra reads back as it is."""
    # OmegaConf resolves ${...} unless a backslash stands before it; Hydra takes backslashes as
    # they are, but for those before a quote.
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", str(path))
    text = re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + ("\\'" if match[2] else ""), text)
    return f"'{text}'"


def as_value(path: str) -> str:
    """Return a path as a value for Hydra, in quotes only where it needs them."""
    is_plain = re.fullmatch(r"[\w./-]+", path, re.ASCII) and CELLS.search(path)
    return path if is_plain else quoted(path)


def with_quoted_path(override: str) -> str:
    """Quote a value that names an existing file, or is a name like a number: Hydra keeps it.

    Hydra reads 2026_11_28 as a number without the lines, 1.10 as 1.1, and nan as no text. So it
    does in lists, where `null` is a text, too, as nothing else can be meant.

    Example:
        >>> print(with_quoted_path("data.unlabelled=[T cell,nan,1.10]"))
        data.unlabelled=['T cell','nan','1.10']
    """
    key, _, value = override.partition("=")
    if key in NAMES and NO_TEXT.fullmatch(value):
        return f"{key}={quoted(value)}"
    if key in LISTS and (inside := re.fullmatch(r"\[([^\[\]{}'\"$\\]+)\]", value)):
        parts = [part.strip() for part in inside[1].split(",")]
        texts = [p if p.lower() in ("true", "false", "") else quoted(p) for p in parts]
        return f"{key}=[{','.join(texts)}]"
    if key not in PATHS or not exists(value):
        return override
    return f"{key}={as_value(value)}"


def check_not_empty(words: Iterable[str]) -> None:
    """Refuse a path without a name, which `output_dir=$UNSET` gives.

    Raises:
        InputError: a word is so.
    """
    for word in words:
        key, equals, value = word.partition("=")
        if equals and not value and key in (*PATHS, "hydra.run.dir", "hydra.sweep.dir", "resume"):
            fix = "leave it out, or give a file or folder"
            raise InputError(Kind.EMPTY, Given(key, ""), "names nothing", fix)


def typed(word: str) -> str:
    r"""Return a word as one types it in a shell.

    Example:
        >>> print(typed("output_dir='it\\'s'"))
        "output_dir='it\'s'"
    """
    return shlex.quote(word) if re.search(r'[$`"!]|\\\\', word) else f'"{word}"'


def with_cells(words: Iterable[str], choices: Collection[str]) -> list[str]:
    """Write `data=FILE`, or only FILE, as `data=file data.path=FILE`; other words stay.

    Args:
        words: of a command line, without flags.
        choices: what `data=` may be besides a file.

    Raises:
        InputError: two words are files.
    """
    written: list[str] = []
    for word in words:
        what = word.removeprefix("data=")
        may_be = word.startswith("data=") or _looks_like_cells(word)
        files = [what] if exists(what) else what.split(",")
        if not may_be or what in choices or not all(map(_are_cells, files)):
            written.append(word)
            continue
        if any(other.startswith("data.path=") for other in written):
            given = Given("", what)
            raise InputError(Kind.CONFLICT, given, "is a second file", "-m data=A,B runs each")
        written += ["data=file", f"data.path={','.join(map(as_value, files))}"]
    return written


def _looks_like_cells(what: str) -> bool:
    """Return whether the name of a file or folder, or what is in it, tells that it has cells."""
    is_folder = exists(what) and at_home(what).is_dir()
    return bool(CELLS.search(what)) or (is_folder and any(at_home(what).glob("*matrix.mtx*")))


def _are_cells(what: str) -> bool:
    """Return whether a word names a file or folder, which exists or ends as one of cells does."""
    is_name = "=" not in what and "," not in what and CELLS.search(what)
    return bool(is_name) or exists(what)


def exists(what: str) -> bool:
    """Return whether a word is the path of something; too long a word is none."""
    try:
        return what != "" and at_home(what).exists()
    except (OSError, ValueError):
        return False


def folder_name(model: str, data: str, overrides: Iterable[str]) -> str:
    """Name a run's folder after its model, its cells and the first settings that were given.

    Args:
        model: name of the model.
        data: name of the source of the cells.
        overrides: what was given, as `KEY=VALUE`.

    Example:
        >>> folder_name("vae", "file", ["data.path=d/pbmc.h5ad", "beta=4", "tsne.perplexity=30"])
        'vae-pbmc-beta4-perplexity30'
    """
    named = []
    for word in overrides:
        key, _, value = word.lstrip("+~").partition("=")
        value = value.strip("'\"")
        if key == "data.path":
            data = Path(value).name.split(".")[0] or data
        elif key not in UNNAMED:
            short = "" if key == "experiment" else key.rpartition(".")[2]
            named.append(f"{short}{Path(value).name if key in PATHS else value}"[:LONGEST])
    return slug(model, data[:LONGEST], *named[:MOST_NAMED])


def slug(*parts: str) -> str:
    """Join parts of a folder's name, without awkward characters, in 100 bytes at most."""
    name = re.sub(r"[^\w.=+-]+", "_", "-".join(str(p) for p in parts if p))
    return name.encode()[:100].decode(errors="ignore")
