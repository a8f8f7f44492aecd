"""`scvae paper`: does every run behind the reproduction of the report, then writes the page.

Runs go to folders of fixed names; one that is there, with the settings it should have, is not
done again.
"""

import argparse
import re
from pathlib import Path
from time import perf_counter

from scvae_cli.commands.arguments import Parser
from scvae_cli.console import Console, minutes
from scvae_cli.interrupts import WORDS, exit_code
from scvae_cli.launch.compose import compose
from scvae_cli.launch.execute import DONE, FAILED, REFUSED, logged, start
from scvae_cli.paper.plan import Run, plan
from scvae_cli.runs.claim import claim, discard
from scvae_cli.runs.files import read_json
from scvae_cli.runs.same import find_same


def paper(arguments: list[str]) -> None:
    """`scvae paper` with these arguments.

    Raises:
        InputError: they, or settings among them, are not allowed.
        SystemExit: a run failed.
    """
    asked = _parse(arguments)
    root = Path(asked.runs or ("outputs/paper-quick" if asked.quick else "outputs/paper"))
    seeds = range(1 if asked.quick else asked.seeds)
    runs = plan(seeds, quick=asked.quick)
    console = Console()
    try:
        done, failed = _perform(runs, root, asked.overrides, console)
    except KeyboardInterrupt as error:
        code = exit_code(error)
        console.error(f"{WORDS[code]}; the same command goes on from what is in {root}")
        raise SystemExit(code) from None
    for needed in sorted({run.name.rsplit("-", 1)[0] for run in plan(range(1), quick=True)}):
        if not any(name.startswith(f"{needed}-") for name in done):
            console.error(
                f"no run of {needed} ended well, so there is no page; runs are in {root}"
            )
            raise SystemExit(FAILED)
    from scvae_cli.paper.page import write

    console.line("writing the page")
    how = ["--quick"] if asked.quick else [f"--seeds={asked.seeds}"]
    command = " ".join(["scvae paper", *how, *asked.overrides])  # not where files are
    page, gist = write(done, failed, Path(asked.to or root), asked.labels, command)
    console.line("k-means on the 2-D map:")
    console.table(gist)
    console.folder(page)
    if any(run.name in failed and not run.may_fail for run in runs):
        console.error(f"failed: {', '.join(failed)}; their logs are in {root}")
        raise SystemExit(FAILED)


def _perform(
    runs: list[Run], root: Path, overrides: list[str], console: Console
) -> tuple[dict[str, Path], dict[str, str]]:
    """Does what is not done yet.

    Returns:
        Folders of the runs that ended well, and why the others failed, by name.
    """
    done: dict[str, Path] = {}
    failed: dict[str, str] = {}
    total = sum(run.cost for run in runs)
    began = perf_counter()
    spent = 0.0
    for number, run in enumerate(runs, start=1):
        arguments = [*run.overrides, *overrides]
        if run.trained in failed:
            failed[run.name] = f"{run.trained} failed"
            continue
        if run.trained:
            arguments.append(f"trained='{done[run.trained]}'")
        config = compose(arguments)
        before_now = find_same(root, run.name, config.model_dump(), failed_too=run.may_fail)
        total -= run.cost
        if before_now is not None:
            path = before_now.path
            state = f"{before_now.status} before"
            code = DONE if before_now.status == "done" else FAILED
        else:
            path, created = claim(root / run.name, exact=False)
            before = perf_counter()
            with logged(path):
                code, _ = start(config, path, arguments, arguments, Console(quiet=True))
            if code == REFUSED:  # as would be all others
                discard(created)
                raise SystemExit(REFUSED)
            spent += run.cost
            left = (perf_counter() - began) / spent * max(total, 0.0)
            state = f"{minutes(perf_counter() - before)}, {minutes(left)} left"
        if code == DONE:
            done[run.name] = path
        else:
            failed[run.name] = read_json(path, "run")["reason"]
            state += ", failed"
        console.line(f"  [{number:>{len(str(len(runs)))}}/{len(runs)}] {run.name:<20} {state}")
    return done, failed


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        "scvae paper",
        description="Reproduce the report from raw counts: trainings, tables, figures, verdicts.",
        epilog="Interrupted, the same command goes on where it was.",
    )
    parser.add_argument("--quick", action="store_true", help="one seed, no sweep over beta")
    parser.add_argument(
        "--seeds", type=int, default=10, help="trainings of each model (%(default)s)"
    )
    parser.add_argument("--to", metavar="FOLDER", help="where the page goes (with the runs)")
    parser.add_argument("--labels", metavar="FILE", help="csv of other labels to score against")
    parser.add_argument("--runs", metavar="FOLDER", help="where runs go (outputs/paper)")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings for every run")

    asked = parser.parse_intermixed_args(arguments)
    if asked.seeds < 2:
        parser.error(f"--seeds {asked.seeds}: must be at least 2, or --quick for one")
    if asked.labels and not Path(asked.labels).is_file():
        parser.error(f"--labels {asked.labels}: no such file")
    for override in asked.overrides:
        if not re.match(r"[\w.+~]+=", override):
            parser.error(f"{override}: no setting; give KEY=VALUE")
    return asked
