"""Run Hydra behind `scvae train`: compose, check, claim a folder, start, resume, sweep."""
