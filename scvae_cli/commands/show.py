"""`scvae show RUN`: what a run was and got, at a glance."""

from pathlib import Path

from scvae_cli.commands.arguments import Parser
from scvae_cli.console import Console, minutes
from scvae_cli.errors import InputError, Kind
from scvae_cli.measures import SPACES
from scvae_cli.results.runs import cells_in_words
from scvae_cli.runs.run import Run


def show(arguments: list[str]) -> None:
    """Run `scvae show` with these arguments.

    Raises:
        InputError: they are not allowed, or there is no run.
    """
    parser = Parser("scvae show", description="What a run was and got.")
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a run")
    path: Path = parser.parse_args(arguments).run
    if not (path / "run.json").exists():
        sweep = (path / "sweep.json").exists()
        hint = f"; it is a sweep: `scvae compare {path}`" if sweep else ""
        raise InputError(Kind.MISSING, path, f"no run there (run.json is missing){hint}")
    run = Run(path).read_all()
    console = Console()
    warnings = [("warning", text) for text in run.warnings]
    console.facts([*_facts(run).items(), *warnings])
    if run.scores:
        console.scores({name: run.scores[space] for space, name in SPACES.items()})


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
    mend = f"; `scvae train resume={run.path}` mends it"
    return f"{status}, but {', '.join(lost)}{mend}" if lost else status
