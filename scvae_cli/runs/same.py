"""Which settings say what a run computes, and which runs have the same."""

from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.options import DataConfig, ModelConfig
from scvae_cli.runs.files import MissingError
from scvae_cli.runs.formats import NewerError
from scvae_cli.runs.run import Run, likely_run

# Settings that a model's weights depend on.
TRAINING = [
    "model", "data", "beta", "kl_warmup", "likelihood", "latent_dim", "epochs", "updates",
    "batch_size", "lr", "ensemble", "seed", "validation", "validation_share", "patience",
]  # fmt: skip
# Settings of `data` that they do not depend on; what is in files, the fingerprint tells.
UNTRAINED = {"path", "dir", "labels", "batches"}
# Settings that say where and how to compute and what to write, and not what to compute.
CIRCUMSTANCES = {
    "output_dir", "h5ad", "threads", "device", "trained", "resume", "force", "on_error",
    "checkpoint", "figures", "multiqc", "quiet", "logger",
}  # fmt: skip


# Settings of models and data that came later, each with the value that runs without it had.
LATER = {
    name: field.get_default(call_default_factory=True)
    for kind in (*get_args(ModelConfig), *get_args(DataConfig))
    for name, field in kind.model_fields.items()
    if not field.is_required()
}


def essential(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that say what to compute, as runs of older versions have them.

    They lack what came later: nothing is said of a null, nor of a setting in `LATER` with that
    value, nor of `data.keep`, which only adds columns to cells.csv, nor of `data.on_disk`. `map`
    they all have.
    """
    return {
        key: _as_older(value)
        for key, value in {"map": "tsne", **settings}.items()
        if key not in CIRCUMSTANCES and value is not None
    }


def _as_older(value: Any) -> Any:
    """Return a setting; a block of them without what came later and has no effect."""
    if not isinstance(value, dict):
        return value
    lacks = object()
    return {
        key: part
        for key, part in value.items()
        if key not in ("keep", "on_disk") and LATER.get(key, lacks) != part
    }


def first_difference(key: str, theirs: Any, ours: Any) -> str:
    """Name the first setting at or below `key` that differs, with both values."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        inner = next(k for k in {**theirs, **ours} if theirs.get(k) != ours.get(k))
        values = (block.get(inner, LATER.get(inner)) for block in (theirs, ours))
        return first_difference(f"{key}.{inner}", *values)
    return f"{key}={theirs}, and not {ours}"


def read_training(
    path: Path, config: Mapping[str, Any], fingerprint: str
) -> tuple[dict[str, Any], Any]:
    """Read the model that another run has trained.

    Args:
        path: the other run's folder.
        config: of this run, which must ask for the same training.
        fingerprint: of this run's data.

    Returns:
        The weights by name, and history.csv as a DataFrame.

    Raises:
        InputError: there is no trained model, it is damaged, or it was trained otherwise.
    """
    try:
        run = Run(path)
        theirs = run.settings
        weights, history = run.weights
    except MissingError as error:
        raise InputError(
            Kind.MISSING,
            Given("trained", path),
            f"no trained model there ({error.name} is missing)",
            likely_run(path),
        ) from error
    except NewerError:
        raise
    except InputError as error:
        raise InputError(
            Kind.DAMAGED, Given("trained", path), f"damaged ({error})", "train it again"
        ) from error
    for key in TRAINING:
        their, our = _trained_on(theirs.get(key)), _trained_on(config[key])
        if their != our:
            what = first_difference(key, their, our)
            raise InputError(Kind.DIFFERS, Given("trained", path), f"was trained with {what}")
    if run.fingerprint != fingerprint:
        raise InputError(
            Kind.DIFFERS, Given("trained", path), "was trained on other cells, genes or labels"
        )
    return weights, history


def _trained_on(value: Any) -> Any:
    """Return a setting without the parts that a model's weights do not depend on."""
    if not isinstance(value, dict):
        return value
    return {key: part for key, part in _as_older(value).items() if key not in UNTRAINED}


def find_same(root: Path, name: str, config: Mapping[str, Any], *, failed_too: bool) -> Run | None:
    """Find a run with these settings, by this version, that ended.

    Args:
        root: where run folders are.
        name: of the folder, or of the first if there are several (`claim` adds a number).
        config: the settings.
        failed_too: whether one that failed will do; one that was interrupted never does.
    """
    for path in (root / name, *sorted(root.glob(f"{name}-[0-9]*"))):
        with suppress(InputError):
            run = Run(path)
            failed = run.status == "failed" and run.record.get("reason") != "interrupted"
            if (
                (run.status == "done" or (failed and failed_too))
                and essential(run.settings) == essential(config)
                and run.record["versions"].get("scvae-cli") == version("scvae-cli")
            ):
                return run
    return None
