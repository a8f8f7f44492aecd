"""scVI through scvi-tools, on counts that `benchmarks.models` hands over: one training a process.

    python -m benchmarks.peer COUNTS.h5ad FOLDER --seed 0

writes FOLDER/latent.csv and, last of all, FOLDER/peer.json. Needs `pip install '.[peer]'`.
Lopez et al., Deep generative modeling for single-cell transcriptomics, Nature Methods 15 (2018).
"""

import argparse
import json
import logging
import warnings
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import anndata
import pandas as pd
import torch


def peak() -> int:
    """Bytes of memory that this process has had at most; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def main() -> None:
    """Trains, embeds, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latent", type=int, default=10)
    parser.add_argument("--likelihood", default="zinb", help="scvi-tools' default is zinb")
    parser.add_argument("--epochs", type=int, help="scvi-tools' own choice without")
    parser.add_argument("--batch-size", type=int, default=128, help="scvi-tools' default is 128")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    import scvi
    from lightning.pytorch.callbacks import Callback

    class Clock(Callback):  # type: ignore[misc]
        """When each epoch began and ended."""

        def __init__(self) -> None:
            self.times: list[float] = []

        def on_train_epoch_start(self, *_: object) -> None:
            self.times.append(-perf_counter())

        def on_train_epoch_end(self, *_: object) -> None:
            self.times[-1] += perf_counter()

    clock = Clock()
    logging.disable(logging.WARNING)
    torch.set_num_threads(asked.threads)
    cells = anndata.read_h5ad(asked.counts)
    scvi.settings.seed = asked.seed
    scvi.model.SCVI.setup_anndata(cells)
    model = scvi.model.SCVI(cells, n_latent=asked.latent, gene_likelihood=asked.likelihood)
    start = perf_counter()
    model.train(
        max_epochs=asked.epochs,
        batch_size=asked.batch_size,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        callbacks=[clock],
    )
    seconds = perf_counter() - start
    latent = model.get_latent_representation()
    names = [f"z{i}" for i in range(1, latent.shape[1] + 1)]
    asked.folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(latent, index=cells.obs_names.rename("cell"), columns=names)
    table.to_csv(asked.folder / "latent.csv")
    epochs = int(model.trainer.current_epoch)
    told = {
        "seconds": seconds, "epochs": epochs, "peak": peak(), "threads": asked.threads,
        "each": clock.times,
        "versions": {name: version(name) for name in ("scvi-tools", "torch")},
    }  # fmt: skip
    (asked.folder / "peer.json").write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
