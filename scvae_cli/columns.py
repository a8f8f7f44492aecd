"""The maps that there are, and the columns of cells.csv that scvae computes.

All other columns were kept of the cells' file.
"""

from collections.abc import Container

MAP_NAMES = {"tsne": "t-SNE", "umap": "UMAP"}  # the maps that there are: as a setting, in words
# Columns with places, by the map and its dimensions.
PLACES = {
    kind: {2: (f"{kind}_1", f"{kind}_2"), 3: (f"{kind}3d_1", f"{kind}3d_2", f"{kind}3d_3")}
    for kind in MAP_NAMES
}
# Whether a cell was put on the map after it was made; where there are such.
PLACED = {kind: f"{kind}_placed" for kind in MAP_NAMES}
# What a person calls a stage, where that is not its name in run.json.
STAGE_NAMES = {
    "cluster": "k-means",
    **{f"{kind}_{n}d": f"{name} {n}-D" for kind, name in MAP_NAMES.items() for n in (2, 3)},
}
AUTO = "auto"  # in data.keep: the columns of obs that a map can show


def own(kind: str) -> tuple[str, ...]:
    """Return the columns that scvae writes to cells.csv of a run with this map."""
    places = PLACES[kind]
    return (
        "cell", "cell_type", "cluster", *places[2], *places[3], PLACED[kind], "latent_cluster",
    )  # fmt: skip


# Names that no run keeps a column by. Those of UMAP are free in a run with t-SNE: runs of before
# there was `map` may have kept them.
OWN = own("tsne")


def map_of(columns: Container[str]) -> str:
    """Return which map a cells.csv with these columns has."""
    kinds = (kind for kind, places in PLACES.items() if places[2][0] in columns)
    return next(kinds, "tsne")
