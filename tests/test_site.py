"""The documentation site: what its pages make of code and files, and what they may not load."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from scvae_cli import CONF
from scvae_cli.cli import COMMANDS
from scvae_cli.launch.compose import compose

pytest.importorskip("sphinx", reason="comes with the extra `docs`")
DOCS = Path(__file__).parents[1] / "docs"
sys.path.append(str(DOCS / "_ext"))

import from_code  # noqa: E402


def page_of(text: str, name: str = "page") -> str:
    """What Sphinx reads of a page."""
    source = [text]
    env = SimpleNamespace(note_dependency=lambda path: None)
    from_code._fill(SimpleNamespace(env=env, srcdir=DOCS), name, source)
    return source[0]


def flat(settings: dict, before: str = "") -> set[str]:
    names = set()
    for key, value in settings.items():
        names |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}"}
    return names


@pytest.fixture(scope="module")
def settings() -> str:
    return page_of("<!-- settings -->", "reference/page")


def test_every_key_and_preset_has_a_row(settings):
    shown = set(re.findall(r"^\| `([\w.]+)` \|", settings, re.M))
    for words in (["model=ae"], ["model=vsc_uai", "data=synthetic"], ["data=pbmc3k"]):
        there = flat(compose(words).model_dump()) - {"model.name", "data.name"}
        assert there <= shown
    for path in (CONF / "experiment").rglob("*.yaml"):
        name = path.relative_to(CONF / "experiment").with_suffix("")
        assert f"| `experiment={name}` |" in settings


def test_rows_have_defaults_comments_and_bounds(settings):
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.*) \|$", settings, re.M))
    assert rows["beta"].startswith("`2.0` | weight of the KL term")
    assert rows["beta"].endswith("(number from 0, null)")
    assert "then download from 10x" in rows["data.dir"]  # the second line of its comment
    plain = yaml.safe_load((CONF / "config.yaml").read_text())
    for key in ("lr", "epochs", "seed", "batch_size"):
        assert float(rows[key].split("`")[1]) == plain[key]


def test_every_command_has_its_help():
    page = page_of("<!-- commands -->")
    for name in COMMANDS:
        section = page.split(f"## scvae {name}\n")[1].split("\n## ")[0]
        assert f"scvae {name} " in section.split("```text\n")[1]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[s](../SECURITY.md)", "[s](security.md)"),
        ("[s](../SECURITY.md#names)", "[s](security.md#names)"),
        ("[c](../conf/hydra/launcher)", "[c](reference/settings.md#launchers)"),
        ("![r](reproduction/scores.png)",) * 2,
        ("[r](reproduction)", "[r](reproduction/scores.csv)"),
        ("[rooms](../scvae_cli/models)", "`scvae_cli/models`"),
        ("```python\nf[0](../SECURITY.md)\n```",) * 2,
        ("[b](benchmark.md#x) [p](https://a.b/c) [h](#here)",) * 2,
    ],
)
def test_links_lead_to_pages_of_the_site(before, after):
    assert page_of(before) == after


def test_a_file_of_the_root_keeps_its_links():
    page = page_of("# Contributing\n\n<!-- file: CONTRIBUTING.md -->")
    assert "](security.md)" in page
    assert "](../scvae_cli/pipeline.py)" in page
    assert page.count("\n# ") == 0  # its own heading is the page's


@pytest.mark.parametrize(
    ("written", "warnings"),
    [
        ("<script src='https://cdn.example/x.js'></script>", 1),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', 1),
        ("<style>@font-face {src: url(https://fonts.example/x.woff)}</style>", 1),
        ('<a href="https://example.org">out</a> <img src="_images/map.png">', 0),
    ],
)
def test_a_page_that_loads_from_elsewhere_is_an_error(tmp_path, monkeypatch, written, warnings):
    (tmp_path / "index.html").write_text(written)
    said: list[str] = []
    monkeypatch.setattr(from_code.LOGGER, "warning", lambda *words: said.append(str(words)))
    from_code._refuse_outside(SimpleNamespace(outdir=tmp_path), None)
    assert len(said) == warnings
