"""Tell where chance comes in: how much scores vary with each seed."""

from scvae_cli.analysis.stats import estimate
from scvae_cli.paper.collect import KMEANS_SEEDS
from scvae_cli.paper.evidence import MEASURES, NAMES, Evidence
from scvae_cli.results.markdown import table


def chance(evidence: Evidence) -> str:
    """Return the section: standard deviations where one source of chance varies, by model.

    Nothing if the maps were not drawn again.
    """
    if not len(evidence.runs_of("map", "ae")):
        return ""
    rows = []
    n_init = evidence.about["n_init"]
    for model in ("ae", "vae", "vsc"):
        runs, maps = evidence.runs_of("report", model), evidence.runs_of("map", model)
        repeated = evidence.kmeans[evidence.kmeans["model"] == model]
        for measure in ("nmi", "ari"):
            values = [evidence.scores_of(some, measure) for some in (runs, maps)]
            values += [
                repeated.loc[repeated["n_init"] == n, measure].to_numpy() for n in (n_init, 1)
            ]
            sd = [f"{estimate(v).sd:.4f}" for v in values]
            rows.append([NAMES[model], MEASURES[measure], *sd])
    header = ["", "", "trainings", f"{len(maps)} maps, random start",
              f"{len(KMEANS_SEEDS)} k-means, best of {n_init}",
              f"{len(KMEANS_SEEDS)} k-means, one start"]  # fmt: skip
    return f"""## Where chance comes in

Standard deviation of a score on the 2-D map, as described, when one source of chance alone varies:
seeds of the training (with map and clusters), of t-SNE on the training of seed 0, of k-means on
that map. t-SNE is started at random here, as the report's code does; from principal components,
the default, every seed gives the same map.

{table(header, rows)}"""
