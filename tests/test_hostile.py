"""Files from strangers: nothing in them runs, leads elsewhere, or takes memory unseen."""

import contextlib
import gzip
import json
import os
import pickle
import shlex
import shutil
from pathlib import Path

import h5py
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import yaml
from anndata import AnnData
from conftest import DRAWN, FAST, representative
from hypothesis import HealthCheck, given, settings
from scipy.io import mmwrite
from scipy.sparse import csr_matrix

from scvae_cli import untrusted
from scvae_cli.data import files, selection
from scvae_cli.data.wording import command_line
from scvae_cli.errors import InputError, Kind
from scvae_cli.launch.compose import compose
from scvae_cli.launch.places import quoted
from scvae_cli.launch.recorded import recorded_words

FUZZ = settings(
    max_examples=150, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
COMPOSED = settings(FUZZ, max_examples=50)  # each takes Hydra a tenth of a second


class Harm:
    """What a pickle could do."""

    def __reduce__(self):
        return Path.touch, (Path("harmed"),)


def cells() -> AnnData:
    rng = np.random.default_rng(0)
    x = csr_matrix(rng.poisson(1.0, (12, 9)).astype(np.float32))
    obs = pd.DataFrame({"kind": list("abc") * 4}, index=[f"c{i}" for i in range(12)])
    return AnnData(x, obs, pd.DataFrame(index=[f"g{i}" for i in range(9)]))


def hostile(to: Path, name: str) -> str:
    """A file or folder of cells that asks for trouble, and its name."""
    secret = to / "secret"
    secret.write_bytes(b"secret" * 100)
    if name.endswith((".h5ad", ".h5")):
        cells().write_h5ad(to / name)
        with h5py.File(to / name, "a") as file:
            if name.startswith("large"):
                file["layers"].create_dataset("l", shape=(10**7, 10**7), chunks=True, dtype="f4")
            elif name.startswith("external"):
                cells().write_h5ad(to / "other.h5ad")
                file["layers/l"] = h5py.ExternalLink("other.h5ad", "/X")
            elif name.startswith("raw"):
                kind = {"shape": (600,), "dtype": "u1", "external": [(str(secret), 0, 600)]}
                file["uns"].create_dataset("l", **kind)
            elif name.startswith("virtual"):
                layout = h5py.VirtualLayout((12, 9), "f4")
                layout[:] = h5py.VirtualSource("other.h5ad", "X", (12, 9))
                file["layers"].create_virtual_dataset("l", layout)
        return name
    if name.endswith(".zarr"):
        cells().write_zarr(to / name)
        array = to / name / "X" / "data"
        header = json.loads((array / ".zarray").read_text())
        if name.startswith("large"):
            for path in [to / name / "X" / part / ".zarray" for part in ("data", "indices")]:
                path.write_text(json.dumps(json.loads(path.read_text()) | {"shape": [10**14]}))
            return name
        if name.startswith("pickle"):
            header["compressor"] = {"id": "pickle"}
            (array / "0").write_bytes(pickle.dumps(Harm()))
        elif name.startswith("link"):
            (array / "0").unlink()
            (array / "0").symlink_to(secret)
        (array / ".zarray").write_text(json.dumps(header))
        return name
    if name.endswith(".gz"):
        with gzip.open(to / name, "wb", compresslevel=1) as file:
            file.write(b"cell,g1,g2\n" + b"a,1,2\n" * 10**6)
        return name
    folder = to / "ten"
    folder.mkdir()
    mmwrite(folder / "matrix.mtx", cells().X.T.astype(int))
    (folder / "genes.tsv").write_text("".join(f"E{i}\tg{i}\n" for i in range(9)))
    (folder / "barcodes.tsv").write_text("".join(f"c{i}\n" for i in range(12)))
    text = (folder / "matrix.mtx").read_text().splitlines()
    place = next(i for i, line in enumerate(text) if not line.startswith("%"))
    text[place] = {
        "large matrix": f"{10**9} {10**9} 60",
        "long matrix": f"9 12 {10**12}",
        "no matrix": "nine twelve all",
    }[name]
    (folder / "matrix.mtx").write_text("\n".join(text))
    return "ten"


# The kind of fault, and what else the line has to name.
HOSTILE = {
    "large.h5ad": (Kind.MEMORY, "400,000.0 GB"),
    "external.h5ad": (Kind.UNSAFE, "/layers/l "),
    "raw.h5ad": (Kind.UNSAFE, "/uns/l "),
    "virtual.h5ad": (Kind.UNSAFE, "/layers/l "),
    "large.h5": (Kind.MEMORY, "400,000.0 GB"),
    "large.zarr": (Kind.MEMORY, "800,000.0 GB"),
    "pickle.zarr": (Kind.UNSAFE, "pickle.zarr: data "),
    "link.zarr": (Kind.UNSAFE, "X/data/0 "),
    "large matrix": (Kind.DAMAGED, "1000000000 genes x 1000000000 cells"),
    "long matrix": (Kind.DAMAGED, "matrix.mtx"),
    "no matrix": (Kind.FORMAT, "matrix.mtx"),
    "bomb.csv.gz": (Kind.MEMORY, "bomb.csv.gz"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_cells_are_refused(scvae, tmp_path, monkeypatch, name):
    path = hostile(tmp_path, name)
    if name == "bomb.csv.gz":
        monkeypatch.setattr(untrusted, "memory", lambda: 2.0**22)
    before = set(tmp_path.rglob("*"))
    layer = ["data.layer=l"] if name in ("large.h5", "large.h5ad") else []
    words = ["train", "data=file", f"data.path={path}", "cluster.n_clusters=3", *layer]
    kind, fact = HOSTILE[name]
    result = scvae(*words)
    line = result.refused(kind, "data.path")
    assert line == result.err.rstrip("\n")
    assert fact in line
    assert path in ("ten", str(result.error.value))
    assert set(tmp_path.rglob("*")) == before


TARGET = "{_target_: pathlib.Path.touch, _args_: [harmed]}"
PRESETS = {
    "a callback": (
        "experiment/e.yaml", f"# @package _global_\nhydra: {{callbacks: {{x: {TARGET}}}}}",
    ),
    "a package": ("experiment/e.yaml", f"# @package hydra.callbacks.x\n{TARGET}"),
    "a target": ("experiment/e.yaml", f"# @package _global_\nmodel: {TARGET}"),
    "a log": ("hydra/job_logging/scvae.yaml", "version: 1"),
    "another log": (
        "experiment/e.yaml",
        "# @package _global_\ndefaults: [override /hydra/job_logging: evil]",
    ),
    "a shell command": (
        "experiment/e.yaml",
        "# @package _global_\nhydra: {launcher: {setup: [touch harmed]}}",
    ),
    "a group elsewhere": (
        "experiment/e.yaml", "# @package _global_\ndefaults: [/evil@hydra.callbacks: x]",
    ),
    "aliases": ("experiment/e.yaml", "a: &a [1, 1]\nb: [*a, *a]"),
    "a tag": (
        "experiment/e.yaml",
        "# @package _global_\np: !!python/object/apply:pathlib.PosixPath [a]\n"
        f"hydra: {{callbacks: {{x: {TARGET}}}}}",
    ),
    "no section": ("experiment/e.yaml", "# @package _global_\nhydra: [1]"),
    "a config of its own": ("config.yaml", "beta: 3"),
}  # fmt: skip
# Nothing in the text of one file says what it becomes.
HIDDEN = {
    "a folder behind a link": {
        "../real/e.yaml": f"# @package _global_\nhydra: {{callbacks: {{x: {TARGET}}}}}",
        "experiment": "../real",
    },
    "a file outside": {
        "../outside.yaml": f"# @package _global_\nhydra: {{callbacks: {{x: {TARGET}}}}}",
        "experiment/e.yaml": "# @package _global_\ndefaults: [../../outside]",
    },
    "a harmless file outside": {
        "../outside.yaml": "# @package _global_\nbeta: 3",
        "experiment/e.yaml": "# @package _global_\ndefaults: [/experiment/../../outside]",
    },
    "a package by the file's name": {
        "experiment/e.yaml": "# @package _global_\ndefaults: [/other/hydra]",
        "other/hydra.yaml": f"# @package _name_\ncallbacks: {{x: {TARGET}}}",
    },
    "a package by the group's name": {
        "experiment/e.yaml": "# @package _global_\ndefaults: [/hydra/callbacks/x]",
        "hydra/callbacks/x.yaml": TARGET,
    },
    "the environment": {"experiment/e.yaml": "# @package _global_\nbeta: ${oc.env:HOME}"},
    "the environment, composed": {
        "experiment/e.yaml": "# @package _global_\na: env\nbeta: ${oc.${a}:HOME}"
    },
    "a text as configuration": {
        "experiment/e.yaml": "# @package _global_\nbeta: '${oc.decode:\"${oc.env:HOME}\"}'"
    },
    "a line for sbatch": {
        "experiment/e.yaml": "# @package _global_\ndefaults: [override /hydra/launcher: joblib]\n"
        'hydra: {launcher: {pre_dispatch: "x\\ntouch harmed"}}'
    },
    "a folder of two lines": {
        "experiment/e.yaml": '# @package _global_\noutput_dir: "x\\ntouch harmed"'
    },
}


@pytest.mark.parametrize(
    ("by_name", "sweep"),
    representative([(True, []), (False, ["-m"]), (True, ["-m"]), (False, [])], 2),
)
@pytest.mark.parametrize("name", HIDDEN)
def test_what_a_preset_becomes_is_checked_before_it_is_made(
    scvae, tmp_path, monkeypatch, name, sweep, by_name
):
    if not by_name:  # the composed configuration decides, whatever the check of files misses
        monkeypatch.setattr("scvae_cli.launch.train.check_presets", lambda folder: None)
    folder = tmp_path / "their"
    folder.mkdir()
    for place, text in HIDDEN[name].items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if place == "experiment":
            path.symlink_to(text)
        else:
            path.write_text(text + "\n")
    if name != "a folder behind a link":
        (folder / "experiment" / "f.yaml").write_text("# @package _global_\nbeta: 4\n")
    choice = "experiment=e,f" if sweep and name != "a folder behind a link" else "experiment=e"
    result = scvae("train", *sweep, "--config-dir", "their", choice, *FAST)
    unknown = name == "a package by the file's name" and result.error.key == "_name_"
    kind = Kind.UNKNOWN if unknown else Kind.UNSAFE
    assert result.refused(kind, result.error.key) == result.err.rstrip("\n")
    assert not (tmp_path / "harmed").exists()
    assert not (tmp_path / "outputs").exists()


def test_a_preset_that_is_no_file_does_not_stop_the_command(scvae, tmp_path):
    (tmp_path / "their" / "experiment").mkdir(parents=True)
    os.mkfifo(tmp_path / "their" / "experiment" / "e.yaml")
    result = scvae("train", "--config-dir", "their", "experiment=e", *FAST)
    result.refused(Kind.UNSAFE)
    assert result.error.value == Path("their/experiment/e.yaml")


@pytest.mark.parametrize(
    "words",
    [
        "-sc install=bash", "-h", "--version", "--info", "'x", "--config-name=x",
        "--config-path=x",
        "experiment@hydra.callbacks.x=e", "hydra.callbacks.x={}", "+hydra/callbacks=x",
        "hydra.launcher.setup=[x]", "' hydra.run.dir=x'", "beta", "hydra/launcher=evil",
    ],
)  # fmt: skip
def test_a_recorded_command_says_settings_alone(tmp_path, words):
    with pytest.raises(InputError) as caught:
        recorded_words(f"scvae train -m {words}", tmp_path / "sweep.json")
    kind = Kind.DAMAGED if words == "'x" else Kind.UNSAFE
    assert (caught.value.kind, caught.value.value) == (kind, tmp_path / "sweep.json")


def test_a_recorded_command_keeps_its_settings(tmp_path):
    words = [
        "--config-dir",
        "my",
        "experiment=e,f",
        "+model.c=2",
        "~h5ad",
        "hydra.launcher.n_jobs=2",
    ]
    command = shlex.join(["scvae", "train", "-m", *words, "hydra.sweep.dir=s"])
    assert recorded_words(command, tmp_path) == words


@pytest.mark.parametrize("name", PRESETS)
def test_a_strangers_preset_runs_nothing(scvae, tmp_path, name):
    place, text = PRESETS[name]
    path = tmp_path / "their" / place
    path.parent.mkdir(parents=True)
    path.write_text(text + "\n")
    result = scvae("train", "--config-dir", "their", "experiment=e", *FAST)
    assert result.refused(Kind.UNSAFE) == result.err.rstrip("\n")
    assert result.error.value == Path("their") / place
    assert not (tmp_path / "harmed").exists()
    assert not (tmp_path / "outputs").exists()


def test_a_preset_may_say_where_and_how_many(scvae, tmp_path):
    path = tmp_path / "my" / "experiment" / "e.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(
        "# @package _global_\ndefaults: [override /model: pca, override /hydra/launcher: joblib]\n"
        "hydra: {run: {dir: here}, launcher: {n_jobs: 1}}\n"
    )
    result = scvae("train", "--config-dir", "my", "experiment=e", *FAST)
    assert result.code == 0, result.err
    assert (tmp_path / "here" / "scores.json").exists()


@pytest.mark.parametrize(
    ("word", "kind", "key"),
    [
        ("--config-path=x", Kind.UNSAFE, "--config-path"),
        ("hydra.searchpath=[file://x]", Kind.UNSAFE, "hydra.searchpath"),
        ("--experimental-rerun=x", Kind.UNSAFE, "--experimental-rerun"),
    ],
)
def test_other_ways_in_are_shut(scvae, word, kind, key):
    assert word.split("=")[0] in scvae("train", word, *FAST).refused(kind, key)


RUNS = ["log", "figures", "reserve", "bomb", "sweep"]


@pytest.mark.parametrize("how", RUNS)
def test_a_strangers_run_writes_nowhere_else(scvae, run_of, tmp_path, how):
    shutil.copytree(run_of(*FAST, *DRAWN, "model=pca"), tmp_path / "r")
    run, outside = tmp_path / "r", tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    (run / "latent.csv").write_text("cut")  # so that there is something to do
    if how == "log":
        (run / "scvae.log").unlink()
        (run / "scvae.log").symlink_to(outside / "file")
    elif how == "figures":
        shutil.rmtree(run / "figures")
        (run / "figures").symlink_to(outside)
    elif how == "reserve":
        (run / ".reserve").symlink_to(outside / "file")
    elif how == "bomb":
        levels = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
        levels += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
        (run / "config.yaml").write_text("\n".join(levels))
        shutil.rmtree(run / ".hydra")  # which has the settings too
        result = scvae("embed", "r", "r/latent.csv")
        assert result.refused(Kind.DAMAGED).count("(*)") == 1
        assert result.error.value == Path("r/config.yaml")
    else:
        harm = "hydra.callbacks.x={_target_: pathlib.Path.touch, _args_: [harmed]}"
        record = {
            "versions": {},
            "jobs": [],
            "command": shlex.join(["scvae", "train", "-m", harm]),
        }
        (run / "run.json").unlink()
        (run / "sweep.json").write_text(json.dumps(record))
    result = scvae("train", "resume=r")
    kind = Kind.DAMAGED if how == "bomb" else Kind.UNSAFE
    line = result.refused(kind, None if how == "sweep" else "resume")
    names = {"log": "scvae.log", "bomb": "config.yaml", "sweep": "hydra.callbacks.x"}
    assert names.get(how, how) in line
    assert result.error.value == (run / "sweep.json" if how == "sweep" else "r")
    assert (outside / "file").read_text() == "mine"
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert not (tmp_path / "harmed").exists()


def whole(to: Path) -> dict[str, bytes]:
    """A file of each format."""
    cells().write_h5ad(to / "a.h5ad")
    cells().to_df().to_csv(to / "a.csv")
    cells().to_df().T.to_csv(to / "a.tsv.gz", sep="\t")
    return {path.name: path.read_bytes() for path in to.glob("a.*")}


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> dict[str, bytes]:
    return whole(tmp_path_factory.mktemp("samples"))


@FUZZ
@given(
    name=st.sampled_from(["a.h5ad", "a.csv", "a.tsv.gz"]),
    cut=st.one_of(st.none(), st.floats(0, 1)),
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=6)), max_size=4
    ),
)
def test_whatever_is_in_a_file_is_read_or_refused(samples, tmp_path, name, cut, edits):
    contents = bytearray(samples[name])
    for where, new in edits:
        place = int(where * len(contents))
        contents[place : place + len(new)] = new
    path = tmp_path / name
    path.write_bytes(contents if cut is None else contents[: int(cut * len(contents))])
    try:
        found = files.read(path, transpose=None, say=lambda text: None)
        selection.select(found, command_line(path), layer=None, raw=False, gene_names=None)
    except InputError:
        pass


