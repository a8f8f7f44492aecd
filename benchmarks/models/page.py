"""Write docs/benchmark.md from benchmark.csv and benchmark.json, without any training.

python -m benchmarks.models.page
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.command import DOCS
from benchmarks.models.cells import TRUTH, Data
from benchmarks.models.facts import Epochs, collect
from benchmarks.models.figure import dots
from benchmarks.models.presets import PEER
from benchmarks.models.questions import questions
from benchmarks.models.table import MEASURES, Table
from scvae_cli.analysis.stats import estimate
from scvae_cli.paper.wording import plain
from scvae_cli.results.markdown import table as markdown
from scvae_cli.runs.run import Run


def write(
    scores: pd.DataFrame,
    cost: pd.DataFrame,
    measured: str,
    epochs: Epochs,
    sets: Mapping[str, Data],
    failed: Sequence[Run],
    to: Path,
) -> Path:
    """Write benchmark.csv (every score), benchmark.json (all else), and the page made of both.

    Args:
        scores: a row for each training, set of labels, space and way of clustering.
        cost: method, seconds, epochs, peak (bytes).
        measured: name of the data set that costs are of.
        epochs: seconds of epochs with a negative binomial in each turn, of ours and of scVI.
        sets: what was run.
        failed: runs that failed.
        to: folder.

    Returns:
        The page's file.
    """
    ordered = scores.sort_values(["labels", "method", "seed", "space", "by"]).round(4)
    ordered.to_csv(to / "benchmark.csv", index=False)
    facts = collect(scores, cost, measured, epochs, sets, failed)
    (to / "benchmark.json").write_text(json.dumps(facts, indent=2) + "\n")
    return render(to)


def render(to: Path) -> Path:
    """Write benchmark.md and benchmark.png from benchmark.csv and benchmark.json in a folder."""
    table = Table(pd.read_csv(to / "benchmark.csv"))
    (to / "benchmark.png").write_bytes(dots(table))
    page = to / "benchmark.md"
    page.write_text(text(table, json.loads((to / "benchmark.json").read_text())))
    return page


def text(table: Table, facts: Mapping[str, Any]) -> str:
    """Return the page, from the scores and the facts that benchmark.json holds."""
    parts = [
        _head(table),
        _winners(table),
        questions(table),
        *(_whole(table, labels) for labels in table.labels),
        _time_and_memory(facts),
        _how(table, facts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(table: Table) -> str:
    """Return what is compared, and the figure."""
    rows = [[labels, TRUTH[labels]] for labels in table.labels]
    return f"""# Which model?

`make benchmark` wrote this page; what it has not run yet is listed at the end. The report compares
three models with one seed, against types that are clusters of the same matrix. This page compares
more models, and controls that learn little or nothing, on several sets of cells with five seeds
each. All are clustered in the same way. [choice.md](choice.md) compares candidates that are
trained for as long as held-out molecules say, and chooses `experiment=best`.

Results depend most on where the labels come from:

{markdown(["labels", "where they come from"], rows)}

![NMI and ARI of every method on every set of labels](benchmark.png)

