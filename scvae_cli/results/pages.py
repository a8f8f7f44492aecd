"""What a person reads of runs: a folder that sums up many, and report.html of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from scvae_cli.atomic import write_file
from scvae_cli.errors import InputError, Kind
from scvae_cli.measures import MEASURE_NAMES, SPACES, WITH_BATCHES
from scvae_cli.results import markdown
from scvae_cli.results.means import about_means, brief, differences, interval_in_words, summarise
from scvae_cli.results.report import html
from scvae_cli.results.runs import cells_in_words, provenance
from scvae_cli.results.summary_figures import first_runs, write_figures
from scvae_cli.results.table import main_score, results, scores_of, settings_of, shown, write_csv
from scvae_cli.results.verdict import verdict
from scvae_cli.runs.files import FILES, files_of
from scvae_cli.runs.run import Run

MOST_PAIRS = 60  # rows of a table in summary.md
KINDS = ("batches", "vsc", "map_3d", "trained")  # what a run may be, to have figures of its own


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
    """

    runs: Sequence[Run]
    by: Sequence[str]
    table: pd.DataFrame
    means: pd.DataFrame
    pairs: pd.DataFrame
    figures: Mapping[str, tuple[str, bytes]]
    title: str
    lead: Sequence[str]

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
) -> None:
    """Write results.csv, summary.csv, summary.md, differences.csv, figures/ and report.html.

    Args:
        folder: where.
        runs: what to sum up.
        title: what they are.
        notes: what else to know.
        by: the columns that make a setting; None for all that vary.
        score: what settings are compared by; None for the NMI on the map, if there is one.
    """
    table = results(runs)
    score = main_score(table, score)
    by = list(by or settings_of(table))
    means, pairs = summarise(table, by), differences(table, by)
    write_csv(folder / "results.csv", table)
    write_csv(folder / "summary.csv", means)
    write_csv(folder / "differences.csv", pairs)
    keys = [key for key in [*by, "seed"] if table[key].nunique(dropna=False) > 1]
    varied = [f"Varied: {', '.join(keys)}."] if keys else []
    lead = [*verdict(table, by, score), *varied, *notes]
    drawn = write_figures(folder / "figures", runs, table, means, by)
    summary = Summary(runs, by, table, means, pairs, drawn, title, lead)
    write_file(folder / "summary.md", summary_markdown(summary).encode())
    write_file(folder / "report.html", summary_report(summary).encode())


def summary_report(summary: Summary) -> str:
    """Return report.html of many runs."""
    table, means = summary.table, summary.means
    tables = {
        f"{title}: {about_means(means)}": pd.DataFrame(brief(means, summary.by, scores))
        for title, scores in _grouped(scores_of(table)).items()
    }
    if len(summary.without_result):
        tables["Runs without a result"] = summary.without_result
    if len(summary.warned):
        tables["Warnings"] = summary.warned
    tables["All runs"] = table.drop(columns=["reason", "warnings", "overrides"])
    if len(summary.pairs):
        tables["Differences between settings, paired by seed"] = summary.pairs
    examples = first_runs(summary.runs, table, summary.by).values()
    return html(
        title=summary.title,
        lead=summary.lead,
        tables=tables,
        figures=dict(summary.figures.values()),
        maps={run.path.name: run.cells() for run in examples},
        provenance=provenance(summary.runs),
    )


def _grouped(scores: Sequence[str]) -> dict[str, list[str]]:
    """Return scores of k-means and scores of batches, where there are any, each by a title."""
    of_batches = [s for s in scores if s.partition("_")[2] in WITH_BATCHES]
    groups = {"Scores": [s for s in scores if s not in of_batches], "Batches": of_batches}
    return {title: group for title, group in groups.items() if group}


def summary_markdown(summary: Summary) -> str:
    """Return summary.md of many runs."""
    plain = markdown.escaped
    parts = [f"# {plain(summary.title)}", *map(plain, summary.lead)]
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
            f"- {plain(r['run'])}: {r['status']}, {plain(r['reason'] or 'killed')}"
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


def run_page(run: Run) -> str:
    """Return report.html of one run that is done.

    Raises:
        InputError: a file that it is made from is missing or damaged.
    """
    config = run.flat_settings
    if not config or not run.data:
        raise InputError(
            Kind.DAMAGED, run.path, "its run.json and config.yaml do not say what was run"
        )
    seconds = run.record.get("seconds", {}).items()
    settings = [{"key": key, "value": shown(value)} for key, value in config.items()]
    paths = {FILES[name].holds: run.path / name for name in files_of(*KINDS, suffix=".png")}
    return html(
        title=f"{config['model']} on {config['data']}, seed {config['seed']}",
        lead=[
            f"{cells_in_words(run.data)}, {config.get('latent_dim')} latent features.",
            *(f"Warning: {text}" for text in run.warnings),
        ],
        tables={
            **_score_tables(run),
            "Time": pd.DataFrame(seconds, columns=["stage", "seconds"]),
            "Settings": pd.DataFrame(settings),
        },
        figures={caption: path.read_bytes() for caption, path in paths.items() if path.exists()},
        maps={run.path.name: run.cells()},
        provenance=provenance([run]),
    )


def _score_tables(run: Run) -> dict[str, pd.DataFrame]:
    """Return a run's scores of k-means, and of batches where it knows them."""
    clusters, batches = [], []
    for space, name in SPACES.items():
        scores = run.scores[space]
        clusters.append(
            {"k-means on": name, **{k: v for k, v in scores.items() if k not in WITH_BATCHES}}
        )
        mixing = {MEASURE_NAMES[k]: scores[k] for k in WITH_BATCHES if k in scores}
        batches.append({"batches in": name, **mixing})
    tables = {"Scores": pd.DataFrame(clusters)}
    if len(batches[0]) > 1:
        tables["Batches"] = pd.DataFrame(batches)
    return tables
