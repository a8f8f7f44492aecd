"""Binary files: what is in them is read as it is, left out and said, or refused in one line."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from conftest import PLAIN
from hypothesis import HealthCheck, given, settings
from hypothesis.extra.numpy import arrays
from scipy.sparse import csc_matrix, csr_matrix

from scvae_cli import untrusted
from scvae_cli.data import files, headers, selection
from scvae_cli.data.sources import load
from scvae_cli.data.wording import command_line
from scvae_cli.errors import InputError, Kind
from scvae_cli.launch.compose import compose

N, G = 12, 9
X = np.random.default_rng(0).poisson(1.0, (N, G)).astype(np.float32)
X[:, 0] += 1  # no cell is empty
OBS = pd.DataFrame(
    {"kind": pd.Categorical(list("abc") * 4), "size": np.arange(N)},
    index=[f"c{i}" for i in range(N)],
)
VAR = pd.DataFrame({"ids": [f"E{i}" for i in range(G)]}, index=[f"g{i}" for i in range(G)])

Edit = Callable[[h5py.File], None]
Make = Callable[[Path], object]


def cells(x=None, **parts) -> anndata.AnnData:
    return anndata.AnnData(csr_matrix(X) if x is None else x, OBS, VAR, **parts)


def write(path: Path, edit: Edit = lambda file: None, x=None) -> Path:
    """An h5ad with a layer, raw and something in obsm and uns; then changed."""
    sparse = csr_matrix(X)
    whole = cells(x, layers={"other": sparse}, obsm={"pca": X[:, :2]}, uns={"note": "n"})
    whole.raw = cells()
    whole.write_h5ad(path)
    with h5py.File(path, "a") as file:
        edit(file)
    return path


def read(path: Path, *, layer=None, raw=False, label_key="kind", **options) -> anndata.AnnData:
    """What a run would get of a file."""
    needed = selection.elements(layer=layer, raw=raw, obs=[label_key])
    found = files.read(
        path, transpose=None, needed=needed, **{"say": lambda text: None, **options}
    )
    return selection.select(found, command_line(path), layer=layer, raw=raw, gene_names=None)


def put(name: str, values, **options) -> Edit:
    """Writes an array in place of what is there; its attributes stay."""

    def edit(file: h5py.File) -> None:
        new = values(file[name][()]) if callable(values) else values
        attributes = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, data=new, **options).attrs.update(attributes)

    return edit


def at(place: int, value) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[place] = value
        return values

    return change


def mark(name: str, **attributes) -> Edit:
    return lambda file: file[name].attrs.update(attributes)


def drop(name: str) -> Edit:
    return lambda file: file.__delitem__(name)


def coded(name: str, kind: str, values) -> Edit:
    """An array of which the file says what it is."""

    def edit(file: h5py.File) -> None:
        if name in file:
            del file[name]
        dataset = file.create_dataset(name, data=values)
        dataset.attrs.update({"encoding-type": kind, "encoding-version": "0.2.0"})

    return edit


def graph(root: str) -> Edit:
    """Twenty-seven groups, each with two names in the one before: 2^27 ways."""

    def edit(file: h5py.File) -> None:
        above = file.create_group(f"{root}/l0")
        for i in range(27):
            group = file.create_group(f"{root}/x{i}")
            above["a"] = above["b"] = group
            above = group

    return edit


def never_written(name: str, shape, **options) -> Edit:
    def edit(file: h5py.File) -> None:
        attributes = dict(file[name].attrs) if name in file else {}
        if name in file:
            del file[name]
        made = file.create_dataset(name, shape=shape, **{"chunks": True, "dtype": "f4", **options})
        made.attrs.update(attributes)

    return edit


def all_of(*edits: Edit) -> Edit:
    def edit(file: h5py.File) -> None:
        for one in edits:
            one(file)

    return edit


def shared_text(name: str, n: int, length: int) -> Edit:
    """So many texts that are all one, once in the file: a few kB of it."""

    def edit(file: h5py.File) -> None:
        attributes = dict(file[name].attrs)
        del file[name]
        text = h5py.string_dtype()
        one = file.create_dataset("one", (1,), dtype=text, chunks=(1,))
        one[0] = "x" * length
        pointer = one.id.read_direct_chunk((0,))[1]
        made = file.create_dataset(name, (n,), dtype=text, chunks=(n,), compression="gzip")
        made.id.write_direct_chunk((0,), zlib.compress(pointer * n))
        made.attrs.update(attributes)

    return edit


def oldest(file: h5py.File) -> None:
    """As anndata 0.6 wrote it."""
    sparse = csr_matrix(X)
    for name in list(file):
        del file[name]
    group = file.create_group("X")
    group.attrs.update({"h5sparse_format": "csr", "h5sparse_shape": np.array(X.shape)})
    group["data"], group["indices"], group["indptr"] = sparse.data, sparse.indices, sparse.indptr
    rows = [(name.encode(), i % 3) for i, name in enumerate(OBS.index)]
    file["obs"] = np.array(rows, dtype=[("index", "S4"), ("kind", "i1")])
    file["var"] = np.array([(name.encode(),) for name in VAR.index], dtype=[("index", "S4")])
    file["uns/kind_categories"] = np.array(["a", "b", "c"], "S")


def older(file: h5py.File) -> None:
    """Tables as anndata 0.7 wrote them."""
    for name in ("obs", "var"):
        file[name].attrs["encoding-version"] = "0.1.0"
    codes = file["obs/kind/codes"][()]
    del file["obs/kind"]
    file["obs/__categories/kind"] = np.array(["a", "b", "c"], dtype=object)
    file["obs/kind"] = codes
    file["obs/kind"].attrs["categories"] = file["obs/__categories/kind"].ref


def link(name: str, target) -> Edit:
    def edit(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = target if not isinstance(target, str) else file[target]

    return edit


def twice(file: h5py.File) -> None:
    """Each value as two halves at one place, out of order."""
    sparse = csr_matrix(X)
    rows = [slice(a, b) for a, b in zip(sparse.indptr[:-1], sparse.indptr[1:], strict=True)]
    for part, values in (("data", sparse.data / 2), ("indices", sparse.indices)):
        new = [np.concatenate([values[row][::-1], values[row]]) for row in rows]
        put(f"X/{part}", np.concatenate(new))(file)
    put("X/indptr", sparse.indptr * 2)(file)


SAME: dict[str, Edit | np.ndarray | csr_matrix] = {
    **{kind: X.astype(kind) for kind in ("u1", "i2", "u4", "i8", "f2", "f8", "longdouble", ">f4")},
    **{f"sparse {kind}": csr_matrix(X.astype(kind)) for kind in ("u1", "i8", "f8")},
    "csc": csc_matrix(X),
    "csc of int64": csc_matrix(X.astype("i8")),
    "dense, columns first": np.asfortranarray(X),
    "indices of int64": put("X/indices", lambda v: v.astype("i8")),
    "indices of uint16": put("X/indices", lambda v: v.astype("u2")),
    "indptr of uint64": put("X/indptr", lambda v: v.astype("u8")),
    "explicit zeros": lambda f: (
        put("X/data", X.ravel())(f),
        put("X/indices", np.tile(np.arange(G), N))(f),
        put("X/indptr", np.arange(N + 1) * G)(f),
    ),
    "entries given twice": twice,
    "packed": put("X/data", lambda v: v, compression="gzip", shuffle=True, chunks=(5,)),
    "checksums": put("X/data", lambda v: v, fletcher32=True, chunks=(7,)),
    "anndata 0.6": oldest,
    "anndata 0.7": older,
    "a soft link": link("X", h5py.SoftLink("/layers/other")),
    "a hard link": link("X", "layers/other"),
    "a chain of soft links": all_of(
        link("uns/a", h5py.SoftLink("/layers/other")), link("X", h5py.SoftLink("/uns/a"))
    ),
    "links without end in uns": graph("uns"),
    "a group in itself in uns": lambda f: f["uns"].__setitem__("me", f["uns"]),
    "a soft link to itself in uns": link("uns/me", h5py.SoftLink("/uns/me")),
    "a deep uns": lambda f: f.create_group("uns/" + "a/" * 3000),
    "an unknown kind in uns": coded("uns/thing", "hologram", 1.0),
    "an unknown kind in obsm": coded("obsm/thing", "hologram", X),
    "an unknown kind in obs": mark("obs/size", **{"encoding-type": "hologram"}),
    "a short column": put("obs/size", np.arange(N - 1)),
    "a column of two axes": put("obs/size", np.zeros((N, 2))),
    "a column that is not there": mark("obs", **{"column-order": ["kind", "size", "age"]}),
    "codes without a category": put("obs/size", np.arange(N)),
    "text that was never written": never_written(
        "uns/s", (10**6,), dtype=h5py.string_dtype(), fillvalue="x" * 10**5
    ),
    "a layer that was never written": never_written("layers/l", (10**7, 10**7)),
    "a layer of another shape": put("layers/other/indptr", lambda v: v[:-1]),
    "a layer that leads out": put("layers/other/indices", at(3, 99)),
    "a layer of text": lambda f: f["layers"].create_dataset("t", data=np.full((N, G), b"x")),
    "raw that leads out": put("raw/X/indptr", at(3, 10**7)),
    "raw without names": drop("raw/var"),
    "an empty raw": lambda f: (drop("raw")(f), f.create_group("raw")),
    "obsm of another length": put("obsm/pca", X[:-1]),
    "names of fixed width": coded("obs/_index", "array", OBS.index.to_numpy(dtype="S")),
    "names as categories": lambda f: (
        drop("obs/_index")(f),
        anndata.io.write_elem(f["obs"], "_index", pd.Categorical(OBS.index)),
    ),
    "names by another key": lambda f: (
        f["obs"].move("_index", "barcode"), mark("obs", _index="barcode")(f),
    ),
}  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", SAME)
def test_what_stands_in_a_file_in_another_way_is_the_same(tmp_path, name):
    change = SAME[name]
    if callable(change):
        path = write(tmp_path / "a.h5ad", change)
    else:
        path = write(tmp_path / "a.h5ad", x=change)
    found = read(path)
    np.testing.assert_array_equal(found.X.toarray(), X)
    assert list(found.obs_names) == list(OBS.index)
    assert list(found.var_names) == list(VAR.index)
    assert list(found.obs["kind"]) == list(OBS["kind"])


def where(*place: str) -> Callable[[Path], None]:
    return lambda path: path.joinpath(*place).unlink()


def metadata(**changes) -> Callable[[Path], None]:
    """Other headers in zarr's summary of them, which is not read."""

    def change(path: Path) -> None:
        summary = json.loads((path / ".zmetadata").read_text())
        summary["metadata"]["X/data/.zarray"] |= changes
        (path / ".zmetadata").write_text(json.dumps(summary))

    return change


