"""A run's folder, opened: each of its files is read and checked once."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from scvae_cli.columns import PLACES, own
from scvae_cli.errors import InputError, Kind
from scvae_cli.runs.files import (
    FILES,
    LOSSES,
    MADE_LAST,
    contents_of,
    read_json,
    read_settings,
    read_table,
    sha256_of,
)

UNENDED = "killed, or still running"  # why a run has no result that did not say so itself


class Run:
    """A run, as its folder tells it.

    A file is read the first time that something asks for it, and checked then.

    Args:
        path: the folder.

    Attributes:
        path: the folder.
        record: run.json.

    Raises:
        InputError: run.json is damaged; `MissingError` where there is none. So do the properties,
            for the files they read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record: Mapping[str, Any] = read_json(path, "run")
        self._held: dict[str, Any] = {}

    @property
    def status(self) -> str:
        """`done`, `failed`, or `unfinished` where it was killed or still runs."""
        status = str(self.record["status"])
        return status if status in ("done", "failed") else "unfinished"

    @property
    def is_export(self) -> bool:
        """Whether it is a copy that `scvae export` made."""
        return self.record.get("exported") is not None

    @property
    def way_to_mend(self) -> str:
        """What to do where files are missing or damaged, as messages end."""
        if self.is_export:
            return "`scvae export` the run itself again"
        return f"`scvae train resume={self.path}` mends it"

    @property
    def warnings(self) -> list[str]:
        """What to know before its result is believed."""
        return list(self.record.get("warnings", []))

    @property
    def data(self) -> Mapping[str, Any]:
        """What run.json says of its cells; empty where it had not read them."""
        return self.record.get("data") or {}

    @property
    def fingerprint(self) -> str | None:
        """The SHA-256 of its cells, genes and labels."""
        return self.data.get("fingerprint")

    @property
    def files(self) -> Mapping[str, str]:
        """The SHA-256 of each file that it wrote, by name."""
        files: dict[str, str] = self.record.get("files", {})
        return files

    @cached_property
    def settings(self) -> dict[str, Any]:
        """config.yaml."""
        return read_settings(self.path)

    @cached_property
    def flat_settings(self) -> dict[str, Any]:
        """config.yaml by dotted keys (`tsne.perplexity`); empty where there is none yet.

        `model` and `data` are their names, `experiment` is that of the preset, if there is one.
        `map` is `tsne` in runs of before there was that setting.
        """
        if not (self.path / "config.yaml").exists():
            return {}
        flat = {"map": "tsne", **flattened(self.settings), "experiment": _experiment(self.record)}
        for key, kind in {"model": str, "data": str, "seed": int}.items():
            if not isinstance(flat.get(key), kind):
                raise InputError(
                    Kind.DAMAGED, self.path / "config.yaml", f"damaged (it names no {key})"
                )
        for key, value in flat.items():
            if isinstance(value, int) and abs(value) >= 2**63:  # which no table can hold
                raise InputError(
                    Kind.DAMAGED, self.path / "config.yaml", f"damaged ({key} is out of range)"
                )
        return flat

    @property
    def map(self) -> str:
        """Which map it has: `tsne` or `umap`."""
        named = self.flat_settings.get("map")
        return "umap" if named == "umap" else "tsne"

    @cached_property
    def scores(self) -> dict[str, dict[str, float]]:
        """Scores of k-means on the map (`tsne`) and on the latent space (`latent`), by measure.

        Those of a map by UMAP are called `tsne` too. Empty where the run did not get so far.
        """
        if not (self.path / "scores.json").exists():
            return {}
        scores = read_json(self.path, "scores")
        return {space: scores[space] for space in ("tsne", "latent")}

    @cached_property
    def flat_scores(self) -> dict[str, float]:
        """The scores by names such as `tsne_nmi`."""
        return {
            f"{space}_{measure}": value
            for space, values in self.scores.items()
            for measure, value in values.items()
        }

    @cached_property
    def losses(self) -> dict[str, float]:
        """The last `reconstruction` and `kl`, mean of members; empty where nothing was trained."""
        if not (self.path / "history.csv").exists():
            return {}
        history = self.table("history", LOSSES)
        last = history.groupby("member").tail(1) if "member" in history else history.tail(1)
        names = ("reconstruction", "kl") if len(last) else ()
        return {name: float(last[name].mean()) for name in names}

    @cached_property
    def weights(self) -> tuple[dict[str, Any], Any]:
        """The model's tensors by name, and history.csv as a DataFrame."""
        return _weights(self.path)

    def table(self, name: str, needed: Sequence[str] = ()) -> Any:
        """Read NAME.csv as a DataFrame that has the needed columns; see `read_csv`."""
        if name in self._held:
            return self._held[name].copy()
        kept = self.data.get("kept") if name == "cells" else None
        if kept:
            kept = {column: kind for column, kind in kept.items() if column not in own(self.map)}
        return read_table(self.path, name, needed, kept)

    def hold(self, *names: str) -> None:
        """Read these tables for good: the folder may then go."""
        self._held = {name: self.table(name) for name in names}

    def cells(self) -> Any:
        """Read cells.csv, which a run has that is done, as a DataFrame."""
        return self.table("cells", [*FILES["cells.csv"].columns, *PLACES[self.map][2]])

    def expression(self) -> Any:
        """Read expression.csv as a DataFrame; None where the run has none."""
        return self.table("expression", ["cell"]) if "expression.csv" in self.files else None

    def written(self, name: str) -> bytes:
        """Return the bytes of a file, which must be those that the run wrote.

        Raises:
            InputError: they are not; `MissingError` where there are none.
        """
        contents = contents_of(self.path / name)
        if self.files.get(name) not in (None, hashlib.sha256(contents).hexdigest()):
            raise InputError(
                Kind.DAMAGED, self.path / name, "damaged: it is not what the run wrote"
            )
        return contents

    @cached_property
    def damaged(self) -> list[str]:
        """Names of files that are missing, or whose SHA-256 differs from that in run.json."""
        return [name for name, sha in self.files.items() if not _is(self.path / name, sha)]

    @property
    def has_result(self) -> bool:
        """Whether it is done, and its files are those that it wrote, but for pages on them."""
        lost = {*self.damaged} - {*MADE_LAST}
        return self.status == "done" and "files" in self.record and not lost

    @property
    def is_intact(self) -> bool:
        """Whether it is done, and its files are those that it wrote."""
        return self.status == "done" and "files" in self.record and not self.damaged

    def read_all(self) -> "Run":
        """Read settings, scores and losses now, so that damage shows here. Returns itself."""
        _ = self.flat_settings, self.scores, self.losses
        return self


