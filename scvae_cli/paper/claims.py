"""Judge the report's claims: the section `What holds` of the page."""

import numpy as np

from scvae_cli.analysis.stats import Estimate, difference, estimate, paired
from scvae_cli.paper.evidence import NAMES, Evidence
from scvae_cli.paper.wording import plain, signed, verdict
from scvae_cli.results.markdown import table

PURE = 0.95  # share of one type from which a cluster counts as almost pure
# A claim that the first model scores higher than the second.
RANKING = [
    ("AE beats VAE (3.3)", "ae", "vae"),
    ("AE beats VSC (3.3)", "ae", "vsc"),
    ("VSC beats VAE (3.3, table)", "vsc", "vae"),
    ("PCA does not do well: AE beats it (1.2, 2.1.2)", "ae", "pca"),
    ("... VAE beats it", "vae", "pca"),
    ("... VSC beats it", "vsc", "pca"),
]


def claims(evidence: Evidence) -> str:
    """Return the section: the ranking of the models, then the report's other claims."""
    ranking = table(
        ["claim", "as described, 2-D map", "corrected, 2-D map", "corrected, latent space"],
        [[claim, *_ranking(evidence, a, b)] for claim, a, b in RANKING],
    )
    others = [
        _preprocessing(evidence),
        _scatter(evidence),
        _types_found(evidence),
        _pure_cluster(evidence),
        _times(evidence),
    ]
    return f"""## What holds

The report's ranking, as differences of NMI; ARI. *Holds* and *does not hold* need both measures.
{_two_lines(evidence)}
{ranking}

PCA's lead is against types that were found on principal components of the same counts (O11 below):
it shows that PCA loses nothing the types hold, not that it finds what they miss.

The report's other claims:

{table(["claim", "verdict", "evidence"], others)}"""


def _two_lines(evidence: Evidence) -> str:
    """Return how to read cells of two lines, where trainings of the AE collapsed."""
    if not evidence.n_failed("report", "ae"):
        return ""
    return (
        "The AE is compared twice: over the trainings that ended, and with the collapsed as 0, "
        "which is what\nk-means scores where all cells are in one place. A claim that needs the "
        "collapsed left out is one about\ntrainings that did not collapse.\n"
    )


def _ranking(evidence: Evidence, a: str, b: str) -> list[str]:
    """Return the verdicts on one pair of models: as described and corrected, map and latents."""
    cells = []
    for kind, space in (("report", "tsne"), ("corrected", "tsne"), ("corrected", "latent")):
        cell = _judged(*_differences(evidence, kind, space, a, b))
        if n_failed := evidence.n_failed(kind, a):
            runs = "the collapsed run" if n_failed == 1 else f"{n_failed} collapsed runs"
            gaps = _differences(evidence, kind, space, a, b, with_failed=True)
            cell += f"<br>with {runs} as 0: {_judged(*gaps)}"
        cells.append(cell)
    return cells


def _differences(
    evidence: Evidence, kind: str, space: str, a: str, b: str, *, with_failed: bool = False
) -> tuple[Estimate, Estimate]:
    """Return the differences of two models in NMI and ARI.

    `with_failed` counts failed runs of `a` as 0: where all cells are in one place, k-means finds
    one cluster, which has NMI 0 and ARI 0 with any types.
    """
    failed = np.zeros(evidence.n_failed(kind, a) if with_failed else 0)
    nmi, ari = (
        difference(
            np.concatenate(
                [evidence.scores_of(evidence.runs_of(kind, a), measure, space), failed]
            ),
            evidence.scores_of(evidence.runs_of(kind, b), measure, space),
        )
        for measure in ("nmi", "ari")
    )
    return nmi, ari


def _judged(nmi: Estimate, ari: Estimate) -> str:
    """Return two differences and the verdict that both support."""
    verdicts = {verdict(nmi), verdict(ari)}
    both = verdicts.pop() if len(verdicts) == 1 else "undecided"
    return f"**{both}**: {signed(nmi)}; {signed(ari)}"


def _preprocessing(evidence: Evidence) -> list[str]:
    n_cells, n_genes = evidence.about["n_cells"], evidence.about["n_genes"]
    return [
        "Preprocessing removes 62 of 2,700 cells, 13,714 genes stay (1.3)",
        "holds" if (n_cells, n_genes) == (2638, 13714) else "does not hold",
        f"{n_cells:,} cells, {n_genes:,} genes",
    ]


def _scatter(evidence: Evidence) -> list[str]:
    ae, sampled, mean = (
        evidence.runs_of(*key)["silhouette"].to_numpy()
        for key in (("report", "ae"), ("report", "vae"), ("corrected", "vae"))
    )
    described, corrected = difference(ae, sampled), difference(ae, mean)
    return [
        "The VAE's points scatter widely within their types (3.3)",
        f"{verdict(described)} as described, {verdict(corrected)} corrected",
        "silhouette of the types on the map, AE minus VAE: "
        f"{signed(described)} as described, {signed(corrected)} with the mean; "
        f"the mean in place of the sample adds {signed(paired(mean, sampled))}",
    ]


def _types_found(evidence: Evidence) -> list[str]:
    counts = {
        NAMES[m]: estimate(evidence.scores_of(evidence.runs_of("report", m), "found"))
        for m in ("ae", "vae", "vsc")
    }
    return [
        "k-means finds 7 of 9 types on the VAE's and on the VSC's map (3.3)",
        "undecided: counted by eye",
        "types that are most of a cluster which has most of their cells: "
        + ", ".join(f"{name} {plain(count, 1)}" for name, count in counts.items()),
    ]


def _pure_cluster(evidence: Evidence) -> list[str]:
    purity = evidence.runs_of("report", "ae")["purity"].to_numpy()
    shares = ", ".join(f"{share:.3f}" for share in purity)
    return [
        "One cluster of the AE's map is almost pure (3.3)",
        f"holds for {(purity > PURE).sum()} of {len(purity)} seeds",
        f"share of B cells in the cluster that has most of them: {shares}",
    ]


def _times(evidence: Evidence) -> list[str]:
    seconds = {m: evidence.runs_of("report", m)["seconds"].median() for m in ("ae", "vae", "vsc")}
    ratios = {m: seconds[m] / seconds["ae"] for m in ("vae", "vsc")}
    each = " and ".join(f"{ratio:.2f} ({NAMES[m]})" for m, ratio in ratios.items())
    text = f"at the same size, training takes {each} times the AE's"
    code = {m: evidence.runs_of("code", m)["seconds"] for m in ("ae", "vae")}
    if all(map(len, code.values())):
        text += (
            "; as in the code, whose VAE is 800 wide and whose AE is 128 wide, "
            f"{code['vae'].median() / code['ae'].median():.1f} times"
        )
    return [
        "VAEs take 4 to 8 times the AE's time, as sampling is slow (3.4)",
        "does not hold" if max(ratios.values()) < 2 else "holds",
        text,
    ]
