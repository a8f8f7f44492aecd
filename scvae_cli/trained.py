"""A finished run: its model, its scores, and other cells in its latent space."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array

from scvae_cli import __version__
from scvae_cli.analysis.align import Shifts, shift
from scvae_cli.analysis.decoded import Axes, decode, project
from scvae_cli.analysis.embed import embed
from scvae_cli.analysis.transfer import UNKNOWN, Transferred, transfer
from scvae_cli.config import Config
from scvae_cli.covariates import Covariates, as_of
from scvae_cli.data.alike import positions, prepare_alike
from scvae_cli.data.batches import batches_like, covariates_like
from scvae_cli.data.wording import PYTHON, Wording
from scvae_cli.errors import InputError, Kind
from scvae_cli.models.model import Model
from scvae_cli.runs.run import Run
from scvae_cli.visible import UNLABELLED

if TYPE_CHECKING:
    from scvae_cli.results.figures.loss_panel import Panel


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A run whose model is trained.

    Attributes:
        run: its folder, opened.
        config: what it was asked to do.
        scores: of k-means on the map (`tsne`, also of UMAP) and on the latent space (`latent`), by
            measure; empty where the run did not get so far.
        model: a `torch.nn.Module`, on the CPU; `model.posterior(x)` and `model.decoder(z)` where
            it has them.
        covariates: batches and covariates that the run's network was told of, without the cells;
            None where it was told of none.
        axes: of a network with `embedding=decoded` or `aligned`, else None.
        shifts: of batches, of `embedding=aligned`, else None.
        genes: genes.csv: gene, id (where known), used (whether the model gets it), mean and sd
            (where values were scaled); a row for each gene that counts in a cell's total.
    """

    run: Run
    config: Config
    scores: dict[str, dict[str, float]]
    model: Model
    genes: pd.DataFrame
    covariates: Covariates | None
    axes: Axes | None
    shifts: Shifts | None

    @property
    def path(self) -> Path:
        """Return the run's folder."""
        return self.run.path

    @property
    def record(self) -> Mapping[str, Any]:
        """Return run.json."""
        return self.run.record

    @property
    def latent(self) -> pd.DataFrame:
        """Return the run's own cells (n_cells, n_latent), by name."""
        return pd.DataFrame(self.run.table("latent", ["cell"]).set_index("cell"))

    @property
    def history(self) -> pd.DataFrame:
        """Return history.csv: the terms of the loss, a row per epoch; empty for pca."""
        return pd.DataFrame(self.run.table("history"))

    def plot_loss(self, term: str = "total", ax: "Panel | None" = None) -> "Panel":
        """Draw a term of the loss over the training, as figures/loss.png has it.

        Args:
            term: `total`, `reconstruction`, `kl` (pale: of each latent), or `validation`, if some
                was held out.
            ax: axes of matplotlib to draw in; None for those of a new figure of pyplot. A
                notebook shows that below its cell; elsewhere `plt.show()` opens a window.

        Returns:
            The axes.

        Raises:
            InputError: nothing was trained, or there is no such term.

        Example:
            >>> import scvae_cli
            >>> run = scvae_cli.load("outputs/latest")
            >>> ax = run.plot_loss()
            >>> ax.get_xlabel(), ax.get_title(loc="left")
            ('epoch', 'loss: reconstruction + 2 KL')
        """
        from scvae_cli.results.figures.loss_panel import plot_term  # matplotlib takes a second

        return plot_term(self.history, term, self.config.beta, ax)

    @property
    def cells(self) -> pd.DataFrame:
        """Return cells.csv: cell_type, cluster, tsne_1 or umap_1, ... of the run's cells, by name.

        Names of cells, types and batches are text; a cell without a type is `unlabelled`.
        """
        return pd.DataFrame(self.run.table("cells", ["cell", "cell_type"]).set_index("cell"))

    def embed(
        self,
        adata: anndata.AnnData,
        *,
        layer: str | None = None,
        raw: bool | None = None,
        gene_names: str | None = None,
        values: str | None = None,
        say: Callable[[str], None] = lambda text: None,
        wording: Wording = PYTHON,
    ) -> np.ndarray:
        """Put cells into the latent space of this run, prepared as its own cells were.

        Genes are matched by the names or ids that fit best; those not found count as zero. The
        run's own cells, in their order, get the values of latent.csv. Batches have a say in two
        cases. If the run's encoder was told of them (`model.encode_covariates`), columns of `obs`
        with the same names must have them. With `embedding=aligned`, cells of the run's batches
        are moved as these were, if `obs` has the columns; other cells stay where they are.

        Args:
            adata: (n_cells, any genes); stays as it is.
            layer: the layer to take, or `X`; None for the run's own, or X where there is none.
            raw: whether to take `.raw`; None as the run did.
            gene_names: the column of `var` that names the genes; None to look at all.
            values: `counts`, `normalized`, `logged`, or `auto` to look; None as the run was told.
            say: called with a line about the genes, one about the values, and one about batches
                that do not move.
            wording: what errors call `adata` and these arguments.

        Returns:
            (n_cells, n_latent) float32.

        Raises:
            InputError: the cells are not such as this model can take.

        Example:
            >>> import anndata, scvae_cli
            >>> adata = anndata.read_h5ad("new.h5ad")
            >>> adata.obsm["X_scvae"] = scvae_cli.load("outputs/latest").embed(adata)
        """
        x = prepare_alike(
            adata, self.genes, self.run.data, self.config.data, layer=layer, raw=raw,
            gene_names=gene_names, values=values, say=say, wording=wording,
        )  # fmt: skip
        return self.places(x, self._told(adata.obs, wording), self._batch(adata.obs, say))

    def decode(
        self,
        adata: anndata.AnnData,
        *,
        genes: Sequence[str] | str | None = None,
        batch: str | Mapping[str, str] | None = None,
        **options: Any,
    ) -> pd.DataFrame:
        """Decode the places of cells: the expression that the model expects there.

        A decoder that was told of batches decodes all cells as of one. Correlations of decoded
        genes may be the decoder's alone (Andrews & Hemberg, F1000Research 7:1740, 2018).

        Args:
            adata: (n_cells, any genes); see `embed`.
            genes: names of those to decode, as `genes` has them; None for all that the model has.
            batch: of the run, as of which cells are decoded, or a value for each of its columns
                of batches, `{"plate": "2", "donor": "a"}`; None for the mean of the run's cells.
            options: `layer`, `raw`, `gene_names`, `values` and `say` of `embed`.

        Returns:
            (n_cells, n_genes) float32, logarithms as the run's own: of a model of counts log(1 +
            target_sum * share), the share being of the counts in the model's genes.

        Raises:
            InputError: the model cannot take these cells, or has no such gene or batch.

        Example:
            >>> import anndata, scvae_cli
            >>> run = scvae_cli.load("outputs/latest")
            >>> run.decode(anndata.read_h5ad("new.h5ad"), genes=run.genes["gene"][:2]).shape
            (20, 2)
        """
        used = self.genes[self.genes["used"]]
        which = positions(genes, self.genes, adata.n_obs)
        known = self.covariates if self.config.has_network else None
        told = None if batch is None else as_of(known, batch)
        data, scale = self.run.data, self.config.data.scale
        x = prepare_alike(adata, self.genes, data, self.config.data, **options)
        z = self._posterior(x, self._told(adata.obs, PYTHON), "mean")
        values = decode(self.model, z, which, target_sum=data.get("target_sum"), as_of=told)
        if scale is not None:
            mean, sd = used[["mean", "sd"]].to_numpy(np.float32)[which].T
            values = values * sd + mean
        return pd.DataFrame(values, adata.obs_names, used["gene"].iloc[which].to_numpy())

    def predict_types(self, latent: np.ndarray, **options: Any) -> Transferred:
        """Give cells in the latent space the types of their neighbours among the run's own cells.

        The run's cells without a type, and those whose type is called `unknown`, have no say.

        Args:
            latent: (n_cells, n_latent) from `embed`.
            options: `n_neighbors`, `probability` and `quantile` of `analysis.transfer.transfer`.

        Returns:
            `cell_types`, `unknown` for cells that are far or between types; `probability`;
            `distance`, above 1 for cells that are far. Each is (n_cells,).

        Raises:
            InputError: the run's cells have no types, or an argument is out of bounds.

        Example:
            >>> import anndata, scvae_cli
            >>> adata = anndata.read_h5ad("new.h5ad")
            >>> run = scvae_cli.load("outputs/latest")
            >>> predicted = run.predict_types(run.embed(adata), n_neighbors=5)
            >>> adata.obs["cell_type"] = predicted.cell_types
            >>> predicted.probability.shape
            (20,)
        """
        reference, cell_types = self.latent, self.cells["cell_type"]
        if not reference.index.equals(cell_types.index):
            raise InputError(
                Kind.DAMAGED, self.path / "cells.csv", "damaged (its cells are not latent.csv's)"
            )
        known = (cell_types.notna() & ~cell_types.isin([UNLABELLED, UNKNOWN])).to_numpy()
        if not known.any():
            raise InputError(
                Kind.MISSING, self.path, "its cells have no types", "give a run that has types"
            )
        places = reference.to_numpy(np.float32)[known]
        return transfer(places, cell_types[known].to_numpy(str), latent, **options)

    def provenance(self) -> dict[str, Any]:
        """Return where an embedding comes from, as h5ad can hold it."""
        data = self.record.get("data", {})
        return {
            "run": str(self.path.absolute()),
            "command": str(self.record.get("command")),
            "version": __version__,
            "trained_by": str(self.record.get("versions", {}).get("scvae-cli")),
            "trained_on": f"{data.get('name')} ({data.get('fingerprint')})",
            "config": json.dumps(self.config.model_dump()),
        }

    def _told(self, obs: pd.DataFrame, wording: Wording) -> Covariates | None:
        """Return the covariates of cells, if the encoder needs them."""
        if self.covariates is None or not self.config.encodes_covariates:
            return None
        return covariates_like(obs, self.covariates, wording)

    def _batch(self, obs: pd.DataFrame, say: Callable[[str], None]) -> np.ndarray | None:
        """Return the batch of cells that are moved by it; see `places`."""
        if self.covariates is None or self.shifts is None:
            return None
        return batches_like(obs, self.covariates, self.shifts.batches, say)

    def places(
        self,
        x: csr_array | np.ndarray,
        covariates: Covariates | None = None,
        batch: np.ndarray | None = None,
    ) -> np.ndarray:
        """Embed values (n_cells, n_genes), prepared as the run's own, as the run did with those.

        Args:
            x: the values.
            covariates: of the cells, which only encoders that get them need.
            batch: (n_cells,) index of each cell's batch in `shifts`, -1 where it is none of them.
        """
        z = self._posterior(x, covariates, self.config.posterior_kind)
        if self.axes is not None:
            target_sum, rooted = self.run.data.get("target_sum"), self.config.data.scale is None
            z = project(self.model, z, self.axes, target_sum=target_sum, rooted=rooted)
        return z if self.shifts is None or batch is None else shift(z, batch, self.shifts)

    def _posterior(
        self, x: csr_array | np.ndarray, covariates: Covariates | None, kind: str
    ) -> np.ndarray:
        """Return what the encoder gives of values; see `analysis.embed.embed`."""
        return embed(
            self.model, x, covariates, kind=kind, batch_size=self.config.batch_size,
            seed=self.config.seeds.sample, device=torch.device("cpu"),
        )  # fmt: skip
