"""`scvae verify RUN`: the same run once more, and whether the same comes out."""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from scvae_cli.commands.arguments import Parser, add_quiet
from scvae_cli.commands.json_output import add_json, print_json
from scvae_cli.config import Config
from scvae_cli.console import Console
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.launch.execute import DONE, logged, start
from scvae_cli.launch.places import at_home, shown
from scvae_cli.launch.resume import check_cells
from scvae_cli.measures import SPACES, score_name
from scvae_cli.options import FileConfig
from scvae_cli.runs.files import MissingError, files_of
from scvae_cli.runs.provenance import codes, difference, git_state, versions
from scvae_cli.runs.run import Run, likely_run
from scvae_cli.settings import restored

WITHIN = 1e-3  # of the largest value of a column: what rounding may come to
UNEQUAL = {"seconds"}  # columns that differ from run to run

EXAMPLES = {
    "outputs/latest": "the newest run",
    "outputs/2026-11-22/21-31-16-sweep/000-vae": "a run of a sweep",
}


def verify(arguments: list[str]) -> None:
    """Run `scvae verify` with these arguments.

    Raises:
        InputError: they are not allowed, or there is no run to repeat.
        SystemExit: it failed this time, or came out different.
    """
    parser = Parser(
        "scvae verify",
        description="Does a run once more, and says whether the same came out.",
        examples=EXAMPLES,
        epilog="Exit code 0: identical, or within rounding; 1: different.",
    )
    parser.add_argument("run", metavar="RUN", type=at_home, help="folder of a run")
    add_json(parser)
    add_quiet(parser, "print only warnings and errors: the exit code is the answer")
    asked = parser.parse_args(arguments)
    path = asked.run.absolute()
    run, config = open_whole(path)
    console = Console(quiet=asked.json or asked.quiet)
    today = {"versions": versions(), "git": git_state()}
    changes = [told for code in codes(run.record) if (told := difference(code, today))]
    for changed in changes:
        console.line(f"{shown(path)} {changed}: rounding may differ")
    with suppress(OSError, KeyError, ValueError):
        os.chdir(run.record["cwd"])  # which the paths in its settings start from
    if run.is_export:
        config = _of_export(config)
    else:
        check_cells(config)
    with TemporaryDirectory(prefix="scvae-verify-") as folder:
        here: dict[str, Any] = {"output_dir": folder, "h5ad": False, "logger": None}
        here |= {key: run.record[key] for key in ("threads", "device") if key in run.record}
        repeat = _repeat(config.model_copy(update=here), Path(folder) / "run")
        outcomes = {name: text or "identical" for name, text in _outcomes(run, repeat).items()}
        if run.fingerprint != repeat.fingerprint:
            console.warn("the cells, genes or labels are not those of the run")
    same = not any(text.startswith("different") for text in outcomes.values())
    if asked.json:
        answer = {"kind": "verification", "path": str(path), "same": same}
        print_json({**answer, "files": outcomes, "changes": changes})
    else:
        console.table([{"file": name, "came out": text} for name, text in outcomes.items()])
    if not same:
        raise SystemExit(1)


def open_whole(path: Path) -> tuple[Run, Config]:
    """Open a run that is done and whole, and read its settings.

    Raises:
        InputError: there is no run, it is not done, or its files are not what it wrote.
    """
    try:
        run = Run(path)
        config = restored(run.settings, path / "config.yaml")
    except MissingError as error:
        what = f"no run there ({error.name} is missing)"
        fix = likely_run(Path(shown(path)))
        raise InputError(Kind.MISSING, Given("", shown(path)), what, fix) from error
    if run.status == "done" and not run.scores:
        raise InputError(
            Kind.MISSING, Given("", shown(path)), "no run there (scores.json is missing)"
        )
    if not run.is_intact:
        raise InputError(
            Kind.DAMAGED,
            Given("", shown(path)),
            "did not end well, or a file is not what it wrote",
            run.way_to_mend.replace(str(path), shown(path)),
        )
    return run, config


def _of_export(config: Config) -> Config:
    """Return settings that can be repeated elsewhere: a model that another run trained is trained.

    Raises:
        InputError: the cells are not in this folder.
    """
    data = config.data
    if isinstance(data, FileConfig):
        for key in ("path", "labels", "batches"):
            name = getattr(data, key)
            if name is not None and not Path(name).exists():
                fix = "an export has no cells: call this in the folder that has the file"
                raise InputError(Kind.MISSING, Given(f"data.{key}", name), "no such file", fix)
    return config.model_copy(update={"trained": None})


def _repeat(config: Config, folder: Path) -> Run:
    """Do a run with these settings in a new folder, and open it.

    Raises:
        SystemExit: it failed.
    """
    folder.mkdir()
    with logged(folder):
        code, _ = start(config, folder, ["verify"], [], Console(quiet=True))
    if code != DONE:
        raise SystemExit(code)
    return Run(folder)


def _outcomes(theirs: Run, ours: Run) -> dict[str, str]:
    """Return how each file of two runs differs, by its name; empty where it does not."""
    tables = [
        n
        for n in files_of("vsc", "decoded", "aligned", suffix=".csv")
        if (theirs.path / n).exists()
    ]
    return {
        **{name: _table(theirs, ours, name.removesuffix(".csv")) for name in tables},
        "model.safetensors": _weights(theirs, ours),
        "scores.json": _scores(theirs, ours),
    }


def _table(theirs: Run, ours: Run, name: str) -> str:
    """Return how a table differs; empty where it does not."""
    first, second = theirs.table(name), ours.table(name)
    if list(first) != list(second) or len(first) != len(second):
        return f"different: {len(first)} x {len(first.columns)}, and not {len(second)} x ..."
    worst = 0.0
    for column in [c for c in first if c not in UNEQUAL]:
        a, b = first[column], second[column]
        if a.equals(b):
            continue
        if not pd.api.types.is_float_dtype(a):
            row = int(np.argmax((a != b).to_numpy()))
            return f"different: {column} is {a[row]}, and not {b[row]}, in row {row + 1}"
        off = _off(a.to_numpy(), b.to_numpy())
        row = int(np.argmax(np.abs(a - b)))
        if off > WITHIN:
            return f"different: {column} is {a[row]:.6g}, and not {b[row]:.6g}, in row {row + 1}"
        worst = max(worst, off)
    return f"within {worst:.1g} of the largest value" if worst else ""


def _weights(theirs: Run, ours: Run) -> str:
    """Return how weights differ; empty where they do not."""
    first, second = (
        {name: tensor.numpy() for name, tensor in run.weights[0].items()} for run in (theirs, ours)
    )
    if first.keys() != second.keys():
        return "different: other weights"
    off = {name: _off(first[name], second[name]) for name in first}
    worst = max(off, key=lambda name: off[name])
    if off[worst] > WITHIN:
        return f"different: {worst} by {off[worst]:.2g} of its largest value"
    return f"within {off[worst]:.1g} of the largest value" if off[worst] else ""


def _scores(theirs: Run, ours: Run) -> str:
    """Return how scores differ; empty where they do not."""
    first, second = theirs.scores, ours.scores
    for space in SPACES:
        for name, value in first[space].items():
            other = second[space][name]
            if abs(value - other) > WITHIN:
                what = score_name(f"{space}_{name}")
                return f"different: {what} is {value:.4f}, and not {other:.4f}"
    return "" if first == second else f"within {WITHIN}"


def _off(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference, as a share of the largest value."""
    if a.shape != b.shape:
        return np.inf
    return float(np.nanmax(np.abs(a - b)) / max(np.nanmax(np.abs(a)), 1e-30)) if a.size else 0.0
