"""Make files that MultiQC reads: scores, loss and map of a run; means and maps of a sweep.

They are MultiQC's custom content: each file says in its head, as YAML, what it is. MultiQC joins
tables and graphs that have the same id, sample by sample, so that runs share them. An HTML file
has one id only, and so each map has an id of its own.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from scvae_cli.atomic import write_file
from scvae_cli.errors import InputError
from scvae_cli.measures import score_name, short_name
from scvae_cli.results.means import summarise
from scvae_cli.results.table import results, scores_of, setting_name, settings_of
from scvae_cli.runs.files import LOSSES, read_json
from scvae_cli.runs.run import Run

PARENT = {
    "parent_id": "scvae",
    "parent_name": "scvae",
    "parent_description": "Latent spaces of cells, their 2-D maps (t-SNE or UMAP), and how well "
    "k-means clusters of both agree with the known cell types.",
}
SHOWN = (
    "nmi",
    "ari",
    "silhouette",
    "batch_correction",
    "bio_conservation",
)  # other scores: hidden
MOST_POINTS = 500  # of a curve, as many as MultiQC draws
DIGITS = 9  # of an epoch or update, with zeros before it
WIDEST = 1417  # pixels of a picture: 180 mm with 200 dots in an inch


def run_files(run: Run) -> dict[str, bytes]:
    """Return the files of a run that is done, by name; none where its settings ask for none.

    Raises:
        InputError: a file that they are made from is missing or damaged.
    """
    name = sample_of(run)
    if name is None:
        return {}
    files = {"scores_mqc.tsv": _run_scores(run, name)}
    if curves := _curves(run, name):
        files["history_mqc.tsv"] = curves
    drawn = run.flat_settings.get("figures.format", "png")
    if drawn and not _is_job(run.path):  # a sweep has one picture of all its maps
        picture = (run.path / "figures" / "map_2d.png").read_bytes()
        files["map_2d_mqc.html"] = _picture("map", f"Map of {name}", picture)
    return files


def write_sweep(folder: Path, runs: Sequence[Run], asked: bool | str) -> None:
    """Write scores_mqc.tsv and maps_mqc.html of a sweep, whose figures are drawn.

    Args:
        folder: of the sweep.
        runs: its runs.
        asked: the setting `multiqc` of its runs; nothing is written where it is False.
    """
    if asked is False:
        return
    name = _plain(asked if isinstance(asked, str) else folder.name)
    table = results(runs)
    by = settings_of(table)
    scores = scores_of(table)
    columns = {"n": ("runs", "runs with a result", {"format": "{:,.0f}"})}
    for score in scores:
        for what in ("mean", "sd", "low", "high"):
            head = short_name(score) if what == "mean" else f"{short_name(score)} {what}"
            say = {"mean": "mean over n seeds", "sd": "standard deviation"}
            text = f"{score_name(score)}: {say.get(what, f'{what} end of the 95 % interval')}"
            hidden = what != "mean" or score.partition("_")[2] not in SHOWN
            columns[f"{score}_{what}"] = head, text, _of_score(hidden=hidden)
    means = summarise(table, by)
    rows = {f"{name}: {setting_name(row, by)}": row for _, row in means.iterrows()}
    about = {
        "id": "scvae_sweep_means",
        "section_name": "All sweeps: mean scores",
        "description": "Means over the seeds of each setting.",
    }
    write_file(folder / "scores_mqc.tsv", _table(about, columns, rows))
    if (maps := folder / "figures" / "maps.png").exists():
        page = _picture("maps", f"Maps of {name}", maps.read_bytes())
        write_file(folder / "maps_mqc.html", page)


def sample_of(run: Run) -> str | None:
    """Return what MultiQC calls a run: the name that `multiqc` gives, else those of its folders.

    A job of a sweep has the sweep's name before its own. None where `multiqc` is false.
    """
    asked = run.flat_settings.get("multiqc", False)
    if asked is False:
        return None
    if isinstance(asked, str) and not _is_job(run.path):
        return _plain(asked)
    path = run.path.absolute()
    return _plain(f"{asked if isinstance(asked, str) else path.parent.name}/{path.name}")


def _is_job(path: Path) -> bool:
    """Return whether a folder is that of a job of a sweep."""
    with suppress(InputError):
        jobs = read_json(path.absolute().parent, "sweep")["jobs"]
        return path.name in {job["folder"] for job in jobs}
    return False


def _run_scores(run: Run, name: str) -> bytes:
    """Return scores_mqc.tsv of a run: what it was, and all its scores."""
    settings, count = run.flat_settings, {"format": "{:,.0f}"}
    columns: dict[str, tuple[str, str, dict[str, Any]]] = {
        "model": ("model", "the model", {}),
        "data": ("data", "name of the cells", {}),
        "seed": ("seed", "seed of weights, batches and noise", {**count, "hidden": True}),
        "n_cells": ("cells", "number of cells", count),
        "warnings": (
            "warnings",
            "what to know before the result is believed; see run.json",
            count,
        ),
    }
    for score in run.flat_scores:
        hidden = score.partition("_")[2] not in SHOWN
        columns[score] = short_name(score), score_name(score), _of_score(hidden=hidden)
    seconds = sum(run.record.get("seconds", {}).values())
    columns["seconds"] = "seconds", "time of all stages", {"format": "{:,.1f}"}
    row = {
        "model": settings["model"], "data": run.data["name"], "seed": settings["seed"],
        "n_cells": run.data["n_cells"], "warnings": len(run.warnings), **run.flat_scores,
        "seconds": round(seconds, 4),
    }  # fmt: skip
    about = {
        "id": "scvae_scores",
        "section_name": "All runs: scores",
        "description": "Scores of k-means clusters on the 2-D map and in the latent space.",
    }
    return _table(about, columns, {name: row})


def _of_score(*, hidden: bool) -> dict[str, Any]:
    """Return how MultiQC shows a column of scores."""
    return {"min": 0, "max": 1, "format": "{:,.3f}", "hidden": hidden}


def _curves(run: Run, name: str) -> bytes | None:
    """Return history_mqc.tsv of a run: its losses, by epoch; None where it was not trained."""
    history = run.table("history", LOSSES)
    unit = "updates" if "updates" in history else "epoch"
    curves = history.groupby(unit).mean(numeric_only=True)  # of members
    if len(curves) < 2:
        return None
    at = np.linspace(0, len(curves) - 1, min(MOST_POINTS, len(curves))).round().astype(int)
    curves = curves.iloc[at]
    lines = {name: curves["total"]}
    if "validation" in curves and np.isfinite(curves["validation"]).all():
        lines[f"{name}, held out"] = curves["validation"]
    settings = run.flat_settings
    likelihood = f" ({settings['likelihood']})" if settings.get("likelihood") else ""
    what = _plain(f"{settings['model']}{likelihood} on {run.data['name']}")
    graph = re.sub(r"\W+", "_", f"scvae_loss {what} {unit}")
    about = {
        "id": graph,
        "section_name": f"Loss: {what}",
        "description": "Loss of the training, mean over cells.",
        "plot_type": "linegraph",
        "pconfig": {
            "id": f"{graph}_plot", "title": f"scvae: loss of {what}",
            "xlab": unit.capitalize(), "ylab": "Loss",
        },
    }  # fmt: skip
    rows = [[line, *map(_text, values)] for line, values in lines.items()]
    # MultiQC takes them for words and sorts them: without zeros, the line goes from 1 to 10 and
    # back to 2. It strips zeros off what has no quotes.
    places = [f'"{int(place):0{DIGITS}d}"' for place in curves.index]
    return _tsv(about, [["", *places], *rows])


def _table(
    about: Mapping[str, Any],
    columns: Mapping[str, tuple[str, str, Mapping[str, Any]]],
    rows: Mapping[str, Mapping[str, Any] | pd.Series],
) -> bytes:
    """Return a table for MultiQC.

    Args:
        about: its id, section_name and description.
        columns: key of each to its title, its description and how it is shown.
        rows: name of each sample to its values by column.
    """
    headers = {
        key: {"title": title, "description": text, "namespace": "scvae", **how}
        for key, (title, text, how) in columns.items()
    }
    pconfig = {
        "id": f"{about['id']}_table", "title": f"scvae: {about['section_name']}",
        "namespace": "scvae", "only_defined_headers": True,
    }  # fmt: skip
    head = {**about, "plot_type": "table", "pconfig": pconfig, "headers": headers}
    lines = [[name, *(_text(row[key]) for key in columns)] for name, row in rows.items()]
    return _tsv(head, [["Sample", *columns], *lines])


def _tsv(about: Mapping[str, Any], rows: Iterable[Sequence[str]]) -> bytes:
    """Return a file of columns, after comments that say as YAML what it is."""
    lines = ["\t".join(row) for row in rows]
    return "\n".join([*(f"# {line}" for line in _head(about)), *lines, ""]).encode()


def _picture(kind: str, title: str, png: bytes) -> bytes:
    """Return a page of HTML with a picture, which has a section of its own."""
    code = hashlib.sha256(title.encode()).hexdigest()[:8]
    about = {"id": f"scvae_{kind}_{code}", "section_name": title, "plot_type": "html"}
    data = base64.b64encode(_narrow(png)).decode()
    image = f'<img alt="{title}" src="data:image/png;base64,{data}">'
    division = f'<div class="mqc-custom-content-image">{image}</div>'
    return "\n".join(["<!--", *_head(about), "-->", division, ""]).encode()


def _narrow(png: bytes) -> bytes:
    """Return a picture that is at most WIDEST, as a report holds many."""
    picture = Image.open(BytesIO(png))
    if picture.width <= WIDEST:
        return png
    size = WIDEST, round(picture.height * WIDEST / picture.width)
    buffer = BytesIO()
    picture.convert("RGB").resize(size).quantize(256).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _head(about: Mapping[str, Any]) -> list[str]:
    """Return what a file is, as lines of YAML, of which JSON is a part."""
    known = {**about, **PARENT}
    return [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in known.items()]


def _text(value: Any) -> str:
    """Return a value as it stands in a table: numbers to the last digit, none as nothing."""
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else repr(float(value))
    return _plain(value)


def _plain(name: object) -> str:
    """Return a name in which no character means something to YAML, HTML or a table."""
    return re.sub(r"[^\w .,:+=@/()\[\]-]", "_", str(name))
