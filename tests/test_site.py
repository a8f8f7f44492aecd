"""The documentation site: what its pages make of code, and what they may load."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from scvae_cli import CONF
from scvae_cli.cli import COMMANDS
from scvae_cli.launch.compose import compose

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "docs" / "_ext"))

keys = pytest.importorskip("keys")
from_code = pytest.importorskip("from_code", reason="needs the extra `docs`")


def flat(settings, before="") -> set[str]:
    names = set()
    for key, value in settings.items():
        names |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}"}
    return names


def test_every_key_of_a_run_has_a_row():
    page = keys.pages()
    shown = set(from_code.re.findall(r"^\| `([\w.]+)` \|", page, from_code.re.M))
    for words in (["model=ae"], ["model=vsc_uai", "data=synthetic"], ["data=pbmc3k"]):
        config = compose(words).model_dump()
        there = flat(config) - {"model.name", "data.name"}
        assert there - shown == set()
    for path in (CONF / "experiment").rglob("*.yaml"):
        assert f"| `experiment={path.relative_to(CONF / 'experiment').with_suffix('')}` |" in page


def test_rows_have_the_defaults_comments_and_bounds():
    rows = dict(row[2:-2].split(" | ", 1) for row in keys.pages().splitlines() if " | " in row)
    assert rows["`beta`"].startswith("`2.0` | weight of the KL term")
    assert rows["`beta`"].endswith("(number from 0, null)")
    assert rows["`tsne.max_cells`"].startswith("`20000` | of a larger data set")
    assert "then in the cache" in rows["`data.dir`"]  # its comment has two lines
    assert OmegaConf.load(CONF / "config.yaml").lr == float(rows["`lr`"].split("`")[1])
