"""Names are text, whatever they hold: at every place where they leave the program."""

import io
import json
import re
import unicodedata

import anndata
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from conftest import FAST
from hypothesis import HealthCheck, example, given, settings
from matplotlib.image import imread
from matplotlib.textpath import TextPath
from scipy.sparse import csr_matrix
from test_report import Reader, unpacked

import scvae_cli
from scvae_cli.console import Console
from scvae_cli.errors import InputError, Kind
from scvae_cli.launch.compose import compose
from scvae_cli.results import report
from scvae_cli.results.figures.legends import SHORTEST, legend_shape
from scvae_cli.results.figures.maps import map_2d
from scvae_cli.results.figures.style import DPI, PAGE, SMALL, by_type, render
from scvae_cli.runs.files import csv_of, read_csv
from scvae_cli.visible import visible

LONG = "CD4-positive, CD25-positive, alpha-beta regulatory T cell of peripheral blood, activated"
AWKWARD = [
    # numbers, dates and nothing, to those who guess
    "001", "1E5", "1e-3", "0x10", "1_000", "+5", "-0", "1.0", ".5", "inf", "-inf", "2024-01-01",
    "MARCH1", "SEPT9", "NA", "N/A", "NaN", "nan", "None", "null", "NULL", "<NA>", "#N/A", "True",
    "false", "-", "-inf2",
    # what csv, shells, YAML and formulas take for their own
    "a,b", "a;b", "a\tb", 'a"b', '"a"', '"', "'", "a\rb", "a\r\nb", "a\nb", "\r", " a", "a ", "  ",
    "#a", "g#2", "=1+1", "@a", "a: b", "*a", "&a", "!a", "${a}", "{a}", "%s", "%(a)s", "\\", "a\\",
    # what terminals, rich, matplotlib, HTML and Markdown take for more than text
    "[naive]", "[/]", "[bold red]T[/bold red]", "\\[a]", ":dog:", "\x1b[2J\x1b[31mred",
    "\x1b]0;title\x07", "\x9b31m", "\x7f", "\x08\x08", "$\\frac$", "$x^2$", "$", "CD4$^$", "_a",
    "__a__", "<b>a</b>", "</script><script>alert(1)</script>", "<!--", "&lt;", "a|b", "`a`",
    "![a](b)", "[a](b)",
    # letters of all kinds, and what has no shape
    "γδ T", "日本語", "Ünïcödé", "e\u0301", "\u202eabc", "a\u200bb", "\ufeffa", "a\u2028b",
    "a\x85b", "a\xa0b", "\U0001f9ec", LONG + " 1", LONG + " 2",
]  # fmt: skip
FUZZ = settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
NAME = st.one_of(
    st.sampled_from(AWKWARD),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
    st.text("\r\n\t\"',;[]/\\$_<>&|`{}\x1b\x07\x9b#NA01 ", max_size=8),
)
NAMES = st.lists(NAME, min_size=1, max_size=12)


def squeeze(text: str) -> str:
    """The text without what a table puts between its words."""
    return re.sub(r"\s", "", text)


def obeyed(text: str) -> set[str]:
    """Characters that a terminal obeys, or that turn a line around; line ends aside."""
    kinds = {"Cc", "Cf", "Zl", "Zp", "Cs"}
    return {c for c in text if unicodedata.category(c) in kinds} - {"\n"}


@FUZZ
@given(NAMES)
@example(AWKWARD)
@example(["a\rb"])
@example([""])
def test_tables_give_back_the_same_names(names):
    columns = dict.fromkeys(("cell", "gene", "id", "cell_type"), names)
    table = pd.DataFrame({**columns, "z1": np.linspace(0.1, 1, len(names), dtype="f4")})
    table.loc[0, "cell_type"] = None  # which is no type at all
    table["note"] = [name or None for name in names]  # a column that was kept
    needed = ["cell", "gene", "id", "cell_type", "z1"]
    back = read_csv(csv_of(table), "names.csv", needed, {"note": "text"})
    assert back["note"].tolist() == table["note"].tolist()
    for key in ("cell", "gene", "id"):
        assert back[key].tolist() == names
    assert back["cell_type"].tolist() == [None, *(name or None for name in names[1:])]
    assert back["z1"].astype("f4").tolist() == table["z1"].tolist()


def test_only_names_that_need_it_are_quoted():
    assert csv_of(pd.DataFrame({"cell": ["NA", "a b"], "z1": [1.5, np.nan]})) == (
        b"cell,z1\nNA,1.5\na b,\n"
    )


