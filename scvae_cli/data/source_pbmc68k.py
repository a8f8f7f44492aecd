"""The source `pbmc68k`: 700 PBMCs that scanpy carries."""

import warnings
from importlib.util import find_spec
from pathlib import Path

import anndata
import numpy as np
from scipy.sparse import csr_array

from scvae_cli.data.announcer import Announcer
from scvae_cli.data.dataset import Dataset


def pbmc68k(*, announcer: Announcer) -> Dataset:
    """Read 700 PBMCs, 765 genes, ten types by correlation with sorted cells.

    Source: Zheng et al., Nature Communications 8, 14049 (2017), as reduced and shipped by scanpy
    (`scanpy.datasets.pbmc68k_reduced`). Its `X` is scaled; the log-normalised values are in `raw`.

    Args:
        announcer: not called.
    """
    scanpy = find_spec("scanpy")
    assert scanpy is not None
    assert scanpy.origin is not None
    path = Path(scanpy.origin).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"
    with warnings.catch_warnings():  # the file is of an older format
        warnings.simplefilter("ignore")
        annotated = anndata.read_h5ad(path)
    types = annotated.obs["bulk_labels"].cat.remove_unused_categories()
    x = csr_array(annotated.raw.X, dtype=np.float32)
    x.sort_indices()
    return Dataset(
        name="pbmc68k",
        x=x,
        labels=types.cat.codes.to_numpy(dtype=np.int64),
        cell_types=tuple(types.cat.categories),
        cells=annotated.obs_names.to_numpy(dtype=str),
        genes=annotated.raw.var_names.to_numpy(dtype=str),
    )
