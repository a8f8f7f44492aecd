"""What a person reads of many runs: a folder that sums them up."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from scvae_cli.atomic import write_file
from scvae_cli.measures import SILHOUETTES, SPACES, WITH_BATCHES, short_name
from scvae_cli.results import markdown
from scvae_cli.results.curves import loss_curves
from scvae_cli.results.html_tables import Shown
from scvae_cli.results.means import about_means, brief, differences, interval_in_words, summarise
from scvae_cli.results.report import html
from scvae_cli.results.runs import provenance
from scvae_cli.results.some_cells import Drawn, drawn
from scvae_cli.results.summary_figures import first_runs, write_figures
from scvae_cli.results.table import main_score, results, scores_of, settings_of, write_csv
from scvae_cli.results.verdict import verdict
from scvae_cli.runs.files import REPORT
from scvae_cli.runs.run import UNENDED, Run

# What `write_summary` writes.
SUMMARY = {
    "results.csv", "summary.csv", "differences.csv", "figures", "summary.md", REPORT,
}  # fmt: skip
MOST_PAIRS = 60  # rows of a table in summary.md
MOST_DIFFERENCES = 1500  # rows of a table in report.html
MOST_CELLS = 400_000  # of all maps on a page, so that it stays a few megabytes
MOST_NAMED = 3  # runs that a line names
UNSHOWN = ("reason", "warnings", "overrides", "one_fit")  # columns of the table of runs
MAIN = ("tsne_nmi", "latent_nmi")  # the scores that tables show first
MAIN_BATCHES = ("latent_batch_correction", "latent_bio_conservation")


@dataclass(frozen=True)
class Summary:
    """Many runs summed up.

    Attributes:
        runs: the runs.
        by: the settings that are told apart.
        table: a row a run, from `results`.
        means: a row a setting, from `summarise`.
        pairs: settings against each other, from `differences`.
        figures: name to caption and PNG.
        title: what the runs are.
        lead: paragraphs for the head of a page.
        command: that made them; empty where there is not one.
    """

    runs: Sequence[Run]
    by: Sequence[str]
    table: pd.DataFrame
    means: pd.DataFrame
    pairs: pd.DataFrame
    figures: Mapping[str, tuple[str, bytes]]
    title: str
    lead: Sequence[str]
    command: str

    @property
    def without_result(self) -> pd.DataFrame:
        """Runs that are not done: run, status, reason."""
        return self.table[self.table["status"] != "done"][["run", "status", "reason"]]

    @property
    def warned(self) -> pd.DataFrame:
        """Runs with warnings: run, warnings."""
        return self.table[self.table["warnings"].notna()][["run", "warnings"]]


def write_summary(
    folder: Path,
    runs: Sequence[Run],
    *,
    title: str,
    notes: Sequence[str],
    by: Sequence[str] | None,
    score: str | None,
    command: str = "",
) -> None:
    """Write results.csv, summary.csv, summary.md, differences.csv, figures/ and report.html.

    Args:
        folder: where.
        runs: what to sum up.
        title: what they are.
        notes: what else to know.
        by: the columns that make a setting; None for all that vary.
        score: what settings are compared by; None for the NMI on the map, if there is one.
        command: that made the runs; empty where there is not one.
    """
    table = results(runs)
    score = main_score(table, score)
    by = list(by or settings_of(table))
    means, pairs = summarise(table, by), differences(table, by)
    write_csv(folder / "results.csv", table)
    write_csv(folder / "summary.csv", means)
    write_csv(folder / "differences.csv", pairs)
    keys = [k for k in dict.fromkeys([*by, "seed"]) if table[k].nunique(dropna=False) > 1]
    varied = [f"Varied: {', '.join(keys)}."] if keys else []
    lead = [*verdict(table, by, score), *varied, *notes]
    figures = write_figures(folder / "figures", runs, table, means, by)
    summary = Summary(runs, by, table, means, pairs, figures, title, lead, command)
    write_file(folder / "summary.md", summary_markdown(summary).encode())
    write_file(folder / "report.html", summary_report(summary, folder).encode())


def summary_report(summary: Summary, folder: Path) -> str:
    """Return report.html of many runs, with links to their own pages.

    Args:
        summary: of the runs.
        folder: where the page will be.
    """
    names = summary.table["run"]
    links = {name: _address(run, folder) for name, run in zip(names, summary.runs, strict=True)}
    links = {name: address for name, address in links.items() if address}
    examples = _examples(summary)
    own = {title: _address(run, folder) for title, (run, _) in examples.items()}
    said = dict.fromkeys(shown.said for _, shown in examples.values() if shown.said)
    return html(
        title=summary.title,
        lead=[*summary.lead, *said],
        tables={**_means(summary), **_runs(summary, links), **_differences(summary)},
        figures={
            caption: png for name, (caption, png) in summary.figures.items() if name != "maps"
        },
        maps={title: shown.cells for title, (_, shown) in examples.items()},
        genes={title: shown.genes for title, (_, shown) in examples.items()},
        provenance=provenance(summary.runs),
        command=summary.command,
        warnings=_warnings(summary),
        links={title: address for title, address in own.items() if address},
        curves=loss_curves(summary.runs, summary.table, summary.by),
    )


def _address(run: Run, folder: Path) -> str:
    """Return the address of a run's own page, from a page in this folder; empty without one."""
    page = run.path / REPORT
    return quote(os.path.relpath(page, folder.resolve())) if page.is_file() else ""


