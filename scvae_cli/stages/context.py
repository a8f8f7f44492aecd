"""What every stage of a run needs: its settings, its folder, the terminal, the device."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from scvae_cli.config import Config
from scvae_cli.console import Console, Stage
from scvae_cli.runs.writer import RunWriter
from scvae_cli.settings import check_extras
from scvae_cli.stages.device import device_of
from scvae_cli.threads import available


@dataclass(frozen=True)
class Context:
    """What a run is asked to do, and where its products and messages go.

    Attributes:
        config: the settings.
        writer: of the run's folder.
        console: the terminal.
        device: where models compute.
        threads: CPU threads at most.
        warnings: what to know before the result is believed; `warn` adds to them.
    """

    config: Config
    writer: RunWriter
    console: Console
    device: torch.device
    threads: int
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Record and show a stage while it runs, and how long it took.

        The seconds of a run that is resumed are added up.
        """
        self.writer.note(stage=name, progress=None)
        with self.console.stage(name, self.writer.note_progress) as shown:
            yield shown
        seconds = self.writer.seconds
        seconds[name] = round(seconds.get(name, 0.0) + shown.seconds, 4)
        self.writer.note(seconds=seconds)

    def warn(self, text: str) -> None:
        """Show and record something that does not stop the run."""
        self.warnings.append(text)
        self.writer.note(warnings=self.warnings)
        self.console.warn(text)

    def kept_or(
        self, table: str, columns: Sequence[str], n_cells: int, compute: Callable[[], np.ndarray]
    ) -> np.ndarray:
        """Return columns of a table as a resumed run has them, or else compute them.

        Args:
            table: its name without `.csv`.
            columns: of the table.
            n_cells: the rows that it must have.
            compute: gives them where there are none.

        Returns:
            (n_cells, n_columns).
        """
        kept = self.writer.kept(table, columns, n_cells)
        return compute() if kept is None else kept


def open_context(config: Config, writer: RunWriter, console: Console) -> Context:
    """Choose device and threads, and record the settings.

    Raises:
        InputError: this machine has no such device, or lacks the library of a logger.
    """
    check_extras(config)
    device, doubt = device_of(config.device, writer.device, writer.path)
    writer.write_config(config.model_dump())
    context = Context(config, writer, console, device, config.threads or available())
    if doubt is not None:
        context.warn(doubt)
    return context
