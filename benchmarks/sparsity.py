"""Whether the sparse latents of the VSC are programmes of genes: `make sparsity`.

Trains VSC, VAE and PCA on cells sorted by antibodies, writes what it measures to docs/sparsity.csv
and sparsity.json, the figure, and docs/sparsity.md from these two files (`--page`: only that).
Runs that are in outputs/sparsity are not done again. $SCVAE_DATA_DIR has the cells, in
zheng_facs/zheng_facs_raw.h5ad.
"""

import argparse
import json
import os
import warnings
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scanpy as sc
import torch
from scipy.sparse import csr_matrix
from scipy.stats import rankdata, ttest_ind, ttest_rel

from benchmarks.training import ROOT, answer, table
from scvae_cli.analysis.sparsity import (
    by_type,
    gated_steps,
    infer_gates,
    percentile_steps,
    points,
    top_genes,
    traverse,
)
from scvae_cli.analysis.stats import (
    DIGITS,
    LEAST,
    LEVEL,
    Estimate,
    difference,
    estimate,
    holm,
    paired,
)
from scvae_cli.console import Console
from scvae_cli.data.celltypes import MARKERS
from scvae_cli.data.dataset import Dataset
from scvae_cli.data.sources import load
from scvae_cli.errors import InputError
from scvae_cli.launch.compose import compose
from scvae_cli.launch.execute import DONE, logged, start
from scvae_cli.results import figures
from scvae_cli.runs.claim import claim
from scvae_cli.runs.run import find
from scvae_cli.trained import TrainedRun
from scvae_cli.trained import load as load_run

CPU = torch.device("cpu")
ROTATIONS = 5  # random ones of each latent space
TOP = 20  # genes of a programme
N_MARKERS = 50  # of a type
MARKS = 0.9  # AUROC
SETTINGS = [
    "data.label_key=celltype", "data.genes=2000", "latent_dim=10", "threads=1", "map_3d=false",
    "tsne.max_cells=500", "tsne.max_iter=250", "cluster.n_init=1",
]  # fmt: skip
TRAINED = [
    "likelihood=nb", "beta=1", "epochs=100", "model.encoder=[128]", "model.branch=null",
    "model.decoder=[128]", "model.first_activation=relu",
]  # fmt: skip
SPARSE = ["model=vsc", *TRAINED, "model.gate=sigmoid"]
MODELS = {
    "PCA": ["model=pca"],
    "VAE": ["model=vae", *TRAINED],
    "VSC, alpha 0.5": [*SPARSE, "model.alpha=0.5"],
    "VSC, alpha 0.1": [*SPARSE, "model.alpha=0.1"],
    "VSC, alpha 0.1, warm-up": [*SPARSE, "model.alpha=0.1", "model.spike_warmup=0.5"],
}
# What the sorted populations are called in the tutorial whose markers are taken.
TUTORIAL = {
    "CD19+ B": "B",
    "CD14+ Monocyte": "CD14+ Mono",
    "CD56+ NK": "NK",
    "CD8+ Cytotoxic T": "CD8 T",
    "CD8+/CD45RA+ Naive Cytotoxic": "CD8 T",
    "CD4+/CD45RA+/CD25- Naive T": "Naive CD4 T",
    "CD4+/CD45RO+ Memory": "Memory CD4 T",
}
MEASURES = {
    "latents": "latents in use",
    "auroc": "AUROC of a type by the programme that tells it best",
    "marked": f"types marked (AUROC {MARKS:g}), of 10",
    "own": "that programme's genes that are markers of the type, %",
    "other": "that are markers of another type, %",
    "gain": "own minus other, %",
    "canonical": "textbook markers found, %",
    "jaccard": "match between seeds (Jaccard)",
}
WORDS = {
    "auroc": "AUROC",
    "marked": "types marked",
    "gain": "own minus other markers",
    "canonical": "textbook markers",
    "jaccard": "match between seeds",
}
COMPARED = list(WORDS)


class Programmes(NamedTuple):
    """Signs of latents that raise some gene notably: which genes, and how far each cell has it."""

    latents: np.ndarray  # (n,) their numbers
    genes: list[frozenset[str]]
    levels: np.ndarray  # (n_cells, n)


class Truth(NamedTuple):
    """What is known of the cells without any model."""

    labels: np.ndarray
    cell_types: tuple[str, ...]
    markers: list[frozenset[str]]
    textbook: set[tuple[int, str]]  # type and gene


