"""Tells what errors call the cells and the settings of reading them.

Whoever gave the cells must find their own words in an error: `data.layer=counts` on the command
line, `layer='counts'` in Python.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Wording:
    """Words for errors about cells and how they are read.

    Attributes:
        cells: the cells, at the start of an error.
        source: where they are, within an error.
        in_python: whether settings are arguments of a Python function.
    """

    cells: str
    source: str
    in_python: bool = False

    def key(self, name: str) -> str:
        """Return the name of a setting."""
        return name if self.in_python else f"data.{name}"

    def setting(self, name: str, value: object) -> str:
        """Return a setting with its value, as it is given."""
        return f"{self.key(name)}={self.value(value)}"

    def value(self, value: object) -> str:
        """Return a value, as it is given."""
        if self.in_python:
            return repr(value)
        if value is None:
            return "null"
        return str(value).lower() if isinstance(value, bool) else str(value)

    @property
    def filter_empty(self) -> str:
        """Return what leaves cells without counts out."""
        if self.in_python:
            return f"scanpy.pp.filter_cells({self.cells}, min_genes=1)"
        return self.setting("min_genes", 1)


def command_line(path: Path | str) -> Wording:
    """Return the words of the command line for the cells of a file."""
    return Wording(f"data.path={path}", str(path))


PYTHON = Wording("adata", "adata", in_python=True)
