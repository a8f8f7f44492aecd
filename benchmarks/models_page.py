"""docs/benchmark.md, from benchmark.csv and benchmark.json, which `benchmarks.models` collects.

    python -m benchmarks.models_page

writes the page anew from these two files in docs/, without any training.
"""

import argparse
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.models import CONTROLS, COUNTS, LOGS, PEER, PEERS, SHORT_PEER, Data
from benchmarks.training import ROOT
from benchmarks.training import table as markdown
from scvae_cli.analysis.stats import LEVEL, Estimate, difference, estimate
from scvae_cli.launch.compose import compose
from scvae_cli.runs.run import Run

CHOSEN_ON = ["PBMC3k, types found here", "synthetic"]  # `best` is chosen on these, and
JUDGED_ON = ["FACS, 10 populations", "FACS, 5 populations"]  # judged on these
MEASURES = {"nmi": "NMI", "ari": "ARI"}
KINDS = {"control": CONTROLS, "logs": LOGS, "counts": COUNTS, "peer": list(PEERS)}
COLOURS = {"control": "#717581", "logs": "#ffa90e", "counts": "#3f90da", "peer": "#bd1f01"}
TRUTH = {
    "FACS, 10 populations": "sorted by antibodies (Zheng et al. 2017); says nothing of the counts",
    "FACS, 5 populations": "the same, its T cells taken together",
    "PBMC3k, types found here": "clusters of 10 principal components of the same counts",
    "PBMC3k, Seurat's types": "clusters of 10 principal components of the same counts, by Seurat",
    "synthetic": "drawn, so known; weak differences between types, 1,000 cells",
    "PBMC68k": "correlation with sorted cells (Zheng et al. 2017); log values of 765 genes alone",
}


class Table:
    """Scores by method, set of labels, space, way of clustering and measure."""

    def __init__(self, scores: pd.DataFrame) -> None:
        self.scores = scores
        there = set(scores["labels"])
        self.labels = [labels for labels in TRUTH if labels in there]

    def methods(self, labels: str) -> list[str]:
        """Those run on these cells, by falling mean of latent NMI and ARI of k-means."""
        some = self._some(labels, "latent", "k-means")
        means = some.groupby("method")[["nmi", "ari"]].mean().mean(axis=1)
        ordered = means.sort_values(ascending=False, kind="stable")
        return [str(name) for name in ordered.index]

    def values(self, method: str, labels: str, space: str, by: str, measure: str) -> Any:
        """A score for each seed."""
        some = self._some(labels, space, by)
        return some.loc[some["method"] == method, measure].to_numpy()

    def top(
        self, labels: str, space: str, by: str, measure: str, among: Sequence[str]
    ) -> tuple[str, list[str]]:
        """The method with the highest mean, and those `level` with it."""
        values = {m: self.values(m, labels, space, by, measure) for m in among}
        values = {m: v for m, v in values.items() if len(v) > 1}
        best = max(values, key=lambda m: float(values[m].mean()))
        return best, level(values, best)

    def _some(self, labels: str, space: str, by: str) -> pd.DataFrame:
        s = self.scores
        return s[(s["labels"] == labels) & (s["space"] == space) & (s["by"] == by)]


def level(values: Mapping[str, np.ndarray], best: str) -> list[str]:
    """Methods that cannot be told from the one with the highest mean.

    A method that is as good as the best is left out at 5 % at most: the highest of k is compared
    at 5 % / (k - 1), one-sided (Welch), as each of the others could have been the highest. With
    plain 95 % intervals, one in six of 25 equal methods with five seeds is left out.
    """
    tests = max(len(values) - 1, 1)
    wide = 1 - 2 * (1 - LEVEL) / tests
    return [
        m for m in values
        if m != best and difference(values[best], values[m], level=wide).low <= 0
    ]  # fmt: skip


