"""What a latent stands for: the cells in which it is on, and the genes that it raises or lowers.

The slab of a VSC lies on both sides of 0, so that one latent may be positive in one kind of cells
and negative in another; a mean over both would cancel out. Each sign is a programme of its own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array

from scvae_cli.covariates import Covariates
from scvae_cli.models.batches import place
from scvae_cli.models.model import Model
from scvae_cli.rows import gathered

ON = 0.5  # gamma above which a latent is on
LEAST = 10  # cells: what is on in fewer has no typical value
SIGNS = {"positive": 1, "negative": -1}


class Gates(NamedTuple):
    """Of each cell and latent, (n_cells, n_latent): gamma, and mu of the slab."""

    gamma: np.ndarray
    mu: np.ndarray

    @property
    def n_on(self) -> float:
        """Return how many latents are on in a cell, on average."""
        return float((self.gamma > ON).sum(1).mean())

    @property
    def centre(self) -> np.ndarray:
        """Return the cells' mean embedding (n_latent,)."""
        centre: np.ndarray = (self.gamma * self.mu).mean(0)
        return centre


class Sparsity(NamedTuple):
    """What the gates of a model tell.

    Attributes:
        n_on: how many latents are on in a cell, on average.
        latents: in which types each latent is on, from `by_type`; latents.csv.
        genes: which genes each latent raises and lowers most, from `top_genes`; drivers.csv.
    """

    n_on: float
    latents: pd.DataFrame
    genes: pd.DataFrame


def describe_gates(
    model: Model,
    x: csr_array | np.ndarray,
    covariates: Covariates | None = None,
    *,
    labels: np.ndarray,
    cell_types: Sequence[str],
    genes: np.ndarray,
    n_top: int,
    target_sum: float | None,
    sd: np.ndarray | None,
    batch_size: int,
    device: torch.device,
) -> Sparsity:
    """Tell what each latent of a model with gates stands for.

    Args:
        model: with `has_gates`, trained, on `device`.
        x: (n_cells, n_genes) float32 values.
        covariates: see `embed`.
        labels: (n_cells,) index of each cell's type.
        cell_types: their names.
        genes: (n_genes,) names.
        n_top: how many genes to name that a latent raises, and as many that it lowers.
        target_sum: see `traverse`.
        sd: see `traverse`.
        batch_size: cells at a time.
        device: where to compute.
    """
    gates = infer_gates(model, x, covariates, batch_size=batch_size, device=device)
    steps = gated_steps(gates)
    ends = points(steps, centre=gates.centre)
    effects = traverse(model, *ends, target_sum=target_sum, sd=sd, device=device)
    return Sparsity(
        gates.n_on,
        by_type(gates, labels=labels, cell_types=cell_types),
        top_genes(steps, effects, genes=genes, n_top=n_top),
    )


@torch.inference_mode()
def infer_gates(
    model: Model,
    x: csr_array | np.ndarray,
    covariates: Covariates | None = None,
    *,
    batch_size: int,
    device: torch.device,
) -> Gates:
    """Compute the posterior's probability that a latent is on, and its mean where it is.

    Args:
        model: with `has_gates`, trained, on `device`.
        x: (n_cells, n_genes) float32 values.
        covariates: see `embed`.
        batch_size: cells at a time.
        device: where to compute.
    """
    batches = place(x, None, covariates, device).in_order(batch_size)
    gates = (torch.cat(model.gates(batch.x, batch.covariates), 1).cpu() for batch in batches)
    gamma, mu = np.hsplit(gathered((part.numpy() for part in gates), x.shape[0]), 2)
    return Gates(gamma, mu)


def by_type(gates: Gates, *, labels: np.ndarray, cell_types: Sequence[str]) -> pd.DataFrame:
    """Tell which latents are on in which cell type.

    Args:
        gates: of the cells.
        labels: (n_cells,) index of each cell's type.
        cell_types: their names.

    Returns:
        A row for each latent and type: latent, cell_type, n_cells, gamma (its mean), on (share of
        the type's cells with gamma > 1/2), positive and negative (that share by the sign of mu).
    """
    members = np.equal.outer(np.arange(len(cell_types)), labels).astype(float)
    sizes = members.sum(1, keepdims=True)
    on = gates.gamma > ON
    n_latent = gates.gamma.shape[1]

    def mean(values: np.ndarray) -> np.ndarray:
        means: np.ndarray = members @ values / sizes
        return means.T.ravel()

    return pd.DataFrame(
        {
            "latent": np.repeat(names(n_latent), len(cell_types)),
            "cell_type": np.tile(np.array(cell_types, dtype=object), n_latent),
            "n_cells": np.tile(sizes.ravel().astype(int), n_latent),
            "gamma": mean(gates.gamma),
            "on": mean(on),
            "positive": mean(on & (gates.mu > 0)),
            "negative": mean(on & (gates.mu < 0)),
        }
    )


def names(n_latent: int) -> list[str]:
    """Return `z1`, `z2`, ... as in latent.csv."""
    return [f"z{i}" for i in range(1, n_latent + 1)]