def perform(name: str, overrides: list[str], seed: int, data: Path, root: Path) -> TrainedRun:
    """A run, done now if it is not there."""
    arguments = ["data=file", f"data.path='{data}'", *SETTINGS, *overrides, f"seed={seed}"]
    folder = name.lower().replace(", alpha", "").replace(", ", "-").replace(" ", "-")
    path = root / f"{folder}-{seed}"
    run = find(path)
    if run is None or not run.is_intact or run.record["overrides"] != arguments:
        print(f"{name}, seed {seed}", flush=True)
        path, _ = claim(path, exact=True)
        with logged(path):
            code, _ = start(compose(arguments), path, arguments, arguments, Console(quiet=True))
        if code != DONE:
            raise SystemExit(code)
    return load_run(path)


def symbols_of(run: TrainedRun, dataset: Dataset) -> np.ndarray:
    """Names (n_genes,) that a reader knows."""
    return run.genes.set_index("gene").loc[dataset.genes, "id"].to_numpy(dtype=str)


def programmes(run: TrainedRun, dataset: Dataset, axes: np.ndarray | None) -> Programmes:
    """The programmes of a run's latents, or of other orthogonal axes of its latent space.

    Args:
        run: of any model.
        dataset: its cells.
        axes: (n_latent, n_latent) columns, or None for the latents themselves.
    """
    latent = run.latent.to_numpy(dtype=float)
    mean = latent.mean(0)
    turned = latent - mean if axes is None else (latent - mean) @ axes
    if axes is None and run.model.has_gates:
        steps = gated_steps(infer_gates(run.model, dataset.x, batch_size=256, device=CPU))
        at = points(steps, centre=mean)
    else:
        steps = percentile_steps(turned)
        back = np.eye(len(mean)) if axes is None else axes.T
        places = points(steps, centre=np.zeros(len(mean)))
        at = tuple((place @ back + mean).astype(np.float32) for place in places)
    effects = traverse(run.model, *at, target_sum=1e4, sd=None, device=CPU)
    notable = effects.max(1) >= figures.NOTABLE
    names = symbols_of(run, dataset)
    top = np.argsort(-effects[notable], axis=1)[:, :TOP]
    steps = steps[notable]
    side = np.where(steps["sign"] == "positive", 1, -1)
    latents = steps["latent"].to_numpy(dtype=int)
    return Programmes(latents, [frozenset(names[t]) for t in top], turned[:, latents] * side)


def truth(dataset: Dataset, names: np.ndarray) -> Truth:
    """Markers of each type: by rank-sum test against all other cells, and from a textbook."""
    types = dataset.cell_types
    cells = sc.AnnData(csr_matrix(dataset.x), obs=pd.DataFrame(index=dataset.cells))
    cells.var_names = names
    cells.obs["type"] = pd.Categorical(np.array(types)[dataset.labels])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.tl.rank_genes_groups(cells, "type", method="wilcoxon")
    found = cells.uns["rank_genes_groups"]["names"]
    markers = [frozenset(found[name][:N_MARKERS]) for name in types]
    textbook = {
        (types.index(name), gene)
        for name, tutorial in TUTORIAL.items()
        for gene in MARKERS[tutorial]
        if gene in names
    }
    return Truth(dataset.labels, types, markers, textbook)


def aurocs(levels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n_types, n): of each type against all other cells, by each column of (n_cells, n)."""
    ranks = rankdata(levels, axis=0)
    n = len(labels)
    sizes = np.bincount(labels)
    sums = np.stack([ranks[labels == kind].sum(0) for kind in range(len(sizes))])
    shape = (sizes * (n - sizes))[:, None]
    areas: np.ndarray = (sums - (sizes * (sizes + 1) / 2)[:, None]) / shape
    return areas


def measure(found: Programmes, known: Truth) -> dict[str, float]:
    """What MEASURES names, but for the match between seeds.

    Means are over types, each with the programme that tells it best, and not over programmes: a
    model that uses few latents would have few, and the better for it.
    """
    if not found.genes:
        return dict.fromkeys([*MEASURES][:-1], 0.0) | {"auroc": 0.5}
    areas = aurocs(found.levels, known.labels)
    best = areas.argmax(1)
    hits = np.array([[len(g & m) / TOP for m in known.markers] for g in found.genes])[best]
    own = np.diagonal(hits)
    other = (hits.sum(1) - own) / (len(known.cell_types) - 1)
    pairs = zip(areas.argmax(0), found.genes, strict=True)
    seen = {(kind, gene) for kind, genes in pairs for gene in genes}
    return {
        "latents": len(np.unique(found.latents)),
        "auroc": areas.max(1).mean(),
        "marked": int((areas.max(1) >= MARKS).sum()),
        "own": 100 * own.mean(),
        "other": 100 * other.mean(),
        "gain": 100 * (own - other).mean(),
        "canonical": 100 * len(known.textbook & seen) / len(known.textbook),
    }


def matches(seeds: list[Programmes]) -> list[float]:
    """Of each seed, how well the genes of its programmes match the best of another seed's."""
    values: dict[int, list[float]] = {}
    for i, j in permutations(range(len(seeds)), 2):
        best = [
            max(len(a & b) / len(a | b) for b in seeds[j].genes) if seeds[j].genes else 0.0
            for a in seeds[i].genes
        ]
        values.setdefault(i, []).append(float(np.mean(best)) if best else 0.0)
    return [float(np.mean(v)) for v in values.values()]


