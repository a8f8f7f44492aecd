"""Find runs below a folder, and say in words what their cells and their code were."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scvae_cli.errors import InputError
from scvae_cli.runs.provenance import codes
from scvae_cli.runs.run import Run


def find_runs(paths: Iterable[Path], damaged: list[InputError] | None = None) -> list[Run]:
    """Read the runs in these folders and below, each once, in order of their paths.

    Args:
        paths: where to look.
        damaged: gets an error for each run that cannot be read.
    """
    folders: dict[Path, None] = {}
    for path in paths:
        for record in sorted(path.rglob("run.json")):
            if "attempts" not in record.relative_to(path).parts:
                folders[record.parent.resolve()] = None
    runs = []
    for folder in folders:
        try:
            runs.append(Run(folder).read_all())
        except InputError as error:
            if damaged is not None:
                damaged.append(error)
    return runs


def cells_in_words(data: Mapping[str, Any]) -> str:
    """Return what run.json says of the cells: `700 cells x 765 genes, 10 cell types`."""
    n_types = len(data["cell_types"])
    types = f"{n_types} cell types" if n_types > 1 else "no known types"
    if data.get("n_unlabelled"):
        types += f", {data['n_unlabelled']:,} cells without a label"
    return f"{data['n_cells']:,} cells x {data['n_genes']:,} genes, {types}"


def provenance(runs: Sequence[Run]) -> dict[str, str]:
    """Return commits, versions, data and the like of these runs, each value once."""
    facts: dict[str, dict[str, None]] = {}

    def add(key: str, value: object) -> None:
        if value is not None:
            facts.setdefault(key, {})[str(value)] = None

    for run in runs:
        for code in codes(run.record):
            git = code.get("git") or {}
            changed = ", with uncommitted changes" if git.get("dirty") else ""
            add("commit", f"{git['commit'][:10]}{changed}" if git else None)
            for name, version in code["versions"].items():
                add(name, version)
        data = run.data
        add("data", f"{data['name']}, sha256 {data['fingerprint'][:16]}" if data else None)
        add("device", run.record.get("device"))
        add("threads", run.record.get("threads"))
        add("first run started", run.record.get("started") if run is runs[0] else None)
        add("command", run.record.get("command") if len(runs) == 1 else None)
    return {key: "; ".join(values) for key, values in facts.items()}
