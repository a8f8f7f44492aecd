"""Speed, memory and growth of training, measured side by side on one machine: `make bench`.

Prints and writes docs/performance.md. Ratios come from epochs that take turns, so that what else
the machine does weighs on both; seconds are of this machine.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import nn

from scvae_cli.errors import InputError
from scvae_cli.launch.compose import compose
from scvae_cli.models.registry import build
from scvae_cli.models.train import train

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
ROUNDS = 9
STAGES = {
    "load": "load", "train": "train", "embed": "embed", "tsne_2d": "t-SNE 2-D",
    "tsne_3d": "t-SNE 3-D", "cluster": "k-means", "score": "score", "sparsity": "sparsity",
    "figures": "figures",
}  # fmt: skip


class Plain(nn.Module):
    """The report's models as one would write them: dense layers, the whole reconstruction."""

    def __init__(self, kind: str, n_genes: int, n_latent: int = 6, *, wide: bool = False) -> None:
        super().__init__()
        self.kind, self.wide = kind, wide
        first, second = (800, 400) if wide else (128, 32)
        self.one, self.two = nn.Linear(n_genes, first), nn.Linear(first, second)
        heads = {"ae": 1, "vae": 2, "vsc": 3}[kind]
        self.heads = nn.ModuleList(
            nn.Linear(second, n_latent)
            if wide
            else nn.Sequential(nn.Linear(second, 16), nn.ReLU(), nn.Linear(16, n_latent))
            for _ in range(heads)
        )
        back = [n_latent, 80, 400, 800, n_genes] if wide else [n_latent, 16, 32, 128, n_genes]
        self.back = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(back))

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """Squared error and KL, summed over the batch."""
        h = torch.relu(self.two(self.one(x)))
        mu, *rest = (head(h) for head in self.heads)
        kl = torch.zeros(())
        z = torch.relu(mu) if self.kind == "ae" else mu
        if rest:
            logvar = rest[0] if self.wide else 2 * rest[0]
            z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
            kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp())
        if len(rest) > 1:
            gamma = torch.clamp(torch.exp(-torch.relu(-rest[1])), 1e-6, 1 - 1e-6)
            z = torch.sigmoid(50 * (torch.rand_like(z) + gamma - 1)) * z
            kl = gamma * kl + (1 - gamma) * torch.log(2 - 2 * gamma) + gamma * torch.log(2 * gamma)
        for layer in self.back[:-1]:
            z = torch.relu(layer(z))
        return ((self.back[-1](z) - x) ** 2).sum() + 2 * kl.sum()


def plain_epoch(model: Plain, optimizer: torch.optim.Optimizer, x: torch.Tensor) -> float:
    """Seconds of an epoch of the plain loop on a dense matrix."""
    start = perf_counter()
    for index in torch.randperm(len(x)).split(256):
        optimizer.zero_grad()
        model.loss(x[index]).backward()
        optimizer.step()
    return perf_counter() - start


def loader_epoch(model: Plain, optimizer: torch.optim.Optimizer, x: torch.Tensor) -> float:
    """Seconds of an epoch as the report's authors feed theirs: float64 rows, a DataLoader."""
    start = perf_counter()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x), batch_size=240, shuffle=True
    )
    for (rows,) in loader:
        optimizer.zero_grad()
        model.loss(rows.float()).backward()
        optimizer.step()
    return perf_counter() - start


def our_epoch(model: Any, x: csr_array, epochs: int = 2) -> float:
    """Seconds of an epoch of ours, the median but for the first, which starts the optimiser."""
    history = train(
        model, x, epochs=epochs, batch_size=256, lr=0.001, batch_seed=0, noise_seed=0, device=CPU,
        on_epoch=lambda row: None,
    )  # fmt: skip
    return median(history["seconds"][1:])


def pbmc3k() -> csr_array:
    """PBMC3k, log-normalised."""
    from scvae_cli.data.sources import load

    return load(**compose(["data=pbmc3k"]).data.model_dump()).x


def ours(kind: str, n_genes: int) -> Any:
    """A model of the report's size."""
    config = compose([f"model={kind}", "data=pbmc3k"])
    options = config.model.model_dump() | ({"beta": 2.0} if kind != "ae" else {})
    options["likelihood"] = config.likelihood
    return build(n_genes=n_genes, n_latent=6, seed=0, **options)


def in_turns(epochs: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Seconds of epochs that take turns, after one of each to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in epochs}
    for turn in range(ROUNDS + 1):
        for name, epoch in epochs.items():
            taken = epoch()
            if turn:
                seconds[name].append(taken)
    return seconds


