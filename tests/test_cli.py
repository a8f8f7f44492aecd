"""The command line: help without torch, completion in a real shell, one line for each mistake."""

import errno
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import FAST, PAGE
from hydra._internal.hydra import Hydra

from scvae_cli.config import Config
from scvae_cli.errors import Kind, UserError, written
from scvae_cli.interrupts import WORDS
from scvae_cli.launch.execute import DONE, FAILED, REFUSED
from scvae_cli.options import FileConfig

ROOT = Path(__file__).parents[1]

LIGHT = [
    ["--help"],
    ["--version"],
    ["train", "--help"],
    ["train", "--cfg", "job"],
    ["-sc", "install=bash"],
]


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_light_commands_do_not_import_heavy_libraries(tmp_path, arguments):
    code = (
        "import sys; from scvae_cli.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "heavy = {'torch', 'scanpy', 'sklearn', 'matplotlib', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not list(tmp_path.iterdir())
    if "--cfg" not in arguments and "-sc" not in arguments:
        assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_page_on_pipelines_has_all_exit_codes():
    codes = re.findall(r"^\| (\d+) \|", PAGE, re.M)
    assert {*map(int, codes)} == {DONE, FAILED, REFUSED, *WORDS}


def test_help_names_every_key(scvae):
    text = scvae("train", "--help").out
    keys = text.split("\nCells")[1].split("Flags:")[0].split("\n")
    named = {line.split()[0].removesuffix(".*") for line in keys if re.match(r"  \w", line)}
    of_file = {f"data.{key}" for key in FileConfig.model_fields} - {"data.name"}
    assert ({*Config.model_fields} - {"data"}) | of_file == named


COMPLETIONS = {
    "scvae tr": {"train"},
    "scvae train mod": {"model=", "model."},
    "scvae train model=": {
        "model=ae", "model=pca", "model=projection", "model=vae", "model=vsc", "model=vsc_uai",
    },
    "scvae train model=v": {"model=vae", "model=vsc", "model=vsc_uai"},
    "scvae train -m beta=1 dat": {"data=", "data."},
    "scvae train data=synthetic data.n_": {
        "data.n_batches=", "data.n_cells=", "data.n_genes=", "data.n_types=",
    },
    "scvae train tsne.perp": {"tsne.perplexity="},
}  # fmt: skip


def test_tab_completion_in_bash(tmp_path):
    """The hook that `-sc install=bash` prints, fed as bash does when somebody presses tab."""
    script = 'eval "$(scvae -sc install=bash)"\n'
    for line in COMPLETIONS:
        script += (
            f"COMP_LINE='{line}'; COMP_POINT={len(line)}; COMP_CWORD={len(line.split()) - 1}\n"
            'hydra_bash_completion; echo "${COMPREPLY[*]}"\n'
        )
    script += "complete -p scvae\n"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PATH": path},
    )  # fmt: skip
    *replies, registered = done.stdout.splitlines()
    assert done.stderr == ""
    for line, reply in zip(COMPLETIONS, replies, strict=True):
        assert set(reply.split()) == COMPLETIONS[line], line
    assert registered.endswith("scvae")


# What a person may mistype: the kind of mistake, and what else the answer has to name.
MISTAKES = {
    "model=vcs": (Kind.UNKNOWN, "vsc?"),
    "data=pbmc68": (Kind.UNKNOWN, "pbmc68k?"),
    "bta=2": (Kind.UNKNOWN, "beta?"),
    "+bta=2": (Kind.UNKNOWN, "beta?"),
    "perplexity=30": (Kind.UNKNOWN, "tsne.perplexity?"),
    "tsne.perplexty=30": (Kind.UNKNOWN, "tsne.perplexity?"),
    "data.n_cells=30": (Kind.UNKNOWN, "data=synthetic"),
    "nonsense=1": (Kind.UNKNOWN, "--help"),
    "hydra/launcher=slurm": (Kind.UNKNOWN, "basic"),
    "epochs=-1": (Kind.VALUE, "0"),
    "epochs=1.5": (Kind.VALUE, ""),
    "epochs=true": (Kind.VALUE, ""),
    "beta=-1": (Kind.VALUE, "0"),
    "beta=nan": (Kind.VALUE, ""),
    "beta=inf": (Kind.VALUE, ""),
    "beta=null": (Kind.MISSING, "model=vsc"),
    "latent_dim=two": (Kind.VALUE, ""),
    "latent_dim=800": (Kind.VALUE, "765 in data=pbmc68k"),
    "lr=0": (Kind.VALUE, "0"),
    "batch_size=0": (Kind.VALUE, "1"),
    "seed=-1": (Kind.VALUE, "0"),
    "threads=0": (Kind.VALUE, "1"),
    "device=gpu": (Kind.VALUE, "'cuda'"),
    "embedding=average": (Kind.VALUE, "'mean', 'sample', 'mu', 'decoded' or 'aligned'"),
    "tsne.perplexity=700": (Kind.VALUE, "700 in data=pbmc68k"),
    "tsne.perplexity=0": (Kind.VALUE, "0"),
    "tsne.learning_rate=fast": (Kind.VALUE, "'auto'"),
    "tsne.max_iter=10": (Kind.VALUE, "250"),
    "cluster.n_clusters=1": (Kind.VALUE, "2"),
    "cluster.n_clusters=700": (Kind.VALUE, "700 in data=pbmc68k"),
    "score.nmi_average=max": (Kind.VALUE, "'geometric'"),
    "model.encoder=[]": (Kind.VALUE, "1"),
    "model.alpha=1": (Kind.VALUE, "1"),
    "data.scale=0": (Kind.VALUE, "0"),
}


def refused(scvae, tmp_path, arguments, kind, key, *facts) -> UserError:
    """The error of a command that said one line with these facts, and left nothing behind."""
    result = scvae(*arguments)
    assert result.refused(kind, key) == result.err.rstrip("\n")
    assert result.out == ""
    for fact in facts:
        assert fact in f"{result.error.reason}; {result.error.fix}"
    assert not list(tmp_path.iterdir()), "something was left behind"
    return result.error


@pytest.mark.parametrize("argument", MISTAKES)
def test_a_mistaken_setting_gets_one_clear_line(scvae, tmp_path, argument):
    kind, fact = MISTAKES[argument]
    key, _, value = argument.removeprefix("+").partition("=")
    error = refused(scvae, tmp_path, ["train", argument], kind, key, fact)
    assert written(error.value) == value
    assert str(error).startswith(f"{key}={value}: ")


def test_settings_are_composed_once(scvae, monkeypatch):
    compose, calls = Hydra.compose_config, []

    def counted(*arguments, **options):
        calls.append(options)
        return compose(*arguments, **options)

    monkeypatch.setattr(Hydra, "compose_config", counted)
    scvae("train", "data=file", "data.path=no.h5ad").refused(Kind.MISSING, "data.path")
    assert len(calls) == 1


def test_hydra_may_be_told_of_a_sweep_in_its_own_words(scvae, tmp_path):
    result = scvae("train", *FAST, "model=pca", "seed=0,1", "hydra.mode=MULTIRUN")
    assert result.code == 0, result.err
    assert len(list(tmp_path.glob("outputs/*/*-sweep/00?-pca*"))) == 2


@pytest.mark.parametrize(
    ("arguments", "kind", "key", "shown"),
    [
        ("trian", Kind.UNKNOWN, None, "did you mean train?"),
        ("model=vsc", Kind.UNKNOWN, None, "scvae train model=vsc"),
        ("train -m model=vae,vcs", Kind.UNKNOWN, "model", "model=vcs"),
        ("train -m beta=1,-2", Kind.VALUE, "beta", "beta=-2: "),
        ("train -m beta=1,2 epochs=-1", Kind.VALUE, "epochs", "epochs=-1: "),
        ("train data=synthetic data.n_types=2000", Kind.VALUE, "data.n_types", "1000"),
        ("train data=synthetic data.n_cells=30", Kind.VALUE, "tsne.perplexity", "30"),
        ("train model.encoder=[128,0]", Kind.VALUE, "model.encoder.1", "model.encoder.1=0: "),
        ("train model.name=ae", Kind.CONFLICT, "model.name", "use model=ae"),
        ("train beta=1,2", Kind.VALUE, "beta=1,2", "-m"),
        ("train beta", Kind.VALUE, None, "beta: "),
        ("train beta=[1", Kind.VALUE, None, "beta=[1: "),
        ("train beta=${nope}", Kind.VALUE, "beta", "nope"),
        ("train --frobnicate", Kind.VALUE, None, "--frobnicate"),
        ("train --experimental-rerun=x", Kind.UNSAFE, "--experimental-rerun", "pickle"),
        ("train --config-name=nope", Kind.UNSAFE, "--config-name", "--config-name=nope: "),
        ("train --config-dir=nope", Kind.MISSING, "--config-dir", "/nope"),
        ("train output_dir=/dev/null", Kind.UNAVAILABLE, "output_dir", "/dev/null"),
        ("train output_dir=/proc/nope", Kind.UNAVAILABLE, "output_dir", "/proc/nope"),
    ],
)
def test_other_mistakes_get_one_clear_line(scvae, tmp_path, arguments, kind, key, shown):
    assert shown in str(refused(scvae, tmp_path, arguments.split(), kind, key))


@pytest.mark.parametrize(
    ("text", "kind", "key"),
    [
        ("beta: [1", Kind.FORMAT, None),
        ("beta: 2\n bad indent: : :", Kind.FORMAT, None),
        ("nonsense: 1\n", Kind.UNKNOWN, "nonsense"),
        ("- 1\n", Kind.VALUE, None),
    ],
)
def test_a_bad_preset_gets_one_clear_line(scvae, tmp_path, text, kind, key):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "bad.yaml").write_text("# @package _global_\n" + text)
    result = scvae("train", "--config-dir", str(tmp_path), "experiment=bad")
    assert result.refused(kind, key) == result.err.rstrip("\n")
    assert key or "experiment/bad" in result.err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(scvae, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    result = scvae("train", "output_dir=locked")
    result.refused(Kind.UNAVAILABLE, "output_dir")
    assert os.strerror(errno.EACCES) in result.error.reason


def test_mistakes_leave_the_users_own_folder_alone(scvae, tmp_path):
    (tmp_path / "mine").mkdir()
    result = scvae("train", "output_dir=mine", "tsne.perplexity=9999")
    result.refused(Kind.VALUE, "tsne.perplexity")
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


def test_flags_and_overrides_come_in_any_order(scvae, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nbeta: 7\n")
    result = scvae(
        "train", "lr=1", "--cfg", "job", "epochs=3", "--config-dir", ".", "experiment=mine"
    )
    assert result.code == 0, result.err
    for line in ("lr: 1", "epochs: 3", "beta: 7"):
        assert line in result.out.splitlines()


def test_quiet_commands_say_only_what_they_wrote(scvae, tmp_path):
    shutil.copytree(ROOT / "tests" / "formats" / "1", tmp_path, dirs_exist_ok=True)
    words = {
        ("train", *FAST, "hydra.run.dir=new"): "new\n",
        ("train", "resume=pca"): "pca\n",
        ("train", "-m", *FAST, "model=pca", "seed=0,1", "hydra.sweep.dir=both"): "both\n",
        ("train", "resume=both"): "both\n",
        ("verify", "pca"): "",
        ("embed", "pca", "cells.h5ad", "--labels"): "latent.csv\n",
        ("export", "pca", "--to", "copy"): "copy\n",
    }
    for command, wrote in words.items():
        result = scvae(command[0], "--quiet", *command[1:])
        assert (result.code, result.out) == (0, wrote)
        assert all(line.startswith("warning: ") for line in result.err.splitlines()), result.err


def test_the_wheel_brings_its_configurations(tmp_path):
    """Built and unpacked elsewhere, it runs from a third folder without the checkout."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    assert [*(tmp_path / "site").glob("*.dist-info/licenses/LICENSE")]
    work = tmp_path / "work"
    work.mkdir()
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "import scvae_cli.launch.train as launch\n"
        "assert launch.CONF.parent.name == 'scvae_cli', launch.CONF\n"
        "assert 'site' in str(launch.CONF), launch.CONF\n"
        "from scvae_cli.cli import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "site"), "train", *FAST]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (work / "outputs" / "latest" / "scores.json").exists()


@pytest.mark.parametrize("words", [["train"], ["train", "resume=/tmp/r"], ["data", "synthetic"]])
def test_a_folder_that_was_removed(scvae, tmp_path, monkeypatch, words):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    result = scvae(*words)
    assert "was removed" in result.refused(Kind.MISSING)