def write(
    scores: pd.DataFrame,
    cost: pd.DataFrame,
    measured: str,
    epochs: Mapping[str, Sequence[Sequence[float]]],
    sets: Mapping[str, Data],
    failed: Sequence[Run],
    to: Path,
) -> Path:
    """Writes benchmark.csv (every score), benchmark.json (all else), and the page made of both.

    Args:
        scores: a row for each training, set of labels, space and way of clustering.
        cost: method, seconds, epochs, peak (bytes).
        measured: the data set that costs are of.
        epochs: seconds of epochs with a negative binomial in each turn, of ours and of scVI.
        sets: what was run.
        failed: runs without a result.
        to: folder.
    """
    ordered = scores.sort_values(["labels", "method", "seed", "space", "by"]).round(4)
    ordered.to_csv(to / "benchmark.csv", index=False)
    facts = {
        "cost": costs(cost),
        "measured": measured,
        "race": race(epochs),
        "failed": lost(failed),
        **asked(sets, scores),
        "machine": machine(),
    }
    (to / "benchmark.json").write_text(json.dumps(facts, indent=2) + "\n")
    return render(to)


def render(to: Path) -> Path:
    """Writes benchmark.md and benchmark.png from benchmark.csv and benchmark.json in a folder."""
    table = Table(pd.read_csv(to / "benchmark.csv"))
    (to / "benchmark.png").write_bytes(dots(table))
    page = to / "benchmark.md"
    page.write_text(text(table, json.loads((to / "benchmark.json").read_text())))
    return page


