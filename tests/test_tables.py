"""Text files: what is written is what is read, and what is no table is refused in one line."""

import csv
import gzip
import io
from pathlib import Path

import anndata
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.io import mmwrite
from scipy.sparse import coo_matrix

from scvae_cli import untrusted
from scvae_cli.data.files import read
from scvae_cli.data.labels import read_labels
from scvae_cli.errors import InputError, Kind

AWKWARD = [
    "001", "1E5", "0.10", "1e400", "1_000", "NA", "None", "nan", "null", "NULL", "N/A", "True",
    "-", "#", "#1", "g#2", "H2-K1#1", "1-Mar", "2-Mar", "a b", " a", "a ",
    "a,b", "a;b", "a:b", 'a"b',
    '"a"', "'a'", "a\\b", "a/b", "../a", "$\\frac$", "[red]", "[/]", "\x1b[31m", "<b>", "&amp;",
    "µ", "Ω", "\N{COMBINING ACUTE ACCENT}", "漢字", "\U0001f9ec", "\u2028", "\x85", "\x0b",
    "\xa0", "=1+1", "+1", "-1", "@a", "inf", "0x10", "1,5", "%", "%%", "{a}", "${a}", "unlabelled",
]  # fmt: skip
IN_QUOTES = [
    "a\nb",
    "a\rb",
    "a\tb",
    "a\r\nb",
    "\n",
    "\t",
    "a\r",
]  # what only csv can hold
LETTERS = st.characters(codec="utf-8", exclude_characters="\0")


def names(awkward: list[str], letters: st.SearchStrategy) -> st.SearchStrategy:
    one = st.sampled_from(awkward) | st.text(letters, min_size=1, max_size=6)
    return st.lists(one, min_size=2, max_size=8, unique=True)


def table(
    rows: list[str], columns: list[str], *, separator: str = ",", corner: str | None = "x",
    quoting: int | None = None, end: str = "\n",
) -> bytes:  # fmt: skip
    """Values 0, 1, 2, ... below these names."""
    if quoting is None:  # Python's writer does not see that a carriage return needs quotes
        returns = any("\r" in name for name in (*rows, *columns))
        quoting = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
    out = io.StringIO()
    write = csv.writer(out, delimiter=separator, quoting=quoting, lineterminator=end)
    write.writerow(columns if corner is None else [corner, *columns])
    for i, row in enumerate(rows):
        write.writerow([row, *range(i * len(columns), (i + 1) * len(columns))])
    return out.getvalue().encode()


