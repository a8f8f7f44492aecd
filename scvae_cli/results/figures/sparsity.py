"""The figure of a sparse model: the cell types in which each latent is on, and its genes."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scvae_cli.results.figures.legends import width_of, wrapped
from scvae_cli.results.figures.style import PAGE, SMALL, TITLE, axes_at, short, text_at
from scvae_cli.visible import visible

MINUS = "\N{MINUS SIGN}"
NOTABLE = 0.1  # log1p of counts: a tenth more, of a gene that is well expressed
GENES, LEAST_GENES = 2.6, 1.5  # inches of a line of genes
NAMES = 0.45  # inches of the name of a row
WIDEST, SLIMMEST, ROW = 0.22, 0.085, 0.16  # inches of a column of types, and of a row
NUMBERED = 0.14  # inches from which a column has room for a number
TYPE_NAME = 32  # characters
HEAD = "genes raised most, the first by how much (log1p of normalised counts)"
BESIDE: dict[str, Any] = {
    "textcoords": "offset points", "xytext": (6, 0), "va": "center", "fontsize": SMALL,
    "annotation_clip": False,
}  # fmt: skip


def programme_map(latents: pd.DataFrame, top_genes: pd.DataFrame, title: str) -> Figure:
    """Draw in which cell types each latent is on, by sign, beside the genes that it raises there.

    The figure is wider than a page only where a type has no room for its name.

    Args:
        latents: latents.csv.
        top_genes: drivers.csv; a latent that it lacks is hardly ever on, or changes no gene.
        title: what was run.
    """
    types = [short(name, TYPE_NAME) for name in dict.fromkeys(latents["cell_type"])]
    cell = float(np.clip((PAGE - NAMES - GENES) / len(types), SLIMMEST, WIDEST))
    beside = max(LEAST_GENES, PAGE - NAMES - cell * len(types))
    rows, genes = programmes(latents, top_genes, beside - 0.1)
    shares = np.array(list(rows.values()))
    n_rows, n_types = shares.shape
    head = 0.06 + max(width_of(name, SMALL) for name in types)
    top = head + 0.3
    figure = Figure(figsize=(NAMES + cell * n_types + beside, top + ROW * n_rows + 0.35))
    axes = axes_at(figure, NAMES, top, cell * n_types, ROW * n_rows)
    shades = _draw_shares(axes, shares, cell >= NUMBERED)
    axes.set_xticks(range(n_types), types, rotation=90, fontsize=min(SMALL, cell * 68))
    axes.set_yticks(range(n_rows), list(rows), fontsize=SMALL)
    axes.xaxis.tick_top()
    for row, text in enumerate(genes):
        axes.annotate(text, (n_types - 0.5, row), **BESIDE)
    what = wrapped(HEAD, SMALL, min(beside - 0.1, GENES))
    options = {**BESIDE, "va": "bottom", "style": "italic"}
    axes.annotate(what, (n_types - 0.5, -0.7), **options)
    text_at(figure, 0.06, 0, wrapped(visible(title), TITLE, PAGE - 0.12, 1), fontsize=TITLE)
    scale = axes_at(figure, NAMES, top + ROW * n_rows + 0.12, 0.7, 0.07)
    figure.colorbar(shades, cax=scale, orientation="horizontal")
    scale.set_xticks([0, 0.5, 1], ["0", "50", "100"], fontsize=SMALL)
    scale.annotate("% of the type's cells in which it is on (gamma > 1/2)", (1, 0.5), **BESIDE)
    return figure


def programmes(
    latents: pd.DataFrame, top_genes: pd.DataFrame, inches: float = GENES
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return name of each programme to its share in each type (n_types,), and a line of genes.

    Args:
        latents: latents.csv.
        top_genes: drivers.csv.
        inches: that a line of genes has.
    """
    shares: dict[str, np.ndarray] = {}
    genes = []
    for latent, by_type in latents.groupby("latent", sort=False):
        of_latent = top_genes[top_genes["latent"] == latent]
        for sign, top in of_latent.groupby("sign", sort=False):
            shares[f"{latent} {'+' if sign == 'positive' else MINUS}"] = by_type[sign].to_numpy()
            genes.append(_gene_line(top[top["change"] == "raised"], inches))
        if of_latent.empty:
            shares[str(latent)] = by_type["on"].to_numpy()
            genes.append("(off, or no gene changes)")
    return shares, genes


def _draw_shares(axes: Axes, shares: np.ndarray, numbered: bool) -> Any:
    """Draw shares (n_rows, n_types) as shades of blue; return what has the scale."""
    n_rows, n_types = shares.shape
    shades = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.tick_params(which="both", length=0)
    axes.set_xticks(np.arange(0.5, n_types - 1), minor=True)
    axes.set_yticks(np.arange(0.5, n_rows - 1), minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.spines[:].set_visible(False)
    for (row, column), share in np.ndenumerate(shares):
        if numbered and share >= 0.05:
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=5.5,
                      color="white" if share > 0.6 else "black")  # fmt: skip
    return shades


def _gene_line(top: pd.DataFrame, inches: float) -> str:
    """Return genes that change by `NOTABLE` or more, as many as a line has room for."""
    notable = top[top["effect"] >= NOTABLE]
    if not len(notable):
        return f"(none by {NOTABLE:g})"
    names = [short(gene) for gene in notable["gene"]]
    text = f"{names[0]} (+{notable['effect'].iloc[0]:.1f})"
    for name in names[1:]:
        if width_of(f"{text}  {name}", SMALL) > inches:
            break
        text += f"  {name}"
    return text
