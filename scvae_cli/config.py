"""Define the keys of a run's configuration, their types and bounds; conf/ has the defaults."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from scvae_cli.options import (
    MOST,
    Block,
    Count,
    DataConfig,
    FileConfig,
    Loggers,
    Minutes,
    ModelConfig,
    NetworkBlock,
    NonNegative,
    Place,
    Positive,
    Probability,
    Sample,
    Seed,
)  # fmt: skip


class TSNEConfig(Block):
    """Arguments of scikit-learn's TSNE."""

    perplexity: Positive
    early_exaggeration: Annotated[float, Field(ge=1)]
    learning_rate: Literal["auto"] | Positive
    max_iter: Annotated[int, Field(ge=250)]
    max_iter_3d: Annotated[int, Field(ge=250)] | None = None  # runs of older versions lack it
    n_iter_without_progress: Count
    min_grad_norm: NonNegative
    metric: Literal["euclidean", "cosine", "manhattan"]
    init: Literal["pca", "random"]
    method: Literal["barnes_hut", "exact"]
    angle: Annotated[float, Field(ge=0, le=1)]
    seed: Seed
    max_cells: Annotated[int, Field(ge=2)] | None
    place_others: bool = False  # runs of older versions lack it


class UMAPConfig(Block):
    """How UMAP maps cells; the names are those of umap-learn."""

    n_neighbors: Annotated[int, Field(ge=2)]
    min_dist: Annotated[float, Field(ge=0, le=1)]
    n_epochs: Count | None
    seed: Seed
    max_cells: Annotated[int, Field(ge=2)] | None
    place_others: bool


class ClusterConfig(Block):
    """Arguments of scikit-learn's KMeans."""

    n_clusters: Annotated[int, Field(ge=2)] | None
    init: Literal["k-means++", "random"]
    n_init: Count
    max_iter: Count
    tol: NonNegative
    algorithm: Literal["lloyd", "elkan"]
    seed: Seed
    max_cells: Annotated[int, Field(ge=2)] | None = None  # runs of older versions lack it


class CheckpointConfig(Block):
    """When a training writes a checkpoint, from which it can be resumed."""

    every: Count | Minutes | None


class ScoreConfig(Block):
    """Settings of the measures of agreement with the known types."""

    nmi_average: Literal["geometric", "arithmetic"]
    max_cells: Annotated[int, Field(ge=2)] | None = None  # runs of older versions lack it


class FiguresConfig(Block):
    """How figures are written, see `results.figures.style.render`, and genes of the page."""

    format: Literal["png", "pdf", "svg"] | None
    dpi: Annotated[int, Field(ge=50, le=1200)]
    genes: Annotated[int, Field(ge=0, le=1000)] = 0  # runs of older versions lack it


class Seeds(NamedTuple):
    """Seeds of a run, one for each use."""

    weights: int
    batches: int
    noise: int
    sample: int
    held_out: int


