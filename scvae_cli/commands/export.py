"""`scvae export RUN --to FOLDER`: a copy of a run or a sweep without folders, for others."""

import argparse
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

from scvae_cli.atomic import making, write_file
from scvae_cli.commands.arguments import Parser, add_quiet
from scvae_cli.commands.show import no_run
from scvae_cli.commands.verify import open_whole
from scvae_cli.console import Console
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.launch.execute import now
from scvae_cli.launch.places import at_home, shown
from scvae_cli.launch.recorded import shareable_words
from scvae_cli.results.pages import write_summary
from scvae_cli.results.run_page import run_page
from scvae_cli.runs.files import (
    REPORT,
    files_of,
    json_text,
    read_json,
    settings_text,
    sha256_of,
)
from scvae_cli.runs.private import Private, clean_h5ad, shareable_settings
from scvae_cli.runs.run import Run
from scvae_cli.untrusted import check_inside

OF_SWEEP = ("sweep.json", "results.csv", "summary.csv", "summary.md", "differences.csv", "figures")
EXAMPLES = {
    "outputs/latest --to vsc-pbmc": "the newest run, to give away",
    "outputs/2026-11-22/21-31-16-sweep --to sweep": "a sweep, with all its runs",
}


def export(arguments: list[str]) -> None:
    """Run `scvae export` with these arguments.

    Raises:
        InputError: they are not allowed, there is no whole run, or a folder cannot be taken out.
    """
    asked = _parse(arguments)
    path, to = asked.run.resolve(), asked.to.absolute()
    _check_new(path, asked.to)
    console = Console(quiet=asked.quiet, live=not asked.quiet)
    is_sweep = not (path / "run.json").exists() and (path / "sweep.json").exists()
    if not is_sweep and not (path / "run.json").exists():
        raise no_run(asked.run)
    check_inside(path, Given("", shown(path)))
    runs = _runs_of(path) if is_sweep else [open_whole(path)[0]]
    private = Private(runs, [path, to, asked.run.absolute()])
    try:
        with console.busy("copying"), making(to) as folder:
            if is_sweep:
                changed, left = _copy_sweep(path, runs, folder, private)
            else:
                changed, left = _copy_run(runs[0], folder, private)
            said = _names_in(folder, private)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise InputError(Kind.UNAVAILABLE, asked.to, what, "give another with --to") from error
    if left:
        console.line(f"left out: {', '.join(left)}")
    console.line(f"written again without folders, with new checksums: {', '.join(changed)}")
    for name, word in said.items():
        console.warn(f"{name} has the word {word}, a name of yours or of this machine")
    console.folder(asked.to)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        "scvae export",
        description="Copies a run or a sweep without what is private: folders, the log, "
        "Hydra's record. The copy can be loaded, embedded with, shown and verified.",
        epilog="The copy has the names and types of your cells and the columns that were kept; "
        "cells.h5ad, if the run wrote it, has their values. docs/formats.md says more.",
        examples=EXAMPLES,
    )
    parser.add_argument("run", metavar="RUN", type=at_home, help="folder of a run or a sweep")
    parser.add_argument(
        "--to", metavar="FOLDER", type=at_home, required=True, help="a new folder for the copy"
    )
    add_quiet(parser)
    return parser.parse_args(arguments)


def _check_new(path: Path, to: Path) -> None:
    """Refuse a folder that exists, that cannot be made, or that is in the run."""
    if to.exists() or to.is_symlink():
        raise InputError(Kind.EXISTS, to, "exists already", "give another folder with --to")
    parent = to.absolute().parent
    if not parent.is_dir():
        raise InputError(Kind.MISSING, to, f"there is no folder {parent}", "make it first")
    if path in (parent.resolve(), *parent.resolve().parents):
        raise InputError(Kind.CONFLICT, to, "is inside what is copied", "give another with --to")


def _runs_of(path: Path) -> list[Run]:
    """Open the runs of a sweep, each of which must have ended and be whole.

    Raises:
        InputError: one is not.
    """
    names = {job["folder"] for job in read_json(path, "sweep")["jobs"]}
    runs = [Run(p) for p in sorted(path.iterdir()) if p.name in names and p.is_dir()]
    fix = f"`scvae train resume={shown(path)}` does it"
    if missing := names - {run.path.name for run in runs}:
        raise InputError(Kind.MISSING, Given("", shown(path)), f"{min(missing)} is missing", fix)
    for run in runs:
        if run.status == "unfinished" or run.damaged:
            given = Given("", shown(run.path))
            reason = "did not end, or a file is not what it wrote"
            raise InputError(Kind.DAMAGED, given, reason, fix)
    return runs


