"""Write docs/benchmark.md from docs/benchmark/: `python -m benchmarks.latents --page`."""

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.latents.figure import dots
from benchmarks.latents.joined import DECODED
from benchmarks.latents.methods import MEANING, METHODS
from benchmarks.latents.page_scores import first_or_level, score_tables
from benchmarks.latents.page_time import time_and_memory
from benchmarks.latents.questions import questions
from benchmarks.latents.sets import KINDS
from benchmarks.latents.tables import (
    BY,
    Tables,
    by_set,
    correlations,
    joining,
    left_out,
    overall,
    ranking,
    read,
    regrets,
    verdicts,
)
from scvae_cli.analysis.stats import estimate, paired
from scvae_cli.choice.criteria import CRITERIA
from scvae_cli.choice.page import MEANING as CRITERIA_MEAN
from scvae_cli.choice.plan import CONTROL
from scvae_cli.paper.wording import signed
from scvae_cli.results.markdown import table as markdown


def render(docs: Path) -> None:
    """Write the page and its figure."""
    tables = read(docs / "benchmark")
    parts = [
        _head(tables), _best(tables), _recommended(tables), _regret(tables), questions(tables),
        _follow(tables), _joined(tables), *score_tables(tables), time_and_memory(tables.about),
        _how(tables),
    ]  # fmt: skip
    (docs / "benchmark" / "scores.png").write_bytes(dots(tables))
    (docs / "benchmark.md").write_text("\n\n".join(part for part in parts if part) + "\n")


def _head(tables: Tables) -> str:
    rows = [
        [name, about["source"], KINDS[about["kind"]].lower()]
        for name, about in tables.labels.items()
    ]
    return f"""# Which latent space?

`make benchmark` wrote this page. It clusters latent spaces of cells whose types are known, and
scores the clusters against the types. The candidates are those of `scvae choose`, which recommends
one of them without looking at types. Other presets
([conf/experiment/benchmark](../conf/experiment/benchmark)) and scVI answer further questions. All
our networks are trained for up to 4,000 updates. They place cells by the expression that they
decode (`embedding=decoded`), but for `vae-nb-latent` and the report's models, of which the latent
features are taken.

The rule of `scvae choose` was not made blind to these cells. When its authors picked the criterion
among four, they had seen scores of FACS and Drop-seq. When they listed the candidates, took
`{CONTROL}` (before: `pca-20`) as the one that the others must beat, and let networks place cells
by what they decode, they had seen scores of all these sets but PBMC3k.

{markdown(["types", "source", "kind"], rows)}

![Mean of NMI and ARI of every method on every set of types](benchmark/scores.png)

The figure shows the latent space: means over seeds with 95 % intervals (Student's t).

{_run(tables)}"""


def _run(tables: Tables) -> str:
    """Return what each method is, and how many seeds of it were run on each set of cells."""
    sets = list(dict.fromkeys(about["set"] for about in tables.labels.values()))
    n = tables.scores.groupby(["method", "set"])["seed"].nunique()
    rows = [
        [f"`{method}`", MEANING[method], *(str(n.get((method, name), "")) for name in sets)]
        for method in METHODS
        if method in n.index.get_level_values("method")
    ]
    absent = [f"`{m}`" for m in METHODS if m not in n.index.get_level_values("method")]
    rest = f"\n\nNot run yet: {', '.join(absent)}." if absent else ""
    return f"""Seeds of each method, by set of cells; where there is no number, it was not run:

{markdown(["method", "what it is", *sets], rows)}{rest}"""


