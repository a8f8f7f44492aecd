"""The reproduction of the report as a page: tables, figures, verdicts, from runs that are done.

Every number on the page is computed here from the runs' files, but for those of the report and of
its authors' repository (github.com/okunator/Variational-Autoencoders), which are given as theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scvae_cli import figures
from scvae_cli.atomic import write_file
from scvae_cli.audit import AUDIT
from scvae_cli.cluster import kmeans
from scvae_cli.data import read_labels
from scvae_cli.run_dir import read_json, read_settings, read_table
from scvae_cli.score import score, silhouette, types_found
from scvae_cli.stats import Estimate, difference, estimate, paired

NAMES = {"ae": "AE", "vae": "VAE", "vsc": "VSC", "pca": "PCA"}
MEASURES = {
    "nmi": "NMI",
    "nmi_arithmetic": "NMI, arithmetic mean",
    "ari": "ARI",
    "hom": "HOM",
    "com": "COM",
}
SPACES = {"tsne": "2-D map", "latent": "latent space"}
# The report's figure 3.3 and the output of its notebook `Performance assessment.ipynb`.
PUBLISHED = {
    "ae": {"nmi": 0.7209, "ari": 0.5798, "hom": 0.7704, "com": 0.6745},
    "vae": {"nmi": 0.6092, "ari": 0.4404, "hom": 0.6543, "com": 0.5673},
    "vsc": {"nmi": 0.6456, "ari": 0.4653, "hom": 0.6921, "com": 0.6021},
}
KINDS = {"report": "as described", "code": "code", "corrected": "corrected"}
NEAR = 0.05
PURE = 0.95
# Variance over cells above which the mean of a latent feature counts as used: Burda, Grosse &
# Salakhutdinov, Importance Weighted Autoencoders (2016), section 5.2.
ACTIVE = 0.01
KMEANS_SEEDS = range(10)


class Result(NamedTuple):
    """A run: what kind (`report`, `corrected`, `code`, ...), model, beta and seed; its folder."""

    kind: str
    model: str
    beta: float | None
    seed: int
    path: Path


def write(
    done: Mapping[str, Path],
    failed: Mapping[str, str],
    to: Path,
    labels: str | None,
    command: str,
) -> tuple[Path, list[dict[str, str]]]:
    """Writes reproduction.md, and its figures in reproduction/.

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
    results = [_result(name, path) for name, path in done.items()]
    scores = _scores(results, labels)
    page = Page(results, scores, to / "reproduction")
    sections = [
        _head(page, command, failed),
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
    path = to / "reproduction.md"
    write_file(path, ("\n\n".join(filter(None, sections)) + "\n").encode())
    return path, _gist(page)


class Page:
    """What the sections draw on.

    Attributes:
        results: all runs.
        scores: a row for each run, space and set of labels.
        others: whether there is a second set of labels.
    """

    def __init__(self, results: Sequence[Result], scores: pd.DataFrame, folder: Path) -> None:
        self.results = results
        self.scores = scores
        self.others = bool((scores["labels"] == "other").any())
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def of(self, kind: str, model: str, beta: float | None = None) -> list[Result]:
        """Runs of a kind and model by seed. The corrected AE is the AE as described."""
        if (kind, model) == ("corrected", "ae"):
            kind = "report"
        if (kind, model) == ("report", "pca"):
            kind = "corrected"
        chosen = [r for r in self.results if (r.kind, r.model) == (kind, model)]
        return sorted((r for r in chosen if beta in (None, r.beta)), key=lambda r: r.seed)

    def values(
        self,
        runs: Sequence[Result],
        measure: str,
        space: str = "tsne",
        labels: str = "own",
    ) -> np.ndarray:
        """A score of each run (n,)."""
        rows = self.scores[(self.scores["space"] == space) & (self.scores["labels"] == labels)]
        by_path = rows.set_index("path")[measure]
        values: np.ndarray = by_path.reindex([str(run.path) for run in runs]).to_numpy()
        return values

    def figure(self, name: str, png: bytes, text: str) -> str:
        """Writes a figure and gives the line that shows it."""
        write_file(self._folder / f"{name}.png", png)
        return f"![{text}]({self._folder.name}/{name}.png)"


def _result(name: str, path: Path) -> Result:
    kind, model, *_ = name.split("-")
    settings = read_settings(path)
    return Result(kind, model, settings["beta"], settings["seed"], path)


def _scores(results: Sequence[Result], labels: str | None) -> pd.DataFrame:
    rows = []
    for run in results:
        cells = read_table(run.path, "cells")
        truths = {"own": cells["cell_type"].to_numpy(dtype=str)}
        if labels is not None:
            truths["other"] = read_labels(labels, cells["cell"].to_numpy(dtype=str))
        for name, types in truths.items():
            truth = np.unique(types, return_inverse=True)[1]
            for space, column in (("tsne", "cluster"), ("latent", "latent_cluster")):
                clusters = cells[column].to_numpy()
                values = asdict(score(truth, clusters, nmi_average="geometric"))
                values["nmi_arithmetic"] = score(truth, clusters, nmi_average="arithmetic").nmi
                values["found"] = types_found(truth, clusters)
                rows.append({"path": str(run.path), "space": space, "labels": name, **values})
    return pd.DataFrame(rows)


def _head(page: Page, command: str, failed: Mapping[str, str]) -> str:
    first = page.of("report", "ae")[0]
    record = read_json(first.path, "run")
    data, versions = record["data"], record["versions"]
    commits = {
        (git["commit"][:7] + ("+" if git["dirty"] else ""))
        for run in page.results
        if (git := read_json(run.path, "run")["git"])
    }
    n = len(page.of("report", "vae"))
    lead = (
        f"Made by `{command}` from 10x Genomics' raw counts: {data['n_cells']:,} cells, "
        f"{data['n_genes']:,} genes, {len(data['cell_types'])} cell types; "
        f"{len(page.results)} runs, {n} seed{'s' * (n > 1)} a model, {record['threads']} threads, "
        f"Python {versions['python']}, torch {versions['torch']}, scikit-learn "
        f"{versions['scikit-learn']}, scvae {versions['scvae-cli']}"
        f"{' at ' + ', '.join(sorted(commits)) if commits else ''}."
    )
    lost = [
        f"\n\n**{name}** failed and is in no mean: {reason.split(';')[0]}."
        for name, reason in failed.items()
    ]
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
does (`experiment=code/...`, one seed).

{certainty}{"".join(lost)}"""


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
            parts = []
            for measure in ("nmi", "ari"):
                runs = [page.values(page.of(kind, m), measure, space) for m in (a, b)]
                parts.append(difference(runs[0], runs[1]))
            words = {_verdict(part) for part in parts}
            word = words.pop() if len(words) == 1 else "cannot be told"
            cells.append(f"**{word}**: {_signed(parts[0])}; {_signed(parts[1])}")
        rows.append(cells)
    table = _table(
        ["claim", "as described, 2-D map", "corrected, 2-D map", "corrected, latent space"], rows
    )
    return f"""## What holds

The report's ranking, as differences of NMI; ARI. *Holds* and *does not hold* need both measures.

{table}

PCA's lead is against types that were found on principal components of the same counts (O11 below):
it shows that PCA loses nothing the types hold, not that it finds what they miss.

The report's other claims:

{_table(["claim", "verdict", "evidence"], _other_claims(page))}"""


def _other_claims(page: Page) -> list[list[str]]:
    first = page.of("report", "ae")[0]
    data = read_json(first.path, "run")["data"]
    rows = []

    shape = (data["n_cells"], data["n_genes"])
    rows.append(
        [
            "Preprocessing removes 62 of 2,700 cells, 13,714 genes stay (1.3)",
            "holds" if shape == (2638, 13714) else "does not hold",
            f"{shape[0]:,} cells, {shape[1]:,} genes",
        ]
    )

    tight = {
        key: np.array([_silhouette(run) for run in page.of(*key)])
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

    pure = np.array([_purity(run, "B") for run in page.of("report", "ae")])
    rows.append(
        [
            "One cluster of the AE's map is almost pure (3.3)",
            f"holds for {(pure > PURE).sum()} of {len(pure)} seeds",
            f"share of B cells in the cluster that has most of them: {', '.join(_shares(pure))}",
        ]
    )

    times = {m: _seconds(page.of("report", m)) for m in ("ae", "vae", "vsc")}
    ratios = {m: times[m].mean() / times["ae"].mean() for m in ("vae", "vsc")}
    evidence = "at the same size, training takes " + " and ".join(
        f"{ratios[m]:.2f} ({NAMES[m]})" for m in ratios
    ) + " times the AE's"  # fmt: skip
    wide = {m: _seconds(page.of("code", m)) for m in ("ae", "vae") if page.of("code", m)}
    if len(wide) == 2:
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
    near = plausible = 0
    closest: dict[str, int] = {}
    for model, numbers in PUBLISHED.items():
        for measure, published in numbers.items():
            found = {
                kind: float(page.values(page.of(kind, model), measure).mean())
                for kind in ("report", "code", "corrected")
                if page.of(kind, model)
            }
            described = estimate(page.values(page.of("report", model), measure))
            likely = abs(described.mean - published) <= described.single
            plausible += likely
            off = {kind: value - published for kind, value in found.items()}
            if model == "ae":
                off.pop("corrected", None)
            best = min(off, key=lambda kind: abs(off[kind]))
            closest[best] = closest.get(best, 0) + 1
            near += abs(off["report"]) <= NEAR
            cells = [f"{off[k]:+.3f}" if k in off else "" for k in ("report", "code", "corrected")]
            if np.isfinite(described.half):
                low, high = (described.mean + s * described.single for s in (-1, 1))
                cells.append(f"{low:.3f} to {high:.3f}{'' if likely else ', outside'}")
            else:
                cells.append("")
            rows.append([NAMES[model], MEASURES[measure], f"{published:.4f}", *cells, KINDS[best]])
    header = ["", "", "published", "as described", "code", "corrected", "one run as described",
              "closest"]  # fmt: skip
    counts = ", ".join(f"{KINDS[kind]} {n}" for kind, n in closest.items())
    gains = {
        m: _signed(paired(*(page.values(page.of(k, m), "nmi") for k in ("corrected", "report"))))
        for m in ("vae", "vsc")
    }
    return f"""## The twelve published numbers

Difference of the mean over seeds from the published number (code presets: one seed). As described,
{near} of 12 means are within {NEAR:g} of the published numbers. These come from one run each, so
they are to be compared with the interval in which one further run falls (95 % prediction interval,
as described): {plausible} of 12 lie inside. Closest: {counts}.

{_table(header, rows)}

Why: the AE has no noise to embed, and its presets are nearly one. For VAE and VSC the report's
text and its code embed something other than the posterior mean: one random sample, which moves a
cell by as much as its posterior is wide, or mu without its gate. With the mean, from the same
trainings, NMI changes by {gains["vae"]} (VAE) and {gains["vsc"]} (VSC)."""


def _maps(page: Page) -> str:
    parts = ["## Figures anew"]
    for kind, models, text in (
        ("report", ("ae", "vae", "vsc"), "as described"),
        ("corrected", ("vae", "vsc", "pca"), "corrected"),
    ):
        flat: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        deep: dict[str, np.ndarray] = {}
        for model in models:
            cells = read_table(page.of(kind, model)[0].path, "cells")
            title = f"{NAMES[model]}, {text}" if model != "pca" else "PCA"
            flat[title] = _places(cells, "tsne"), cells["cluster"].to_numpy()
            if "tsne3d_1" in cells:
                deep[title] = _places(cells, "tsne3d")
        types, labels = np.unique(cells["cell_type"].to_numpy(dtype=str), return_inverse=True)
        names = tuple(map(str, types))
        alt = f"2-D maps {text}, by cell type and by cluster, seed 0"
        parts.append(page.figure(f"maps_{kind}", figures.map_grid(flat, labels, names), alt))
        if deep:
            alt = f"3-D maps {text}, by cell type, seed 0"
            png = figures.map_grid_3d(deep, labels, names)
            parts.append(page.figure(f"maps_3d_{kind}", png, alt))
    measures = {"nmi": "NMI", "ari": "ARI", "hom": "HOM", "com": "COM"}
    heat = {"published": pd.DataFrame(PUBLISHED).T.rename(index=NAMES, columns=measures)}
    for kind, title in (("report", "as described"), ("corrected", "corrected")):
        means = {
            NAMES[m]: {t: page.values(page.of(kind, m), k).mean() for k, t in measures.items()}
            for m in NAMES
            if m != "pca" or kind == "corrected"
        }
        heat[title] = pd.DataFrame(means).T
    alt = "Scores of k-means on the 2-D map: published, as described, corrected"
    parts.append(page.figure("scores", figures.score_heat(heat), alt))
    return "\n\n".join(parts)


def _latents(page: Page) -> str:
    """How many of the latent features the models use."""
    rows = []
    for model in ("ae", "vae", "vsc"):
        used = [
            int((read_table(run.path, "latent").iloc[:, 1:].var(ddof=0) > ACTIVE).sum())
            for run in page.of("corrected", model)
        ]
        rows.append([NAMES[model], ", ".join(map(str, used)), f"{np.mean(used):.1f}"])
    n_latent = read_settings(page.of("report", "ae")[0].path)["latent_dim"]
    return f"""## Latent features in use

Of {n_latent}, those whose posterior mean (the AE's z) has a variance over cells above {ACTIVE:g}
(Burda, Grosse & Salakhutdinov 2016), seed by seed. The ReLU on the AE's z leaves some at 0 for all
cells.

{_table(["", "in use", "mean"], rows)}"""


def _noise(page: Page) -> str:
    """How much the scores move with each source of chance alone."""
    if not page.of("map", "ae"):
        return ""
    rows = []
    for model in ("ae", "vae", "vsc"):
        runs, maps = page.of("report", model), page.of("map", model)
        cells = read_table(runs[0].path, "cells")
        settings = read_settings(runs[0].path)["cluster"]
        again = [_again(cells, {**settings, "n_init": n}) for n in (settings["n_init"], 1)]
        for measure in ("nmi", "ari"):
            values = [page.values(chosen, measure) for chosen in (runs, maps)]
            values += [table[measure].to_numpy() for table in again]
            sd = [f"{estimate(v).sd:.4f}" for v in values]
            rows.append([NAMES[model], MEASURES[measure], *sd])
    header = ["", "", "trainings", f"{len(maps)} maps, random start",
              f"{len(KMEANS_SEEDS)} k-means, best of {settings['n_init']}",
              f"{len(KMEANS_SEEDS)} k-means, one start"]  # fmt: skip
    return f"""## Where chance comes in

Standard deviation of a score on the 2-D map, as described, when one source of chance alone varies:
seeds of the training (with map and clusters), of t-SNE on the training of seed 0, of k-means on
that map. t-SNE is started at random here, as the report's code does; from principal components,
the default, every seed gives the same map.

{_table(header, rows)}"""


def _again(cells: pd.DataFrame, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Scores of k-means on a map, a row a seed."""
    labels = np.unique(cells["cell_type"].to_numpy(dtype=str), return_inverse=True)[1]
    options = {**settings, "n_clusters": settings["n_clusters"] or int(labels.max()) + 1}
    rows = []
    for seed in KMEANS_SEEDS:
        clusters, _ = kmeans(_places(cells, "tsne"), **{**options, "seed": seed})
        rows.append(asdict(score(labels, clusters, nmi_average="geometric")))
    return pd.DataFrame(rows)


def _beta(page: Page) -> str:
    """Scores against beta, with the posterior mean."""
    if not page.of("beta", "vae"):
        return ""
    lines: dict[str, dict[str, pd.DataFrame]] = {}
    rows, ends = [], []
    for model in ("vae", "vsc"):
        both = [*page.of("beta", model), *page.of("corrected", model)]
        betas = sorted({float(run.beta) for run in both if run.beta is not None})
        runs = {beta: [r for r in both if r.beta == beta] for beta in betas}
        for beta, group in runs.items():
            last = [read_table(run.path, "history").iloc[-1] for run in group]
            cells = [NAMES[model], f"{beta:g}"]
            for space in SPACES:
                for measure in ("nmi", "ari"):
                    e = estimate(page.values(group, measure, space))
                    cells.append(_plain(e, 3))
                    title = f"{MEASURES[measure]}, {SPACES[space]}"
                    line = lines.setdefault(title, {}).setdefault(NAMES[model], pd.DataFrame())
                    row = pd.DataFrame({"mean": e.mean, "low": e.low, "high": e.high}, [beta])
                    lines[title][NAMES[model]] = pd.concat([line, row])
            cells.append(f"{np.mean([h['kl'] for h in last]):.2f}")
            cells.append(f"{np.mean([h['reconstruction'] for h in last]):.1f}")
            rows.append(cells)
        for space, name in SPACES.items():
            low, high = (page.values(runs[b], "nmi", space) for b in (betas[0], betas[-1]))
            e = difference(high, low)
            word = {"holds": "higher", "does not hold": "lower"}.get(_verdict(e))
            ends.append(
                f"- {NAMES[model]}, NMI on the {name}: beta {betas[-1]:g} minus {betas[0]:g} is "
                f"{_signed(e)}, {word or 'which cannot be told from chance'}."
            )
    pca = {
        f"{MEASURES[m]}, {name}": {
            "PCA": float(page.values(page.of("corrected", "pca"), m, s).mean())
        }
        for s, name in SPACES.items()
        for m in ("nmi", "ari")
    }
    header = ["", "beta", *lines, "KL", "squared error"]
    png = figures.score_lines(lines, "beta", pca)
    return f"""## Does beta matter?

The report trains at beta 2 alone (its code's VSC at 1). With the posterior mean:

{page.figure("beta", png, "Scores against beta, with 95 % intervals")}

{chr(10).join(ends)}

{_table(header, rows)}"""


def _losses_and_times(page: Page) -> str:
    histories = {
        NAMES[m]: [read_table(run.path, "history") for run in page.of("report", m)]
        for m in ("ae", "vae", "vsc")
    }
    rows = []
    for kind, title in (("report", "as described"), ("corrected", "solved"), ("code", "code")):
        for model in NAMES:
            runs = page.of(kind, model) if (kind == "corrected") == (model == "pca") else []
            if runs:
                e = estimate(_seconds(runs))
                rows.append([NAMES[model], title, _plain(e, 1), str(e.n)])
    png = figures.loss_curves(histories)
    return f"""## Losses and times

{page.figure("losses", png, "Squared error and KL over epochs, a line a seed, as described")}

Seconds to train, all in this one set of runs on one machine. The report gives 3 to 5 minutes for
the AE and 17 to 25 for the others (3.4).

{_table(["", "", "seconds", "runs"], rows)}"""


def _audit(page: Page) -> str:
    losses = _final_losses(page)
    rows = [[p.number, p.report, p.code, p.shown.format(**losses)] for p in AUDIT]
    note = ""
    scaled = [r for r in page.results if r.kind == "scaled"]
    if scaled:
        ends = []
        for run in scaled:
            last = read_table(run.path, "history").iloc[-1]
            nmi = float(page.values([run], "nmi")[0])
            kl = f", KL at the end {last['kl']:,.0f}" if last["kl"] else ""
            ends.append(f"{NAMES[run.model]} NMI {nmi:.3f}{kl}")
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
        losses = [read_table(run.path, "history")["total"].iloc[-1]
                  for run in page.of("code", model)]  # fmt: skip
        ends[f"code_{model}"] = f"{np.mean(losses):,.0f}" if losses else "(not run)"
    return ends


def _places(cells: pd.DataFrame, prefix: str) -> np.ndarray:
    columns = [c for c in cells if c.startswith(f"{prefix}_")]
    places: np.ndarray = cells[columns].to_numpy(dtype=np.float32)
    return places


def _silhouette(run: Result) -> float:
    cells = read_table(run.path, "cells")
    return silhouette(_places(cells, "tsne"), cells["cell_type"].to_numpy(dtype=str))


def _purity(run: Result, cell_type: str) -> float:
    """Share of a type in the cluster that has most of its cells; 0 where there is no such type."""
    cells = read_table(run.path, "cells")
    mine = cells["cell_type"] == cell_type
    if not mine.any():
        return 0.0
    return float(mine[cells["cluster"] == cells["cluster"][mine].mode()[0]].mean())


def _shares(values: np.ndarray) -> list[str]:
    return [f"{value:.3f}" for value in values]


def _seconds(runs: Sequence[Result]) -> np.ndarray:
    return np.array([read_table(run.path, "history")["seconds"].sum() for run in runs])


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
