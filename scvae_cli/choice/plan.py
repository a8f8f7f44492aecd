"""The candidates of `scvae choose`, and the words that train them."""

from collections.abc import Sequence

# Presets of conf/experiment/choose, the simplest first.
CANDIDATES = (
    "pca-sqrt", "pca-20", "pca-10", "pca-50", "pca-deviance", "ae-nb", "vae-nb", "vae-nb-wide",
    "vsc-nb",
)  # fmt: skip
CONTROL = "pca-sqrt"  # experiment=best, which is recommended unless these cells say otherwise
GENES = 2000  # that are kept, unless the user says otherwise
CHOSEN = "chosen-"  # and its candidate: folder of the recommended run
# The maps of candidates are not what they are chosen by.
QUICK = ("map_3d=false", "cluster.n_init=10")
MAPPED = 1000  # cells


def experiment(candidate: str) -> str:
    """Return the word that names a candidate's preset."""
    return f"experiment=choose/{candidate}"


def sweep_words(candidates: Sequence[str], n_seeds: int, others: Sequence[str]) -> list[str]:
    """Return what follows `scvae train` to train all candidates.

    Args:
        candidates: some of `CANDIDATES`.
        n_seeds: trainings of each.
        others: words that say which cells, and how to run.
    """
    presets = ",".join(f"choose/{name}" for name in candidates)
    # The seed comes first, so that a sweep that is cut short has trained all candidates.
    kind = "umap" if "map=umap" in others else "tsne"
    quick = [*QUICK, f"{kind}.max_cells={MAPPED}"]
    return ["-m", f"seed=range(0,{n_seeds})", f"experiment={presets}", *quick, *others]