def _best(tables: Tables) -> str:
    best = str(ranking(tables).index[0])
    rows = []
    table = overall(tables, METHODS)
    for name, row in table.iterrows():
        gap = "" if name == best else signed(paired(table.loc[best].to_numpy(), row.to_numpy()))
        rows.append([str(name), f"{row.mean():.3f}", gap])
    left = [[name, left_out(tables, name)] for name in table.columns]
    rest = [
        name for name in METHODS if name not in table.index and name in {*tables.scores.method}
    ]
    unranked = f" Not run on all of them, and so not ranked: {', '.join(rest)}." if rest else ""
    return f"""## One setting for all: `experiment=best`

`experiment=best` is the candidate with the highest mean over {len(table.columns)} sets of cells:
of NMI and ARI, k-means and Leiden, in the latent space, it is **{best}**. Types that are clusters
of the same counts have no say, and FACS, which has two sets of types, counts once. The table has
the other methods beside the candidates; the last column says how far a method is below the best,
with 95 % intervals over the sets (paired).{unranked}

{markdown(["method", "mean", f"{best} - method"], rows)}

It was chosen on the cells that the tables below score it on. If the same rule chooses without the
cells it is judged on (`best, left out` below), it chooses:

{markdown(["without", "the rule chooses"], left)}

{first_or_level(tables, best)}"""


def _recommended(tables: Tables) -> str:
    rows = []
    for name, verdict in verdicts(tables).items():
        gap = "" if verdict.gap is None else f"{verdict.gap.mean:+.4f} ± {verdict.gap.half:.4f}"
        rows.append([name, f"**{verdict.chosen}**", verdict.highest, gap])
    control = sum(v.chosen == CONTROL for v in verdicts(tables).values())
    return f"""## What `scvae choose` recommends

A candidate is recommended only if it predicts held-out molecules better than `{CONTROL}`
(`experiment=best`) by more than chance. On {control} of {len(rows)} sets nothing does, and
`{CONTROL}` is recommended.

{markdown(["cells", "recommended", "highest", f"nats per molecule above {CONTROL}"], rows)}"""


def _regret(tables: Tables) -> str:
    parts = [
        """## What each rule of choice loses

Each number is the score (mean of NMI and ARI) of the candidate that is highest on these types,
less that of the rule's choice. The highest is known in hindsight, and partly by luck, so that no
rule can lose 0 everywhere. Clusters are those of the latent space, as many as types: k-means /
Leiden. `best, left out` is the candidate that is highest on all other sets of cells. scVI is no
candidate: a number below 0 says that it is above all candidates."""
    ]
    each = [regrets(tables, "latent", by) for by in BY]
    rules = list(each[0].columns[2:])
    rows = []
    for labels in each[0].index:
        of = [table.loc[labels] for table in each]
        highest = " / ".join(f"{row['highest']} {row['score']:.3f}" for row in of)
        rows.append(
            [labels, highest, *(" / ".join(f"{r[rule]:.3f}" for r in of) for rule in rules)]
        )
    over = (" / ".join(_mean_over_sets(tables, table[r]) for table in each) for r in rules)
    rows.append(["**mean, not circular**", "", *over])
    return "\n\n".join([*parts, markdown(["types", "highest", *rules], rows), *_compared(tables)])


def _mean_over_sets(tables: Tables, values: pd.Series) -> str:
    return f"{by_set(tables, values).mean():.3f}"


def _compared(tables: Tables) -> list[str]:
    """Return whether the choice loses less than other rules, over sets of cells."""
    both = sum(regrets(tables, "latent", by).drop(columns=["highest", "score"]) for by in BY) / 2
    ours = by_set(tables, both["scvae choose"])
    rows, better = [], []
    for rule in both.columns.drop("scvae choose"):
        gap = estimate((by_set(tables, both[rule]) - ours).to_numpy())
        rows.append([rule, signed(gap), _word(gap.low, gap.high)])
        if gap.low > 0:
            better.append(rule)
    n = len(ours)
    same = both["scvae choose"].equals(both[f"always {CONTROL}"])
    needed = (
        f" On these sets the rule always recommends `{CONTROL}`: whether it finds what is better "
        "where something is, they do not show."
        if same
        else ""
    )
    said = (
        f"It loses less than {', '.join(better)}, beyond the interval."
        if better
        else "No difference is beyond its interval: these sets are too few to tell."
    )
    return [
        f"What the other rules lose more than `scvae choose`, over {n} sets of cells (mean of "
        f"k-means and Leiden, 95 % intervals, paired). {said}{needed}",
        markdown(["rule", "loses more", ""], rows),
    ]


def _word(low: float, high: float) -> str:
    if low == high == 0:
        return "the same"
    if low > 0:
        return "choose loses less"
    return "choose loses more" if high < 0 else "not significant"


