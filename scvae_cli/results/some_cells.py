"""Choose the cells of a run that a page shows on its map."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from scvae_cli.columns import MAP_NAMES, PLACED, PLACES, map_of

MOST_DRAWN = 50_000  # cells of a run on a page: a few megabytes, which still turn smoothly


class Drawn(NamedTuple):
    """What a page shows of a run's cells.

    Attributes:
        cells: their rows of cells.csv.
        genes: their rows of expression.csv, if there is one.
        said: what the page says of the others; empty where it shows all, as they were mapped.
    """

    cells: pd.DataFrame
    genes: pd.DataFrame | None
    said: str


def drawn(cells: pd.DataFrame, genes: pd.DataFrame | None) -> Drawn:
    """Choose the cells that a page shows on its map.

    Of too many cells with a place, `MOST_DRAWN` at random: the same for runs on the same cells.

    Args:
        cells: cells.csv of a run.
        genes: its expression.csv, if it has one.
    """
    said = ""
    kind = map_of(cells)
    if (placed := PLACED[kind]) in cells and (n := int(cells[placed].astype(bool).sum())):
        said = (
            f"{MAP_NAMES[kind]} mapped {len(cells) - n:,} cells, drawn at random; the others are "
            "placed beside the mapped cells that are nearest to them in the latent space. "
        )
    if len(cells) <= MOST_DRAWN:
        return Drawn(cells, genes, said)
    mapped = np.flatnonzero(cells[PLACES[kind][2][0]].notna())
    rows = np.sort(np.random.default_rng(0).permutation(mapped)[:MOST_DRAWN])
    said += f"This map shows {len(rows):,} of {len(cells):,} cells; cells.csv has all."
    of_genes = None if genes is None else genes.iloc[rows].reset_index(drop=True)
    return Drawn(cells.iloc[rows].reset_index(drop=True), of_genes, said)