class Config(Block):
    """A run. Keys that the model ignores (`beta`, `epochs`, `likelihood`, ...) are None.

    So is the block of the map that is not made.
    """

    model: Annotated[ModelConfig, Field(discriminator="name")]
    data: Annotated[DataConfig, Field(discriminator="name")]
    beta: NonNegative | None
    kl_warmup: Annotated[float, Field(ge=0, lt=1)] | None
    likelihood: Literal["gaussian", "poisson", "nb", "zinb"] | None
    latent_dim: Count
    epochs: Annotated[int, Field(ge=0, le=MOST)] | None
    updates: Count | None = None  # runs of older versions lack it, and the next three
    validation: Literal["molecules", "cells"] | None = None
    validation_share: Probability | None = None
    patience: Count | None = None
    batch_size: Count
    lr: Positive | None
    seed: Seed
    ensemble: Annotated[int, Field(ge=2, le=100)] | None = None  # runs of older versions lack it
    device: Literal["auto", "cpu", "cuda", "mps"]
    threads: Annotated[int, Field(ge=1, le=1024)] | None
    embedding: Literal["mean", "sample", "mu", "decoded", "aligned"]
    trained: Place | None
    map: Literal["tsne", "umap"] = "tsne"  # runs of older versions lack it
    map_3d: bool
    h5ad: bool | Literal["results"]
    logger: Loggers | None = None  # runs of older versions lack it
    output_dir: Place
    on_error: Literal["continue", "stop"]
    resume: Place | None
    force: bool
    tsne: TSNEConfig | None
    umap: UMAPConfig | None = None  # runs of older versions lack it
    cluster: ClusterConfig
    score: ScoreConfig
    multiqc: Sample = False  # runs of older versions lack it, and the next two
    quiet: bool = False
    figures: FiguresConfig = FiguresConfig(format="png", dpi=200)
    checkpoint: CheckpointConfig

    @property
    def ignored(self) -> dict[str, str]:
        """Return the keys that have no effect, each with the setting that makes it so."""
        keys = dict.fromkeys(self.model.ignores, f"model={self.model.name}")
        if self.validation is None:
            keys |= dict.fromkeys(("validation_share", "patience"), "validation=null")
        keys["tsne" if self.map == "umap" else "umap"] = f"map={self.map}"
        return keys

    @property
    def without_effect(self) -> dict[str, str]:
        """Return `ignored`, and keys within blocks that have no effect, by their whole names."""
        keys = self.ignored
        if not self.map_3d:
            keys["tsne.max_iter_3d"] = "map_3d=false"
        if self.tsne is not None and self.tsne.method == "exact":
            keys["tsne.angle"] = "tsne.method=exact"
        for block, settings in (("tsne", self.tsne), ("umap", self.umap)):
            if settings is not None and settings.max_cells is None:
                keys[f"{block}.place_others"] = f"{block}.max_cells=null"
        if self.embedding in self.model.same_embeddings:
            keys["embedding"] = f"model={self.model.name}"
        return keys

    def advice(self, hints: Mapping[str, str]) -> str:
        """Return what may help, of these: `a smaller beta or another lr may help`; or nothing.

        Args:
            hints: what to say, by the key that it is about; `seed` stands for that of a training.
        """
        solved = "lr" in self.ignored  # and the seed changes nothing
        dropped = {*self.ignored, *(["seed"] if solved else [])}
        dropped |= set() if self.beta else {"beta"}
        *first, last = [text for key, text in hints.items() if key not in dropped] or [""]
        return f"{', '.join(first)}{' or ' if first else ''}{last} may help" if last else ""

    @property
    def has_mapping(self) -> bool:
        """Return whether there are settings of the map that is made."""
        return getattr(self, self.map) is not None

    @property
    def mapping(self) -> TSNEConfig | UMAPConfig:
        """Return the settings of the map that is made."""
        settings = self.tsne if self.map == "tsne" else self.umap
        assert settings is not None  # `settings` refuses it
        return settings

    @property
    def model_options(self) -> dict[str, Any]:
        """Return the arguments of the model's class, other than sizes and seed."""
        shared = {"beta": self.beta, "likelihood": self.likelihood}
        used = {key: value for key, value in shared.items() if value is not None}
        return self.model.model_dump() | used

    @property
    def encodes_covariates(self) -> bool:
        """Return whether the encoder gets covariates too."""
        return isinstance(self.model, NetworkBlock) and self.model.encode_covariates

    @property
    def seeds(self) -> Seeds:
        """Return independent seeds that follow from `seed`."""
        return self.member_seeds[0]

    @property
    def member_seeds(self) -> list[Seeds]:
        """Return the seeds of each member of the ensemble; the first are those of a single run."""
        from numpy.random import SeedSequence

        others = [SeedSequence([self.seed, i]) for i in range(1, self.ensemble or 1)]
        roots = [SeedSequence(self.seed), *others]
        return [Seeds(*root.generate_state(5).tolist()) for root in roots]

    @property
    def embeds_decoded(self) -> bool:
        """Return whether cells lie on axes of decoded expression; see `analysis.decoded`.

        What a linear model decodes lies in the plane of its own components.
        """
        return self.embedding in ("decoded", "aligned") and self.has_network

    @property
    def has_network(self) -> bool:
        """Return whether the model is a network, which is told of batches if there are some."""
        return isinstance(self.model, NetworkBlock)

    @property
    def aligns_batches(self) -> bool:
        """Return whether what is left of batches is taken out; see `analysis.align`."""
        return self.embedding == "aligned"

    @property
    def posterior_kind(self) -> str:
        """Return what of a posterior a cell's place begins with; see `Model.embed`."""
        return "mean" if self.embedding in ("decoded", "aligned") else self.embedding

    @property
    def n_features(self) -> int:
        """Return the number of latent features, of all members together."""
        return self.latent_dim * (1 if self.embeds_decoded else self.ensemble or 1)

    @property
    def title(self) -> str:
        """Return the run's title: model, data, beta and number of latent features."""
        beta = "" if self.beta is None else f", beta {self.beta:g}"
        data = Path(self.data.path).name if isinstance(self.data, FileConfig) else self.data.name
        features = f"{self.latent_dim} latent features"
        if self.ensemble is not None:
            features = f"{self.ensemble} times {features}"
        return f"{self.model.name} on {data}{beta}, {features}"
