"""Write docs/choice.md from docs/choice/*.csv: `python -m benchmarks.choice --page`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.choice.sets import CIRCULAR, INDEPENDENT, KINDS
from benchmarks.choice.tables import (
    BY,
    CONTROLS,
    PEERS,
    Tables,
    correlations,
    joining,
    left_out,
    ranking,
    read,
    regrets,
    verdicts,
)
from benchmarks.models.table import level
from scvae_cli.analysis.stats import estimate
from scvae_cli.choice.criteria import CRITERIA
from scvae_cli.choice.page import MEANING
from scvae_cli.choice.plan import CANDIDATES, CONTROL
from scvae_cli.paper.wording import plain, signed
from scvae_cli.results.markdown import table as markdown

READINGS = [(space, by) for space in ("latent", "map") for by in BY]


def render(docs: Path) -> None:
    """Write the page."""
    tables = read(docs / "choice")
    parts = [
        _head(tables), _recommended(tables), _regret(tables), _best(tables), _follow(tables),
        _joined(tables), *_scores(tables), _how(tables),
    ]  # fmt: skip
    (docs / "choice.md").write_text("\n\n".join(parts) + "\n")


def _head(tables: Tables) -> str:
    rows = [
        [name, about["source"], KINDS[about["kind"]].lower()]
        for name, about in tables.labels.items()
    ]
    return f"""# Does `scvae choose` choose well?

`make choice` wrote this page. `scvae choose` recommends a latent space without looking at cell
types. Here it is run on cells whose types are known, and the types say how much it loses.
The people who wrote the rule had seen scores of FACS and Drop-seq when they picked the criterion
among four, and of all these sets but PBMC3k when they listed the candidates and took `{CONTROL}`
in place of `pca-20` as the one that the others must beat.

{markdown(["types", "source", "kind"], rows)}"""


def _recommended(tables: Tables) -> str:
    rows = []
    for name, verdict in verdicts(tables).items():
        gap = "" if verdict.gap is None else f"{verdict.gap.mean:+.4f} ± {verdict.gap.half:.4f}"
        rows.append([name, f"**{verdict.chosen}**", verdict.highest, gap])
    control = sum(v.chosen == CONTROL for v in verdicts(tables).values())
    return f"""## What it recommends

A candidate is recommended only if it predicts held-out molecules better than `{CONTROL}`
(`experiment=best`) by more than chance. On {control} of {len(rows)} sets nothing does, and
`{CONTROL}` is recommended.

{markdown(["cells", "recommended", "highest", f"nats per molecule above {CONTROL}"], rows)}"""


def _regret(tables: Tables) -> str:
    parts = [
        """## What each rule of choice loses

How far the mean of NMI and ARI is below that of the candidate that is highest on these types (in
hindsight, and so partly by luck: nothing could lose 0 everywhere). Clusters are those of the
latent space, as many as types. `best, left out` is the candidate that is highest on all other
sets of cells. scVI is not among the candidates, and loses less than 0 where it is above all."""
    ]
    for by in BY:
        table = regrets(tables, "latent", by)
        rules = list(table.columns[2:])
        rows = [
            [labels, f"{row['highest']} {row['score']:.3f}", *(f"{row[r]:.3f}" for r in rules)]
            for labels, row in table.iterrows()
        ]
        rows.append(
            ["**mean, not circular**", "", *(_mean_over_sets(tables, table[r]) for r in rules)]
        )
        parts += [f"{by}:", markdown(["types", "highest", *rules], rows)]
    return "\n\n".join([*parts, *_compared(tables)])


def _by_set(tables: Tables, values: pd.Series) -> pd.Series:
    """Return the mean of each set of cells whose types are no clusters of the same counts."""
    sets = {n: a["set"] for n, a in tables.labels.items() if a["kind"] != CIRCULAR}
    return values[list(sets)].groupby(sets).mean()


def _mean_over_sets(tables: Tables, values: pd.Series) -> str:
    return f"{_by_set(tables, values).mean():.3f}"


def _compared(tables: Tables) -> list[str]:
    """Return whether the choice loses less than other rules, over sets of cells."""
    both = sum(regrets(tables, "latent", by).drop(columns=["highest", "score"]) for by in BY) / 2
    ours = _by_set(tables, both["scvae choose"])
    rows, better = [], []
    for rule in both.columns.drop("scvae choose"):
        gap = estimate((_by_set(tables, both[rule]) - ours).to_numpy())
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
    return "choose loses more" if high < 0 else "cannot be told"


def _best(tables: Tables) -> str:
    order = ranking(tables)
    rows = [[str(name), f"{value:.3f}"] for name, value in order.items()]
    sets = dict.fromkeys(a["set"] for a in tables.labels.values() if a["kind"] != CIRCULAR)
    left = [[name, left_out(tables, name)] for name in sets]
    rest = [name for name in CANDIDATES if name not in order.index]
    unranked = f" Not run on all of them, and so not ranked: {', '.join(rest)}." if rest else ""
    return f"""## One setting for all: `experiment=best`