The figure shows k-means in the latent space: means over seeds with 95 % intervals (Student's t).
The presets are in [conf/experiment/benchmark](../conf/experiment/benchmark); every score is in
[benchmark.csv](benchmark.csv)."""


def _winners(table: Table) -> str:
    """Return which method is first on which labels, and which cannot be told from the first."""
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
    tables = "\n\n".join(parts)
    return f"""## Who wins where

A cell names the method with the highest mean and, after "level", all methods that cannot be told
from it. The highest of k means is the highest partly by luck. So the others are compared with it
at 5 % / (k - 1), one-sided (Welch): then a list leaves out a method that is as good as the best in
one case of twenty at most. (Plain 95 % intervals would leave out one in six of 25 equal methods.)

{tables}"""


def _whole(table: Table, labels: str) -> str:
    """Return all numbers of one set of labels."""
    spaces = [(s, by, m) for s in ("latent", "map") for by in ("k-means", "Leiden")
              for m in MEASURES]  # fmt: skip
    rows = []
    for method in table.methods(labels):
        values = [table.values(method, labels, s, by, m) for s, by, m in spaces]
        rows.append([method, str(len(values[0])), *(plain(estimate(v), 3) for v in values)])
    columns = [f"{s}, {by}, {MEASURES[m]}" for s, by, m in spaces]
    return f"""## {labels}

Labels: {TRUTH[labels]}.

{markdown(["", "seeds", *columns], rows)}"""


def _time_and_memory(facts: Mapping[str, Any]) -> str:
    """Return time and memory of each method; nothing if they were not measured."""
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
    header = ["", "training, s", "epochs", "ms an epoch", "peak memory, MB"]
    return f"""## Time and memory

Each method was trained on {facts["measured"]} with all threads, and nothing else ran. Training
time is the median time of an epoch, times the epochs of the preset or, for scVI, its default
number of epochs. Memory is the peak of the whole process, libraries included. `vae-nb` and
`vae-nb-beta2` compute the same, so that the difference between them is noise.

{markdown(header, rows)}{_race(facts["race"])}"""


def _race(race: Mapping[str, Any]) -> str:
    """Return how epochs of ours and of scVI compare; nothing if there was no race."""
    if not race:
        return ""
    ours, theirs = (", ".join(f"{s:.2f}" for s in race[side]) for side in ("ours", PEER))
    return (
        "\n\nOurs and scVI were also trained in turns of about ten seconds, with a negative "
        "binomial on all 13,714 genes of PBMC3k (batches of 256, ten latents, one hidden layer of "
        f"128, all threads). The median epoch of each turn took {ours} s with ours and {theirs} s "
        f"with scVI. So scVI takes {race['least']:.1f} to {race['most']:.1f} times as long, and "
        f"{race['fastest']:.1f} times as long by the fastest epoch of each."
    )


def _how(table: Table, facts: Mapping[str, Any]) -> str:
    """Return what was done, so that others can judge it."""
    rows = [[name, f"`{overrides}`"] for name, overrides in facts["cells"].items()]
    undone = "".join(
        f"\n- **Not run yet on {name}**: {', '.join(some)}."
        for name, some in facts["missing"].items()
    )
    trained = table.scores.drop_duplicates(["method", "seed", "labels"])
    most = trained.groupby("labels").size().max()
    listed = "".join(f"\n- {line}" for line in facts["failed"])
    failed = f"\n\nThese runs failed and are in no mean:\n{listed}" if listed else ""
    return f"""## How

{markdown(["cells", "`scvae train -m experiment=benchmark/... ` with"], rows)}

- Each set of cells has up to {most} trainings. Ours are sweeps in `outputs/benchmark`, which
  `scvae compare` reads and `make benchmark` resumes. PBMC68k comes without counts, so that no
  model of counts can be trained on it.
- `scvi` has scvi-tools' defaults (zero-inflated, one hidden layer of 128, 400 epochs for so few
  cells, batches of 128) with ten latents, on the counts of the same genes. `scvi-short` has 100
  epochs, as many as ours. By default, scVI raises the weight of its KL from 0 to 1 over 400
  epochs, so that `scvi-short` stops at 0.25: it is not a complete training of scVI in less time.
- k-means is the best of 100 starts. Leiden divides the graph of 20 shared nearest neighbours
  (Jaccard index of 1/15 or more), at the resolution that gives as many clusters as there are
  types. k-means is given the number of types too. Maps are t-SNE with scvae's defaults, of
  `tsne.max_cells` cells at most.
- The seed sets weights, batches, noise, t-SNE and k-means. PCA depends only on the last two, and
  so has the narrowest intervals.
- NMI is normalised by the geometric mean of the entropies, as elsewhere in scvae.
- Scores were computed on {facts["machine"]}.{undone}{failed}

`python -m benchmarks.models.page` writes this page again from benchmark.csv and benchmark.json."""


def main() -> None:
    """Write the page from its two files."""
    parser = argparse.ArgumentParser("python -m benchmarks.models.page", description=__doc__)
    parser.add_argument("--to", type=Path, default=DOCS, help="folder of the files")
    print(render(parser.parse_args().to))


if __name__ == "__main__":
    main()
