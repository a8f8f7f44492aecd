"""`scvae choose FILE`: which latent space for these cells?

Trains candidates as a sweep, measures them without the cells' types, recommends one and runs it.
The folder has the sweep, choice.csv, .md and .png, report.html, and that run in chosen-NAME/,
which the link `chosen` points at.
"""

import argparse
import os
import re
import shlex
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Timer

from scvae_cli.choice.plan import CANDIDATES, CHOSEN, CONTROL, GENES, experiment, sweep_words
from scvae_cli.commands.arguments import Parser, add_quiet
from scvae_cli.config import Config
from scvae_cli.console import Console
from scvae_cli.data.sources import SOURCES, load
from scvae_cli.errors import Given, InputError, Kind, unknown_choice
from scvae_cli.interrupts import INTERRUPTED
from scvae_cli.launch.compose import compose, keys_of
from scvae_cli.launch.execute import FAILED, REFUSED
from scvae_cli.launch.places import at_home, quoted, shown
from scvae_cli.launch.resume import resume
from scvae_cli.launch.sweep import JOBS_ONLY
from scvae_cli.launch.train import launch
from scvae_cli.options import FileConfig, PBMC3kConfig
from scvae_cli.results.runs import find_runs
from scvae_cli.runs.claim import point_latest
from scvae_cli.runs.run import Run, find
from scvae_cli.threads import available

OURS = {
    "experiment", "model", "seed", "resume", "validation", "latent_dim", "likelihood", "ensemble",
    "hydra.sweep.dir", "hydra.run.dir",
}  # fmt: skip
LEAST_CELLS = 50  # with fewer, neighbours and clusters tell nothing

FEW = f"%(default)s; with fewer, {CONTROL} is recommended"
EXAMPLES = {
    "pbmc.h5ad": "counts of your own",
    "pbmc.h5ad --minutes 20": "compare what is trained by then",
    "pbmc.h5ad data.label_key=cell_type": "scores too, which have no say",
    "pbmc3k --candidates pca-50,vae-nb --seeds 5": "fewer candidates, more seeds",
}


def choose(arguments: list[str]) -> None:
    """Run `scvae choose` with these arguments.

    Raises:
        InputError: they are not allowed, or the cells cannot be had or have no counts.
        SystemExit: it was interrupted, or a run failed that is needed.
    """
    asked = _parse(arguments)
    words = [*_source(asked.what), *asked.settings, *(["quiet=true"] if asked.quiet else [])]
    config = compose(words)
    folder = _folder(asked.to, Path(config.output_dir))
    console = Console(quiet=config.quiet, live=not config.quiet)
    with console.busy("loading cells"):
        words += _further(config, words)
    candidates = [name for name in asked.candidates if _fits(name, words)]
    for name in sorted({*asked.candidates} - {*candidates}):
        console.line(f"{name} is left out: it chooses genes, and these cells keep all of theirs")
    again = shlex.join(["scvae", "choose", *arguments])
    if not asked.to:
        again += f" --to {shlex.quote(shown(folder))}"
    _train(sweep_words(candidates, asked.seeds, words), folder, asked.minutes, again, console)
    runs = [run for run in find_runs([folder]) if not run.path.name.startswith(CHOSEN)]
    if not (done := [run for run in runs if run.status == "done"]):
        console.error(f"no candidate has a result; `{again}` continues")
        raise SystemExit(FAILED)
    _choose(done, folder, words, again, console)


