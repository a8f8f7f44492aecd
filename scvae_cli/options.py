"""Define the options of each model and each source of cells, with their bounds; see `config`."""

import os.path
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

MOST = 2**31 - 1  # more cells, genes, units or epochs than any machine takes
Count = Annotated[int, Field(ge=1, le=MOST)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Widths = Annotated[list[Count], Field(min_length=1)]
Place = Annotated[str, BeforeValidator(lambda v: _name(v)), AfterValidator(os.path.expanduser)]
Sample = Annotated[bool | str, BeforeValidator(lambda v: _sample(v))]
Minutes = Annotated[str, AfterValidator(lambda v: _minutes(v))]
Texts = Annotated[list[str], BeforeValidator(lambda v: _texts(v))]
Activation = Literal["linear", "relu"]
Loggers = Annotated[
    list[Literal["tensorboard", "mlflow"]],
    BeforeValidator(lambda v: v if isinstance(v, list) else [v]),
]


class Block(BaseModel):
    """Keys that belong together: other keys are refused, and values are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _texts(value: Any) -> Any:
    """Return one or several values as a list; an int or a bool, which may be a label, as str."""
    values = value if isinstance(value, list) else [value]
    return [str(v) if isinstance(v, bool | int) else v for v in values]


def _name(value: Any) -> Any:
    """Return a number as text: a folder may be called so."""
    return str(value) if type(value) is int else value


def _minutes(value: str) -> str:
    """Return a number of minutes, `5min`, as it is."""
    if re.fullmatch(r"\d+(\.\d+)?min", value):
        return value
    raise PydanticCustomError("minutes", "must be minutes, such as 5min")


def _sample(value: Any) -> bool | str:
    """Return the name of a sample, which may be a number; or whether it has one at all."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | str) and re.fullmatch(r"[\w.+=-]+", str(value)):
        return str(value)
    message = "must be true, false, or a name of letters, digits and . _ + = -"
    raise PydanticCustomError("sample", message)


class ModelBlock(Block):
    """Options of a model.

    Attributes:
        ignores: keys that have no effect on it.
        needs_cells: whether it needs more cells than latent features.
        same_embeddings: values of `embedding` that are to it what `mean` is.
    """

    ignores: ClassVar[tuple[str, ...]] = ()
    same_embeddings: ClassVar[tuple[str, ...]] = ()
    needs_cells: ClassVar[bool] = False

    @property
    def refuses_scale(self) -> tuple[str, str] | None:
        """Return the option, and its value, that z-scores do not go with, if there is one."""
        return None


class NetworkBlock(ModelBlock):
    """Options of every network, about cells' covariates; runs of older versions lack them."""

    encode_covariates: bool = False
    batch_embedding: Count | None = None
    dispersion: Literal["gene", "gene-batch"] = "gene"


class AEConfig(NetworkBlock):
    """Deep autoencoder."""

    ignores = ("beta", "kl_warmup")
    same_embeddings = ("sample", "mu")
    name: Literal["ae"]
    encoder: Widths
    decoder: Widths
    first_activation: Activation
    latent_activation: Activation


class VAEConfig(NetworkBlock):
    """beta-VAE."""

    same_embeddings = ("mu",)
    name: Literal["vae"]
    encoder: Widths
    branch: Count | None
    sigma: Literal["log_sigma", "log_variance"]
    decoder: Widths
    first_activation: Activation


class VSCConfig(NetworkBlock):
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
        "beta", "epochs", "updates", "kl_warmup", "likelihood", "lr", "patience", "ensemble",
    )  # fmt: skip
    needs_cells = True
    same_embeddings = ("sample", "mu", "decoded")
    name: Literal["pca"]
    values: Literal["log", "sqrt"] = "log"  # runs of older versions lack it

    @property
    def refuses_scale(self) -> tuple[str, str] | None:
        """Return the square roots, which negative values do not have."""
        return ("model.values", "sqrt") if self.values == "sqrt" else None


class ProjectionConfig(ModelBlock):
    """Random directions."""

    ignores = PCAConfig.ignores
    same_embeddings = PCAConfig.same_embeddings
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
    genes_by: Literal["variance", "deviance"] = "variance"  # runs of older versions lack it
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
    n_batches: Count = 1  # runs of older versions lack it, and the next two
    batch_sd: NonNegative = 0.5
    own_types: Annotated[int, Field(ge=0, le=MOST)] = 0
    seed: Seed
    target_sum: Positive
    scale: Positive | None


class FileConfig(Block):
    """The user's own cells, in a file or folder."""

    name: Literal["file"]
    path: Place
    label_key: str | None
    labels: Place | None
    unlabelled: Texts = []  # runs of older versions lack it, and the next four
    batch_key: Texts | None = None
    batches: Place | None = None
    covariates: Texts = []
    keep: Texts = []
    layer: str | None
    raw: bool
    gene_names: str | None
    transpose: bool | None
    genome: str | None = None  # runs of older versions lack it
    values: Literal["auto", "counts", "normalized", "logged"]
    min_genes: Annotated[int, Field(ge=0, le=MOST)]
    min_cells: Annotated[int, Field(ge=0, le=MOST)]
    genes: Annotated[int, Field(ge=2)] | None
    genes_by: Literal["variance", "deviance"] = "variance"  # runs of older versions lack it
    target_sum: Positive
    scale: Positive | None
    on_disk: bool | Literal["auto"] = "auto"  # runs of older versions lack it


ModelConfig = AEConfig | VAEConfig | VSCConfig | VSCUAIConfig | PCAConfig | ProjectionConfig
DataConfig = PBMC68kConfig | PBMC3kConfig | SyntheticConfig | FileConfig