def moved(path: Path) -> None:
    (path / "X" / "data" / "0").rename(path / "uns" / "kept")
    (path / "X" / "data" / "0").symlink_to(path / "uns" / "kept")


def hard(path: Path) -> None:
    (path / "uns" / "copy").hardlink_to(path / "X" / "data" / "0")


ZARRS: dict[str, tuple[int, Callable[[Path], object]]] = {
    "version 2": (2, lambda path: None),
    "version 3": (3, lambda path: None),
    "no summary": (2, where(".zmetadata")),
    "a summary of a large array": (2, metadata(shape=[10**14])),
    "a summary with pickles": (2, metadata(compressor={"id": "pickle"})),
    "a link inside": (2, moved),
    "a hard link inside": (2, hard),
    "a folder of the name": (2, lambda path: (path / "more").mkdir()),
    "a link in a circle": (2, lambda path: (path / "uns" / "me").symlink_to(path / "uns")),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ZARRS)
def test_zarr_is_the_same(tmp_path, name):
    version, change = ZARRS[name]
    with anndata.settings.override(zarr_write_format=version):
        cells(obsm={"pca": X[:, :2]}).write_zarr(tmp_path / "a.zarr")
    change(tmp_path / "a.zarr")
    said: list[str] = []
    found = read(tmp_path / "a.zarr", whole=True, say=said.append)
    np.testing.assert_array_equal(found.X.toarray(), X)
    assert list(found.obs_names) == list(OBS.index)
    loops = ["a.zarr: uns/me is left out: /uns/me/me is linked to more than once"]
    assert said == (loops if name == "a link in a circle" else [])


