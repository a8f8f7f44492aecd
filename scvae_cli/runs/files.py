"""The files of a run's folder: which there are, what they hold, how they are read and written."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from scvae_cli.errors import InputError, Kind
from scvae_cli.runs.formats import check_format
from scvae_cli.untrusted import read_yaml


@dataclass(frozen=True)
class RunFile:
    """A file that a run writes.

    Attributes:
        name: its path in the folder.
        holds: what is in it, in a few words.
        stage: the stage of the pipeline that writes it; empty where it is not one of them.
        columns: those that it always has, of a table.
        where: what a run must be to write it: `vsc`, `decoded`, ...; empty for all.
        repeats: whether the same command gives the same bytes again.
    """

    name: str
    holds: str
    stage: str = ""
    columns: tuple[str, ...] = ()
    where: str = ""
    repeats: bool = False


LOSSES = ("epoch", "total", "reconstruction", "kl")  # columns of history.csv
FILES = {
    file.name: file
    for file in (
        RunFile("config.yaml", "every setting of the run, resolved", "load", repeats=True),
        RunFile(
            "run.json",
            "command, versions, commit, device, threads, seed, data, status, warnings",
        ),
        RunFile(
            "genes.csv",
            "the genes, by name and id, as other cells must have them",
            "load",
            ("gene", "used"),
            repeats=True,
        ),
        RunFile(
            "history.csv",
            "epoch, total, reconstruction, kl, seconds; updates, validation; kl of each latent",
            "train",
            LOSSES,
        ),
        RunFile("model.safetensors", "the weights", "train", repeats=True),
        RunFile(
            "axes.csv",
            "of embedding=decoded: the weight of each gene in z1, z2, ...",
            "embed",
            ("gene", "mean"),
            where="decoded",
            repeats=True,
        ),
        RunFile(
            "shifts.csv",
            "of embedding=aligned: how far each batch was moved in each cluster",
            "embed",
            ("round", "cluster", "batch"),
            where="aligned",
            repeats=True,
        ),
        RunFile("latent.csv", "cell, z1, z2, ...", "embed", ("cell",), repeats=True),
        RunFile(
            "cells.csv",
            "cell, cell_type, columns kept, cluster, tsne_1, tsne_2, ... (or umap_1, ...)",
            "cluster",
            ("cell", "cell_type", "cluster"),
            repeats=True,
        ),
        RunFile(
            "expression.csv",
            "cell, and logarithms of the genes that vary most: colours of report.html",
            "figures",
            ("cell",),
            repeats=True,
        ),
        RunFile(
            "scores.json",
            "how well clusters agree with types: on the map, in the latent space",
            "score",
            repeats=True,
        ),
        RunFile(
            "latents.csv",
            "of vsc: the share of each type's cells in which each latent is on",
            "sparsity",
            ("latent", "cell_type"),
            where="vsc",
            repeats=True,
        ),
        RunFile(
            "drivers.csv",
            "of vsc: the genes that each latent raises and lowers most",
            "sparsity",
            ("latent", "gene"),
            where="vsc",
            repeats=True,
        ),
        RunFile("figures/map_2d.png", "2-D map", "figures", repeats=True),
        RunFile(
            "figures/map_batch.png", "2-D map by batch", "figures", where="batches", repeats=True
        ),
        RunFile("figures/map_3d.png", "3-D map", "figures", where="map_3d", repeats=True),
        RunFile(
            "figures/sparsity.png",
            "Latents on by cell type, and the genes that they raise",
            "figures",
            where="vsc",
            repeats=True,
        ),
        RunFile(
            "figures/loss.png", "Loss while training", "figures", where="trained", repeats=True
        ),
        RunFile(
            "cells.h5ad",
            "for scanpy: values, latent space, maps, clusters, types, and the rest of the input",
            "h5ad",
            where="h5ad",
        ),
        RunFile(
            "report.html",
            "all of it on one page, with maps to turn and to point at; works offline",
        ),
        RunFile("scores_mqc.tsv", "for MultiQC: the scores", where="multiqc"),
        RunFile("history_mqc.tsv", "for MultiQC: the loss of each epoch", where="multiqc"),
        RunFile("map_2d_mqc.html", "for MultiQC: the 2-D map", where="multiqc"),
        RunFile("scvae.log", "what the terminal showed"),
    )
}
# Columns that hold names: text, though it may look like a number or like nothing.
NAMES = {"cell": str, "gene": str, "id": str, "cell_type": lambda name: name or None}
MISSABLE = NAMES["cell_type"]  # text, or None where there is none
REPORT = "report.html"
# Made of the other files, when these are all there.
MADE_LAST = (REPORT, "scores_mqc.tsv", "history_mqc.tsv", "map_2d_mqc.html")
CHECKPOINT = "checkpoint.safetensors"  # the training as it stands, until it is over


def files_of(*kinds: str, suffix: str = "", repeating: bool = False) -> list[str]:
    """Return the names of the files that a run of these kinds writes.

    Args:
        kinds: what the run is, of the values of `RunFile.where`.
        suffix: only those with this ending.
        repeating: only those that the same command writes again byte for byte.
    """
    return [
        name
        for name, file in FILES.items()
        if file.where in ("", *kinds) and name.endswith(suffix) and (file.repeats or not repeating)
    ]


class MissingError(InputError):
    """A file of a run is not there."""

    def __init__(self, path: Path) -> None:
        super().__init__(Kind.MISSING, path, "is missing")
        self.name = path.name


def contents_of(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        InputError: it cannot be read; `MissingError` where there is none, or only a pipe, say.
    """
    try:
        if not path.is_file():
            raise MissingError(path)
        return path.read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(Kind.DAMAGED, path, f"cannot be read ({why})") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def csv_of(table: Any) -> bytes:
    """Return the csv of a DataFrame, from which `read_csv` makes the same names and numbers."""
    text: str = table.to_csv(index=False)
    if "\r" in text:  # which pandas does not quote, and takes for the end of a line
        text = table.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC)
    return text.encode(errors="backslashreplace")  # paths may have what no encoding holds