def _examples(summary: Summary) -> dict[str, tuple[Run, Drawn]]:
    """Return the first run of each setting and its cells, by what to call it; not too many."""
    examples: dict[str, tuple[Run, Drawn]] = {}
    n_cells = 0
    for name, run in first_runs(summary.runs, summary.table, summary.by).items():
        shown = drawn(run.cells(), run.expression())
        n_cells += len(shown.cells)
        if examples and n_cells > MOST_CELLS:
            break
        examples[", ".join([*([name] if name else []), f"seed {run.settings['seed']}"])] = (
            run,
            shown,
        )
    return examples


def _warnings(summary: Summary) -> list[str]:
    """Return what runs warn of, each text once, and the runs that do."""
    names: dict[str, list[str]] = {}
    for name, run in zip(summary.table["run"], summary.runs, strict=True):
        for text in run.warnings:
            names.setdefault(text, []).append(name)
    n = len(summary.runs)
    texts = []
    for text, of in names.items():
        more = f" and {len(of) - MOST_NAMED} more" if len(of) > MOST_NAMED else ""
        texts.append(f"{text} ({len(of)} of {n} runs: {', '.join(of[:MOST_NAMED])}{more})")
    return texts


def _means(summary: Summary) -> dict[str, Shown]:
    """Return means of each setting, the scores that the terminal has first."""
    tables = {}
    for title, scores in _grouped(scores_of(summary.table)).items():
        names = {score: short_name(score) for score in scores}
        rows = [
            {names.get(key, key): value for key, value in row.items()}
            for row in brief(summary.means, summary.by, scores)
        ]
        first = [names[score] for score in (*MAIN, *SILHOUETTES, *MAIN_BATCHES) if score in names]
        tables[f"{title}: means over seeds"] = Shown(
            pd.DataFrame(rows),
            beside=True,
            note=about_means(summary.means),
            few=[*summary.by, *first[:2], "n"],
        )
    return tables


def _runs(summary: Summary, links: Mapping[str, str]) -> dict[str, Shown]:
    """Return runs without a result, and all runs with links to their pages."""
    names = {score: short_name(score) for score in scores_of(summary.table)}
    table = summary.table.drop(columns=[c for c in UNSHOWN if c in summary.table])
    table = table.rename(columns=names)
    keys = [key for key in dict.fromkeys([*summary.by, "seed"]) if key in table]
    lost = summary.without_result
    main = [names[score] for score in (*MAIN, *SILHOUETTES) if score in names][:2]
    tables = {"Runs without a result": Shown(lost)} if len(lost) else {}
    tables["All runs"] = Shown(
        table,
        note="Each name leads to the page of that run." if links else "",
        few=["run", *main, *keys, "status", "seconds"],
        filters=[key for key in (*keys, "status") if table[key].nunique(dropna=False) > 1],
        links=links,
    )
    return tables


