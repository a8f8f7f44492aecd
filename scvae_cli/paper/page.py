"""The reproduction of the report as a page: tables and verdicts, from the tables of `evidence`.

Every number on the page is computed here from those, but for the numbers of the report and of
its authors' repository (github.com/okunator/Variational-Autoencoders), which are given as theirs.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from scvae_cli.analysis.stats import Estimate, difference, estimate, paired
from scvae_cli.atomic import write_file
from scvae_cli.paper.audit import AUDIT
from scvae_cli.paper.evidence import (
    ACTIVE,
    KMEANS_SEEDS,
    MEASURES,
    NAMES,
    PUBLISHED,
    SPACES,
    Page,
    collect,
    read,
)
from scvae_cli.paper.figures import draw

NEAR = 0.05
PURE = 0.95
# What the figures show, by the name of the file.
FIGURES = {
    "maps_report": "2-D maps as described, by cell type and by cluster, seed 0",
    "maps_3d_report": "3-D maps as described, by cell type, seed 0",
    "maps_corrected": "2-D maps corrected, by cell type and by cluster, seed 0",
    "maps_3d_corrected": "3-D maps corrected, by cell type, seed 0",
    "scores": "Scores of k-means on the 2-D map: published, as described, corrected",
    "beta": "Scores against beta, with 95 % intervals",
    "losses": "Squared error and KL over epochs, a line a seed, as described",
}


def write(
    done: Mapping[str, Path],
    failed: Mapping[str, str],
    to: Path,
    labels: str | None,
    command: str,
) -> tuple[Path, list[dict[str, str]]]:
    """Writes the tables and figures into reproduction/, and reproduction.md from the tables.

    Args:
        done: folders of runs by their names in `paper.plan`.
        failed: why others failed, by name.
        to: folder to write to.
        labels: csv file with other labels to score against, or None.
        command: that makes this page.

    Returns:
        The page, and the rows of its gist: NMI and ARI on the 2-D map.

    Raises:
        InputError: the other labels cannot be read.
    """
    folder = to / "reproduction"
    evidence = collect(done, failed, labels=labels, command=command)
    drawn = draw(done, Page(evidence))
    evidence.about["figures"] = list(drawn)
    evidence.write(folder)
    for name, png in drawn.items():
        write_file(folder / f"{name}.png", png)
    page = Page(read(folder))
    path = to / "reproduction.md"
    write_file(path, text(page).encode())
    return path, _gist(page)


def text(page: Page) -> str:
    """The page, of the tables alone."""
    sections = [
        _head(page),
        _verdicts(page),
        _tables(page),
        _twelve(page),
        _maps(page),
        _latents(page),
        _noise(page),
        _beta(page),
        _losses_and_times(page),
        _audit(page),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _head(page: Page) -> str:
    about, runs = page.evidence.about, page.evidence.runs
    versions, commits = about["versions"], about["commits"]
    n = len(page.of("report", "vae"))
    lead = (
        f"Made by `{about['command']}` from 10x Genomics' raw counts: {about['n_cells']:,} cells, "
        f"{about['n_genes']:,} genes, {about['n_types']} cell types; "
        f"{(runs['status'] == 'done').sum()} runs, {n} seed{'s' * (n > 1)} a model, "
        f"{about['threads']} threads, "
        f"Python {versions['python']}, torch {versions['torch']}, scikit-learn "
        f"{versions['scikit-learn']}, scvae {versions['scvae-cli']}"
        f"{' at ' + ', '.join(commits) if commits else ''}."
    )
    lost = [
        f"\n\n**{run.run}** failed and is in no mean: {run.reason.split(';')[0]}."
        for run in runs[runs["status"] == "failed"].itertuples()
    ] + [_share_lost(page)]
    certainty = (
        "A value is a mean over seeds ± half the width of its 95 % confidence interval (Student's "
        "t). A difference whose interval holds 0 cannot be told from chance; intervals are not "
        "corrected for their number."
        if n > 1
        else "With one seed there are no intervals, and nothing can be told from chance."
    )
    return f"""# The report, reproduced

