"""Make small runs of today's format in tests/formats/N, which later versions must open.

Call it once for a format, when a release is about to write it: `python tests/formats/make.py`.
What is there stays: a folder of a format that has been released is never made again.
"""

import os
import platform
import shutil
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from scvae_cli.cli import main
from scvae_cli.runs.files import json_text, read_json
from scvae_cli.runs.formats import FORMAT

HERE = Path(__file__).parent
TINY = [
    "cells.h5ad", "data.label_key=kind", "latent_dim=2", "batch_size=16", "tsne.perplexity=5",
    "tsne.max_iter=250", "cluster.n_init=2", "map_3d=false", "threads=1", "device=cpu",
]  # fmt: skip
NETWORK = ["epochs=3", "model.encoder=[6]", "model.branch=null", "model.decoder=[6]"]
NB = ["model=vae", "likelihood=nb", *NETWORK]
RUNS = {
    "vae": NB,
    "vsc": ["model=vsc", *NETWORK],
    "pca": ["model=pca", "model.values=sqrt"],
    "ensemble": [*NB, "ensemble=2"],
    "batches": [*NB, "data.batch_key=plate", "data.covariates=[age]"],
    "decoded": [*NB, "data.batch_key=plate", "embedding=decoded", "validation=molecules"],
    "aligned": [*NB, "data.batch_key=plate", "embedding=aligned"],
}
SWEEP = ["-m", "model=pca", "seed=0,1", "hydra.sweep.dir=sweep"]
LEFT_OUT = {"figures", "report.html", "scvae.log", ".hydra"}  # large, or of the machine


def cells() -> anndata.AnnData:
    """Return 40 cells of two kinds on two plates, counts of 20 genes."""
    rng = np.random.default_rng(0)
    rates = rng.gamma(1.0, 3.0, (2, 20))[np.arange(40) % 2]
    obs = {"kind": ["a", "b"] * 20, "plate": ["p1", "p1", "p2", "p2"] * 10}
    ages = rng.normal(size=40)
    counts = csr_matrix(rng.poisson(rates).astype(np.float32))
    names = [f"c{i}" for i in range(40)]
    genes = pd.DataFrame(index=[f"GENE{i}" for i in range(20)])
    return anndata.AnnData(counts, pd.DataFrame({**obs, "age": ages}, index=names), genes)


def make(folder: Path) -> None:
    """Make the runs in a folder, which is new."""
    folder.mkdir(parents=True)
    os.chdir(folder)
    cells().write_h5ad("cells.h5ad", compression="gzip")
    for name, words in RUNS.items():
        train(*TINY, *words, f"hydra.run.dir={name}")
        strip(Path(name))
    train(*TINY, *SWEEP)
    for job in [path.parent for path in Path("sweep").glob("*/run.json")]:
        strip(job)
    strip(Path("sweep"))


def train(*words: str) -> None:
    """Run `scvae train` with these words."""
    sys.argv = ["scvae", "train", *words]
    main(["train", *words])


def strip(folder: Path) -> None:
    """Leave out what is large or of this machine, of a run or a sweep that is done."""
    for name in LEFT_OUT:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    kind = "run" if (folder / "run.json").exists() else "sweep"
    record = {**read_json(folder, kind), "cwd": ".", "git": None}
    record["versions"] = {**record["versions"], "platform": platform.system()}
    if "files" in record:
        files = record["files"].items()
        record["files"] = {n: sha for n, sha in files if n.split("/")[0] not in LEFT_OUT}
    (folder / f"{kind}.json").write_bytes(json_text(record))


if __name__ == "__main__":
    make(HERE / str(FORMAT))