`experiment=best` is the candidate with the highest mean over these sets of cells, of NMI and ARI,
k-means and Leiden, in the latent space: **{order.index[0]}**. Types that are clusters of the same
counts have no say.{unranked}

{markdown(["candidate", "mean"], rows)}

It was chosen on the cells that the tables below score it on. `best, left out` above is what the
same rule chooses without the cells it is judged on:

{markdown(["without", "the rule chooses"], left)}

{_first_or_level(tables, str(order.index[0]))}"""


def _first_or_level(tables: Tables, best: str) -> str:
    """Return on how many independent labels the best is first or level with the first."""
    behind = []
    labels = [name for name, about in tables.labels.items() if about["kind"] == INDEPENDENT]
    for name in labels:
        for by in BY:
            for measure in ("nmi", "ari"):
                values = _values(tables, name, "latent", by, measure)
                firsts = _firsts(values)
                if best not in firsts:
                    behind.append(f"{name}, {by}, {measure.upper()} ({firsts[0]} is above)")
    n = len(labels) * len(BY) * 2
    rest = f": all but {'; '.join(behind)}" if behind else ""
    return (
        f"On independent types it is first or level with the first (simultaneous 95 %, scVI "
        f"among the others) in {n - len(behind)} of {n} readings of the latent space{rest}."
    )


def _values(
    tables: Tables, labels: str, space: str, by: str, measure: str
) -> dict[str, np.ndarray]:
    """Return the scores (n_seeds,) of each method that has two or more."""
    s = tables.scores
    some = s[(s["labels"] == labels) & (s["space"] == space) & (s["by"] == by)]
    groups = some.groupby("method", sort=False)[measure]
    return {str(name): v.to_numpy() for name, v in groups if len(v) > 1}


def _follow(tables: Tables) -> str:
    table = correlations(tables)
    rows = [
        [str(name), *(f"{row[column]:+.2f}" for column in CRITERIA)]
        for name, row in table.iterrows()
    ]
    means_of = [f"**{_by_set(tables, table[column]).mean():+.2f}**" for column in CRITERIA]
    rows.append(["**mean, not circular**", *means_of])
    meaning = "\n".join(f"- **{name}**: {text}" for name, text in MEANING.items())
    return f"""## Do the criteria follow the types?

Spearman's rank correlation over candidates of each criterion with the score (mean of NMI and ARI,
k-means and Leiden). With nine candidates, one case of twenty is beyond ±.67 by chance.

{markdown(["types", *CRITERIA.values()], rows)}

