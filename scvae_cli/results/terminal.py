"""What many runs come to, on the terminal."""

from collections.abc import Sequence
from typing import Protocol

import pandas as pd

from scvae_cli.errors import InputError, unknown_choice
from scvae_cli.results import summary

SHOWN = ["tsne_nmi", "tsne_ari", "latent_nmi", "latent_ari", *summary.SILHOUETTES]
SHORT = {"nmi": "NMI", "ari": "ARI", "hom": "HOM", "com": "COM", "silhouette": "silh."}


class Terminal(Protocol):
    """Shows lines and tables: a `Console`."""

    def line(self, text: str) -> None:
        """Shows a line."""

    def table(self, rows: Sequence[dict[str, str]]) -> None:
        """Shows rows as a table."""


def show(
    runs: Sequence[summary.Run],
    console: Terminal,
    *,
    by: Sequence[str] | None,
    score: str | None,
    sort: str | None,
) -> None:
    """The table of means on the terminal, and what it comes to."""
    table = summary.results(runs)
    by = list(by or summary.settings_of(table))
    means = summary.summarise(table, by)
    score = summary.main_score(table, score)
    there = summary.scores_of(table)
    if sort is not None:
        column = f"{sort}_mean" if sort in there else sort
        if column not in means:
            raise InputError(unknown_choice("--sort", sort, [*by, "n", *there]))
        means = means.sort_values(column, ascending=sort not in there, key=sortable)
    wanted = [*(s for s in SHOWN if s in there), score]
    names = {
        s: ("map " if s.startswith("tsne") else "latent ") + SHORT.get(s.partition("_")[2], "")
        for s in wanted
    }
    rows = summary.brief(means, by, list(names))
    console.table([{names.get(key, key): value for key, value in row.items()} for row in rows])
    console.line("")
    for line in summary.verdict(table, by, score):
        console.line(line)


def sortable(column: pd.Series) -> pd.Series:
    """Numbers as they are, all else as text."""
    return column if pd.api.types.is_numeric_dtype(column) else column.astype(str)