def _choose(
    done: Sequence[Run], folder: Path, words: Sequence[str], again: str, console: Console
) -> None:
    """Measure the candidates, recommend one, run it, and write and show the verdict."""
    with console.busy("measuring the candidates"):
        from scvae_cli.choice.criteria import measure
        from scvae_cli.choice.page import brief, write_choice
        from scvae_cli.choice.verdict import judge

        table = measure(done)
    verdict = judge(table, CANDIDATES)
    console.table(brief(table, intervals=False))
    console.line("")
    for line in verdict.in_words():
        console.line(line)
    cells = [word for word in words if not word.startswith(("force=", "hydra"))]
    command = [experiment(verdict.chosen), *cells]
    loud = [word for word in command if not word.startswith("quiet=")]
    text = shlex.join(["scvae", "train", *loud])
    console.line(f"Recommended, and run now: {text}")
    chosen = _run_chosen(command, folder / f"{CHOSEN}{verdict.chosen}", again, console)
    point_latest(folder, chosen.path, "chosen")
    write_choice(folder, table, verdict, chosen=chosen, runs=done, command=text)
    console.folder(Path(shown(folder / "report.html")))


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options and settings that were given.

    Raises:
        InputError: they are not allowed.
    """
    parser = Parser(
        "scvae choose",
        description="Which latent space for these cells? Trains candidates, measures them without "
        "the cells' types, recommends one and runs it.",
        examples=EXAMPLES,
        epilog="Interrupted, the same command with --to FOLDER continues.",
    )
    parser.add_argument(
        "what", metavar="NAME-or-FILE", help="pbmc3k, synthetic, or a file or folder of cells"
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="as of `scvae train`")
    parser.add_argument(
        "--candidates",
        default=",".join(CANDIDATES),
        metavar="NAMES",
        help=f"some of {', '.join(CANDIDATES)}; {CONTROL} is always one",
    )
    parser.add_argument("--seeds", type=int, default=3, help=f"trainings of each ({FEW})")
    parser.add_argument(
        "--minutes", type=float, help="begin to measure after this time, with what is trained"
    )
    parser.add_argument("--to", metavar="FOLDER", type=at_home, help="where it goes (outputs/...)")
    add_quiet(parser)
    asked = parser.parse_intermixed_args(arguments)
    asked.candidates = list(dict.fromkeys([CONTROL, *asked.candidates.split(",")]))
    for name in asked.candidates:
        if name not in CANDIDATES:
            raise unknown_choice("--candidates", name, CANDIDATES)
    if asked.seeds < 1:
        raise InputError(Kind.VALUE, Given("--seeds", asked.seeds), "must be at least 1")
    if asked.minutes is not None and not 0 < asked.minutes < 1e5:
        raise InputError(Kind.VALUE, Given("--minutes", asked.minutes), "must be above 0")
    for word in asked.settings:
        if not re.match(r"[\w.+~/@]+=", word):
            fix = "give one file, then settings"
            raise InputError(Kind.VALUE, Given("", word), "is not KEY=VALUE", fix)
    for key in keys_of(asked.settings) & OURS:
        raise InputError(Kind.CONFLICT, key, "is what `scvae choose` sets", "leave it out")
    return asked


def _source(what: str) -> list[str]:
    """Return the words that name the cells."""
    if what in SOURCES:
        return [f"data={what}"]
    return ["data=file", f"data.path={what if Path(what).exists() else quoted(what)}"]


def _further(config: Config, words: list[str]) -> list[str]:
    """Return what the user did not say: how many genes and clusters, and how to run the sweep.

    Raises:
        InputError: the cells cannot be had, are too few, or have no whole counts.
    """
    dataset = load(**config.data.model_dump())
    given = Given("data", dataset.name)
    if dataset.recipe.totals is None or not dataset.recipe.whole:
        reason = "has no whole counts, of which `scvae choose` holds a part out"
        raise InputError(
            Kind.CONFLICT, given, reason, "give counts (data.layer=NAME, data.raw=true)"
        )
    if config.data.scale is not None:
        key = Given("data.scale", config.data.scale)
        raise InputError(Kind.CONFLICT, key, "makes z-scores of counts", "leave it out")
    if dataset.covariates is not None:
        told = [*dataset.covariates.keys, *dataset.covariates.names]
        raise InputError(
            Kind.CONFLICT,
            Given("", f"batches ({', '.join(told)})"),
            "cannot be told here: neighbours of a cell's own batch predict its molecules best, so "
            "that what keeps batches apart would be recommended",
            "give one batch, or `scvae train experiment=batches`",
        )
    if dataset.n_cells < LEAST_CELLS:
        reason = f"has {dataset.n_cells} cells"
        raise InputError(Kind.CONTENT, given, reason, f"give {LEAST_CELLS} or more")
    further = []
    if isinstance(config.data, FileConfig | PBMC3kConfig) and config.data.genes is None:
        further += [f"data.genes={GENES}"] if dataset.n_genes > GENES else []
    parallel = available() > 1 and find_spec("hydra_plugins.hydra_joblib_launcher")
    if parallel and not any(word.startswith("hydra/launcher=") for word in words):
        further.append("hydra/launcher=joblib")
    return further


def _fits(candidate: str, words: Sequence[str]) -> bool:
    """Return whether a candidate can be had with these words: genes must be chosen by something.

    Raises:
        InputError: the words cannot be composed.
    """
    keys = keys_of(words)
    return candidate != "pca-deviance" or "data.genes" in keys


def _folder(asked: Path | None, output_dir: Path) -> Path:
    """Return the folder that was asked for, or a new one below `output_dir`.

    Raises:
        InputError: what is there is no sweep.
    """
    if asked is None:
        now = datetime.now().astimezone()
        return output_dir / f"{now:%Y-%m-%d}" / f"{now:%H-%M-%S}-choose"
    if asked.exists() and not asked.is_dir():
        raise InputError(Kind.EXISTS, Given("--to", asked), "is a file", "give a new folder")
    if asked.exists() and not (asked / "sweep.json").exists() and any(asked.iterdir()):
        reason = "is not empty, and not a folder of `scvae choose`"
        raise InputError(Kind.EXISTS, Given("--to", asked), reason, "give a new folder")
    return asked


def _train(
    words: list[str], folder: Path, minutes: float | None, again: str, console: Console
) -> None:
    """Train what has not been trained.

    Args:
        words: from `sweep_words`.
        folder: of the sweep.
        minutes: after which training ends; None for never.
        again: the command that continues.
        console: where messages go.

    Raises:
        SystemExit: it was refused or interrupted.
    """
    key = "resume" if (folder / "sweep.json").exists() else "hydra.sweep.dir"
    token = JOBS_ONLY.set(True)
    try:
        with _interrupted_after(minutes) as is_over:
            launch([*words, f"{key}={quoted(folder)}"])
    except InputError as error:
        if error.key != key:
            raise
        fix = "give another with --to FOLDER" if key == "hydra.sweep.dir" else error.fix
        raise InputError(error.kind, Given("--to", folder), error.reason, fix) from error
    except (SystemExit, KeyboardInterrupt) as stop:
        code = stop.code if isinstance(stop, SystemExit) else INTERRUPTED
        if code == INTERRUPTED and is_over.is_set():
            console.line(f"{minutes:g} minutes are over; what is trained is measured")
        elif code == FAILED:
            console.line("candidates without a result are left out")
        else:
            if code != REFUSED and (folder / "sweep.json").exists():
                console.error(f"`{again}` continues")
            raise
    finally:
        JOBS_ONLY.reset(token)


@contextmanager
def _interrupted_after(minutes: float | None) -> Iterator[Event]:
    """Interrupt the block, as Ctrl-C does, after some minutes; the event says that it was so."""
    is_over = Event()

    def interrupt() -> None:
        is_over.set()
        os.kill(os.getpid(), signal.SIGINT)

    timer = Timer(60 * minutes, interrupt) if minutes is not None else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield is_over
    finally:
        if timer:
            timer.cancel()


def _run_chosen(words: Sequence[str], path: Path, again: str, console: Console) -> Run:
    """Run the recommended candidate, or continue its run, with its cells as h5ad.

    Raises:
        SystemExit: the run did not end well.
    """
    try:
        if find(path) is not None:
            resume(path, [])
        else:
            launch([*words, "h5ad=true", f"hydra.run.dir={quoted(path)}"])
    except SystemExit as stop:
        if stop.code:
            console.error(f"`{again}` continues")
            raise
    return Run(path).read_all()
