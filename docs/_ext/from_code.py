"""Fill pages with what code and other files say, and lead links of the checkout to pages.

A line `<!-- commands -->` of a page becomes the help of every command, `<!-- settings -->` the
keys of conf/ with their comments, defaults and bounds, `<!-- file: NAME -->` a file of the root.
"""

import os
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import keys
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.logging import getLogger

from scvae_cli import CONF
from scvae_cli.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"^<!-- (\w+)(?:: (\S+))? -->$", re.M)
LINK = re.compile(r"\[([^\]]*)\]\((?![a-z]+:|#|/)([^)#\s]*)(#[^)\s]*)?\)")
CODE = re.compile(r"(^```.*?^```$)", re.M | re.S)
OUTSIDE = re.compile(
    r"""<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=["'](?:https?:)?//[^>]*>"""
    r"""|(?:url\(|@import\s)\s*["']?(?:https?:)?//[^)]*"""
)
LOGGER = getLogger(__name__)
# Files of the checkout that are pages of the site.
PAGES = {
    "SECURITY.md": "docs/security.md",
    "CONTRIBUTING.md": "docs/contributing.md",
    "CHANGELOG.md": "docs/changelog.md",
    "README.md": "docs/index.md",
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx to fill pages, and to look at what it has built."""
    app.connect("source-read", _fill)
    app.connect("build-finished", _refuse_outside)
    return {"parallel_read_safe": True}


def _refuse_outside(app: Sphinx, error: Exception | None) -> None:
    """Warn of pages and styles that load something from elsewhere."""
    for path in [] if error else Path(app.outdir).rglob("*.*"):
        if path.suffix in (".html", ".css"):
            for tag in OUTSIDE.findall(path.read_text()):
                LOGGER.warning("%s loads something from elsewhere: %s", path.name, tag)


def _fill(app: Sphinx, page: str, source: list[str]) -> None:
    folder = (Path(app.srcdir) / page).parent

    def made(match: re.Match[str]) -> str:
        return MAKERS[match[1]](app.env, match[2]) if match[1] in MAKERS else match[0]

    source[0] = _relink(MARK.sub(made, source[0]), folder, folder)


def _commands(env: BuildEnvironment, _: str | None) -> str:
    """Return the help of every command, as the terminal has it."""
    parts = []
    for name, does in COMMANDS.items():
        env.note_dependency(str(ROOT / "scvae_cli" / "commands" / f"{name}.py"))
        written = StringIO()
        with redirect_stdout(written):
            main([name, "--help"])
        head = f"## scvae {name}\n\n{does[0].upper()}{does[1:].rstrip('?')}"
        parts.append(f"{head}.\n\n```text\n{written.getvalue().rstrip()}\n```\n")
    return "\n".join(parts)


def _settings(env: BuildEnvironment, _: str | None) -> str:
    """Return tables of all keys and presets in conf/."""
    for path in CONF.rglob("*.yaml"):
        env.note_dependency(str(path))
    return keys.pages()


def _file(env: BuildEnvironment, name: str | None) -> str:
    """Return a file of the root, its links as seen from docs/, without its heading."""
    path = ROOT / str(name)
    env.note_dependency(str(path))
    text = path.read_text().split("\n", 1)[1]
    return _relink(text, ROOT, ROOT / "docs")


def _relink(text: str, before: Path, after: Path) -> str:
    """Return Markdown whose relative links are those of a page in `after`, not in `before`."""

    def link(match: re.Match[str]) -> str:
        target = (before / match[2]).resolve().relative_to(ROOT).as_posix()
        anchor = match[3] or ""
        if target in PAGES:
            target = PAGES[target]
        elif target.split("/")[0] == "conf":
            target, anchor = "docs/reference/settings.md", ANCHORS.get(Path(target).name, "")
        elif (ROOT / target / "scores.csv").exists():
            target += "/scores.csv"
        elif (ROOT / target).is_dir():  # the site has no page of it
            return f"`{target}`"
        return f"[{match[1]}]({os.path.relpath(ROOT / target, after)}{anchor})"

    parts = CODE.split(text)  # text and code in turns
    parts[::2] = [LINK.sub(link, part) for part in parts[::2]]
    return "".join(parts)


ANCHORS = {"launcher": "#launchers", "benchmark": "#presets"}
MAKERS: dict[str, Callable[[BuildEnvironment, str | None], str]] = {
    "commands": _commands,
    "settings": _settings,
    "file": _file,
}
