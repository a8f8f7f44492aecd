"""Show in a notebook how far a fit is: one line below the cell, which changes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from scvae_cli.console import Bar, Console, Stage, stage_name
from scvae_cli.visible import visible

SELDOM = 0.2  # seconds between two changes of the line


class NotebookConsole(Console):
    """One line that says what is done now, and at the end what the training came to.

    Warnings are Python's there, and scores are the run's.
    """

    def __init__(self) -> None:
        super().__init__(silent=True)
        self._handle: Any = None
        self._shown = -SELDOM
        self._began = perf_counter()
        self._result = ""

    def bar(self, label: str) -> Bar:
        """Return what shows the progress of a stage."""
        line = _Line(self._err, label, quiet=True, live=False)
        line.say = lambda text: self._show(f"{label}: {text}")
        return line

    @contextmanager
    def stage(self, name: str, report: Callable[[str], object] = len) -> Iterator[Stage]:
        """Show that a stage runs, then what the training came to, and the seconds so far."""
        self._show(stage_name(name))
        with super().stage(name, report) as stage:
            yield stage
        if name == "train" or not self._result:
            self._result = stage.text
        took = perf_counter() - self._began
        self._show(f"{self._result}, took {took:.1f} s", at_once=True)

    def _show(self, text: str, *, at_once: bool = False) -> None:
        """Write the line, or change it; not too often."""
        from IPython.display import display

        if perf_counter() - self._shown < SELDOM and not at_once:
            return
        self._shown = perf_counter()
        line = {"text/plain": visible(text)}
        if self._handle is None:
            shown: Any = display  # it has no types
            self._handle = shown(line, raw=True, display_id=True)
        else:
            self._handle.update(line, raw=True)


class _Line(Bar):
    """Progress of a stage, in words."""

    say: Callable[[str], None]

    def move(self, text: str, done: int, total: int) -> None:
        """Show how much of `total` is done."""
        self.say(text)
