"""The reconstruction error of a decoder that knows only the means of the genes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from scvae_cli.covariates import Covariates
from scvae_cli.models.autoencoder import EncoderDecoder
from scvae_cli.models.batches import Batches, place
from scvae_cli.models.likelihoods import Likelihood
from scvae_cli.rows import Values, group_sums, pieces_of

RARE = 1e-3  # molecules that a gene has beside its own: log 0 of an absent one has no use


@torch.no_grad()
def mean_profile_error(
    model: EncoderDecoder,
    x: Values,
    counts: Values | None,
    covariates: Covariates | None,
    *,
    batch_size: int,
    device: torch.device,
) -> float:
    """Compute the error of decoding every cell of a batch as the mean of the genes there.

    A network can do so without any latent feature, and a posterior that is the prior costs no KL:
    so this is also a loss that a network which tells cells apart must fall below.

    Args:
        model: trained, on `device`; of a likelihood of counts, its dispersions are taken, and for
            each gene the mean over cells of its log odds of an added zero.
        x: (n_cells, n_genes) values that it was trained on.
        counts: (n_cells, n_genes) counts, which likelihoods of counts need.
        covariates: of the cells; cells without batches are one batch.
        batch_size: cells at a time.
        device: where to compute.

    Returns:
        The mean of the cells, in the units of `Loss.reconstruction`.
    """
    n_cells = x.shape[0]
    groups = np.zeros(n_cells, int)
    if covariates is not None and covariates.keys:
        groups = covariates.batches[0]
    _, groups, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    values = x if model.likelihood is None else counts
    assert values is not None
    sums = group_sums(values, groups)
    if model.likelihood is None:
        parts = [x] if isinstance(x, np.ndarray) else (piece.data for _, piece in pieces_of(x))
        squares = sum(np.square(part, dtype=np.float64).sum() for part in parts)
        return float(squares - (np.square(sums).sum(1) / sizes).sum()) / float(n_cells)
    cells, total = place(x, counts, covariates, device), 0.0
    for group, profile in enumerate(sums):
        index = torch.from_numpy(np.flatnonzero(groups == group)).to(cells.device)
        total += _error(model, model.likelihood, cells, index.split(batch_size), profile)
    return total / float(n_cells)


def _error(
    model: EncoderDecoder,
    likelihood: Likelihood,
    cells: Batches,
    parts: Sequence[Tensor],
    profile: np.ndarray,
) -> float:
    """Compute -log P of the counts of cells that all have a profile, summed over cells.

    Args:
        model: whose likelihood it is.
        likelihood: of counts.
        cells: of which these are some.
        parts: their indices, a batch at a time.
        profile: (n_genes,) molecules of each gene.
    """
    last = model.decoder[-1]
    assert isinstance(last, nn.Linear)
    output = nn.Linear(last.in_features, last.out_features, device=last.weight.device)
    output.weight.zero_()
    output.bias.copy_(torch.from_numpy(np.log(profile + RARE)))
    outputs, hidden = [output], torch.zeros(last.in_features, device=last.weight.device)
    if likelihood.name == "zinb":
        # Its zeros hide molecules: a gene has more than are counted. How many more, only a fit
        # would tell exactly, so that what the network gives on average may be closer.
        hidden = _mean_hidden(model, cells, parts)
        output.bias.add_(softplus(likelihood.dropout(hidden)))
        outputs.append(last)
    totals = [0.0] * len(outputs)
    for index in parts:
        batch = cells.take(index)
        assert batch.counts is not None
        told = None
        if likelihood.n_batches and batch.covariates is not None:
            told = batch.covariates[:, : likelihood.n_batches]
        h = hidden.expand(batch.n_cells, -1)
        for i, layer in enumerate(outputs):
            totals[i] += float(likelihood(batch.counts, h, layer, told)) * batch.n_cells
    return min(totals)


def _mean_hidden(model: EncoderDecoder, cells: Batches, parts: Sequence[Tensor]) -> Tensor:
    """Compute the mean over cells of what goes into the decoder's last layer, (width,)."""
    device = next(model.parameters()).device
    noise, sums = torch.Generator(device), []
    for index in parts:
        batch = cells.take(index)
        z = model.embed(batch.x, "mean", noise, batch.covariates)
        sums.append(model.hidden(z, batch.covariates).sum(0))
    return torch.stack(sums).sum(0) / sum(len(index) for index in parts)
