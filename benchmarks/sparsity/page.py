"""Write docs/sparsity.md from sparsity.csv and sparsity.json."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.sparsity.differences import WORDS, Gap, above, by_verdict, gaps, pairs_of
from benchmarks.sparsity.measures import MEASURES, ROTATIONS
from benchmarks.sparsity.programmes import N_MARKERS, TOP
from scvae_cli.analysis.stats import estimate
from scvae_cli.paper.wording import plain
from scvae_cli.results.figures.sparsity import NOTABLE
from scvae_cli.results.markdown import table


def render(to: Path) -> None:
    """Write and print sparsity.md, from sparsity.csv and sparsity.json in a folder."""
    values = pd.read_csv(to / "sparsity.csv", float_precision="round_trip")
    page = text(values, json.loads((to / "sparsity.json").read_text()))
    (to / "sparsity.md").write_text(page)
    print(page)


def text(values: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        values: a row for each model (or its turned version) and seed, with `MEASURES`, and `on`.
        facts: n_cells, n_genes, n_textbook.
    """
    by_model = {str(name): rows for name, rows in values.groupby("model", sort=False)}
    sparse = [n for n in by_model if n.startswith("VSC") and not n.endswith("turned")]
    families = {kind: gaps(by_model, pairs) for kind, pairs in pairs_of(sparse).items()}
    every = [gap for family in families.values() for gap in family]
    sizes = " and ".join(f"{len(family)} with {kind}" for kind, family in families.items())
    return PAGE.format(
        verdict=_verdict(every, sparse),
        measures=table(["", "latents on in a cell", *MEASURES.values()], _measured(by_model)),
        gaps=table(["", *(MEASURES[name] for name in WORDS)], _compared(every)),
        seeds=values["seed"].nunique(), n_cells=f"{facts['n_cells']:,}",
        n_genes=f"{facts['n_genes']:,}", n_textbook=facts["n_textbook"], top=TOP,
        n_markers=N_MARKERS, rotations=ROTATIONS, sizes=sizes, notable=NOTABLE,
        expected=f"{100 * N_MARKERS / facts['n_genes']:.1f}",
    )  # fmt: skip


def _measured(by_model: Mapping[str, pd.DataFrame]) -> list[list[str]]:
    """Return a row for each model: latents on in a cell, then every measure."""
    return [
        [
            name,
            "all" if t["on"].isna().any() else plain(estimate(t["on"].to_numpy()), 1),
            *(plain(estimate(t[k].to_numpy()), _digits(k)) for k in MEASURES),
        ]
        for name, t in by_model.items()
    ]


def _compared(some: Sequence[Gap]) -> list[list[str]]:
    """Return a row for each pair: the difference in each measure, and what it says."""
    rows: dict[str, list[str]] = {}
    for gap in some:
        cell = f"{plain(gap.estimate, _digits(gap.measure))}, {gap.says}"
        rows.setdefault(f"{gap.a} - {gap.b}", []).append(cell)
    return [[pair, *cells] for pair, cells in rows.items()]


def _digits(measure: str) -> int:
    """Return how many decimals of a measure are shown."""
    return 2 if measure in ("auroc", "jaccard") else 1


def _verdict(some: Sequence[Gap], sparse: Sequence[str]) -> str:
    """Return whether latents of the VSC are programmes more than those of the VAE, and why."""
    better = [name for name in sparse if above(some, name, "VAE")]
    of_axes = [name for name in better if above(some, name, f"{name}, turned")]
    if of_axes:
        answer = [
            f"Yes, for {'; '.join(of_axes)}: above the VAE, and above random directions of its",
            "own latent space, in one measure at least, and below them in none.",
        ]
    elif better:
        answer = [
            "Not shown. Above the VAE in one measure at least and below it in none:",
            f"{'; '.join(better)}. But none of them is so against random directions of its own",
            "latent space: what is better cannot be put down to its latents as such.",
        ]
    else:
        answer = [
            "Not shown: no VSC is better than the VAE (above it in one measure or more,",
            "below it in none).",
        ]
    pairs = dict.fromkeys((gap.a, gap.b) for gap in some)
    lines = [f"- *{a}* against *{b}*: {_sentence(by_verdict(some, a, b))}." for a, b in pairs]
    return "\n".join([" ".join(answer), "", *lines])


def _sentence(names: Mapping[str, Sequence[str]]) -> str:
    """Return the measures of `by_verdict` as a sentence."""
    words = {"higher": "higher in", "lower": "lower in", "not significant": "not told apart in"}
    return "; ".join(f"{words[how]} {', '.join(some)}" for how, some in names.items() if some)


PAGE = """\
# What the sparsity of the VSC shows

Do the latents of the VSC stand for programmes of genes that a person can name, where those of the
VAE do not? {verdict}

`make sparsity` wrote this page: {n_cells} PBMCs of ten populations sorted by antibodies (Zheng et
al. 2017), whose labels owe nothing to the counts; the {n_genes} most variable genes, ten latents,
negative binomial, 128 hidden units on either side, beta 1, 100 epochs, sigmoid gates; warm-up is
`model.spike_warmup=0.5`. {seeds} seeds each, means with 95 % intervals over seeds. All numbers are
computed from [sparsity.csv](sparsity.csv).

![Which latents are on in which type, and the genes that they raise](sparsity.png)

Every VSC run writes this figure and its numbers, latents.csv and drivers.csv. A latent is on in a
cell where gamma, the posterior probability of its slab, is above 1/2. The slab lies on both sides
of 0, so that each latent gives two programmes, + and -: the genes that rise when the latent moves
from 0 (off) to its mean among cells where it is on with that sign. All other latents are at the
cells' mean. Effects are differences of log(1 + counts per 10,000), the 10,000 being counts in the
{n_genes} genes.

## Measured

{measures}

- A programme is a sign of a latent that raises some gene by {notable:g} or more, and its {top}
  genes that rise most. VAE and PCA are never off: theirs go from the median to the 95th or 5th
  percentile.
- The AUROC is that of a type against all other cells by the level of the programme that tells it
  best; this and the shares of markers are means over the ten types. (Means over programmes would
  favour models that use few latents. The best of many programmes favours the VAE instead, which
  has more of them.) A programme marks the type that it tells best.
- Markers of a type are the {n_markers} genes highest in a rank-sum test of the type against the
  rest; {expected} % of genes drawn at random would be among them. Those of the other types, many
  of them T cells too, are the control.
- Textbook markers are {n_textbook} pairs of a type and a marker that the Seurat tutorial gives for
  it, as far as they are among the genes: found where a programme that marks the type has the gene.
- The match between seeds is of each programme with the most similar one of another seed. Seeds are
  paired with each other, so that its intervals are somewhat too narrow. PCA has no seed to speak
  of.
- *Turned* is the control for directions: the same trained models, and {rotations} random rotations
  of each latent space, by percentiles. What is not above its own turned version owes nothing that
  can be seen to the directions of the latents.

## Differences

{gaps}

Intervals are of one difference at a time: Welch's, and paired by seed between models and their own
turned versions. "Higher" and "lower" where Holm's correction for all differences of a kind
({sizes}) leaves p at .05 or below: where nothing differs, one in twenty
such kinds has any. (By plain 95 % intervals, and if nothing differed, one of the three VSCs would
in one case of four be above the VAE in some measure and below it in none.) With {seeds} seeds many
intervals are wide.
"""
