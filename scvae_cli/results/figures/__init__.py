"""The figures of runs, a function a figure, which returns a PNG. Only here is matplotlib used."""

from scvae_cli.results.figures.losses import loss_curves, loss_terms
from scvae_cli.results.figures.maps import map_2d, map_3d, map_grid, map_grid_3d, map_table
from scvae_cli.results.figures.scores import score_heat, score_lines
from scvae_cli.results.figures.sparsity import NOTABLE, sparsity

__all__ = [
    "NOTABLE", "loss_curves", "loss_terms", "map_2d", "map_3d", "map_grid", "map_grid_3d",
    "map_table", "score_heat", "score_lines", "sparsity",
]  # fmt: skip