def _follow(tables: Tables) -> str:
    table = correlations(tables)
    rows = [
        [str(name), *("" if np.isnan(row[c]) else f"{row[c]:+.2f}" for c in CRITERIA)]
        for name, row in table.iterrows()
    ]
    means_of = [f"**{by_set(tables, table[column]).mean():+.2f}**" for column in CRITERIA]
    rows.append(["**mean, not circular**", *means_of])
    meaning = "\n".join(f"- **{name}**: {text}" for name, text in CRITERIA_MEAN.items())
    return f"""## Do the criteria follow the types?

Spearman's rank correlation over candidates of each criterion with the score (mean of NMI and ARI,
k-means and Leiden); none where all are level. With nine candidates, one case of twenty is beyond
±.67 by chance.

{markdown(["types", *CRITERIA.values()], rows)}

{meaning}"""


def _joined(tables: Tables) -> str:
    gains = joining(tables)
    rows = []
    for way, group in gains.groupby("way", sort=False):
        row = [str(way)]
        for method in dict.fromkeys(gains["method"]):
            some = group[group["method"] == method].groupby("labels")["gain"].mean()
            row.append(signed(estimate(by_set(tables, some).to_numpy())))
        over = group.groupby("labels")["gain"].mean()
        row.append(signed(estimate(by_set(tables, over).to_numpy())))
        rows.append(row)
    methods = list(dict.fromkeys(gains["method"]))
    n = int(gains["n"].max())
    return f"""## Do seeds gain by being joined?

What the mean of NMI and ARI gains over that of one seed where {n} seeds are joined: mean over sets
of cells, k-means and Leiden, with 95 % intervals. `{DECODED}` is what `ensemble=` does with
`embedding=decoded`: principal components of the mean of what all decode. `side by side` is what it
does otherwise, here with the places of each seed, centred and scaled to a total variance of 1.
`components` takes as many principal components of that as one has features; `each feature` scales
every feature.

{markdown(["joined", *methods, "all"], rows)}"""


def _how(tables: Tables) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in tables.about["versions"].items())
    return f"""## How

- Every method gets the same cells and the same 2,000 variable genes (`pca-deviance` chooses its
  own), or all genes of the simulated cells, where `pca-deviance` has none to choose.
- The scores' intervals are over seeds (Student's t). Bold: not significantly below the highest
  of its column (one-sided Welch test of each method against it, at 5 % / (methods - 1)). With
  three seeds, a method whose scores scatter is rarely significantly below. Controls are not
  compared.
- k-means starts 50 times; scores are means over the starts whose inertia is within 1 % of the
  lowest, as chance decides which of those is the lowest. Leiden: the mean over five seeds, on the
  graph of 20 shared nearest neighbours (Jaccard index of 1/15 or more), at the resolution that
  gives as many clusters as there are types. Both are given the number of types.
- Maps are t-SNE of 1,000 cells at most.
- Our networks train with batches of 256 on nine tenths of each cell's molecules and keep the
  weights that predict the rest best; all of them stop after 600 updates without a gain, except
  `vsc-nb-sound` and `vsc-uai-nb`, in which gates are learnt first and losses then rise. Latent
  spaces are those of all molecules: what is decoded at the posterior's mean, or the mean itself.
- scVI has ten latents, its default of a zero-inflated negative binomial, one hidden layer of 128
  and batches of 128, and the counts of the same genes. `scvi-short` is left out where 4,000
  updates take 400 epochs or more, as it then is as long as `scvi`.
- On PBMC3k, whose types are all clusters of the same counts, only the candidates, `scvi-early` and
  the controls are run.
- The seed sets which molecules are held out, weights, batches, noise, t-SNE and k-means. PCA has
  no weights to start from, no batches and no noise, and so has the narrowest intervals.
- NMI is normalised by the geometric mean of the entropies.
- Scores were computed with {versions}. Every score is
  in [benchmark/scores.csv](benchmark/scores.csv); criteria and joined seeds are beside it, and
  `python -m benchmarks.latents --page` writes this page from them."""