@FUZZ
@given(NAMES)
@example(AWKWARD)
def test_a_terminal_shows_them_and_obeys_none(capsys, names):
    def shown(what) -> str:
        capsys.readouterr()
        what(Console())
        captured = capsys.readouterr()
        assert not obeyed(captured.out + captured.err)
        return captured.out + captured.err

    for name in names:
        error = InputError(Kind.VALUE, None, name)
        for line in (
            shown(lambda console, name=name: console.line(name)),
            shown(lambda console, name=name: console.warn(name)),
            shown(lambda console, error=error: console.error(str(error))),
            shown(lambda console, name=name: console.facts([("type", name)])),
            shown(lambda console, name=name: console.folder(name)),
        ):
            assert line.rstrip("\n").endswith(visible(name))
            assert line.count("\n") <= 2
    table = shown(lambda console: console.table([{"type": name} for name in names]))
    squeezed = squeeze(table)  # long ones take several lines
    assert squeezed == squeeze("type" + "".join(map(visible, names)))
    head = shown(lambda console: console.table([{names[0] or "a": "1"}]))
    assert squeeze(head) == squeeze(f"{visible(names[0]) or 'a'}1")


@FUZZ
@given(NAMES)
@example(AWKWARD)
def test_a_page_shows_them(monkeypatch, names):
    monkeypatch.setattr(report, "_asset", lambda name: "")  # which hold no names
    places = {f"tsne_{i}": np.arange(len(names) * 1.0) for i in (1, 2)}
    cells = pd.DataFrame({"cell": names, "cell_type": names, "cluster": 0, **places})
    table = pd.DataFrame({"name": names, "n": 1})
    page = report.html(
        title=names[0], lead=names, tables={"names": table}, figures={}, maps={names[0]: cells},
        provenance={"name": names[-1]},
    )  # fmt: skip
    page.encode()  # no halves of characters
    read = Reader(page)
    assert not read.open
    told = [visible(name) for name in names]
    assert [row[0] for row in read.rows[1:]] == told
    assert [text for text in told if text] == [
        text for text in read.data["cells-0"]["names"] if text
    ]
    types = unpacked(read.data["cells-0"]["types"])
    assert {*told} == {read.data["look"]["names"][i] for i in types}
    assert {text for text in told if text} <= set(read.texts)


def test_figures_draw_them(monkeypatch):
    texts = drawn_texts(monkeypatch)
    labels = np.arange(3 * len(AWKWARD)) % len(AWKWARD)
    places = np.random.default_rng(0).normal(size=(len(labels), 2))
    clusters = labels % 4
    centroids = np.stack([places[clusters == i].mean(0) for i in range(4)])
    png = render(
        map_2d(places, labels, AWKWARD, clusters, centroids, "$\\frac$", "t-SNE", "NMI 0.5")
    )
    shown = {text.partition("  ")[2] for text in texts}  # behind the letter
    for name in AWKWARD:
        if len(visible(name)) <= SHORTEST:
            assert f"{visible(name)} (3)" in shown
    assert "$\\frac$" in texts
    cut = [text for text in shown if "CD4-p" in text and "\N{HORIZONTAL ELLIPSIS}" in text]
    assert sorted(text[-5:] for text in cut) == ["1 (3)", "2 (3)"]
    height, width, *_ = imread(io.BytesIO(png)).shape
    assert width == round(PAGE * DPI)  # as with short names: none reaches out
    assert height > width / 2


@pytest.mark.parametrize("inches", [3.4, 7, 14])
def test_legends_fit_whatever_types_are_called(inches):
    """As wide as matplotlib draws them, with markers."""
    names = [*AWKWARD[:7], LONG + " 1", *AWKWARD[-9:], LONG + " 2"]
    styles = by_type(np.arange(len(names)), names).styles
    n_columns, labels = legend_shape(styles, inches)
    assert n_columns == {3.4: 1, 7: 4, 14: 6}[inches]
    widths = [TextPath((0, 0), label, SMALL).get_extents().width / 72 for label in labels]
    columns = [max(column) for column in np.array_split(widths, n_columns)]
    assert sum(columns) + 0.13 * n_columns < inches


def drawn_texts(monkeypatch) -> set[str]:
    """The texts of each figure, as they are drawn."""
    from matplotlib.backends.backend_agg import RendererAgg

    texts: set[str] = set()
    before = RendererAgg.draw_text

    def draw(self, gc, x, y, text, *rest, **options):
        texts.add(text)
        return before(self, gc, x, y, text, *rest, **options)

    monkeypatch.setattr(RendererAgg, "draw_text", draw)
    return texts


