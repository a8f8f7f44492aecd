"""Run experiments with autoencoders on single-cell RNA-seq; `load` opens their runs in Python."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scvae_cli.trained import TrainedRun

__version__ = version("scvae-cli")

_PACKAGE = Path(__file__).parent
# Inside the wheel conf/ is part of the package; in a checkout it lies beside it.
CONF = next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir())


def load(run: str | Path) -> "TrainedRun":
    """Load a run of `scvae train` as a `scvae_cli.trained.TrainedRun`.

    Args:
        run: folder of the run.

    Raises:
        InputError: the run has no trained model, or one of its files is damaged.

    Example:
        >>> import anndata, scvae_cli
        >>> adata = anndata.read_h5ad("new.h5ad")
        >>> run = scvae_cli.load("outputs/latest")
        >>> adata.obsm["X_scvae"] = run.embed(adata)
    """
    from scvae_cli.trained import load as load_run  # it imports torch, which --help does not need

    return load_run(run)
