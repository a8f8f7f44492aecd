"""What a person sees while a run works; the only module that uses rich.

Progress goes to standard error, results to standard output. Every line also goes to the log.
Texts are taken as they are, but for what a terminal would obey: see `visible`.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console as Rich
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from scvae_cli.visible import visible

log = logging.getLogger("scvae")
log.addHandler(logging.NullHandler())  # until there is a folder to log to, the terminal is enough

LABELS = {"tsne_2d": "t-SNE 2-D", "tsne_3d": "t-SNE 3-D", "cluster": "k-means"}


class Stage:
    """A stage while it runs: what it did, and how long it took."""

    def __init__(self, bar: "_Bar") -> None:
        self.text = ""
        self.seconds = 0.0
        self._bar = bar

    def say(self, text: str) -> None:
        """Take what was done, in a few words, to show when the stage is over."""
        self.text = text

    def epoch(self, row: Mapping[str, float], epochs: int) -> None:
        """Show one more epoch of `epochs`, with its loss terms."""
        self._bar.show(row, epochs)

    def download(self, done: int, total: int) -> None:
        """Show how many bytes of `total` are here."""
        text = f"downloading {done / 1e6:.1f} of {total / 1e6:.1f} MB"
        self._bar.move(text, done, total)


class _Bar:
    """Progress of a stage: a moving bar on a terminal, a line every tenth of the way elsewhere."""

    def __init__(self, rich: Rich, label: str, *, quiet: bool) -> None:
        self._rich = rich
        self._quiet = quiet
        bar: ProgressColumn = BarColumn(bar_width=16)
        name = TextColumn("{task.description}", markup=False)
        text = TextColumn("{task.fields[text]}", markup=False)
        self.progress = Progress(
            name, bar, text, TimeRemainingColumn(compact=True),
            console=rich, transient=True, disable=not rich.is_terminal or rich.quiet,
        )  # fmt: skip
        self._task = self.progress.add_task(f"  {label:<9}", total=None, text="")

    def move(self, text: str, done: int, total: int) -> None:
        """Show how much is done, and of what kind of work."""
        self.progress.update(self._task, total=total, completed=done, text=visible(text))

    def show(self, row: Mapping[str, float], epochs: int) -> None:
        """Show epoch, loss terms and, on a terminal, the time left."""
        epoch = int(row["epoch"])
        text = (
            f"epoch {epoch}/{epochs}  loss {row['total']:.6g} "
            f"(rec. {row['reconstruction']:.5g}, kl {row['kl']:.4g})"
        )
        self.move(text, epoch, epochs)
        if epoch * 10 // epochs > (epoch - 1) * 10 // epochs:
            log.info(text)
            if not self._rich.is_terminal and not self._quiet:
                _print(self._rich, f"            {text}")


class Jobs:
    """The jobs of a sweep: a line for each that ended, and below them, on a terminal, the rest."""

    def __init__(self, rich: Rich, total: int, done: int) -> None:
        self._rich = rich
        self.progress = Progress(
            BarColumn(bar_width=20),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=False)),
            console=rich, transient=True, disable=not rich.is_terminal,
        )  # fmt: skip
        self._task = self.progress.add_task("", total=total, completed=done)

    def ended(self, text: str, warnings: Sequence[str] = ()) -> None:
        """Write a line for a job that ended, well or not, and for each warning of its run."""
        _print(self._rich, text)
        for warning in warnings:
            _print(self._rich, ("    warning: ", "yellow"), warning)

    def update(
        self, done: int, running: Sequence[str], failed: int, left: int, seconds: float | None
    ) -> None:
        """Show how many jobs are done, run, failed and are left, and how long they will take."""
        text = f"{done} done, {len(running)} running, {failed} failed, {left} left"
        if seconds is not None and left + len(running):
            text += f", {minutes(seconds)} to go"
        text = "\n".join([text, *(f"  {visible(name)}" for name in running)])
        self.progress.update(self._task, description=text, completed=done + failed)


class Console:
    """The terminal, or whatever stands in its place.

    Args:
        quiet: whether what a run did and got is only logged; its progress is shown.
        silent: whether all is only logged.
    """

    def __init__(self, *, quiet: bool = False, silent: bool = False) -> None:
        self._quiet = quiet or silent
        plain: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
        self._err = Rich(stderr=True, quiet=silent, **plain)
        self._out = Rich(quiet=silent, **plain)

    def line(self, text: str) -> None:
        """Write a line about the run as a whole."""
        log.info(visible(text))
        if not self._quiet:
            _print(self._err, text)

    def warn(self, text: str) -> None:
        """Write a warning, which does not stop the run."""
        log.warning(visible(text))
        _print(self._err, ("warning: ", "yellow"), text)

    def error(self, text: str) -> None:
        """Write why there is no result, in a line or several."""
        for line in text.split("\n"):
            log.error(visible(line))
            _print(self._err, ("scvae: ", "red"), line)

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """Show, on a terminal, that something is being done."""
        shown = self._err.is_terminal and not self._err.quiet
        with self._err.status(Text(visible(text))) if shown else nullcontext():
            yield

    @contextmanager
    def jobs(self, total: int, done: int) -> Iterator["Jobs"]:
        """Show how many jobs of a sweep are done, which run, and when all will be done."""
        jobs = Jobs(self._err, total, done)
        with jobs.progress:
            yield jobs

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Show that a stage runs, then what it did and how long it took."""
        label = LABELS.get(name, name)
        bar = _Bar(self._err, label, quiet=self._quiet)
        stage = Stage(bar)
        start = perf_counter()
        with bar.progress:
            yield stage
        stage.seconds = perf_counter() - start
        text = f"  {label:<9} {stage.text:<57} {stage.seconds:>8.1f} s"
        log.info(visible(text.strip()))
        if not self._quiet:
            _print(self._err, text)

    def scores(self, rows: Mapping[str, Mapping[str, float]]) -> None:
        """Write the table of scores: a row for each space that was clustered."""
        table = Table("k-means on", box=None, padding=(0, 2), header_style="bold")
        for name in next(iter(rows.values())):
            table.add_column(name.upper(), justify="right")
        for space, values in rows.items():
            table.add_row(space, *(f"{value:.3f}" for value in values.values()))
            log.info("%s: %s", space, " ".join(f"{k} {v:.6f}" for k, v in values.items()))
        if self._quiet:
            return
        self._err.print()
        self._out.print(table)

    def table(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Write a table of texts, its columns named by the keys."""
        apart = 2 if len(rows[0]) < 6 else 1
        table = Table(box=None, padding=(0, apart), header_style="bold")
        for i, name in enumerate(rows[0]):
            table.add_column(visible(name), justify="right" if i else "left")
        for row in rows:
            table.add_row(*map(visible, row.values()))
        self._err.print()
        self._out.print(table)

    def facts(self, facts: Iterable[tuple[str, str]]) -> None:
        """Write names and what they are, a line each."""
        facts = list(facts)
        width = max(len(name) for name, _ in facts)
        for name, text in facts:
            _print(self._out, (f"{name:<{width}}  ", "bold"), text)

    def folder(self, path: Path) -> None:
        """Write where everything is."""
        self._err.print()
        _print(self._out, str(path))


def minutes(seconds: float) -> str:
    """Return a time as a person says it: `40 s`, `12 min`, `1.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _print(rich: Rich, *parts: str | tuple[str, str]) -> None:
    """Write a line of texts, some of them with a style."""
    styled = [(part, "") if isinstance(part, str) else part for part in parts]
    line = Text.assemble(*((visible(text), style) for text, style in styled))
    rich.print(line, soft_wrap=True)
