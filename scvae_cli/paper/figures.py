"""The figures of the reproduction's page."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from scvae_cli.analysis.stats import estimate
from scvae_cli.paper.evidence import MEASURES, NAMES, PUBLISHED, SPACES, Page, named, places
from scvae_cli.results import figures
from scvae_cli.runs.files import read_table


def draw(done: Mapping[str, Path], page: Page) -> dict[str, bytes]:
    """All figures of these runs, name to PNG.

    Args:
        done: folders of runs by their names in `paper.plan`.
        page: of the same runs.
    """
    drawn = maps(done)
    drawn["scores"] = _heat(page)
    if len(page.of("beta", "vae")):
        drawn["beta"] = _beta(page)
    histories = {
        NAMES[m]: [read_table(done[name], "history") for name in page.of("report", m)["run"]]
        for m in ("ae", "vae", "vsc")
    }
    drawn["losses"] = figures.loss_curves(histories)
    return drawn


def maps(done: Mapping[str, Path]) -> dict[str, bytes]:
    """Maps of the first run of each model, as described and corrected, in 2-D and 3-D."""
    drawn = {}
    for kind, models, text in (
        ("report", ("ae", "vae", "vsc"), "as described"),
        ("corrected", ("vae", "vsc", "pca"), "corrected"),
    ):
        flat: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        deep: dict[str, np.ndarray] = {}
        for model in models:
            some = [name for name in done if name.startswith(f"{kind}-{model}-")]
            cells = read_table(done[min(some, key=lambda name: named(name).seed)], "cells")
            title = f"{NAMES[model]}, {text}" if model != "pca" else "PCA"
            flat[title] = places(cells, "tsne"), cells["cluster"].to_numpy()
            if "tsne3d_1" in cells:
                deep[title] = places(cells, "tsne3d")
        types, labels = np.unique(cells["cell_type"].to_numpy(dtype=str), return_inverse=True)
        names = tuple(map(str, types))
        drawn[f"maps_{kind}"] = figures.map_grid(flat, labels, names)
        if deep:
            drawn[f"maps_3d_{kind}"] = figures.map_grid_3d(deep, labels, names)
    return drawn


def _heat(page: Page) -> bytes:
    measures = {"nmi": "NMI", "ari": "ARI", "hom": "HOM", "com": "COM"}
    heat = {"published": pd.DataFrame(PUBLISHED).T.rename(index=NAMES, columns=measures)}
    for kind, title in (("report", "as described"), ("corrected", "corrected")):
        means = {
            NAMES[m]: {t: page.values(page.of(kind, m), k).mean() for k, t in measures.items()}
            for m in NAMES
            if m != "pca" or kind == "corrected"
        }
        heat[title] = pd.DataFrame(means).T
    return figures.score_heat(heat)


def _beta(page: Page) -> bytes:
    """Scores against beta, with the posterior mean."""
    lines: dict[str, dict[str, pd.DataFrame]] = {}
    pca: dict[str, dict[str, float]] = {}
    for space, name in SPACES.items():
        for measure in ("nmi", "ari"):
            title = f"{MEASURES[measure]}, {name}"
            lines[title] = {}
            for model in ("vae", "vsc"):
                found = {
                    beta: estimate(page.values(group, measure, space))
                    for beta, group in page.betas(model).items()
                }
                lines[title][NAMES[model]] = pd.DataFrame(
                    {
                        beta: {"mean": e.mean, "low": e.low, "high": e.high}
                        for beta, e in found.items()
                    }
                ).T
            reference = page.values(page.of("corrected", "pca"), measure, space).mean()
            pca[title] = {"PCA": float(reference)}
    return figures.score_lines(lines, "beta", pca)
