"""What errors say: the English line of important refusals, once each, and how lines are made."""

import errno
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from scvae_cli import untrusted
from scvae_cli.errors import Given, InputError, Kind, RunError, unknown_choice, written
from scvae_cli.launch.compose import compose

LONG = 300 * "x"  # no file can have this name
LINES = {  # a command, and all that it says
    "trian": "trian: no such command; did you mean train?",
    "train tsne.perplexty=30": "tsne.perplexty=30: no such key; did you mean tsne.perplexity?",
    "train data.n_cells=30": "data.n_cells=30: no such key here; it belongs to data=synthetic",
    "train epochs=-1": "epochs=-1: must be at least 0",
    "train epochs=true": "epochs=true: must be a whole number",
    "train beta=nan": "beta=nan: must be a finite number",
    "train beta=null": "beta=null: model=vsc needs a number",
    "train validation=some": "validation=some: must be 'molecules' or 'cells', or null",
    "train model.branch=0": "model.branch=0: must be at least 1, or null",
    "train checkpoint.every=5s":
        "checkpoint.every=5s: must be a whole number, or minutes, such as 5min, or null",
    "train figures=null":
        "figures=null: is a name for several keys; give figures.format=VALUE, say",
    "train quiet=maybe": "quiet=maybe: must be true or false",
    "train trained=3":
        "trained=3: no trained model there (run.json is missing); give the folder of a run",
    "train embedding=average":
        "embedding=average: must be 'mean', 'sample', 'mu', 'decoded' or 'aligned'",
    "train latent_dim=800":
        "latent_dim=800: must be less than the number of genes, which is 765 in data=pbmc68k",
    "train beta=1,2": "beta=1,2: several values; add -m to run each, or write a list as [1,2]",
    "train beta=[1":
        "beta=[1: cannot be read as KEY=VALUE; if beta is a text, quote it twice: "
        "\"beta='[1'\"",
    "train output_dir=it's":
        "output_dir=it's: cannot be read as KEY=VALUE; if output_dir is a text, quote it twice: "
        "\"output_dir='it\\'s'\"",
    "train model vae": "model: is not KEY=VALUE; give model=vae",
    "train vae": "vae: is not KEY=VALUE; give model=vae",
    "train best": "best: is not KEY=VALUE; give experiment=best",
    "train nothing": "nothing: is neither KEY=VALUE nor a file of cells",
    "train seeds=1": "seeds=1: no such key; give seed=1; -m 'seed=range(0,3)' runs three",
    "train seeds=1,2 -m": "seeds=1,2: no such key; give -m seed=1,2",
    "train clusters=4": "clusters=4: no such key; give cluster.n_clusters=4",
    "train n_clusters=4": "n_clusters=4: no such key; did you mean cluster.n_clusters?",
    "train a.h5ad b.h5ad": "b.h5ad: is a second file; -m data=A,B runs each",
    f"train bta={300 * 'x'}": f"bta={300 * 'x'}: no such key; did you mean beta?",
    "train bata=2": "bata=2: no such key; did you mean beta or data?",
    "train resume=nowhere":
        "resume=nowhere: no run or sweep there (run.json and sweep.json are missing); "
        "give the folder of a run or a sweep",
    "train data=x.h5ad": "data.path=x.h5ad: no such file or folder",
    "train data=../x": "data=../x: no such file or folder",
    "train ~/it's.h5ad": "data.path={home}/it's.h5ad: no such file or folder",
    "train data=file data.path=it's": "data.path=it's: no such file or folder",
    "train -m data=pbmc68k,c.h5ad":
        "data=c.h5ad: a file does not go beside names of data; "
        "give files as data.path=A,B beside data=file",
    "train experiment=report/vcs":
        "experiment=report/vcs: no such choice (there are report/ae, report/vae, report/vsc); "
        "did you mean report/vsc?",
    "train data=synthetic likelihood=nb data.scale=10":
        "likelihood=nb: needs counts, and data.scale=10 makes z-scores; leave one of them out",
    f"train {LONG}.h5ad": f"data.path={LONG}.h5ad: cannot be read: File name too long",
    f"train resume={LONG}": f"{LONG}: File name too long; give a shorter one",
    f"train hydra.run.dir={LONG}":
        "hydra.run.dir: cannot create .: File name too long; "
        "give another with hydra.run.dir=FOLDER",
    "train -m hydra.run.dir=x":
        "hydra.run.dir: has no effect with -m; give hydra.sweep.dir=FOLDER",
    "train hydra.sweep.dir=x":
        "hydra.sweep.dir: has no effect without -m; give hydra.run.dir=FOLDER",
    "train hydra.run.dir=???": "hydra.run.dir: no value; give hydra.run.dir=FOLDER",
    "train -m hydra.sweep.dir=???": "hydra.sweep.dir: no value; give hydra.sweep.dir=FOLDER",
    "train hydra.verbose=3": "hydra.verbose=3: must be true, false or names of loggers",
    "train data=synthetic model=0":
        "model=0: no such choice; `scvae train --help` lists them",
    "train data=synthetic experiment=0":
        "experiment=0: no such choice; `scvae train --help` lists them",
    "train data=synthetic model=null":
        "model=null: no such choice; `scvae train --help` lists them",
    f"show {LONG}": f"{LONG}/run.json: File name too long; give a shorter one",
    f"compare {LONG} --to c": f"{LONG}: File name too long; give a shorter one",
    "show outputs":
        "outputs: no run there (run.json is missing); outputs/latest is the latest run in it",
    "embed outputs c.h5ad":
        "outputs: no trained model there (run.json is missing); "
        "outputs/latest is the latest run in it",
    "embed sweep c.h5ad":
        "sweep: no trained model there (run.json is missing); "
        "it is a sweep; give one of its runs, as sweep/000-pca",
    "train resume=outputs":
        "resume=outputs: no run or sweep there (run.json and sweep.json are missing); "
        "outputs/latest is the latest run in it",
    "verify outputs":
        "outputs: no run there (run.json is missing); outputs/latest is the latest run in it",
    "verify nowhere": "nowhere: no run there (run.json is missing); give the folder of a run",
    "show nowhere": "nowhere: no such folder; give the folder of a run",
    "train output_dir=": "output_dir=: names nothing; leave it out, or give a file or folder",
    "train -m hydra.sweep.dir= seed=1,2":
        "hydra.sweep.dir=: names nothing; leave it out, or give a file or folder",
    "train resume=": "resume=: names nothing; leave it out, or give a file or folder",
    "choose c.h5ad data.labels=":
        "data.labels=: names nothing; leave it out, or give a file or folder",
    "choose c.h5ad --to words.csv": "--to=words.csv: is a file; give a new folder",
    "choose c.h5ad latent_dim=4":
        "latent_dim: is what `scvae choose` sets; leave it out",
    "data c.h5ad beta=3": "beta: no setting of data; give data.KEY=VALUE",
    "embed run c.h5ad --to out.h5ad":
        "--to=out.h5ad: is a table (CSV); give --h5ad out.h5ad for the cells",
    "train threads=5000": "threads=5000: must be at most 1024, or null",
    "train --resolve":
        "The --resolve flag can only be used in conjunction with --cfg or --help",
    "-sc": "-sc: names no shell; give install=bash, zsh or fish",
    "data x.csv": "data.path=x.csv: no such file or folder",
    "data words.csv": "data.path=words.csv: column h has 'two' in row a, no number",
    "data linked.h5ad": "data.path=linked.h5ad: /layers/l leads to another file",
    "data large.h5ad":
        "data.path=large.h5ad: needs about 400.0 GB, more than this machine's memory "
        "(1.0 GB of it is left); give fewer cells or genes",
    "data c.h5ad data.label_key=knd":
        "data.label_key=knd: no such column of obs in c.h5ad "
        "(there are kind, none); did you mean kind?",
    "data c.h5ad data.label_key=none": "data.label_key=none: 12 of 12 cells have no label",
    "data c.h5ad data.label_key=kind data.labels=k.csv":
        "data.labels=k.csv: give it or data.label_key=kind, not both",
}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """The files that these commands name."""
    obs = pd.DataFrame({"kind": list("abc") * 4}, [f"c{i}" for i in range(12)])
    obs["none"] = pd.Categorical([None] * 12, categories=["B"])
    x = np.random.default_rng(0).poisson(5.0, (12, 9)).astype(np.float32)
    for name in ("c", "linked", "large"):
        AnnData(csr_matrix(x), obs).write_h5ad(tmp_path / f"{name}.h5ad")
    with h5py.File(tmp_path / "linked.h5ad", "a") as file:
        file["layers/l"] = h5py.ExternalLink("c.h5ad", "/X")
    with h5py.File(tmp_path / "large.h5ad", "a") as file:
        del file["X"]
        file.create_dataset("X", shape=(10**6, 10**5), chunks=True, dtype="f4")
    (tmp_path / "words.csv").write_text("c,g,h\na,1,two\n")
    (tmp_path / "k.csv").write_text("c0,B\n")
    for run in ("outputs/a", "sweep/000-pca"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "run.json").touch()
    (tmp_path / "outputs" / "latest").symlink_to("a")
    (tmp_path / "sweep" / "sweep.json").touch()


