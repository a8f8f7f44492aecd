"""Write what `scvae choose` found: choice.csv, choice.md, choice.png and report.html."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from scvae_cli.analysis.stats import LEAST, Estimate, estimate
from scvae_cli.atomic import write_file
from scvae_cli.choice.criteria import CRITERIA
from scvae_cli.choice.plan import CONTROL
from scvae_cli.choice.verdict import MAIN, Verdict
from scvae_cli.measures import MEASURE_NAMES, score_name
from scvae_cli.results import markdown
from scvae_cli.results.figures.scores import score_dots
from scvae_cli.results.figures.style import render
from scvae_cli.results.html_tables import Shown
from scvae_cli.results.report import html
from scvae_cli.results.runs import provenance
from scvae_cli.results.table import write_csv
from scvae_cli.runs.run import Run

SHORT = ("latent_nmi", "latent_ari")  # scores on the terminal
SHOWN = (*SHORT, "tsne_nmi", "tsne_ari")  # and on the pages
TITLES = {
    "predicted": "predicted (nats)", "agreement": "agreement (ARI)", "neighbours": "kept (share)",
}  # fmt: skip
CAPTION = "Criteria of each candidate: means over seeds with 95 % intervals; higher is better"
MEANING = {
    "predicted": "a tenth of each cell's molecules is held out; nats per molecule by which the "
    "cell's 15 nearest neighbours in the latent space predict their genes better than the mean of "
    "all cells does. The choice is by this alone.",
    "agreement": "adjusted Rand index of Leiden clusters (resolution 1) of two seeds. Each seed "
    "is in several pairs, so that the interval is somewhat too narrow.",
    "kept": "share of a cell's 15 nearest neighbours that are the same when its molecules "
    "are divided into two halves, and each half is embedded.",
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
    figure = render(score_dots(_panels(table)))
    write_file(folder / "choice.png", figure)
    lead = [*verdict.in_words(), f"Recommended: {command}"]
    if "latent_nmi" in table:
        lead.append("Scores against the known types had no say in the choice.")
    write_file(folder / "choice.md", _markdown(lead, rows).encode())
    meaning = " ".join(f"{name}: {text}" for name, text in MEANING.items())
    page = html(
        title=f"Which latent space? {verdict.chosen}",
        lead=[line for line in lead if command not in line],
        command=command,
        tables={
            CAPTION: Shown(pd.DataFrame(rows), note=meaning),
            "All trainings": Shown(table, folded=True, filters=["candidate"]),
        },
        figures={CAPTION: figure},
        maps={f"{verdict.chosen}, seed {chosen.settings['seed']}": chosen.cells()},
        provenance=provenance([chosen, *runs]),
    )
    write_file(folder / "report.html", page.encode())


def brief(table: pd.DataFrame, *, intervals: bool = True) -> list[dict[str, str]]:
    """Return the table as a person reads it: a row a candidate, means over seeds.

    Args:
        table: from `criteria.measure`.
        intervals: whether means have half of their 95 % intervals beside them.
    """
    scores = {score: score_name(score) for score in SHOWN if score in table}
    if not intervals:  # for 80 columns
        scores = {s: MEASURE_NAMES[s.partition("_")[2]] for s in scores if s in SHORT}
    gaps = gaps_to_control(table)
    rows = []
    for candidate, group in table.groupby("candidate", sort=False):
        row = {"candidate": str(candidate)}
        for column, name in (CRITERIA | scores).items():
            row[name] = _mean(group[column].to_numpy(float), intervals)
            if column == MAIN:
                row[f"- {CONTROL}"] = _gap(gaps.get(str(candidate)))
        if intervals:
            row["seeds"] = str(len(group))
        row["s"] = f"{group['seconds'].mean():.0f}"
        rows.append(row)
    return rows


def gaps_to_control(table: pd.DataFrame) -> dict[str, Estimate]:
    """Return how much better each other candidate predicts than the control, paired by seed."""
    wide = table.pivot_table(MAIN, "seed", "candidate", dropna=False)
    if CONTROL not in wide:
        return {}
    gaps = wide.drop(columns=CONTROL).sub(wide[CONTROL], axis=0)
    common = {str(name): gaps[name].dropna().to_numpy() for name in gaps}
    return {name: estimate(values) for name, values in common.items() if len(values)}


def _gap(gap: Estimate | None) -> str:
    """Return a difference, and half of its 95 % interval."""
    if gap is None:
        return ""
    return f"{gap.mean:+.4f}" + (f" ±{gap.half:.4f}" if gap.n >= LEAST else "")


def _mean(values: np.ndarray, interval: bool) -> str:
    """Return the mean of values, and half of its 95 % interval if asked for."""
    values = values[np.isfinite(values)]
    if not len(values):
        return "-"
    mean = estimate(values)
    return f"{mean.mean:.3f}" + (f" ± {mean.half:.3f}" if interval and mean.n >= LEAST else "")


def _panels(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return mean, low and high of each candidate (rows), by criterion."""
    panels = {}
    for column, title in TITLES.items():
        values = {
            str(candidate): estimate(group[column].dropna().to_numpy(float))
            for candidate, group in table.groupby("candidate", sort=False)
            if group[column].notna().any()
        }
        if column == MAIN and (gaps := gaps_to_control(table)):
            title = f"{title} - {CONTROL}"
            nothing = Estimate(0.0, 0.0, 0.0, 1)
            values = {name: gaps.get(name, nothing) for name in values}
        rows = {
            name: (one.mean, *((one.low, one.high) if one.n >= LEAST else (np.nan, np.nan)))
            for name, one in values.items()
        }
        panels[title] = pd.DataFrame.from_dict(
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