def read_csv(
    contents: bytes,
    path: Path,
    needed: Sequence[str] = (),
    kept: Mapping[str, str] | None = None,
) -> Any:
    """Read a DataFrame from the contents of a run's table.

    Names are text, whatever they look like; a cell type is None where there is none.

    Args:
        contents: csv.
        path: where they come from.
        needed: columns that it must have.
        kept: other columns that it must have, each `text`, which may be None, or `number`.

    Raises:
        InputError: it is damaged.
    """
    import pandas as pd

    kept = kept or {}
    texts = {name: text for name, text in NAMES.items() if name not in kept}
    texts |= {name: MISSABLE for name, kind in kept.items() if kind == "text"}
    try:
        table = pd.read_csv(io.BytesIO(contents), converters=texts, float_precision="round_trip")
    except (ValueError, OverflowError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(Kind.DAMAGED, path, f"damaged ({reason})") from error
    for column in (*needed, *kept):
        if column not in table:
            raise InputError(Kind.DAMAGED, path, f"damaged (it has no column {column})")
        if column not in texts and len(table) and pd.api.types.is_object_dtype(table[column]):
            raise InputError(Kind.DAMAGED, path, f"damaged (not all of {column} are numbers)")
    return table


def read_table(
    path: Path, name: str, needed: Sequence[str] = (), kept: Mapping[str, str] | None = None
) -> Any:
    """Read NAME.csv of a run's folder as a DataFrame; see `read_csv`."""
    file = path / f"{name}.csv"
    return read_csv(contents_of(file), file, needed, kept)


def read_settings(path: Path) -> dict[str, Any]:
    """Read config.yaml of a run's folder.

    Raises:
        InputError: it is missing or damaged.
    """
    file = path / "config.yaml"
    contents_of(file)  # raises where there is none, or a pipe
    try:
        settings = read_yaml(file)
        OmegaConf.create(settings)  # raises for values that settings cannot have
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        reason = str(error).split("\n")[0]
        raise InputError(Kind.DAMAGED, file, f"damaged ({reason})") from error
    return settings


def settings_text(config: Mapping[str, Any]) -> bytes:
    """Return the contents of config.yaml for these settings."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(config))).encode()


def read_json(path: Path, name: str) -> dict[str, Any]:
    """Read NAME.json (run, scores or sweep) of a folder and check it.

    Raises:
        InputError: it is missing, damaged, or holds what no run has written; `NewerError` where a
            later version has written it.
    """
    from scvae_cli.runs.record import fault  # pydantic, which takes a third of a second

    file = path / f"{name}.json"
    try:
        contents: dict[str, Any] = json.loads(contents_of(file))
        json.dumps(contents, indent=2)  # as it may be written again
    except (ValueError, RecursionError) as error:
        raise InputError(Kind.DAMAGED, file, f"damaged ({error})") from error
    check_format(contents, file)
    if wrong := fault(name, contents):
        raise InputError(Kind.DAMAGED, file, f"damaged ({wrong})")
    return contents


def json_text(value: Mapping[str, Any]) -> bytes:
    """Return the contents of a .json file of a run."""
    return (json.dumps(value, indent=2) + "\n").encode()
