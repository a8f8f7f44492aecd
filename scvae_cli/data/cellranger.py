"""Reads the counts of genes from an .h5 of 10x's Cell Ranger, of its second or third version."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import anndata
import numpy as np
import pandas as pd
from anndata.utils import make_index_unique
from scipy.sparse import csr_matrix

from scvae_cli.data.headers import COPIES, check_numbers, check_parts, check_sparse, is_group, size
from scvae_cli.data.stores import opened
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.untrusted import check_memory

GENES = "Gene Expression"  # what 10x calls features that are genes


class Counts(NamedTuple):
    """The matrix of an open .h5, before its values are read.

    Attributes:
        group: has data, indices and indptr, by cells.
        barcodes: (n_cells,).
        var: names of the features (n_features), and what else is known of them.
        kept: (n_features,) which of them are genes asked for.
    """

    group: Any
    barcodes: pd.Index
    var: pd.DataFrame
    kept: np.ndarray

    @property
    def names(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return obs and var of the genes that are kept; symbols that occur twice get numbers."""
        var = self.var[self.kept].drop(columns="kind", errors="ignore").set_index("names")
        var.index = make_index_unique(var.index.rename(None))
        return pd.DataFrame(index=self.barcodes), var


def read_10x(path: Path, *, genome: str | None, say: Callable[[str], None]) -> anndata.AnnData:
    """Read counts of genes from an .h5 of Cell Ranger, or of a program that writes the same.

    Args:
        path: the file.
        genome: the one to read, where there are several; None for all.
        say: called with a line about features that are left out.

    Raises:
        InputError: it is something else, is damaged, or has several genomes to choose from.
    """
    with opened(path) as file:
        counts = counts_of(file, path, genome, say)
        group, shape = counts.group, (len(counts.barcodes), len(counts.var))
        parts = [group[name] for name in ("data", "indices", "indptr")]
        check_parts(parts, shape, "csr")
        check_numbers(parts[0].dtype)
        check_memory(sum(map(size, parts)) + COPIES * len(parts[0]), path)
        x = csr_matrix(tuple(part[:] for part in parts), shape=shape)
        check_sparse(x)
        return anndata.AnnData(x if counts.kept.all() else x[:, counts.kept], *counts.names)


def counts_of(file: Any, path: Path, genome: str | None, say: Callable[[str], None]) -> Counts:
    """Find the matrix of an open .h5, and the names of its cells and genes; see `read_10x`."""
    if "matrix" in file:
        return _of_features(file["matrix"], path, genome, say)
    genomes = [n for n in file if is_group(file[n]) and {"barcodes", "indptr"} <= {*file[n]}]
    if genome is not None and genome not in genomes:
        raise _no_genome(path, genome, genomes)
    if len(genomes) > 1 and genome is None:
        raise InputError(
            Kind.CONFLICT,
            Given("data.path", path),
            f"has a matrix for each of {', '.join(genomes)}",
            f"choose with data.genome={genomes[0]}",
        )
    if not genomes:
        molecules = "barcode_idx" in file or "barcode" in file
        what = "single molecules, and no counts" if molecules else "no matrix"
        raise InputError(
            Kind.FORMAT,
            Given("data.path", path),
            f"holds {what}",
            "give filtered_feature_bc_matrix.h5 (or filtered_gene_bc_matrices_h5.h5) of "
            "the same Cell Ranger run",
        )
    group = file[genome or genomes[0]]
    names = {"gene_ids": _texts(group["genes"]), "names": _texts(group["gene_names"])}
    var = pd.DataFrame(names)
    return _checked(Counts(group, _texts(group["barcodes"]), var, np.ones(len(var), bool)), path)


def _of_features(group: Any, path: Path, genome: str | None, say: Callable[[str], None]) -> Counts:
    """Find Cell Ranger's third format: features of all kinds and genomes in one matrix."""
    features = group["features"]
    names = {"gene_ids": "id", "names": "name", "kind": "feature_type", "genome": "genome"}
    var = pd.DataFrame({key: _texts(features[n]) for key, n in names.items() if n in features})
    kinds = var.get("kind", pd.Series(GENES, var.index))
    kept = (kinds == GENES).to_numpy()
    counts = _checked(Counts(group, _texts(group["barcodes"]), var, kept), path)
    if not kept.any():
        raise InputError(
            Kind.EMPTY, Given("data.path", path), f"has no genes, but {', '.join(kinds.unique())}"
        )
    if not kept.all():
        others = ", ".join(kinds[~kept].unique())
        say(f"{path.name}: {(~kept).sum():,} features of other types ({others}) are left out")
    genomes = var.get("genome", pd.Series("", var.index))
    there = [name for name in genomes[kept].unique() if name]
    if genome is not None:
        if genome not in there:
            raise _no_genome(path, genome, there)
        return counts._replace(kept=kept & (genomes == genome).to_numpy())
    if len(there) > 1:
        say(f"{path.name}: genes of {' and '.join(there)} (data.genome={there[0]} keeps its own)")
    return counts


def _checked(counts: Counts, path: Path) -> Counts:
    """Return counts whose names are as many as there are cells and genes.

    Raises:
        InputError: they are not.
    """
    n_genes, n_cells = map(int, counts.group["shape"][:])
    names = {"genes": (n_genes, len(counts.var)), "cells": (n_cells, len(counts.barcodes))}
    for what, (n, there) in names.items():
        if n != there:
            raise InputError(
                Kind.DAMAGED,
                Given("data.path", path),
                f"has names of {there} {what}, and {n} of them",
            )
    return counts


def _no_genome(path: Path, genome: str, there: list[str]) -> InputError:
    known = f"there are {', '.join(there) or 'none'}"
    return InputError(Kind.UNKNOWN, Given("data.genome", genome), f"not in {path} ({known})")


def _texts(dataset: Any) -> pd.Index:
    """Read the texts of an HDF5 dataset, as they are."""
    check_memory(size(dataset), dataset.file.filename)
    return pd.Index(dataset.asstr()[:], dtype=object)
