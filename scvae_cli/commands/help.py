"""`scvae train --help`: the models, the data and the keys, as the comments of conf/ say them."""

import re
import textwrap
from collections.abc import Iterator
from string import Template

from scvae_cli import CONF

WIDTH = 80
INDENT = 20  # columns before a description
KEY = re.compile(r"^(?:  - )?(\w+):(?: [^#]*?)?\s+# (.*)$")


def train_help() -> str:
    """Return the page of `scvae train --help`: conf/hydra/help/scvae.yaml with the keys.

    Hydra would compose all settings first, which takes a second.
    """
    import yaml

    page = yaml.safe_load((CONF / "hydra" / "help" / "scvae.yaml").read_text())
    lines = []
    for key, description in described():
        first, *rest = textwrap.wrap(description, WIDTH - INDENT)
        lines.append(f"  {key:<{INDENT - 3}} {first}")
        lines += [" " * INDENT + line for line in rest]
    choices = "\n".join(_choices("model", "data")).lstrip()
    text: str = Template(page["template"]).substitute(
        KEYS="\n".join(lines).lstrip(), CHOICES=choices
    )
    return text


def _choices(*groups: str) -> Iterator[str]:
    """Yield a line for each choice of these groups, with the first comment of its file."""
    for group in groups:
        for path in sorted((CONF / group).glob("*.yaml")):
            first = path.read_text().partition("\n")[0]
            choice, meaning = f"{group}={path.stem}", first.removeprefix("# ").rstrip(".")
            yield f"  {choice:<29} {meaning}"


def described() -> Iterator[tuple[str, str]]:
    """Yield each key of conf/config.yaml with its comment; blocks and groups end with `.*`."""
    for line in (CONF / "config.yaml").read_text().split("\nhydra:")[0].splitlines():
        if (match := KEY.match(line)) and match[2] and not line.startswith("  -_"):
            is_group = line.startswith("  - ") or re.match(r"^\w+:\s+#", line)
            yield f"{match[1]}.*" if is_group else match[1], match[2]
