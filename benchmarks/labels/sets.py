"""Divide cells of known types into those that a run is trained on and those that are new."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np

FACS, LINES5, LINES3 = "FACS", "lines5", "lines3"
# What each set asks, in the order of the page.
SETS = {
    FACS: "10 populations sorted by antibodies (Zheng et al. 2017), a random half",
    LINES5: "five cell lines by genotype (Tian et al. 2019), another plate",
    LINES3: "three of these lines, another protocol (CEL-seq2 and Drop-seq)",
}
N_HALVES = 5  # random divisions of FACS


@dataclass(frozen=True)
class Split:
    """Cells of known types, in a part to train on and a part to label.

    Attributes:
        of: one of `SETS`.
        name: of the files of both parts.
        column: of obs that has the types.
        reference: (n_cells,) which cells a run is trained on.
        new: (n_cells,) which cells it labels.
        left_out: (n_cells,) which cells are of what the run never saw.
        what: name of what it never saw; empty where it saw all.
    """

    of: str
    name: str
    column: str
    reference: np.ndarray
    new: np.ndarray
    left_out: np.ndarray
    what: str = ""

    def file(self, folder: Path, part: str) -> Path:
        """Return the path of a part: `ref` or `new`."""
        return folder / f"{self.name}-{part}.h5ad"


def divide(data: Path, cells: Path) -> list[Split]:
    """Divide each set in all ways, and write the parts that are not there.

    Args:
        data: the folder of the real cells; what it lacks is left out.
        cells: where the parts go.
    """
    cells.mkdir(parents=True, exist_ok=True)
    splits: list[Split] = []
    for path, ways in (
        (data / "zheng_facs" / "zheng_facs_raw.h5ad", _halves),
        (data / "mixology" / "lines5_two_plates.h5ad", _plates),
        (data / "mixology" / "lines3_two_protocols.h5ad", _protocols),
    ):
        if path.exists():
            whole = anndata.read_h5ad(path)
            for split in ways(whole):
                splits.append(split)
                for part, chosen in (("ref", split.reference), ("new", split.new)):
                    if not (file := split.file(cells, part)).exists():
                        whole[chosen].copy().write_h5ad(file)
    return splits


def _halves(whole: anndata.AnnData) -> Iterator[Split]:
    """Yield random halves; of each, one with all cells and one without a group of populations."""
    none = np.zeros(whole.n_obs, dtype=bool)
    groups = sorted(whole.obs["subpop"].unique())
    for i in range(N_HALVES):
        half = none.copy()
        half[np.random.default_rng(i).permutation(whole.n_obs)[: whole.n_obs // 2]] = True
        yield Split(FACS, f"facs{i}", "celltype", half, ~half, none)
        group = (whole.obs["subpop"] == groups[i]).to_numpy()
        yield Split(FACS, f"facsout{i}", "celltype", half & ~group, ~half, group, groups[i])


def _plates(whole: anndata.AnnData) -> Iterator[Split]:
    """Yield each plate; of each, one with all cells and one without each line."""
    none = np.zeros(whole.n_obs, dtype=bool)
    for plate in ("plate2", "plate3"):
        on = (whole.obs["plate"] == plate).to_numpy()
        yield Split(LINES5, plate, "cell_line", on, ~on, none)
        for line in sorted(whole.obs["cell_line"].unique()):
            of_line = (whole.obs["cell_line"] == line).to_numpy()
            yield Split(LINES5, f"{plate}-{line}", "cell_line", on & ~of_line, ~on, of_line, line)


def _protocols(whole: anndata.AnnData) -> Iterator[Split]:
    """Yield each protocol."""
    none = np.zeros(whole.n_obs, dtype=bool)
    for protocol in ("CEL-seq2", "Drop-seq"):
        by = (whole.obs["protocol"] == protocol).to_numpy()
        yield Split(LINES3, protocol, "cell_line", by, ~by, none)
