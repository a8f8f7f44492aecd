"""The methods that are compared: candidates of `scvae choose`, other presets, and scVI."""

from math import ceil

from scvae_cli.choice.plan import CANDIDATES

# Presets of conf/experiment/benchmark; each answers a question that the candidates leave open.
OTHERS = {
    "vae-nb-latent": "`vae-nb`, cells placed by latent features, not by what it decodes",
    "vae-gaussian": "`vae-nb` with the squared error of log values",
    "vae-poisson": "`vae-nb` with a Poisson distribution",
    "vae-zinb": "`vae-nb` with a zero-inflated negative binomial, scVI's likelihood",
    "vsc-nb-sound": "`vsc-nb` whose gates are learnt before the slab, c from 50 to 200",
    "vsc-uai-nb": "VSC as published (pseudo-inputs, selector) with the size of `vae-nb`",
    "ae": "the report's AE (128-32-16-6, squared error)",
    "vae": "the report's VAE (the same, beta 2)",
    "vsc": "the report's VSC (the same, beta 2)",
}
CONTROLS = {
    "projection": "ten random directions; learns nothing",
    "untrained": "`vae-nb` before its first step; learns nothing",
}
SHIPPED, EARLY, SHORT = "scvi", "scvi-early", "scvi-short"
PEERS = {
    SHIPPED: "scVI as it ships: 400 epochs, KL warm-up over all of them",
    SHORT: "scVI for as many updates as ours (4,000), KL warm-up over all of them",
    EARLY: "scVI stopped early on a tenth of the cells, KL warm-up over 50 epochs",
}
MEANING = {
    "pca-sqrt": "20 principal components of square roots",
    "pca-20": "20 principal components of logarithms",
    "pca-10": "10 principal components of logarithms",
    "pca-50": "50 principal components of logarithms",
    "pca-deviance": "`pca-sqrt` of the genes with the highest binomial deviance",
    "ae-nb": "autoencoder of counts (negative binomial)",
    "vae-nb": "VAE of counts, 10 latents, 128 hidden units",
    "vae-nb-wide": "`vae-nb` with 20 latents and 256 hidden units",
    "vsc-nb": "VSC of counts with sigmoid gates, the size of `vae-nb`",
    **OTHERS, **PEERS, **CONTROLS,
}  # fmt: skip
METHODS = tuple(MEANING)  # in the order of the page
assert METHODS[: len(CANDIDATES)] == CANDIDATES

EPOCHS, UPDATES = 400, 4000  # of scVI as it ships for so few cells, and of our networks
BATCH, SHARE = 128, 0.9  # of scVI: cells of a batch, share of the cells that it trains on


def peers(n_cells: int) -> dict[str, list[str]]:
    """Return the options of `benchmarks.peer` for each way of training scVI on so many cells.

    Where 4,000 updates take 400 epochs or more, `scvi-short` is left out.
    """
    options = {
        SHIPPED: ["--epochs", str(EPOCHS)],
        EARLY: ["--epochs", str(EPOCHS), "--early-stopping", "--warmup", "50"],
    }
    epochs = str(ceil(UPDATES / ceil(SHARE * n_cells / BATCH)))
    if int(epochs) < EPOCHS:
        options[SHORT] = ["--epochs", epochs, "--warmup", epochs]
    return options
