"""Run autoencoders on single-cell RNA-seq; from Python, `fit` a model or `load` a run."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import anndata

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
    from scvae_cli.saved import load as load_run  # it imports torch, which --help does not need

    return load_run(run)


def fit(
    adata: "anndata.AnnData",
    *,
    labels_key: str | None = None,
    batch_key: str | Sequence[str] | None = None,
    layer: str | None = None,
    key_added: str = "X_scvae",
    inplace: bool = True,
    folder: str | Path | None = None,
    progress: bool = False,
    settings: Mapping[str, Any] | None = None,
    **keys: Any,
) -> "TrainedRun":
    """Fit a model to cells in memory, and put them into its latent space.

    The settings, their defaults and checks are those of `scvae train`.

    Args:
        adata: (n_cells, n_genes) counts, or normalized or logged values, with unique names.
        labels_key: column of `obs` with the cell types, if they are known; no model looks at them.
        batch_key: column of `obs` with the batch of each cell, or several.
        layer: the layer to take in place of `X`.
        key_added: where in `obsm` the latent space goes.
        inplace: whether to write to `obsm` of `adata` (NaN for cells that `data.min_genes` leaves
            out); else `latent` of the returned run has it.
        folder: a new folder for the whole run, as `scvae train` makes it: with maps, clusters,
            scores, figures and a copy of the cells. None: nothing is left on disk.
        progress: whether to show how far it is: stages on a terminal, in a notebook one line
            that changes.
        settings: settings with a dot in their keys, `{"data.genes": 2000}`.
        keys: settings without: `experiment="best"`, `model="vae"`, `likelihood="nb"`, `seed=0`.

    Returns:
        The trained run: `latent`, `history`, `plot_loss`; `embed`, `decode` and `predict_types`
        for these and other cells.

    Raises:
        InputError: cells or settings cannot be used.
        RunError: training went wrong.

    Example:
        >>> import anndata, scvae_cli
        >>> adata = anndata.read_h5ad("new.h5ad")
        >>> run = scvae_cli.fit(adata, model="vae", latent_dim=3, updates=10)
        >>> adata.obsm["X_scvae"].shape
        (20, 3)
    """
    from scvae_cli.fitting import fit as fit_model  # it imports torch, which --help does not need

    asked = {"data.label_key": labels_key, "data.batch_key": batch_key}
    told = {key: value for key, value in asked.items() if value is not None}
    return fit_model(
        adata,
        folder=folder,
        layer=layer,
        key_added=key_added,
        inplace=inplace,
        progress=progress,
        settings={**keys, **told, **(settings or {})},
    )
