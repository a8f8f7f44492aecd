"""Hold the tables that every number on the page of the reproduction is computed from.

They are kept in four files beside the page:

    runs.csv     one row per run: kind, model, beta, seed, how it ended, losses, ...
    scores.csv   one row per run, set of labels and space
    kmeans.csv   one row per repetition of k-means on the map of seed 0, by model, starts and seed
    about.json   command, numbers of cells and genes, versions, and which figures there are
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scvae_cli.atomic import write_file

NAMES = {"ae": "AE", "vae": "VAE", "vsc": "VSC", "pca": "PCA"}
MEASURES = {
    "nmi": "NMI",
    "nmi_arithmetic": "NMI, arithmetic mean",
    "ari": "ARI",
    "hom": "HOM",
    "com": "COM",
}
# The report's figure 3.3 and the output of its notebook `Performance assessment.ipynb`.
PUBLISHED = {
    "ae": {"nmi": 0.7209, "ari": 0.5798, "hom": 0.7704, "com": 0.6745},
    "vae": {"nmi": 0.6092, "ari": 0.4404, "hom": 0.6543, "com": 0.5673},
    "vsc": {"nmi": 0.6456, "ari": 0.4653, "hom": 0.6921, "com": 0.6021},
}
TABLES = ("runs", "scores", "kmeans")
COLUMNS = {
    "runs": [
        "run", "kind", "model", "beta", "seed", "status", "reason", "seconds", "total",
        "reconstruction", "kl", "used", "silhouette", "purity",
    ],
    "scores": ["run", "labels", "space", "nmi", "nmi_arithmetic", "ari", "hom", "com", "found"],
    "kmeans": ["model", "n_init", "seed", "nmi", "ari"],
}  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """The tables of all runs, as the sections and figures of the page ask for them.

    Attributes:
        runs: columns `COLUMNS["runs"]`; status is `done` or `failed`.
        scores: of the runs that are done.
        kmeans: empty where there are no runs of kind `map`.
        about: command, n_cells, n_genes, n_types, n_latent, n_init, threads, versions, commits,
            figures.
    """

    runs: pd.DataFrame
    scores: pd.DataFrame
    kmeans: pd.DataFrame
    about: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write the four files into a folder, which is made if it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            table: pd.DataFrame = getattr(self, name)
            write_file(folder / f"{name}.csv", table.to_csv(index=False).encode())
        write_file(folder / "about.json", (json.dumps(self.about, indent=2) + "\n").encode())

    @property
    def has_other_labels(self) -> bool:
        """Whether runs are scored against a second set of labels, `--labels`."""
        return bool((self.scores["labels"] == "other").any())

    def runs_of(self, kind: str, model: str) -> pd.DataFrame:
        """Return the runs of a kind and model that are done, ordered by seed.

        The AE is the same as described and corrected, and so is PCA.
        """
        if (kind, model) == ("report", "pca"):
            kind = "corrected"
        return self._chosen(kind, model, "done").sort_values("seed", kind="stable")

    def n_failed(self, kind: str, model: str) -> int:
        """Return how many runs of a kind and model failed."""
        return len(self._chosen(kind, model, "failed"))

    def runs_by_beta(self, model: str) -> dict[float, pd.DataFrame]:
        """Return the runs that embed the posterior mean, grouped by beta."""
        runs = pd.concat([self.runs_of("beta", model), self.runs_of("corrected", model)])
        return {float(beta): group for beta, group in runs.groupby("beta")}

    def scores_of(
        self, runs: pd.DataFrame, measure: str, space: str = "tsne", labels: str = "own"
    ) -> np.ndarray:
        """Return one score (n,) per run, against the `own` labels or the `other` ones."""
        rows = self.scores[(self.scores["space"] == space) & (self.scores["labels"] == labels)]
        values: np.ndarray = rows.set_index("run")[measure].reindex(runs["run"]).to_numpy()
        return values

    def _chosen(self, kind: str, model: str, status: str) -> pd.DataFrame:
        if (kind, model) == ("corrected", "ae"):
            kind = "report"
        runs = self.runs
        return runs[(runs["kind"] == kind) & (runs["model"] == model) & (runs["status"] == status)]


def read(folder: Path) -> Evidence:
    """Return the tables that `Evidence.write` wrote into a folder."""
    tables = {
        name: pd.read_csv(folder / f"{name}.csv", float_precision="round_trip") for name in TABLES
    }
    return Evidence(
        **tables, about=json.loads((folder / "about.json").read_text(encoding="utf-8"))
    )
