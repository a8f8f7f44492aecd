"""Reads the counts of genes from an .h5 of 10x's Cell Ranger, of its second or third version."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import pandas as pd
from scipy.sparse import csr_matrix

from scvae_cli.data.headers import COPIES, check_numbers, check_parts, check_sparse, is_group, size
from scvae_cli.data.stores import opened
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.untrusted import check_memory

GENES = "Gene Expression"  # what 10x calls features that are genes


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
        if "matrix" in file:
            return _read_features(file["matrix"], path, genome, say)
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
        return _counts(group, path, pd.DataFrame(names))


def _read_features(
    group: Any, path: Path, genome: str | None, say: Callable[[str], None]
) -> anndata.AnnData:
    """Read Cell Ranger's third format: features of all kinds and genomes in one matrix."""
    features = group["features"]
    names = {"gene_ids": "id", "names": "name", "kind": "feature_type", "genome": "genome"}
    var = pd.DataFrame({key: _texts(features[n]) for key, n in names.items() if n in features})
    cells = _counts(group, path, var)
    kinds = cells.var.get("kind", pd.Series(GENES, cells.var_names))
    kept = (kinds == GENES).to_numpy()
    if not kept.any():
        raise InputError(
            Kind.EMPTY, Given("data.path", path), f"has no genes, but {', '.join(kinds.unique())}"
        )
    if not kept.all():
        others = ", ".join(kinds[~kept].unique())
        say(f"{path.name}: {(~kept).sum():,} features of other types ({others}) are left out")
    genomes = cells.var.get("genome", pd.Series("", cells.var_names))
    there = [name for name in genomes[kept].unique() if name]
    if genome is not None:
        if genome not in there:
            raise _no_genome(path, genome, there)
        kept &= (genomes == genome).to_numpy()
    elif len(there) > 1:
        say(f"{path.name}: genes of {' and '.join(there)} (data.genome={there[0]} keeps its own)")
    cells = cells if kept.all() else cells[:, kept].copy()
    del cells.var["kind"]
    return cells


def _counts(group: Any, path: Path, var: pd.DataFrame) -> anndata.AnnData:
    """Read the matrix (n_cells, n_genes) of a group, whose columns have the names `var`."""
    barcodes = _texts(group["barcodes"])
    n_genes, n_cells = map(int, group["shape"][:])
    for what, n, there in (("genes", n_genes, len(var)), ("cells", n_cells, len(barcodes))):
        if n != there:
            raise InputError(
                Kind.DAMAGED,
                Given("data.path", path),
                f"has names of {there} {what}, and {n} of them",
            )
    parts = [group[name] for name in ("data", "indices", "indptr")]
    check_parts(parts, (n_cells, n_genes), "csr")
    check_numbers(parts[0].dtype)
    check_memory(sum(map(size, parts)) + COPIES * len(parts[0]), path)
    x = csr_matrix(tuple(part[:] for part in parts), shape=(n_cells, n_genes))
    check_sparse(x)
    cells = anndata.AnnData(x, pd.DataFrame(index=barcodes), var.set_index("names"))
    cells.var.index.name = None
    return cells


def _no_genome(path: Path, genome: str, there: list[str]) -> InputError:
    known = f"there are {', '.join(there) or 'none'}"
    return InputError(Kind.UNKNOWN, Given("data.genome", genome), f"not in {path} ({known})")


def _texts(dataset: Any) -> pd.Index:
    """Read the texts of an HDF5 dataset, as they are."""
    check_memory(size(dataset), dataset.file.filename)
    return pd.Index(dataset.asstr()[:], dtype=object)