{lead}

The report is "Variational autoencoders for single-cell transcriptomics data"; section numbers are
its own. *As described* is its text (`experiment=report/...`): the variational models embed one
random sample of each cell's posterior. *Corrected* embeds the posterior mean
(`experiment=corrected/...`), from the same trainings. *Code* is what its authors' published code
does (`experiment=code/...`, one seed). All numbers are computed from the tables in
[reproduction/](reproduction).

{certainty}{"".join(lost)}"""


def _share_lost(page: Page) -> str:
    """How often trainings of the AE collapse, as far as that can be said."""
    lost = page.lost("report", "ae")
    if not lost:
        return ""
    n = lost + len(page.of("report", "ae"))
    low, high = binomtest(lost, n).proportion_ci()
    return (
        f"\n\n{lost} of {n} trainings of the AE failed: the rate may be from {100 * low:.1f} to "
        f"{100 * high:.0f} % (95 %). Comparisons of the AE are given with and without them."
    )


def _verdicts(page: Page) -> str:
    claims = [
        ("AE beats VAE (3.3)", "ae", "vae"),
        ("AE beats VSC (3.3)", "ae", "vsc"),
        ("VSC beats VAE (3.3, table)", "vsc", "vae"),
        ("PCA does not do well: AE beats it (1.2, 2.1.2)", "ae", "pca"),
        ("... VAE beats it", "vae", "pca"),
        ("... VSC beats it", "vsc", "pca"),
    ]
    rows = []
    for claim, a, b in claims:
        cells = [claim]
        for kind, space in (("report", "tsne"), ("corrected", "tsne"), ("corrected", "latent")):
            cell = _cell(*_gaps(page, kind, space, a, b, lost=False))
            if page.lost(kind, a):
                cell += f"<br>{_collapsed(page.lost(kind, a))}: "
                cell += _cell(*_gaps(page, kind, space, a, b, lost=True))
            cells.append(cell)
        rows.append(cells)
    table = _table(
        ["claim", "as described, 2-D map", "corrected, 2-D map", "corrected, latent space"], rows
    )
    return f"""## What holds

The report's ranking, as differences of NMI; ARI. *Holds* and *does not hold* need both measures.
{_with_the_lost(page)}
{table}

PCA's lead is against types that were found on principal components of the same counts (O11 below):
it shows that PCA loses nothing the types hold, not that it finds what they miss.

The report's other claims:

