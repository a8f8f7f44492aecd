"""Write docs/performance.md from what was measured."""

from dataclasses import dataclass

from benchmarks.training.contest import ROUNDS
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
    """

    machine: str
    n_values: int
    epochs: Rows
    notes: list[str]
    memory: Rows
    stages: Rows
    answers: Rows


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

A process that trains the VAE for two epochs, or for as many as make 60,000 cells; the median but
for the first. *Need* is the sparse matrix, the parameters, their gradients and Adam's two moments;
*training adds* is the peak above the bare process, which has trained on 600 cells of 300 genes and
no more, so that its libraries are loaded. The first row is PBMC3k, the others are `data=synthetic`
of its shape.

{table(sizes, measured.memory)}

## Whole runs

Shares of the wall time of `scvae train ...`; outside the stages lies mainly the import of
libraries.

{table(["", "seconds", *STAGES.values(), "outside"], measured.stages)}

Seconds to answer:

{table(["", "seconds"], measured.answers)}
"""
