"""Draw the figures of the page of the reproduction."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scvae_cli.analysis.stats import estimate
from scvae_cli.measures import SPACES
from scvae_cli.paper.collect import coordinates, named
from scvae_cli.paper.evidence import MEASURES, NAMES, PUBLISHED, Evidence
from scvae_cli.results.figures.losses import loss_curves
from scvae_cli.results.figures.many_maps import map_grid, map_grid_3d
from scvae_cli.results.figures.scores import score_heat, score_lines
from scvae_cli.results.figures.style import render
from scvae_cli.runs.run import Run

# What each figure shows, by the name of its file.
CAPTIONS = {
    "maps_report": "2-D maps as described, by cell type and by cluster, seed 0",
    "maps_3d_report": "3-D maps as described, by cell type, seed 0",
    "maps_corrected": "2-D maps corrected, by cell type and by cluster, seed 0",
    "maps_3d_corrected": "3-D maps corrected, by cell type, seed 0",
    "scores": "Scores of k-means on the 2-D map: published, as described, corrected",
    "beta": "Scores against beta, with 95 % intervals",
    "losses": "Squared error and KL over epochs, a line a seed, as described",
}


def figure(name: str) -> str:
    """Return the line of Markdown that shows a figure."""
    return f"![{CAPTIONS[name]}](reproduction/{name}.png)"


def draw(done: Mapping[str, Run], evidence: Evidence) -> dict[str, bytes]:
    """Draw all figures of these runs.

    Args:
        done: folders of the runs by their names in `paper.plan`.
        evidence: tables of the same runs.

    Returns:
        PNG files by name.
    """
    drawn = draw_maps(done)
    drawn["scores"] = _score_heat(evidence)
    if len(evidence.runs_of("beta", "vae")):
        drawn["beta"] = _beta(evidence)
    histories = {
        NAMES[m]: [done[name].table("history") for name in evidence.runs_of("report", m)["run"]]
        for m in ("ae", "vae", "vsc")
    }
    drawn["losses"] = render(loss_curves(histories))
    return drawn


def draw_maps(done: Mapping[str, Run]) -> dict[str, bytes]:
    """Draw 2-D and 3-D maps of the first run of each model, as described and corrected."""
    drawn = {}
    for kind, models, text in (
        ("report", ("ae", "vae", "vsc"), "as described"),
        ("corrected", ("vae", "vsc", "pca"), "corrected"),
    ):
        flat: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        deep: dict[str, np.ndarray] = {}
        for model in models:
            runs = [name for name in done if name.startswith(f"{kind}-{model}-")]
            cells = done[min(runs, key=lambda name: named(name).seed)].cells()
            title = f"{NAMES[model]}, {text}" if model != "pca" else "PCA"
            flat[title] = coordinates(cells, "tsne"), cells["cluster"].to_numpy()
            if "tsne3d_1" in cells:
                deep[title] = coordinates(cells, "tsne3d")
        types, labels = np.unique(cells["cell_type"].to_numpy(dtype=str), return_inverse=True)
        names = tuple(map(str, types))
        drawn[f"maps_{kind}"] = render(map_grid(flat, labels, names))
        if deep:
            drawn[f"maps_3d_{kind}"] = render(map_grid_3d(deep, labels, names))
    return drawn


def _score_heat(evidence: Evidence) -> bytes:
    """Draw the scores on the 2-D map as colours: published, as described, corrected."""
    measures = {"nmi": "NMI", "ari": "ARI", "hom": "HOM", "com": "COM"}
    heat = {"published": pd.DataFrame(PUBLISHED).T.rename(index=NAMES, columns=measures)}
    for kind, title in (("report", "as described"), ("corrected", "corrected")):
        means = {
            NAMES[m]: {
                t: evidence.scores_of(evidence.runs_of(kind, m), k).mean()
                for k, t in measures.items()
            }
            for m in NAMES
            if m != "pca" or kind == "corrected"
        }
        heat[title] = pd.DataFrame(means).T
    return render(score_heat(heat))


def _beta(evidence: Evidence) -> bytes:
    """Draw scores of the posterior mean against beta, with PCA's for reference."""
    lines: dict[tuple[str, str], dict[str, pd.DataFrame]] = {}
    pca: dict[tuple[str, str], dict[str, float]] = {}
    for space, name in SPACES.items():
        for measure in ("nmi", "ari"):
            title = MEASURES[measure], name
            lines[title] = {}
            for model in ("vae", "vsc"):
                means = {
                    beta: estimate(evidence.scores_of(group, measure, space))
                    for beta, group in evidence.runs_by_beta(model).items()
                }
                lines[title][NAMES[model]] = pd.DataFrame(
                    {
                        beta: {"mean": e.mean, "low": e.low, "high": e.high}
                        for beta, e in means.items()
                    }
                ).T
            runs = evidence.runs_of("corrected", "pca")
            pca[title] = {"PCA": float(evidence.scores_of(runs, measure, space).mean())}
    return render(score_lines(lines, "beta", pca))
