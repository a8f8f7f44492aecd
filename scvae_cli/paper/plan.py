"""`scvae paper`: every run behind the reproduction of the report, then the page about them.

Runs go to folders of fixed names; one that is there, with the settings it should have, is not
done again.
"""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from scvae_cli.commands.arguments import Parser
from scvae_cli.console import Console, minutes
from scvae_cli.interrupts import WORDS, exit_code
from scvae_cli.launch.runs import DONE, FAILED, REFUSED, compose, logged, start
from scvae_cli.runs.folder import claim, discard, read_json, read_record

BETAS = [0.5, 1.0, 4.0, 8.0]  # and 2, which the report's own runs have
BETA_SEEDS = 5
MAPS = range(5)  # seeds of further maps of one training


@dataclass(frozen=True)
class Run:
    """One run of the reproduction.

    Attributes:
        name: of its folder.
        overrides: what to say after `scvae train`.
        trained: name of the run whose training it uses, if any.
        cost: its time, roughly, in trainings of the report's size.
        may_fail: whether that it fails would be a result.
    """

    name: str
    overrides: tuple[str, ...]
    trained: str | None = None
    cost: float = 1.2
    may_fail: bool = False


def plan(seeds: range, *, quick: bool) -> list[Run]:
    """The runs, those first on which most depends."""
    runs = []
    for seed in seeds:
        once = (f"seed={seed}", f"map_3d={str(seed == 0).lower()}")
        for model in ("ae", "vae", "vsc"):
            # The AE's z may be 0 for all cells at the end, behind its ReLU.
            given = (f"experiment=report/{model}", *once)
            runs.append(Run(f"report-{model}-{seed}", given, may_fail=model == "ae"))
        for model in ("vae", "vsc"):
            runs.append(
                Run(
                    f"corrected-{model}-{seed}",
                    (f"experiment=corrected/{model}", *once),
                    trained=f"report-{model}-{seed}",
                    cost=0.25,
                )
            )
        runs.append(Run(f"corrected-pca-{seed}", ("experiment=corrected/pca", *once), cost=0.25))
    code = ("seed=0", "map_3d=false")
    runs.append(Run("code-ae-0", ("experiment=code/ae", *code)))
    if quick:
        return runs
    for model in ("vae", "vsc"):
        runs.append(Run(f"code-{model}-0", (f"experiment=code/{model}", *code), cost=10))
    for seed in MAPS:
        for model in ("ae", "vae", "vsc"):
            runs.append(
                Run(
                    f"map-{model}-{seed}",
                    # From a start of principal components, every seed gives the same map.
                    (
                        f"experiment=report/{model}",
                        f"tsne.seed={seed}",
                        "tsne.init=random",
                        *code,
                    ),
                    trained=f"report-{model}-0",
                    cost=0.25,
                )
            )
    for seed in seeds[:BETA_SEEDS]:
        for beta in BETAS:
            for model in ("vae", "vsc"):
                overrides = (f"experiment=corrected/{model}", f"seed={seed}", f"beta={beta:g}")
                runs.append(Run(f"beta-{model}-{beta:g}-{seed}", (*overrides, "map_3d=false")))
    for model, cost in (("ae", 3), ("vae", 11)):
        scaled = (f"experiment=code/{model}", "data.scale=10", *code)
        runs.append(Run(f"scaled-{model}-0", scaled, cost=cost, may_fail=True))
    return runs


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
        found = read_record(root, run.name, config.model_dump(), failed_too=run.may_fail)
        total -= run.cost
        if found is not None:
            path, record = found
            state = "done before" if record["status"] == "done" else "failed before"
            code = DONE if record["status"] == "done" else FAILED
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
