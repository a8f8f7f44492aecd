"""Compare pairs of methods that differ in one thing."""

from collections.abc import Sequence

from benchmarks.models.presets import PEER, SHORT_PEER
from benchmarks.models.table import MEASURES, Table, better_or_worse
from scvae_cli.analysis.stats import Estimate, difference
from scvae_cli.paper.wording import signed
from scvae_cli.results.markdown import table as markdown

UAI = "vsc-uai-nb"
# What is different, the method that has it, and the one that has not.
PAIRS = [
    ("counts, not log values", "vae-nb", "vae-gaussian"),
    ("negative binomial, not Poisson", "vae-nb", "vae-poisson"),
    ("zero inflation", "vae-zinb", "vae-nb"),
    ("noise and KL (VAE, not AE)", "vae-nb", "ae-nb"),
    ("sparsity (VSC, not VAE)", "vsc-nb", "vae-nb"),
    ("sound gates, warm-up, c to 200", "vsc-nb-sound", "vsc-nb"),
    ("pseudo-inputs (UAI 2019)", UAI, "vsc-nb-sound"),
    ("twice the steps (batches of 128)", "vae-poisson-128", "vae-poisson"),
    ("256 hidden units, not 128", "vae-poisson-wide", "vae-poisson-128"),
    ("three times the epochs", "vae-nb-long", "vae-nb"),
    ("ours, not scVI", "vae-nb", PEER),
    ("ours, not scVI, as many epochs", "vae-nb", SHORT_PEER),
    ("training at all", "vae-nb", "untrained"),
]


def questions(table: Table) -> str:
    """Return the section on what helps: a row for each of `PAIRS`."""
    gaps = {(a, b): [_gaps(table, labels, a, b) for labels in table.labels] for _, a, b in PAIRS}
    rows = [
        [what, f"{a} - {b}", *map(_cell, gaps[a, b])] for what, a, b in PAIRS if any(gaps[a, b])
    ]
    n = sum(len(some) for of_labels in gaps.values() for some in of_labels)
    verdicts = [
        better_or_worse(gap)
        for (a, _), of_labels in gaps.items()
        if a == UAI
        for some in of_labels
        for gap in some
    ]
    return f"""## What helps

Each row compares two presets that differ in one thing. A cell has the difference in NMI above that
in ARI, for k-means in the latent space, with 95 % intervals (Welch). A difference is bold where
its interval leaves out 0. Where nothing differs, one in twenty is bold by chance: about
{round(n / 20)} of these {n}. `scvi-short` is no complete training of scVI: see the last section.

{markdown(["what", "presets", *table.labels], rows)}{_uai(verdicts)}"""


def _gaps(table: Table, labels: str, a: str, b: str) -> list[Estimate]:
    """Return the differences of two methods in each measure; fewer if they have too few seeds."""
    gaps = []
    for measure in MEASURES:
        x, y = (table.values(m, labels, "latent", "k-means", measure) for m in (a, b))
        if min(len(x), len(y)) >= 2:
            gaps.append(difference(x, y))
    return gaps


def _cell(gaps: Sequence[Estimate]) -> str:
    """Return differences, one below the other, bold where 0 lies outside."""
    return "<br>".join(
        f"**{signed(gap)}**" if gap.low > 0 or gap.high < 0 else signed(gap) for gap in gaps
    )


def _uai(verdicts: Sequence[str]) -> str:
    """Return whether the published form of the VSC is worth its pseudo-inputs.

    Args:
        verdicts: of `better_or_worse`; none if it was not run.
    """
    if not verdicts:
        return ""
    better, worse = verdicts.count("better"), verdicts.count("worse")
    earned = "earns" if better > worse else "does not earn"
    return (
        f"\n\n`model=vsc_uai`, the VSC as published, {earned} its place: compared with a VSC that "
        f"has the same gates and warm-up but no pseudo-inputs, it is better in {better} of "
        f"{len(verdicts)} comparisons and worse in {worse}; the others cannot be told apart."
    )