def contest(kind: str, x: csr_array, theirs: str) -> list[str]:
    """Ours against theirs, `plain` or `loader`: seconds of an epoch of each, and their ratio.

    Each in a process of its own, so that none trains with memory that the other has left.
    """
    spawn = get_context("spawn")
    with ExitStack() as open_:
        pools = {
            who: open_.enter_context(ProcessPoolExecutor(1, spawn, enter, (who, kind, x)))
            for who in ("ours", theirs)
        }
        times = in_turns({w: lambda p=p: p.submit(turn).result() for w, p in pools.items()})
    ratios = [t / o for t, o in zip(times[theirs], times["ours"], strict=True)]
    return [
        f"{median(times['ours']):.3f}", f"{median(times[theirs]):.3f}",
        f"{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
    ]  # fmt: skip


epoch: Callable[[], float]  # of who has entered this process


def turn() -> float:
    """Seconds of an epoch of who has entered this process."""
    return epoch()


def enter(who: str, kind: str, x: csr_array) -> None:
    """Makes this process that of one contestant."""
    global epoch
    if who == "ours":
        mine = ours(kind, x.shape[1])
        epoch = partial(our_epoch, mine, x, 4)
        return
    dense = torch.from_numpy(x.toarray())
    model = Plain(kind, x.shape[1], wide=who == "loader")
    adam = torch.optim.Adam(model.parameters(), lr=0.001)
    if who == "loader":
        epoch = partial(loader_epoch, model, adam, dense.double())
    else:
        epoch = partial(plain_epoch, model, adam, dense)


def best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of ten."""
    times = []
    for _ in range(10):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return min(times)


def floor(x: csr_array, seconds: float) -> list[str]:
    """What a VAE's epoch computes and moves, and what this machine could do in that time."""
    n_genes, width, steps = x.shape[1], 128, -(-x.shape[0] // 256)
    size = 4 * n_genes * width  # bytes of the first layer's weights, and of the last one's
    sparse = 4 * 2 * x.nnz * width  # X W and X' G, of both layers
    gram = 2 * 2 * steps * n_genes * width**2  # W'W and W (H'H)
    adam = steps * 2 * 12 * n_genes * width
    # Adam reads four arrays and writes three; three more products write one or read it whole.
    moved = steps * size * (2 * 7 + 2 + 3) + 4 * x.nnz * (4 * width + 8)
    a, b = torch.randn(2048, 2048), torch.randn(n_genes, width)
    c = torch.empty_like(b)
    peak = 2 * 2048**3 / best(lambda: a @ a)
    band = 2 * size / best(lambda: c.copy_(b))
    least = (gram / peak) + (moved / band)
    return [
        f"An epoch of the VAE does {(sparse + gram + adam) / 1e9:.1f} GFLOP: the Gram products "
        f"{gram / 1e9:.1f}, the sparse products {sparse / 1e9:.1f}, Adam {adam / 1e9:.1f}. It "
        f"moves {moved / 1e9:.1f} GB: weights, gradients and Adam's moments, and a row of weights "
        "for each non-zero of each sparse product.",
        f"Measured here: {peak / 1e9:.0f} GFLOP/s (2048 x 2048 matrix product) and "
        f"{band / 1e9:.0f} GB/s (copy of an array of the weights' size). The Gram products at "
        f"that speed and everything moved at that bandwidth take {least:.3f} s; the epoch takes "
        f"{seconds:.3f} s, {seconds / least:.1f} times that. The rest is the transposition of "
        "each batch, the small layers and what caches do not hold.",
    ]


MEMORY = """
import json, sys
import numpy as np, torch
from scipy.sparse import csr_array, load_npz, random_array
sys.path.insert(0, {root!r})
from benchmarks.training import ours, our_epoch
import scvae_cli.models.train
def peak():  # of this process alone: getrusage's counts what it was forked from
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(x.split()[1]) for x in lines if x.startswith("VmHWM"))
few = random_array((600, 300), density=0.05, format="csr", dtype=np.float32, rng=0)
our_epoch(ours("vae", 300), few)  # so that all code is in memory
bare = peak()
x = csr_array(load_npz({file!r}))
model = ours("vae", x.shape[1])
data = x.data.nbytes + x.indices.nbytes + x.indptr.nbytes
state = 4 * sum(p.nbytes for p in model.parameters())
seconds = our_epoch(model, x, max(2, 60_000 // x.shape[0]))
print(json.dumps([bare, data, state, peak(), seconds]))
"""


def memory(x: csr_array, folder: Path) -> list[str]:
    """Peak of a process that trains, against what it cannot do without."""
    from scipy.sparse import csr_matrix, save_npz

    file = folder / "x.npz"
    save_npz(file, csr_matrix(x), compressed=False)
    code = MEMORY.format(root=str(ROOT), file=str(file))
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    bare, data, state, peak, seconds = json.loads(out.stdout.splitlines()[-1])
    file.unlink()
    need = data + state
    return [
        f"{x.shape[0]:,}", f"{x.nnz / 1e6:.1f}", f"{1e6 * seconds / x.shape[0]:.0f}",
        f"{bare / 2**20:.0f}", f"{data / 2**20:.0f}", f"{state / 2**20:.0f}",
        f"{(peak - bare) / 2**20:.0f}", f"{(peak - bare) / need:.2f}",
    ]  # fmt: skip


def growth(sizes: list[int], folder: Path) -> list[list[str]]:
    """Time and memory for more and more cells of PBMC3k's shape."""
    from scvae_cli.data.sources import load

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


def wall(arguments: list[str]) -> float:
    """Seconds of a process."""
    start = perf_counter()
    subprocess.run(arguments, capture_output=True, check=True)
    return perf_counter() - start


def stages(overrides: list[str], folder: Path) -> list[str]:
    """Each stage's share of a whole run, and what lies outside the stages."""
    run = folder / "run"
    command = [sys.executable, "-m", "scvae_cli", "train", *overrides, f"hydra.run.dir={run}"]
    total = wall(command)
    seconds = json.loads((run / "run.json").read_text())["seconds"]
    shutil.rmtree(run)
    parts = [f"{100 * seconds[s] / total:.0f} %" if s in seconds else "" for s in STAGES]
    outside = total - sum(seconds.values())
    return [" ".join(overrides) or "(defaults)", f"{total:.1f}", *parts,
            f"{100 * outside / total:.0f} %"]  # fmt: skip


def answers() -> list[list[str]]:
    """How long help and completion take, against importing torch."""
    os.environ["COMP_LINE"] = "scvae train model="
    cli = [sys.executable, "-m", "scvae_cli"]
    commands = {
        "`scvae train --help`": [*cli, "train", "--help"],
        "tab completion": [*cli, "-sc", "query=bash"],
        "`import torch`": [sys.executable, "-c", "import torch"],
    }
    times = in_turns({name: lambda c=command: wall(c) for name, command in commands.items()})
    return [[name, f"{median(taken):.2f}"] for name, taken in times.items()]


def table(header: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> str:
    """Processor, cores, versions."""
    name = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        name = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), name)
    return (
        f"{name}, {torch.get_num_threads()} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}, numpy {np.__version__}"
    )


