"""Read programmes of genes from latent spaces, and what is known of the cells without a model."""

import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
import scanpy as sc
import torch
from scipy.sparse import csr_matrix

from scvae_cli.analysis.sparsity import (
    gated_steps,
    infer_gates,
    percentile_steps,
    points,
    traverse,
)
from scvae_cli.data.celltypes import MARKERS
from scvae_cli.data.dataset import Dataset
from scvae_cli.models.vsc import VSC
from scvae_cli.results.figures.sparsity import NOTABLE
from scvae_cli.trained import TrainedRun

CPU = torch.device("cpu")
TOP = 20  # genes of a programme
N_MARKERS = 50  # of a type
# What the sorted populations are called in the tutorial whose markers are taken.
TUTORIAL = {
    "CD19+ B": "B",
    "CD14+ Monocyte": "CD14+ Mono",
    "CD56+ NK": "NK",
    "CD8+ Cytotoxic T": "CD8 T",
    "CD8+/CD45RA+ Naive Cytotoxic": "CD8 T",
    "CD4+/CD45RA+/CD25- Naive T": "Naive CD4 T",
    "CD4+/CD45RO+ Memory": "Memory CD4 T",
}


class Programmes(NamedTuple):
    """The signs of latents that raise some gene notably.

    Attributes:
        latents: numbers of the latents (n,).
        genes: the genes that rise most, a set for each programme.
        levels: how far each cell has each programme (n_cells, n).
    """

    latents: np.ndarray
    genes: list[frozenset[str]]
    levels: np.ndarray


class Truth(NamedTuple):
    """What is known of the cells without any model.

    Attributes:
        labels: number of the type of each cell (n_cells,).
        cell_types: names of the types.
        markers: the genes that mark each type.
        textbook: pairs of a type's number and a gene.
    """

    labels: np.ndarray
    cell_types: tuple[str, ...]
    markers: list[frozenset[str]]
    textbook: set[tuple[int, str]]


def symbols_of(run: TrainedRun, dataset: Dataset) -> np.ndarray:
    """Return the names (n_genes,) of the genes that a reader knows."""
    names: np.ndarray = run.genes.set_index("gene").loc[dataset.genes, "id"].to_numpy(dtype=str)
    return names


def programmes(run: TrainedRun, dataset: Dataset, axes: np.ndarray | None) -> Programmes:
    """Return the programmes of a run's latents, or of other orthogonal axes of its latent space.

    Args:
        run: of any model.
        dataset: its cells.
        axes: (n_latent, n_latent) columns, or None for the latents themselves.
    """
    latent = run.latent.to_numpy(dtype=float)
    mean = latent.mean(0)
    turned = latent - mean if axes is None else (latent - mean) @ axes
    if axes is None and isinstance(run.model, VSC):
        steps = gated_steps(infer_gates(run.model, dataset.x, batch_size=256, device=CPU))
        ends = points(steps, centre=mean)
    else:
        steps = percentile_steps(turned)
        back = np.eye(len(mean)) if axes is None else axes.T
        places = points(steps, centre=np.zeros(len(mean)))
        ends = tuple((place @ back + mean).astype(np.float32) for place in places)
    effects = traverse(run.model, *ends, target_sum=1e4, sd=None, device=CPU)
    notable = effects.max(1) >= NOTABLE
    names = symbols_of(run, dataset)
    top = np.argsort(-effects[notable], axis=1)[:, :TOP]
    steps = steps[notable]
    side = np.where(steps["sign"] == "positive", 1, -1)
    latents = steps["latent"].to_numpy(dtype=int)
    return Programmes(latents, [frozenset(names[t]) for t in top], turned[:, latents] * side)


def truth(dataset: Dataset, names: np.ndarray) -> Truth:
    """Return markers of each type: by rank-sum test against all other cells, and from a textbook.

    Args:
        dataset: the cells.
        names: of the genes (n_genes,).
    """
    types = dataset.cell_types
    cells = sc.AnnData(csr_matrix(dataset.x), obs=pd.DataFrame(index=dataset.cells))
    cells.var_names = names
    cells.obs["type"] = pd.Categorical(np.array(types)[dataset.labels])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.tl.rank_genes_groups(cells, "type", method="wilcoxon")
    ranked = cells.uns["rank_genes_groups"]["names"]
    markers = [frozenset(ranked[name][:N_MARKERS]) for name in types]
    textbook = {
        (types.index(name), gene)
        for name, tutorial in TUTORIAL.items()
        for gene in MARKERS[tutorial]
        if gene in names
    }
    return Truth(dataset.labels, types, markers, textbook)