def measures(runs: list[TrainedRun], dataset: Dataset, known: Truth, turned: bool) -> pd.DataFrame:
    """A row for each seed; of random axes the mean over `ROTATIONS` draws."""
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(ROTATIONS if turned else 1):
        n = runs[0].config.latent_dim
        axes = [np.linalg.qr(rng.normal(size=(n, n)))[0] if turned else None for _ in runs]
        found = [programmes(run, dataset, a) for run, a in zip(runs, axes, strict=True)]
        rows = pd.DataFrame([measure(f, known) for f in found])
        draws.append(rows.assign(jaccard=matches(found)))
    return sum(draws[1:], draws[0]) / len(draws)


def n_on(runs: list[TrainedRun], dataset: Dataset) -> list[float]:
    """Latents that are on in a cell, on average, in each run of a VSC."""
    return [
        infer_gates(run.model, dataset.x, batch_size=256, device=CPU).n_on
        for run in runs
        if run.model.has_gates
    ]


def shown(value: Estimate, digits: int = 1) -> str:
    """A mean and its interval."""
    return f"{value.mean:.{digits}f} ± {value.half:.{digits}f}"


def digits_of(name: str) -> int:
    """Decimals of a measure."""
    return 2 if name in ("auroc", "jaccard") else 1


class Gap(NamedTuple):
    """A difference in one measure, and what it says after the correction for its number."""

    a: str
    b: str
    measure: str
    estimate: Estimate
    says: str


def p_of(a: np.ndarray, b: np.ndarray, *, same: bool) -> float:
    """Two-sided p of the difference of means: paired by seed of the same models, else Welch's.

    1 with fewer than `LEAST` seeds; what differs behind `DIGITS` is rounding.
    """
    a, b = a.round(DIGITS), b.round(DIGITS)
    if min(len(a), len(b)) < LEAST:
        return 1.0
    if same:
        p = float(ttest_rel(a, b).pvalue) if np.ptp((a - b).round(DIGITS)) > 0 else np.nan
    else:
        p = float(ttest_ind(a, b, equal_var=False).pvalue) if np.ptp(a) + np.ptp(b) > 0 else np.nan
    return p if np.isfinite(p) else float(a.mean() == b.mean())


def pairs_of(sparse: list[str]) -> dict[str, list[tuple[str, str]]]:
    """What is compared, by family: Holm's correction is within a family."""
    return {
        "VAE": [(name, "VAE") for name in sparse],
        "PCA": [(name, "PCA") for name in sparse],
        "turned": [(name, f"{name}, turned") for name in [*sparse, "VAE", "PCA"]],
    }


def gaps(found: Mapping[str, pd.DataFrame], pairs: list[tuple[str, str]]) -> list[Gap]:
    """Differences of each pair in each measure, told apart with Holm's correction for them all.

    Of what is compared with its own turned version, the models are the same: paired by seed.
    """
    estimates, p = [], []
    for a, b in pairs:
        same = b == f"{a}, turned"
        for name in COMPARED:
            x, y = (found[of][name].to_numpy(dtype=float) for of in (a, b))
            estimates.append((a, b, name, (paired if same else difference)(x, y)))
            p.append(p_of(x, y, same=same))
    told = holm(np.array(p)) <= 1 - LEVEL
    return [
        Gap(*row, ("higher" if row[3].mean > 0 else "lower") if sure else "cannot be told")
        for row, sure in zip(estimates, told, strict=True)
    ]


def compared(some: list[Gap]) -> list[list[str]]:
    """A row for each pair: the difference in each measure, and what it says."""
    rows: dict[str, list[str]] = {}
    for gap in some:
        text = f"{shown(gap.estimate, digits_of(gap.measure))}, {gap.says}"
        rows.setdefault(f"{gap.a} - {gap.b}", []).append(text)
    return [[pair, *texts] for pair, texts in rows.items()]