def answer(main: Callable[[], None]) -> None:
    """Runs `main`; what is wrong with its input is one line and exit code 2, as in scvae."""
    try:
        main()
    except InputError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        sys.exit(2)


def main() -> None:
    """Measures all and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, nargs="*", default=[3000, 30000, 300000])
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "performance.md")
    asked = parser.parse_args()
    x = pbmc3k()
    times = [[kind.upper(), *contest(kind, x, "plain")] for kind in ("ae", "vae", "vsc")]
    theirs = ["VAE, theirs 800 wide", *contest("vae", x, "loader")]
    notes = floor(x, float(times[1][1]))
    with tempfile.TemporaryDirectory() as folder:
        quick = answers()
        shares = [
            stages(overrides, Path(folder)) for overrides in ([], ["model=vae", "data=pbmc3k"])
        ]
        real = memory(x, Path(folder))
        grown = growth(asked.cells, Path(folder))
    sizes = ["cells", "M non-zeros", "us a cell and epoch", "bare process, MB", "matrix, MB",
             "parameters, gradients, Adam, MB", "training adds, MB", "times the need"]  # fmt: skip
    page = f"""# Performance

Made by `make bench`: {machine()}.

## Training, PBMC3k (13,714 genes x 2,638 cells, {x.nnz:,} non-zeros)

Seconds an epoch, median of {ROUNDS} turns, batches of 256, each side in a process of its own; a
turn of ours is the median of three epochs, which take as long as one of the plain loop. The plain
loop is the same model with dense layers, rows taken by index and PyTorch's default Adam; *theirs*
is a stand-in of the size of the report's authors' VAE (800-400-6, batches of 240 float64 rows from
a DataLoader).

{table(["", "ours", "plain", "ratio (least to most)"], [*times, theirs])}

{chr(10).join(notes)}

## Memory and growth

A process that trains the VAE for two epochs, or for as many as make 60,000 cells; the median but
for the first. *Need* is the sparse matrix, the parameters, their gradients and Adam's two moments;
*training adds* is the peak above the bare process, which has trained on 600 cells of 300 genes and
no more, so that its libraries are loaded. The first row is PBMC3k, the others are `data=synthetic`
of its shape.

{table(sizes, [real, *grown])}

## Whole runs

Shares of the wall time of `scvae train ...`; outside the stages lies mainly the import of
libraries.

{table(["", "seconds", *STAGES.values(), "outside"], shares)}

Seconds to answer:

{table(["", "seconds"], quick)}
"""
    asked.to.write_text(page)
    print(page)


if __name__ == "__main__":
    answer(main)