# An edit, and what the line then names; its kind is FORMAT if none is given.
WRONG: dict[str, tuple[Edit, str] | tuple[Edit, str, Kind]] = {
    "index at the end": (put("X/indices", at(3, G)), f"< {G}"),
    "index far out": (put("X/indices", at(3, 2**31 - 1)), f"< {G}"),
    "index of 64 bits": (
        put("X/indices", lambda v: at(3, 2**40)(v.astype("i8"))), f"< {G}",
    ),
    "index of uint64": (
        put("X/indices", lambda v: at(3, 2**64 - 1)(v.astype("u8"))), f"< {G}",
    ),
    "negative index": (put("X/indices", at(3, -1)), ">= 0"),
    "index of fractions": (put("X/indices", lambda v: v + 0.5), "float64"),
    "index of NaN": (put("X/indices", lambda v: v * np.nan), "float64"),
    "index of booleans": (put("X/indices", lambda v: v > 0), "bool"),
    "wild indptr": (put("X/indptr", at(3, 10**7)), "X: indptr"),
    "wild last indptr": (put("X/indptr", at(-1, 10**7)), "X: "),
    "negative indptr": (put("X/indptr", at(3, -(10**7))), "X: indptr"),
    "decreasing indptr": (put("X/indptr", lambda v: at(3, v[2] - 1)(v)), "X: indptr"),
    "indptr that ends in 0": (put("X/indptr", at(-1, 0)), "X: indptr"),
    "indptr of zeros but one": (
        put("X/indptr", lambda v: at(3, 10**6)(v * 0)), "X: indptr",
    ),
    "indptr that starts late": (put("X/indptr", at(0, 1)), "X: "),
    "indptr of uint32 that wraps": (
        put("X/indptr", lambda v: at(3, 2**32 - 1)(v.astype("u4"))), "X: indptr",
    ),
    "short indptr": (put("X/indptr", lambda v: v[:-1]), f"indptr of {N} "),
    "no indptr": (drop("X/indptr"), "'indptr'"),
    "indptr of two axes": (put("X/indptr", lambda v: v[None]), "X: "),
    "one index": (put("X/indices", 3), "X: "),
    "data too short": (put("X/data", lambda v: v[:-1]), f"{np.count_nonzero(X) - 1} values"),
    "indices too short": (
        put("X/indices", lambda v: v[:-1]), f"{np.count_nonzero(X) - 1} indices",
    ),
    "no data": (drop("X/data"), "X: "),
    "shape of more cells": (mark("X", shape=np.array([N + 1, G])), f"{N + 1} x {G}"),
    "shape of more genes": (mark("X", shape=np.array([N, G + 1])), f"{N} x {G + 1}"),
    "shape turned": (mark("X", shape=np.array([G, N])), f"{G} x {N}"),
    "shape without end": (mark("X", shape=np.array([10**12, 10**12])), f"{10**12} x {10**12}"),
    "negative shape": (mark("X", shape=np.array([-1, G])), f"-1 x {G}"),
    "shape of three": (mark("X", shape=np.array([N, G, 1])), f"[{N} {G} 1]"),
    "shape in words": (mark("X", shape="large"), "large"),
    "another kind": (mark("X", **{"encoding-type": "csc_matrix"}), f"{N} x {G}"),
    "an unknown kind": (mark("X", **{"encoding-type": "hologram"}), "hologram"),
    "sparse data of half precision": (put("X/data", lambda v: v.astype("f2")), "float16"),
    "data of text": (put("X/data", lambda v: v.astype("S")), "|S32"),
    "data of complex numbers": (put("X/data", lambda v: v * 1j), "complex64"),
    "one axis": (lambda f: (drop("X")(f), coded("X", "array", X[0])(f)), f"X: is {G},"),
    "three axes": (lambda f: coded("X", "array", X[..., None])(f), f"{N} x {G} x 1"),
    "one number": (lambda f: coded("X", "array", 1.0)(f), "X: "),
    "dense text": (lambda f: coded("X", "array", X.astype("S"))(f), "|S32"),
    "dense complex": (lambda f: coded("X", "array", X * 1j)(f), "complex64"),
    "records": (
        lambda f: coded("X", "array", np.zeros((N, G), [("a", "f4"), ("b", "f4")]))(f),
        "[('a', '<f4'), ('b', '<f4')]",
    ),
    "objects": (
        lambda f: (drop("X")(f), f.__setitem__("X", np.full((N, G), "a", object))), "object",
    ),
    "dense, turned": (lambda f: coded("X", "array", X.T)(f), f"{G} x {N}"),
    "an empty group": (lambda f: (drop("X")(f), f.create_group("X")), "X: "),
    "X that leads nowhere": (link("X", h5py.SoftLink("/nowhere")), "X: "),
    "X that leads to itself": (link("X", h5py.SoftLink("/X")), "a.h5ad"),
    "no X at all": (drop("X"), "data.layer", Kind.MISSING),
    "X that is obs": (link("X", "obs"), "dataframe"),
    "X that was never written": (
        all_of(drop("X"), never_written("X", (10**7, 10**7))), "a.h5ad", Kind.MEMORY,
    ),
    "values that were never written": (
        all_of(*(never_written(f"X/{k}", (10**13,), dtype="i4") for k in ("data", "indices"))),
        "a.h5ad", Kind.MEMORY,
    ),
    "no obs": (drop("obs"), "X, layers"),
    "no var": (drop("var"), "var"),
    "fewer cells": (put("obs/_index", lambda v: v[:-1]), f" {N - 1} "),
    "more genes": (
        put("var/_index", lambda v: np.append(v, b"new"), dtype=h5py.string_dtype()),
        f"{N} cells x {G + 1}",
    ),
    "no names": (drop("obs/_index"), "obs: "),
    "names by no key": (lambda f: f["obs"].attrs.__delitem__("_index"), "obs: "),
    "names by a wrong key": (mark("obs", _index="barcode"), "obs: "),
    "names of two axes": (coded("obs/_index", "array", np.zeros((N, 2))), "obs: "),
    "missing names": (
        coded("obs/_index", "array", at(3, np.nan)(np.arange(N, dtype=float))),
        f"obs: 1 of {N} ",
    ),
    "names of no encoding": (
        coded("obs/_index", "string-array", np.array([b"\xff\xfe"] * N)), "obs: ",
    ),
    "cells of one name": (
        put("obs/_index", lambda v: at(3, v[2])(v), dtype=h5py.string_dtype()),
        " c2 ", Kind.NAMES,
    ),
    "genes of one name": (
        put("var/_index", lambda v: at(3, v[2])(v), dtype=h5py.string_dtype()),
        " g2 ", Kind.NAMES,
    ),
    "codes out of range": (put("obs/kind/codes", at(3, 7)), "obs/kind: "),
    "codes too few": (put("obs/kind/codes", lambda v: v[:-1]), f"({N - 1},)"),
    "links without end in obs": (
        all_of(graph("obs/kind"), mark("obs/kind", **{"encoding-type": "dict"})),
        "/obs/kind/",
    ),
    "names that were never written": (
        never_written("obs/_index", (10**6,), dtype=h5py.string_dtype(), fillvalue="x" * 10**6),
        "a.h5ad", Kind.MEMORY,
    ),
    "chunks as large as a disk": (
        never_written(
            "X/data", (10,), dtype="S200000000", chunks=(20,), maxshape=(None,),
        ),
        "X: ",
    ),
    "a link to a file": (link("uns/l", h5py.ExternalLink("b.h5ad", "/X")), "/uns/l", Kind.UNSAFE),
    "a link to a pipe": (link("X", h5py.ExternalLink("/dev/stdin", "/X")), "/X", Kind.UNSAFE),
    "a link over a link to a file": (
        all_of(
            link("uns/l", h5py.ExternalLink("b.h5ad", "/X")),
            link("X", h5py.SoftLink("/uns/l/X")),
        ),
        "/uns/l", Kind.UNSAFE,
    ),
    "0.6 that leads out": (all_of(oldest, put("X/indices", at(3, 99))), f"< {G}"),
    "0.6 of a wild indptr": (all_of(oldest, put("X/indptr", at(3, 10**7))), "indptr"),
    "0.6 of another shape": (
        all_of(oldest, mark("X", h5sparse_shape=np.array([10**12, 9]))), f"{10**12} x 9",
    ),
    "0.6 with links without end": (all_of(oldest, graph("uns")), "/uns/"),
}  # fmt: skip


