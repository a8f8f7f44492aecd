"""Write docs/labels.md from docs/labels/*.csv: `python -m benchmarks.labels --page`."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.labels.runs import MODELS, SEEDS
from benchmarks.labels.scores import DEFAULT, EDGES
from benchmarks.labels.sets import FACS, LINES3, LINES5, N_HALVES, SETS
from scvae_cli.analysis.stats import estimate, paired
from scvae_cli.analysis.transfer import N_NEIGHBORS, PROBABILITY, QUANTILE, UNKNOWN
from scvae_cli.paper.wording import plain, signed
from scvae_cli.results.markdown import table as markdown

KINDS = tuple(MODELS.values())


def render(docs: Path) -> None:
    """Write the page."""
    folder = docs / "labels"
    scores, calibration, tried = (
        pd.read_csv(folder / f"{name}.csv").fillna({"left_out": ""})
        for name in ("scores", "calibration", "tried")
    )
    about = json.loads((folder / "about.json").read_text())
    parts = [
        _head(), _known(scores), _unseen(scores), _calibration(calibration), _limits(tried),
        _neighbours(tried),
        _how(about["versions"]),
    ]  # fmt: skip
    (docs / "labels.md").write_text("\n\n".join(parts) + "\n")


def _head() -> str:
    rows = [[name, what] for name, what in SETS.items()]
    return f"""# Are the types of `scvae embed --labels` right?

`make labels` wrote this page. `scvae embed RUN FILE --labels` gives each new cell the type that
most of its {N_NEIGHBORS} nearest neighbours among the run's own cells have, in the latent space; a
neighbour counts by the inverse of its distance. The probability is the share of that type. A cell
is `{UNKNOWN}` if the probability is below {PROBABILITY:g}, or if its mean distance to the
neighbours is larger than that of {QUANTILE * 100:g} % of the run's own cells to theirs. Here the
types of the new cells are known, from antibodies or genotypes, and no run has seen these cells.

{markdown(["cells", "types, and which cells are new"], rows)}

`pca-sqrt` is `experiment=best`, `vae-nb` is
`experiment=benchmark/vae-nb-latent` (its latent features). The two limits were
chosen on {FACS}; {LINES5} and {LINES3} had no say."""


def _known(scores: pd.DataFrame) -> str:
    rows = []
    for (_, direction), some in _directions(scores[scores["left_out"] == ""]):
        for model in KINDS:
            runs = some[some["model"] == model]
            if len(runs):
                typed = runs["right"] / (runs["right"] + runs["wrong"])
                values = [runs[c] for c in ("right", "wrong", "unknown", "far")]
                rows.append([
                    direction, model, str(len(runs)), f"{runs['majority'].mean():.3f}",
                    *map(_mean, [*values, typed]),
                ])  # fmt: skip
    head = ["new cells", "model", "runs", "majority", "right", "wrong", UNKNOWN, "far",
            "right, of those that get a type"]  # fmt: skip
    return f"""## Cells of types that the run has seen

Shares of the new cells, means with 95 % intervals over {N_HALVES} random halves or {SEEDS} seeds
(`runs` says how many there are). `far` are those that are `{UNKNOWN}` by distance, `majority` is
what is right if all cells get the run's most common type. The intervals are of other halves of
the same cells, or other seeds; shares on cells of other samples may differ by more.
{_compared(scores)}

{markdown(head, rows)}"""


def _compared(scores: pd.DataFrame) -> str:
    """Return in words which model gives more right types on random halves."""
    some = scores[(scores["set"] == FACS) & (scores["left_out"] == "")]
    a, b = (some[some["model"] == model].set_index("split")["right"] for model in KINDS)
    gap = paired(a.to_numpy(), b.reindex(a.index).to_numpy())
    return (
        f"On {FACS} the share that is right is {signed(gap)} higher for {KINDS[0]} than for "
        f"{KINDS[1]} (paired by halves)."
    )


def _directions(scores: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """Return the rows by set and by what the new cells are."""
    others = {
        "plate2": "lines5, plate 3", "plate3": "lines5, plate 2", "CEL-seq2": "lines3, Drop-seq",
        "Drop-seq": "lines3, CEL-seq2",
    }  # fmt: skip
    names = scores["split"].map(lambda name: others.get(name, FACS))
    groups = scores.groupby([scores["set"], names], sort=False)
    order = [*SETS]
    return sorted(groups, key=lambda item: order.index(item[0][0]))


def _mean(values: pd.Series) -> str:
    return plain(estimate(values.to_numpy()), 3)


def _unseen(scores: pd.DataFrame) -> str:
    some = scores[scores["left_out"] != ""]
    rows = []
    for (of, what), group in some.groupby(["set", "left_out"], sort=False):
        cells = []
        for model in KINDS:
            runs = group[group["model"] == model]
            cells += [_share(runs[c]) for c in ("found", "unknown")]
        rows.append([str(of), str(what), *cells])
    for of, group in some.groupby("set", sort=False):
        cells = []
        for model in KINDS:
            runs = group[group["model"] == model]
            cells += [_share(runs[c]) for c in ("found", "unknown")]
        rows.append([f"**{of}, mean**", "", *cells])
    head = ["cells", "never seen", *(f"{m}, {w}" for m in KINDS for w in ("found", "lost"))]
    return f"""## Cells of a type that the run never saw

