"""List the keys of scores.json: the spaces that are scored, the measures, and their names."""

from collections.abc import Mapping

# What is scored. The map is called `tsne` whatever made it, so that tables compare maps of both.
SPACES = {"tsne": "2-D map", "latent": "latent space"}
AGREEMENT = ("nmi", "ari", "hom", "com")  # of clusters with known cell types
# Of batches that mix, of types that stay apart, and means of both: `analysis.mixing`.
OF_BATCHES = ("ilisi", "kbet", "graph_connectivity", "silhouette_batch")
OF_TYPES = ("clisi", "silhouette_label", "isolated_labels")
TOTALS = ("batch_correction", "bio_conservation", "overall")
# The silhouette of clusters scores cells without known types.
WITH_BATCHES = (*OF_BATCHES, *OF_TYPES, *TOTALS)
MEASURES = (*AGREEMENT, "silhouette", *WITH_BATCHES)
MEASURE_NAMES = {
    "nmi": "NMI", "ari": "ARI", "hom": "HOM", "com": "COM", "silhouette": "silhouette",
    "ilisi": "iLISI", "kbet": "kBET", "graph_connectivity": "graph connectivity",
    "silhouette_batch": "silhouette of batches", "clisi": "cLISI",
    "silhouette_label": "silhouette of types", "isolated_labels": "isolated types",
    "batch_correction": "batch correction", "bio_conservation": "bio conservation",
    "overall": "overall",
}  # fmt: skip
SCORES = tuple(f"{space}_{measure}" for space in SPACES for measure in MEASURES)
SILHOUETTES = tuple(f"{space}_silhouette" for space in SPACES)
USUAL = tuple(f"{space}_{measure}" for space in SPACES for measure in AGREEMENT)
# Tables of scores on the terminal: the head of the first column, and the measures with theirs.
TABLES = {
    "k-means on": {k: k.upper() for k in (*AGREEMENT, "silhouette")},
    "batches in": {
        "ilisi": "iLISI", "kbet": "kBET", "batch_correction": "batch", "bio_conservation": "bio",
        "overall": "total",
    },
}  # fmt: skip


def score_tables(scores: Mapping[str, Mapping[str, float]]) -> list[list[dict[str, str]]]:
    """Return the scores of each space as rows of texts: of k-means, and of batches if known."""
    tables = []
    for head, names in TABLES.items():
        known = {k: v for k, v in names.items() if any(k in row for row in scores.values())}
        rows = [
            {head: space, **{v: f"{row[k]:.3f}" if k in row else "-" for k, v in known.items()}}
            for space, row in scores.items()
        ]
        tables += [rows] if known else []
    return tables


def score_name(score: str) -> str:
    """Return a score of `SCORES` in words: `NMI on the 2-D map`."""
    space, _, measure = score.partition("_")
    return f"{MEASURE_NAMES[measure]} on the {SPACES[space]}"


def short_name(score: str) -> str:
    """Return a score of `SCORES` as the head of a column: `map NMI`."""
    space, _, measure = score.partition("_")
    return f"{'map' if space == 'tsne' else 'latent'} {MEASURE_NAMES[measure]}"
