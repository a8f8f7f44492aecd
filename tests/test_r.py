"""Seurat, by the commands of docs/r-and-seurat.md in their order, where R and Seurat are.

`make r` runs these tests.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.io import mmread, mmwrite
from scipy.sparse import csc_matrix
from sklearn.metrics import adjusted_rand_score

import scvae_cli

PAGE = (Path(__file__).parents[1] / "docs" / "r-and-seurat.md").read_text()
OURS = str(Path(sys.executable).parent / "scvae")
N_CELLS, N_NEW, N_GENES = 240, 60, 2100  # more than the page keeps

# Objects that a user of Seurat has: `all`, whose types are known, and `pbmc`, the larger part.
BEFORE = """
suppressPackageStartupMessages(library(Seurat))
counts <- Matrix::readMM("all.mtx")
dimnames(counts) <- list(readLines("genes.txt"), readLines("cells.txt"))
all <- CreateSeuratObject(as(counts, "CsparseMatrix"))
Idents(all) <- readLines("types.txt")
pbmc <- all[, {first}]
"""
# What the page calls "written as above", for further cells.
FURTHER = "known <- pbmc\npbmc <- all[, {last}]\n{out}\nquery <- pbmc\npbmc <- known\n"
AFTER = """
write.csv(Embeddings(pbmc, "scvae"), "reduction.csv")
write.csv(Embeddings(pbmc, "scvae.tsne"), "map.csv")
write.csv(pbmc[[]], "metadata.csv")
write.csv(query[[]], "query.csv")
"""


def blocks(page: str) -> list[str]:
    """The commands of a page in their order, as R code; those of the shell must succeed."""
    found = re.findall(r"^```(r|sh)\n(.*?)^```", page, re.M | re.S)
    calls = {"r": lambda code: code, "sh": in_shell}
    return [calls[language](code) for language, code in found]


def in_shell(code: str) -> str:
    """Commands of a shell, as R calls them."""
    code = re.sub(r"^scvae", OURS, code, flags=re.M).replace("'", "")
    return f"stopifnot(system('set -e\n{code}') == 0)\n"


def seurat() -> int:
    """The version of Seurat's objects, or the reason why there is none."""
    if not shutil.which("Rscript"):
        pytest.skip("Rscript is not installed")
    ask = ["Rscript", "-e", "cat(packageVersion('SeuratObject')[[1, 1]])"]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("R has no Seurat")
    return int(done.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder in which R has run every command of the page."""
    version = seurat()
    path = tmp_path_factory.mktemp("r")
    random = np.random.default_rng(0)
    types = random.integers(0, 3, N_CELLS)
    means = random.gamma(1, 1, N_GENES) * np.exp(random.normal(0, 1, (3, N_GENES)))
    mmwrite(path / "all.mtx", csc_matrix(random.poisson(2 * means[types]).T))
    names = {
        "genes": [f"GENE-{i}" for i in range(N_GENES)],
        "cells": [f"{i:05}" for i in range(N_CELLS)],  # which a reader may take for numbers
        "types": [f"type {i}" for i in types],
    }
    for name, lines in names.items():
        (path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    out, *rest = blocks(PAGE)
    known = N_CELLS - N_NEW
    embed = next(i for i, code in enumerate(rest) if "--labels" in code)
    further = out.replace('"pbmc', '"new').replace('"types.csv"', '"unused.csv"')
    code = "\n".join([
        BEFORE.format(first=f"seq_len({known})"), out, *rest[:embed],
        FURTHER.format(last=f"{known} + seq_len({N_NEW})", out=further), *rest[embed:], AFTER,
    ])  # fmt: skip
    if version < 5:  # as the page says
        code = code.replace('layer = "counts"', 'slot = "counts"')
    (path / "page.R").write_text(code)
    done = subprocess.run(
        ["Rscript", "page.R"], cwd=path, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return path


def cells_of(file: Path) -> pd.DataFrame:
    table = pd.read_csv(file, dtype={"cell": str, "Unnamed: 0": str})  # R does not name the column
    return table.set_index(table.columns[0])


def lines(folder: Path, name: str) -> list[str]:
    return (folder / f"{name}.txt").read_text().splitlines()


def types_of(folder: Path, cells: pd.Index) -> pd.Series:
    """The types that the cells were made with."""
    return pd.Series(lines(folder, "types"), index=lines(folder, "cells"))[cells]


def test_seurat_reads_the_latent_space_the_map_and_the_clusters(folder):
    latent, cells = (cells_of(folder / "run" / f"{name}.csv") for name in ("latent", "cells"))
    reduction, places = cells_of(folder / "reduction.csv"), cells_of(folder / "map.csv")
    assert list(reduction.index) == list(latent.index) == [f"{i:05}" for i in range(180)]
    np.testing.assert_allclose(reduction, latent, rtol=1e-5)
    np.testing.assert_allclose(places, cells[["tsne_1", "tsne_2"]], rtol=1e-5)
    metadata = cells_of(folder / "metadata.csv")
    assert (metadata["latent_cluster"] == cells["latent_cluster"]).all()


def test_the_counts_and_types_of_seurat_arrive(folder):
    run = scvae_cli.load(folder / "run")
    counts = mmread(folder / "all.mtx").toarray().T[: N_CELLS - N_NEW]
    cells = anndata.AnnData(counts, run.cells, pd.DataFrame(index=lines(folder, "genes")))
    np.testing.assert_allclose(run.embed(cells), run.latent, rtol=1e-4, atol=1e-4)
    assert (run.cells["cell_type"] == types_of(folder, run.cells.index)).all()


def test_seurats_clusters_of_the_latent_space_are_the_types(folder):
    metadata = cells_of(folder / "metadata.csv")
    found = metadata["seurat_clusters"]
    assert adjusted_rand_score(types_of(folder, metadata.index), found) > 0.9


def test_cells_of_seurat_get_types(folder):
    query = cells_of(folder / "query.csv")
    assert len(query) == N_NEW
    assert query["probability"].between(0, 1).all()
    right = query["cell_type"] == types_of(folder, query.index)
    assert right.mean() > 0.9
