"""Write docs/performance.md from what was measured."""

from dataclasses import dataclass

import pandas as pd

from benchmarks.training.contest import ROUNDS
from benchmarks.training.cuda import BFLOAT16, OURS, PEER, TF32
from benchmarks.training.whole_runs import STAGES
from scvae_cli.results.markdown import table

Rows = list[list[str]]


@dataclass(frozen=True)
class Measured:
    """What the page shows; tables as rows of text.

    Attributes:
        machine: processor and versions.
        n_values: non-zeros of PBMC3k.
        epochs: of `contest`.
        notes: of `lower_bound`.
        memory: of `memory` and `growth`.
        stages: of `stages`.
        answers: of `answers`.
        cuda: of `cuda.measure`, on this machine or another.
    """

    machine: str
    n_values: int
    epochs: Rows
    notes: list[str]
    memory: Rows
    stages: Rows
    answers: Rows
    cuda: pd.DataFrame


def text(measured: Measured) -> str:
    """Return the page."""
    sizes = ["cells", "M non-zeros", "us a cell and epoch", "bare process, MB", "matrix, MB",
             "parameters, gradients, Adam, MB", "training adds, MB", "times the need"]  # fmt: skip
    return f"""# Performance

Made by `make bench`: {measured.machine}.

## Training, PBMC3k (13,714 genes x 2,638 cells, {measured.n_values:,} non-zeros)

Seconds an epoch, median of {ROUNDS} turns, batches of 256, each side in a process of its own; a
turn of ours is the median of three epochs, which take as long as one of the plain loop. The plain
loop is the same model with dense layers, rows taken by index and PyTorch's default Adam; *theirs*
is a stand-in of the size of the report's authors' VAE (800-400-6, batches of 240 float64 rows from
a DataLoader).

{table(["", "ours", "plain", "ratio (least to most)"], measured.epochs)}

{chr(10).join(measured.notes)}

## Memory and growth

Each process trains the VAE for two epochs, or more until it has seen 60,000 cells; times are the
median epoch, without the first. *Need* is the sparse matrix, the parameters, their gradients and
Adam's two moments. *Training adds* is peak memory minus that of the bare process, which trained on
600 cells of 300 genes only. The first row is PBMC3k, the others are `data=synthetic`
of its shape.

{table(sizes, measured.memory)}

## Whole runs

Shares of the wall time of `scvae train ...`; outside the stages lies mainly the import of
libraries.

{table(["", "seconds", *STAGES.values(), "outside"], measured.stages)}

Seconds to answer:

{table(["", "seconds"], measured.answers)}

{on_a_gpu(measured.cuda)}
"""


def on_a_gpu(measured: pd.DataFrame) -> str:
    """Return the part of the page on training on a GPU.

    Args:
        measured: cuda.csv.
    """
    first = measured.iloc[0]
    machine = f"{first['card']}, driver {first['driver']}"
    versions = f"Python {first['python']}, torch {first['torch']}"
    peers = measured.loc[measured["who"] == PEER, "version"].unique()
    rows, products = [], []
    for (name, n_cells, batch), sides in measured.groupby(
        ["cells", "n_cells", "batch_size"], sort=False
    ):
        size = sides.iloc[0]
        of = sides.set_index("who").reindex([OURS, TF32, BFLOAT16, PEER])
        seconds, peaks, losses = of["seconds"], of["peak_mb"], of["loss"]
        cells = [name, f"{n_cells:,} x {size['n_genes']:,}"]
        row = [
            *cells, f"{size['non_zeros'] / 1e6:.1f}", f"{batch:,}",
            *(f"{seconds[who]:#.3g}".rstrip(".") for who in (OURS, PEER)),
            f"{seconds[PEER] / seconds[OURS]:.1f}",
            *(f"{peaks[who]:,.0f}" for who in (OURS, PEER)),
        ]  # fmt: skip
        rows.append(["" if cell == "nan" else cell for cell in row])
        faster = [f"{seconds[OURS] / seconds[who]:.2f}" for who in (TF32, BFLOAT16)]
        row = [*cells, f"{batch:,}", *faster, *(f"{losses[who]:.5g}" for who in of.index[:3])]
        products.append(["" if cell == "nan" else cell for cell in row])
    heads = ["cells", "cells x genes", "M non-zeros", "batch", "ours, s", "scVI, s", "ratio",
             "ours, MB", "scVI, MB"]  # fmt: skip
    precise = ["cells", "cells x genes", "batch", "TF32", "bfloat16", "loss, float32",
               "loss, TF32", "loss, bfloat16"]  # fmt: skip
    return f"""## Training on a GPU

Made by `python -m benchmarks.training.cuda`, not always on the machine of the rest of the page:
{machine}, {versions}.

Seconds an epoch, and the peak of the GPU's memory that PyTorch gave out, of a VAE with
`likelihood=nb`, one hidden layer of 128 on either side and 10 latent features; and of scVI
of that size ({", ".join(f"scvi-tools {peer}" for peer in peers) or "not there"}), which also has
batch normalisation and dropout, and keeps the cells in the computer's memory, where ours lie on
the GPU. Seconds are the median of the later half of the epochs; [cuda.csv](performance/cuda.csv)
says of how many. Synthetic cells have no structure; after 50,000, the same ones come again. What a
row lacks was not measured.

{table(heads, rows)}

Less precise products of matrices: how many times as fast an epoch is, and the last epoch's loss.
*TF32* is `torch.set_float32_matmul_precision("high")`, *bfloat16* is mixed precision by
`torch.autocast`. `scvae` takes float32, and TF32 with `TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1`.

{table(precise, products)}

On an H100, with torch 2.11.0, `pytest tests/test_devices.py tests/test_team.py` passed: losses,
gradients and embeddings are those of the CPU to rounding; a training that is repeated, or resumed,
ends with the same bits; two processes that share the GPU train as one does. Several GPUs have not
been tried."""
