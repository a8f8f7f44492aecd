"""The means of many runs, and the verdict on them, on the terminal."""

from collections.abc import Sequence
from typing import Protocol

import pandas as pd

from scvae_cli.errors import unknown_choice
from scvae_cli.measures import MEASURE_NAMES, SILHOUETTES
from scvae_cli.results.means import brief, summarise
from scvae_cli.results.table import main_score, results, scores_of, settings_of
from scvae_cli.results.verdict import verdict
from scvae_cli.runs.run import Run

SHOWN = ["tsne_nmi", "tsne_ari", "latent_nmi", "latent_ari", *SILHOUETTES]
# Of runs with batches: how well these mix and types stay apart, in the latent space.
WITH_BATCHES = ["tsne_nmi", "latent_nmi", "latent_batch_correction", "latent_bio_conservation"]
SHORT = {
    **MEASURE_NAMES, "silhouette": "silh.", "batch_correction": "batch", "bio_conservation": "bio",
    "overall": "total",
}  # fmt: skip


class Terminal(Protocol):
    """Shows lines and tables: a `Console`."""

    def line(self, text: str) -> None:
        """Show a line."""

    def table(self, rows: Sequence[dict[str, str]]) -> None:
        """Show rows as a table."""


def show(
    runs: Sequence[Run],
    console: Terminal,
    *,
    by: Sequence[str] | None,
    score: str | None,
    sort: str | None,
) -> None:
    """Show the table of means on the terminal, and the verdict below it.

    Args:
        runs: what to sum up.
        console: where to show it.
        by: the columns that make a setting; None for all that vary.
        score: what settings are compared by; None for the NMI on the map, if there is one.
        sort: the score, setting or `n` that rows are sorted by; None for the order of the runs.

    Raises:
        InputError: no run has that score, or there is no such column to sort by.
    """
    table = results(runs)
    by = list(by or settings_of(table))
    means = summarise(table, by)
    score = main_score(table, score)
    known = scores_of(table)
    if sort is not None:
        column = f"{sort}_mean" if sort in known else sort
        if column not in means:
            raise unknown_choice("--sort", sort, [*by, "n", *known])
        means = means.sort_values(column, ascending=sort not in known, key=sortable)
    shown = WITH_BATCHES if {*WITH_BATCHES} <= {*known} else SHOWN
    names = {s: _heading(s) for s in [*(s for s in shown if s in known), score]}
    rows = brief(means, by, list(names))
    console.table([{names.get(key, key): value for key, value in row.items()} for row in rows])
    console.line("")
    for line in verdict(table, by, score):
        console.line(line)


def _heading(score: str) -> str:
    """Return a score as the head of a narrow column: `map NMI`."""
    space, _, measure = score.partition("_")
    return f"{'map' if space == 'tsne' else 'latent'} {SHORT[measure]}"


def sortable(column: pd.Series) -> pd.Series:
    """Return numbers as they are, all else as text."""
    return column if pd.api.types.is_numeric_dtype(column) else column.astype(str)
