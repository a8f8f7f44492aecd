"""Measure training on this machine's CUDA device: `python -m benchmarks.training.cuda`.

Writes docs/performance/cuda.csv, of which `make bench` makes a part of docs/performance.md; it
measures anew where there is such a device. Puts scVI beside ours where scvi-tools is installed
(`pip install '.[peer]'`), at the same size; and ours beside itself with less precise products.
"""

import argparse
import gc
import logging
import platform
import subprocess
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array, csr_matrix, vstack

from benchmarks import peer
from benchmarks.command import DOCS
from scvae_cli.data.preprocess import log_normalize
from scvae_cli.data.sources import load
from scvae_cli.launch.compose import compose
from scvae_cli.models.registry import build
from scvae_cli.models.train import train

TABLE = DOCS / "performance" / "cuda.csv"
OURS, TF32, BFLOAT16, PEER = "ours", "ours, TF32", "ours, bfloat16", "scVI"
N_LATENT, WIDTH, BATCHES = 10, 128, (256, 4096)
WHO = (OURS, TF32, BFLOAT16, PEER)
DENSITY, GENES = 0.1, 2000  # of synthetic cells
# Of cells: how many times an epoch at most, how many cells in all epochs at most, of us and scVI.
MOST, OURS_CELLS, PEER_CELLS = 30, 4_000_000, 400_000


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.training.cuda", description=__doc__)
    parser.add_argument("--cells", type=int, nargs="*", default=[50_000, 1_000_000])
    parser.add_argument("--batches", type=int, nargs="*", default=BATCHES)
    parser.add_argument("--who", nargs="*", default=WHO, help="what to measure")
    parser.add_argument("--to", type=Path, default=TABLE)
    asked = parser.parse_args()
    measure(asked.cells, asked.batches, asked.who, asked.to)


def measure(
    sizes: Sequence[int] = (50_000, 1_000_000),
    batches: Sequence[int] = BATCHES,
    who: Sequence[str] = WHO,
    to: Path = TABLE,
) -> None:
    """Measure, and write the table after each row.

    Args:
        sizes: numbers of synthetic cells.
        batches: cells per step.
        who: what to measure.
        to: the table.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    rows = []
    to.parent.mkdir(exist_ok=True)
    for name, counts in cells(sizes):
        x = log_normalize(counts, target_sum=1e4)
        for batch_size in batches:
            for side in who:
                with suppress(PackageNotFoundError):
                    figures = (
                        _peer(counts, batch_size)
                        if side == PEER
                        else _ours(x, counts, batch_size, side)
                    )
                    size = {"n_cells": counts.shape[0], "n_genes": counts.shape[1]}
                    zeros = {"non_zeros": counts.nnz, "batch_size": batch_size}
                    rows.append({"cells": name, **size, **zeros, "who": side, **figures, **card()})
                    print(rows[-1], flush=True)
                    pd.DataFrame(rows).to_csv(to, index=False)


def cells(sizes: Sequence[int]) -> Iterator[tuple[str, csr_array]]:
    """Yield names and counts (n_cells, n_genes) of PBMC3k and of synthetic cells."""
    for name, settings in (("PBMC3k, 2,000 genes", ["data.genes=2000"]), ("PBMC3k", [])):
        dataset = load(**compose(["data=pbmc3k", *settings]).data.model_dump())
        yield name, dataset.counts()
    for n_cells in sizes:
        yield "synthetic", synthetic(n_cells)


def synthetic(n_cells: int, n_drawn: int = 50_000) -> csr_array:
    """Draw counts (n_cells, GENES), of which DENSITY are not zero; they have no structure.

    Cells differ by how many they have, as real ones do: by a factor with an sd of .5 of its log.

    Args:
        n_cells: how many.
        n_drawn: that differ; after as many, the same come again.
    """
    rng = np.random.default_rng(0)
    parts = []
    for first in range(0, min(n_cells, n_drawn), 10_000):
        n = min(10_000, n_cells - first)
        share = DENSITY * rng.lognormal(-0.125, 0.5, (n, 1)).astype(np.float32)
        there = csr_array(rng.random((n, GENES), dtype=np.float32) < share)
        there = there.astype(np.float32)
        there.data += rng.poisson(0.5, there.nnz).astype(np.float32)
        parts.append(there)
    drawn = vstack(parts, format="csr")
    return csr_array(vstack([drawn] * max(1, n_cells // n_drawn), format="csr"))


def card() -> dict[str, str]:
    """Return the names of the card and its driver, and versions."""
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    return {
        "card": torch.cuda.get_device_name(), "driver": done.stdout.splitlines()[0].strip(),
        "python": platform.python_version(), "torch": torch.__version__,
    }  # fmt: skip


def _ours(x: csr_array, counts: csr_array, batch_size: int, products: str) -> dict[str, Any]:
    """Train our VAE of the same size as `_peer`'s.

    Args:
        x: (n_cells, n_genes) log-normalised counts.
        counts: (n_cells, n_genes).
        batch_size: cells per step.
        products: `OURS` multiplies matrices in float32, `TF32` in TF32, and `BFLOAT16` in bfloat16
            by autocast, which rounds the logits that the likelihood gets, too.
    """
    device = torch.device("cuda")
    options = compose(["model=vae"]).model.model_dump()
    options |= {"encoder": [WIDTH], "branch": None, "decoder": [WIDTH], "beta": 1.0}
    options |= {"first_activation": "relu", "likelihood": "nb"}
    model = build(n_genes=counts.shape[1], n_latent=N_LATENT, seed=0, **options).to(device)
    epochs = max(3, min(MOST, OURS_CELLS // counts.shape[0]))
    losses: list[float] = []
    if products == BFLOAT16:
        model.loss = torch.autocast("cuda", torch.bfloat16)(model.loss)  # type: ignore[method-assign]

    def run() -> list[float]:
        torch.set_float32_matmul_precision("high" if products == TF32 else "highest")
        history = train(
            model, x, counts=counts, device=device, epochs=epochs, batch_size=batch_size, lr=0.001,
            batch_seed=0, noise_seed=0, on_epoch=lambda row: losses.append(row["total"]),
        )  # fmt: skip
        torch.set_float32_matmul_precision("highest")
        return [float(seconds) for seconds in history["seconds"]]

    measured = _measured(run)
    return {"version": version("scvae-cli"), **measured, "loss": float(f"{losses[-1]:.6g}")}


def _peer(counts: csr_array, batch_size: int) -> dict[str, Any]:
    """Train scVI."""
    import anndata

    found = version("scvi-tools")
    adata = anndata.AnnData(csr_matrix(counts))
    asked = argparse.Namespace(
        seed=0, latent=N_LATENT, likelihood="nb", batch_size=batch_size, warmup=400,
        epochs=max(1, min(MOST, PEER_CELLS // counts.shape[0])), early_stopping=False,
        accelerator="gpu", batch_key=None, in_turns=False,
    )  # fmt: skip
    return {"version": found, **_measured(lambda: peer.train(adata, asked)[2])}


def _measured(run: Callable[[], list[float]]) -> dict[str, Any]:
    """Return the median of the epochs in the later half, and the peak of the card's memory."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    seconds = run()
    later = seconds[len(seconds) // 2 :]
    peak = torch.cuda.max_memory_allocated() / 2**20
    return {
        "seconds": float(f"{median(later):.4g}"), "epochs": len(later), "peak_mb": round(peak)
    }  # fmt: skip


if __name__ == "__main__":
    main()
