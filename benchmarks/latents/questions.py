"""Compare pairs of methods that differ in one thing."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.latents.tables import BY, MEASURES, Tables, by_set, values
from scvae_cli.analysis.stats import Estimate, difference, estimate
from scvae_cli.paper.wording import signed
from scvae_cli.results.markdown import table as markdown

UAI = "vsc-uai-nb"
# What is different, the method that has it, and the one that has not.
PAIRS = [
    ("square roots, not logarithms", "pca-sqrt", "pca-20"),
    ("genes by deviance", "pca-deviance", "pca-sqrt"),
    ("decoded expression, not latent features", "vae-nb", "vae-nb-latent"),
    ("counts, not log values", "vae-nb", "vae-gaussian"),
    ("negative binomial, not Poisson", "vae-nb", "vae-poisson"),
    ("zero inflation", "vae-zinb", "vae-nb"),
    ("noise and KL (VAE, not AE)", "vae-nb", "ae-nb"),
    ("20 latents, 256 hidden units", "vae-nb-wide", "vae-nb"),
    ("sparsity (VSC, not VAE)", "vsc-nb", "vae-nb"),
    ("gates first, c to 200", "vsc-nb-sound", "vsc-nb"),
    ("pseudo-inputs (UAI 2019)", UAI, "vsc-nb-sound"),
    ("ours, not the report's VAE", "vae-nb", "vae"),
    ("ours, not scVI", "vae-nb", "scvi"),
    ("ours, not scVI as long as ours", "vae-nb", "scvi-short"),
    ("ours, not scVI stopped early", "vae-nb", "scvi-early"),
    ("training at all", "vae-nb", "untrained"),
]


class Gaps(NamedTuple):
    """How two methods differ in the mean of NMI and ARI.

    Attributes:
        by_labels: over seeds (Welch), by labels and way of clustering; none where one was not run.
        over_sets: the means' differences over sets of cells (paired), if there are two or more.
    """

    by_labels: dict[str, list[Estimate]]
    over_sets: Estimate | None


def questions(tables: Tables) -> str:
    """Return the section on what helps: a row for each of `PAIRS`."""
    found = {(what, a, b): gaps(tables, a, b) for what, a, b in PAIRS}
    rows = [
        [what, f"{a} - {b}", *(_cell(gap.by_labels.get(name, [])) for name in tables.labels),
         f"{_cell([gap.over_sets])} (n = {gap.over_sets.n})" if gap.over_sets else ""]
        for (what, a, b), gap in found.items()
        if gap.by_labels
    ]  # fmt: skip
    n = sum(len(some) for gap in found.values() for some in gap.by_labels.values())
    columns = ["what", "presets", *tables.labels, "over sets"]
    return f"""## What helps

Each row compares two methods that differ in one thing, in the mean of NMI and ARI in the latent
space: by k-means, and below it by Leiden, with 95 % intervals over seeds (Welch). The last column
is the mean over sets of cells and both, without circular types (95 %, paired, n sets). A
difference is bold where its interval leaves out 0. Where nothing differs, one in twenty is bold by
chance: about {round(n / 20)} of these {n}. With three seeds, only large differences can be told.

{markdown(columns, rows)}{_uai(found)}"""


def gaps(tables: Tables, a: str, b: str) -> Gaps:
    """Return how much higher method `a` is than `b`."""
    by_labels, centre = {}, {}
    for labels in tables.labels:
        some = []
        for by in BY:
            x, y = (_both(tables, labels, by, method) for method in (a, b))
            if min(len(x), len(y)) >= 2:
                some.append(difference(x, y))
        if some:
            by_labels[labels] = some
            centre[labels] = float(np.mean([gap.mean for gap in some]))
    over = by_set(tables, pd.Series(centre, dtype=float).reindex(list(tables.labels)))
    return Gaps(by_labels, estimate(over.to_numpy()) if len(over) > 1 else None)


def _both(tables: Tables, labels: str, by: str, method: str) -> np.ndarray:
    """Return the mean of NMI and ARI of each seed (n_seeds,); empty if there are too few."""
    each = [values(tables, labels, "latent", by, m).get(method, np.empty(0)) for m in MEASURES]
    mean: np.ndarray = np.mean(each, axis=0)
    return mean


def _cell(gaps: list[Estimate]) -> str:
    """Return differences, one below the other, bold where 0 lies outside."""
    return "<br>".join(
        f"**{signed(gap)}**" if gap.low > 0 or gap.high < 0 else signed(gap) for gap in gaps
    )


def _uai(found: dict[tuple[str, str, str], Gaps]) -> str:
    """Return whether the published form of the VSC is worth its pseudo-inputs."""
    some = [
        gap
        for (_, a, _), one in found.items()
        if a == UAI
        for each in one.by_labels.values()
        for gap in each
    ]
    if not some:
        return ""
    better, worse = sum(gap.low > 0 for gap in some), sum(gap.high < 0 for gap in some)
    if better == worse:
        earned = "has not shown that it earns"
    else:
        earned = "earns" if better > worse else "does not earn"
    return (
        f"\n\n`model=vsc_uai`, the VSC as published, {earned} its place: compared with a VSC that "
        f"has the same gates and warm-up but no pseudo-inputs, it is better in {better} of "
        f"{len(some)} comparisons and worse in {worse}; the others cannot be told apart."
    )
