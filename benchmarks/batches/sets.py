"""The sets of cells with batches and known types, and what is trained on each."""

from dataclasses import dataclass
from pathlib import Path

SEEDS = range(5)
FEW = range(3)  # of what shows what goes wrong
GENES = 2000
# Ours, by name: words after `scvae train`; {told} stands for the set's batch key.
OURS = {
    "pca-sqrt": "experiment=best {told}",
    "batches": "experiment=batches {told}",
    "not aligned": "experiment=batches {told} embedding=decoded",
    "not told": "experiment=batches embedding=decoded",
    "untrained": "experiment=batches {told} updates=null epochs=0 validation=null",
}
HARMONY, SCVI, UNTOLD = "harmony", "scvi", "not told"
SCVI_HARMONY = "scvi + harmony"
MEANING = {
    "pca-sqrt": "20 principal components of square roots, batches not corrected",
    HARMONY: "the same, corrected by Harmony (harmonypy)",
    "batches": "`experiment=batches`: a VAE of counts that is told of batches, and aligned",
    "not aligned": "the same with `embedding=decoded`: what the VAE leaves of batches stays",
    "not told": "the same without `data.batch_key`",
    "untrained": "`batches` with its first weights: aligned, and nothing learnt",
    SCVI: "scVI with the same batches, by its own defaults",
    SCVI_HARMONY: "the same, corrected by Harmony",
}


@dataclass(frozen=True)
class Cells:
    """A set of cells.

    Attributes:
        title: what it is.
        words: after `scvae train`.
        told: the words that name the batches; empty where cells are simulated with them.
    """

    title: str
    words: str
    told: str = ""


def all_sets(folder: Path) -> dict[str, Cells]:
    """Return the sets by name; those whose file `folder` lacks are left out."""
    files = {
        "protocols": Cells(
            "three cell lines by CEL-seq2 and by Drop-seq, 499 cells",
            _file(folder / "mixology" / "lines3_two_protocols.h5ad"),
            "data.batch_key=protocol",
        ),
        "plates": Cells(
            "five cell lines on two plates of CEL-seq2, 612 cells",
            _file(folder / "mixology" / "lines5_two_plates.h5ad"),
            "data.batch_key=plate",
        ),
    }
    sets = {name: one for name, one in files.items() if Path(_path(one)).exists()}
    simulated = "data=synthetic data.n_cells=1500 data.n_types=8 data.gene_sd=1.5 data.fold=3"
    batches = "data.n_batches=3 data.own_types=3 data.seed=1"
    title = "simulated: eight types, three batches, three types in one batch only, 1,500 cells"
    return {**sets, "simulated": Cells(title, f"{simulated} {batches}")}


def _file(path: Path) -> str:
    return f"data=file data.path={path} data.label_key=cell_line data.genes={GENES}"


def _path(cells: Cells) -> str:
    return next(w for w in cells.words.split() if w.startswith("data.path=")).partition("=")[2]
