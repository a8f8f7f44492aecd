"""Let real faults strike runs, and see what is lost: `make faults`.

Prints and writes docs/reliability.md. Each fault strikes a run in a process of its own. Then
`scvae train resume=RUN` resumes it, and every file is compared with those of a run that nothing
happened to.
"""

import argparse
import os
import random
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path

from benchmarks.command import DOCS
from benchmarks.faults.damage import checkpoint, spoil
from benchmarks.faults.disks import full_disk, may_mount, read_only, vanished
from benchmarks.faults.kills import killed_embed, killed_h5ad, killed_job, strike, two_at_once
from benchmarks.faults.page import tabulate, text
from benchmarks.faults.runs import MODELS, SAME, Fault, undisturbed

SIZES = [64, 100, 128, 192, 256, 512, 1024, 2048, 3072, 4096, 6144, 8192]  # of disks, kB
References = dict[str, tuple[Path, float]]  # folder and seconds of each model's undisturbed run


def main() -> None:
    """Try all faults, and write the page about them."""
    parser = argparse.ArgumentParser("python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="random moments (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (%(default)s)")
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which nohup would have ignored
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    faults: list[Fault] = []
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(os.cpu_count()) as pool:
        folder = Path(name)
        references = {model: undisturbed(model, folder) for model in MODELS}
        jobs = submitted(pool, folder, references, asked.kills, random.Random(asked.seed))
        for fault in chain((job.result() for job in jobs), one_by_one(folder, references)):
            faults.append(fault)
            print(f"[{len(faults)}] {fault.kind}, {fault.when}: {fault.lost or 'nothing lost'}")
            print(f"     {fault.code}: {fault.said}", flush=True)
    (DOCS / "reliability.md").write_text(text(faults, asked.seed))
    print(tabulate(faults))


def submitted(
    pool: ThreadPoolExecutor, folder: Path, references: References, n_kills: int,
    rng: random.Random,
) -> list[Future[Fault]]:  # fmt: skip
    """Start the faults that may strike beside each other: signals and damaged files.

    Args:
        pool: that tries them.
        folder: of the runs.
        references: the undisturbed runs.
        n_kills: how many runs are killed.
        rng: draws the moments, the bits and where files are cut.
    """
    jobs = []
    kinds = [signal.SIGKILL] * n_kills + [signal.SIGTERM, signal.SIGINT, signal.SIGHUP] * 5
    for i, number in enumerate(kinds):
        model = MODELS[i % len(MODELS)]
        reference, _ = references[model]
        jobs.append(pool.submit(strike, folder, reference, model, number, rng.random()))
    for file in [*SAME, "history.csv", "run.json"]:
        for how in ("cut to 0 %", "cut to 50 %", "cut to 99 %", "a bit flipped"):
            draw = random.Random(rng.random())
            jobs.append(pool.submit(spoil, folder, references["vae"][0], file, how, draw))
    for how in ["as it was", "cut", *["a bit flipped"] * 5]:
        draw = random.Random(rng.random())
        jobs.append(pool.submit(checkpoint, folder, references["vsc"][0], "vsc", how, draw))
    return jobs


def one_by_one(folder: Path, references: References) -> Iterator[Fault]:
    """Try the faults that need the machine, or a place, for themselves."""
    runs = {model: run for model, (run, _) in references.items()}
    for model, run in runs.items():
        yield killed_h5ad(folder, run, model)
        yield killed_embed(folder, run)
    yield killed_job(folder, runs)
    yield two_at_once(folder, runs["ae"], "ae")
    if not may_mount():
        return
    for kilobytes in SIZES:
        yield full_disk(folder, runs["vae"], "vae", 1024 * kilobytes)
    yield read_only(folder, runs["vae"], "vae")
    with suppress(subprocess.CalledProcessError):  # where no disk can be made of a file
        yield vanished(folder, runs["vae"], "vae")


if __name__ == "__main__":
    main()
