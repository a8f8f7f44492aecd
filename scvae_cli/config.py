"""Define the keys of a run's configuration, their types and bounds; conf/ has the defaults."""

import os.path
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

MOST = 2**31 - 1  # more cells, genes, units or epochs than any machine takes
Count = Annotated[int, Field(ge=1, le=MOST)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Widths = Annotated[list[Count], Field(min_length=1)]
Place = Annotated[str, AfterValidator(os.path.expanduser)]
Texts = Annotated[list[str], BeforeValidator(lambda v: _texts(v))]
Activation = Literal["linear", "relu"]


class Block(BaseModel):
    """Keys that belong together: other keys are refused, and values are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _texts(value: Any) -> Any:
    """Return one or several values as a list; an int or a bool, which may be a label, as str."""
    values = value if isinstance(value, list) else [value]
    return [str(v) if isinstance(v, bool | int) else v for v in values]


class ModelBlock(Block):
    """Options of a model.

    Attributes:
        ignores: keys that have no effect on it.
        needs_cells: whether it needs more cells than latent features.
    """

    ignores: ClassVar[tuple[str, ...]] = ()
    needs_cells: ClassVar[bool] = False


class AEConfig(ModelBlock):
    """Deep autoencoder."""

    ignores = ("beta", "kl_warmup")
    name: Literal["ae"]
    encoder: Widths
    decoder: Widths
    first_activation: Activation
    latent_activation: Activation


class VAEConfig(ModelBlock):
    """beta-VAE."""

    name: Literal["vae"]
    encoder: Widths
    branch: Count | None
    sigma: Literal["log_sigma", "log_variance"]
    decoder: Widths
    first_activation: Activation


class VSCConfig(ModelBlock):
    """beta-VSC."""

    name: Literal["vsc"]
    encoder: Widths
    branch: Count | None
    sigma: Literal["log_sigma", "log_variance"]
    decoder: Widths
    first_activation: Activation
    c: Positive
    c_end: Positive | None
    alpha: Probability
    gate: Literal["relu", "sigmoid"]
    spike_warmup: Annotated[float, Field(ge=0, lt=1)]


class VSCUAIConfig(VSCConfig):
    """beta-VSC with pseudo-inputs."""

    name: Literal["vsc_uai"]  # type: ignore[assignment]
    pseudo_inputs: Count


class PCAConfig(ModelBlock):
    """Principal components."""

    ignores = (
        "beta", "epochs", "updates", "kl_warmup", "likelihood", "lr", "validation",
        "validation_share", "patience",
    )  # fmt: skip
    needs_cells = True
    name: Literal["pca"]


class ProjectionConfig(ModelBlock):
    """Random directions."""

    ignores = PCAConfig.ignores
    name: Literal["projection"]


class PBMC68kConfig(Block):
    """The 700 PBMCs inside scanpy."""

    name: Literal["pbmc68k"]
    scale: Positive | None


class QCConfig(Block):
    """Bounds of the filter of cells and genes."""

    min_cells: Annotated[int, Field(ge=0, le=MOST)]
    min_genes: Annotated[int, Field(ge=0, le=MOST)]
    max_genes: Count
    max_mito: Annotated[float, Field(gt=0, le=1)]


class TypesConfig(Block):
    """Settings of the clustering that finds cell types in the counts."""

    n_genes: Count
    n_components: Count
    n_neighbors: Annotated[int, Field(ge=2)]
    prune: Annotated[float, Field(ge=0, lt=1)]
    resolution: Positive
    n_starts: Count
    seed: Seed


class PBMC3kConfig(Block):
    """10x's PBMC3k from raw counts."""

    name: Literal["pbmc3k"]
    dir: Place | None
    labels: Place | None
    genes: Annotated[int, Field(ge=2)] | None
    target_sum: Positive
    scale: Positive | None
    qc: QCConfig
    clusters: TypesConfig


class SyntheticConfig(Block):
    """Simulated cells."""

    name: Literal["synthetic"]
    n_cells: Annotated[int, Field(ge=2)]
    n_genes: Annotated[int, Field(ge=2)]
    n_types: Annotated[int, Field(ge=2)]
    umis: Positive
    umis_sd: NonNegative
    gene_sd: NonNegative
    markers: Annotated[float, Field(gt=0, le=1)]
    fold: Positive
    seed: Seed
    target_sum: Positive
    scale: Positive | None


class FileConfig(Block):
    """The user's own cells, in a file or folder."""

    name: Literal["file"]
    path: Place
    label_key: str | None
    labels: Place | None
    unlabelled: Texts = []  # runs of older versions lack it
    layer: str | None
    raw: bool
    gene_names: str | None
    transpose: bool | None
    genome: str | None = None  # runs of older versions lack it
    values: Literal["auto", "counts", "normalized", "logged"]
    min_genes: Annotated[int, Field(ge=0, le=MOST)]
    min_cells: Annotated[int, Field(ge=0, le=MOST)]
    genes: Annotated[int, Field(ge=2)] | None
    target_sum: Positive
    scale: Positive | None


class TSNEConfig(Block):
    """Arguments of scikit-learn's TSNE."""

    perplexity: Positive
    early_exaggeration: Annotated[float, Field(ge=1)]
    learning_rate: Literal["auto"] | Positive
    max_iter: Annotated[int, Field(ge=250)]
    n_iter_without_progress: Count
    min_grad_norm: NonNegative
    metric: Literal["euclidean", "cosine", "manhattan"]
    init: Literal["pca", "random"]
    method: Literal["barnes_hut", "exact"]
    angle: Annotated[float, Field(ge=0, le=1)]
    seed: Seed
    max_cells: Annotated[int, Field(ge=2)] | None


class ClusterConfig(Block):
    """Arguments of scikit-learn's KMeans."""

    n_clusters: Annotated[int, Field(ge=2)] | None
    init: Literal["k-means++", "random"]
    n_init: Count
    max_iter: Count
    tol: NonNegative
    algorithm: Literal["lloyd", "elkan"]
    seed: Seed


class CheckpointConfig(Block):
    """When a training writes a checkpoint, from which it can be resumed."""

    every: Count | Annotated[str, Field(pattern=r"^\d+(\.\d+)?min$")] | None


class ScoreConfig(Block):
    """Settings of the measures of agreement with the known types."""

    nmi_average: Literal["geometric", "arithmetic"]


ModelConfig = AEConfig | VAEConfig | VSCConfig | VSCUAIConfig | PCAConfig | ProjectionConfig
DataConfig = PBMC68kConfig | PBMC3kConfig | SyntheticConfig | FileConfig


class Seeds(NamedTuple):
    """Seeds of a run, one for each use."""

    weights: int
    batches: int
    noise: int
    sample: int
    held_out: int


class Config(Block):
    """A run. Keys that the model ignores (`beta`, `epochs`, `likelihood`, ...) are None."""

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
    device: Literal["auto", "cpu", "cuda", "mps"]
    threads: Count | None
    embedding: Literal["mean", "sample", "mu"]
    trained: Place | None
    map_3d: bool
    h5ad: bool
    output_dir: Place
    on_error: Literal["continue", "stop"]
    resume: Place | None
    force: bool
    tsne: TSNEConfig
    cluster: ClusterConfig
    score: ScoreConfig
    checkpoint: CheckpointConfig

    @property
    def ignored(self) -> dict[str, str]:
        """Return the keys that have no effect, each with the setting that makes it so."""
        keys = dict.fromkeys(self.model.ignores, f"model={self.model.name}")
        if self.validation is None:
            keys |= dict.fromkeys(("validation_share", "patience"), "validation=null")
        return keys

    @property
    def model_options(self) -> dict[str, Any]:
        """Return the arguments of the model's class, other than sizes and seed."""
        shared = {"beta": self.beta, "likelihood": self.likelihood}
        used = {key: value for key, value in shared.items() if value is not None}
        return self.model.model_dump() | used

    @property
    def seeds(self) -> Seeds:
        """Return independent seeds that follow from `seed`."""
        from numpy.random import SeedSequence

        return Seeds(*SeedSequence(self.seed).generate_state(5).tolist())

    @property
    def title(self) -> str:
        """Return the run's title: model, data, beta and number of latent features."""
        beta = "" if self.beta is None else f", beta {self.beta:g}"
        data = Path(self.data.path).name if isinstance(self.data, FileConfig) else self.data.name
        return f"{self.model.name} on {data}{beta}, {self.latent_dim} latent features"
