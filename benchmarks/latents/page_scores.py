"""Write the tables of all scores, and say which methods cannot be told from the best."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.latents.methods import CONTROLS, METHODS
from benchmarks.latents.sets import INDEPENDENT, KINDS
from benchmarks.latents.tables import BY, MEASURES, Tables, level, values
from scvae_cli.analysis.stats import estimate
from scvae_cli.paper.wording import plain
from scvae_cli.results.markdown import table as markdown

READINGS = [(space, by, m) for space in ("latent", "map") for by in BY for m in MEASURES]


def score_tables(tables: Tables) -> list[str]:
    """Return the section with a table for each set of labels, by kind."""
    parts = ["## Scores"]
    heads = [f"{space}, {by}, {m.upper()}" for space, by, m in READINGS]
    for kind, title in KINDS.items():
        for labels, about in tables.labels.items():
            if about["kind"] == kind:
                parts.append(f"### {labels}\n\n{title}.")
                parts.append(markdown(["", "seeds", *heads], _rows(tables, labels)))
    return parts


def first_or_level(tables: Tables, best: str) -> str:
    """Return on how many independent labels the best is first or level with the first."""
    behind = []
    labels = [name for name, about in tables.labels.items() if about["kind"] == INDEPENDENT]
    for name in labels:
        for by in BY:
            for measure in MEASURES:
                top = firsts(values(tables, name, "latent", by, measure))
                if best not in top:
                    behind.append(f"{name}, {by}, {measure.upper()} ({top[0]} is above)")
    n = len(labels) * len(BY) * len(MEASURES)
    rest = f" The others are: {'; '.join(behind)}." if behind else ""
    return (
        f"On independent types no method is significantly above it (95 % for all methods at once) "
        f"in {n - len(behind)} of {n} readings of the latent space.{rest}"
    )


def firsts(values: Mapping[str, np.ndarray]) -> list[str]:
    """Return the method with the highest mean, then those that cannot be told from it.

    Controls that learn nothing are no rivals: theirs are so noisy that three seeds exclude little.
    """
    rivals = {name: some for name, some in values.items() if name not in CONTROLS}
    top = max(rivals, key=lambda m: float(rivals[m].mean()))
    return [top, *level(rivals, top)]


def _rows(tables: Tables, labels: str) -> list[list[str]]:
    """Return a row a method; bold is what cannot be told from the highest of its column."""
    columns = [values(tables, labels, *reading) for reading in READINGS]
    bold = [firsts(some) for some in columns]
    return [
        [
            name,
            str(len(columns[0][name])),
            *(_cell(some, name, top) for some, top in zip(columns, bold, strict=True)),
        ]
        for name in METHODS
        if name in columns[0]
    ]


def _cell(values: Mapping[str, np.ndarray], name: str, firsts: Sequence[str]) -> str:
    text = plain(estimate(values[name]), 3)
    return f"**{text}**" if name in firsts else text