A run is trained without a type, and gets new cells of all. `found` is the share of the cells of
that type that become `{UNKNOWN}`, `lost` the share of all other cells that do.
{_missed(some)}{_empty(rows)}

{markdown(head, rows)}"""


def _missed(some: pd.DataFrame) -> str:
    """Return what is missed, in words."""
    parts = []
    for of, group in some.groupby("set", sort=False):
        means = group.groupby(["left_out", "model"])["found"].mean()
        (what, model), least = means.idxmin(), means.min()
        parts.append(f"{least:.0%} of {what} on {of} ({model})")
    return (
        "A latent space need not have a place for what the run never saw: such cells may lie "
        f"among others, and then get their type. The least that is found is {', '.join(parts)}."
    )


def _empty(rows: list[list[str]]) -> str:
    return (
        " Where there is no number, there is no run." if any("" in row[2:] for row in rows) else ""
    )


def _share(values: pd.Series) -> str:
    return f"{values.mean():.3f}" if len(values) else ""


def _calibration(table: pd.DataFrame) -> str:
    rows = []
    names = [f"{low:g} to {min(high, 1):g}" for low, high in pairwise(EDGES)]
    for of in SETS:
        for model in KINDS:
            some = table[(table["set"] == of) & (table["model"] == model)]
            if not len(some):
                continue
            cells, gaps = [], 0.0
            for low in EDGES[:-1]:
                bin_ = some[some["low"] == low]
                if not (n := bin_["n"].sum()):
                    cells.append("")
                    continue
                said, right = (
                    float(np.average(bin_[c], weights=bin_["n"])) for c in ("probability", "right")
                )
                gaps += n * abs(said - right)
                cells.append(f"{said:.2f}: {right:.2f} ({n / some['n'].sum():.0%})")
            rows.append([of, model, *cells, f"{gaps / some['n'].sum():.3f}"])
    return f"""## Is the probability one?

The mean probability in a bin, the share of its cells whose most likely type is right, and how many
of the cells it has. Cells with small probabilities are counted too, which are `{UNKNOWN}`
otherwise. `gap` is the mean difference of the two, weighted by cells. Runs have seen all types.

{markdown(["cells", "model", *names, "gap"], rows)}"""


def _limits(tried: pd.DataFrame) -> str:
    some = tried[tried["n_neighbors"] == N_NEIGHBORS]
    return f"""## The limits

How they were chosen, on {FACS}. `found` is as above; `lost` and `right` are here of
runs that have seen all types: the share of cells that become `{UNKNOWN}`, and the share that is
right of the others. The probability says where the neighbours disagree: below {PROBABILITY:g} no
type has half of them. {_far(some)}
`--quantile` and `--probability` take others.

{_options(some, ["quantile", "probability"])}"""


def _far(some: pd.DataFrame) -> str:
    """Return in words what the limit of distance does where probability has no say."""
    alone = some[some["probability"] == 0]
    parts = []
    for quantile in (QUANTILE, 0.99):
        rows = alone[alone["quantile"] == quantile]
        found = [_share(rows[rows["model"] == model]["found"]) for model in KINDS]
        seen = rows[rows["left_out"] == ""]
        lost = [_share(seen[seen["model"] == model]["unknown"]) for model in KINDS]
        parts.append(
            f"{quantile:g} finds {found[0]} and {found[1]} of the cells of unseen types "
            f"({' and '.join(KINDS)}) and makes {lost[0]} and {lost[1]} of the cells of known "
            f"types `{UNKNOWN}`"
        )
    return f"By distance only, {'; '.join(parts)}."


def _neighbours(tried: pd.DataFrame) -> str:
    same = (tried["quantile"] == QUANTILE) & (tried["probability"] == PROBABILITY)
    return f"""## The number of neighbours

The same for other numbers of neighbours (`--neighbors`), on {FACS}.

{_options(tried[same], ["n_neighbors"])}"""


def _options(some: pd.DataFrame, keys: list[str]) -> str:
    """Return a table of what is lost, right and found with each value of these options."""
    rows = []
    for values, runs in some.groupby(keys):
        cells = [f"{value:g}" for value in values]
        for model in KINDS:
            own = runs[runs["model"] == model]
            full, less = own[own["left_out"] == ""], own[own["left_out"] != ""]
            typed = full["right"] / (full["right"] + full["wrong"])
            cells += [_share(shares) for shares in (full["unknown"], typed, less["found"])]
        chosen = all(DEFAULT[key] == value for key, value in zip(keys, values, strict=True))
        rows.append([f"**{cell}**" for cell in cells] if chosen else cells)
    heads = [f"{model}: {what}" for model in KINDS for what in ("lost", "right", "found")]
    return markdown([*keys, *heads], rows)


def _how(versions: dict[str, str]) -> str:
    text = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"""## How

- Runs keep the 2,000 genes that vary most among their own cells.
- {FACS}: {N_HALVES} random halves; of each, another of five groups of populations is left out.
  {LINES5}: each plate labels the other; each line is left out of each plate, one seed.
- Principal components do not depend on the seed, and are computed once.
- Measured with {text}."""
