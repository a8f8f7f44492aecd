"""Command-line experiments with autoencoders on single-cell RNA-seq."""

from importlib.metadata import version

__version__ = version("scvae-cli")
