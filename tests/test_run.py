"""Whole runs of `scvae train`: what is in the folder, and that it is the same every time."""

import copy
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import DRAWN, FAST, SMALL
from safetensors.torch import load_file
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score
from test_report import Reader

from scvae_cli import load as load_run
from scvae_cli.data import sources
from scvae_cli.errors import Kind, RunError
from scvae_cli.launch.compose import compose
from scvae_cli.models.registry import build
from scvae_cli.runs.claim import discard
from scvae_cli.runs.files import files_of
from scvae_cli.runs.same import essential
from scvae_cli.stages.expected import _sampled

FILES = {
    ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml",
    *files_of("vsc", "map_3d", "trained"),
}  # fmt: skip


def contents(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def read(folder: Path, name: str):
    return json.loads((folder / name).read_text())


def test_default_run_on_real_cells_twice(scvae, tmp_path):
    """700 PBMCs, beta-VSC: the folder's contract, then the same bytes again."""
    first, again = (scvae("train", "model=vsc", "beta=2.0", "epochs=30") for _ in range(2))
    assert (first.code, again.code) == (0, 0)
    folders = [tmp_path / result.out.split()[-1] for result in (first, again)]
    assert folders[0] != folders[1]
    for folder in folders:
        assert contents(folder) == FILES
        assert folder.name.endswith("-vsc-pbmc68k-beta2.0-epochs30") or folder.name[-2:] == "-2"
    assert (tmp_path / "outputs" / "latest").resolve() == folders[1]
    for name in ("latent.csv", "cells.csv", "model.safetensors", "figures/map_2d.png"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name
    scores = [read(folder, "scores.json") for folder in folders]
    assert all(scores[0][space] == scores[1][space] for space in ("tsne", "latent"))

    page = (folders[0] / "report.html").read_text()
    assert len(page) < 600_000
    told = Reader(page).rows
    assert [told[i] for i in (6, 7, 8)] == [["model", "vsc"], ["beta", "2"], ["epochs", "30"]]
    assert ["beta", "2", "command line"] in told
    assert ["seed", "0", "default"] in told
    sizes = dict(pd.read_csv(folders[0] / "cells.csv")["cell_type"].value_counts())
    assert {row[0]: int(row[1]) for row in told if row[0] in sizes and len(row) == 5} == sizes
    counts = {row[0]: sum(map(int, row[1:])) for row in told if row[0] in sizes and len(row) == 11}
    assert counts == sizes
    assert "trained the model" in [row[-1] for row in told]
    assert "<figcaption>2-D map" not in page  # it has maps that move

    run = read(folders[0], "run.json")
    assert (run["status"], run["reason"], run["seed"]) == ("done", None, 0)
    assert run["command"] == "scvae train model=vsc beta=2.0 epochs=30"
    assert (run["data"]["n_cells"], run["data"]["n_genes"]) == (700, 765)
    assert len(run["data"]["fingerprint"]) == 64
    assert run["versions"]["torch"].startswith("2.")
    assert run["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert run["threads"] >= 1
    stages = {"load", "train", "embed", "tsne_2d", "tsne_3d", "cluster", "score", "sparsity"}
    assert set(run["seconds"]) == stages | {"figures"}

    history = pd.read_csv(folders[0] / "history.csv")
    kls = [f"kl_z{i}" for i in range(1, 7)]
    assert list(history) == [
        "epoch", "total", "reconstruction", "kl", "seconds", "active", "gamma", "dead_gates", *kls,
    ]  # fmt: skip
    np.testing.assert_allclose(history.kl, history[kls].sum(axis=1), rtol=1e-5)
    assert list(history.active) == list((history[kls] > 0.01).sum(axis=1))
    assert 0.2 < history.dead_gates[0] < 0.7  # a fresh ReLU gate is 1 about half of the time
    np.testing.assert_allclose(history.total, history.reconstruction + 2 * history.kl, rtol=1e-5)
    latent = pd.read_csv(folders[0] / "latent.csv")
    assert list(latent) == ["cell", "z1", "z2", "z3", "z4", "z5", "z6"]
    cells = pd.read_csv(folders[0] / "cells.csv")
    assert list(cells) == [
        "cell", "cell_type", "cluster", "tsne_1", "tsne_2",
        "tsne3d_1", "tsne3d_2", "tsne3d_3", "latent_cluster",
    ]  # fmt: skip
    assert list(cells.cell) == list(latent.cell)
    assert cells.cell_type.nunique() == cells.cluster.nunique() == 10
    config = yaml.safe_load((folders[0] / "config.yaml").read_text())
    assert (config["beta"], config["epochs"], config["model"]["c"]) == (2.0, 30, 50.0)
    assert config["tsne"]["seed"] == 0


@pytest.mark.parametrize(
    "name",
    ["vsc", "pca", *(pytest.param(n, marks=pytest.mark.slow) for n in ("vae", "ae", "vsc_uai"))],
)
def test_trained_models_find_the_types_and_untrained_ones_do_not(scvae, tmp_path, name):
    words = ["train", *SMALL, f"model={name}"]
    trained = scvae(*words, "output_dir=trained", "tsne.max_iter=500")
    assert trained.code == 0, trained.err
    scores = read(tmp_path / "trained" / "latest", "scores.json")
    assert scores["latent"]["ari"] > 0.9
    assert scores["tsne"]["ari"] > 0.9
    if name != "pca":
        untrained = scvae(*words, "output_dir=untrained", "epochs=1", "lr=1e-30")
        assert untrained.code == 0, untrained.err
        scores = read(tmp_path / "untrained" / "latest", "scores.json")
        assert scores["latent"]["ari"] < 0.3
        assert scores["tsne"]["ari"] < 0.3


def test_latent_clusters_are_matched_to_the_types(scvae, tmp_path):
    """The files agree with each other: clusters in cells.csv give the accuracy that ARI says."""
    assert scvae("train", *SMALL, "model=pca").code == 0
    cells = pd.read_csv(tmp_path / "outputs" / "latest" / "cells.csv")
    table = pd.crosstab(cells.cell_type, cells.latent_cluster).to_numpy()
    rows, columns = linear_sum_assignment(-table)
    assert table[rows, columns].sum() / len(cells) > 0.97


def test_weights_and_architecture_can_be_read_back(run_of):
    path = run_of(*FAST) / "model.safetensors"
    assert load_file(path)["encoder.0.weight"].shape == (200, 128)
    header = path.read_bytes()
    size = int.from_bytes(header[:8], "little")
    architecture = json.loads(json.loads(header[8 : 8 + size])["__metadata__"]["scvae"])
    assert architecture["name"] == "vsc"
    assert (architecture["n_genes"], architecture["n_latent"]) == (200, 6)


def test_a_sample_is_embedded_on_request(run_of):
    runs = {kind: run_of(*FAST, f"embedding={kind}") for kind in ("mean", "sample", "mu")}
    latents = {k: pd.read_csv(run / "latent.csv").drop(columns="cell") for k, run in runs.items()}
    assert not latents["mean"].equals(latents["sample"])
    assert not latents["mean"].equals(latents["mu"])


def test_seeds_change_the_model_and_not_the_cells(run_of):
    runs = [run_of(*FAST), run_of(*FAST, "seed=1")]
    first, second = (read(run, "run.json")["data"]["fingerprint"] for run in runs)
    assert first == second
    assert (runs[0] / "latent.csv").read_bytes() != (runs[1] / "latent.csv").read_bytes()


def test_keys_without_effect_warn_and_are_recorded_as_null(scvae, tmp_path):
    words = ["train", *FAST, "model=ae"]
    result = scvae(*words, "beta=4")
    assert result.code == 0
    assert result.err.count("warning: beta has no effect") == 1
    config = yaml.safe_load((tmp_path / "outputs" / "latest" / "config.yaml").read_text())
    assert config["beta"] is None
    assert "has no effect" not in scvae(*words).err


@pytest.mark.parametrize(
    "given",
    [
        ("tsne.max_iter_3d=400", "map_3d=false"),
        ("tsne.angle=.3", "tsne.method=exact"),
        ("tsne.place_others=false", "tsne.max_cells=null"),
    ],
)
def test_keys_within_blocks_without_effect_warn(scvae, given):
    key = given[0].partition("=")[0]
    result = scvae("train", *FAST, "model=ae", *given)
    assert f"warning: {key} has no effect with {given[1]}" in result.err
    assert result.err.count("has no effect") == 1


def test_a_run_that_diverges_says_so_and_keeps_its_folder(scvae, tmp_path):
    result = scvae("train", *FAST, "model=vae", "lr=1e30")
    assert result.code == 1
    assert "Traceback" not in result.err
    folder = tmp_path / result.out.split()[-1]
    run = read(folder, "run.json")
    assert run["status"] == "failed"
    assert (result.error.kind, run["reason"]) == (Kind.DIVERGED, str(result.error))
    assert run["reason"] in result.err


def test_a_preset_of_ones_own_wins_over_the_defaults(scvae, tmp_path):
    """`_self_` comes first in the defaults list: an experiment changes root keys and choices."""
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "wide.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /model: vae\nbeta: 8\nlatent_dim: 3\n"
    )
    given = [*FAST, "latent_dim=4", "model.branch=5"]
    result = scvae("train", "--config-dir", "mine", "experiment=wide", *given)
    assert result.code == 0, result.err
    config = yaml.safe_load((tmp_path / "outputs" / "latest" / "config.yaml").read_text())
    assert (config["model"]["name"], config["beta"], config["latent_dim"]) == ("vae", 8.0, 4)
    assert config["model"]["branch"] == 5


@pytest.mark.parametrize(
    ("broken", "there"),
    [
        ("embed.embed", {"genes.csv", "history.csv", "model.safetensors"}),
        ("space.tsne", {"genes.csv", "history.csv", "model.safetensors", "latent.csv"}),
        ("space.kmeans", {
            "genes.csv", "history.csv", "model.safetensors", "latent.csv", "cells.csv",
        }),
        ("space.score", {
            "genes.csv", "history.csv", "model.safetensors", "latent.csv", "cells.csv",
        }),
    ],
)  # fmt: skip
def test_every_product_is_on_disk_before_the_next_stage(
    scvae, tmp_path, monkeypatch, broken, there
):
    def fail(*_, **__):
        raise ValueError("a fault\nof two lines")

    monkeypatch.setattr(f"scvae_cli.stages.{broken}", fail)
    result = scvae("train", *FAST, "map_3d=true")
    assert result.code == 1
    assert "ValueError: a fault of two lines" in result.err
    assert "Traceback" not in result.err
    folder = tmp_path / result.out.split()[-1]
    base = {"config.yaml", "run.json", "scvae.log"}
    assert {p.name for p in folder.iterdir() if p.is_file()} == base | there
    assert "Traceback" in (folder / "scvae.log").read_text()
    assert read(folder, "run.json")["reason"] == "ValueError: a fault of two lines"
    if broken == "space.kmeans":
        assert "tsne3d_3" in pd.read_csv(folder / "cells.csv")


def test_no_result_is_overwritten(scvae, run_of, tmp_path):
    shutil.copytree(run_of(*FAST), tmp_path / "here")
    before = {
        name: (tmp_path / "here" / name).read_bytes() for name in contents(tmp_path / "here")
    }
    result = scvae("train", *FAST, "hydra.run.dir=here", "seed=1")
    result.refused(Kind.EXISTS)
    assert result.error.value == Path("here")
    after = {name: (tmp_path / "here" / name).read_bytes() for name in contents(tmp_path / "here")}
    assert before == after


def test_nothing_in_a_run_folder_is_a_pickle(run_of):
    for path in run_of(*FAST, *DRAWN).rglob("*"):
        if path.is_file():
            assert not path.read_bytes().startswith(b"\x80"), path
            assert path.suffix in {
                ".yaml", ".csv", ".json", ".png", ".log", ".safetensors", ".html"
            }  # fmt: skip


def test_a_run_draws_no_figures_where_none_are_wanted(scvae, tmp_path):
    """The page still has the map; MultiQC's picture is of a figure, and is left out."""
    assert scvae("train", *FAST, "multiqc=true", "hydra.run.dir=r").code == 0
    made = contents(tmp_path / "r")
    assert not [name for name in made if name.endswith(".png") or name == "map_2d_mqc.html"]
    assert made >= {"report.html", "scores_mqc.tsv", "history_mqc.tsv"}
    assert "run-0" in Reader((tmp_path / "r" / "report.html").read_text()).data
    run = read(tmp_path / "r", "run.json")
    assert (run["status"], "figures" in run["seconds"]) == ("done", False)


def test_an_interrupted_run_says_so(tmp_path):
    command = [sys.executable, "-m", "scvae_cli", "train", *FAST, "epochs=100000"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if line.lstrip().startswith("load"):
            break
    process.send_signal(2)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert "interrupted" in last
    (record,) = (tmp_path / "outputs").glob("*/*/run.json")
    run = json.loads(record.read_text())
    assert run["status"] == "failed"
    assert run["reason"] == "interrupted"
    assert (record.parent / "config.yaml").exists()


def test_runs_of_one_second_do_not_share_a_folder(tmp_path):
    """Eight processes claim the same name at once."""
    code = (
        "import sys; from pathlib import Path; from scvae_cli.runs.claim import claim\n"
        "sys.stdin.read(1)\n"
        "for _ in range(5): print(claim(Path('outputs/d/t-run'), exact=False)[0])"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=tmp_path, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for _ in range(8)
    ]  # fmt: skip
    for process in processes:
        process.stdin.write("x")
        process.stdin.flush()
    claimed = [line for p in processes for line in p.communicate()[0].split()]
    assert len(claimed) == len(set(claimed)) == 40


def test_one_training_serves_several_embeddings(scvae, run_of, tmp_path):
    words = ["train", "model=vae", *FAST, *DRAWN, "map_3d=true", "embedding=sample"]
    assert scvae(*words, "hydra.run.dir=a").code == 0
    # As if by a version that had fewer settings: those that it lacked are as they were then.
    file = tmp_path / "a" / "config.yaml"
    now = yaml.safe_load(file.read_text())
    older = copy.deepcopy(now)
    del older["model"]["dispersion"], older["data"]["n_batches"], older["ensemble"]
    file.write_text(yaml.safe_dump(older))
    assert essential(older) == essential(now) != essential(now | {"beta": 3.0})
    common = ["train", "model=vae", *FAST, *DRAWN, "trained=a"]
    result = scvae(*common, "hydra.run.dir=b")
    assert result.code == 0, result.err
    # The mean that a fresh training with the same settings would embed.
    shutil.copytree(run_of("model=vae", *FAST), tmp_path / "c")
    latents = {name: (tmp_path / name / "latent.csv").read_bytes() for name in "abc"}
    assert latents["b"] == latents["c"] != latents["a"]
    for name in ("history.csv", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert "tsne3d_1" not in (tmp_path / "b" / "cells.csv").read_text()
    assert not (tmp_path / "b" / "figures" / "map_3d.png").exists()


@pytest.mark.parametrize(
    ("folder", "settings", "kind", "facts"),
    [
        ("nowhere", [], Kind.MISSING, ["run.json"]),
        ("a", ["beta=4"], Kind.DIFFERS, ["beta=2.0", "4.0"]),
        ("a", ["model.branch=9"], Kind.DIFFERS, ["model.branch=16", "9"]),
        ("a", ["data.fold=7"], Kind.DIFFERS, ["data.fold=6.0", "7.0"]),
        ("cut", [], Kind.DAMAGED, ["cut/model.safetensors"]),
        ("other", [], Kind.DIFFERS, ["cells"]),
        ("foreign", [], Kind.DIFFERS, ["model=vae"]),
    ],
)
def test_a_training_that_does_not_fit_is_refused(
    scvae, run_of, tmp_path, folder, settings, kind, facts
):
    base = ["model=vae", *FAST]
    for name in ("a", "cut", "other", "foreign"):
        shutil.copytree(run_of(*base), tmp_path / name)
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    record = tmp_path / "other" / "run.json"
    record.write_text(record.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    weights = run_of(*FAST, "model=pca") / "model.safetensors"
    shutil.copy(weights, tmp_path / "foreign" / "model.safetensors")
    result = scvae("train", *base, f"trained={folder}", *settings, "hydra.run.dir=new")
    result.refused(kind, "trained")
    assert str(result.error.value) == folder  # a path, or text
    for fact in facts:
        assert fact in result.error.reason
    assert not (tmp_path / "new").exists()


def test_principal_components_take_time_and_those_that_are_there_take_none(
    scvae, tmp_path, monkeypatch
):
    monkeypatch.setattr("scvae_cli.stages.expected.MANY", 150)
    monkeypatch.setattr("scvae_cli.stages.expected.SOLVING", 1.0)
    words = ["train", *FAST, "model=pca"]
    assert scvae(*words, "hydra.run.dir=a").code == 0
    assert scvae(*words, "trained=a", "hydra.run.dir=b").code == 0
    said = [read(tmp_path / name, "run.json")["expected"]["seconds"] for name in "ab"]
    n_values = sources.load(**load_run(tmp_path / "a").config.data.model_dump()).x.nnz
    assert said[0] - said[1] == pytest.approx(n_values, abs=1)


def test_what_no_setting_limits_is_said_to_be_sampled(monkeypatch):
    for name in ("MOST_CELLS", "MAX_CELLS"):
        monkeypatch.setattr(f"scvae_cli.stages.expected.{name}", 100)
    words = ["data=synthetic", "data.n_cells=150", "data.n_genes=40", "data.n_batches=2"]

    def said(*more: str) -> str:
        config = compose([*words, *more])
        return _sampled(config, sources.load(**config.data.model_dump()))

    batches = "scores of batches (100 cells)"
    assert said() == f"samples are drawn for {batches}"
    decoded = "model=vae", "embedding=decoded"
    assert said(*decoded) == f"samples are drawn for embedding=decoded (100 cells), {batches}"
    assert said("data.n_batches=1") == "nothing is sampled"


def test_of_many_cells_some_are_mapped(scvae, tmp_path, monkeypatch):
    """The others are placed; what the run will take is said, which changes nothing of it."""
    with monkeypatch.context() as patch:
        patch.setattr("scvae_cli.stages.expected.MANY", 150)
        result = scvae("train", *FAST, "tsne.max_cells=100", "tsne.perplexity=20")
    assert result.code == 0, result.err
    line = next(text for text in result.err.splitlines() if "will take about" in text)
    assert re.search(r"about \d+ s, of which \d+ s to train, and \d+\.\d GB of memory; samp", line)
    assert line.endswith("samples are drawn for tsne.max_cells=100")
    assert "t-SNE maps 100 of 150 cells, drawn at random (tsne.max_cells), and the" in result.err
    run = tmp_path / "outputs" / "latest"
    cells = pd.read_csv(run / "cells.csv")
    mapped = ~cells["tsne_placed"]
    assert (len(cells), mapped.sum()) == (150, 100)
    assert cells.notna().all(axis=None)
    assert (
        "t-SNE mapped 100 cells, drawn at random; the others are placed"
        in (run / "report.html").read_text()
    )
    assert ",3.0," not in (run / "cells.csv").read_text()  # clusters stay whole numbers
    shown = cells[mapped]
    ari = adjusted_rand_score(shown["cell_type"], shown["cluster"])
    scores = json.loads((run / "scores.json").read_text())
    assert scores["tsne"]["ari"] == pytest.approx(ari)
    alone = scvae(
        "train", *FAST, "tsne.max_cells=100", "tsne.perplexity=20", "tsne.place_others=false",
        "hydra.run.dir=r",
    )  # fmt: skip
    assert alone.code == 0, alone.err
    assert "will take" not in alone.err
    weights = [(folder / "model.safetensors").read_bytes() for folder in (run, tmp_path / "r")]
    assert weights[0] == weights[1]
    left = pd.read_csv(tmp_path / "r" / "cells.csv")
    assert "tsne_placed" not in left
    for column in ("cluster", "tsne_2"):
        assert (left[column].notna() == mapped).all()
        assert (left[column][mapped] == cells[column][mapped]).all()
    assert left["latent_cluster"].notna().all()
    result = scvae("train", *FAST, "tsne.max_cells=30")
    result.refused(Kind.VALUE, "tsne.perplexity")
    assert "mapped cells, which is 30 in data=synthetic" in result.error.reason


def test_the_weight_of_the_kl_rises_to_beta(scvae, tmp_path):
    """Over half of eight epochs: 0, 1/4, 1/2, 3/4 of beta, and then all of it."""
    settings = [*FAST, "model=vae", "beta=3", "epochs=8", "kl_warmup=0.5"]
    assert scvae("train", *settings, "hydra.run.dir=r").code == 0
    history = pd.read_csv(tmp_path / "r" / "history.csv")
    weight = (history["total"] - history["reconstruction"]) / history["kl"]
    assert list(weight) == pytest.approx([0, 0.75, 1.5, 2.25, 3, 3, 3, 3], abs=1e-3)
    scvae("train", *settings, "kl_warmup=1").refused(Kind.VALUE, "kl_warmup")
    assert (
        "kl_warmup has no effect with model=ae"
        in scvae("train", *FAST, "model=ae", "kl_warmup=0.5").err
    )


def test_training_has_the_threads_that_were_asked_for(scvae, monkeypatch):
    """Whatever libraries set while cells are loaded, as scanpy's numba does for some."""
    seen = []

    def load(**options):
        torch.set_num_threads(3)
        return sources.load(**options)

    def look(*_, **__):
        seen.append(torch.get_num_threads())
        raise RunError(Kind.DIVERGED, None, "enough")

    monkeypatch.setattr("scvae_cli.stages.cells.load", load)
    monkeypatch.setattr("scvae_cli.stages.fit.train", look)
    monkeypatch.setattr("scvae_cli.threads.SMALL_STEP", 0)
    for threads in (1, 2):
        assert scvae("train", *FAST, f"threads={threads}").code == 1
    assert seen == [1, 2]


def test_schedules_of_the_vsc_end(scvae, tmp_path):
    """Gates first: the slab's KL is 0 in the first epoch. A warm-up that never ends is refused."""
    settings = [*FAST, "epochs=8", "model.c_end=200", "tsne.max_iter=250"]
    warm = ["model.spike_warmup=0.5", "model.gate=sigmoid"]
    assert scvae("train", *settings, *warm, "hydra.run.dir=r").code == 0
    history = pd.read_csv(tmp_path / "r" / "history.csv")
    assert history.kl[0] < 0.2 * history.kl.max()
    assert (history.dead_gates == 0).all()
    refused = scvae("train", *settings, "model.spike_warmup=1")
    refused.refused(Kind.VALUE, "model.spike_warmup")


def test_controls_learn_nothing(scvae, tmp_path):
    """An untrained network keeps its first weights; it and random directions lose to PCA."""
    settings = [*SMALL, "tsne.max_iter=250"]
    ari = {}
    for name, how in (
        ("untrained", ["model=vae", "epochs=0"]),
        ("projection", ["model=projection"]),
        ("pca", ["model=pca"]),
    ):
        result = scvae("train", *settings, *how, f"hydra.run.dir={name}")
        assert result.code == 0, result.err
        ari[name] = read(tmp_path / name, "scores.json")["latent"]["ari"]
    assert ari["pca"] > 0.9 > 0.6 > max(ari["untrained"], ari["projection"])
    assert "train     none: a control" in (tmp_path / "untrained" / "scvae.log").read_text()
    run = load_run(tmp_path / "untrained")
    weights = build(
        n_genes=200, n_latent=6, seed=run.config.seeds.weights, **run.config.model_options
    ).state_dict()
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    table = scvae("compare", str(tmp_path))
    assert table.code == 0, table.err
    assert "projection" in table.out


def test_a_folder_with_a_result_is_never_discarded(tmp_path):
    for name, stays in (("empty", False), ("begun", False), ("done", True)):
        path = tmp_path / name
        path.mkdir()
        if name != "empty":
            (path / "run.json").write_text("{}")
        if name == "done":
            (path / "latent.csv").write_text("cell,z1")
        discard([path])
        assert path.exists() == stays
