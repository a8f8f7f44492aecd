"""Write what `scvae choose` found: choice.csv, choice.md, choice.png and report.html."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from scvae_cli.analysis.stats import estimate
from scvae_cli.atomic import write_file
from scvae_cli.choice.criteria import CRITERIA
from scvae_cli.choice.verdict import Verdict
from scvae_cli.measures import SCORES, score_name
from scvae_cli.results import markdown
from scvae_cli.results.figures.scores import score_dots
from scvae_cli.results.report import html
from scvae_cli.results.runs import provenance
from scvae_cli.results.table import write_csv
from scvae_cli.runs.run import Run

CAPTION = "Criteria of each candidate: means over seeds with 95 % intervals; higher is better"
MEANING = {
    "molecules predicted": "nats by which a cell's 15 nearest neighbours in the latent space, "
    "found without a tenth of its molecules, predict of which genes these are, compared with the "
    "mean of all cells. The choice is by this one.",
    "seeds agree": "adjusted Rand index of the Leiden clusters (resolution 1) of two trainings.",
    "neighbours kept": "share of a cell's 15 nearest neighbours that it has again when each "
    "cell's molecules are divided into two halves.",
}


def write_choice(
    folder: Path,
    table: pd.DataFrame,
    verdict: Verdict,
    *,
    chosen: Run,
    runs: Sequence[Run],
    command: str,
) -> None:
    """Write all files.

    Args:
        folder: of the sweep.
        table: from `criteria.measure`.
        verdict: from `verdict.judge`.
        chosen: the run of the recommended candidate.
        runs: those of the sweep.
        command: that made the chosen run.
    """
    write_csv(folder / "choice.csv", table)
    rows = brief(table)
    figure = score_dots(_intervals(table))
    write_file(folder / "choice.png", figure)
    lead = [*verdict.in_words(), f"Recommended: {command}", *_on_scores(rows)]
    write_file(folder / "choice.md", _markdown(lead, rows).encode())
    page = html(
        title=f"Which latent space? {verdict.chosen}",
        lead=[*lead, *(f"{name}: {text}" for name, text in MEANING.items())],
        tables={CAPTION: pd.DataFrame(rows), "All trainings": table},
        figures={CAPTION: figure},
        maps={f"{verdict.chosen}, seed {chosen.settings['seed']}": chosen.cells()},
        provenance=provenance([chosen, *runs]),
    )
    write_file(folder / "report.html", page.encode())


def brief(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return the table as a person reads it: a row a candidate, means ± half an interval."""
    scores = [score for score in SCORES if score in table and score.startswith("latent")][:2]
    names = CRITERIA | {score: score_name(score) for score in scores}
    rows = []
    for candidate, group in table.groupby("candidate", sort=False):
        row = {"candidate": str(candidate), "n": str(len(group))}
        for column, name in names.items():
            row[name] = _plain(group[column].to_numpy(float))
        row["s"] = f"{group['seconds'].mean():.0f}"
        rows.append(row)
    return rows


def _on_scores(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return that scores had no say, where there are some."""
    if not any("latent space" in name and "silhouette" not in name for name in rows[0]):
        return []
    return ["NMI and ARI against the known types had no say in the choice."]


def _plain(values: np.ndarray) -> str:
    """Return a mean ± half of its interval."""
    values = values[np.isfinite(values)]
    if not len(values):
        return "-"
    mean = estimate(values)
    return f"{mean.mean:.3f}" + (f" ± {mean.half:.3f}" if len(values) > 1 else "")


def _intervals(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return mean, low and high of each candidate (rows), by criterion."""
    panels = {}
    for column, name in CRITERIA.items():
        rows = {}
        for candidate, group in table.groupby("candidate", sort=False):
            values = group[column].dropna().to_numpy(float)
            if len(values):
                one = estimate(values)
                ends = (one.low, one.high) if len(values) > 1 else (np.nan, np.nan)
                rows[str(candidate)] = (one.mean, *ends)
        panels[name] = pd.DataFrame.from_dict(
            rows, orient="index", columns=["mean", "low", "high"], dtype=float
        )
    return panels


def _markdown(lead: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    """Return choice.md."""
    plain = markdown.escaped
    cells = [[plain(value) for value in row.values()] for row in rows]
    parts = [
        "# Which latent space?",
        *map(plain, lead),
        markdown.table([plain(name) for name in rows[0]], cells),
        f"{CAPTION}.",
        "![Criteria of each candidate](choice.png)",
        *(f"- **{name}**: {text}" for name, text in MEANING.items()),
    ]
    return "\n\n".join(parts) + "\n"
