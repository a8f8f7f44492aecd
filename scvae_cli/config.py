"""What a run is asked to do: its keys, their types and bounds. Defaults live in conf/ alone."""

import json
import os.path
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from scvae_cli.errors import InputError

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Widths = Annotated[list[Count], Field(min_length=1)]
Place = Annotated[str, AfterValidator(os.path.expanduser)]
Texts = Annotated[list[str], BeforeValidator(lambda v: _texts(v))]
Activation = Literal["linear", "relu"]


class Block(BaseModel):
    """Keys that belong together: no others are accepted, no value is bent into another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _texts(value: Any) -> Any:
    """A text, or several, as a list; numbers and truths, as types may be called, become texts."""
    values = value if isinstance(value, list) else [value]
    return [str(v) if isinstance(v, bool | int) else v for v in values]


class AEConfig(Block):
    """Deep autoencoder."""

    ignores: ClassVar = ("beta", "kl_warmup")
    name: Literal["ae"]
    encoder: Widths
    decoder: Widths
    first_activation: Activation
    latent_activation: Activation


class VAEConfig(Block):
    """beta-VAE."""

    ignores: ClassVar = ()
    name: Literal["vae"]
    encoder: Widths
    branch: Count | None
    sigma: Literal["log_sigma", "log_variance"]
    decoder: Widths
    first_activation: Activation


class VSCConfig(Block):
    """beta-VSC."""

    ignores: ClassVar = ()
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


class PCAConfig(Block):
    """Principal components."""

    ignores: ClassVar = ("beta", "epochs", "kl_warmup", "likelihood", "lr")
    name: Literal["pca"]


class ProjectionConfig(Block):
    """Random directions."""

    ignores: ClassVar = PCAConfig.ignores
    name: Literal["projection"]


class PBMC68kConfig(Block):
    """The 700 PBMCs inside scanpy."""

    name: Literal["pbmc68k"]
    scale: Positive | None


class QCConfig(Block):
    """Which cells and genes are kept."""

    min_cells: Annotated[int, Field(ge=0)]
    min_genes: Annotated[int, Field(ge=0)]
    max_genes: Count
    max_mito: Annotated[float, Field(gt=0, le=1)]


class TypesConfig(Block):
    """How cell types are found in the counts."""

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
    """Cells of one's own."""

    name: Literal["file"]
    path: Place
    label_key: str | None
    labels: Place | None
    unlabelled: Texts = []  # runs of before do not have it
    layer: str | None
    raw: bool
    gene_names: str | None
    transpose: bool | None
    genome: str | None = None  # which runs of before do not name
    values: Literal["auto", "counts", "normalized", "logged"]
    min_genes: Annotated[int, Field(ge=0)]
    min_cells: Annotated[int, Field(ge=0)]
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
    """When a training is kept, to go on from there."""

    every: Count | Annotated[str, Field(pattern=r"^\d+(\.\d+)?min$")] | None


class ScoreConfig(Block):
    """How agreement with the known types is measured."""

    nmi_average: Literal["geometric", "arithmetic"]


ModelConfig = AEConfig | VAEConfig | VSCConfig | VSCUAIConfig | PCAConfig | ProjectionConfig
DataConfig = PBMC68kConfig | PBMC3kConfig | SyntheticConfig | FileConfig


class Seeds(NamedTuple):
    """Seeds of a run, one for each use."""

    weights: int
    batches: int
    noise: int
    sample: int


class Config(Block):
    """A run. What the model has no use for (`beta`, `epochs`, `likelihood`, ...) is None."""

    model: Annotated[ModelConfig, Field(discriminator="name")]
    data: Annotated[DataConfig, Field(discriminator="name")]
    beta: NonNegative | None
    kl_warmup: Annotated[float, Field(ge=0, lt=1)] | None
    likelihood: Literal["gaussian", "poisson", "nb", "zinb"] | None
    latent_dim: Count
    epochs: Annotated[int, Field(ge=0)] | None
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
    def model_options(self) -> dict[str, Any]:
        """What the model's class is made with, beside sizes and seed."""
        shared = {"beta": self.beta, "likelihood": self.likelihood}
        given = {key: value for key, value in shared.items() if value is not None}
        return self.model.model_dump() | given

    @property
    def seeds(self) -> Seeds:
        """Independent seeds, from `seed`."""
        from numpy.random import SeedSequence

        return Seeds(*SeedSequence(self.seed).generate_state(4).tolist())

    @property
    def title(self) -> str:
        """What the run is, in a few words."""
        beta = "" if self.beta is None else f", beta {self.beta:g}"
        data = Path(self.data.path).name if isinstance(self.data, FileConfig) else self.data.name
        return f"{self.model.name} on {data}{beta}, {self.latent_dim} latent features"