@COMPOSED
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), max_size=20))
def test_any_path_is_taken_as_it_is(text):
    assert compose(["data=file", f"data.path={quoted(text)}"]).data.path == (
        os.path.expanduser(text)  # noqa: PTH111
    )


KEYS = st.sampled_from([
    "beta", "latent_dim", "epochs", "lr", "seed", "model", "data", "data.n_cells", "model.encoder",
    "tsne.perplexity", "tsne.metric", "cluster.n_clusters", "checkpoint.every", "embedding",
    "score", "trained", "device", "", "x.y", "data.qc.min_cells",
])  # fmt: skip
VALUES = st.one_of(
    st.integers(-(10**30), 10**30).map(str),
    st.floats().map(str),
    st.sampled_from(["null", "true", "[]", "[1,2]", "{}", "{a:1}", "''", "vae", "synthetic"]),
    st.text("abz01-.,:[]{}'\"$ \\@?=!%&*#", max_size=12),
)


@COMPOSED
@given(st.lists(st.tuples(st.sampled_from(["", "+", "~", "++"]), KEYS, VALUES), max_size=4))
def test_whatever_is_asked_is_a_configuration_or_refused(words):
    with contextlib.suppress(InputError):
        compose([f"{sign}{key}={value}" for sign, key, value in words])


@FUZZ
@given(st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=12,
))  # fmt: skip
def test_whatever_a_record_holds_is_read_or_refused(tmp_path, value):
    from scvae_cli import saved
    from scvae_cli.runs.run import find

    for name in ("run.json", "scores.json"):
        (tmp_path / name).write_text(json.dumps(value))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(value, allow_unicode=True))
    find(tmp_path)
    with pytest.raises(InputError):
        saved.load(tmp_path)