TABLES = {
    "csv": lambda c, g: ("t.csv", table(c, g)),
    "tsv": lambda c, g: ("t.tsv", table(c, g, separator="\t")),
    "txt, CRLF": lambda c, g: ("t.txt", table(c, g, separator="\t", end="\r\n")),
    "csv.gz": lambda c, g: ("t.csv.gz", gzip.compress(table(c, g))),
    "CSV.GZ with a mark": lambda c, g: ("T.CSV.GZ", gzip.compress(b"\xef\xbb\xbf" + table(c, g))),
    "R": lambda c, g: ("t.csv", table(c, g, corner=None, quoting=csv.QUOTE_ALL)),
    "R, tabs": lambda c, g: ("t.tsv", table(c, g, corner=None, separator="\t")),
    "no corner": lambda c, g: ("t.csv", table(c, g, corner="")),
    "corner #": lambda c, g: ("t.csv", table(c, g, corner="#x")),
    "comment": lambda c, g: ("t.csv", b"# made by hand\n# twice\n" + table(c, g)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Files of one test after the other."""
    return tmp_path_factory.mktemp("tables")


@pytest.mark.parametrize("door", TABLES)
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(names(AWKWARD + IN_QUOTES, LETTERS), names(AWKWARD + IN_QUOTES, LETTERS), st.booleans())
@example(AWKWARD, AWKWARD, False)
@example(["#1", "#2", "c"], ["#a", "b"], True)
def test_a_table_keeps_its_names(folder, door, cells, genes, transpose):
    name, contents = TABLES[door](*((genes, cells) if transpose else (cells, genes)))
    (folder / name).write_bytes(contents)
    found = read(folder / name, transpose=transpose, say=print)
    assert (list(found.obs_names), list(found.var_names)) == (cells, genes)
    values = np.arange(len(cells) * len(genes))
    expected = values.reshape(-1, len(cells)).T if transpose else values.reshape(-1, len(genes))
    np.testing.assert_array_equal(found.X.toarray(), expected)


def write_folder(
    to: Path, features: list[list[str]], barcodes: list[str], *, genes: str = "features.tsv",
    end: str = "\n", prefix: str = "",
) -> np.ndarray:  # fmt: skip
    """A 10x folder; returns its values (n_cells, n_features)."""
    to.mkdir(exist_ok=True)
    for old in to.iterdir():
        old.unlink()
    x = np.arange(len(barcodes) * len(features)).reshape(-1, len(features)) % 7
    x[:, 0] += 1
    lines = {genes: ["\t".join(row) for row in features], "barcodes.tsv": barcodes}
    for name, rows in lines.items():
        contents = "".join(row + end for row in rows).encode()
        packed = gzip.compress(contents) if name.endswith(".gz") else contents
        (to / f"{prefix}{name}").write_bytes(packed)
    mmwrite(to / f"{prefix}matrix.mtx", coo_matrix(x.T))
    return x


PLAIN = st.characters(codec="utf-8", exclude_characters="\0\n\t")
ONE_LINE = names(AWKWARD, PLAIN)


@pytest.mark.parametrize("columns", [1, 2, 3, 6])
@pytest.mark.parametrize("genes", ["features.tsv", "features.tsv.gz", "genes.tsv"])
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(ONE_LINE, ONE_LINE, st.sampled_from(["\n", "\r\n"]))
@example(AWKWARD, AWKWARD, "\n")
def test_a_folder_keeps_its_names(folder, columns, genes, cells, symbols, end):
    cells, symbols = ([*some, "plain"] for some in (cells, symbols) if "plain" not in some)
    ids = symbols if columns == 1 else [f"E{i}" for i in range(len(symbols))]
    rest = ["Gene Expression", "chr1", "1", "2"]
    rows = [[i, s, *rest][:columns] for i, s in zip(ids, symbols, strict=True)]
    x = write_folder(folder / "ten", rows, cells, genes=genes, end=end)
    found = read(folder / "ten", transpose=None, say=print)
    assert (list(found.obs_names), list(found.var_names)) == (cells, symbols)
    np.testing.assert_array_equal(found.X.toarray(), x)
    assert columns == 1 or list(found.var["gene_ids"]) == ids


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(names(AWKWARD + IN_QUOTES, LETTERS), st.data(), st.sampled_from(["a.csv", "a.tsv.gz"]))
def test_labels_keep_their_names(folder, cells, data, name):
    types = data.draw(st.lists(st.sampled_from(AWKWARD), min_size=len(cells), max_size=len(cells)))
    out = io.StringIO()
    write = csv.writer(out, delimiter="," if "csv" in name else "\t")
    write.writerows([["barcode of a cell", "type"], *zip(cells, types, strict=True)])
    contents = out.getvalue().encode()
    (folder / name).write_bytes(gzip.compress(contents) if name.endswith("gz") else contents)
    assert list(read_labels(str(folder / name), np.array(cells))) == types


def test_labels_without_a_header_are_all_read(tmp_path):
    (tmp_path / "a.csv").write_text("c1,B\nc2,NA\n")
    assert list(read_labels(str(tmp_path / "a.csv"), np.array(["c2", "c1"]))) == ["NA", "B"]


def refused(path: Path, *, transpose: bool | None = None) -> InputError:
    """The error of a file that is not read."""
    with pytest.raises(InputError) as caught:
        read(path, transpose=transpose, say=print)
    return caught.value


# Contents of a file, and the values that are read, or the kind of fault and what is named.
GOOD = {
    "float.csv": (b"c,g,h\na,1.5,2e1\nb,0.0,-0\n", [[1.5, 20], [0, 0]]),
    "spaces.csv": (b"c,g,h\na, 1,2 \nb,3,4\n", [[1, 2], [3, 4]]),
    "trailing.csv": (b"c,g,h,\na,1,2,\nb,3,4,\n", [[1, 2], [3, 4]]),
    "trailing-rows.tsv": (b"c\tg\th\na\t1\t2\t\nb\t3\t4\t\n", [[1, 2], [3, 4]]),
    "no-last-end.csv": (b"c,g,h\na,1,2\nb,3,4", [[1, 2], [3, 4]]),
    "blank-lines.csv": (b"c,g,h\n\na,1,2\n\nb,3,4\n\n\n", [[1, 2], [3, 4]]),
    "mac.csv": (b"c,g,h\ra,1,2\rb,3,4\r", [[1, 2], [3, 4]]),
    "quoted.csv": (b'"c","g","h"\n"a","1","2"\n"b","3","4"\n', [[1, 2], [3, 4]]),
    "comment.txt": (b"# Program: counts\nc\tg\th\na\t1\t2\nb\t3\t4\n", [[1, 2], [3, 4]]),
    "infinite.csv": (b"c,g,h\na,inf,2\nb,3,1e400\n", [[np.inf, 2], [3, np.inf]]),
}
BAD = {
    "word.csv": (b"c,g,h\na,1,two\n", Kind.CONTENT, "column h", "'two' in row a"),
    "empty-value.csv": (b"c,g,h\na,1,\n", Kind.CONTENT, "column h", "'' in row a"),
    "missing.csv": (b"c,g,h\na,NA,1\n", Kind.CONTENT, "column g", "'NA' in row a"),
    "underscore.csv": (b"c,g,h\na,1_0,1\n", Kind.CONTENT, "column g", "'1_0' in row a"),
    "comma.csv": (b'c,g,h\na,"1,5",1\n', Kind.CONTENT, "column g", "'1,5' in row a"),
    "hex.csv": (b"c,g,h\na,0x1F,1\n", Kind.CONTENT, "column g", "'0x1F' in row a"),
    "truth.csv": (b"c,g,h\na,True,1\n", Kind.CONTENT, "column g", "'True' in row a"),
    "annotated.tsv": (b"id\tchr\tc1\nE1\tchr1\t4\n", Kind.CONTENT, "column chr", "row E1"),
    "two-headers.csv": (b"c,g,h\nid,E1,E2\na,1,2\n", Kind.CONTENT, "column g", "'E1' in row id"),
    "comment-as-wide.csv": (b"# a, b, c\nc,g,h\na,1,2\n", Kind.CONTENT, "'g' in row c"),
    "empty.csv": (b"", Kind.EMPTY),
    "lines.csv": (b"\n\n\n", Kind.EMPTY),
    "header.csv": (b"c,g,h\n", Kind.EMPTY, "header"),
    "column.csv": (b"c\na\n", Kind.FORMAT, "commas are"),
    "semicolon.csv": (b"c;g;h\na;1;2\n", Kind.FORMAT, "semicolons", "commas"),
    "tab.csv": (b"c\tg\th\na\t1\t2\n", Kind.FORMAT, "tabs", ".tsv"),
    "comma.txt": (b"c,g,h\na,1,2\n", Kind.FORMAT, "commas", "tabs", ".csv"),
    "comma.tsv": (b"c,g,h\na,1,2\n", Kind.FORMAT, "commas", "tabs", ".csv"),
    "space.txt": (b"g h\na 1 2\nb 3 4\n", Kind.FORMAT, "spaces", "tabs"),
    "long.csv": (b"c,g,h\na,1,2,3,4\n", Kind.FORMAT, "header", "3 columns", "line 5"),
    "ragged.csv": (b"c,g,h\na,1,2\nb,1\n", Kind.FORMAT, "row b", "2 columns", "3"),
    "ragged-long.csv": (b"c,g,h\na,1,2\nb,1,2,3\n", Kind.FORMAT, "row b", "4 columns", "3"),
    "no-name.csv": (b"c,,h\na,1,2\n", Kind.NAMES, "column 1 "),
    "no-row-name.csv": (b"c,g,h\na,1,2\n,3,4\n", Kind.NAMES, "row 2 "),
    "open-quote.csv": (b'c,g,h\na,"1,2\n', Kind.FORMAT),
    "utf16.csv": ("c,g,h\na,1,2\n".encode("utf-16"), Kind.FORMAT, "UTF-16", "UTF-8"),
    "utf16-bare.csv": ("c,g,h\na,1,2\n".encode("utf-16-le"), Kind.FORMAT, "UTF-8"),
    "latin1.csv": ("c,gµ,h\na,1,2\n".encode("latin-1"), Kind.FORMAT, "0xb5", "UTF-8"),
    "binary.csv": (bytes(range(256)), Kind.FORMAT, "UTF-8"),
    "plain.csv.gz": (b"c,g,h\na,1,2\n", Kind.FORMAT, ".gz"),
    "cut.csv.gz": (gzip.compress(b"c,g,h\na,1,2\n")[:-9], Kind.DAMAGED),
    "damaged.csv.gz": (gzip.compress(b"c,g,h\na,1,2\n" * 99)[:40] + b"??", Kind.DAMAGED),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_table_as_the_field_makes_it(tmp_path, name):
    (tmp_path / name).write_bytes(GOOD[name][0])
    found = read(tmp_path / name, transpose=False, say=print)
    assert (list(found.obs_names), list(found.var_names)) == (["a", "b"], ["g", "h"])
    np.testing.assert_array_equal(found.X.toarray(), GOOD[name][1])


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_table_is_one_line(tmp_path, name):
    contents, kind, *facts = BAD[name]
    (tmp_path / name).write_bytes(contents)
    error = refused(tmp_path / name, transpose=False)
    assert (error.kind, error.key, error.value) == (kind, "data.path", tmp_path / name)
    for fact in facts:
        assert fact in f"{error.reason}; {error.fix}"
    assert "\n" not in str(error)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("twice", ["cell", "gene"])
def test_twice_is_twice_on_either_axis(scvae, tmp_path, transpose, twice):
    cells, genes = ["a", "b", "c"], ["1-Mar", "2-Mar", "g"]
    same = cells if twice == "cell" else genes
    same[1] = same[0]
    rows, columns = (genes, cells) if transpose else (cells, genes)
    (tmp_path / "t.csv").write_bytes(table(rows, columns))
    result = scvae("data", "t.csv", f"data.transpose={str(transpose).lower()}")
    assert f" {twice} {same[0]} " in result.refused(Kind.NAMES, "data.path")


@pytest.mark.parametrize("prefix", ["", "GSM1_", "s#1:", "day 2 - "])
def test_barcodes_are_seen_behind_a_prefix(tmp_path, prefix):
    barcodes = [f"{prefix}ACGTACGTACGT{i}-1".replace("1-1", "A-1") for i in "123"]
    (tmp_path / "t.csv").write_bytes(table(["x1", "x2"], barcodes))
    said: list[str] = []
    assert list(read(tmp_path / "t.csv", transpose=None, say=said.append).obs_names) == barcodes
    assert "rows are genes, as their names tell" in said[0]


def three(kinds: list[str]) -> list[list[str]]:
    return [[f"E{i}", f"g{i}", kind] for i, kind in enumerate(kinds)]


def test_only_genes_are_taken_from_a_folder(tmp_path):
    gene, other = "Gene Expression", "Antibody Capture"
    x = write_folder(tmp_path / "t", three([gene, other, gene, "Custom"]), ["a", "b"])
    said: list[str] = []
    found = read(tmp_path / "t", transpose=None, say=said.append)
    assert list(found.var_names) == ["g0", "g2"]
    np.testing.assert_array_equal(found.X.toarray(), x[:, [0, 2]])
    assert said == ["t: features that are no genes are left out: 1 Antibody Capture, 1 Custom"]


def test_symbols_that_repeat_or_lack_are_told_apart(tmp_path):
    rows = [["E0", "A"], ["E1", "B"], ["E2", "A"], ["E3", ""], ["E4", "NA"]]
    write_folder(tmp_path / "t", rows, ["a", "b"], genes="genes.tsv")
    found = read(tmp_path / "t", transpose=None, say=print)
    assert list(found.var_names) == ["A", "B", "A-1", "E3", "NA"]
    assert list(found.var["gene_ids"]) == ["E0", "E1", "E2", "E3", "E4"]


def test_names_in_quotes_as_r_writes_them(tmp_path):
    rows = [['"E0"', '"A"'], ['"E1"', '"B"']]
    write_folder(tmp_path / "t", rows, ['"a"', '"b"'], genes="genes.tsv")
    found = read(tmp_path / "t", transpose=None, say=print)
    assert (list(found.obs_names), list(found.var_names)) == (["a", "b"], ["A", "B"])


def test_a_folder_of_geo(scvae, tmp_path):
    rows = three(["Gene Expression"] * 4)
    x = write_folder(tmp_path / "geo", rows, ["a", "b"], prefix="GSM1_x_")
    line = scvae("data", "geo").refused(Kind.MISSING, "data.path")
    assert "data.path=geo/GSM1_x_matrix.mtx" in line
    found = read(tmp_path / "geo" / "GSM1_x_matrix.mtx", transpose=None, say=print)
    np.testing.assert_array_equal(found.X.toarray(), x)
    (tmp_path / "geo" / "GSM1_x_barcodes.tsv").rename(tmp_path / "geo" / "GSM2_x_barcodes.tsv")
    error = refused(tmp_path / "geo" / "GSM1_x_matrix.mtx")
    assert (error.kind, error.key) == (Kind.MISSING, "data.path")
    assert error.reason.startswith("GSM1_x_barcodes.tsv ")


@pytest.mark.parametrize("part", ["barcodes.tsv", "features.tsv", "matrix.mtx"])
def test_a_link_out_of_a_folder_is_not_read(tmp_path, part):
    write_folder(tmp_path / "t", three(["Gene Expression"] * 3), ["a", "b"])
    file = tmp_path / "t" / part
    (tmp_path / "secret").write_bytes(file.read_bytes())
    file.rename(tmp_path / "t" / "inside")
    file.symlink_to("inside")
    assert read(tmp_path / "t", transpose=None, say=print).shape == (2, 3)
    file.unlink()
    file.symlink_to("../secret")
    error = refused(tmp_path / "t")
    assert (error.kind, error.key, error.value) == (Kind.UNSAFE, "data.path", tmp_path / "t")
    assert error.reason.startswith(part)


HEAD = "%%MatrixMarket matrix coordinate integer general\n"
MATRICES = {
    "other size": (HEAD + "3 9 1\n1 1 1\n", Kind.DAMAGED, "3 genes x 9 cells"),
    "header lines": (HEAD + "2 1 1\n1 1 1\n", Kind.DAMAGED, "headers off"),
    "1,024 bytes of comment": (
        HEAD + "%" + "x" * 1023 + "3 2 1\n300000000 2 1\n1 1 1\n", Kind.DAMAGED, "300000000 genes",
    ),
    "too many": (HEAD + "3 2 999999999\n1 1 1\n", Kind.DAMAGED, ""),
    "dense": (
        HEAD.replace("coordinate", "array") + "3 2\n1\n2\n3\n4\n5\n6\n", Kind.FORMAT, "array",
    ),
    "complex": (HEAD.replace("integer", "complex") + "3 2 1\n1 1 1 1\n", Kind.FORMAT, "complex"),
    "symmetric": (HEAD.replace("general", "symmetric") + "3 3 1\n1 1 1\n", Kind.FORMAT, "symm"),
    "words": (HEAD + "three two one\n", Kind.FORMAT, "Matrix Market"),
    "no head": ("3 2 1\n1 1 1\n", Kind.FORMAT, "Matrix Market"),
    "negative": (HEAD + "-3 2 1\n1 1 1\n", Kind.FORMAT, "Line 2"),
    "huge": (HEAD + "3 2 99999999999999999999999\n1 1 1\n", Kind.FORMAT, "Matrix Market"),
    "nothing": ("", Kind.FORMAT, "Matrix Market"),
    "cut": (HEAD + "3 2 2\n1 1 1\n2", Kind.FORMAT, "Line 4"),
    "out of range": (HEAD + "3 2 2\n1 1 1\n4 1 1\n", Kind.FORMAT, "Line 4"),
    "word": (HEAD + "3 2 2\n1 1 1\n2 2 x\n", Kind.FORMAT, "Line 4"),
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", MATRICES)
def test_a_bad_matrix_is_one_line(tmp_path, name, packed):
    write_folder(tmp_path / "t", three(["Gene Expression"] * 3), ["a", "b"])
    contents, kind, fact = MATRICES[name]
    (tmp_path / "t" / "matrix.mtx").unlink()
    if packed:
        (tmp_path / "t" / "matrix.mtx.gz").write_bytes(gzip.compress(contents.encode()))
    else:
        (tmp_path / "t" / "matrix.mtx").write_text(contents)
    error = refused(tmp_path / "t")
    file = tmp_path / "t" / ("matrix.mtx.gz" if packed else "matrix.mtx")
    # Only scipy, which reads all of it, finds what is wrong further down.
    value = tmp_path / "t" if fact == "Line 4" else file
    assert (error.kind, error.key, error.value) == (kind, "data.path", value)
    assert fact in f"{error.reason}; {error.fix}"
    assert "\n" not in str(error)


FEATURES = {
    "ragged": (b"E0\tg0\nE1\nE2\tg2\n", Kind.DAMAGED, "line 2 has 1 columns"),
    "no genes": (b"E0\tg0\tPeaks\nE1\tg1\tPeaks\nE2\tg2\tPeaks\n", Kind.EMPTY, "Peaks"),
    "few": (b"E0\tg0\n", Kind.DAMAGED, "1 genes and 2 barcodes"),
    "utf16": ("E0\tg0\nE1\tg1\nE2\tg2\n".encode("utf-16"), Kind.FORMAT, "UTF-16"),
}


@pytest.mark.parametrize("name", FEATURES)
def test_bad_genes_of_a_folder_are_one_line(tmp_path, name):
    write_folder(tmp_path / "t", three(["Gene Expression"] * 3), ["a", "b"])
    contents, kind, fact = FEATURES[name]
    (tmp_path / "t" / "features.tsv").write_bytes(contents)
    error = refused(tmp_path / "t")
    assert (error.kind, error.key) == (kind, "data.path")
    assert fact in error.reason


def test_other_kinds_of_features_are_genes(tmp_path):
    write_folder(tmp_path / "t", three(["gene", "mRNA", "gene"]), ["a", "b"])
    assert read(tmp_path / "t", transpose=None, say=print).n_vars == 3


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("dense.csv.gz", b"c,g,h\n" + b"a,1,1\n" * 10**5),
        ("names.csv.gz", b"c,g,h\n" + (b"a" * 9999 + b",1,1\n") * 2000),
        ("line.csv.gz", b"c,g" + b"x" * 2**25),
        ("labels.csv.gz", b"a,b\n" * 10**5),
        ("barcodes.tsv.gz", b"a\n" * 10**6),
        ("matrix.mtx.gz", b"%" * 10**7),
    ],
)
def test_little_that_becomes_much_is_refused(tmp_path, monkeypatch, name, contents):
    monkeypatch.setattr(untrusted, "_left", lambda: 8e6)
    packed = gzip.compress(contents)
    assert len(packed) < 1e5
    write_folder(tmp_path, three(["Gene Expression"] * 3), ["a", "b"])
    (tmp_path / name).write_bytes(packed)
    (tmp_path / name.removesuffix(".gz")).unlink(missing_ok=True)
    labels = name.startswith("labels")
    path = tmp_path / name if ".csv" in name else tmp_path
    with pytest.raises(InputError) as caught:
        read_labels(str(path), np.array(["a"])) if labels else read(
            path, transpose=False, say=print
        )
    assert (caught.value.kind, caught.value.value) == (Kind.MEMORY, tmp_path / name)


def test_a_sparse_table_takes_no_more_than_its_counts(tmp_path, monkeypatch):
    """A table of zeros is larger than the memory that its few counts take."""
    monkeypatch.setattr(untrusted, "_left", lambda: 8e6)
    row = b"," + b",".join([b"0"] * 999) + b",1\n"
    contents = b"c," + b",".join(b"g%d" % i for i in range(1000)) + b"\n"
    contents += b"".join(b"c%d" % i + row for i in range(5000))
    assert len(contents) > 8e6
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(contents, 1))
    found = read(tmp_path / "t.csv.gz", transpose=False, say=print)
    assert isinstance(found, anndata.AnnData)
    assert (found.shape, found.X.nnz) == ((5000, 1000), 5000)
