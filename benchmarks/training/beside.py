"""Train ours and scVI in turns on 2,000 variable genes: `python -m benchmarks.training.beside`.

Writes docs/performance/scvi.csv, and the part of docs/performance.md that shows it. Each side is a
process of its own that waits for its turn, so that other work of the machine weighs on both. Needs
a Python with scvi-tools (`pip install '.[peer]'`, or `--python`); without, the last table stays.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array, csr_matrix
from torch.nn.functional import linear

from benchmarks.command import DOCS, ROOT, answer, with_scvi
from benchmarks.training.growth import with_part
from benchmarks.training.hardware import machine
from scvae_cli.data.sources import load
from scvae_cli.launch.compose import compose
from scvae_cli.models.registry import build
from scvae_cli.models.sparse import SparseRows
from scvae_cli.models.train import train
from scvae_cli.results.markdown import table
from scvae_cli.threads import for_step

TABLE, PAGE = DOCS / "performance" / "scvi.csv", DOCS / "performance.md"
TITLE = "## Beside scVI, 2,000 variable genes"
GENES, WIDTH, LATENT = 2000, 128, 10
TURNS = {4_000: 5, 50_000: 2}  # by number of cells
UPDATES = 4000  # as those of experiment=choose/vae-nb, of which a few are measured


class Case(NamedTuple):
    """What is measured.

    Attributes:
        n_cells: how many cells.
        batch_size: of an update.
        threads: of either side.
    """

    n_cells: int
    batch_size: int
    threads: int


CASES = [
    Case(4_000, 256, 1), Case(4_000, 256, 2), Case(4_000, 128, 1),
    Case(50_000, 256, 1), Case(50_000, 256, 2), Case(50_000, 128, 1),
]  # fmt: skip


def main() -> None:
    """Measure, and write the table and its part of the page."""
    parser = argparse.ArgumentParser("python -m benchmarks.training.beside", description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="one with scvi-tools")
    parser.add_argument("--ours", type=int, nargs=3, help=argparse.SUPPRESS)  # as a side
    asked = parser.parse_args()
    if asked.ours:
        _ours(Case(*asked.ours))
    else:
        PAGE.write_text(with_part(PAGE.read_text(), part(measure(asked.python)), TITLE))


def measure(python: str) -> pd.DataFrame:
    """Measure all cases, where scvi-tools is; return the table, or the last one.

    Args:
        python: a Python, perhaps with scvi-tools.
    """
    if with_scvi(python):
        rows = []
        for case in CASES:
            rows.append(_measured(case, python, TURNS[case.n_cells]))
            print(pd.Series(rows[-1]).to_string(), flush=True)
        pd.DataFrame(rows).to_csv(TABLE, index=False)
    return pd.read_csv(TABLE)


def cells(n_cells: int) -> tuple[csr_array, csr_array]:
    """Return values and counts (n_cells, GENES) of cells of PBMC3k, drawn with replacement."""
    dataset = load(**compose(["data=pbmc3k", f"data.genes={GENES}"]).data.model_dump())
    index = np.random.default_rng(0).integers(0, dataset.x.shape[0], n_cells)
    counts = dataset.counts()
    assert counts is not None
    return dataset.x[index], counts[index]


def _measured(case: Case, python: str, turns: int) -> dict[str, Any]:
    """Return the row of a case: milliseconds of an update, and how they compare in each turn."""
    import anndata

    size = ["--latent", LATENT, "--likelihood", "nb", "--batch-size", case.batch_size]
    size += ["--threads", case.threads, "--epochs", turns + 1, "--in-turns"]
    with tempfile.TemporaryDirectory() as name, ExitStack() as sides:
        file = Path(name) / "counts.h5ad"
        anndata.AnnData(csr_matrix(cells(case.n_cells)[1])).write_h5ad(file)
        theirs = [python, ROOT / "benchmarks" / "peer.py", file, Path(name) / "peer", *size]
        ours = [sys.executable, "-m", "benchmarks.training.beside", "--ours", *case]
        turn = {
            "scvi": sides.enter_context(_side(theirs)), "ours": sides.enter_context(_side(ours))
        }  # fmt: skip
        rows = [
            {"ours": turn["ours"]("epoch"), "floor": turn["ours"]("floor"),
             "scvi": turn["scvi"]("epoch")}
            for _ in range(turns + 1)
        ]  # fmt: skip
    found = pd.DataFrame(rows[1:]) * 1000 / -(-case.n_cells // case.batch_size)
    ratio, above = found["scvi"] / found["ours"], found["ours"] / found["floor"]
    return {
        **case._asdict(), "turns": turns, **found.median().round(2).to_dict(),
        "ratio": round(ratio.median(), 2), "least": round(ratio.min(), 2),
        "most": round(ratio.max(), 2), "above": round(above.median(), 2),
        "above_least": round(above.min(), 2), "above_most": round(above.max(), 2),
        "machine": machine().replace(f"{torch.get_num_threads()} threads, ", ""),
        "scvae": version("scvae-cli"), "scvi_tools": _version_in(python),
    }  # fmt: skip


def _version_in(python: str) -> str:
    code = "from importlib.metadata import version; print(version('scvi-tools'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@contextmanager
def _side(words: list[Any]) -> Iterator[Callable[[str], float]]:
    """Start a side; yield what gives it a turn and returns its seconds.

    Threads that wait sleep, as those of `scvae train` do: else two threads of scVI take ten times
    as long beside other work.
    """
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    pipes["env"] = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    with subprocess.Popen([str(word) for word in words], cwd=ROOT, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def turn(what: str) -> float:
            print(what, file=process.stdin, flush=True)
            for line in process.stdout or ():
                if line.startswith("seconds "):
                    return float(line.split()[1])
            raise SystemExit(f"{words[:3]} has ended")

        try:
            yield turn
        finally:
            process.kill()


def _ours(case: Case) -> None:
    """Train ours, an epoch for each line `epoch` that comes; for `floor`, its products."""
    layer = GENES * WIDTH
    torch.set_num_threads(for_step(case.threads, batch_size=case.batch_size, layer_size=layer))
    x, counts = cells(case.n_cells)
    options = compose(["experiment=choose/vae-nb", "data=pbmc3k"]).model.model_dump()
    options |= {"beta": 1.0, "likelihood": "nb"}
    model = build(n_genes=GENES, n_latent=LATENT, seed=0, **options)
    floor = partial(_floor, x, case.batch_size)

    def wait() -> None:
        while (line := sys.stdin.readline().strip()) == "floor":
            print(f"seconds {floor()}", flush=True)
        if not line:
            raise SystemExit

    def after(row: dict[str, float]) -> None:
        print(f"seconds {row['seconds']}", flush=True)
        wait()

    wait()
    # Of more updates than are done, as many as a run has: of few, it would not compile.
    train(
        model, x, counts=counts, device=torch.device("cpu"), lr=0.001, batch_seed=0, noise_seed=0,
        epochs=max(100, UPDATES * case.batch_size // case.n_cells), batch_size=case.batch_size,
        on_epoch=after,
    )  # fmt: skip


def _floor(x: csr_array, batch_size: int) -> float:
    """Return the seconds of an epoch's matrix products, dense and sparse, forward and backward."""
    rows = SparseRows(x[:batch_size])
    columns, n = rows.transposed, min(batch_size, x.shape[0])
    first, last, head = (
        torch.randn(GENES, WIDTH),
        torch.randn(GENES, WIDTH),
        torch.randn(LATENT, WIDTH),
    )
    h, z, by_logits = torch.randn(n, WIDTH), torch.randn(n, LATENT), torch.randn(n, GENES)
    start = perf_counter()
    for _ in range(-(-x.shape[0] // batch_size)):
        rows @ first
        for _ in range(3):  # mu, sigma and the decoder's first layer, of which this has the size
            linear(h, head), z @ head, z.T @ h
        linear(h, last), by_logits @ last, by_logits.T @ h
        columns @ h
    return perf_counter() - start


def part(measured: pd.DataFrame) -> str:
    """Return the part of the page.

    Args:
        measured: scvi.csv.
    """
    rows = [
        [
            f"{row['n_cells']:,}", str(row["batch_size"]), str(row["threads"]), str(row["turns"]),
            *(f"{row[side]:.1f}" for side in ("ours", "scvi", "floor")),
            f"{row['ratio']:.1f} ({row['least']:.1f} to {row['most']:.1f})",
            f"{row['above']:.1f} ({row['above_least']:.1f} to {row['above_most']:.1f})",
        ]
        for _, row in measured.iterrows()
    ]  # fmt: skip
    first = measured.iloc[0]
    heads = ["cells", "batch", "threads", "turns", "ours, ms", "scVI, ms", "floor, ms",
             "ratio (least to most)", "ours / floor"]  # fmt: skip
    return f"""{TITLE}

Made by `python -m benchmarks.training.beside`: {first["machine"]}, scvi-tools
{first["scvi_tools"]}.

Milliseconds an update of `experiment=choose/vae-nb` (negative binomial, ten latents, one hidden
layer of {WIDTH} on either side) and of scVI of that size, which also has its batch normalisation
and dropout; cells are PBMC3k's, drawn with replacement, with {GENES:,} variable genes. Each side
is in a process of its own, with the same batches, threads and number of updates; median of
the turns, an epoch each, after one to warm up. Of two threads, ours takes one where
a second would cost more than it saves. *Floor* is the time of the update's matrix products
alone, dense and sparse, forward and backward, by the same libraries in our process. Threads
that wait sleep (`OMP_WAIT_POLICY=PASSIVE`) on both sides, as `scvae train` has it. Other work of
the machine weighs on both sides of a turn: compare ratios between rows, not milliseconds.

{table(heads, rows)}"""


if __name__ == "__main__":
    answer(main, "beside")
