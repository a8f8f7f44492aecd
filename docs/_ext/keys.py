"""Make the page of all settings from conf/ (keys, defaults, comments) and `Config` (bounds)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from scvae_cli import CONF
from scvae_cli.commands.help import SECTION
from scvae_cli.config import Config
from scvae_cli.options import MOST, DataConfig, ModelConfig

LINE = re.compile(
    r"^(?P<indent> *)(?:- )?(?P<key>\w+):(?P<value>(?: [^#]*?)?)(?:\s+# (?P<says>.*))?$"
)
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
    return "\n".join([*_of_runs(), *_of_groups(), *_launchers(), *_presets()])


def _of_runs() -> Iterator[str]:
    sections: dict[str, list[Key]] = {}
    for key in _keys(CONF / "config.yaml"):
        sections.setdefault(key.section, []).append(key)
    for section, found in sections.items():
        yield f"### {section}\n"
        yield _table(found, Config)


def _of_groups() -> Iterator[str]:
    """Yield the keys of each model and each source of cells."""
    for group, title, blocks in (("model", "models", ModelConfig), ("data", "cells", DataConfig)):
        yield f"## Keys of {title}\n"
        for block in get_args(blocks):
            (name,) = get_args(block.model_fields["name"].annotation)
            path = CONF / group / f"{name}.yaml"
            yield f"### `{group}={name}`\n\n{_head(path)}\n"
            if found := [key for key in _keys(path) if key.name != "name"]:
                yield _table(found, block, f"{group}.")


def _launchers() -> Iterator[str]:
    yield "## Launchers\n\n[Clusters](../cluster.md) says how to use them.\n"
    for path in sorted((CONF / "hydra" / "launcher").glob("*.yaml")):
        yield f"### `hydra/launcher={path.stem}`\n\n{_head(path)}\n"
        yield _table([k for k in _keys(path) if k.name != "_target_"], None, "hydra.launcher.")


def _presets() -> Iterator[str]:
    yield "## Presets\n\n| preset | what it is |\n| --- | --- |"
    for path in sorted((CONF / "experiment").rglob("*.yaml")):
        name = path.relative_to(CONF / "experiment").with_suffix("").as_posix()
        yield f"| `experiment={name}` | {_cell(_head(path))} |"


def _keys(path: Path) -> Iterator[Key]:
    """Yield the keys of a file, but for its list of defaults and what it tells Hydra itself."""
    stack: list[str] = []
    section, last = "", None
    for line in path.read_text().splitlines():
        if match := SECTION.match(line):
            section = match[1]
        elif (match := MORE.match(line)) and last:
            last.says += f" {match[1]}"
        elif match := LINE.match(line):
            stack[len(match["indent"]) // 2 :] = [match["key"]]
            value, says = match["value"].strip(), match["says"] or ""
            if last:
                yield last
            # Hydra's own list has the groups `model` and `data`, with comments.
            hidden = stack[0] == "hydra" or not (says or (value and stack[0] != "defaults"))
            name = ".".join(stack).removeprefix("defaults.")
            last = None if hidden else Key(name, value, says, section)
    if last:
        yield last


def _head(path: Path) -> str:
    """Return the comment at the head of a file, as sentences."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("# "):
            break
        if not line.startswith(("# @package", "# scvae train experiment=")):
            lines.append(line.removeprefix("# "))
    if lines[1:] and lines[0][-1].isalpha() and lines[1][0].isupper():
        lines[0] += "."
    return " ".join(lines)


def _table(found: Iterable[Key], block: type[BaseModel] | None, prefix: str = "") -> str:
    rows = ["| key | default | what it is (what it takes) |", "| --- | --- | --- |"]
    for key in found:
        field = _field(key.name, block)
        words = [] if field is None else [*dict.fromkeys(_words(_type(field)))]
        takes = "" if all(word in key.says for word in words) else f" ({', '.join(words)})"
        default = f"`{key.default}`" if key.default else ""
        rows.append(f"| `{prefix}{key.name}` | {default} | {_cell(key.says + takes)} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    """Return plain text for a cell of a table of Markdown."""
    return re.sub(r"[*_<|$]", r"\\\g<0>", text) if "`" not in text else text.replace("|", "\\|")


def _field(name: str, block: Any) -> FieldInfo | None:
    """Return the field of a key; None for a block, or where the block of the key is unknown."""
    field = None
    for part in name.split("."):
        if block is None:
            return None
        field = block.model_fields[part]
        block = field.annotation
        blocks = [part for part in get_args(block) if _is_block(part)]
        if len(blocks) == 1:  # or null, as that of the map which is not made
            (block,) = blocks
    return None if _is_block(block) else field


def _is_block(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _type(field: FieldInfo) -> Any:
    """Return the type of a field with its bounds, which pydantic keeps apart."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


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
    elif issubclass(kind, BaseModel):  # one of several, told apart by their names
        yield from _words(kind.model_fields["name"].annotation)
    else:
        yield f"{KINDS[kind]}{''.join(_bounds(bounds))}"


def _bounds(bounds: Iterable[Any]) -> Iterator[str]:
    """Yield in words the bounds of a number; not those that only say what a machine can hold."""
    for bound in bounds:
        for part in getattr(bound, "metadata", [bound]):
            match part:
                case annotated_types.Ge(ge=value):
                    yield f" from {value:,}"
                case annotated_types.Gt(gt=value):
                    yield f" above {value:,}"
                case annotated_types.Le(le=float() | int() as value) if value < MOST:
                    yield f" to {value:,}"
                case annotated_types.Lt(lt=float() | int() as value) if value < MOST:
                    yield f" below {value:,}"
