"""Reads 10x's folders: a matrix, its genes and its barcodes, whose names stay as written."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import anndata
import numpy as np
import pandas as pd
from scipy.io import mmread
from scipy.sparse import csr_matrix

from scvae_cli.data.cellranger import GENES
from scvae_cli.data.tables import text
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.untrusted import check_matrix, check_memory, unpack

PARTS = {
    "matrix": ["matrix.mtx"],
    "genes": ["features.tsv", "genes.tsv"],
    "cells": ["barcodes.tsv"],
}
PER_CHARACTER = 32  # bytes that a character of a list of names takes while it is split
MATRIX = re.compile(r"(.*)matrix\.mtx(\.gz)?", re.IGNORECASE)
OTHERS = {  # kinds of features that a folder may have beside genes, or without them
    "Antibody Capture", "Antigen Capture", "CRISPR Guide Capture", "Custom",
    "Multiplexing Capture", "Peaks", "VDJ", "VDJ-B", "VDJ-T",
}  # fmt: skip


def read_10x_folder(path: Path, say: Callable[[str], None]) -> anndata.AnnData:
    """Read matrix.mtx, features.tsv or genes.tsv, and barcodes.tsv, each plain or .gz.

    Args:
        path: the folder; or the file of the matrix, whose name may have a prefix, as in GEO, which
            the other two then have as well.
        say: called with a line about features that are left out.

    Returns:
        AnnData (n_cells, n_genes), float32. Genes go by their symbol, by their id where they have
        none; a symbol that occurs again gets a number (-1). Ids are in var["gene_ids"].

    Raises:
        InputError: a file is missing, leads out of the folder, or does not fit the others.
    """
    folder, prefix = path, ""
    if (match := MATRIX.fullmatch(path.name)) and not path.is_dir():
        folder, prefix = path.parent, match[1]
    paths = {part: _find(folder, prefix, names) for part, names in PARTS.items()}
    features = _features(paths["genes"])
    barcodes = [line[0] for line in _split(paths["cells"])]
    x = _matrix(paths["matrix"], len(features), len(barcodes))
    kept = _genes(features, folder, path.name, say)
    genes = [features[i] for i in kept]
    ids, symbols = [row[0] for row in genes], [row[1] if row[1:] else row[0] for row in genes]
    names = [symbol or name for symbol, name in zip(symbols, ids, strict=True)]
    var = pd.DataFrame(index=pd.Index(names, dtype=object))
    if symbols != ids:
        var["gene_ids"] = ids
    if len(kept) < len(features):
        x = x[:, kept]
    cells = anndata.AnnData(x, pd.DataFrame(index=pd.Index(barcodes, dtype=object)), var)
    cells.var_names_make_unique()  # symbols: some genes share one
    return cells


def _find(folder: Path, prefix: str, names: Sequence[str]) -> Path:
    """Return the file of one of these names, which is a file of this folder.

    Raises:
        InputError: there is none, or it is a link that leads out of the folder.
    """
    for name in names:
        for end in ("", ".gz"):
            path = folder / f"{prefix}{name}{end}"
            if not path.is_file():
                continue
            if not path.resolve().is_relative_to(folder.resolve()):
                raise InputError(
                    Kind.UNSAFE,
                    Given("data.path", folder),
                    f"{path.name} leads out of the folder",
                    "copy the file that it leads to",
                )
            return path
    matches = (MATRIX.fullmatch(p.name) for p in folder.iterdir())
    prefixed = sorted(match[0] for match in matches if match and match[1])
    hint = f" (a 10x folder has {', '.join(' or '.join(part) for part in PARTS.values())})"
    if prefixed and not prefix and names == PARTS["matrix"]:
        several = f" or another of {len(prefixed)}" if len(prefixed) > 1 else ""
        hint = f"; its files have a prefix: give data.path={folder / prefixed[0]}{several}"
    raise InputError(
        Kind.MISSING,
        Given("data.path", folder),
        f"{' or '.join(prefix + name for name in names)} is missing{hint}",
    )


def _split(path: Path) -> list[list[str]]:
    """Read the texts (n_lines, any) between the tabs of a file without a header.

    Quotes are part of a name, unless all texts are in quotes, as R writes them.
    """
    pieces, size = [], 0
    with text(path, Given("data.path", path)) as lines:
        for line in lines:
            pieces.append(line)
            size += len(line)
            check_memory(PER_CHARACTER * size, path)
    rows = "".join(pieces).split("\n")
    if rows[-1] == "":
        rows.pop()
    if all(row.endswith("\r") for row in rows):
        rows = [row[:-1] for row in rows]
    split = [row.split("\t") for row in rows if row]
    texts = [word for row in split for word in row]
    if all(len(word) > 1 and word[0] == word[-1] == '"' for word in texts):
        split = [[word[1:-1].replace('""', '"') for word in row] for row in split]
    return split


def _features(path: Path) -> list[list[str]]:
    """Read id, symbol and kind of each feature, as far as the file has them."""
    rows = _split(path)
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        few = next(i for i, row in enumerate(rows) if len(row) != len(rows[0]))
        raise InputError(
            Kind.DAMAGED,
            Given("data.path", path),
            f"line {few + 1} has {len(rows[few])} columns, and the first has {len(rows[0])}",
        )
    return rows


def _genes(
    features: Sequence[Sequence[str]], folder: Path, name: str, say: Callable[[str], None]
) -> np.ndarray:
    """Return the indices of the features that are genes; say how many others are left out."""
    kinds = [row[2] if len(row) > 2 else "" for row in features]
    others = Counter(kind for kind in kinds if kind != GENES)
    if GENES in kinds:
        if others:
            left = ", ".join(f"{n:,} {kind or 'unnamed'}" for kind, n in others.items())
            say(f"{name}: features that are no genes are left out: {left}")
        return np.flatnonzero([kind == GENES for kind in kinds])
    if known := OTHERS & set(others):
        raise InputError(
            Kind.EMPTY,
            Given("data.path", folder),
            f"has no {GENES} features, but {' and '.join(sorted(known))}",
        )
    return np.arange(len(features))


def _matrix(path: Path, n_genes: int, n_cells: int) -> csr_matrix:
    """Read the values (n_cells, n_genes), float32."""
    with TemporaryDirectory() as clean:
        plain = path
        if path.suffix.lower() == ".gz":
            plain = Path(clean) / "matrix.mtx"
            unpack(path, plain)
        check_matrix(plain, n_genes, n_cells, source=path)
        return csr_matrix(mmread(plain).T, dtype=np.float32)