@pytest.mark.filterwarnings("ignore")
def test_from_a_file_to_all_that_a_run_leaves(scvae, tmp_path):
    """Each awkward name is a cell, a gene and, with a second cell, a type."""
    n = len(AWKWARD)
    names = [*AWKWARD, *(f"{name}." for name in AWKWARD)]
    x = np.random.default_rng(0).poisson(2.0, (2 * n, n)).astype(np.float32) + 1
    adata = AnnData(
        csr_matrix(x),
        pd.DataFrame({"kind": AWKWARD * 2}, index=names),
        pd.DataFrame(index=AWKWARD),
    )
    adata.write_h5ad(tmp_path / "c.h5ad")
    cells = ["data=file", "data.path=c.h5ad", "data.label_key=kind", "h5ad=true"]
    quick = ["tsne.perplexity=5", "tsne.max_iter=250", "cluster.n_init=1", "map_3d=false"]
    result = scvae(
        "train", *cells, *quick, "model=vsc", "epochs=2", "latent_dim=2", "hydra.run.dir=r"
    )
    assert result.code == 0, result.err
    assert not obeyed(result.out + result.err)

    run = scvae_cli.load("r")
    assert run.latent.index.tolist() == run.cells.index.tolist() == names
    assert run.cells["cell_type"].tolist() == AWKWARD * 2
    assert run.genes["gene"].tolist() == AWKWARD
    h5ad = anndata.read_h5ad(tmp_path / "r" / "cells.h5ad")
    assert h5ad.obs_names.tolist() == names
    assert h5ad.obs["cell_type"].tolist() == AWKWARD * 2
    assert h5ad.var_names.tolist() == AWKWARD
    page = Reader((tmp_path / "r" / "report.html").read_text(encoding="utf-8"))
    assert page.data["cells-0"]["names"] == list(map(visible, names))
    assert not obeyed((tmp_path / "r" / "scvae.log").read_text(encoding="utf-8"))

    result = scvae("embed", "r", "r/cells.h5ad")
    assert result.code == 0, result.err
    assert (tmp_path / "latent.csv").read_bytes() == (tmp_path / "r" / "latent.csv").read_bytes()
    result = scvae("data", "c.h5ad", "data.label_key=kind")
    assert result.code == 0, result.err
    squeezed = squeeze(result.out)
    for name in AWKWARD:
        if len(visible(name)) < 60:  # longer ones take several lines
            assert f"{squeeze(visible(name))}2" in squeezed
    assert not obeyed(result.out + result.err)


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_what_no_table_can_hold_is_refused(name):
    from scvae_cli.data.dataset import Recipe, labelled

    x = csr_matrix(np.ones((2, 2), np.float32))
    with pytest.raises(InputError) as caught:
        labelled(
            "d", x, np.array(["A", "B"]), np.array(["c", name]), np.array(["g", "h"]), Recipe()
        )
    assert caught.value.kind == Kind.NAMES
    assert str(caught.value).startswith(visible(f"cell {name!r}: "))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_an_encoding_that_lacks_them(encoding, monkeypatch, tmp_path):
    """A terminal, or a pipe, of another time."""
    from scvae_cli.cli import main

    adata = AnnData(
        csr_matrix(np.random.default_rng(0).poisson(2, (6, 5)).astype(np.float32) + 1),
        pd.DataFrame({"kind": ["γδ T", "日本語", "\U0001f9ec"] * 2}, index=list("abcdef")),
        pd.DataFrame(index=list("ghijk")),
    )
    adata.write_h5ad(tmp_path / "c.h5ad")
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    main(["data", str(tmp_path / "c.h5ad"), "data.label_key=kind"])
    out.flush()
    told = out.buffer.getvalue().decode(encoding)
    assert "\\u65e5\\u672c\\u8a9e" in told
    assert "\\U0001f9ec" in told


def test_recorded_words_do_not_reach_the_terminal(scvae, tmp_path):
    """What a stranger's run.json, its folder and a command line hold."""
    evil = "\x1b]0;owned\x07\u202e"
    for words in (["show", evil], ["compare", evil], ["train", f"beta={evil}"], ["train", evil],
                  [evil], ["show", "a", evil], ["embed", evil, evil]):  # fmt: skip
        result = scvae(*words)
        assert result.code == 2
        assert not obeyed(result.out + result.err), words
    record = {
        "status": "failed", "reason": evil, "command": f"scvae {evil}", "overrides": [evil],
        "versions": {"torch": evil}, "started": evil, "warnings": [evil],
    }  # fmt: skip
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "config.yaml").write_text("seed: 0\nmodel: {name: vae}\ndata: {name: file}\n")
    for words in (["show", "r"], ["compare", "."], ["verify", "r"], ["embed", "r", "r"]):
        result = scvae(*words)
        assert not obeyed(result.out + result.err), words
        assert "Traceback" not in result.err


@pytest.mark.parametrize("word", ["output_dir=2026_11_28", "hydra.run.dir=1.10"])
def test_names_of_digits_stay_as_they_are(scvae, tmp_path, word):
    assert scvae("train", *FAST, "model=pca", word).code == 0
    assert (tmp_path / word.partition("=")[2]).is_dir()


@pytest.mark.parametrize("key", ["label_key", "batch_key", "layer", "gene_names"])
def test_columns_may_be_named_by_digits(key):
    data = compose(["data=file", "data.path=c.h5ad", f"data.{key}=2021_05"]).data
    assert getattr(data, key) in ("2021_05", ["2021_05"])
