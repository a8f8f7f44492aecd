"""The sets of cells, what is run on them, and the labels that are scored against."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.models.presets import CONTROLS, COUNTS, LOGS
from scvae_cli.config import Config
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.sources import load
from scvae_cli.launch.compose import compose
from scvae_cli.launch.places import quoted

FACS_10, FACS_5 = "FACS, 10 populations", "FACS, 5 populations"
FOUND_TYPES, SEURAT_TYPES = "PBMC3k, types found here", "PBMC3k, Seurat's types"
# Where labels come from, by name of the set of labels.
TRUTH = {
    FACS_10: "sorted by antibodies (Zheng et al. 2017), not found in the counts",
    FACS_5: "the same, with all T cells as one population",
    FOUND_TYPES: "clusters of 10 principal components of the same counts",
    SEURAT_TYPES: "clusters of 10 principal components of the same counts, by Seurat",
    "synthetic": "simulated, so that types are known; they differ weakly; 1,000 cells",
    "PBMC68k": "correlation with sorted cells (Zheng et al. 2017); only log values of 765 genes",
}


@dataclass(frozen=True)
class Data:
    """Cells, and what is run on them.

    Attributes:
        overrides: arguments of `scvae train` that read them.
        presets: of conf/experiment/benchmark.
        labels: further overrides that read each set of labels, by its name; the first set is
            scored by the runs themselves.
        has_counts: whether scVI can be trained on them.
    """

    overrides: list[str]
    presets: list[str]
    labels: dict[str, list[str]]
    has_counts: bool = True


def data_sets(folder: Path | None) -> dict[str, Data]:
    """Return the sets of cells that there are, by name.

    Args:
        folder: with the cells sorted by antibodies and Seurat's labels; what it lacks is left out.
    """
    every = [*CONTROLS, *LOGS, *COUNTS]
    logs = [name for name in [*CONTROLS, *LOGS] if name != "untrained"]  # no counts there
    facs = folder and folder / "zheng_facs" / "zheng_facs_raw.h5ad"
    seurat = folder and folder / "pbmc3k" / "seurat_labels.csv"
    sets = {}
    if facs and facs.exists():
        sets["FACS"] = Data(
            [
                "data=file", f"data.path={quoted(facs)}", "data.label_key=celltype",
                "data.genes=2000", "tsne.max_cells=1500",
            ],
            every,
            {FACS_10: [], FACS_5: ["data.label_key=subpop"]},
        )  # fmt: skip
    pbmc3k: dict[str, list[str]] = {FOUND_TYPES: []}
    if seurat and seurat.exists():
        pbmc3k[SEURAT_TYPES] = [f"data.labels={quoted(seurat)}"]
    sets["PBMC3k"] = Data(["data=pbmc3k", "data.genes=2000", "tsne.max_cells=1000"], every, pbmc3k)
    sets["synthetic"] = Data(
        ["data=synthetic", "data.n_types=8", "data.fold=2", "data.umis=3000"],
        every,
        {"synthetic": []},
    )
    sets["PBMC68k"] = Data(["data=pbmc68k"], logs, {"PBMC68k": []}, has_counts=False)
    return sets


def loaded(data: Data, more: Sequence[str] = ()) -> tuple[Config, Dataset]:
    """Return the settings that all runs on these cells share, and the cells."""
    config = compose([*data.overrides, *more])
    return config, load(**config.data.model_dump())