def gated_steps(gates: Gates) -> pd.DataFrame:
    """Choose steps from off to what is typical where on, for each latent and sign of a VSC.

    Args:
        gates: of the cells.

    Returns:
        A row for each latent and sign that is on in `LEAST` cells or more: latent (from 0), sign,
        start (0: off), end (mean of mu over these cells, weighted by gamma).
    """
    rows = []
    for latent, (gamma, mu) in enumerate(zip(gates.gamma.T, gates.mu.T, strict=True)):
        for sign, side in SIGNS.items():
            on = (gamma > ON) & (side * mu > 0)
            if on.sum() >= LEAST:
                rows.append((latent, sign, 0.0, float(np.average(mu[on], weights=gamma[on]))))
    return pd.DataFrame(rows, columns=["latent", "sign", "start", "end"])


def percentile_steps(latent: np.ndarray) -> pd.DataFrame:
    """Choose steps from the median to the 95th and the 5th percentile, for latents never off.

    Args:
        latent: (n_cells, n_latent) embedding.

    Returns:
        As `gated_steps`, a row for each latent and sign.
    """
    low, middle, high = np.percentile(latent, [5, 50, 95], axis=0)
    ends = zip(middle, high, low, strict=True)
    rows = [
        (i, sign, float(start), float(end))
        for i, (start, *both) in enumerate(ends)
        for sign, end in zip(SIGNS, both, strict=True)
    ]
    return pd.DataFrame(rows, columns=["latent", "sign", "start", "end"])


def points(steps: pd.DataFrame, *, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where in the latent space each step starts and ends, (n_steps, n_latent) each.

    Args:
        steps: from `gated_steps` or `percentile_steps`.
        centre: (n_latent,) where all other latents stay: the cells' mean embedding, one for all
            steps, so that their effects can be compared, and not 0, where there may be no cells.
    """
    step, latent = np.arange(len(steps)), steps["latent"].to_numpy(dtype=int)
    starts = np.tile(centre.astype(np.float32), (len(steps), 1))
    ends = starts.copy()
    starts[step, latent], ends[step, latent] = steps["start"], steps["end"]
    return starts, ends


@torch.inference_mode()
def expression(
    model: Model, latent: np.ndarray, *, target_sum: float | None, device: torch.device
) -> np.ndarray:
    """Compute what a model decodes at these places in its latent space.

    Args:
        model: trained, on `device`.
        latent: (n, n_latent).
        target_sum: counts per cell before the logarithm, which only likelihoods of counts need.
        device: where to compute.

    Returns:
        (n, n_genes), see `Model.decode`.
    """
    z = torch.from_numpy(latent).to(device, torch.float32)
    values: np.ndarray = model.decode(z, target_sum).cpu().numpy()
    return values


def traverse(
    model: Model,
    starts: np.ndarray,
    ends: np.ndarray,
    *,
    target_sum: float | None,
    sd: np.ndarray | None,
    device: torch.device,
) -> np.ndarray:
    """Compute how much each gene changes along each step.

    Args:
        model: trained, on `device`.
        starts: (n_steps, n_latent), from `points`.
        ends: the same.
        target_sum: see `expression`.
        sd: (n_genes,) what each gene was divided by, where values were scaled, or None.
        device: where to compute.

    Returns:
        (n_steps, n_genes) differences of log(1 + counts per target_sum). With the squared error
        target_sum is of all genes that the cells were normalised by, with a likelihood of counts
        of the model's own.
    """
    after, before = (
        expression(model, at, target_sum=target_sum, device=device) for at in (ends, starts)
    )
    effects: np.ndarray = (after - before) * (1 if sd is None else sd.astype(np.float32))
    return effects


def top_genes(
    steps: pd.DataFrame, effects: np.ndarray, *, genes: np.ndarray, n_top: int
) -> pd.DataFrame:
    """Rank the genes that each step changes most.

    Args:
        steps: from `gated_steps` or `percentile_steps`.
        effects: (n_steps, n_genes), from `traverse`.
        genes: (n_genes,) names.
        n_top: how many genes that are raised, and as many that are lowered, at most: a step may
            raise fewer, or none.

    Returns:
        A row for each step and gene: latent, sign, end (the latent's value there), change (raised
        or lowered), rank (from 1), gene, effect.
    """
    parts = []
    for step, effect in zip(steps.itertuples(), effects, strict=True):
        for change, side in (("raised", -1), ("lowered", 1)):
            top = np.argsort(side * effect, kind="stable")[:n_top]
            top = top[side * effect[top] < 0]
            part = pd.DataFrame({"gene": genes[top], "effect": effect[top]})
            part.insert(0, "latent", f"z{step.latent + 1}")
            part.insert(1, "sign", step.sign)
            part.insert(2, "end", step.end)
            part.insert(3, "change", change)
            part.insert(4, "rank", np.arange(1, len(top) + 1))
            parts.append(part)
    columns = ["latent", "sign", "end", "change", "rank", "gene", "effect"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
