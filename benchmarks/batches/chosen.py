"""Choose how batches are aligned, on cells that docs/batches.md does not judge it on.

    python -m benchmarks.batches.chosen

writes docs/batches/chosen.csv, which `make batches` puts on its page. What is in the folder --runs
is not repeated.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, vstack

from benchmarks.batches.runs import SHORT, dataset_of
from benchmarks.batches.scores import latent_of, scores_of
from benchmarks.batches.sets import GENES, SCVI, Cells
from benchmarks.command import DOCS, ROOT, answer, with_scvi
from benchmarks.latents.runs import counts_file, train_peer
from scvae_cli.analysis.align import find_shifts, shift
from scvae_cli.data import tenx
from scvae_cli.data.dataset import Dataset
from scvae_cli.errors import InputError, Kind

SEEDS, SCVI_SEEDS = range(3), range(1)
# Rounds, and width of clusters; no rounds: not aligned.
SETTINGS = [(0, 0.0), *((rounds, width) for rounds in (1, 2, 5) for width in (0.1, 0.05, 0.02))]
KEPT = ["nmi", "batch_correction", "bio_conservation", "overall"]
SIMULATED = {
    "simulated": Cells(
        "other simulated cells: six types, two batches, one type in one batch only; 1,000 cells",
        "data=synthetic data.n_cells=1000 data.n_types=6 data.gene_sd=1.5 data.fold=3 "
        "data.n_batches=2 data.batch_sd=0.8 data.own_types=1 data.seed=11",
    ),
    "own": Cells(
        "simulated cells: seven types, two batches, four types in one batch only; 1,000 cells",
        "data=synthetic data.n_cells=1000 data.n_types=7 data.gene_sd=1.5 data.fold=3 "
        "data.n_batches=2 data.own_types=4 data.seed=12",
    ),
}
TYPES = {
    "T cell": "T", "B cell": "B", "NK cell": "NK", "CD14+": "Mono",
    "Naive CD4 T": "T", "Memory CD4 T": "T", "CD8 T": "T", "CD14+ Mono": "Mono",
    "FCGR3A+ Mono": "Mono", "B": "B", "NK": "NK", "CD34+": "CD34+",
}  # fmt: skip


def main() -> None:
    """Train what is missing, and write the table."""
    asked = _parse()
    if asked.data is None or not asked.data.is_dir():
        raise InputError(Kind.MISSING, "SCVAE_DATA_DIR", "names no folder", "see --data")
    runs, peer = asked.runs.absolute(), with_scvi(asked.peer)
    rows = []
    for name, cells in _sets(asked.data.absolute(), runs).items():
        dataset, folder = dataset_of(cells), runs / name
        for seed in SEEDS:
            latent = latent_of(dataset, _trained(cells, folder, seed))
            for scores in _aligned(dataset, latent, seed):
                rows.append({"set": cells.title, "method": "batches", "seed": seed} | scores)
        for seed in SCVI_SEEDS:
            if peer is None:
                continue
            counts, place = counts_file(dataset, folder / "counts.h5ad"), folder / f"scvi-{seed}"
            train_peer(peer, counts, place, "--seed", str(seed), "--batch-key", "batch")
            scores = scores_of(dataset, latent_of(dataset, place), seed)
            rows.append({"set": cells.title, "method": SCVI, "seed": seed} | scores)
    table = pd.DataFrame(rows)[["set", "method", "rounds", "width", "seed", *KEPT]]
    table.round(6).to_csv(asked.to / "batches" / "chosen.csv", index=False)


def _aligned(dataset: Dataset, latent: np.ndarray, seed: int) -> Iterator[dict[str, float]]:
    """Yield the scores of a latent space, aligned by each setting, and the setting."""
    assert dataset.covariates is not None
    batch, names = dataset.covariates.batches
    for rounds, width in SETTINGS:
        aligned = latent
        if rounds:
            shifts = find_shifts(latent, batch, names, seed=seed, rounds=rounds, width=width)
            aligned = shift(latent, batch, shifts)
        yield {"rounds": rounds, "width": width} | scores_of(dataset, aligned, seed)


def _trained(cells: Cells, folder: Path, seed: int) -> Path:
    """Return a run that is not aligned, trained if it is not there."""
    run = folder / f"run-{seed}"
    if not (run / "scores.json").exists():
        words = f"experiment=batches {cells.words} {cells.told} {SHORT} embedding=decoded"
        command = [sys.executable, "-m", "scvae_cli", "train", *words.split(), f"seed={seed}"]
        subprocess.run([*command, f"hydra.run.dir={run}"], cwd=ROOT, check=True)
    return run


def _sets(data: Path, runs: Path) -> dict[str, Cells]:
    """Return the sets by name; write the files of those that are made of real cells."""
    made = {
        "thinned": "sorted PBMCs, 1,000 cells, each gene thinned as in one of two protocols",
        "two": "PBMC3k beside sorted PBMCs, 1,800 cells",
    }
    files = {name: runs / f"{name}.h5ad" for name in made}
    if not all(file.exists() for file in files.values()):
        runs.mkdir(parents=True, exist_ok=True)
        _write(data, files["thinned"], files["two"])
    words = f"data.label_key=type data.genes={GENES}"
    sets = {
        name: Cells(title, f"data=file data.path={files[name]} {words}", "data.batch_key=batch")
        for name, title in made.items()
    }
    return {**sets, **SIMULATED}


def _write(data: Path, thinned: Path, two: Path) -> None:
    """Make two sets of real cells in two batches: simulated protocols, and real experiments."""
    rng = np.random.default_rng(5)
    facs = anndata.read_h5ad(data / "zheng_facs" / "zheng_facs_raw.h5ad")
    facs.X = csr_matrix(facs.X)
    some = facs[np.sort(rng.choice(facs.n_obs, 1000, replace=False))]
    batch = rng.integers(0, 2, 1000)
    # The share of a gene's molecules that each protocol finds; the second finds fewer of all.
    share = np.exp(rng.normal(0, 0.8, (2, facs.n_vars)))
    share /= share.max(0)
    share[1] *= 0.4
    counts = some.X.tocoo()
    found = rng.binomial(counts.data.astype(int), share[batch[counts.row], counts.col])
    left = csr_matrix((found.astype(np.float32), (counts.row, counts.col)), some.shape)
    left.eliminate_zeros()
    _h5ad(left, [*some.obs["subpop"]], np.array(["A", "B"])[batch], facs.var_names, thinned)

    pbmc = _pbmc3k(data / "pbmc3k")
    pbmc = pbmc[rng.choice(pbmc.n_obs, 900, replace=False)]
    facs = facs[rng.choice(facs.n_obs, 900, replace=False)]
    genes = pbmc.var_names.intersection(facs.var_names)
    pbmc, facs = pbmc[:, genes], facs[:, genes]
    joined = vstack([csr_matrix(pbmc.X), facs.X]).tocsr().astype(np.float32)
    types = [TYPES[t] for t in [*pbmc.obs["type"], *facs.obs["subpop"].astype(str)]]
    _h5ad(joined, types, np.repeat(["pbmc3k", "facs"], 900), genes, two)


def _pbmc3k(folder: Path) -> anndata.AnnData:
    """Return the cells of PBMC3k with one of Seurat's types that sorted cells have too."""
    cells = tenx.read(folder / tenx.ARCHIVE)
    cells.var_names = cells.var["gene_ids"]  # as the sorted cells' genes are named
    types = pd.read_csv(folder / "seurat_labels.csv").set_index("barcode")["cell_type"]
    known = types[types.isin([*TYPES])]
    cells = cells[known.index].copy()
    cells.obs["type"] = known.to_numpy()
    return cells


def _h5ad(
    x: csr_matrix, types: Sequence[str], batches: np.ndarray, genes: pd.Index, file: Path
) -> None:
    """Write counts x (n_cells, n_genes), cell types and batches."""
    obs = pd.DataFrame({"type": np.asarray(types, str), "batch": batches})
    obs.index = [f"c{i}" for i in range(len(obs))]
    anndata.AnnData(x, obs, pd.DataFrame(index=genes)).write_h5ad(file)


def _parse() -> argparse.Namespace:
    """Return the options that were given."""
    parser = argparse.ArgumentParser("python -m benchmarks.batches.chosen", description=__doc__)
    folder = os.environ.get("SCVAE_DATA_DIR")
    parser.add_argument("--data", type=Path, default=folder and Path(folder))
    parser.add_argument("--runs", type=Path, default=ROOT / "outputs" / "batches-chosen")
    parser.add_argument("--to", type=Path, default=DOCS)
    parser.add_argument("--peer", default=sys.executable, help="a Python that has scvi-tools")
    return parser.parse_args()


if __name__ == "__main__":
    answer(main, "batches.chosen")
