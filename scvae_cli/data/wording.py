"""Tells what errors call the cells and the settings of reading them.

Whoever gave the cells must find their own words in an error: `data.layer=counts` on the command
line, `layer='counts'` in Python.
"""

from dataclasses import dataclass
from pathlib import Path

from scvae_cli.errors import Given, written


@dataclass(frozen=True)
class Wording:
    """Words for errors about cells and how they are read.

    Attributes:
        cells: the setting or argument that gave the cells.
        source: where they are, within an error.
        in_python: whether settings are arguments of a Python function.
    """

    cells: Given | str
    source: str
    in_python: bool = False

    def key(self, name: str) -> str:
        """Return the name of a setting."""
        return name if self.in_python else f"data.{name}"

    def setting(self, name: str, value: object) -> Given:
        """Return a setting with its value, as it is given."""
        return Given(self.key(name), value, self.value(value))

    def value(self, value: object) -> str:
        """Return a value, as it is given."""
        return repr(value) if self.in_python else written(value)

    @property
    def filter_empty(self) -> str:
        """Return what leaves cells without counts out."""
        if self.in_python:
            return f"scanpy.pp.filter_cells({self.cells}, min_genes=1)"
        return str(self.setting("min_genes", 1))


def command_line(path: Path | str) -> Wording:
    """Return the words of the command line for the cells of a file."""
    return Wording(Given("data.path", path), str(path))


PYTHON = Wording("adata", "adata", in_python=True)