def find(path: Path) -> Run | None:
    """Open the run in a folder, whole; None where there is none that can be read."""
    with suppress(InputError):
        return Run(path).read_all()
    return None


def flattened(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted keys; a block's `name` by the block's own."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            name = prefix.rstrip(".") if key == "name" and prefix else f"{prefix}{key}"
            flat[name] = str(value) if isinstance(value, list) else value
    return flat


def _experiment(record: Mapping[str, Any]) -> str | None:
    """Return the preset that a run was asked for, if any."""
    words = [word.partition("=") for word in record.get("overrides", [])]
    return next((value for key, _, value in reversed(words) if key == "experiment"), None)


def _is(path: Path, sha: str) -> bool:
    """Return whether a file is there and has this SHA-256."""
    return path.is_file() and sha256_of(path) == sha


def _weights(path: Path) -> tuple[dict[str, Any], Any]:
    """Read a run's weights by name, and its history.csv as a DataFrame.

    Raises:
        InputError: they are missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    contents = contents_of(path / "model.safetensors")
    try:
        weights = load(contents)
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(Kind.DAMAGED, path / "model.safetensors", f"damaged ({error})") from error
    return weights, read_table(path, "history", LOSSES)


def likely_run(path: Path, otherwise: str = "give the folder of a run") -> str:
    """Return the way out where a folder is no run: the run in it that is likely meant.

    Args:
        path: the folder, or where one could be.
        otherwise: returned where there is none.
    """
    if (path / "sweep.json").exists():
        some = next((record.parent for record in sorted(path.glob("*/run.json"))), path)
        return f"it is a sweep; give one of its runs, as {some}"
    if (path / "latest" / "run.json").exists():
        return f"{path / 'latest'} is the latest run in it"
    return otherwise
