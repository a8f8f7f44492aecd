"""List the keys of scores.json: the spaces that are scored, the measures, and their names."""

SPACES = {"tsne": "2-D map", "latent": "latent space"}
AGREEMENT = ("nmi", "ari", "hom", "com")  # of clusters with known cell types
MEASURES = (*AGREEMENT, "silhouette")  # the silhouette scores cells without known types
MEASURE_NAMES = {
    "nmi": "NMI", "ari": "ARI", "hom": "HOM", "com": "COM", "silhouette": "silhouette",
}  # fmt: skip
SCORES = tuple(f"{space}_{measure}" for space in SPACES for measure in MEASURES)
SILHOUETTES = tuple(f"{space}_silhouette" for space in SPACES)


def score_name(score: str) -> str:
    """Return a score of `SCORES` in words: `NMI on the 2-D map`."""
    space, _, measure = score.partition("_")
    return f"{MEASURE_NAMES[measure]} on the {SPACES[space]}"
