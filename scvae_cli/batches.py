"""Rows of the data as a model wants them."""

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor


def dense_rows(x: csr_array | np.ndarray, index: np.ndarray, device: torch.device) -> Tensor:
    """Some rows of x (n_cells, n_genes) as a dense tensor (len(index), n_genes) on the device."""
    rows = x[index]
    return torch.from_numpy(rows.toarray() if isinstance(rows, csr_array) else rows).to(device)