def _differences(summary: Summary) -> dict[str, Shown]:
    """Return settings against each other, as many as a page holds."""
    pairs = summary.pairs
    note = "A positive mean says that a scores higher. All of them are in differences.csv."
    if len(pairs) > MOST_DIFFERENCES:
        pairs = pairs[pairs["score"].isin(MAIN)][:MOST_DIFFERENCES]
        note += f" Here are {len(pairs)} of {len(summary.pairs)}."
    if pairs.empty:
        return {}
    table = pairs.assign(score=pairs["score"].map(short_name))
    table = table.rename(columns={"mean": "mean of a - b", "low": "95 % from", "high": "to"})
    return {
        "Differences between settings, paired by seed": Shown(
            table, folded=True, note=note, filters=["score", "a", "b"]
        )
    }


def _grouped(scores: Sequence[str]) -> dict[str, list[str]]:
    """Return scores of k-means and scores of batches, where there are any, each by a title."""
    of_batches = [s for s in scores if s.partition("_")[2] in WITH_BATCHES]
    groups = {"Scores": [s for s in scores if s not in of_batches], "Batches": of_batches}
    return {title: group for title, group in groups.items() if group}


def summary_markdown(summary: Summary) -> str:
    """Return summary.md of many runs."""
    plain = markdown.escaped
    parts = [f"# {plain(summary.title)}", *map(plain, summary.lead)]
    if summary.command:
        parts.append(f"Command: {plain(summary.command)}")
    scores = [column[:-5] for column in summary.means if column.endswith("_mean")]
    for group in _grouped(scores).values():
        parts.append(_table_of_texts(brief(summary.means, summary.by, group)))
    parts.append(f"{about_means(summary.means)} After n, in brackets, those without a result.")
    parts += [
        f"![{plain(caption)}](figures/{quote(name)}.png)"
        for name, (caption, _) in summary.figures.items()
    ]
    parts += _pairs_markdown(summary.pairs)
    if len(lost := summary.without_result):
        parts.append("## Without a result")
        parts += [
            f"- {plain(r['run'])}: {r['status']}, {plain(r['reason'] or UNENDED)}"
            for _, r in lost.iterrows()
        ]
    if len(warned := summary.warned):
        parts.append("## Warnings")
        parts += [f"- {plain(r['run'])}: {plain(r['warnings'])}" for _, r in warned.iterrows()]
    return "\n\n".join(parts) + "\n"


def _pairs_markdown(pairs: pd.DataFrame) -> list[str]:
    """Return paragraphs on differences between settings, those in NMI as a table."""
    parts = []
    main = pairs[pairs["score"].isin(["tsne_nmi", "latent_nmi"])]
    if 0 < len(main) <= MOST_PAIRS:
        parts.append("## Differences in NMI, paired by seed")
        rows = [
            {
                "a": str(row["a"]), "b": str(row["b"]), "on the": SPACES[row["score"][:-4]],
                "n": str(row["n"]), "a - b": f"{row['mean']:+.3f}",
                "95 %": interval_in_words(row["low"], row["high"]),
            }
            for _, row in main.iterrows()
        ]  # fmt: skip
        parts.append(_table_of_texts(rows))
    if len(pairs):
        parts.append(
            "All differences are in differences.csv, with intervals where there are three seeds; "
            "these are not corrected for their number."
        )
    return parts


def _table_of_texts(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows as a Markdown table that shows names and values as they are."""
    header, *cells = (
        [*map(markdown.escaped, row)] for row in [rows[0], *(r.values() for r in rows)]
    )
    return markdown.table(header, cells)