def check(result, said: str, kind: Kind = Kind.FORMAT) -> None:
    """The file is refused, in a line that names this."""
    assert said in result.refused(kind, "data.path")
    assert len(result.err.splitlines()) == 1, result.err


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_line(scvae, tmp_path, name):
    edit, *said = WRONG[name]
    write(tmp_path / "a.h5ad", edit)
    check(scvae("data", "a.h5ad", "data.label_key=kind"), *said)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("part", ["layers/other", "raw/X"])
@pytest.mark.parametrize(
    "name", ["index at the end", "wild indptr", "indptr that ends in 0", "shape without end"]
)
def test_what_is_wrong_elsewhere_is_one_line(scvae, tmp_path, name, part):
    key = "data.raw=true" if part == "raw/X" else "data.layer=other"
    edit = WRONG[name][0]

    def in_part(file: h5py.File) -> None:
        file.copy("X", "good")
        edit(file)
        del file[part]
        file.move("X", part)
        file.move("good", "X")

    write(tmp_path / "a.h5ad", in_part)
    check(scvae("data", "a.h5ad", key), f"{part}: ")


def test_no_structure_ends_the_process(tmp_path):
    """In a process of its own, as what compiled code does outside of an array ends one."""
    names = [name for name in WRONG if "ind" in name or "shape" in name]
    assert len(names) > 20
    paths = [str(write(tmp_path / f"{i}.h5ad", WRONG[name][0])) for i, name in enumerate(names)]
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from scvae_cli import errors\nfrom scvae_cli.data import files, selection, wording\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        found = files.read(Path(path), transpose=None, say=print)\n"
        "        words = wording.command_line(path)\n"
        "        selection.select(found, words, layer=None, raw=False, gene_names=None)\n"
        "        print('taken', path)\n"
        "    except errors.InputError as error:\n"
        "        pass\n"
    )
    told = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True)
    assert (told.returncode, told.stdout) == (0, ""), told.stderr


