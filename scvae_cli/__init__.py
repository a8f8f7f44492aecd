"""Command-line experiments with autoencoders on single-cell RNA-seq."""

from importlib.metadata import version
from pathlib import Path

__version__ = version("scvae-cli")

_PACKAGE = Path(__file__).parent
# Inside the wheel conf/ is part of the package; in a checkout it lies beside it.
CONF = next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir())
