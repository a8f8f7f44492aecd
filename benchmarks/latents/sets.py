"""The sets of cells on which the choice is judged, and their types."""

from dataclasses import dataclass, field
from pathlib import Path

import anndata
import pandas as pd

from scvae_cli.runs.run import Run

INDEPENDENT, SIMULATED, CIRCULAR = "independent", "simulated", "circular"
# What each kind of types is worth, in the order of the page.
KINDS = {
    INDEPENDENT: "Types from antibodies or genotypes",
    SIMULATED: "Simulated types",
    CIRCULAR: "Types from clusters of the same counts",
}


@dataclass(frozen=True)
class Labels:
    """Types of the cells of a set.

    Attributes:
        kind: one of `KINDS`.
        source: where they come from.
        column: of obs in the set's file; None for the types that the runs have.
        file: csv with them, in place of a column.
    """

    kind: str
    source: str
    column: str | None = None
    file: Path | None = None


@dataclass(frozen=True)
class Cells:
    """A set of cells.

    Attributes:
        words: after `scvae choose`.
        labels: types by name.
        path: h5ad file that columns of obs are read from, if any.
    """

    words: list[str]
    labels: dict[str, Labels]
    path: Path | None = field(default=None)

    @property
    def circular(self) -> bool:
        """Whether all types are clusters of the same counts, which have no say."""
        return all(one.kind == CIRCULAR for one in self.labels.values())

    def types(self, name: str, run: Run) -> pd.Series:
        """Return the types of these labels by the name of the cell; of `run`, if its own."""
        labels = self.labels[name]
        if labels.file is not None:
            table = pd.read_csv(labels.file, dtype=str)
            return table.set_index(table.columns[0]).iloc[:, 0]
        if labels.column is None:
            own: pd.Series = run.cells().set_index("cell")["cell_type"]
            return own
        assert self.path is not None
        obs = anndata.read_h5ad(self.path, backed="r").obs
        return obs[labels.column].astype(str)


def all_sets(folder: Path, runs: Path) -> dict[str, Cells]:
    """Return the sets by name; what `folder` lacks is left out.

    Args:
        folder: of the real data.
        runs: where parts of these are written to.
    """
    facs = folder / "zheng_facs" / "zheng_facs_raw.h5ad"
    lines5 = folder / "mixology" / "lines5_two_plates.h5ad"
    lines3 = folder / "mixology" / "lines3_two_protocols.h5ad"
    seurat = folder / "pbmc3k" / "seurat_labels.csv"
    antibodies = "sorted by antibodies (Zheng et al. 2017)"
    genotype = "known by genotype (Tian et al. 2019)"
    sets = {
        "FACS": _file(facs, "celltype", {
            "FACS, 10 populations": Labels(INDEPENDENT, antibodies),
            "FACS, 5 populations": Labels(
                INDEPENDENT, "the same, all T cells as one", column="subpop"
            ),
        }),
        "lines5": _file(lines5, "cell_line", {
            "five cell lines, CEL-seq2": Labels(INDEPENDENT, genotype),
        }),
    }  # fmt: skip
    for protocol in ("CEL-seq2", "Drop-seq") if lines3.exists() else ():
        part = _part(lines3, protocol, runs / "cells" / f"{protocol}.h5ad")
        own = {f"three cell lines, {protocol}": Labels(INDEPENDENT, genotype)}
        sets[protocol] = _file(part, "cell_line", own)
    sets["synthetic"] = Cells(
        ["synthetic", "data.n_types=8", "data.fold=2", "data.umis=3000"],
        {"simulated, 8 types": Labels(SIMULATED, "simulated; they differ weakly")},
    )
    clusters = "clusters of 10 principal components"
    pbmc3k = {"PBMC3k, types found here": Labels(CIRCULAR, clusters)}
    if seurat.exists():
        pbmc3k["PBMC3k, Seurat's types"] = Labels(CIRCULAR, f"{clusters}, by Seurat", file=seurat)
    sets["PBMC3k"] = Cells(["pbmc3k"], pbmc3k)
    return {name: cells for name, cells in sets.items() if not cells.path or cells.path.exists()}


def _file(path: Path, column: str, labels: dict[str, Labels]) -> Cells:
    """Return the set of the cells in a file."""
    return Cells([str(path), f"data.label_key={column}", "tsne.max_cells=1000"], labels, path)


def _part(path: Path, protocol: str, to: Path) -> Path:
    """Write the cells of one protocol to a file of their own, if it is not there; return it."""
    if not to.exists():
        to.parent.mkdir(parents=True, exist_ok=True)
        cells = anndata.read_h5ad(path)
        cells[(cells.obs["protocol"] == protocol).to_numpy()].copy().write_h5ad(to)
    return to
