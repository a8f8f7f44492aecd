"""Choose `experiment=best`, and judge it on cells that were not used for the choice."""

from collections.abc import Sequence

import numpy as np

from benchmarks.models.cells import CHOSEN_ON, JUDGED_ON
from benchmarks.models.presets import CONTROLS, COUNTS, LOGS, PEERS
from benchmarks.models.table import MEASURES, Table, better_or_worse, level
from scvae_cli.analysis.stats import difference, estimate
from scvae_cli.launch.compose import compose
from scvae_cli.paper.wording import plain, signed
from scvae_cli.results.markdown import table as markdown


def chosen(table: Table) -> tuple[list[str], list[list[str]]]:
    """Return how trained methods score where `best` is chosen.

    Returns:
        The method with the highest mean, followed by those level with it; and a row of scores for
        each method. Both are empty if no method was run on all of `CHOSEN_ON`.
    """
    pairs = [(labels, measure) for labels in CHOSEN_ON for measure in MEASURES]
    means: dict[str, np.ndarray] = {}  # over labels and measures, of each seed
    rows: dict[str, list[str]] = {}
    for method in [*LOGS, *COUNTS]:
        scores = [table.values(method, labels, "latent", "k-means", m) for labels, m in pairs]
        if min(map(len, scores)) < 2:
            continue
        n_seeds = min(map(len, scores))
        means[method] = np.mean([values[:n_seeds] for values in scores], axis=0)
        each = [f"{values.mean():.3f}" for values in scores]
        rows[method] = [method, *each, plain(estimate(means[method]), 3)]
    order = sorted(means, key=lambda m: float(means[m].mean()), reverse=True)
    first = order[:1]
    near = level({m: means[m] for m in order}, first[0]) if first else []
    return [*first, *near], [rows[m] for m in order]


def best(table: Table) -> str:
    """Return the section on how `experiment=best` was chosen and how it does elsewhere.

    Nothing if no method was run on all of `CHOSEN_ON`.
    """
    candidates, rows = chosen(table)
    if not candidates:
        return ""
    method, *near = candidates
    columns = [f"{labels}: {m}" for labels in CHOSEN_ON for m in MEASURES.values()]
    level_with = f" Its mean cannot be told from those of {', '.join(near)}." if near else ""
    return f"""## One setting for all: `experiment=best`

The preset is chosen that has the highest mean of latent NMI and ARI on
{" and ".join(CHOSEN_ON)}: `{method}`.{_preset_differs(method)}{level_with}

The sorted cells were not used for the choice. (But the people who listed the candidates had seen
some runs on the sorted cells.) Candidates are the presets that were run on all of these:

{markdown(["preset", *columns, "mean"], rows)}

{_judged(table, method)}"""


def _preset_differs(method: str) -> str:
    """Return a warning if conf/experiment/best.yaml is not the preset that was chosen."""
    ours, chosen_preset = (
        compose([f"experiment={name}"]).model_dump() for name in ("best", f"benchmark/{method}")
    )
    if ours == chosen_preset:
        return ""
    return f" **conf/experiment/best.yaml is not {method}: choose again.**"


def _judged(table: Table, method: str) -> str:
    """Return how the chosen method does on the sorted cells."""
    there = [labels for labels in JUDGED_ON if labels in table.labels]
    if not there:
        return "The sorted cells were not at hand."
    judged = {labels: beside(table, method, labels) for labels in there}
    sentences = [judgement(labels, rows) for labels, rows in judged.items()]
    for labels in there:
        ahead = [
            f"`{m}`"
            for m in [*LOGS, *COUNTS]
            if len(table.values(m, labels, "latent", "k-means", "nmi")) > 1
            and all(row[-1] == "better" for row in beside(table, m, labels))
        ]
        if ahead:
            sentences.append(
                f"On {labels}, these presets do beat them, but could be chosen only in hindsight: "
                f"{', '.join(ahead)}."
            )
    rows = [row for some in judged.values() for row in some]
    return f"""This is how it does on the sorted cells, with k-means in the latent space. On each
line, PCA has the width that scores best there, which a user could not know. {" ".join(sentences)}

{markdown(["labels", "", "best", "against", "", "difference", ""], rows)}"""


def beside(table: Table, method: str, labels: str) -> list[list[str]]:
    """Return rows: a method beside PCA of the best width, and scVI, in each measure."""
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
                [labels, name, plain(estimate(mine), 3), other, plain(estimate(values), 3),
                 signed(gap), better_or_worse(gap)]
            )  # fmt: skip
    return rows


def judgement(labels: str, rows: Sequence[Sequence[str]]) -> str:
    """Return whether `best` is above the others in all measures.

    Args:
        labels: name of the labels.
        rows: of `beside`.
    """
    words = [row[-1] for row in rows]
    peer = any(row[3] in PEERS for row in rows)
    others = "PCA at its best width" + (" and scVI" if peer else "")
    if all(word == "better" for word in words):
        return f"**On {labels}, it beats {others} in NMI and ARI, beyond the intervals.**"
    return (
        f"**On {labels}, it does not beat {others} in NMI and ARI beyond the intervals: "
        f"of {len(words)} comparisons {words.count('better')} are better, "
        f"{words.count('cannot be told')} cannot be told, {words.count('worse')} are worse.**"
    )
