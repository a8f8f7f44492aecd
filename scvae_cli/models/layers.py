"""The blocks that networks are built of: encoders, heads and decoders."""

from itertools import pairwise

from torch import nn

from scvae_cli.models.sparse import GeneLinear


def activation(name: str) -> list[nn.Module]:
    """Return the layers of an activation: one for `relu`, none for `linear`."""
    return [nn.ReLU()] if name == "relu" else []


def encoder(widths: list[int], first_activation: str) -> list[nn.Module]:
    """Build layers from genes through `widths`, ReLU after each but perhaps the first.

    Args:
        widths: number of genes, then the width of each layer.
        first_activation: `linear` or `relu`, after the first layer.
    """
    first = GeneLinear(widths[0], widths[1])
    return [first, *activation(first_activation), *_linear_relu(widths[1:])]


def head(n_in: int, branch: int | None, n_out: int) -> nn.Module:
    """Build a head: a linear layer, after a hidden layer of width `branch` if there is one."""
    if branch is None:
        return nn.Linear(n_in, n_out)
    return nn.Sequential(nn.Linear(n_in, branch), nn.ReLU(), nn.Linear(branch, n_out))


def decoder(widths: list[int], extra: int = 0) -> nn.Sequential:
    """Build layers from z through `widths` to genes, ReLU after each but the last.

    Args:
        widths: of z, of the hidden layers, and number of genes.
        extra: further inputs of the first and of the last layer.
    """
    hidden = _linear_relu([widths[0] + extra, *widths[1:-1]])
    return nn.Sequential(*hidden, nn.Linear(widths[-2] + extra, widths[-1]))


def _linear_relu(widths: list[int]) -> list[nn.Module]:
    pairs = pairwise(widths)
    return [layer for n_in, n_out in pairs for layer in (nn.Linear(n_in, n_out), nn.ReLU())]
