"""Write docs/reliability.md from the faults that struck."""

from collections import Counter
from collections.abc import Sequence

from benchmarks.faults.runs import Fault
from scvae_cli.results.markdown import table


def text(faults: Sequence[Fault], seed: int) -> str:
    """Return the page.

    Args:
        faults: all of them.
        seed: of the random moments.
    """
    return PAGE.format(table=tabulate(faults), seed=seed, n=len(faults))


def tabulate(faults: Sequence[Fault]) -> str:
    """Return a table with a row for each kind of fault and place."""
    groups: dict[tuple[str, str], list[Fault]] = {}
    for fault in faults:
        groups.setdefault((fault.kind, fault.when), []).append(fault)
    rows = []
    for (kind, when), some in sorted(groups.items()):
        codes = ", ".join(str(code) for code in sorted({fault.code for fault in some}))
        losses = Counter(name for fault in some for name in fault.lost)
        listed = ", ".join(f"{name} ({n})" for name, n in losses.items()) or "nothing"
        rows.append([kind, when, str(len(some)), codes, listed])
    return table(["fault", "where", "times", "exit codes", "lost"], rows)


PAGE = """\
# What is lost when something goes wrong

`make faults` wrote this page: {n} faults, for real, in runs of some seconds, at moments drawn at
random (seed {seed}). After each, `scvae train resume=RUN` continued the run, and every file was
compared, byte by byte, with those of a run that nothing happened to: weights, latent space, map,
clusters, scores, figures, and the history but for its seconds.

{table}

"Where" is the stage that the run was in, or the file that was spoilt. Exit codes are those of the
command that met the fault: 143 after SIGTERM, 130 after Ctrl-C, 129 after SIGHUP (the terminal
was closed), 1 where a run failed, 2 where it was refused, -9 of a process that was killed and
could say nothing.

What a killed process was writing lies beside the file, as `.NAME.writing-...`, until the next
command that writes in that folder removes it; what a living process writes stays.

run.json alone is not mended: without it nobody can tell what the run was. It is refused with a
line, and the run's other files stay as they are.
"""
