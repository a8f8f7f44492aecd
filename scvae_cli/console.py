"""Show progress and results on the terminal; the only module that uses rich.

Progress goes to standard error, results to standard output. Every line also goes to the log.
Texts are printed as they are, without rich's markup; `visible` escapes what a terminal would obey.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.cells import cell_len
from rich.console import Console as Rich
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column, Table
from rich.text import Text

from scvae_cli.columns import STAGE_NAMES
from scvae_cli.measures import score_tables
from scvae_cli.visible import visible
from scvae_cli.widths import fitted

log = logging.getLogger("scvae")
log.addHandler(logging.NullHandler())  # until a log file exists, lines go only to the terminal


class Stage:
    """A running stage: the summary of its work, and its duration in seconds."""

    def __init__(self, bar: "Bar", report: Callable[[str], object]) -> None:
        self.text = ""
        self.seconds = 0.0
        self._bar = bar
        self._report = report

    def say(self, text: str) -> None:
        """Keep a summary of the stage in a few words; the console shows it when the stage ends."""
        self.text = text

    def progress(self, row: Mapping[str, float], total: int) -> None:
        """Show a row of the history of a training of `total` epochs, or updates."""
        self._bar.show(row, total)
        self._report(_count(row, total))

    def step(self, done: int, total: int, unit: str) -> None:
        """Show how many steps of `total` are done, which are `iteration`s, say."""
        text = f"{unit} {done} of {total}"
        self._bar.move(text, done, total)
        self._report(text)

    def download(self, done: int, total: int) -> None:
        """Show how many bytes of `total` are downloaded."""
        text = f"downloading {done / 1e6:.1f} of {total / 1e6:.1f} MB"
        self._bar.move(text, done, total)


class Bar:
    """Progress of a stage: a moving bar on a terminal, a line every tenth of the way elsewhere."""

    def __init__(self, rich: Rich, label: str, *, quiet: bool, live: bool) -> None:
        self._rich = rich
        self._quiet = quiet
        bar: ProgressColumn = BarColumn(bar_width=16)
        name = TextColumn("{task.description}", markup=False)
        text = TextColumn("{task.fields[text]}", markup=False)
        self.progress = Progress(
            name, bar, text, _TimeLeft(),
            console=rich, transient=True, disable=not live,
        )  # fmt: skip
        self._task = self.progress.add_task(f"  {label:<9}", total=None, text="")
        self._tenths = 0

    def move(self, text: str, done: int, total: int) -> None:
        """Show how much of `total` is done, and a text beside the bar."""
        self.progress.update(self._task, total=total, completed=done, text=visible(text))

    def show(self, row: Mapping[str, float], total: int) -> None:
        """Show epoch or update, loss terms and, on a terminal, the time left."""
        done = _done(row)
        terms = f"rec. {row['reconstruction']:.5g}, kl {row['kl']:.4g}"
        held_out = f", validation {row['validation']:.5g}" if "validation" in row else ""
        count = _count(row, total)
        text = f"{count}  loss {row['total']:.6g} ({terms}){held_out}"
        self.move(f"{count}, loss {row['total']:.6g}", done, total)
        tenths, self._tenths = self._tenths, done * 10 // total
        if self._tenths > tenths:
            log.info(text)
            if not self._rich.is_terminal and not self._quiet:
                _print(self._rich, f"            {text}")


def _done(row: Mapping[str, float]) -> int:
    """Return how many epochs, or updates, are done by a row of a history."""
    return int(row["updates" if "updates" in row else "epoch"])


def _count(row: Mapping[str, float], total: int) -> str:
    """Return `epoch 20 of 200`, or updates."""
    return f"{'update' if 'updates' in row else 'epoch'} {_done(row)} of {total}"


class _TimeLeft(ProgressColumn):
    """The time that a stage will still take, as soon as it can be estimated."""

    max_refresh = 0.5  # seconds

    def render(self, task: Task) -> Text:
        """Return it in words."""
        seconds = task.time_remaining
        return Text("" if seconds is None or task.finished else f"({minutes(seconds)} left)")


class Jobs:
    """The jobs of a sweep: a line for each that ended; on a terminal also a bar for the others."""

    def __init__(self, rich: Rich, total: int, done: int, *, quiet: bool, live: bool) -> None:
        self._rich = rich
        self._quiet = quiet
        text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=False))
        self._bar = Progress(BarColumn(bar_width=20), text, console=rich)
        self._task = self._bar.add_task("", total=total, completed=done)
        self._running = Text()
        parts = Group(self._bar, self._running)
        self.shown: AbstractContextManager[Any] = (
            Live(parts, console=rich, transient=True) if live else nullcontext()
        )

    def ended(self, text: str, warnings: Sequence[str] = (), *, failed: bool = False) -> None:
        """Write a line for a job that is done or failed, and one for each warning of its run."""
        if failed or warnings or not self._quiet:
            _print(self._rich, text)
        for warning in warnings:
            _print(self._rich, ("    warning: ", "yellow"), warning)

    def update(
        self, done: int, running: Sequence[str], failed: int, left: int, seconds: float | None
    ) -> None:
        """Show how many jobs are done, run, failed and wait, and the time they will all take."""
        text = f"{done} done, {len(running)} running, {failed} failed, {left} waiting"
        if seconds is not None and left + len(running):
            text += f", about {minutes(seconds)} left"
        self._bar.update(self._task, description=text, completed=done + failed)
        self._running.plain = "\n".join(f"  {visible(name)}" for name in running)


class Console:
    """Standard output and error, on a terminal or not.

    Args:
        quiet: whether all but warnings, errors and the folder goes only to the log; progress is
            shown.
        silent: whether everything goes only to the log.
        live: whether progress is shown on a terminal.
    """

    def __init__(self, *, quiet: bool = False, silent: bool = False, live: bool = True) -> None:
        self._quiet = quiet or silent
        plain: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
        self._err = Rich(stderr=True, quiet=silent, **plain)
        self._out = Rich(quiet=silent, **plain)
        self._live = live and self._err.is_terminal and not silent

    def line(self, text: str) -> None:
        """Write a line about the whole run."""
        log.info(visible(text))
        if not self._quiet:
            _print(self._err, text)

    def warn(self, text: str) -> None:
        """Write a warning, which does not stop the run."""
        log.warning(visible(text))
        _print(self._err, ("warning: ", "yellow"), text)

    def error(self, text: str) -> None:
        """Write why there is no result, in one or several lines."""
        for line in text.split("\n"):
            log.error(visible(line))
            _print(self._err, ("scvae: ", "red"), line)

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """Show a text on a terminal while the block runs."""
        with self._err.status(Text(visible(text))) if self._live else nullcontext():
            yield

    @contextmanager
    def jobs(self, total: int, done: int) -> Iterator["Jobs"]:
        """Yield the display of a sweep's jobs, which is shown until the end of the block."""
        jobs = Jobs(self._err, total, done, quiet=self._quiet, live=self._live)
        with jobs.shown:
            yield jobs

    def bar(self, label: str) -> Bar:
        """Return what shows the progress of a stage."""
        return Bar(self._err, label, quiet=self._quiet, live=self._live)

    @contextmanager
    def stage(self, name: str, report: Callable[[str], object] = len) -> Iterator[Stage]:
        """Show that a stage runs, then its summary and its duration.

        Args:
            name: of the stage.
            report: is told how far the stage is, in words.
        """
        label = stage_name(name)
        bar = self.bar(label)
        stage = Stage(bar, report)
        start = perf_counter()
        with bar.progress:
            yield stage
        stage.seconds = perf_counter() - start
        text = f"  {label:<9} {stage.text:<53} {f'took {stage.seconds:.1f} s':>13}"
        log.info(visible(text.strip()))
        if not self._quiet:
            _print(self._err, text)

    def scores(self, rows: Mapping[str, Mapping[str, float]]) -> None:
        """Write the scores of each space: of k-means, and of batches where they are known."""
        for space, values in rows.items():
            log.info("%s: %s", space, " ".join(f"{k} {v:.6f}" for k, v in values.items()))
        if self._quiet:
            return
        self._err.print()
        for table in score_tables(rows):
            self._tabulate(table)

    def table(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Write a table of texts; the keys of the first row name the columns."""
        if not self._quiet:
            self._err.print()
            self._tabulate(rows)

    def _tabulate(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Write a table; a line for each value where a terminal has no room for the numbers."""
        cells = [[*map(visible, row)] for row in (rows[0], *(row.values() for row in rows))]
        columns = [*zip(*cells, strict=True)]
        fits = fitted(columns, self._out.width if self._out.is_terminal else None, cell_len)
        if fits is None:
            for i, row in enumerate(rows):
                if i:
                    self._out.print()
                self.facts(row.items())
            return
        widths, spaces = fits
        padding = (0, spaces - spaces // 2, 0, spaces // 2)
        total = sum(widths) + spaces * len(widths)
        table = Table(box=None, padding=padding, header_style="bold", width=total)
        for i, (column, width) in enumerate(zip(columns, widths, strict=True)):
            justify: Any = "right" if i else "left"
            table.add_column(column[0], justify=justify, width=width, overflow="fold")
        for texts in cells[1:]:
            table.add_row(*texts)
        self._out.print(table, crop=False)

    def facts(self, facts: Iterable[tuple[str, str]]) -> None:
        """Write pairs of a name and a text, one line each."""
        facts = [] if self._quiet else list(facts)
        width = max((len(name) for name, _ in facts), default=0)
        for name, text in facts:
            _print(self._out, (f"{name:<{width}}  ", "bold"), text)

    def folder(self, path: Path) -> None:
        """Write the path of the folder with all results."""
        if not self._quiet:
            self._err.print()
        _print(self._out, str(path))


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    return Rich().is_jupyter


def stage_name(name: str) -> str:
    """Return what a person calls a stage: `t-SNE 2-D`."""
    return STAGE_NAMES.get(name, name)


def minutes(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours: `40 s`, `12 min`, `1.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _print(rich: Rich, *parts: str | tuple[str, str]) -> None:
    """Write texts in one line; a pair is a text and its style."""
    styled = [(part, "") if isinstance(part, str) else part for part in parts]
    line = Text.assemble(*((visible(text), style) for text, style in styled))
    rich.print(line, soft_wrap=True)
