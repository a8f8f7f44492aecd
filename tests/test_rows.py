"""Rows that are made when asked for are those of a matrix that is there whole."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import options_of
from scipy.sparse import csr_array

from scvae_cli import rows
from scvae_cli.models.registry import build
from scvae_cli.models.train import train
from scvae_cli.rows import Rows, group_sums

N, GENES = 50, 20
COUNTS = np.random.default_rng(0).poisson(1.5, (N, GENES))
TOTALS = COUNTS.sum(axis=1)
X = csr_array(np.log1p(COUNTS / TOTALS[:, None] * 1e4).astype(np.float32))
SOME = np.random.default_rng(1).permutation(N)[:30]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(rows, "PIECE", 7)


@pytest.mark.parametrize("index", [None, SOME])
@pytest.mark.parametrize("scales", [None, TOTALS / 1e4])
def test_rows_are_those_of_the_whole(index, scales):
    asked = Rows(X, index, scales)
    whole = X.toarray() if scales is None else COUNTS
    whole = whole if index is None else whole[index]
    assert asked.shape == whole.shape
    assert asked.nnz == np.count_nonzero(whole)
    np.testing.assert_array_equal(asked[np.array([3, 0, 3])].toarray(), whole[[3, 0, 3]])
    np.testing.assert_array_equal(asked.whole().toarray(), whole)
    covered = np.zeros(len(whole), int)
    for some, values in asked.pieces():
        np.testing.assert_array_equal(values.toarray(), whole[some])
        covered[some] += 1
    assert (covered == 1).all()


def test_sums_of_groups_are_those_of_a_product_of_matrices():
    """To the last bit: what is said of a training must not depend on how cells are read."""
    groups = np.random.default_rng(2).integers(0, 3, N)
    members = csr_array((np.ones(N), (groups, np.arange(N))))
    for values in (X, Rows(X)):
        assert group_sums(values, groups).tobytes() == (members @ X).toarray().tobytes()
    np.testing.assert_array_equal(group_sums(X.toarray(), groups), members @ X.toarray())
    of_some = group_sums(Rows(X, SOME, TOTALS / 1e4), groups[SOME])
    expected = [COUNTS[SOME][groups[SOME] == group].sum(axis=0) for group in range(3)]
    np.testing.assert_array_equal(of_some, expected)


def test_training_on_them_gives_the_same_bytes():
    how = {"epochs": 2, "batch_size": 8, "lr": 0.01, "batch_seed": 0, "noise_seed": 0,
           "device": torch.device("cpu"), "on_epoch": lambda row: None}  # fmt: skip
    options = options_of("vae", encoder=[8], branch=None, decoder=[8], likelihood="nb", beta=1.0)
    counts = csr_array(COUNTS[SOME].astype(np.float32))
    trained = []
    for x, of_x in ((X[SOME], counts), (Rows(X, SOME), Rows(X, SOME, TOTALS / 1e4))):
        model = build("vae", GENES, 2, seed=0, **options)
        train(model, x, counts=of_x, **how)
        trained.append([p.detach().numpy().tobytes() for p in model.parameters()])
    assert trained[0] == trained[1]


GROWTH = """
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array

from scvae_cli.analysis.embed import embed
from scvae_cli.models.registry import build


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


n_cells, n_genes = 12_000, 2_000
torch.set_num_threads(1)
rng = np.random.default_rng(0)
model = build("pca", n_genes, 20, seed=0, values="sqrt")
genes = np.sort(rng.integers(0, n_genes, (n_cells, 300)), axis=1).astype(np.int32)
starts = np.arange(0, genes.size + 1, 300, dtype=np.int32)
x = csr_array((np.ones(genes.size, np.float32), genes.ravel(), starts), shape=(n_cells, n_genes))
rest = {"kind": "mean", "batch_size": 256, "seed": 0, "device": torch.device("cpu")}
embed(model, x[:2_000], **rest)
before = resident()
embed(model, x, **rest)
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_places_of_more_cells_take_no_more_memory():
    """Each batch left behind the arrays of all genes that it had been computed from."""
    done = subprocess.run(
        [sys.executable, "-c", GROWTH], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 12_000 * 2_000 * 4 / 2  # half of the values of all genes
