"""The colour and marker of each cell type and cluster, in figures and in report.html alike.

A type has one colour in every figure, a cluster that of its most frequent type. The first ten
colours are those of Petroff, Accessible Color Sequences for Data Visualization (2021). Each
further one is, as in Glasbey et al., Colour displays for categorical images (2007), the colour
that is furthest from those before it: by distance in OKLab (Ottosson, 2020), the least over usual
colour vision (times 0.6), protanopia, deuteranopia and tritanopia (times 0.8), simulated as in
Machado et al., A physiologically-based model for simulation of color vision deficiency (2009).
Lightness is from 0.33 to 0.9 and chroma from 0.04 to 0.22, so that each shows on white paper; six
have others in their place on dark paper. Any two are 0.05 or more apart in any colour vision (0.06
among the first ten), 0.08 in the usual one.

With more than 30 types the colours come again with the next marker, and figures of one run write a
letter at the centre of each type. Shades change where clusters share a main type.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

import numpy as np

from scvae_cli.visible import UNLABELLED

COLOURS = [
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
    "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
    "#003c55", "#661100", "#d4ee00", "#550088", "#335e4c",
    "#5555e6", "#77b2ff", "#ffc4a2", "#3cffd4", "#a21180",
    "#906eff", "#d45ebb", "#901100", "#b2d46e", "#99904c",
    "#9955c4", "#554466", "#6e663c", "#ff77a2", "#3c11b2",
]  # fmt: skip
ON_DARK = {  # what stands for those that cannot be seen on dark paper, chosen in the same way
    "#003c55": "#bbffaa", "#661100": "#ffe6ff", "#550088": "#c477ff", "#901100": "#c48877",
    "#554466": "#d43c88", "#3c11b2": "#dd90e6",
}  # fmt: skip
VIRIDIS = [  # of numbers, from the least to the largest: as matplotlib has it
    "#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c",
    "#22a884", "#44bf70", "#7ad151", "#bddf26", "#fde725",
]  # fmt: skip
GREY = "#bbbbbb"  # of cells without a type, where others have one
N_MARKERS = 8
SHADES = [1.0, 0.65, 0.4, 0.85]
BLACK, WHITE = 0, 255


class Look(NamedTuple):
    """How the cells of a type or cluster are drawn.

    Attributes:
        colour: as `#rrggbb`, on light paper.
        dark: the colour on dark paper.
        marker: number of the marker, below `N_MARKERS`.
    """

    colour: str
    dark: str
    marker: int


def by_size(sizes: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return positions of types by number of cells, that of cells without a type last.

    Args:
        sizes: (n_types,) cells of each type.
        names: of the types.
    """
    untyped = np.array([name == UNLABELLED for name in names])
    return np.argsort(np.where(untyped, 1, -sizes), kind="stable")


def type_looks(sizes: np.ndarray, names: Sequence[str]) -> list[Look]:
    """Return a look for each type, the colours furthest apart for the largest.

    Where there are more types than colours, the colours come again with the next marker.

    Args:
        sizes: (n_types,) cells of each type.
        names: of the types.
    """
    looks = []
    for name, rank in zip(names, np.argsort(by_size(sizes, names)), strict=True):
        if name == UNLABELLED and len(names) > 1:
            looks.append(Look(GREY, GREY, 0))
            continue
        looks.append(_nth_look(int(rank)))
    return looks


def main_types(counts: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return the most frequent type of each cluster; `unlabelled` only where it has no other.

    Args:
        counts: (n_clusters, n_types) cells.
        names: of the types.
    """
    untyped = np.array([name == UNLABELLED for name in names])
    typed = np.where(untyped, 0, counts)
    mains: np.ndarray = np.where(typed.any(1, keepdims=True), typed, counts).argmax(1)
    return mains


def cluster_looks(mains: np.ndarray, looks: Sequence[Look], names: Sequence[str]) -> list[Look]:
    """Return a look for each cluster: its main type's colour, in another shade where it is taken.

    A cluster without any type has a colour that no type has; so have all where types are one.

    Args:
        mains: (n_clusters,) main types.
        looks: of the types.
        names: of the types.
    """
    if len(looks) == 1:
        return [_nth_look(i) for i in range(len(mains))]
    free = count(sum(name != UNLABELLED for name in names))
    taken: Counter[str] = Counter()
    of_clusters = []
    for main in mains:
        if names[main] == UNLABELLED:
            of_clusters.append(_nth_look(next(free)))
            continue
        colour = looks[main].colour
        nth = taken[colour]
        taken[colour] += 1
        share = SHADES[nth % len(SHADES)]
        shades = _shade(colour, share, BLACK), _shade(looks[main].dark, share, WHITE)
        of_clusters.append(Look(*shades, nth % N_MARKERS))
    return of_clusters


def _nth_look(n: int) -> Look:
    """Return the look of number n: a colour of its own, from the 31st on with another marker."""
    again, nth = divmod(n, len(COLOURS))
    colour = COLOURS[nth]
    return Look(colour, ON_DARK.get(colour, colour), again % N_MARKERS)


def _shade(colour: str, share: float, towards: int) -> str:
    """Return a colour of which only this share is left, the rest being black or white."""
    parts = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    red, green, blue = (round(part) for part in towards + share * (parts - towards))
    return f"#{red:02x}{green:02x}{blue:02x}"
