"""Which latent space, on which cells: `make benchmark`, which writes docs/benchmark.md."""
