"""`scvae paper`: run every run behind the reproduction of the report, then write the page.

Runs go to folders of fixed names. A run that is there, with the settings it should have, is not
repeated.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from scvae_cli.commands.arguments import Parser, add_quiet
from scvae_cli.console import Console, minutes
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.interrupts import WORDS, exit_code
from scvae_cli.launch.compose import compose
from scvae_cli.launch.execute import FAILED, REFUSED, logged, start
from scvae_cli.launch.places import quoted
from scvae_cli.paper.plan import Planned, plan
from scvae_cli.runs.claim import claim, discard
from scvae_cli.runs.run import Run
from scvae_cli.runs.same import find_same

EXAMPLES = {
    "--quick": "one seed, about 8 minutes",
    "--to docs": "ten seeds, 3 to 5 hours; writes docs/reproduction.md",
}


def paper(arguments: list[str]) -> None:
    """Run `scvae paper` with these arguments.

    Raises:
        InputError: they, or settings among them, are not allowed.
        SystemExit: a run failed.
    """
    asked = _parse(arguments)
    root = Path(asked.runs or ("outputs/paper-quick" if asked.quick else "outputs/paper"))
    runs = plan(range(1 if asked.quick else asked.seeds), quick=asked.quick)
    console = Console(quiet=asked.quiet, live=not asked.quiet)
    try:
        done, failed = _perform(runs, root, asked.overrides, console)
    except KeyboardInterrupt as error:
        code = exit_code(error)
        console.error(f"{WORDS[code]}; the same command continues from what is in {root}")
        raise SystemExit(code) from None
    for needed in sorted({run.name.rsplit("-", 1)[0] for run in plan(range(1), quick=True)}):
        if not any(name.startswith(f"{needed}-") for name in done):
            console.error(
                f"no run of {needed} ended well, so there is no page; runs are in {root}"
            )
            raise SystemExit(FAILED)
    _write_page(done, failed, asked, root, console)
    if any(run.name in failed and not run.may_fail for run in runs):
        console.error(f"failed: {', '.join(failed)}; their logs are in {root}")
        raise SystemExit(FAILED)


def _write_page(
    done: dict[str, Run],
    failed: dict[str, str],
    asked: argparse.Namespace,
    root: Path,
    console: Console,
) -> None:
    """Write the page, and show the scores on the 2-D map."""
    from scvae_cli.paper.page import write

    console.line("writing the page")
    how = ["--quick"] if asked.quick else [f"--seeds={asked.seeds}"]
    command = " ".join(["scvae paper", *how, *asked.overrides])  # not where files are
    page, summary = write(done, failed, Path(asked.to or root), asked.labels, command)
    console.line("k-means on the 2-D map:")
    console.table(summary)
    console.folder(page)


class _TimeLeft:
    """Estimates how long the runs that are left take, from the cost of those that ended."""

    def __init__(self, runs: Sequence[Planned]) -> None:
        self._left = sum(run.cost for run in runs)
        self._spent = 0.0
        self._began = perf_counter()

    def begin(self, run: Planned) -> None:
        """Take a run off those that are left."""
        self._left -= run.cost

    def end(self, run: Planned) -> float:
        """Return the seconds that are left after a run that was not done before."""
        self._spent += run.cost
        return (perf_counter() - self._began) / self._spent * max(self._left, 0.0)


def _perform(
    runs: list[Planned], root: Path, overrides: list[str], console: Console
) -> tuple[dict[str, Run], dict[str, str]]:
    """Run what is not done yet.

    Returns:
        The runs that ended well, and why the others failed, by name.
    """
    done: dict[str, Run] = {}
    failed: dict[str, str] = {}
    time_left = _TimeLeft(runs)
    for number, run in enumerate(runs, start=1):
        if run.trained in failed:
            failed[run.name] = f"{run.trained} failed"
            continue
        arguments = [*run.overrides, *overrides]
        if run.trained:
            arguments.append(f"trained={quoted(done[run.trained].path)}")
        result, state = _result(run, root, arguments, time_left)
        if result.status == "done":
            done[run.name] = result
        else:
            failed[run.name] = str(result.record["reason"])
            state += ", failed"
        console.line(f"  [{number:>{len(str(len(runs)))}}/{len(runs)}] {run.name:<20} {state}")
    return done, failed


def _result(
    run: Planned, root: Path, arguments: list[str], time_left: _TimeLeft
) -> tuple[Run, str]:
    """Start a run, unless its result is there already.

    Returns:
        The run, and what to say: how long it took, or that it was done before.

    Raises:
        SystemExit: the run was refused, as all others would be.
    """
    config = compose(arguments)
    earlier = find_same(root, run.name, config.model_dump(), failed_too=run.may_fail)
    time_left.begin(run)
    if earlier is not None:
        return earlier, f"{earlier.status} before"
    path, created = claim(root / run.name, exact=False, named_by="--runs")
    before = perf_counter()
    with logged(path):
        code, _ = start(config, path, arguments, arguments, Console(quiet=True))
    if code == REFUSED:
        discard(created)
        raise SystemExit(REFUSED)
    seconds = perf_counter() - before
    return Run(path), f"{minutes(seconds)}, {minutes(time_left.end(run))} left"


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options and settings that were given.

    Raises:
        InputError: they are not allowed.
    """
    parser = Parser(
        "scvae paper",
        description="Reproduce the report from raw counts: trainings, tables, figures, verdicts.",
        examples=EXAMPLES,
        epilog="Interrupted, the same command continues.",
    )
    parser.add_argument("--quick", action="store_true", help="one seed, no sweep over beta")
    parser.add_argument(
        "--seeds", type=int, default=10, help="trainings of each model (%(default)s)"
    )
    parser.add_argument("--to", metavar="FOLDER", help="where the page goes (with the runs)")
    parser.add_argument("--labels", metavar="FILE", help="csv of other labels to score against")
    parser.add_argument("--runs", metavar="FOLDER", help="where runs go (outputs/paper)")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings for every run")
    add_quiet(parser)

    asked = parser.parse_intermixed_args(arguments)
    if asked.seeds < 2:
        given = Given("--seeds", asked.seeds)
        raise InputError(Kind.VALUE, given, "must be at least 2", "give --quick for one")
    if asked.labels and not Path(asked.labels).is_file():
        raise InputError(Kind.MISSING, Given("--labels", asked.labels), "no such file")
    for override in asked.overrides:
        if not re.match(r"[\w.+~]+=", override):
            raise InputError(Kind.VALUE, Given("", override), "is not KEY=VALUE")
    return asked