{_table(["claim", "verdict", "evidence"], _other_claims(page))}"""


def _gaps(
    page: Page, kind: str, space: str, a: str, b: str, *, lost: bool
) -> tuple[Estimate, Estimate]:
    """Differences of two models in NMI and ARI.

    With `lost`, runs of `a` that failed count as 0: where all cells are in one place, k-means
    finds one cluster, which has NMI 0 and ARI 0 with any types.
    """
    more = np.zeros(page.lost(kind, a) if lost else 0)
    nmi, ari = (
        difference(
            np.concatenate([page.values(page.of(kind, a), measure, space), more]),
            page.values(page.of(kind, b), measure, space),
        )
        for measure in ("nmi", "ari")
    )
    return nmi, ari


def _cell(nmi: Estimate, ari: Estimate) -> str:
    """What two differences come to, and both."""
    words = {_verdict(nmi), _verdict(ari)}
    word = words.pop() if len(words) == 1 else "cannot be told"
    return f"**{word}**: {_signed(nmi)}; {_signed(ari)}"


def _collapsed(n: int) -> str:
    return "with the collapsed run as 0" if n == 1 else f"with {n} collapsed runs as 0"


def _with_the_lost(page: Page) -> str:
    """How to read cells that have two lines."""
    if not page.lost("report", "ae"):
        return ""
    return (
        "The AE is compared twice: over the trainings that ended, and with the collapsed as 0, "
        "which is what\nk-means scores where all cells are in one place. A claim that needs the "
        "collapsed left out is one about\ntrainings that did not collapse.\n"
    )


def _other_claims(page: Page) -> list[list[str]]:
    about = page.evidence.about
    rows = []

    shape = (about["n_cells"], about["n_genes"])
    rows.append(
        [
            "Preprocessing removes 62 of 2,700 cells, 13,714 genes stay (1.3)",
            "holds" if shape == (2638, 13714) else "does not hold",
            f"{shape[0]:,} cells, {shape[1]:,} genes",
        ]
    )

    tight = {
        key: page.of(*key)["silhouette"].to_numpy()
        for key in (("report", "ae"), ("report", "vae"), ("corrected", "vae"))
    }
    described = difference(tight["report", "ae"], tight["report", "vae"])
    corrected = difference(tight["report", "ae"], tight["corrected", "vae"])
    sampled = paired(tight["corrected", "vae"], tight["report", "vae"])
    rows.append(
        [
            "The VAE's points scatter widely within their types (3.3)",
            f"{_verdict(described)} as described, {_verdict(corrected)} corrected",
            "silhouette of the types on the map, AE minus VAE: "
            f"{_signed(described)} as described, {_signed(corrected)} with the mean; "
            f"the mean in place of the sample adds {_signed(sampled)}",
        ]
    )

    found = {m: estimate(page.values(page.of("report", m), "found")) for m in ("ae", "vae", "vsc")}
    rows.append(
        [
            "k-means finds 7 of 9 types on the VAE's and on the VSC's map (3.3)",
            "cannot be told: counted by eye",
            "types that are most of a cluster which has most of their cells: "
            + ", ".join(f"{NAMES[m]} {_plain(e, 1)}" for m, e in found.items()),
        ]
    )

    pure = page.of("report", "ae")["purity"].to_numpy()
    rows.append(
        [
            "One cluster of the AE's map is almost pure (3.3)",
            f"holds for {(pure > PURE).sum()} of {len(pure)} seeds",
            f"share of B cells in the cluster that has most of them: {', '.join(_shares(pure))}",
        ]
    )

    times = {m: page.of("report", m)["seconds"] for m in ("ae", "vae", "vsc")}
    ratios = {m: times[m].mean() / times["ae"].mean() for m in ("vae", "vsc")}
    evidence = "at the same size, training takes " + " and ".join(
        f"{ratios[m]:.2f} ({NAMES[m]})" for m in ratios
    ) + " times the AE's"  # fmt: skip
    wide = {m: page.of("code", m)["seconds"] for m in ("ae", "vae")}
    if all(map(len, wide.values())):
        evidence += (
            "; as in the code, whose VAE is 800 wide and whose AE is 128 wide, "
            f"{wide['vae'].mean() / wide['ae'].mean():.1f} times"
        )
    rows.append(
        [
            "VAEs take 4 to 8 times the AE's time, as sampling is slow (3.4)",
            "does not hold" if max(ratios.values()) < 2 else "holds",
            evidence,
        ]
    )
    return rows


def _tables(page: Page) -> str:
    parts = ["## Scores"]
    sets = {"own": "cell types found in the counts, as in Seurat's tutorial"}
    if page.others:
        sets["other"] = "the other labels (--labels; here Seurat's own)"
    for labels, text in sets.items():
        for space, name in SPACES.items():
            rows = [
                {"": title, " ": NAMES[model], **_score_cells(page, model, measure, space, labels)}
                for measure, title in MEASURES.items()
                for model in NAMES
            ]
            table = pd.DataFrame(rows).fillna("")
            table = table.loc[:, (table != "").any()]
            body = _table([c.strip() for c in table], table.to_numpy().tolist())
            parts.append(f"### k-means on the {name}, against {text}\n\n{body}")
    return "\n\n".join(parts)


def _score_cells(page: Page, model: str, measure: str, space: str, labels: str) -> dict[str, str]:
    """A row of a table of scores: published, ours of each kind, and how they differ."""

    def of(kind: str) -> np.ndarray:
        return page.values(page.of(kind, model), measure, space, labels)

    # The published numbers are of the map; the arithmetic NMI was not published.
    published = PUBLISHED.get(model, {}).get(measure) if space == "tsne" else None
    corrected = _plain(estimate(of("corrected")), 3, sd=True)
    if model == "pca":
        return {"published": "", "as described (sd)": "", "corrected (sd)": corrected}
    described, code = estimate(of("report")), of("code")
    same = model == "ae"
    return {
        "published": "" if published is None else f"{published:.4f}",
        "as described (sd)": _plain(described, 3, sd=True),
        "corrected (sd)": "the same" if same else corrected,
        "code": f"{code.mean():.3f}" if len(code) else "",
        "described - published": "" if published is None else f"{described.mean - published:+.3f}",
        "corrected - described": "" if same else _signed(paired(of("corrected"), of("report"))),
    }


def _gist(page: Page) -> list[dict[str, str]]:
    rows = []
    for measure in ("nmi", "ari"):
        for model in NAMES:
            cells = _score_cells(page, model, measure, "tsne", "own")
            kept = ("published", "as described (sd)", "corrected (sd)")
            rows.append(
                {"": f"{NAMES[model]} {MEASURES[measure]}"}
                | {key.removesuffix(" (sd)"): cells[key].split(" (")[0] for key in kept}
            )
    return rows


def _twelve(page: Page) -> str:
    """How near each preset comes to each published number."""
    rows = []
    near, inside, off_mean, admits = 0, {}, [], 0
    for model, numbers in PUBLISHED.items():
        for measure, published in numbers.items():
            described = estimate(page.values(page.of("report", model), measure))
            pca = page.values(page.of("corrected", "pca"), measure).mean()
            near += abs(described.mean - published) <= NEAR
            inside[model, measure] = abs(described.mean - published) <= described.single
            if model == "ae":
                admits += abs(described.mean - pca) <= described.single
            if not described.low <= published <= described.high:
                off_mean.append(f"{NAMES[model]} {MEASURES[measure]}")
            rows.append(_number(page, model, measure, published, described))
    header = ["", "", "published", "as described", "code, one run", "corrected",
              "interval of one run as described"]  # fmt: skip
    whole = sum(all(inside[m, k] for k in PUBLISHED[m]) for m in PUBLISHED)
    gains = {
        m: _signed(paired(*(page.values(page.of(k, m), "nmi") for k in ("corrected", "report"))))
        for m in ("vae", "vsc")
    }
    outside = f": {', '.join(off_mean)}" if off_mean else ""
    judged = f"""These are scores of three maps, one run of each model, and the four of a map go
