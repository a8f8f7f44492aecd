"""Write report.html of one run: its map, scores, settings, types, clusters and times."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from scvae_cli.columns import MAP_NAMES
from scvae_cli.errors import InputError, Kind
from scvae_cli.measures import MEASURE_NAMES, SPACES, WITH_BATCHES
from scvae_cli.results.by_type import types_and_clusters
from scvae_cli.results.html_tables import Shown
from scvae_cli.results.report import html
from scvae_cli.results.runs import cells_in_words, provenance
from scvae_cli.results.some_cells import drawn
from scvae_cli.results.table import shown
from scvae_cli.runs.files import FILES, REPORT, files_of
from scvae_cli.runs.run import Run

KINDS = ("vsc", "trained")  # what a run may be, to have figures other than maps
STAGES = {
    "load": "read and prepared the cells",
    "train": "trained the model",
    "embed": "gave each cell its place in the latent space",
    **{
        f"{kind}_{n}d": f"drew the {n}-D map ({name})"
        for kind, name in MAP_NAMES.items()
        for n in (2, 3)
    },
    "cluster": "found clusters (k-means), on the map and in the latent space",
    "score": "compared clusters with cell types, and batches where there are any",
    "sparsity": "found which latents are on in which types, and their genes",
    "figures": "drew the figures",
    "h5ad": "wrote cells.h5ad",
}
MOST_ROWS = 30  # types in a table that is not folded
MOST_UNFOLDED = 12  # types, and clusters, of a table that is not folded


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
    cells = run.cells()
    figures = files_of(*KINDS, suffix=".png")
    paths = {
        FILES[file].holds: run.path / file
        for file in figures
        if not file.startswith("figures/map_")
    }
    name = run.data.get("name", config["data"])
    on_map = drawn(cells, run.expression())
    lead = f"{cells_in_words(run.data)}, {config.get('latent_dim')} latent features."
    lead += f" The map is {MAP_NAMES[run.map]}."
    return html(
        title=f"{config['model']} on {name}, seed {config['seed']}",
        lead=[lead, on_map.said] if on_map.said else [lead],
        tables={**_scores(run), **_settings(run), **_types(cells), **_times(run)},
        figures={caption: path.read_bytes() for caption, path in paths.items() if path.exists()},
        maps={run.path.name: on_map.cells},
        genes={run.path.name: on_map.genes},
        provenance=provenance([run]),
        command=str(run.record.get("command", "")),
        warnings=run.warnings,
        # The sweep writes its page when all jobs have ended.
        sweep=f"../{REPORT}" if (run.path.parent / "sweep.json").exists() else "",
    )


def _scores(run: Run) -> dict[str, Shown]:
    """Return a run's scores, a row a measure; those of batches by themselves."""
    known = {measure for scores in run.scores.values() for measure in scores}
    groups = {
        "Scores of k-means": [m for m in MEASURE_NAMES if m in known and m not in WITH_BATCHES],
        "Batches": [m for m in WITH_BATCHES if m in known],
    }
    return {
        title: Shown(_by_space(run.scores, measures), beside=True)
        for title, measures in groups.items()
        if measures
    }


def _by_space(scores: Mapping[str, Mapping[str, float]], measures: list[str]) -> pd.DataFrame:
    """Return a row a measure and a column a space."""
    columns = {
        name: [scores[space].get(measure) for measure in measures]
        for space, name in SPACES.items()
    }
    table = pd.DataFrame(columns, dtype=float)
    table.insert(0, "score", [MEASURE_NAMES[measure] for measure in measures])
    return table


def _settings(run: Run) -> dict[str, Shown]:
    """Return the settings that the command line gave, and all, those first."""
    config = {key: shown(value) for key, value in run.flat_settings.items()}
    words = [word.lstrip("+~").partition("=") for word in run.record.get("overrides", [])]
    given = {key: config.get(key, value) for key, _, value in words}
    known = [key for key in given if key in config]
    order = [*known, *(key for key in config if key not in given)]
    table = pd.DataFrame(
        {
            "setting": order,
            "value": [config[key] for key in order],
            "from": ["command line" if key in given else "default" for key in order],
        }
    )
    tables = {}
    if given:
        rows = {"setting": list(given), "value": list(given.values())}
        tables["Settings given"] = Shown(pd.DataFrame(rows), beside=True)
    if "experiment" in given:
        table.loc[table["from"] == "default", "from"] = "preset or default"
    tables[f"All {len(order)} settings"] = Shown(
        table, folded=True, note="Those that the command line gave come first.", filters=["from"]
    )
    return tables


def _types(cells: pd.DataFrame) -> dict[str, Shown]:
    """Return where each type is, and types against clusters; nothing without types."""
    tables = types_and_clusters(cells)
    if tables is None:
        return {}
    where, counts = tables
    large = max(counts.shape) > MOST_UNFOLDED + 1
    return {
        "Cell types": Shown(
            where,
            folded=len(where) > MOST_ROWS,
            note="The cluster of the map that holds most cells of each type: the share of the "
            "type that is in it, and the share of it that is the type.",
        ),
        "Cell types by cluster": Shown(
            counts,
            folded=large,
            shaded=True,
            note="Cells of each type (rows) in each cluster of the map (columns); the darker, the "
            "larger the share of the type.",
        ),
    }


def _times(run: Run) -> dict[str, Shown]:
    """Return how long each stage took."""
    seconds: dict[str, Any] = run.record.get("seconds", {})
    if not seconds:
        return {}
    table = pd.DataFrame(
        {
            "stage": list(seconds),
            "seconds": [f"{value:.2f}" for value in seconds.values()],
            "what it did": [STAGES.get(name, "") for name in seconds],
        }
    )
    return {f"Time: {sum(seconds.values()):.1f} s": Shown(table)}
