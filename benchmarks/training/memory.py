"""Measure the peak memory of training, and how it grows with the number of cells."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scipy.sparse import csr_array, csr_matrix, save_npz

from benchmarks.command import ROOT
from scvae_cli.data.sources import load
from scvae_cli.launch.compose import compose

SCRIPT = """
import json, sys
import numpy as np, torch
from scipy.sparse import csr_array, load_npz, random_array
sys.path.insert(0, {root!r})
from benchmarks.training.contest import our_epoch, our_model
import scvae_cli.models.train
def peak():  # of this process only: getrusage's counts what it was forked from
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(x.split()[1]) for x in lines if x.startswith("VmHWM"))
few = random_array((600, 300), density=0.05, format="csr", dtype=np.float32, rng=0)
our_epoch(our_model("vae", 300), few)  # so that all code is in memory
bare = peak()
x = csr_array(load_npz({file!r}))
model = our_model("vae", x.shape[1])
data = x.data.nbytes + x.indices.nbytes + x.indptr.nbytes
state = 4 * sum(p.nbytes for p in model.parameters())
seconds = our_epoch(model, x, max(2, 60_000 // x.shape[0]))
print(json.dumps([bare, data, state, peak(), seconds]))
"""


def memory(x: csr_array, folder: Path) -> list[str]:
    """Measure a process that trains against what it cannot do without.

    Args:
        x: log-normalised values (n_cells, n_genes).
        folder: where the cells are kept for the process meanwhile.

    Returns:
        Cells of a row of the page's second table.
    """
    file = folder / "x.npz"
    save_npz(file, csr_matrix(x), compressed=False)
    code = SCRIPT.format(root=str(ROOT), file=str(file))
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    bare, data, state, peak, seconds = json.loads(out.stdout.splitlines()[-1])
    file.unlink()
    need = data + state
    return [
        f"{x.shape[0]:,}", f"{x.nnz / 1e6:.1f}", f"{1e6 * seconds / x.shape[0]:.0f}",
        f"{bare / 2**20:.0f}", f"{data / 2**20:.0f}", f"{state / 2**20:.0f}",
        f"{(peak - bare) / 2**20:.0f}", f"{(peak - bare) / need:.2f}",
    ]  # fmt: skip


def growth(sizes: Sequence[int], folder: Path) -> list[list[str]]:
    """Return the rows of `memory` for more and more cells of PBMC3k's shape."""
    rows = []
    for n_cells in sizes:
        options = compose(
            [
                "data=synthetic", f"data.n_cells={n_cells}", "data.n_genes=13714",
                "data.n_types=9",
            ]
        ).data.model_dump()  # fmt: skip
        rows.append(memory(load(**options).x, folder))
    return rows
