"""One thin module per sub-command of `scvae`, but for `train`, which is in `launch`."""
