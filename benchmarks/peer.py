"""Train scVI through scvi-tools, on counts that `benchmarks.latents` writes.

    python -m benchmarks.peer COUNTS.h5ad FOLDER --seed 0

writes FOLDER/latent.csv and, last of all, FOLDER/peer.json. Needs `pip install '.[peer]'`.
Lopez et al., Deep generative modeling for single-cell transcriptomics, Nature Methods 15 (2018).
The file imports nothing of this project, so that a Python without scvae can run it.
"""

import argparse
import json
import logging
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import anndata
import pandas as pd
import torch


def main() -> None:
    """Train, embed and write."""
    asked = _parse()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(asked.threads)
    cells = anndata.read_h5ad(asked.counts)
    model, seconds, each = train(cells, asked)
    latent = model.get_latent_representation()
    names = [f"z{i}" for i in range(1, latent.shape[1] + 1)]
    asked.folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(latent, index=cells.obs_names.rename("cell"), columns=names)
    table.to_csv(asked.folder / "latent.csv")
    metadata = {
        "seconds": seconds, "epochs": int(model.trainer.current_epoch), "peak": peak(),
        "threads": asked.threads, "each": each,
        "versions": {name: version(name) for name in ("scvi-tools", "torch")},
    }  # fmt: skip
    (asked.folder / "peer.json").write_text(json.dumps(metadata, indent=2) + "\n")


def _parse() -> argparse.Namespace:
    """Return the options that were given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latent", type=int, default=10)
    parser.add_argument("--likelihood", default="zinb", help="scvi-tools' default is zinb")
    parser.add_argument("--epochs", type=int, help="scvi-tools' own choice without")
    parser.add_argument("--batch-size", type=int, default=128, help="scvi-tools' default is 128")
    parser.add_argument("--warmup", type=int, default=400, help="epochs; the default is 400")
    parser.add_argument("--early-stopping", action="store_true", help="on a tenth of the cells")
    parser.add_argument("--batch-key", help="column of obs with the batches")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--accelerator", default="cpu", help="lightning's name: cpu, gpu")
    parser.add_argument(
        "--in-turns", action="store_true", help="an epoch for each line that comes"
    )
    return parser.parse_args()


def train(cells: Any, asked: argparse.Namespace) -> tuple[Any, float, list[float]]:
    """Train scVI.

    Args:
        cells: AnnData of counts.
        asked: the options.

    Returns:
        The model, the seconds of the training, and the seconds of each epoch.
    """
    import scvi

    each: list[float] = []
    scvi.settings.seed = asked.seed
    scvi.model.SCVI.setup_anndata(cells, batch_key=asked.batch_key)
    model = scvi.model.SCVI(cells, n_latent=asked.latent, gene_likelihood=asked.likelihood)
    start = perf_counter()
    model.train(
        max_epochs=asked.epochs,
        batch_size=asked.batch_size,
        early_stopping=asked.early_stopping,
        plan_kwargs={"n_epochs_kl_warmup": asked.warmup},
        accelerator=asked.accelerator,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        callbacks=[_clock(each, in_turns=asked.in_turns)],
    )
    return model, perf_counter() - start, each


def _clock(seconds: list[float], *, in_turns: bool) -> Any:
    """Return a callback of lightning that appends the seconds of each epoch.

    Args:
        seconds: to which it appends.
        in_turns: whether an epoch waits for a line of standard input, and is told of there.
    """
    from lightning.pytorch.callbacks import Callback

    class Clock(Callback):  # type: ignore[misc]
        def on_train_epoch_start(self, *_: object) -> None:
            if in_turns:
                sys.stdin.readline()
            seconds.append(-perf_counter())

        def on_train_epoch_end(self, *_: object) -> None:
            seconds[-1] += perf_counter()
            if in_turns:
                print("seconds", seconds[-1], flush=True)

    return Clock()


def peak() -> int:
    """Return the peak memory of this process in bytes; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


if __name__ == "__main__":
    main()
