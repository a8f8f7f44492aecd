"""Measure `scvae embed --labels` on cells that the runs have not seen."""
