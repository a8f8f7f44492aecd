"""Write what a training costs, and how epochs of ours and of scVI compare."""

from collections.abc import Mapping
from typing import Any

from benchmarks.latents.cost import FEW, FEW_OF_SCVI
from benchmarks.latents.methods import SHIPPED
from scvae_cli.results.markdown import table as markdown


def time_and_memory(about: Mapping[str, Any]) -> str:
    """Return time and memory of each method; nothing if they were not measured."""
    if not about.get("cost"):
        return ""
    rows = [
        [
            row["method"], f"{row['ms']:.1f}" if row["updates"] else "",
            f"{row['updates']:,}" if row["updates"] else "", f"{row['seconds']:.1f}",
            str(row["peak"]),
        ]
        for row in about["cost"]
    ]  # fmt: skip
    header = ["", "ms an update", "updates", "training, s", "peak memory, MB"]
    return f"""## Time and memory

Each method was trained on {about["measured"]} with all threads for {FEW} epochs (scVI:
{FEW_OF_SCVI}), and nothing else ran. An update's time is the median over epochs; two measurements
of one training have differed by a third. Training time is that of all updates at this pace; ours
often stop earlier. An update is of 256 cells, scVI's of 128. Memory is the peak of the whole
process, libraries included.

{markdown(header, rows)}{_race(about["race"])}"""


def _race(race: Mapping[str, Any]) -> str:
    """Return how epochs of ours and of scVI compare; nothing if there was no race."""
    if not race:
        return ""
    ours, theirs = (", ".join(f"{s:.2f}" for s in race[side]) for side in ("ours", SHIPPED))
    return (
        "\n\nOurs and scVI were also trained in turns of some ten seconds, with a negative "
        "binomial on all 13,714 genes of PBMC3k (batches of 256, ten latents, one hidden layer of "
        f"128, all threads). The median epoch of each turn took {ours} s with ours and {theirs} s "
        f"with scVI. So scVI takes {race['least']:.1f} to {race['most']:.1f} times as long, and "
        f"{race['fastest']:.1f} times as long by the fastest epoch of each."
    )
