"""Take out of a run what tells where it was made, and by whom; `scvae export` calls this.

A folder goes and the name of the file in it stays: `/home/ada/project/cells.h5ad` becomes
`cells.h5ad`. That is so for the folders that the run knew, whatever characters they have, and for
what looks like an absolute path besides.
"""

import getpass
import html
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from scvae_cli import CONF
from scvae_cli.runs.run import Run

# Settings that are paths of cells or runs, by dotted keys: their last part is kept.
NAMED = ("data.path", "data.labels", "data.batches", "trained")
# Settings of places that mean nothing elsewhere, each with what stands there instead.
PLACES = {"output_dir": "outputs", "data.dir": None, "resume": None}
EVERYBODY = {"root", "user", "admin", "ubuntu", "localhost"}  # names that tell nothing
PART = r"[^\s/'\"<>:;,()\[\]{}]+"
# An absolute path of two parts or more, or one from somebody's home.
ABSOLUTE = re.compile(rf"(?<![\w.:/~-])(?:file://)?(?:~[\w.-]*/|/{PART}/)(?:{PART}/)*({PART})?")


class Private:
    """What is private of a run: folders, by their names, and the names of user and machine.

    Args:
        runs: the run, or those of a sweep.
        folders: others that are private.
    """

    def __init__(self, runs: Iterable[Run], folders: Iterable[Path | str] = ()) -> None:
        known = {*map(str, folders), os.path.expanduser("~")}  # noqa: PTH111 - without a home: "~"
        known |= {str(Path.cwd()), sys.prefix, str(CONF.parent)}
        self._typed: dict[str, str] = {}  # paths in settings, as typed
        for run in runs:
            known |= {str(run.path), str(run.record.get("cwd", "/"))}
            for path in _paths(run.settings) if run.flat_settings else []:
                known.add(str(Path(run.record.get("cwd", "."), path).parent))
                if "/" in path:
                    self._typed[path] = last_part(path)
        known |= {os.path.realpath(path) for path in known}
        self.folders = sorted((p.rstrip("/") for p in known if p.startswith("/")), key=len)[::-1]
        self.folders = [folder for folder in self.folders if folder]
        either = "|".join(map(re.escape, self.folders))
        self._inside = re.compile(rf"(?<![\w.-])(?:{either})(/+|(?![\w-]))")
        self.names = {name for name in _names() if len(name) > 2 and name not in EVERYBODY}

    def text(self, text: str) -> str:
        """Return a text without folders."""
        for typed, name in self._typed.items():
            text = text.replace(typed, name)
        return ABSOLUTE.sub(lambda match: match[1] or ".", self.known(text))

    def known(self, text: str) -> str:
        """Return a text of the user's without the folders that the run knew."""
        return self._inside.sub(lambda match: "" if match[1] else ".", text)

    def values(self, value: Any) -> Any:
        """Return what JSON holds without folders in its texts; keys stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.values(part) for key, part in value.items()}
        return [*map(self.values, value)] if isinstance(value, list) else value

    def folder_in(self, contents: str) -> str | None:
        """Return a private folder that a file of text has, as text, JSON or HTML; None if none."""
        for folder in self.folders:
            forms = {folder, json.dumps(folder)[1:-1], html.escape(folder)}
            either = "|".join(map(re.escape, forms))
            if re.search(rf"(?<![\w.-])(?:{either})(?![\w-])", contents):
                return folder
        return None

    def name_in(self, contents: str) -> str | None:
        """Return the user's or the machine's name if a text has it as a word; None if not."""
        return next(
            (n for n in self.names if re.search(rf"(?<!\w){re.escape(n)}(?!\w)", contents)), None
        )


def last_part(path: str) -> str:
    """Return the name of the file or folder that a path leads to."""
    return PurePath(path).name or "."


def shareable_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of config.yaml without folders."""
    shared = {**settings, "data": dict(settings["data"])}
    for key in (*NAMED, *PLACES):
        block, name = _block(shared, key)
        if (value := block.get(name)) is not None:
            block[name] = last_part(str(value)) if key in NAMED else PLACES[key]
    return shared


def clean_h5ad(path: Path, clean: Private, own: Mapping[str, str]) -> None:
    """Take the folders out of the texts of an h5ad.

    HDF5 keeps texts that were overwritten, so that the file is then copied without them.

    Args:
        path: the file, which is replaced.
        clean: what is private.
        own: texts to write in `uns["scvae"]`, where it has such.
    """
    import h5py

    with h5py.File(path, "r+") as file:

        def visit(name: str, item: Any) -> None:
            _clean_attributes(item, clean)
            if isinstance(item, h5py.Dataset) and h5py.check_string_dtype(item.dtype):
                _clean_texts(item, clean.text if name.startswith("uns/") else clean.known)

        _clean_attributes(file, clean)
        for name, text in own.items():
            if f"uns/scvae/{name}" in file:
                file[f"uns/scvae/{name}"][()] = text
        file.visititems(visit)
    packed = path.with_suffix(".packed")
    with h5py.File(path, "r") as old, h5py.File(packed, "w") as new:
        for name in old:
            old.copy(name, new)
        for name, value in old.attrs.items():
            new.attrs[name] = value
    packed.replace(path)


def _clean_texts(item: Any, clean: Callable[[str], str]) -> None:
    """Clean a dataset of texts in place."""
    texts = item.asstr(errors="surrogateescape")[()]
    if isinstance(texts, str):
        if (cleaned := clean(texts)) != texts:
            item[()] = cleaned
    elif clean(joined := "\n".join(texts.ravel())) != joined:
        for index, text in enumerate(texts.flat):
            texts.flat[index] = clean(text)
        item[...] = texts


def _clean_attributes(item: Any, clean: Private) -> None:
    """Clean the texts among the attributes of a group or dataset in place."""
    for name, value in item.attrs.items():
        if isinstance(value, str) and (cleaned := clean.known(value)) != value:
            item.attrs[name] = cleaned


def _paths(settings: Mapping[str, Any]) -> list[str]:
    """Return the paths in settings."""
    found = []
    for key in (*NAMED, *PLACES):
        block, name = _block(settings, key)
        if isinstance(value := block.get(name), str):
            found.append(value)
    return found


def _block(settings: Mapping[str, Any], key: str) -> tuple[Any, str]:
    """Return the block of settings that has a dotted key, and the key's last part."""
    outer, _, name = key.rpartition(".")
    return (settings[outer] if outer else settings), name


def _names() -> set[str]:
    """Return the names of user and machine."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home fails where there is none
    names = {home.name, platform.node(), platform.node().partition(".")[0]}
    with suppress(OSError, KeyError):
        names.add(getpass.getuser())
    return names