{meaning}"""


def _joined(tables: Tables) -> str:
    gains = joining(tables)
    rows = []
    for way, group in gains.groupby("way", sort=False):
        row = [str(way)]
        for method in dict.fromkeys(gains["method"]):
            some = group[group["method"] == method].groupby("labels")["gain"].mean()
            row.append(signed(estimate(_by_set(tables, some).to_numpy())))
        over = group.groupby("labels")["gain"].mean()
        row.append(signed(estimate(_by_set(tables, over).to_numpy())))
        rows.append(row)
    methods = list(dict.fromkeys(gains["method"]))
    n = int(gains["n"].max())
    return f"""## Do seeds gain by being joined?

What the mean of NMI and ARI gains over that of one seed where {n} seeds are joined: mean over sets
of cells, k-means and Leiden, with 95 % intervals. `side by side` is what `ensemble=` does: each
latent space centred and scaled to a total variance of 1. `components` takes as many principal
components of that as one latent space has features; `each feature` scales every feature.

{markdown(["joined", *methods, "all"], rows)}"""


def _scores(tables: Tables) -> list[str]:
    parts = ["## Scores"]
    heads = [f"{space}, {by}, {m.upper()}" for space, by in READINGS for m in ("nmi", "ari")]
    for kind, title in KINDS.items():
        for labels, about in tables.labels.items():
            if about["kind"] == kind:
                parts.append(f"### {labels}\n\n{title}.")
                parts.append(markdown(["", "seeds", *heads], _rows(tables, labels)))
    return parts


def _rows(tables: Tables, labels: str) -> list[list[str]]:
    """Return a row a method; bold is what cannot be told from the highest of its column."""
    columns = [
        _values(tables, labels, space, by, m) for space, by in READINGS for m in ("nmi", "ari")
    ]
    order = [name for name in (*CANDIDATES, *PEERS, *CONTROLS) if name in columns[0]]
    bold = [_firsts(values) for values in columns]
    rows = []
    for name in order:
        cells = [_cell(values, name, firsts) for values, firsts in zip(columns, bold, strict=True)]
        rows.append([name, str(len(columns[0][name])), *cells])
    return rows


def _firsts(values: Mapping[str, np.ndarray]) -> list[str]:
    """Return the method with the highest mean, then those that cannot be told from it.

    Controls that learn nothing are no rivals: theirs are so noisy that three seeds exclude little.
    """
    rivals = {name: some for name, some in values.items() if name not in CONTROLS}
    top = max(rivals, key=lambda m: float(rivals[m].mean()))
    return [top, *level(rivals, top)]


def _cell(values: Mapping[str, np.ndarray], name: str, firsts: Sequence[str]) -> str:
    text = plain(estimate(values[name]), 3)
    return f"**{text}**" if name in firsts else text


def _peers(tables: Tables) -> str:
    """Return how the peers that were run were trained."""
    what = {
        "scvi": "as it ships: 400 epochs, KL warm-up over 400",
        "scvi-early": "stopped early on a tenth of the cells, KL warm-up over 50 epochs",
    }
    there = {*tables.scores["method"]}
    return "\n".join(
        f"- `{name}` is scVI {how}; ten latents, the counts of the same genes."
        for name, how in what.items()
        if name in there
    )


def _how(tables: Tables) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in tables.about["versions"].items())
    return f"""## How

- Each candidate is trained three times (`scvae choose`'s default) on 2,000 variable genes; the
  scores' intervals are over these (Student's t). Bold: cannot be told from the highest of the
  column, which each other method is compared with at 5 % / (methods - 1), one-sided (Welch).
  With three seeds that is hard to fail for a method that scatters. Controls are not compared.
- k-means: the mean over those of 50 starts whose inertia is within 1 % of the least, since which
  of them is the least is luck. Leiden: the mean over five seeds, at the resolution that gives as
  many clusters as there are types. Both are given the number of types.
- Maps are t-SNE of 1,000 cells at most.
{_peers(tables)}
- `projection` (random directions) and `untrained` (a network before its training) learn nothing.
- NMI is normalised by the geometric mean of the entropies.
- Scores were computed with {versions}."""
