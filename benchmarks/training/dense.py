"""The report's models as plain dense loops, which ours are measured against."""

from itertools import pairwise
from time import perf_counter

import torch
from torch import nn


class Plain(nn.Module):
    """The report's models as one would write them: dense layers, the whole reconstruction.

    Args:
        kind: `ae`, `vae` or `vsc`.
        n_genes: number of genes.
        n_latent: number of latents.
        wide: whether layers have the size of the authors' code and not of the report's text.
    """

    def __init__(self, kind: str, n_genes: int, n_latent: int = 6, *, wide: bool = False) -> None:
        super().__init__()
        self.kind, self.wide = kind, wide
        first, second = (800, 400) if wide else (128, 32)
        self.one, self.two = nn.Linear(n_genes, first), nn.Linear(first, second)
        heads = {"ae": 1, "vae": 2, "vsc": 3}[kind]
        self.heads = nn.ModuleList(
            nn.Linear(second, n_latent)
            if wide
            else nn.Sequential(nn.Linear(second, 16), nn.ReLU(), nn.Linear(16, n_latent))
            for _ in range(heads)
        )
        back = [n_latent, 80, 400, 800, n_genes] if wide else [n_latent, 16, 32, 128, n_genes]
        self.back = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(back))

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """Return squared error and KL, summed over the batch (n_cells, n_genes)."""
        h = torch.relu(self.two(self.one(x)))
        mu, *rest = (head(h) for head in self.heads)
        kl = torch.zeros(())
        z = torch.relu(mu) if self.kind == "ae" else mu
        if rest:
            logvar = rest[0] if self.wide else 2 * rest[0]
            z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
            kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp())
        if len(rest) > 1:
            gamma = torch.clamp(torch.exp(-torch.relu(-rest[1])), 1e-6, 1 - 1e-6)
            z = torch.sigmoid(50 * (torch.rand_like(z) + gamma - 1)) * z
            kl = gamma * kl + (1 - gamma) * torch.log(2 - 2 * gamma) + gamma * torch.log(2 * gamma)
        for layer in self.back[:-1]:
            z = torch.relu(layer(z))
        total: torch.Tensor = ((self.back[-1](z) - x) ** 2).sum() + 2 * kl.sum()
        return total


def plain_epoch(model: Plain, optimizer: torch.optim.Optimizer, x: torch.Tensor) -> float:
    """Train an epoch of the plain loop on a dense matrix; return its seconds."""
    start = perf_counter()
    for index in torch.randperm(len(x)).split(256):
        optimizer.zero_grad()
        model.loss(x[index]).backward()
        optimizer.step()
    return perf_counter() - start


def loader_epoch(model: Plain, optimizer: torch.optim.Optimizer, x: torch.Tensor) -> float:
    """Train an epoch as the report's authors feed theirs: float64 rows, a DataLoader.

    Returns:
        Its seconds.
    """
    start = perf_counter()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x), batch_size=240, shuffle=True
    )
    for (rows,) in loader:
        optimizer.zero_grad()
        model.loss(rows.float()).backward()
        optimizer.step()
    return perf_counter() - start
