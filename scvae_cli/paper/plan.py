"""Plan the runs behind the reproduction of the report."""

from collections.abc import Iterator
from dataclasses import dataclass

VARIATIONAL = ("vae", "vsc")
MODELS = ("ae", *VARIATIONAL)
BETAS = [0.5, 1.0, 4.0, 8.0]  # and 2, which the report's own runs have
BETA_SEEDS = 5
MAPS = range(5)  # seeds of further maps of one training
ONE_SEED = ("seed=0", "map_3d=false")


@dataclass(frozen=True)
class Planned:
    """One run of the reproduction.

    Attributes:
        name: name of its folder.
        overrides: arguments of `scvae train`.
        trained: name of the run whose training it uses, or None if it trains itself.
        cost: its time, roughly, in trainings of the report's size.
        may_fail: whether its failure would be a result.
    """

    name: str
    overrides: tuple[str, ...]
    trained: str | None = None
    cost: float = 1.2
    may_fail: bool = False


def plan(seeds: range, *, quick: bool) -> list[Planned]:
    """Return the runs, ordered so that those on which most depends come first."""
    runs = [run for seed in seeds for run in _report(seed)]
    runs.append(Planned("code-ae-0", ("experiment=code/ae", *ONE_SEED)))
    if not quick:
        runs += [*_code(), *_maps(), *_betas(seeds[:BETA_SEEDS]), *_z_scores()]
    return runs


def _report(seed: int) -> Iterator[Planned]:
    """Plan a seed of each model as described, and corrected from the same training."""
    given = (f"seed={seed}", f"map_3d={str(seed == 0).lower()}")
    for model in MODELS:
        # The AE's z may be 0 for all cells at the end, behind its ReLU.
        overrides = (f"experiment=report/{model}", *given)
        yield Planned(f"report-{model}-{seed}", overrides, may_fail=model == "ae")
    for model in VARIATIONAL:
        overrides = (f"experiment=corrected/{model}", *given)
        trained = f"report-{model}-{seed}"
        yield Planned(f"corrected-{model}-{seed}", overrides, trained=trained, cost=0.25)
    yield Planned(f"corrected-pca-{seed}", ("experiment=corrected/pca", *given), cost=0.25)


def _code() -> Iterator[Planned]:
    """Plan the variational models as the authors' code has them."""
    for model in VARIATIONAL:
        yield Planned(f"code-{model}-0", (f"experiment=code/{model}", *ONE_SEED), cost=10)


def _maps() -> Iterator[Planned]:
    """Plan further maps of the training of seed 0."""
    for seed in MAPS:
        for model in MODELS:
            overrides = (
                f"experiment=report/{model}",
                f"tsne.seed={seed}",
                "tsne.init=random",  # from principal components, every seed gives the same map
                *ONE_SEED,
            )
            trained = f"report-{model}-0"
            yield Planned(f"map-{model}-{seed}", overrides, trained=trained, cost=0.25)


def _betas(seeds: range) -> Iterator[Planned]:
    """Plan trainings at other betas, which embed the posterior mean."""
    for seed in seeds:
        for beta in BETAS:
            for model in VARIATIONAL:
                overrides = (f"experiment=corrected/{model}", f"seed={seed}", f"beta={beta:g}")
                yield Planned(f"beta-{model}-{beta:g}-{seed}", (*overrides, "map_3d=false"))


def _z_scores() -> Iterator[Planned]:
    """Plan the authors' code on Seurat's z-scores, which may diverge."""
    for model, cost in (("ae", 3), ("vae", 11)):
        overrides = (f"experiment=code/{model}", "data.scale=10", *ONE_SEED)
        yield Planned(f"scaled-{model}-0", overrides, cost=cost, may_fail=True)
