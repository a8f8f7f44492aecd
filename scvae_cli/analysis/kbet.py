"""kBET: whether neighbours of a cell are of the batches that all cells of its type are of."""

import numpy as np
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh
from scipy.stats import chi2

from scvae_cli.analysis.neighbourhood import lists, nearest

ALPHA = 0.05  # significance at which the test of a cell rejects
COMPONENTS = 100  # of the diffusion map
FEWEST = 10  # cells of a type that is tested, and least neighbours of a cell
MOST = 70  # neighbours of a cell


def kbet(
    graph: csr_array, batches: np.ndarray, types: np.ndarray, rng: np.random.Generator
) -> float:
    """Compute the share of cells whose neighbours are of all batches as expected, mean over types.

    Büttner et al., Nature Methods 16, 43 (2019), for each type as in Luecken et al., Nature
    Methods 19, 41 (2022), with the neighbours of scib-metrics: those in a diffusion map of the
    type's own part of the graph.

    Args:
        graph: (n_cells, n_cells) weights, the same in both directions.
        batches: (n_cells,) numbers.
        types: (n_cells,) from 0.
        rng: of the start of the eigenvectors.

    Returns:
        The mean acceptance rate of the types with two batches or more and `FEWEST` cells or more;
        NaN where there is none.
    """
    rates = []
    for number in range(int(types.max()) + 1):
        cells = np.flatnonzero(types == number)
        _, inside = np.unique(batches[cells], return_inverse=True)
        if len(cells) >= FEWEST and inside.max() > 0:
            rates.append(_of_type(graph[cells][:, cells], inside, rng))
    return float(np.mean(rates)) if rates else np.nan


def _of_type(graph: csr_array, batches: np.ndarray, rng: np.random.Generator) -> float:
    """Return the acceptance rate of one type; 0 where its graph is in too many small pieces.

    A cell has a quarter as many neighbours as a batch has cells on average, within bounds. Pieces
    of less than three times as many cells are left out, if that leaves 75 % of the cells.
    """
    n_neighbours = min(MOST, max(FEWEST, len(batches) // (int(batches.max()) + 1) // 4))
    _, parts = connected_components(graph, directed=False)
    sizes = np.bincount(parts)
    if len(sizes) > 1:
        kept = np.flatnonzero(sizes[parts] >= 3 * n_neighbours)
        if len(kept) < 0.75 * len(batches):
            return 0.0
        graph, batches = graph[kept][:, kept], batches[kept]
    places = diffusion_map(graph, COMPONENTS, rng)
    return accepted(nearest(places, n_neighbours).index, batches)


def accepted(index: np.ndarray, batches: np.ndarray) -> float:
    """Return the share of cells for which Pearson's chi-squared test does not reject.

    It compares the batches of a cell and its neighbours, o_b, with the share of each batch in all
    cells, e_b = k f_b: chi^2 = sum_b (o_b - e_b)^2 / e_b, with one degree of freedom less than
    there are batches.

    Args:
        index: (n_cells, n_neighbours) rows of the other cells that are near.
        batches: (n_cells,) numbers; two batches or more.
    """
    _, batches = np.unique(batches, return_inverse=True)
    with_self = np.column_stack([np.arange(len(index)), index])
    n = with_self.shape[1]
    frequencies = np.bincount(batches) / len(batches)
    observed = lists(np.ones(with_self.shape), batches[with_self], len(frequencies))
    statistic = observed.multiply(observed) @ (1 / (n * frequencies)) - n
    return float(np.mean(chi2.sf(statistic, len(frequencies) - 1) >= ALPHA))


def diffusion_map(graph: csr_array, n_components: int, rng: np.random.Generator) -> np.ndarray:
    """Place cells so that Euclidean distance is that of diffusion, summed over all times.

    Coifman et al., PNAS 102, 7426 (2005); Haghverdi et al., Nature Methods 13, 845 (2016): the
    eigenvectors of the graph's transition matrix, whose weights are divided by the density of
    cells first, each times lambda / (1 - lambda), as scanpy and scib-metrics compute them.

    Args:
        graph: (n_cells, n_cells) weights, the same in both directions, none of whose rows is 0.
        n_components: how many; less where there are fewer cells.
        rng: of the start of the search.

    Returns:
        (n_cells, n_components).
    """
    density = diags_array(1 / graph.sum(axis=0))
    graph = density @ graph @ density
    root = diags_array(1 / np.sqrt(graph.sum(axis=0)))
    n = min(n_components, graph.shape[0] - 1)
    start = rng.standard_normal(graph.shape[0])
    values, vectors = eigsh(root @ graph @ root, k=n, which="LM", v0=start)
    # The stationary state is no distance: its eigenvalue is 1 as exactly as float32 can tell.
    stationary = values.astype(np.float32) >= 1
    scales = np.where(stationary, 1, values / np.where(stationary, 1, 1 - values))
    places: np.ndarray = vectors * scales
    return places