def parse(cfg: DictConfig) -> Config:
    """Checks a composed configuration.

    Args:
        cfg: what Hydra composed, without its own `hydra` node.

    Returns:
        The run's configuration, interpolations resolved; keys that the model ignores are None.

    Raises:
        InputError: a key is unknown or missing, or a value is outside what is allowed.
    """
    try:
        values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key}: no value; give {error.full_key}=...") from error
    except OmegaConfBaseException as error:
        raise InputError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(values, dict)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise InputError(*_complaints(error, cfg, values)) from error
    for key in ("beta", "epochs", "kl_warmup", "likelihood", "lr"):
        if getattr(config, key) is None and key not in config.model.ignores:
            what = "one" if key == "likelihood" else "a number"
            raise InputError(f"{key}=null: model={config.model.name} needs {what}")
    return config.model_copy(update=dict.fromkeys(config.model.ignores))


def restored(values: dict[str, Any], path: Path) -> Config:
    """The configuration that a run has written.

    Raises:
        InputError: it is damaged, or of another version.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = _complaints(error, OmegaConf.create(values), values)[0]
        raise InputError(f"{path}: {first} (damaged, or of another version of scvae)") from error


# pydantic's words, and those of a person.
WORDS = {
    "Input should be": "must be",
    "List should have": "must have",
    " after validation, not 0": "",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
}


def _complaints(error: ValidationError, cfg: DictConfig, values: Any) -> list[str]:
    """One line for each key that pydantic rejects, whichever members of a union said so.

    A key that only refers to another (`tsne.seed` to `seed`) is not at fault.
    """
    lines: dict[str, str] = {}
    for problem in error.errors():
        key = _key(problem["loc"], values)
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, parent) if parent else cfg
        if isinstance(node, DictConfig) and OmegaConf.is_interpolation(node, name):
            continue
        if problem["type"] == "extra_forbidden":
            lines[key] = unknown_key(key, str(problem["input"]))
        elif problem["type"] == "missing":
            lines[key] = f"{key}: no value; it needs one"
        else:
            allowed = problem["msg"]
            for theirs, ours in WORDS.items():
                allowed = allowed.replace(theirs, ours)
            if key in lines:
                allowed = lines[key].split(": ", 1)[1] + ", or " + allowed.removeprefix("must be ")
            lines[key] = f"{key}={_shown(problem['input'])}: {allowed}"
    return list(lines.values())


def _key(location: tuple[int | str, ...], values: Any) -> str:
    """The configuration key of a pydantic location, which also names members of unions."""
    parts: list[str] = []
    for part in location:
        in_list = isinstance(values, list) and isinstance(part, int)
        if in_list or (isinstance(values, dict) and part in values):
            values = values[part]
        elif part != location[-1] or not isinstance(values, dict):
            continue
        parts.append(str(part))
    return ".".join(parts)


def _shown(value: Any) -> str:
    """A value as one would type it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def unknown_key(key: str, value: str) -> str:
    """The line for a key that does not exist: the nearest that does, or where it belongs."""
    owners = _owners()
    if key in owners:
        return f"{key}={value}: no such key here; it belongs to {' or '.join(owners[key])}"
    last = {k.rsplit(".", 1)[-1]: k for k in owners}
    near = get_close_matches(key, owners, n=1, cutoff=0.7)
    near = near or get_close_matches(key.rsplit(".", 1)[-1], last, n=1, cutoff=0.7)
    if near:
        full = next(k for k in owners if k == near[0] or k.endswith("." + near[0]))
        return f"{key}={value}: no such key; did you mean {full}?"
    return f"{key}={value}: no such key; `scvae train --help` lists them"


def _owners() -> dict[str, list[str]]:
    """Every key there can be, with the choices (`data=synthetic`) it needs."""
    owners: dict[str, list[str]] = {}
    for key, choice in _keys(Config, ""):
        owners.setdefault(key, []).extend([choice] if choice else [])
    return owners


def _keys(block: type[Block], prefix: str, choice: str = "") -> Iterator[tuple[str, str]]:
    for name, field in block.model_fields.items():
        yield prefix + name, choice
        members = get_args(field.annotation) or (field.annotation,)
        for member in members:
            if isinstance(member, type) and issubclass(member, Block):
                owner = member.model_fields.get("name")
                of = f"{name}={get_args(owner.annotation)[0]}" if owner else ""
                yield from _keys(member, f"{prefix}{name}.", of)