together: three tests, not twelve. One run is to be compared with the interval in which one further
run falls (95 % prediction interval, as described): all four scores lie inside for {whole} of 3
maps. That is a weak test: the AE's intervals would admit PCA's means too, in {admits} of 4 scores,
and {len(off_mean)} of 12 published numbers lie outside the 95 % interval of the mean as
described{outside}."""
    if len(page.of("report", "vae")) < 2:
        judged = "With one seed there is no interval to compare them with."
    return f"""## The twelve published numbers

Difference of the mean over seeds from the published number. As described, {near} of 12 means are
within {NEAR:g} of the published numbers. {judged}
The code presets have one seed: which of the two comes closer cannot be told from one run.

{_table(header, rows)}

Why: the AE has no noise to embed, and its presets are nearly one. For VAE and VSC the report's
text and its code embed something other than the posterior mean: one random sample, which moves a
cell by as much as its posterior is wide, or mu without its gate. With the mean, from the same
trainings, NMI changes by {gains["vae"]} (VAE) and {gains["vsc"]} (VSC)."""


def _number(
    page: Page, model: str, measure: str, published: float, described: Estimate
) -> list[str]:
    """A row: how far each preset is from a published number."""
    kinds = ("report", "code", "corrected") if model != "ae" else ("report", "code")
    found = {kind: page.values(page.of(kind, model), measure) for kind in kinds}
    off = {k: f"{v.mean() - published:+.3f}" for k, v in found.items() if len(v)}
    cells = [off.get(kind, "") for kind in ("report", "code", "corrected")]
    interval = ""
    if np.isfinite(described.half):
        low, high = (described.mean + s * described.single for s in (-1, 1))
        interval = f"{low:.3f} to {high:.3f}{'' if low <= published <= high else ', outside'}"
    return [NAMES[model], MEASURES[measure], f"{published:.4f}", *cells, interval]


def _maps(page: Page) -> str:
    there = page.evidence.about["figures"]
    shown = [name for name in FIGURES if name in there and name not in ("beta", "losses")]
    return "\n\n".join(["## Figures anew", *map(_figure, shown)])


def _latents(page: Page) -> str:
    """How many of the latent features the models use."""
    rows = []
    for model in ("ae", "vae", "vsc"):
        used = page.of("corrected", model)["used"].astype(int)
        rows.append([NAMES[model], ", ".join(map(str, used)), f"{used.mean():.1f}"])
    return f"""## Latent features in use