INTEGERS = st.integers(-3, 30) | st.sampled_from([-(2**31), 2**31 - 1, 2**40, -(2**63), 2**63 - 1])
PARTS = st.tuples(
    st.integers(0, 5), st.integers(0, 5), st.integers(0, 8), st.integers(0, 8), st.integers(0, 7)
).flatmap(lambda n: st.tuples(
    st.just(n[:2]), arrays("f4", n[2], elements=st.integers(0, 5)),
    arrays("i8", n[3], elements=INTEGERS), arrays("i8", n[4], elements=INTEGERS),
))  # fmt: skip
GOOD_PARTS = st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(
    lambda n: arrays("f4", n, elements=st.integers(0, 2))
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.sampled_from([csr_matrix, csc_matrix]), PARTS | GOOD_PARTS, st.data())
def test_a_sparse_matrix_is_one_or_is_refused(kind, parts, data):
    """Against what the format says, entry by entry."""
    if isinstance(parts, np.ndarray):
        x = kind(parts)
        shape, values, indices, indptr = x.shape, x.data, x.indices, x.indptr
        if data.draw(st.booleans()) and len(indices):  # nearly good ones are the ones that hurt
            array = data.draw(st.sampled_from([indices, indptr]))
            array[data.draw(st.integers(0, len(array) - 1))] = data.draw(st.integers(-9, 9))
    else:
        shape, values, indices, indptr = parts
    x = kind((0, 0) if 0 in shape else shape, dtype="f4")
    x._shape = shape
    x.data, x.indices, x.indptr = values, indices, indptr
    lines, across = shape if kind is csr_matrix else shape[::-1]
    ends = [int(i) for i in indptr]
    is_one = (
        len(ends) == lines + 1 and ends[0] == 0 and ends == sorted(ends)
        and len(values) == len(indices) >= ends[-1]
        and all(0 <= int(i) < across for i in indices[: ends[-1]])
    )  # fmt: skip
    try:
        headers.check_sparse(x)
        assert is_one
    except ValueError:
        assert not is_one


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    from scvae_cli.cli import main

    folder = tmp_path_factory.mktemp("run")
    write(folder / "a.h5ad")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main([
            "train", "data=file", "data.path=a.h5ad", "data.label_key=kind", "model=pca",
            "latent_dim=2", "tsne.max_iter=250", "tsne.perplexity=3", "cluster.n_init=1",
            *PLAIN, "hydra.run.dir=r",
        ])  # fmt: skip
    return folder / "r"


BENT = {
    "a negative index": ("indices", at(3, -1)),
    "an index too far": ("indices", at(3, 99)),
    "a wild indptr": ("indptr", at(3, 10**7)),
    "an indptr that ends in 0": ("indptr", at(-1, 0)),
    "too few values": ("data", lambda v: v[:-1]),
}


@pytest.mark.parametrize("kind", [csr_matrix, csc_matrix])
@pytest.mark.parametrize("name", BENT)
def test_cells_from_python_are_checked_too(run, name, kind):
    import scvae_cli

    part, change = BENT[name]
    bent = cells(kind(X))
    setattr(bent.X, part, change(getattr(bent.X, part)))
    with pytest.raises(InputError) as caught:
        scvae_cli.load(run).embed(bent)
    assert (caught.value.kind, caught.value.key) == (Kind.DAMAGED, "adata")
    assert part.removesuffix("ptr") in caught.value.reason


def test_cells_from_python_stay_as_they_are(run, tmp_path):
    import scvae_cli

    given = cells(csr_matrix(X.astype("f8")))
    given.X.indices = given.X.indices.astype("i8")
    given.X.indptr = given.X.indptr.astype("i8")
    before = [part.copy() for part in (given.X.data, given.X.indices, given.X.indptr)]
    trained = scvae_cli.load(run)
    np.testing.assert_array_equal(trained.embed(given), trained.latent.to_numpy(np.float32))
    for part, old in zip((given.X.data, given.X.indices, given.X.indptr), before, strict=True):
        np.testing.assert_array_equal(part, old)
        assert part.dtype == old.dtype
    backed = anndata.read_h5ad(write(tmp_path / "b.h5ad"), backed="r")
    with pytest.raises(InputError) as caught:
        trained.embed(backed)
    assert (caught.value.kind, caught.value.key) == (Kind.FORMAT, "adata")
    assert "adata.to_memory()" in caught.value.fix


def test_all_that_can_be_read_is_written_along(run, scvae, tmp_path):
    """The cells of `embed --h5ad`: with a line of each element that is left out."""
    edits = all_of(
        coded("uns/thing", "hologram", 1.0), graph("uns"), put("layers/other/indices", at(3, -1)),
        put("obs/size", np.arange(3)), coded("obsm/thing", "hologram", X),
        lambda f: f["raw/var"].move("ids", "_index_"),
        lambda f: (
            f["raw/var"].move("_index", "index"), f["raw/var"].move("_index_", "_index"),
            f["raw/var"].attrs.update({"_index": "index", "column-order": ["_index"]}),
        ),  # as SeuratDisk has it
    )  # fmt: skip
    write(tmp_path / "b.h5ad", edits)
    result = scvae("embed", str(run), "b.h5ad", "--h5ad", "c.h5ad")
    assert result.code == 0, result.err
    for name in ("uns/thing", "uns/l0", "layers/other", "obs/size", "obsm/thing"):
        assert f"b.h5ad: {name} is left out: " in result.err
    found = anndata.read_h5ad("c.h5ad")
    np.testing.assert_array_equal(found.X.toarray(), X)
    np.testing.assert_array_equal(found.obsm["pca"], X[:, :2])
    assert found.obsm["X_scvae"].shape == (N, 2)
    assert (found.uns["note"], set(found.layers), list(found.obs)) == ("n", set(), ["kind"])
    assert list(found.raw.var["index_"]) == list(VAR["ids"])
    short = scvae("embed", str(run), "b.h5ad", "--to", "d.csv")
    assert "obsm/thing" not in short.err  # nobody asked


LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
AWKWARD = ["NA", "nan", "None", "001", "1E5", "g#2", "a\rb", " ", "<NA>", "-inf", "γδ", "\x1b[31m"]
NAMES = st.lists(
    st.text(LETTERS, min_size=1, max_size=6) | st.sampled_from(AWKWARD),
    min_size=1, max_size=8, unique=True,
)  # fmt: skip


