"""Make the page of all settings from conf/ (keys, defaults, comments) and `Config` (bounds)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from scvae_cli import CONF
from scvae_cli.commands.help import SECTION
from scvae_cli.config import Config
from scvae_cli.options import MOST, DataConfig, ModelConfig

LINE = re.compile(r"^(?P<indent> *)(?:- )?(?P<key>[\w]+):(?P<value>(?: [^#]*?)?)(?:\s+# (?P<says>.*))?$")
MORE = re.compile(r"^ {8,}# (.*)$")  # a comment that goes on below its key
KINDS = {int: "whole number", float: "number", bool: "true, false", str: "text"}


@dataclass
class Key:
    """A key of a file in conf/: its name with dots, its default, its comment, its section."""

    name: str
    default: str
    says: str
    section: str


def pages() -> str:
    """Return Markdown tables of all keys, launchers and presets."""
    parts = []
    sections: dict[str, list[Key]] = {}
    for key in _keys(CONF / "config.yaml", "hydra"):
        sections.setdefault(key.section, []).append(key)
    for section, found in sections.items():
        parts += [f"### {section}\n", _table(found, [Config])]
    for group, blocks in (("model", get_args(ModelConfig)), ("data", get_args(DataConfig))):
        told = "models" if group == "model" else "cells"
        parts.append(f"## Keys of {told}\n")
        for block in blocks:
            (name,) = get_args(block.model_fields["name"].annotation)
            path = CONF / group / f"{name}.yaml"
            found = [key for key in _keys(path) if key.name not in ("name", "defaults")]
            for key in found:
                key.name = f"{group}.{key.name}"
            parts += [f"### `{group}={name}`\n", f"{_head(path)}\n"]
            parts += [_table(found, [block], skip=1)] if found else []
    parts.append("## Launchers\n\nKeys of `hydra.launcher`; [cluster.md](../cluster.md) says how to use them.\n")
    for path in sorted((CONF / "hydra" / "launcher").glob("*.yaml")):
        parts += [f"### `hydra/launcher={path.stem}`\n", f"{_head(path)}\n"]
        parts.append(_table([k for k in _keys(path) if k.name != "_target_"], []))
    parts.append("## Presets\n\n| preset | what it is |\n| --- | --- |")
    for path in sorted((CONF / "experiment").rglob("*.yaml")):
        name = path.relative_to(CONF / "experiment").with_suffix("").as_posix()
        parts.append(f"| `experiment={name}` | {_cell(_head(path))} |")
    return "\n".join(parts)


def _keys(path: Path, until: str = "") -> Iterator[Key]:
    """Yield the keys of a file that have values, and blocks that have comments."""
    stack: list[str] = []
    section, last = "", None
    for line in path.read_text().split(f"\n{until}:" if until else "\0")[0].splitlines():
        if match := SECTION.match(line):
            section = match[1]
        elif (match := MORE.match(line)) and last:
            last.says += f" {match[1]}"
        elif match := LINE.match(line):
            depth = len(match["indent"]) // 2
            stack[depth:] = [match["key"]]
            if stack[0] == "defaults":
                continue
            if last:
                yield last
            last = Key(".".join(stack), match["value"].strip(), match["says"] or "", section)
    if last:
        yield last


def _head(path: Path) -> str:
    """Return the comment at the head of a file."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("# "):
            break
        if not line.startswith(("# @package", "# scvae train experiment=")):
            lines.append(line.removeprefix("# "))
    if lines and lines[0][-1].isalpha() and lines[1:] and lines[1][0].isupper():
        lines[0] += "."
    return " ".join(lines)


def _table(found: Iterable[Key], roots: list[type[BaseModel]], skip: int = 0) -> str:
    rows = ["| key | default | what it is | takes |", "| --- | --- | --- | --- |"]
    for key in found:
        field = _field(key.name.split(".")[skip:], roots)
        takes = "" if field is None else _takes(field)
        default = f"`{key.default}`" if key.default else ""
        rows.append(f"| `{key.name}` | {default} | {_cell(key.says)} | {_cell(takes)} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    """Return plain text for a cell of a table of Markdown."""
    return re.sub(r"(?<!`)([*_<|$])", r"\\\1", text) if "`" not in text else text.replace("|", "\\|")


def _field(names: list[str], roots: list[type[BaseModel]]) -> FieldInfo | None:
    """Return the field of a key, where its block is known."""
    block: Any = roots[0] if roots else None
    field = None
    for name in names:
        if not (isinstance(block, type) and issubclass(block, BaseModel)):
            return None
        field = block.model_fields[name]
        block = field.annotation
    return field


def _takes(field: FieldInfo) -> str:
    """Return in words what a key takes."""
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
        return ""
    return ", ".join(dict.fromkeys(_words(Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation)))


def _words(kind: Any, bounds: tuple[Any, ...] = ()) -> Iterator[str]:
    """Yield in words what a type takes, with its bounds."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from _words(parts[0], (*parts[1:], *bounds))
    elif origin in (Union, UnionType):
        for part in sorted(parts, key=lambda part: part is type(None)):
            yield from _words(part)
    elif origin is Literal:
        yield from map(str, parts)
    elif origin is list:
        yield f"list of {next(_words(parts[0]))}"
    elif kind is type(None):
        yield "null"
    else:
        yield f"{KINDS[kind]}{''.join(_bounds(bounds))}"


def _bounds(bounds: Iterable[Any]) -> Iterator[str]:
    for bound in bounds:
        for part in getattr(bound, "metadata", [bound]):
            match part:
                case annotated_types.Ge(ge=value):
                    yield f" from {value:,}"
                case annotated_types.Gt(gt=value):
                    yield f" above {value:,}"
                case annotated_types.Le(le=value) if value < MOST:
                    yield f" to {value:,}"
                case annotated_types.Lt(lt=value) if value < 2**32:
                    yield f" below {value:,}"
