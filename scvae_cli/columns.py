"""The columns of cells.csv: those that scvae computes. All others were kept of the cells' file."""

PLACES = {2: ("tsne_1", "tsne_2"), 3: ("tsne3d_1", "tsne3d_2", "tsne3d_3")}  # by dimensions
PLACED = "tsne_placed"  # whether a cell was put on the map after t-SNE; where there are such
OWN = ("cell", "cell_type", "cluster", *PLACES[2], *PLACES[3], PLACED, "latent_cluster")
AUTO = "auto"  # in data.keep: the columns of obs that a map can show