@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(NAMES, NAMES, st.sampled_from(["h5ad", "zarr", "h5"]))
def test_names_are_what_they_were(tmp_path, cells_names, genes, kind):
    x = csr_matrix(np.ones((len(cells_names), len(genes)), np.float32))
    types = pd.Categorical(cells_names)
    made = anndata.AnnData(
        x, pd.DataFrame({"kind": types}, index=cells_names), pd.DataFrame(index=genes)
    )
    path = tmp_path / f"a.{kind}"
    if kind == "h5ad":
        made.write_h5ad(path)
    elif kind == "zarr":
        shutil.rmtree(path, ignore_errors=True)
        made.write_zarr(path)
    else:
        write_10x(path, x.toarray(), barcodes=cells_names, names=genes)
    found = read(path, label_key=None)
    assert list(found.obs_names) == cells_names
    assert list(found.var_names) == genes
    if kind != "h5":
        assert list(found.obs["kind"]) == cells_names


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (np.arange(1, N + 1), [str(i) for i in range(1, N + 1)]),
        (np.arange(N) / 2, [str(i / 2) for i in range(N)]),
        (np.arange(N) > N - 2, None),
        (np.array([f"{i:03d}" for i in range(N)], "S"), [f"{i:03d}" for i in range(N)]),
    ],
)
def test_names_that_are_no_text_become_it(tmp_path, index, text):
    path = write(tmp_path / "a.h5ad", coded("obs/_index", "array", index))
    if text is None:
        with pytest.raises(InputError) as caught:
            read(path)
        assert (caught.value.kind, caught.value.value) == (Kind.NAMES, path)
    else:
        assert list(read(path).obs_names) == text


def test_a_nul_in_a_name_is_refused(tmp_path):
    named = cells()
    named.obs_names = ["c\0", *named.obs_names[1:]]
    named.write_zarr(tmp_path / "a.zarr")
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.zarr")
    assert (caught.value.kind, caught.value.value) == (Kind.FORMAT, tmp_path / "a.zarr")
    assert repr("c\0") in caught.value.reason


def write_10x(path: Path, x=X, *, barcodes=OBS.index, names=VAR.index, **columns) -> Path:
    """As Cell Ranger 3 writes it; columns of features may be given, or None for none."""
    sparse, texts = csr_matrix(x), h5py.string_dtype()
    given = {
        "id": [f"E{i}" for i in range(len(names))], "name": list(names),
        "feature_type": ["Gene Expression"] * len(names), "genome": ["GRCh38"] * len(names),
    } | columns  # fmt: skip
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group.create_dataset("barcodes", data=list(barcodes), dtype=texts)
        group["data"] = sparse.data.astype("i4")
        group["indices"], group["indptr"] = sparse.indices.astype("i8"), sparse.indptr.astype("i8")
        group["shape"] = np.array(x.shape[::-1], "i4")
        for name, column in given.items():
            if column is not None:
                group.create_dataset(f"features/{name}", data=column, dtype=texts)
    return path


def write_legacy(path: Path, *genomes: str) -> Path:
    """As Cell Ranger 2 wrote it: a matrix for each genome."""
    write_10x(path)
    with h5py.File(path, "a") as file:
        for genome in genomes:
            group = file.create_group(genome)
            for name in ("barcodes", "data", "indices", "indptr", "shape"):
                file.copy(f"matrix/{name}", group)
            names = [f"{genome}_{name}" for name in VAR.index]
            group["gene_names"], group["genes"] = names, [f"E{i}" for i in range(G)]
        del file["matrix"]
    return path


def test_features_that_are_no_genes_are_left_out(tmp_path):
    kinds = ["Gene Expression"] * 6 + ["Antibody Capture"] * 2 + ["CRISPR Guide Capture"]
    write_10x(tmp_path / "a.h5", feature_type=kinds)
    said: list[str] = []
    found = read(tmp_path / "a.h5", label_key=None, say=said.append)
    np.testing.assert_array_equal(found.X.toarray(), X[:, :6])
    assert said == [
        "a.h5: 3 features of other types (Antibody Capture, CRISPR Guide Capture) are left out"
    ]


def test_features_of_other_types_in_h5ad_are_said(tmp_path):
    """Whoever wrote it chose to keep them."""
    made = cells()
    made.var["feature_types"] = ["Gene Expression"] * 7 + ["Antibody Capture"] * 2
    made.write_h5ad(tmp_path / "a.h5ad")
    said: list[str] = []
    assert read(tmp_path / "a.h5ad", say=said.append).n_vars == G
    assert said == ["a.h5ad: 2 features of other types (Antibody Capture) are taken as genes"]


def test_genomes_are_named_and_chosen(tmp_path, scvae):
    genomes = ["GRCh38"] * 5 + ["mm10"] * 4
    write_10x(tmp_path / "a.h5", genome=genomes)
    result = scvae("data", "a.h5")
    assert "a.h5: genes of GRCh38 and mm10 (data.genome=GRCh38 keeps its own)" in result.err
    assert "9," in result.out
    mouse = read(tmp_path / "a.h5", label_key=None, genome="mm10")
    np.testing.assert_array_equal(mouse.X.toarray(), X[:, 5:])
    write_legacy(tmp_path / "b.h5", "hg19", "mm10")
    mouse = read(tmp_path / "b.h5", label_key=None, genome="mm10")
    assert list(mouse.var_names) == [f"mm10_{name}" for name in VAR.index]
    said = scvae("data", "b.h5").refused(Kind.CONFLICT, "data.path")
    assert "hg19, mm10" in said
    assert "data.genome=hg19" in said
    for name, there in (("a.h5", "GRCh38, mm10"), ("b.h5", "hg19, mm10")):
        told = scvae("data", name, "data.genome=rat").refused(Kind.UNKNOWN, "data.genome")
        assert there in told
    write(tmp_path / "c.h5ad")
    scvae("data", "c.h5ad", "data.genome=mm10").refused(Kind.CONFLICT, "data.genome")


