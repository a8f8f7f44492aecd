"""The methods that are compared: presets of conf/experiment/benchmark, and scVI."""

CONTROLS = ["pca-6", "pca-10", "pca-20", "pca-50", "projection", "untrained"]
LOGS = ["ae", "vae", "vsc", "vae-gaussian"]  # squared error of log values
COUNTS = [
    "ae-nb", "ae-nb-128", "vae-poisson", "vae-poisson-128", "vae-poisson-wide", "vae-nb",
    "vae-nb-128", "vae-nb-beta2", "vae-nb-long", "vae-zinb", "vsc-nb", "vsc-nb-sound",
    "vsc-uai-nb",
]  # fmt: skip
PEER = "scvi"  # by scvi-tools' defaults, 400 epochs for so few cells
SHORT_PEER = "scvi-short"  # with as many epochs as ours have
PEERS = {PEER: [], SHORT_PEER: ["--epochs", "100"]}  # name to options of `benchmarks.peer`