def _copy_run(run: Run, folder: Path, private: Private) -> tuple[list[str], list[str]]:
    """Copy a run into an empty folder.

    Returns:
        Names of files that differ from the run's, and of those that are left out.

    Raises:
        InputError: a folder stands where it cannot be taken out.
    """
    # Files for MultiQC name the folder above the run.
    names = [name for name in run.files if name not in files_of("multiqc") or name in files_of()]
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(run.path / name, folder / name)
    record = _shareable(run.record, private)
    record["overrides"] = shareable_words(run.record.get("overrides", []), private.text)
    if "config.yaml" in run.files:
        settings = shareable_settings(run.settings)
        write_file(folder / "config.yaml", settings_text(settings))
        if "cells.h5ad" in run.files:
            own = {"config": json.dumps(settings), "command": record["command"]}
            clean_h5ad(folder / "cells.h5ad", private, own)
    write_file(folder / "run.json", json_text(record))
    if REPORT in run.files:
        write_file(folder / REPORT, run_page(Run(folder)).encode())
    files = {name: sha256_of(folder / name) for name in names}
    changed = ["run.json", *(name for name, sha in files.items() if run.files[name] != sha)]
    left = _left(run.path, {"run.json", *(name.split("/")[0] for name in names)})
    exported = {"when": now(), "changed": changed, "left_out": left}
    write_file(folder / "run.json", json_text({**record, "files": files, "exported": exported}))
    _check(folder, private)
    return changed, left


def _copy_sweep(
    path: Path, runs: list[Run], folder: Path, private: Private
) -> tuple[list[str], list[str]]:
    """Copy a sweep into an empty folder, and sum its runs up again; returns as `_copy_run`."""
    changed: dict[str, None] = {}
    left: dict[str, None] = {}
    for run in runs:
        (folder / run.path.name).mkdir()
        theirs, without = _copy_run(run, folder / run.path.name, private)
        changed |= dict.fromkeys(theirs)
        left |= dict.fromkeys(without)
    copies = [Run(folder / run.path.name) for run in runs]
    before = read_json(path, "sweep")
    record = _shareable(before, private)
    record["jobs"] = [
        {**job, "overrides": shareable_words(job["overrides"], private.text)}
        for job in before["jobs"]
    ]
    if any(run.flat_settings for run in copies):
        n_done = [run.status for run in runs].count("done")
        notes = [f"{len(runs)} runs, {n_done} with a result."]
        write_summary(
            folder, copies, title=f"Sweep {folder.name}", notes=notes, by=None, score=None,
            command=record["command"],
        )  # fmt: skip
    known = {*OF_SWEEP, REPORT, *(run.path.name for run in runs)}
    left |= dict.fromkeys(_left(path, known))
    changed |= dict.fromkeys(p.name for p in sorted(folder.iterdir()) if p.is_file())
    changed["sweep.json"] = None
    exported = {"when": now(), "changed": [*changed], "left_out": [*left]}
    write_file(folder / "sweep.json", json_text({**record, "exported": exported}))
    _check(folder, private)
    return [*changed], [*left]


def _shareable(record: Any, private: Private) -> dict[str, Any]:
    """Return run.json or sweep.json without folders."""
    words = shlex.split(record["command"])
    shared: dict[str, Any] = private.values({k: v for k, v in record.items() if k != "cwd"})
    command = [*words[:2], *shareable_words(words[2:], private.text)]
    return {**shared, "command": shlex.join(command)}


def _left(path: Path, copied: set[str]) -> list[str]:
    """Return the names of what is in a folder and was not copied."""
    return sorted(p.name for p in path.iterdir() if p.name not in copied)


def _texts(folder: Path) -> dict[str, str]:
    """Return the files of text in a folder and below, by their paths there."""
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".json", ".yaml", ".csv", ".md", ".html", ".svg")
    }


def _check(folder: Path, private: Private) -> None:
    """Refuse an export with a folder in it.

    Raises:
        InputError: a file has one, as names of cells may.
    """
    for name, text in _texts(folder).items():
        if (found := private.folder_in(text)) is not None:
            fix = "train without that column of the cells (data.keep, data.label_key)"
            raise InputError(Kind.UNSAFE, Path(name), f"has the folder {found} in it", fix)


def _names_in(folder: Path, private: Private) -> dict[str, str]:
    """Return the user's or the machine's name where a file has it, by the file's path."""
    found = {name: private.name_in(text) for name, text in _texts(folder).items()}
    return {name: word for name, word in found.items() if word is not None}