def ahead(some: list[Gap], a: str, b: str) -> dict[str, list[str]]:
    """The measures in which a is higher than b, lower, and cannot be told from it."""
    said: dict[str, list[str]] = {"higher": [], "lower": [], "cannot be told": []}
    for gap in some:
        if (gap.a, gap.b) == (a, b):
            said[gap.says].append(WORDS[gap.measure])
    return said


def verdict(some: list[Gap], sparse: list[str]) -> str:
    """Whether the latents of the VSC are more of a programme than those of the VAE."""

    def above(name: str, other: str) -> bool:
        said = ahead(some, name, other)
        return bool(said["higher"]) and not said["lower"]

    better = [name for name in sparse if above(name, "VAE")]
    of_axes = [name for name in better if above(name, f"{name}, turned")]
    if of_axes:
        answer = [
            f"Yes, for {'; '.join(of_axes)}: above the VAE, and above random directions of its",
            "own latent space, in one measure at least, and below them in none.",
        ]
    elif better:
        answer = [
            "Not shown. Above the VAE in one measure at least and below it in none:",
            f"{'; '.join(better)}. But none of them is so against random directions of its own",
            "latent space: what is better cannot be put down to its latents as such.",
        ]
    else:
        answer = ["Not shown: no VSC is above the VAE in one measure and below it in none."]
    pairs = dict.fromkeys((gap.a, gap.b) for gap in some)
    lines = [f"- *{a}* against *{b}*: {sentence(ahead(some, a, b))}." for a, b in pairs]
    return "\n".join([" ".join(answer), "", *lines])


def sentence(said: Mapping[str, list[str]]) -> str:
    """What `ahead` found, in words."""
    words = {"higher": "higher in", "lower": "lower in", "cannot be told": "not told apart in"}
    return "; ".join(f"{words[how]} {', '.join(names)}" for how, names in said.items() if names)


def draw(run: TrainedRun, dataset: Dataset, to: Path) -> None:
    """The figure of a run, with symbols for names."""
    found = infer_gates(run.model, dataset.x, batch_size=256, device=CPU)
    steps = gated_steps(found)
    at = points(steps, centre=found.centre)
    effects = traverse(run.model, *at, target_sum=1e4, sd=None, device=CPU)
    latents = by_type(found, labels=dataset.labels, cell_types=dataset.cell_types)
    driven = top_genes(steps, effects, genes=symbols_of(run, dataset), n_top=TOP)
    title = f"VSC on sorted PBMCs, alpha {run.config.model_options['alpha']:g}, seed 0"
    to.write_bytes(figures.sparsity(latents, driven, title))


def main() -> None:
    """Trains what is missing, measures all and writes the page."""
    parser = argparse.ArgumentParser("python -m benchmarks.sparsity", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="of each model (%(default)s)")
    parser.add_argument("--runs", type=Path, default=ROOT / "outputs" / "sparsity")
    parser.add_argument("--to", type=Path, default=ROOT / "docs")
    parser.add_argument("--page", action="store_true", help="only the page, of what is there")
    asked = parser.parse_args()
    if asked.page:
        render(asked.to)
        return
    data = Path(
        os.environ.get("SCVAE_DATA_DIR", "."), "zheng_facs", "zheng_facs_raw.h5ad"
    ).absolute()
    if not data.exists():
        raise InputError(
            f"{data}: the sorted cells are not there; set SCVAE_DATA_DIR to their folder"
        )
    runs = {
        name: [perform(name, how, seed, data, asked.runs) for seed in range(asked.seeds)]
        for name, how in MODELS.items()
    }
    dataset = load(**runs["VAE"][0].config.data.model_dump())
    known = truth(dataset, symbols_of(runs["VAE"][0], dataset))
    tables = []
    for name, some in runs.items():
        on = n_on(some, dataset) or [np.nan] * len(some)
        for turned in (False, True):
            table = measures(some, dataset, known, turned=turned)
            table.insert(0, "model", f"{name}, turned" if turned else name)
            table.insert(1, "seed", range(len(some)))
            table["on"] = np.nan if turned else on
            tables.append(table)
    facts = {
        "n_cells": dataset.n_cells, "n_genes": dataset.n_genes, "n_textbook": len(known.textbook)
    }  # fmt: skip
    pd.concat(tables).to_csv(asked.to / "sparsity.csv", index=False)
    (asked.to / "sparsity.json").write_text(json.dumps(facts, indent=2) + "\n")
    sparse = next(name for name in runs if name.startswith("VSC"))
    draw(runs[sparse][0], dataset, asked.to / "sparsity.png")
    render(asked.to)


