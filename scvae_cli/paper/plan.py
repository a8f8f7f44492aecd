"""Which runs are behind the reproduction of the report."""

from dataclasses import dataclass

BETAS = [0.5, 1.0, 4.0, 8.0]  # and 2, which the report's own runs have
BETA_SEEDS = 5
MAPS = range(5)  # seeds of further maps of one training


@dataclass(frozen=True)
class Run:
    """One run of the reproduction.

    Attributes:
        name: of its folder.
        overrides: what to say after `scvae train`.
        trained: name of the run whose training it uses, if any.
        cost: its time, roughly, in trainings of the report's size.
        may_fail: whether that it fails would be a result.
    """

    name: str
    overrides: tuple[str, ...]
    trained: str | None = None
    cost: float = 1.2
    may_fail: bool = False


def plan(seeds: range, *, quick: bool) -> list[Run]:
    """The runs, those first on which most depends."""
    runs = []
    for seed in seeds:
        once = (f"seed={seed}", f"map_3d={str(seed == 0).lower()}")
        for model in ("ae", "vae", "vsc"):
            # The AE's z may be 0 for all cells at the end, behind its ReLU.
            given = (f"experiment=report/{model}", *once)
            runs.append(Run(f"report-{model}-{seed}", given, may_fail=model == "ae"))
        for model in ("vae", "vsc"):
            runs.append(
                Run(
                    f"corrected-{model}-{seed}",
                    (f"experiment=corrected/{model}", *once),
                    trained=f"report-{model}-{seed}",
                    cost=0.25,
                )
            )
        runs.append(Run(f"corrected-pca-{seed}", ("experiment=corrected/pca", *once), cost=0.25))
    code = ("seed=0", "map_3d=false")
    runs.append(Run("code-ae-0", ("experiment=code/ae", *code)))
    if quick:
        return runs
    for model in ("vae", "vsc"):
        runs.append(Run(f"code-{model}-0", (f"experiment=code/{model}", *code), cost=10))
    for seed in MAPS:
        for model in ("ae", "vae", "vsc"):
            runs.append(
                Run(
                    f"map-{model}-{seed}",
                    # From a start of principal components, every seed gives the same map.
                    (
                        f"experiment=report/{model}",
                        f"tsne.seed={seed}",
                        "tsne.init=random",
                        *code,
                    ),
                    trained=f"report-{model}-0",
                    cost=0.25,
                )
            )
    for seed in seeds[:BETA_SEEDS]:
        for beta in BETAS:
            for model in ("vae", "vsc"):
                overrides = (f"experiment=corrected/{model}", f"seed={seed}", f"beta={beta:g}")
                runs.append(Run(f"beta-{model}-{beta:g}-{seed}", (*overrides, "map_3d=false")))
    for model, cost in (("ae", 3), ("vae", 11)):
        scaled = (f"experiment=code/{model}", "data.scale=10", *code)
        runs.append(Run(f"scaled-{model}-0", scaled, cost=cost, may_fail=True))
    return runs