@pytest.mark.parametrize("command", LINES)
def test_the_whole_line_of_a_refusal(files, scvae, monkeypatch, command):
    monkeypatch.setattr(untrusted, "_left", lambda: 1e9)
    result = scvae(*command.split())
    line = LINES[command].replace("{home}", str(Path.home()))
    assert (result.code, result.err) == (2, f"scvae: {line}\n")


@pytest.mark.parametrize("words", ["show r", "compare r", "train resume=r", "export r --to x"])
def test_a_folder_that_one_may_not_enter(scvae, monkeypatch, words):
    def denied(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", "r")

    monkeypatch.setattr(Path, "exists", denied)
    result = scvae(*words.split())
    line = "scvae: r: Permission denied; give one that you may use\n"
    assert (result.code, result.err) == (2, line)


def test_several_mistakes_get_a_line_each(scvae):
    result = scvae("train", "epochs=-1", "lr=0")
    lines = ["scvae: epochs=-1: must be at least 0", "scvae: lr=0: must be greater than 0"]
    assert (result.code, result.err.splitlines()) == (2, lines)
    with pytest.raises(InputError) as caught:
        compose(["epochs=-1", "lr=0", "seed=-1"])
    errors = [caught.value, *caught.value.others]
    assert [(e.kind, e.key, e.value) for e in errors] == [
        (Kind.VALUE, "epochs", -1), (Kind.VALUE, "lr", 0), (Kind.VALUE, "seed", -1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"), (True, "true"), (False, "false"), (0, "0"), (1, "1"), (0.5, "0.5"),
        (40.0, "40"), (1e-9, "1e-09"), (float("nan"), "nan"), ("vsc", "vsc"), (Path("a/b"), "a/b"),
        ([], "[]"), (["a", 1.0, None], "[a,1,null]"), ((1, [True]), "[1,[true]]"),
    ],
)  # fmt: skip
def test_values_are_written_as_on_the_command_line(value, text):
    assert written(value) == text


@pytest.mark.parametrize(
    ("about", "key", "value", "line"),
    [
        (Given("tsne.perplexity", 40.0), "tsne.perplexity", 40.0, "tsne.perplexity=40: r; f"),
        (Given("layer", "x", "'x'"), "layer", "x", "layer='x': r; f"),
        (Given("", "beta"), None, "beta", "beta: r; f"),
        (Path("a/b.csv"), None, Path("a/b.csv"), "a/b.csv: r; f"),
        ("output_dir", "output_dir", None, "output_dir: r; f"),
        (None, None, None, "r; f"),
    ],
)
def test_what_an_error_is_about(about, key, value, line):
    error = InputError(Kind.VALUE, about, "r", "f")
    assert (error.kind, error.key, error.value) == (Kind.VALUE, key, value)
    assert str(error) == line
    assert str(RunError(Kind.VALUE, about, "r")) == line.removesuffix("; f")


def test_names_cannot_steer_the_terminal():
    error = InputError(Kind.NAMES, Path("\u202eb"), "gene \x1b[31m\nscvae: done", "call it \t")
    assert str(error) == r"\u202eb: gene \x1b[31m\nscvae: done; call it \t"
    assert error.reason == "gene \x1b[31m\nscvae: done"  # as it was seen


def test_errors_that_follow_have_a_line_each():
    first, *others = (InputError(Kind.VALUE, key, "r\n") for key in "abcd")
    assert first.followed_by(others[:1]) is first
    assert first.followed_by(others[1:]).others == tuple(others)
    assert str(first) == "\n".join(rf"{key}: r\n" for key in "abcd")


@pytest.mark.parametrize(
    ("name", "choices", "line"),
    [
        ("vcs", ["pca", "vsc"], "m=vcs: no such choice (there are pca, vsc); did you mean vsc?"),
        ("xyz", ["pca", "vsc"], "m=xyz: no such choice (there are pca, vsc)"),
        ("xyz", [], "m=xyz: no such choice"),
    ],
)
def test_unknown_choices(name, choices, line):
    error = unknown_choice("m", name, choices)
    assert (error.kind, error.key, error.value) == (Kind.UNKNOWN, "m", name)
    assert str(error) == line
