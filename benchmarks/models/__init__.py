"""Which model, on which cells: `make benchmark`, which writes docs/benchmark.md."""
