"""Say when a training was too short, or did not get anywhere."""

from typing import Any

import pandas as pd

from scvae_cli.config import Config
from scvae_cli.models.autoencoder import EncoderDecoder
from scvae_cli.models.ensemble import Ensemble
from scvae_cli.models.mean_profile import mean_profile_error
from scvae_cli.models.model import Model
from scvae_cli.stages.holdout import TrainingData

TENTH = 10
# Of what the loss fell below that of the genes' means: falling as much in the last tenth is half
# the pace of the whole training. Runs of 4,000 updates on real cells fall by 3 % at most there,
# the 200 epochs of the demo by 3.2 %, its first 30 epochs by 48 % and more.
STILL = 0.5
VALIDATED = 20  # the last twentieth of a validated training, in which its best loss is too late


def members_of(history: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the history of each member of an ensemble, or the one that there is."""
    if "member" not in history:
        return [history]
    return [rows.reset_index(drop=True) for _, rows in history.groupby("member")]


def too_short(
    config: Config, model: Model, history: pd.DataFrame, data: TrainingData, **how: Any
) -> list[str]:
    """Name what the history of a training says against it.

    Args:
        config: of the run.
        model: trained, on the device.
        history: a row per round.
        data: what was trained on.
        how: `batch_size` and `device`; see `mean_profile_error`.

    Returns:
        A line where the loss is no lower than that of the genes' means, and one where it still
        fell when training ended, which is said of the validation loss where there is one;
        nothing of models that are not trained.
    """
    members = model.models if isinstance(model, Ensemble) else [model]
    networks = [member for member in members if isinstance(member, EncoderDecoder)]
    if history.empty or not networks:
        return []
    cells = data.x, data.counts, data.covariates
    means = [mean_profile_error(network, *cells, **how) for network in networks]
    parts = members_of(history)
    stuck = _stuck(config, parts, means)
    if "validation" in history:
        return [*stuck, *_validated(config, parts)]
    return stuck or _still_falling(config, parts, means)


def _stuck(config: Config, parts: list[pd.DataFrame], means: list[float]) -> list[str]:
    """Say that the loss is no lower than that of the genes' means, if so."""
    losses = [kept_loss(config, rows) for rows in parts]
    bad = [(loss, mean) for loss, mean in zip(losses, means, strict=True) if loss >= mean]
    if not bad:
        return []
    loss, mean = bad[0]
    hints = {"epochs": _longer(config), "beta": "a smaller beta", "lr": "another lr"}
    return [
        f"the network{_whose(len(bad), parts)} decodes cells no better than the mean of each gene "
        f"would (loss {loss:.5g}, that of the means {mean:.5g}), so that the latent space tells "
        f"little of them; {config.advice(hints)}"
    ]


def _still_falling(config: Config, parts: list[pd.DataFrame], means: list[float]) -> list[str]:
    """Say that training ended while the loss still fell, if so."""
    falls = [falling(config, rows, mean) for rows, mean in zip(parts, means, strict=True)]
    still = [fall for fall in falls if fall]
    if not still:
        return []
    return [
        f"the loss{_whose(len(still), parts)} still fell when training ended: {max(still):.0%} of "
        f"what the network learnt, it learnt in the last tenth; {_longer(config)} may help"
    ]


def kept_loss(config: Config, rows: pd.DataFrame) -> float:
    """Return the loss at the weights that are kept, with all of the KL."""
    at = rows["validation"].idxmin() if "validation" in rows else len(rows) - 1
    loss = rows["reconstruction"] + (config.beta or 0.0) * rows["kl"]
    return float(loss[at])


def falling(config: Config, rows: pd.DataFrame, mean: float) -> float:
    """Return by how much the loss fell in the last tenth of the rounds, if that is much.

    Args:
        config: of the run.
        rows: the history of one training.
        mean: the loss of decoding all cells as the mean of each gene.

    Returns:
        The share of all that it fell below `mean`; 0 where it is small, and where a warm-up
        reaches into the last fifth of the training, where the loss changes on purpose.
    """
    n = len(rows)
    span = max(1, n // TENTH)
    warm_ups = config.kl_warmup or 0.0, getattr(config.model, "spike_warmup", 0.0)
    if n < 2 or max(warm_ups) > 1 - 2 * span / n:
        return 0.0
    loss = rows["total"]
    before, last = loss[n - 2 * span : n - span].mean(), loss[n - span :].mean()
    share = float((min(before, mean) - last) / (mean - last)) if last < mean else 0.0
    return share if share > STILL * span / n else 0.0


def _validated(config: Config, parts: list[pd.DataFrame]) -> list[str]:
    """Say that training ended while the validation loss still fell, if so."""
    key, limit = _length(config)
    late = [
        rows[key].iloc[-1] == limit
        and rows["validation"].idxmin() >= len(rows) - max(1, len(rows) // VALIDATED)
        for rows in parts
    ]
    if not any(late):
        return []
    return [
        f"the validation loss{_whose(sum(late), parts)} still fell when training ended; "
        f"{_longer(config)} may help"
    ]


def _length(config: Config) -> tuple[str, int]:
    """Return the column of history.csv that counts, and how far it was to count."""
    if config.updates is not None:
        return "updates", config.updates
    assert config.epochs is not None
    return "epoch", config.epochs


def _longer(config: Config) -> str:
    """Return the setting of a training that is twice as long."""
    key, limit = _length(config)
    return f"{'epochs' if key == 'epoch' else key}={2 * limit}"


def _whose(n: int, parts: list[pd.DataFrame]) -> str:
    return f" of {n} of {len(parts)} members" if len(parts) > 1 else ""
