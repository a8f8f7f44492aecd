"""`scvae show RUN`: what a run or a sweep was and got, at a glance."""

from pathlib import Path
from typing import Any

from scvae_cli.commands.arguments import Parser
from scvae_cli.commands.json_output import add_json, print_json
from scvae_cli.console import Console, minutes
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.launch.places import at_home
from scvae_cli.measures import SPACES
from scvae_cli.results.as_json import comparison_json, run_json
from scvae_cli.results.runs import cells_in_words, find_runs
from scvae_cli.runs.files import read_json
from scvae_cli.runs.run import Run, find, likely_run

EXAMPLES = {
    "outputs/latest": "the newest run or sweep",
    "outputs/2026-11-22/21-31-16-sweep": "a sweep: its table of means",
    "outputs/latest --json": "for a program",
}


def show(arguments: list[str]) -> None:
    """Run `scvae show` with these arguments.

    Raises:
        InputError: they are not allowed, or there is no run.
    """
    parser = Parser(
        "scvae show",
        description="What a run or a sweep was and got.",
        examples=EXAMPLES,
    )
    parser.add_argument("run", metavar="RUN", type=at_home, help="folder of a run or a sweep")
    add_json(parser)
    asked = parser.parse_args(arguments)
    path: Path = asked.run
    console = Console()
    if (path / "run.json").exists():
        run = Run(path).read_all()
        print_json(run_json(run)) if asked.json else _show_run(run, console)
    elif (path / "sweep.json").exists():
        print_json(_sweep_json(path)) if asked.json else _show_sweep(path, console)
    else:
        raise no_run(path)


def no_run(path: Path) -> InputError:
    """Return the error for a path where there is neither a run nor a sweep."""
    given = Given("", path)
    if not path.exists():
        return InputError(Kind.MISSING, given, "no such folder", "give the folder of a run")
    if path.is_file():
        fix = f"`scvae data {path}` says what cells a file holds"
        return InputError(Kind.MISSING, given, "is a file, and no folder of a run", fix)
    fix = f"`scvae compare {path}` sums up the runs below it" if find_runs([path], []) else ""
    fix = "; ".join(filter(None, [likely_run(path, ""), fix]))
    return InputError(Kind.MISSING, given, "no run there (run.json is missing)", fix)


def _show_run(run: Run, console: Console) -> None:
    """Show what a run was, its warnings and its scores."""
    warnings = [("warning", text) for text in run.warnings]
    console.facts([*_facts(run).items(), *warnings])
    if run.scores:
        console.scores({name: run.scores[space] for space, name in SPACES.items()})


def _sweep_json(path: Path) -> dict[str, Any]:
    """Return what a sweep was, the means of its runs, and each of them."""
    record = read_json(path, "sweep")
    folders = [path / job["folder"] for job in record["jobs"]]
    runs = {folder: run for folder in folders if (run := find(folder)) is not None}
    return {
        "kind": "sweep",
        "path": str(path),
        "command": record["command"],
        "started": record.get("started", []),
        "data": record.get("data", {}),
        "n_jobs": len(folders),
        "n_done": sum(run.status == "done" for run in runs.values()),
        "not_begun": [str(folder) for folder in folders if folder not in runs],
        **comparison_json([*runs.values()]),
    }


def _show_sweep(path: Path, console: Console) -> None:
    """Show what a sweep was, the means of its runs, and which have no result."""
    record = read_json(path, "sweep")
    folders = [path / job["folder"] for job in record["jobs"]]
    runs = [run for folder in folders if (run := find(folder)) is not None]
    done = [run.read_all() for run in runs if run.status == "done"]
    left = len(folders) - len(done)
    again = f"; `scvae train resume={path}` runs the other {left}" if left else ""
    facts = {
        "sweep": str(path),
        "runs": f"{len(done)} of {len(folders)} are done{again}",
        "command": str(record["command"]),
        "started": ", ".join(record.get("started", [])),
        "data": "; ".join(dict.fromkeys(cells_in_words(run.data) for run in done if run.data)),
    }
    console.facts([(name, text) for name, text in facts.items() if text])
    for run in runs:
        if reason := run.record.get("reason"):
            console.line(f"  {run.path.name}: {run.status}, {reason}")
    if done:
        from scvae_cli.results.terminal import show as show_means

        show_means(done, console, by=None, score=None, sort=None)


# Settings to show of a run; those that are null are left out.
SHOWN = (
    "model", "beta", "latent_dim", "epochs", "updates", "validation", "ensemble", "seed",
    "embedding",
)  # fmt: skip


def _facts(run: Run) -> dict[str, str]:
    """Return what there is to say of a run, line by line."""
    record = run.record
    seconds = record.get("seconds", {})
    facts = {
        "run": str(run.path),
        "status": _status(run),
        "command": str(record.get("command")),
        "started": str(record.get("started")),
        "exported": str((record.get("exported") or {}).get("when", "")),
        "took": ", ".join(f"{name} {minutes(s)}" for name, s in seconds.items() if s >= 0.5),
        "data": f"{run.data['name']}, {cells_in_words(run.data)}" if run.data else "",
        "model": ", ".join(
            f"{key} {run.flat_settings[key]}"
            for key in SHOWN
            if run.flat_settings.get(key) is not None
        ),
        "loss": ", ".join(f"{name} {value:.6g}" for name, value in run.losses.items()),
        "versions": ", ".join(
            f"{name} {record['versions'][name]}"
            for name in ("scvae-cli", "torch", "scikit-learn")
            if name in record.get("versions", {})
        ),
    }
    return {key: value for key, value in facts.items() if value}


def _status(run: Run) -> str:
    """Return how a run ended, and whether what it wrote is there."""
    reason = run.record.get("reason")
    status = run.status + (f": {reason}" if reason else "")
    lost = [
        f"{name} is {'not what it wrote' if (run.path / name).exists() else 'missing'}"
        for name in run.damaged
    ]
    return f"{status}, but {', '.join(lost)}; {run.way_to_mend}" if lost else status
