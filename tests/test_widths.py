"""Tables on a terminal of any width have all of their numbers."""

import re

import pytest

from scvae_cli.console import Console
from scvae_cli.widths import fitted

ROWS = [
    {"model": "vae", "data.path": "/home/ada/some/where/else/cells.h5ad", "likelihood": "nb",
     "n": "10 (-1)", "map NMI": "0.607 ±0.013", "latent ARI": "-0.002 ±0.031"},
    {"model": "pca", "data.path": "b.h5ad", "likelihood": "-", "n": "3", "map NMI": "0.5",
     "latent ARI": "1e-05"},
]  # fmt: skip


@pytest.mark.parametrize("width", [20, 40, 60, 80, 300])
def test_numbers_and_heads_are_never_cut(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # of rich: as on a terminal
    Console().table(ROWS)
    Console().scores({"2-D map": {"nmi": 0.1234, "ari": -0.5, "hom": 0.2, "com": 0.3}})
    out = re.sub("\x1b[^m]*m", "", capsys.readouterr().out)
    assert "…" not in out
    for word in ("0.607 ±0.013", "-0.002 ±0.031", "10 (-1)", "likelihood", "0.123", "-0.500"):
        assert word in out
    if width in (60, 80):
        assert max(map(len, out.splitlines())) <= width


def test_a_table_that_is_no_terminals_is_as_wide_as_it_needs(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    Console().table(ROWS)
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 3
    assert rows[1].split()[:3] == ["vae", "/home/ada/some/where/else/cells.h5ad", "nb"]
    assert rows[1].strip().endswith("-0.002 ±0.031")


def test_texts_give_way_to_numbers():
    columns = [("run", "a" * 60), ("latent NMI", "0.624 ±0.002")]
    assert fitted(columns, None) == ([60, 12], 4)
    assert fitted(columns, 50) == ([36, 12], 1)
    assert fitted(columns, 26) == ([12, 12], 1)
    assert fitted(columns, 25) is None
