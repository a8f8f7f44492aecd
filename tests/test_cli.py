"""The command line: help without torch, completion in a real shell, one line for each mistake."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import FAST

from scvae_cli.config import Config

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


def test_help_names_every_key(scvae):
    text = scvae("train", "--help").out
    keys = text.split("Keys:")[1].split("Flags:")[0].split("\n")
    named = {line.split()[0].removesuffix(".*") for line in keys if re.match(r"  \w", line)}
    assert {*Config.model_fields} == named


COMPLETIONS = {
    "scvae tr": {"train"},
    "scvae train mod": {"model=", "model."},
    "scvae train model=": {
        "model=ae", "model=pca", "model=projection", "model=vae", "model=vsc", "model=vsc_uai",
    },
    "scvae train model=v": {"model=vae", "model=vsc", "model=vsc_uai"},
    "scvae train -m beta=1 dat": {"data=", "data."},
    "scvae train data=synthetic data.n_": {"data.n_cells=", "data.n_genes=", "data.n_types="},
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


# What a person may mistype, and what the answer has to name.
MISTAKES = {
    "model=vcs": ["model=vcs", "did you mean vsc"],
    "data=pbmc68": ["data=pbmc68", "did you mean pbmc68k"],
    "bta=2": ["bta=2", "did you mean beta"],
    "+bta=2": ["bta=2", "did you mean beta"],
    "perplexity=30": ["perplexity=30", "did you mean tsne.perplexity"],
    "tsne.perplexty=30": ["tsne.perplexty=30", "did you mean tsne.perplexity"],
    "data.n_cells=30": ["data.n_cells=30", "data=synthetic"],
    "nonsense=1": ["nonsense=1", "--help"],
    "epochs=-1": ["epochs=-1", "at least 0"],
    "epochs=1.5": ["epochs=1.5", "whole number"],
    "epochs=true": ["epochs=true", "whole number"],
    "beta=-1": ["beta=-1", "at least 0"],
    "beta=nan": ["beta=nan", "finite"],
    "beta=inf": ["beta=inf", "finite"],
    "beta=null": ["beta=null", "number"],
    "latent_dim=two": ["latent_dim=two", "whole number"],
    "latent_dim=800": ["latent_dim=800", "765"],
    "lr=0": ["lr=0", "greater than 0"],
    "batch_size=0": ["batch_size=0", "at least 1"],
    "seed=-1": ["seed=-1", "at least 0"],
    "threads=0": ["threads=0", "at least 1"],
    "device=gpu": ["device=gpu", "'cuda'"],
    "embedding=average": ["embedding=average", "'mean', 'sample' or 'mu'"],
    "tsne.perplexity=700": ["tsne.perplexity=700", "700 in data=pbmc68k"],
    "tsne.perplexity=0": ["tsne.perplexity=0", "greater than 0"],
    "tsne.learning_rate=fast": ["tsne.learning_rate=fast", "'auto'"],
    "tsne.max_iter=10": ["tsne.max_iter=10", "at least 250"],
    "cluster.n_clusters=1": ["cluster.n_clusters=1", "at least 2"],
    "cluster.n_clusters=700": ["cluster.n_clusters=700", "700 in data=pbmc68k"],
    "score.nmi_average=max": ["score.nmi_average=max", "'geometric'"],
    "model.encoder=[]": ["model.encoder=[]", "at least 1 item"],
    "model.encoder=[128,0]": ["model.encoder.1=0", "at least 1"],
    "model.alpha=1": ["model.alpha=1", "less than 1"],
    "model.name=ae": ["model.name=ae", "use model=ae"],
    "data.scale=0": ["data.scale=0", "greater than 0"],
    "beta=1,2": ["beta=1,2", "add -m"],
    "beta": ["beta", "KEY=VALUE"],
    "beta=[1": ["beta=[1", "KEY=VALUE"],
    "beta=${nope}": ["beta", "nope"],
    "hydra/launcher=slurm": ["hydra/launcher=slurm", "basic"],
    "--frobnicate": ["--frobnicate", "--help"],
    "--experimental-rerun=x": ["--experimental-rerun", "pickle"],
    "--config-name=nope": ["--config-name=nope"],
    "--config-dir=nope": ["--config-dir", "nope"],
    "output_dir=/dev/null": ["output_dir", "/dev/null"],
    "output_dir=/proc/nope": ["output_dir", "/proc/nope"],
}


@pytest.mark.parametrize("argument", MISTAKES)
def test_a_mistake_gets_one_clear_line(scvae, tmp_path, argument):
    result = scvae("train", argument)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1, result.err
    assert result.err.startswith("scvae: ")
    assert result.out == ""
    for part in MISTAKES[argument]:
        assert part in result.err
    assert not list(tmp_path.iterdir()), "something was left behind"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["trian"], ["trian", "did you mean train"]),
        (["model=vsc"], ["scvae train model=vsc"]),
        (["train", "-m", "model=vae,vcs"], ["model=vcs", "did you mean vsc"]),
        (["train", "-m", "beta=1,-2"], ["beta=-2", "at least 0"]),
        (["train", "-m", "beta=1,2", "epochs=-1"], ["epochs=-1"]),
        (["train", "data=synthetic", "data.n_types=2000"], ["data.n_types=2000", "1000"]),
        (["train", "data=synthetic", "data.n_cells=30"], ["tsne.perplexity=40", "30"]),
    ],
)
def test_mistakes_of_several_words(scvae, tmp_path, arguments, parts):
    result = scvae(*arguments)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1, result.err
    for part in parts:
        assert part in result.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["beta: [1", "beta: 2\n bad indent: : :", "nonsense: 1\n", "- 1\n"]
)
def test_a_bad_preset_gets_one_clear_line(scvae, tmp_path, text):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "bad.yaml").write_text("# @package _global_\n" + text)
    result = scvae("train", "--config-dir", str(tmp_path), "experiment=bad")
    assert result.code == 2
    assert len(result.err.splitlines()) == 1, result.err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(scvae, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    result = scvae("train", "output_dir=locked")
    assert result.code == 2
    assert "Permission denied" in result.err


def test_mistakes_leave_the_users_own_folder_alone(scvae, tmp_path):
    (tmp_path / "mine").mkdir()
    assert scvae("train", "output_dir=mine", "tsne.perplexity=9999").code == 2
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


@pytest.mark.slow
def test_the_wheel_brings_its_configurations(tmp_path):
    """Built and unpacked elsewhere, it runs from a third folder without the checkout."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
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