def text(table: Table, facts: Mapping[str, Any]) -> str:
    """The page, of the scores and the facts that benchmark.json holds."""
    parts = [
        head(table),
        wins(table),
        best(table),
        questions(table),
        *(whole(table, labels) for labels in table.labels),
        money(facts),
        how(table, facts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def costs(cost: pd.DataFrame) -> list[dict[str, Any]]:
    """Seconds of training, epochs and peak memory (MB) of each method, as they are shown."""
    return [
        {
            "method": str(row.method), "seconds": round(float(row.seconds), 1),
            "epochs": int(row.epochs), "peak": round(row.peak / 2**20),
        }
        for row in cost.itertuples()
    ]  # fmt: skip


def race(epochs: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, Any]:
    """Median seconds of an epoch in each turn, ours and scVI's, and how they compare."""
    if not epochs:
        return {}
    ours, theirs = ([median(turn) for turn in epochs[who]] for who in ("ours", PEER))
    ratios = [b / a for a, b in zip(ours, theirs, strict=False)]
    fastest = min(map(min, epochs[PEER])) / min(map(min, epochs["ours"]))
    return {
        "ours": [round(s, 2) for s in ours],
        PEER: [round(s, 2) for s in theirs],
        "least": round(min(ratios), 1),
        "most": round(max(ratios), 1),
        "fastest": round(fastest, 1),
    }


def lost(failed: Sequence[Run]) -> list[str]:
    """A line for each run without a result."""
    lines = [
        f"{str(config.get('experiment')).removeprefix('benchmark/')}, seed "
        f"{config.get('seed')}, {config.get('data')}: {run.record.get('reason')}"
        for run in failed
        for config in [run.flat_settings]
    ]
    return list(dict.fromkeys(lines))


def asked(sets: Mapping[str, Data], scores: pd.DataFrame) -> dict[str, Any]:
    """The overrides of each set of cells, and the methods that were not run on it yet."""
    found = set(scores["labels"])
    wanted = {(method, name) for name, data in sets.items() for method in data.presets} | {
        (peer, name) for name, data in sets.items() if data.has_counts for peer in PEERS
    }
    of = {labels: name for name, data in sets.items() for labels in data.labels}
    there = {(r.method, of.get(r.labels)) for r in scores.itertuples()}
    missing: dict[str, list[str]] = {}
    for method, name in sorted(wanted - there):
        missing.setdefault(name, []).append(method)
    cells = {
        name: " ".join(_public(data.overrides))
        for name, data in sets.items()
        if found & set(data.labels)
    }
    return {"cells": cells, "missing": missing}


def machine() -> str:
    """Where scores were computed, and with what."""
    versions = ", ".join(f"{n} {version(n)}" for n in ("torch", "scikit-learn", "igraph"))
    return f"{platform.machine()}, Python {platform.python_version()}, {versions}"


def head(table: Table) -> str:
    """What it is, and the figure."""
    rows = [[labels, TRUTH[labels]] for labels in table.labels]
    return f"""# Which model?

Made by `make benchmark`; what it has not run yet is listed at the end. The report compares three
models by clusters of the same matrix, with one seed. Here are more models and controls that learn
little or nothing, on several sets of cells with five seeds each, all clustered alike. What the
labels are matters most:

{markdown(["labels", "where they come from"], rows)}

![NMI and ARI of every method on every set of labels](benchmark.png)

k-means in the latent space, mean over seeds and 95 % interval (Student). Presets are in
[conf/experiment/benchmark](../conf/experiment/benchmark); every score is in
[benchmark.csv](benchmark.csv)."""


def wins(table: Table) -> str:
    """Who is first where, and who cannot be told from the first."""
    parts = []
    for by in ("k-means", "Leiden"):
        rows = []
        for labels in table.labels:
            row = [labels]
            for space in ("latent", "map"):
                for measure in MEASURES:
                    first, level = table.top(labels, space, by, measure, table.methods(labels))
                    mean = table.values(first, labels, space, by, measure).mean()
                    others = f"; level: {', '.join(level)}" if level else ""
                    row.append(f"**{first}** {mean:.3f}{others}")
            rows.append(row)
        columns = [f"{s} {m}" for s in ("latent", "map") for m in MEASURES.values()]
        parts.append(f"{by}:\n\n{markdown(['labels', *columns], rows)}")
    text = "\n\n".join(parts)
    return f"""## Who wins where

The highest mean, and all that cannot be told from it. The highest of k is so by luck too: it is
compared at 5 % / (k - 1), one-sided (Welch), so that a method as good as the best is missing from
a list in one of twenty at most. (Of 25 equal methods, plain 95 % intervals leave out one in six.)

{text}"""


def chosen(table: Table) -> tuple[list[str], list[list[str]]]:
    """Trained methods where `best` is chosen: the one with the highest mean, and those level.

    Nothing where no method was run on all of these. Also a row of scores for each method.
    """
    pairs = [(labels, measure) for labels in CHOSEN_ON for measure in MEASURES]
    means: dict[str, np.ndarray] = {}  # over labels and measures, of each seed
    rows: dict[str, list[str]] = {}
    for method in [*LOGS, *COUNTS]:
        found = [table.values(method, labels, "latent", "k-means", m) for labels, m in pairs]
        if min(map(len, found)) < 2:
            continue
        n_seeds = min(map(len, found))
        means[method] = np.mean([values[:n_seeds] for values in found], axis=0)
        each = [f"{values.mean():.3f}" for values in found]
        rows[method] = [method, *each, shown(estimate(means[method]))]
    order = sorted(means, key=lambda m: float(means[m].mean()), reverse=True)
    first = order[:1]
    near = level({m: means[m] for m in order}, first[0]) if first else []
    return [*first, *near], [rows[m] for m in order]


def best(table: Table) -> str:
    """How `experiment=best` was chosen, and what it is worth where it had no say."""
    candidates, rows = chosen(table)
    if not candidates:
        return ""
    method, *near = candidates
    columns = [f"{labels}: {m}" for labels in CHOSEN_ON for m in MEASURES.values()]
    ours, theirs = (
        compose([f"experiment={name}"]).model_dump() for name in ("best", f"benchmark/{method}")
    )
    same = ours == theirs
    note = "" if same else f" **conf/experiment/best.yaml is not {method}: choose again.**"
    there = [labels for labels in JUDGED_ON if labels in table.labels]
    judged = {labels: beside(table, method, labels) for labels in there}
    verdict = " ".join(judgement(labels, rows) for labels, rows in judged.items())
    for labels in there:
        ahead = [
            m
            for m in [*LOGS, *COUNTS]
            if len(table.values(m, labels, "latent", "k-means", "nmi")) > 1
            and all(row[-1] == "better" for row in beside(table, m, labels))
        ]
        if ahead:
            names = ", ".join(f"`{m}`" for m in ahead)
            verdict += f" Those that do on {labels}, so that they would be choices in hindsight: "
            verdict += f"{names}."
    table_of_judged = markdown(
        ["labels", "", "best", "against", "", "difference", ""],
        [row for rows_of in judged.values() for row in rows_of],
    ) if judged else "The sorted cells were not at hand."  # fmt: skip
    return f"""## One setting for all: `experiment=best`

Chosen by the mean of latent NMI and ARI on {" and ".join(CHOSEN_ON)}: `{method}`.{note}
{f"Its mean cannot be told from that of {', '.join(near)}." if near else ""} The sorted cells had
no say in that. (The list of candidates was drawn up by people who had seen some runs on the sorted
cells. Candidates are those that were run on all of these.)

{markdown(["preset", *columns, "mean"], rows)}

On the sorted cells, k-means in the latent space. PCA is given the width that is best on each line,
which is more than a user would know. {verdict}

{table_of_judged}"""


def beside(table: Table, method: str, labels: str) -> list[list[str]]:
    """Rows: a method beside PCA of the best width, and scVI, in each measure."""
    widths = [m for m in CONTROLS if m.startswith("pca")]
    rows = []
    for measure, name in MEASURES.items():
        pca, _ = table.top(labels, "latent", "k-means", measure, widths)
        mine = table.values(method, labels, "latent", "k-means", measure)
        for other in [pca, *PEERS]:
            values = table.values(other, labels, "latent", "k-means", measure)
            if len(values) < 2:
                continue
            gap = difference(mine, values)
            rows.append(
                [labels, name, shown(estimate(mine)), other, shown(estimate(values)),
                 f"{gap.mean:+.3f} ± {gap.half:.3f}", said(gap)]
            )  # fmt: skip
    return rows


def judgement(labels: str, rows: Sequence[Sequence[str]]) -> str:
    """Whether `best` is above the others in all measures, from rows of the table of `best`."""
    says = [row[-1] for row in rows]
    peer = any(row[3] in PEERS for row in rows)
    others = "PCA at its best width" + (" and scVI" if peer else "")
    if all(word == "better" for word in says):
        return f"**On {labels}, it beats {others} in NMI and ARI, beyond the intervals.**"
    return (
        f"**On {labels}, it does not beat {others} in NMI and ARI beyond the intervals: "
        f"of {len(says)} comparisons {says.count('better')} are better, "
        f"{says.count('cannot be told')} cannot be told, {says.count('worse')} are worse.**"
    )


def questions(table: Table) -> str:
    """Pairs of methods that differ in one thing."""
    pairs = [
        ("counts, not log values", "vae-nb", "vae-gaussian"),
        ("negative binomial, not Poisson", "vae-nb", "vae-poisson"),
        ("zero inflation", "vae-zinb", "vae-nb"),
        ("noise and KL (VAE, not AE)", "vae-nb", "ae-nb"),
        ("sparsity (VSC, not VAE)", "vsc-nb", "vae-nb"),
        ("sound gates, warm-up, c to 200", "vsc-nb-sound", "vsc-nb"),
        ("pseudo-inputs (UAI 2019)", "vsc-uai-nb", "vsc-nb-sound"),
        ("twice the steps (batches of 128)", "vae-poisson-128", "vae-poisson"),
        ("256 hidden units, not 128", "vae-poisson-wide", "vae-poisson-128"),
        ("three times the epochs", "vae-nb-long", "vae-nb"),
        ("ours, not scVI", "vae-nb", PEER),
        ("ours, not scVI, as many epochs", "vae-nb", SHORT_PEER),
        ("training at all", "vae-nb", "untrained"),
    ]
    rows = []
    verdicts: dict[str, list[str]] = {}
    for what, a, b in pairs:
        cells = []
        for labels in table.labels:
            cell = []
            for measure in MEASURES:
                x, y = (table.values(m, labels, "latent", "k-means", measure) for m in (a, b))
                if len(x) < 2 or len(y) < 2:
                    continue
                gap = difference(x, y)
                told = f"{gap.mean:+.3f} ± {gap.half:.3f}"
                cell.append(f"**{told}**" if gap.low > 0 or gap.high < 0 else told)
                verdicts.setdefault(a, []).append(said(gap))
            cells.append("<br>".join(cell))
        if any(cells):
            rows.append([what, f"{a} - {b}", *cells])
    n = sum(map(len, verdicts.values()))
    return f"""## What helps

Differences that one thing makes, NMI above ARI, k-means in the latent space, with 95 % intervals
(Welch); bold where 0 lies outside. That happens in one of twenty where nothing differs, and so in
{round(n / 20)} of {n} intervals. `scvi-short` ends with the KL's weight at 0.25: see below.

{markdown(["what", "presets", *table.labels], rows)}{uai(verdicts.get("vsc-uai-nb", []))}"""


def uai(verdicts: Sequence[str]) -> str:
    """Whether the published form of the VSC is worth its pseudo-inputs."""
    if not verdicts:
        return ""
    better, worse = verdicts.count("better"), verdicts.count("worse")
    earned = "earns" if better > worse else "does not earn"
    return (
        f"\n\n`model=vsc_uai`, the VSC as published, {earned} its place: beside a VSC with the "
        f"same gates and warm-up and without pseudo-inputs it is better in {better} of "
        f"{len(verdicts)} comparisons and worse in {worse}; the others cannot be told apart."
    )


def whole(table: Table, labels: str) -> str:
    """All numbers of one set of labels."""
    spaces = [(s, by, m) for s in ("latent", "map") for by in ("k-means", "Leiden")
              for m in MEASURES]  # fmt: skip
    rows = []
    for method in table.methods(labels):
        found = [table.values(method, labels, s, by, m) for s, by, m in spaces]
        rows.append([method, str(len(found[0])), *(shown(estimate(v)) for v in found)])
    columns = [f"{s}, {by}, {MEASURES[m]}" for s, by, m in spaces]
    return f"""## {labels}

Labels: {TRUTH[labels]}.

{markdown(["", "seeds", *columns], rows)}"""


def money(facts: Mapping[str, Any]) -> str:
    """Time and memory, if they were measured."""
    if not facts["cost"]:
        return ""
    rows = [
        [
            row["method"], f"{row['seconds']:.1f}", str(row["epochs"] or ""),
            f"{1000 * row['seconds'] / row['epochs']:.0f}" if row["epochs"] else "",
            str(row["peak"]),
        ]
        for row in facts["cost"]
    ]  # fmt: skip
    turns = ""
    if told := facts["race"]:
        ours, theirs = (", ".join(f"{s:.2f}" for s in told[who]) for who in ("ours", PEER))
        turns = (
            "\n\nAn epoch with a negative binomial on all 13,714 genes of PBMC3k, batches of 256, "
            "ten latents, one hidden layer of 128, all threads, ours and scVI's in turns of about "
            f"ten seconds (median epoch of each): ours {ours} s, scVI {theirs} s; "
            f"{told['least']:.1f} to {told['most']:.1f} times, and {told['fastest']:.1f} times by "
            "the fastest epoch of each."
        )
    name = facts["measured"]
    header = ["", "training, s", "epochs", "ms an epoch", "peak memory, MB"]
    return f"""## Time and memory

{name}, with the machine to itself and all threads: the median of some epochs, times the epochs
of a preset, and of scVI by its own defaults; memory is the most that the whole process had,
libraries and all. `vae-nb` and `vae-nb-beta2` compute the same: what is between them is noise.

{markdown(header, rows)}{turns}"""


def how(table: Table, facts: Mapping[str, Any]) -> str:
    """What was done, so that others can judge it."""
    rows = [[name, f"`{overrides}`"] for name, overrides in facts["cells"].items()]
    undone = "".join(
        f"\n- **Not run yet on {name}**: {', '.join(some)}."
        for name, some in facts["missing"].items()
    )
    trained = table.scores.drop_duplicates(["method", "seed", "labels"])
    runs = trained.groupby("labels").size().max()
    listed = "".join(f"\n- {line}" for line in facts["failed"])
    ended = f"\n\nWithout a result, and so not in any mean:\n{listed}" if listed else ""
    return f"""## How

{markdown(["cells", "`scvae train -m experiment=benchmark/... ` with"], rows)}

- {runs} trainings or fewer for each set of cells, in sweeps that go on where they were
  (`outputs/benchmark`, for `scvae compare`). PBMC68k comes without counts, so that likelihoods of
  counts cannot be had there.
- `scvi`: scvi-tools' defaults (zero-inflated, one hidden layer of 128, 400 epochs for so few
  cells, batches of 128) with ten latents, on the counts of the same genes; `scvi-short`: with 100
  epochs, as many as ours have. scVI raises the weight of its KL from 0 to 1 over 400 epochs by
  default: `scvi-short` ends at 0.25, so that it is not scVI trained to its end in less time.
- k-means: best of 100 starts. Leiden: on the graph of 20 shared nearest neighbours (Jaccard index
  of 1/15 or more), at the resolution that gives the wanted number of clusters. Both are told the
  number of types. Maps are t-SNE with scvae's defaults, of as many cells as `tsne.max_cells` says.
- The seed is that of weights, batches, noise, t-SNE and k-means. PCA has but the last two, and
  so the narrowest intervals.
- NMI has the geometric mean of entropies, as elsewhere in scvae.
- {facts["machine"]}.{undone}{ended}

`python -m benchmarks.models_page` writes this page anew from benchmark.csv and benchmark.json."""


def dots(table: Table) -> bytes:
    """NMI and ARI of each method, a panel for each set of labels."""
    names = [m for kind in KINDS.values() for m in kind if m in set(table.scores["method"])]
    n_columns = min(3, len(table.labels))
    n_rows = -(-len(table.labels) // n_columns)
    figure = Figure(figsize=(3.9 * n_columns, (0.22 * len(names) + 1.0) * n_rows),
                    layout="constrained")  # fmt: skip
    FigureCanvasAgg(figure)
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True).ravel()
    kind_of = {m: kind for kind, methods in KINDS.items() for m in methods}
    for axes, labels in zip(panels, table.labels, strict=False):
        for y, method in enumerate(reversed(names)):
            for shift, (measure, marker) in zip((0.17, -0.17), (("nmi", "o"), ("ari", "D")),
                                                strict=True):  # fmt: skip
                values = table.values(method, labels, "latent", "k-means", measure)
                if not len(values):
                    continue
                found = estimate(values)
                half = found.half if found.n > 1 else 0.0
                axes.errorbar(
                    found.mean, y + shift, xerr=half, marker=marker, markersize=4, capsize=2,
                    linewidth=1.1, color=COLOURS[kind_of[method]],
                    markerfacecolor="white" if measure == "ari" else None,
                )  # fmt: skip
        axes.set_title(labels, fontsize=10)
        axes.set_yticks(range(len(names)), names[::-1], fontsize=8)
        axes.tick_params(axis="x", labelsize=8)
        axes.set_xlim(left=0.0)
        axes.grid(axis="x", color="#e5e5e5", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(table.labels) :]:
        axes.set_axis_off()
    figure.supxlabel("filled circles: NMI, open diamonds: ARI", fontsize=9)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def shown(found: Estimate) -> str:
    """Mean and half of the interval."""
    return f"{found.mean:.3f}" + (f" ± {found.half:.3f}" if found.n > 1 else "")


def said(gap: Estimate) -> str:
    """What a difference comes to."""
    return "better" if gap.low > 0 else "worse" if gap.high < 0 else "cannot be told"


def _public(overrides: Sequence[str]) -> list[str]:
    """Overrides without the folders of this machine."""
    return [
        f"{key}={Path(value.strip(chr(39))).name}" if key == "data.path" else f"{key}={value}"
        for key, _, value in (o.partition("=") for o in overrides)
    ]


def main() -> None:
    """Writes the page anew from its two files."""
    parser = argparse.ArgumentParser("python -m benchmarks.models_page", description=__doc__)
    parser.add_argument("--to", type=Path, default=ROOT / "docs", help="folder of the files")
    print(render(parser.parse_args().to))


if __name__ == "__main__":
    main()
