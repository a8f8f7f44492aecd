"""`scvae train --help`: the models, the data and the keys, as the comments of conf/ say them."""

import re
import textwrap
from collections.abc import Iterator
from string import Template

from scvae_cli import CONF

WIDTH = 80
INDENT = 20  # columns before a description
SECTION = re.compile(r"^ *# \[(.*)\]$")
KEY = re.compile(r"^(?:  - )?(\w+):(?: [^#]*?)?\s+# (.*)$")


def train_help() -> str:
    """Return the page of `scvae train --help`: conf/hydra/help/scvae.yaml with the keys.

    Hydra would compose all settings first, which takes a second.
    """
    import yaml

    page = yaml.safe_load((CONF / "hydra" / "help" / "scvae.yaml").read_text(encoding="utf-8"))
    lines = []
    for section, keys in described().items():
        lines.append(f"\n{section}:")
        for key, description in keys.items():
            first, *rest = textwrap.wrap(description, WIDTH - INDENT)
            lines.append(f"  {key:<{INDENT - 3}} {first}")
            lines += [" " * INDENT + line for line in rest]
    choices = "\n".join(_choices("model", "data")).lstrip()
    text: str = Template(page["template"]).substitute(
        KEYS="\n".join(lines).strip(), CHOICES=choices
    )
    return text


def _choices(*groups: str) -> Iterator[str]:
    """Yield a line for each choice of these groups, with the first comment of its file."""
    for group in groups:
        for path in sorted((CONF / group).glob("*.yaml")):
            first = path.read_text(encoding="utf-8").partition("\n")[0]
            choice, meaning = f"{group}={path.stem}", first.removeprefix("# ").rstrip(".")
            yield f"  {choice:<29} {meaning}"


def described() -> dict[str, dict[str, str]]:
    """Return the keys of conf/config.yaml by section, each with its comment.

    Blocks and groups end with `.*`; in place of `data.*` are the keys of conf/data/file.yaml.
    """
    sections: dict[str, dict[str, str]] = {}
    section = ""
    text = (CONF / "config.yaml").read_text(encoding="utf-8")
    for line in text.split("\nhydra:")[0].splitlines():
        if match := SECTION.match(line):
            section = match[1]
        elif line.startswith("  - data:"):
            lines = (CONF / "data" / "file.yaml").read_text(encoding="utf-8").splitlines()
            keys = {f"data.{m[1]}": m[2] for line in lines if (m := KEY.match(line))}
            sections[f"{section} (data=file)"] = keys
        elif (match := KEY.match(line)) and section:
            is_group = line.startswith("  - ") or re.match(r"^\w+:\s+#", line)
            key = f"{match[1]}.*" if is_group else match[1]
            sections.setdefault(section, {})[key] = match[2]
    return sections
