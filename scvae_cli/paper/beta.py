"""Tell whether beta matters: the section on scores against beta."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pandas as pd

from scvae_cli.analysis.stats import Estimate, difference, estimate
from scvae_cli.measures import SPACES
from scvae_cli.paper.evidence import MEASURES, NAMES, Evidence
from scvae_cli.paper.figures import figure
from scvae_cli.paper.wording import plain, signed, verdict
from scvae_cli.results.markdown import table

# Title of each score to its measure and space.
SCORES = {f"{MEASURES[m]}, {name}": (m, s) for s, name in SPACES.items() for m in ("nmi", "ari")}
Values = Mapping[float, Mapping[str, np.ndarray]]  # scores of each seed by beta and title


def beta(evidence: Evidence) -> str:
    """Return the section, with the posterior mean; nothing if there was no sweep over beta."""
    if not len(evidence.runs_of("beta", "vae")):
        return ""
    rows: list[list[str]] = []
    ends: list[str] = []
    ranges: list[str] = []
    steps: dict[str, Estimate] = {}
    counts: dict[float, int] = {}
    for model in ("vae", "vsc"):
        runs = evidence.runs_by_beta(model)
        counts |= {beta: len(group) for beta, group in runs.items()}
        values = {
            beta: {title: evidence.scores_of(group, *of) for title, of in SCORES.items()}
            for beta, group in runs.items()
        }
        rows += _rows(model, runs, values)
        ends += _ends(model, values)
        ranges.append(f"{NAMES[model]} {_range(values)}")
        steps |= _steps(model, values)
    differ = [f"{step} {signed(e)}" for step, e in steps.items() if verdict(e) != "undecided"]
    listed = f": {'; '.join(differ)}" if differ else ""
    return f"""## Does beta matter?

The report trains at beta 2 alone (its code's VSC at 1). With the posterior mean, {_seeds(counts)}:

{figure("beta")}

{chr(10).join(ends)}
- From the lowest to the highest mean over the betas: {"; ".join(ranges)}.
- Of {len(steps)} steps from one beta to the next, {len(differ)} leave out 0, of which \
{len(steps) / 20:.1f} would do so by chance{listed}.

{table(["", "beta", *SCORES, "KL", "squared error"], rows)}"""


def _seeds(counts: Mapping[float, int]) -> str:
    """Return how many seeds there are at each beta: `5 seeds at 0.5 and 1, 10 at 2`."""
    at: dict[int, list[str]] = {}
    for beta, n in counts.items():
        at.setdefault(n, []).append(f"{beta:g}")
    parts = [f"{n} at {', '.join(betas)}" for n, betas in at.items()]
    return "seeds by beta: " + "; ".join(parts)


def _rows(model: str, runs: Mapping[float, pd.DataFrame], values: Values) -> list[list[str]]:
    """Return the rows of a model: scores and losses at each beta."""
    rows = []
    for beta, group in runs.items():
        cells = [plain(estimate(values[beta][title]), 3) for title in SCORES]
        losses = f"{group['kl'].mean():.2f}", f"{group['reconstruction'].mean():.1f}"
        rows.append([NAMES[model], f"{beta:g}", *cells, *losses])
    return rows


def _ends(model: str, values: Values) -> list[str]:
    """Return a line per space: the NMI at the highest beta minus that at the lowest."""
    low, *_, high = values
    lines = []
    for name in SPACES.values():
        e = difference(values[high][f"NMI, {name}"], values[low][f"NMI, {name}"])
        word = {"holds": "higher", "does not hold": "lower"}.get(verdict(e))
        lines.append(
            f"- {NAMES[model]}, NMI on the {name}: beta {high:g} minus {low:g} is "
            f"{signed(e)}, {word or 'which cannot be told from chance'}."
        )
    return lines


def _range(values: Values) -> str:
    """Return how far apart the lowest and the highest mean over the betas are, by score."""
    means = {title: [v[title].mean() for v in values.values()] for title in SCORES}
    return ", ".join(f"{np.ptp(some):.3f} ({title})" for title, some in means.items())


def _steps(model: str, values: Values) -> dict[str, Estimate]:
    """Return the differences from each beta to the next, by what they are of."""
    return {
        f"{NAMES[model]} {title}, {low:g} to {high:g}": difference(
            values[high][title], values[low][title]
        )
        for low, high in pairwise(values)
        for title in SCORES
    }