def test_embed_takes_the_genome_that_it_is_told(run, scvae, tmp_path):
    write_10x(tmp_path / "a.h5", np.hstack([X, X]), names=[*VAR.index, *VAR.index],
              genome=["GRCh38"] * G + ["mm10"] * G)  # fmt: skip
    result = scvae("embed", str(run), "a.h5", "data.genome=mm10", "data.min_genes=1")
    assert result.code == 0, result.err
    assert f"{G} of the model's {G} genes found, by name in var_names" in result.err


def test_other_writers_of_the_same(tmp_path, scvae):
    """CellBender has no genomes; one genome of Cell Ranger 2; h5ad under the name of 10x."""
    write_10x(tmp_path / "a.h5", genome=None)
    write_legacy(tmp_path / "b.h5", "hg19")
    write(tmp_path / "c.h5")
    for name in ("a.h5", "b.h5", "c.h5"):
        np.testing.assert_array_equal(read(tmp_path / name, label_key=None).X.toarray(), X)


def tenx(edit: Edit = lambda file: None, **columns) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        write_10x(path, **columns)
        with h5py.File(path, "a") as file:
            edit(file)

    return make


def molecules(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name in ("barcode_idx", "count", "feature_idx", "umi"):
            file[name] = np.arange(9)
        file.create_group("features")


OTHERS: dict[str, tuple[str, Make, str] | tuple[str, Make, str, Kind]] = {
    "an empty file": ("a.h5ad", lambda p: p.touch(), "a.h5ad"),
    "text": ("a.h5ad", lambda p: p.write_text("cell,g1\na,1\n"), "HDF5"),
    "text by 10x's name": ("a.h5", lambda p: p.write_text("cell\n"), "HDF5"),
    "a folder": ("a.h5ad", lambda p: p.mkdir(), "matrix.mtx", Kind.MISSING),
    "a pipe": ("a.h5ad", os.mkfifo, "a."),
    "a pipe of text": ("a.csv", os.mkfifo, "a."),
    "packed": (
        "a.h5ad.gz", lambda p: p.write_bytes(gzip.compress(b"x")), "gunzip a.h5ad.gz",
    ),
    "molecules": ("a.h5", molecules, "filtered_"),
    "HDF5 of something else": (
        "a.h5", lambda p: h5py.File(p, "w").close(), "filtered_",
    ),
    "HDF5 of something else as h5ad": (
        "a.h5ad", lambda p: h5py.File(p, "w").close(), "obs",
    ),
    "10x as h5ad": ("a.h5ad", tenx(), " matrix, "),
    "no genes": (
        "a.h5", tenx(feature_type=["Antibody Capture"] * G), "Antibody Capture", Kind.EMPTY,
    ),
    "10x that leads out": ("a.h5", tenx(put("matrix/indices", at(3, G))), f"< {G}"),
    "10x with a negative index": ("a.h5", tenx(put("matrix/indices", at(3, -1))), ">= 0"),
    "10x of a wild indptr": ("a.h5", tenx(put("matrix/indptr", at(3, 10**7))), "indptr"),
    "10x that ends in 0": ("a.h5", tenx(put("matrix/indptr", at(-1, 0))), "indptr"),
    "10x of fractions": ("a.h5", tenx(put("matrix/indices", lambda v: v / 2)), "float64"),
    "10x of text": ("a.h5", tenx(put("matrix/data", lambda v: v.astype("S"))), "|S11"),
    "10x of another shape": (
        "a.h5", tenx(put("matrix/shape", np.array([10, N]))), f" {G} genes, and 10", Kind.DAMAGED,
    ),
    "10x of fewer cells": (
        "a.h5", tenx(put("matrix/barcodes", lambda v: v[1:], dtype=h5py.string_dtype())),
        f" {N - 1} cells, and {N}", Kind.DAMAGED,
    ),
    "10x without a shape": ("a.h5", tenx(drop("matrix/shape")), "shape"),
    "10x without features": ("a.h5", tenx(drop("matrix/features")), "features"),
    "10x without names": ("a.h5", tenx(drop("matrix/features/name")), "name"),
    "10x of numbered cells": ("a.h5", tenx(put("matrix/barcodes", np.arange(N))), "a.h5"),
    "10x never written": (
        "a.h5",
        tenx(all_of(*(
            never_written(f"matrix/{k}", (10**13,), dtype="i4") for k in ("data", "indices")
        ))),
        "a.h5", Kind.MEMORY,
    ),
    "10x of large names": (
        "a.h5",
        tenx(never_written(
            "matrix/barcodes", (10**6,), dtype=h5py.string_dtype(), fillvalue="x" * 10**6,
        )),
        "a.h5", Kind.MEMORY,
    ),
    "10x that leads elsewhere": (
        "a.h5", tenx(link("matrix/data", h5py.ExternalLink("b.h5", "/x"))),
        "/matrix/data", Kind.UNSAFE,
    ),
}  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_one_line(scvae, tmp_path, name):
    called, make, *said = OTHERS[name]
    make(tmp_path / called)
    check(scvae("data", called), *said)


def header(**changes) -> Callable[[Path], object]:
    """Other headers of the values in a zarr."""

    def change(path: Path) -> None:
        file = path / "X" / "data" / ".zarray"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def replaced(*place: str, by: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        path.joinpath(*place).unlink()
        by(path.joinpath(*place))

    return change


ZARRS_WRONG: dict[str, tuple[Make, str] | tuple[Make, str, Kind]] = {
    "a pipe for a header": (
        replaced("X", "data", ".zarray", by=os.mkfifo), "X/data/.zarray", Kind.UNSAFE,
    ),
    "a pipe for values": (replaced("X", "data", "0", by=os.mkfifo), "X/data/0", Kind.UNSAFE),
    "a pipe elsewhere": (lambda p: os.mkfifo(p / "pipe"), ": pipe ", Kind.UNSAFE),
    "a link out": (lambda p: (p / "uns" / "l").symlink_to("/etc"), "uns/l", Kind.UNSAFE),
    "a link to nothing": (lambda p: (p / "uns" / "l").symlink_to(p / "no"), "uns/l", Kind.UNSAFE),
    "a pickle": (header(compressor={"id": "pickle"}), ": data ", Kind.UNSAFE),
    "a pickle among filters": (header(filters=[{"id": "pickle"}]), ": data ", Kind.UNSAFE),
    "values never written": (header(shape=[10**14]), f"{10**14} "),
    "no values": (where("X", "data", ".zarray"), "X: "),
    "a header in words": (
        replaced("X", "data", ".zarray", by=lambda p: p.write_text("words")), "a.zarr",
    ),
    "values in words": (replaced("X", "data", "0", by=lambda p: p.write_text("words")), "X: "),
    "no names": (lambda p: shutil.rmtree(p / "obs" / "_index"), "obs: "),
    "no obs": (lambda p: shutil.rmtree(p / "obs"), "obs"),
}  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ZARRS_WRONG)
def test_a_zarr_that_is_wrong_is_one_line(scvae, tmp_path, name):
    change, *said = ZARRS_WRONG[name]
    cells().write_zarr(tmp_path / "a.zarr")
    change(tmp_path / "a.zarr")
    check(scvae("data", "a.zarr"), *said)


@pytest.mark.timeout(120)
def test_a_file_cut_anywhere_is_refused(tmp_path):
    for name, make in (("a.h5ad", write), ("a.h5", write_10x)):
        whole = make(tmp_path / name).read_bytes()
        for part in range(24):
            (tmp_path / name).write_bytes(whole[: len(whole) * part // 24])
            with pytest.raises(InputError) as caught:
                read(tmp_path / name, label_key=None)
            assert (caught.value.kind, caught.value.value) == (Kind.FORMAT, tmp_path / name)


def test_links_without_end_take_no_time_when_all_is_read(run, scvae, tmp_path):
    write(tmp_path / "b.h5ad", graph("uns"))
    result = scvae("embed", str(run), "b.h5ad", "--h5ad", "c.h5ad")
    assert "b.h5ad: uns/l0 is left out: /uns/" in result.err
    assert "is linked to more than once" in result.err


FILLED = all_of(
    *(
        never_written(f"X/{part}", (90 * 10**6,), dtype=kind, fillvalue=0)
        for part, kind in (("data", "f4"), ("indices", "i4"))
    ),
    put("X/indptr", np.linspace(0, 90 * 10**6, N + 1).astype("i8")),
)
LARGE = {
    "values of 720 MB": FILLED,
    "a text of 100 kB, a hundred thousand times": shared_text("obs/_index", 10**5, 10**5),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", LARGE)
def test_no_more_memory_is_taken_than_there_is(tmp_path, name):
    """On a machine of 1 GB, by what the system counts."""
    write(tmp_path / "a.h5ad", LARGE[name])
    assert (tmp_path / "a.h5ad").stat().st_size < 10**6
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from scvae_cli import untrusted, errors\nfrom scvae_cli.data import files\n"
        "untrusted.memory = lambda: 1e9\n"
        "try:\n    files.read(Path(sys.argv[1]), transpose=None, say=print)\n"
        "except errors.InputError as error:\n    print(error)\n"
        # Not getrusage's: that starts with the peak of the process that starts this one.
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.h5ad"], capture_output=True, text=True
    )
    said, peak = told.stdout.strip().splitlines()
    assert "memory" in said
    assert int(peak) < 10**6


def test_copies_are_counted(tmp_path, monkeypatch):
    """Three million values are 24 MB as they are there, and take 35 bytes each on the way."""
    n = 3 * 10**6
    parts = (("data", "f4", 1), ("indices", "i4", 0))
    filled = [never_written(f"X/{p}", (n,), dtype=k, fillvalue=v) for p, k, v in parts]
    ends = put("X/indptr", np.linspace(0, n, N + 1).astype("i8"))
    path = write(tmp_path / "a.h5ad", all_of(*filled, ends))
    monkeypatch.setattr(untrusted, "_left", lambda: 60e6)
    with pytest.raises(InputError) as caught:
        read(path)
    assert (caught.value.kind, caught.value.value) == (Kind.MEMORY, path)
    assert " 0.1 GB" in caught.value.reason
    monkeypatch.setattr(untrusted, "_left", lambda: 200e6)
    assert read(path).shape == (N, G)


def test_memory_is_what_the_control_group_leaves(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "memory.max").write_text("3000000\n")
    (tmp_path / "a" / "b" / "memory.max").write_text("max\n")
    (tmp_path / "cgroup").write_text("0::/a/b\n")
    found = untrusted._cgroup_limits(tmp_path, tmp_path / "cgroup")
    assert list(found) == [3e6]
    (tmp_path / "memory" / "c").mkdir(parents=True)
    (tmp_path / "memory" / "c" / "memory.limit_in_bytes").write_text("2000000\n")
    (tmp_path / "cgroup").write_text("4:memory:/c\n0::/\n")
    assert list(untrusted._cgroup_limits(tmp_path, tmp_path / "cgroup")) == [2e6]


def test_runs_of_before_name_no_genome(tmp_path):
    from scvae_cli.options import FileConfig

    path = write(tmp_path / "a.h5ad")
    values = compose(["data=file", f"data.path='{path}'"]).data.model_dump()
    del values["genome"]
    assert FileConfig(**values).genome is None
    assert load(**FileConfig(**values).model_dump()).n_cells == N
