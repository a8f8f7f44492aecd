"""Defines what people may ask of a file of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Options:
    """How to read a file and prepare its cells; conf/data/file.yaml has the defaults.

    Attributes:
        path: a file or folder; see `files.read`.
        label_key: the column of obs with the types, if any.
        labels: a csv file with a type for each cell, if any.
        unlabelled: what stands for no type, beside nothing at all.
        batch_key: columns of obs with batches, if any.
        batches: a csv file with a batch for each cell, if any.
        covariates: columns of obs with numbers that a network is told of.
        keep: other columns of obs, or genes, for cells.csv and the maps; see `kept.read_kept`.
        layer: see `selection.select`.
        raw: see `selection.select`.
        gene_names: see `selection.select`.
        transpose: see `files.read`.
        genome: see `files.read`.
        values: what values are: `counts`, `normalized`, `logged`, or `auto` to look.
        min_genes: least number of genes of a cell that is kept.
        min_cells: then, least number of cells of a gene that is kept.
        genes: how many genes to keep, or None for all.
        genes_by: which ones; see `preprocess.chosen_genes`.
        target_sum: see `preprocess.log_normalize`.
        on_disk: whether values of kept genes lie on disk; `auto`: see `space_for.folder_for`.
    """

    path: str
    label_key: str | None
    labels: str | None
    unlabelled: Sequence[str]
    batch_key: Sequence[str] | None
    batches: str | None
    covariates: Sequence[str]
    keep: Sequence[str]
    layer: str | None
    raw: bool
    gene_names: str | None
    transpose: bool | None
    genome: str | None
    values: str
    min_genes: int
    min_cells: int
    genes: int | None
    genes_by: str
    target_sum: float
    on_disk: bool | str

    @property
    def which(self) -> dict[str, Any]:
        """Return the settings that say which values of the file are read."""
        return {"layer": self.layer, "raw": self.raw, "gene_names": self.gene_names}

    @property
    def columns(self) -> list[str | None]:
        """Return the columns of obs that say what a cell is, among None."""
        return [self.label_key, *(self.batch_key or []), *self.covariates]

    @property
    def elements(self) -> set[str]:
        """Return names of the elements of an h5ad or zarr that must be read."""
        from scvae_cli.data.selection import elements

        return elements(**self.which, obs=[*self.columns, *self.keep])
