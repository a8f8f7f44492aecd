"""Figures of many runs' maps beside each other."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scvae_cli.columns import MAP_NAMES, PLACED, PLACES, map_of
from scvae_cli.results.colours import COLOURS
from scvae_cli.results.figures.labels import MANY, centres, write_marks
from scvae_cli.results.figures.legends import legend, legend_height, wrapped
from scvae_cli.results.figures.maps import EDGE, bare, set_limits
from scvae_cli.results.figures.solid import VIEWS, draw_solid, size_of
from scvae_cli.results.figures.style import (
    COLUMN,
    PAGE,
    TEXT,
    Groups,
    axes_at,
    by_cluster,
    by_type,
    scatter,
    text_at,
)
from scvae_cli.visible import UNLABELLED, visible

BETWEEN = 0.1  # inches between two maps
LINE = 1.3 * TEXT / 72  # inches of a line of a title
LETTER = 6.0  # points of a letter on a map
MOST_BESIDE = 4  # maps


class Cell(NamedTuple):
    """A map in a table of maps.

    Attributes:
        title: above it.
        places: (n_cells, 2).
        groups: of the cells.
    """

    title: str
    places: np.ndarray
    groups: Groups


def map_grid(
    maps: Mapping[str, tuple[np.ndarray, np.ndarray]],
    labels: np.ndarray,
    cell_types: Sequence[str],
) -> Figure:
    """Draw 2-D maps side by side, by cell type above and by cluster below.

    Args:
        maps: title to places (n_cells, 2) and clusters (n_cells,).
        labels: (n_cells,) types.
        cell_types: their names.
    """
    types = by_type(labels, cell_types)
    above = [Cell(visible(title), places, types) for title, (places, _) in maps.items()]
    below = [
        Cell("the same, by k-means cluster", places, by_cluster(labels, cell_types, clusters))
        for places, clusters in maps.values()
    ]
    return map_rows([above, below], [types])


def map_table(maps: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw 2-D maps by cell type in rows as long as each other, or nearly so.

    Args:
        maps: title to cells.csv of a run.
    """
    of_cells = [cells["cell_type"].fillna(UNLABELLED).astype(str) for cells in maps.values()]
    types = sorted(set().union(*of_cells), key=lambda name: (name == UNLABELLED, name))
    labels = pd.Categorical(pd.concat(of_cells), types).codes.astype(int)
    groups = by_type(labels, types, "cell type")
    groups = groups._replace(styles=[style._replace(note="") for style in groups.styles])
    if MANY < len(types) <= len(COLOURS):  # letters of more would hide the small maps
        groups = groups.lettered()
    cells = []
    for names, (title, table) in zip(of_cells, maps.items(), strict=True):
        mapped = _mapped(table)
        codes = pd.Categorical(names[mapped.index], types).codes.astype(int)
        places = mapped[[*PLACES[map_of(table)][2]]].to_numpy(float)
        cells.append(Cell(visible(title), places, groups._replace(codes=codes)))
    if types == [UNLABELLED]:
        cells = [
            cell._replace(groups=_clusters(table))
            for cell, table in zip(cells, maps.values(), strict=True)
        ]
        groups = max((cell.groups for cell in cells), key=lambda one: len(one.styles))
    n_rows = -(-len(cells) // MOST_BESIDE)
    rows = [[cells[i] for i in part] for part in np.array_split(range(len(cells)), n_rows)]
    return map_rows(rows, [groups])


def _mapped(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of cells.csv whose cells are on the map, and were not placed afterwards."""
    kind = map_of(table)
    mapped, placed = table.dropna(subset=[PLACES[kind][2][0]]), PLACED[kind]
    return mapped[~mapped[placed].astype(bool)] if placed in mapped else mapped


def _clusters(table: pd.DataFrame) -> Groups:
    """Return the mapped cells of a run, whose types are not known, by cluster."""
    clusters = _mapped(table)["cluster"].to_numpy(int)
    groups = by_cluster(np.zeros_like(clusters), [UNLABELLED], clusters)
    styles = [style._replace(note="") for style in groups.styles]
    return groups._replace(styles=styles, title="cluster")


def map_rows(rows: Sequence[Sequence[Cell]], keys: Sequence[Groups]) -> Figure:
    """Draw rows of maps, a shorter row in the middle, and legends below them.

    Args:
        rows: of maps.
        keys: what the legends are of, each given once.
    """
    longest = max(map(len, rows))
    page = PAGE if longest > 1 else COLUMN
    width = (page - 2 * EDGE - BETWEEN * (longest - 1)) / longest
    titles = [[wrapped(cell.title, TEXT, width) for cell in row] for row in rows]
    heads = [LINE * max(title.count("\n") + 1 for title in row) + 0.03 for row in titles]
    below = sum(heads) + len(rows) * (width + BETWEEN)
    wide = page - 2 * EDGE
    high = [legend_height(one.keys, wide, one.title) + BETWEEN for one in keys]
    figure = Figure(figsize=(page, below + sum(high)))
    top = 0.0
    for row, names, head in zip(rows, titles, heads, strict=True):
        left = EDGE + (longest - len(row)) * (width + BETWEEN) / 2
        for cell, title in zip(row, names, strict=True):
            text_at(figure, left, top, title)
            axes = axes_at(figure, left, top + head, width, width)
            _draw(axes, cell)
            left += width + BETWEEN
        top += head + width + BETWEEN
    for one, height in zip(keys, high, strict=True):
        legend(figure, one.keys, EDGE, below, wide, one.title)
        below += height
    return figure


def _draw(axes: Axes, cell: Cell) -> None:
    """Draw a map, with the marks of its groups where they have some."""
    set_limits(axes, cell.places, 1)
    scatter(axes, cell.places, cell.groups)
    bare(axes)
    if any(style.mark for style in cell.groups.styles):
        write_marks(axes, centres(cell.places, cell.groups), cell.groups, LETTER)


def map_grid_3d(
    maps: Mapping[str, np.ndarray], labels: np.ndarray, cell_types: Sequence[str]
) -> Figure:
    """Draw 3-D maps by t-SNE side by side, by cell type.

    Args:
        maps: title to places (n_cells, 3).
        labels: (n_cells,) types.
        cell_types: their names.
    """
    types = by_type(labels, cell_types)
    wide, n = PAGE - 2 * EDGE, len(maps)
    width = (wide - BETWEEN * (n - 1)) / n
    sizes = {title: size_of(places, VIEWS[0]) for title, places in maps.items()}
    height = width * max(high / across for across, high in sizes.values())
    below = LINE + height + BETWEEN
    figure = Figure(figsize=(PAGE, below + legend_height(types.keys, wide, types.title)))
    for i, (title, places) in enumerate(maps.items()):
        left = EDGE + i * (width + BETWEEN)
        text_at(figure, left, 0, visible(title))
        across, high = sizes[title]
        own = width * high / across
        axes = axes_at(figure, left, LINE + (height - own) / 2, width, own)
        draw_solid(axes, places, types, VIEWS[0], MAP_NAMES["tsne"])
    legend(figure, types.keys, EDGE, below, wide, types.title)
    return figure
