"""Train the runs that label, as sweeps; what is there is not repeated."""

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.command import ROOT
from benchmarks.labels.sets import FACS, Split

# Presets, and what the page calls them. Neighbours are those among latent features.
MODELS = {"best": "pca-sqrt", "benchmark/vae-nb-latent": "vae-nb"}
NETWORKS = ("vae-nb",)  # those that depend on the seed
SEEDS = 5  # of networks that see all types of a plate or protocol; the halves of FACS differ
# The maps have no say.
WORDS = (
    "data=file", "data.genes=2000", "threads=1",
    "map_3d=false", "figures.format=null", "tsne.max_cells=300", "tsne.max_iter=250",
    "cluster.n_init=1",
)  # fmt: skip


def train(splits: Sequence[Split], cells: Path, runs: Path) -> None:
    """Train both models on the reference of each split, in a sweep for each set and kind.

    Args:
        splits: all.
        cells: folder of the parts.
        runs: where the sweeps go.
    """
    for preset, model in MODELS.items():
        sweeps: dict[tuple[str, int], list[Split]] = {}
        for split in splits:
            once = model not in NETWORKS or split.of == FACS or split.what
            sweeps.setdefault((split.of, 1 if once else SEEDS), []).append(split)
        for (of, seeds), some in sweeps.items():
            to = runs / f"{of}-{model}-{seeds}"
            files = ",".join(str(split.file(cells, "ref")) for split in some)
            words = [
                f"experiment={preset}", f"seed=range(0,{seeds})", f"data.path={files}",
                f"data.label_key={some[0].column}", *WORDS,
            ]  # fmt: skip
            if find_spec("hydra_plugins.hydra_joblib_launcher"):
                words.append("hydra/launcher=joblib")
            there = (to / "sweep.json").exists()
            place = [f"resume={to}", "force=true"] if there else [f"hydra.sweep.dir={to}"]
            command = [sys.executable, "-m", "scvae_cli", "train", "-m", *words, *place]
            subprocess.run(command, cwd=ROOT, check=True)