def render(to: Path) -> None:
    """Writes and prints sparsity.md, from sparsity.csv and sparsity.json in a folder."""
    values = pd.read_csv(to / "sparsity.csv", float_precision="round_trip")
    page = text(values, json.loads((to / "sparsity.json").read_text()))
    (to / "sparsity.md").write_text(page)
    print(page)


def text(values: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """The page.

    Args:
        values: a row a model (or its turned version) and seed, with `MEASURES`, and `on`.
        facts: n_cells, n_genes, n_textbook.
    """
    found = {str(name): table for name, table in values.groupby("model", sort=False)}
    sparse = [n for n in found if n.startswith("VSC") and not n.endswith("turned")]
    rows = [
        [
            name,
            "all" if t["on"].isna().any() else shown(estimate(t["on"].to_numpy())),
            *(shown(estimate(t[k].to_numpy()), digits_of(k)) for k in MEASURES),
        ]
        for name, t in found.items()
    ]
    families = {kind: gaps(found, pairs) for kind, pairs in pairs_of(sparse).items()}
    some = [gap for family in families.values() for gap in family]
    sizes = " and ".join(f"{len(family)} with {kind}" for kind, family in families.items())
    return PAGE.format(
        verdict=verdict(some, sparse),
        measures=table(["", "latents on in a cell", *MEASURES.values()], rows),
        gaps=table(["", *(MEASURES[name] for name in COMPARED)], compared(some)),
        seeds=values["seed"].nunique(), n_cells=f"{facts['n_cells']:,}",
        n_genes=f"{facts['n_genes']:,}", n_textbook=facts["n_textbook"], top=TOP,
        n_markers=N_MARKERS, rotations=ROTATIONS, sizes=sizes, notable=figures.NOTABLE,
        expected=f"{100 * N_MARKERS / facts['n_genes']:.1f}",
    )  # fmt: skip


PAGE = """\
# What the sparsity of the VSC shows

Do the latents of the VSC stand for programmes of genes that a person can name, where those of the
VAE do not? {verdict}

`make sparsity` wrote this page: {n_cells} PBMCs of ten populations sorted by antibodies (Zheng et
al. 2017), whose labels owe nothing to the counts; the {n_genes} most variable genes, ten latents,
negative binomial, 128 hidden units on either side, beta 1, 100 epochs, sigmoid gates; warm-up is
`model.spike_warmup=0.5`. {seeds} seeds each, means with 95 % intervals over seeds. All numbers are
computed from [sparsity.csv](sparsity.csv).

![Which latents are on in which type, and the genes that they raise](sparsity.png)

Every VSC run writes this figure and its numbers, latents.csv and drivers.csv. A latent is on in a
cell where gamma, the posterior probability of its slab, is above 1/2. The slab lies on both sides
of 0, so that + and - are two programmes: which genes rise as the latent goes from off, 0, to its
mean where it is on with that sign, all other latents at the cells' mean. Effects are differences
of log(1 + counts per 10,000), the 10,000 being counts in the {n_genes} genes.

## Measured

{measures}

- A programme is a sign of a latent that raises some gene by {notable:g} or more, and its {top}
  genes that rise most. VAE and PCA are never off: theirs go from the median to the 95th or 5th
  percentile.
- The AUROC is that of a type against all other cells by the level of the programme that tells it
  best; this and the shares of markers are means over the ten types. (Means over programmes would
  favour models that use few latents; so taken, many programmes are many tries, and the VAE has
  the more of them.) A programme marks the type that it tells best.
- Markers of a type are the {n_markers} genes highest in a rank-sum test of the type against the
  rest; {expected} % of genes drawn at random would be among them. Those of the other types, many
  of them T cells too, are the control.
- Textbook markers are {n_textbook} pairs of a type and a marker that the Seurat tutorial gives for
  it, as far as they are among the genes: found where a programme that marks the type has the gene.
- The match between seeds is of each programme with the most similar one of another seed. Seeds are
  paired with each other, so that its intervals are somewhat too narrow. PCA has no seed to speak
  of.
- *Turned* is the control for directions: the same trained models, and {rotations} random rotations
  of each latent space, by percentiles. What is not above its own turned version owes nothing that
  can be seen to the directions of the latents.

## Differences

{gaps}

Intervals are of one difference at a time: Welch's, and paired by seed between models and their own
turned versions. "Higher" and "lower" where Holm's correction for all differences of a kind
({sizes}) leaves p at .05 or below: where nothing differs, one in twenty
such kinds has any. (By plain 95 % intervals, one VSC of three would be above the VAE in a measure
and below it in none in one of four such cases.) With {seeds} seeds many intervals are wide.
"""

if __name__ == "__main__":
    answer(main)