Of {page.evidence.about["n_latent"]}, those whose posterior mean (the AE's z) has a variance over \
cells above {ACTIVE:g}
(Burda, Grosse & Salakhutdinov 2016), seed by seed. The ReLU on the AE's z leaves some at 0 for all
cells.

{_table(["", "in use", "mean"], rows)}"""


def _noise(page: Page) -> str:
    """How much the scores move with each source of chance alone."""
    if not len(page.of("map", "ae")):
        return ""
    rows = []
    n_init = page.evidence.about["n_init"]
    for model in ("ae", "vae", "vsc"):
        runs, maps = page.of("report", model), page.of("map", model)
        again = page.evidence.kmeans[page.evidence.kmeans["model"] == model]
        for measure in ("nmi", "ari"):
            values = [page.values(chosen, measure) for chosen in (runs, maps)]
            values += [again.loc[again["n_init"] == n, measure].to_numpy() for n in (n_init, 1)]
            sd = [f"{estimate(v).sd:.4f}" for v in values]
            rows.append([NAMES[model], MEASURES[measure], *sd])
    header = ["", "", "trainings", f"{len(maps)} maps, random start",
              f"{len(KMEANS_SEEDS)} k-means, best of {n_init}",
              f"{len(KMEANS_SEEDS)} k-means, one start"]  # fmt: skip
    return f"""## Where chance comes in

Standard deviation of a score on the 2-D map, as described, when one source of chance alone varies:
seeds of the training (with map and clusters), of t-SNE on the training of seed 0, of k-means on
that map. t-SNE is started at random here, as the report's code does; from principal components,
the default, every seed gives the same map.

{_table(header, rows)}"""


def _beta(page: Page) -> str:
    """Scores against beta, with the posterior mean."""
    if not len(page.of("beta", "vae")):
        return ""
    rows, ends, ranges, steps = [], [], [], []
    scores = {
        f"{MEASURES[m]}, {name}": (m, s) for s, name in SPACES.items() for m in ("nmi", "ari")
    }
    for model in ("vae", "vsc"):
        runs = page.betas(model)
        betas = list(runs)
        values = {b: {t: page.values(runs[b], *at) for t, at in scores.items()} for b in betas}
        for beta, group in runs.items():
            cells = [_plain(estimate(values[beta][title]), 3) for title in scores]
            losses = f"{group['kl'].mean():.2f}", f"{group['reconstruction'].mean():.1f}"
            rows.append([NAMES[model], f"{beta:g}", *cells, *losses])
        for name in SPACES.values():
            title = f"NMI, {name}"
            e = difference(values[betas[-1]][title], values[betas[0]][title])
            word = {"holds": "higher", "does not hold": "lower"}.get(_verdict(e))
            ends.append(
                f"- {NAMES[model]}, NMI on the {name}: beta {betas[-1]:g} minus {betas[0]:g} is "
                f"{_signed(e)}, {word or 'which cannot be told from chance'}."
            )
        means = {t: [values[b][t].mean() for b in betas] for t in scores}
        spread = ", ".join(f"{np.ptp(means[t]):.3f} ({t})" for t in scores)
        ranges.append(f"{NAMES[model]} {spread}")
        for low, high in pairwise(betas):
            gaps = {t: difference(values[high][t], values[low][t]) for t in scores}
            steps += [(f"{NAMES[model]} {t}, {low:g} to {high:g}", e) for t, e in gaps.items()]
    told = [f"{what} {_signed(e)}" for what, e in steps if _verdict(e) != "cannot be told"]
    listed = f": {'; '.join(told)}" if told else ""
    header = ["", "beta", *scores, "KL", "squared error"]
    return f"""## Does beta matter?

The report trains at beta 2 alone (its code's VSC at 1). With the posterior mean:

{_figure("beta")}

{chr(10).join(ends)}
- From the lowest to the highest mean over the betas: {"; ".join(ranges)}.
- Of {len(steps)} steps from one beta to the next, {len(told)} leave out 0, of which \
{len(steps) / 20:.1f} would do so by chance{listed}.

{_table(header, rows)}"""


def _losses_and_times(page: Page) -> str:
    rows = []
    for kind, title in (("report", "as described"), ("corrected", "solved"), ("code", "code")):
        for model in NAMES:
            if (kind == "corrected") != (model == "pca"):
                continue
            runs = page.of(kind, model)
            if len(runs):
                e = estimate(runs["seconds"].to_numpy())
                rows.append([NAMES[model], title, _plain(e, 1), str(e.n)])
    return f"""## Losses and times

{_figure("losses")}

Seconds to train, all in this one set of runs on one machine. The report gives 3 to 5 minutes for
the AE and 17 to 25 for the others (3.4).

{_table(["", "", "seconds", "runs"], rows)}"""


def _audit(page: Page) -> str:
    losses = _final_losses(page)
    rows = [[p.number, p.report, p.code, p.shown.format(**losses)] for p in AUDIT]
    note = ""
    ends = []
    for model in ("ae", "vae"):
        for run in page.of("scaled", model).itertuples():
            scaled = page.evidence.runs["run"] == run.run
            nmi = float(page.values(page.evidence.runs[scaled], "nmi")[0])
            kl = f", KL at the end {run.kl:,.0f}" if run.kl else ""
            ends.append(f"{NAMES[model]} NMI {nmi:.3f}{kl}")
    if ends:
        note = (
            "\n\nThe code on Seurat's z-scores (`data.scale=10`, one seed, 2-D map): "
            + "; ".join(ends)
            + "."
        )
    table = _table(["", "the report", "its authors' code", "shown by"], rows)
    return f"""## Audit: the report against its code

{table}{note}"""


def _final_losses(page: Page) -> dict[str, str]:
    """The loss a cell at the end of the code presets, which the audit cites."""
    ends = {}
    for model in ("ae", "vae"):
        losses = page.of("code", model)["total"]
        ends[f"code_{model}"] = f"{losses.mean():,.0f}" if len(losses) else "(not run)"
    return ends


def _figure(name: str) -> str:
    """The line that shows a figure."""
    return f"![{FIGURES[name]}](reproduction/{name}.png)"


def _shares(values: np.ndarray) -> list[str]:
    return [f"{value:.3f}" for value in values]


def _verdict(e: Estimate) -> str:
    if not np.isfinite(e.half):
        return "cannot be told"
    return "holds" if e.low > 0 else "does not hold" if e.high < 0 else "cannot be told"


def _signed(e: Estimate) -> str:
    return f"{e.mean:+.3f}" + (f" ± {e.half:.3f}" if np.isfinite(e.half) else "")


def _plain(e: Estimate, digits: int, *, sd: bool = False) -> str:
    text = f"{e.mean:.{digits}f}"
    if not np.isfinite(e.half):
        return text
    return f"{text} ± {e.half:.{digits}f}" + (f" ({e.sd:.{digits}f})" if sd else "")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    width = len(header)
    assert all(len(row) == width for row in rows)
    lines = [header, ["---"] * width, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
