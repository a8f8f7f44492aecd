"""Faults, for real: a representative of each that `make faults` tries, and what was lost."""

import json
import random
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FAST, options_of, representative, told_as_json
from scipy.sparse import csr_array

from benchmarks.faults import damage, disks, kills, runs
from scvae_cli.analysis.diagnose import diagnose
from scvae_cli.errors import InputError, Kind, RunError
from scvae_cli.models.checkpoint import Checkpoint, unpack
from scvae_cli.models.registry import build
from scvae_cli.models.train import train
from scvae_cli.runs.provenance import versions
from scvae_cli.runs.run import Run
from scvae_cli.runs.writer import RunWriter

CPU = torch.device("cpu")
SHORTER = ["data.n_cells=300", "epochs=30", "tsne.max_iter=250", "cluster.n_init=5"]


@pytest.fixture
def references(run_of, monkeypatch) -> dict[str, Path]:
    """A run of each model that nothing happens to; it and all others are shorter than usual."""
    start = runs.scvae

    def shorter(*words: str, cwd: Path):
        return start(*words, *(SHORTER if "data=synthetic" in words else []), cwd=cwd)

    monkeypatch.setattr(runs, "scvae", shorter)
    words = [*runs.SETTINGS, *SHORTER]
    return {model: run_of(*words, f"model={model}") for model in runs.MODELS}


@pytest.fixture
def resumed(scvae, monkeypatch):
    """Runs are resumed in this process: only those that are struck need their own."""

    def here(run: str | Path, cwd: Path) -> tuple[int, str]:
        monkeypatch.chdir(cwd)
        result = scvae("train", f"resume={run}")
        assert "Traceback" not in result.err
        return result.code, result.err

    monkeypatch.setattr(runs, "resumed", here)


@pytest.mark.usefixtures("resumed")
@pytest.mark.parametrize(
    ("model", "moment", "number", "code"),
    [
        ("vsc", 0.3, signal.SIGKILL, -9),
        pytest.param("vae", 0.5, signal.SIGKILL, -9, marks=pytest.mark.slow),
        pytest.param("vsc", 0.3, signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param("vae", 0.5, signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param("vae", 0.3, signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed(references, tmp_path, model, moment, number, code):
    fault = kills.strike(tmp_path, references[model], model, number, moment)
    assert fault.lost == []
    assert fault.code == code
    if code > 0:
        assert re.search(r"`scvae train resume=run-\d` continues it", fault.said)


@pytest.mark.slow
@pytest.mark.usefixtures("resumed")
def test_killed_while_it_writes_and_done_again(references, tmp_path):
    fault = kills.killed_embed(tmp_path, references["vae"])
    assert (fault.code, fault.lost) == (-9, [])


@pytest.mark.slow
@pytest.mark.usefixtures("resumed")
def test_killed_while_it_writes_for_scanpy_and_resumed(references, tmp_path):
    fault = kills.killed_h5ad(tmp_path, references["vae"], "vae")
    assert (fault.code, fault.lost) == (-9, [])


@pytest.mark.usefixtures("resumed")
@pytest.mark.parametrize(
    "how", ["a bit flipped", pytest.param("as it was", marks=pytest.mark.slow)]
)
def test_a_checkpoint_is_used_if_it_is_whole(references, tmp_path, how):
    fault = damage.checkpoint(tmp_path, references["vae"], "vae", how, random.Random(1))
    assert fault.lost == []


@pytest.mark.usefixtures("resumed")
@pytest.mark.parametrize("name", ["latent.csv", "model.safetensors", "config.yaml"])
def test_what_is_damaged_is_made_again(references, tmp_path, name):
    fault = damage.spoil(tmp_path, references["ae"], name, "cut to 50 %", random.Random(1))
    assert fault.lost == []


@pytest.mark.usefixtures("resumed")
def test_a_second_process_is_refused(references, tmp_path):
    fault = kills.two_at_once(tmp_path, references["ae"], "ae")
    assert (fault.code, fault.lost) == (2, [])
    assert "another process writes there" in fault.said


@pytest.fixture(scope="module")
def _may_mount() -> None:
    if not disks.may_mount():
        pytest.skip("this process may not mount a small disk")


@pytest.mark.usefixtures("_may_mount", "resumed")
@pytest.mark.parametrize(
    "kilobytes", [64, *(pytest.param(n, marks=pytest.mark.slow) for n in (384, 640))]
)
def test_a_full_disk(references, tmp_path, kilobytes):
    fault = disks.full_disk(tmp_path, references["vae"], "vae", 1024 * kilobytes)
    assert (fault.code, fault.lost) == (1, [])
    assert "No space left on device" in fault.said


@pytest.mark.usefixtures("_may_mount", "resumed")
def test_a_folder_that_becomes_read_only(references, tmp_path):
    fault = disks.read_only(tmp_path, references["vae"], "vae")
    assert (fault.code, fault.lost) == (1, [])
    assert "Read-only file system" in fault.said


@pytest.mark.parametrize("model", representative(["vsc", "vae", "ae"]))
def test_the_same_seed_gives_the_same_bytes(scvae, references, model):
    result = scvae("verify", str(references[model]))
    assert result.code == 0, result.err
    assert result.out.count("identical") == (9 if model == "vsc" else 7)


def test_verify_tells_what_is_different(scvae, references, tmp_path):
    """A run whose files and checksums are another run's but for the settings."""
    shutil.copytree(references["ae"], tmp_path / "r")
    config = (tmp_path / "r" / "config.yaml").read_text()
    (tmp_path / "r" / "config.yaml").write_text(config.replace("seed: 0", "seed: 1"))
    assert scvae("verify", "r").code == 2  # a file is not what it wrote
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    del record["files"]["config.yaml"]
    (tmp_path / "r" / "run.json").write_text(json.dumps(record))
    result = scvae("verify", "r", "--json")
    told = told_as_json(result, "verify RUN")
    assert (result.code, told["same"]) == (1, False)
    assert told["files"]["latent.csv"].startswith("different: z1 is")
    assert told["files"]["genes.csv"] == "identical"


def test_a_run_that_is_done_is_left_alone(scvae, run_of, tmp_path):
    shutil.copytree(run_of(*FAST, "model=pca"), tmp_path / "r")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "r").rglob("*")}
    result = scvae("train", "resume=r")
    assert result.code == 0
    assert "the run is done" in result.err
    for quiet in ("quiet=true", "--quiet"):
        assert (scvae("train", "resume=r", quiet).err, result.code) == ("", 0)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "r").rglob("*")} == before


@pytest.mark.parametrize(
    ("words", "kind", "about", "named"),
    [
        (["resume=r", "beta=4"], Kind.CONFLICT, "resume", " beta=4"),
        (["resume=nowhere"], Kind.MISSING, "resume", "sweep.json"),
        (["resume=other"], Kind.DIFFERS, "resume", " torch 1.0"),
        (["resume=cells"], Kind.DIFFERS, "resume", "/cells: "),
    ],
)
def test_what_cannot_be_resumed(scvae, run_of, tmp_path, words, kind, about, named):
    shutil.copytree(run_of(*FAST, "model=pca"), tmp_path / "r")
    for name, key, value in (
        ("other", "versions", {"torch": "1.0"}),
        ("cells", "data", {"fingerprint": "0"}),
    ):
        shutil.copytree(tmp_path / "r", tmp_path / name)
        record = json.loads((tmp_path / name / "run.json").read_text())
        record[key] |= value
        record["status"] = "running"
        (tmp_path / name / "run.json").write_text(json.dumps(record))
    before = {p: json.loads((p / "run.json").read_text())["status"] for p in tmp_path.iterdir()}
    assert named in scvae("train", *words).refused(kind, about)
    for path, status in before.items():  # none became a failure by that
        assert json.loads((path / "run.json").read_text())["status"] == status


def test_what_diverges_keeps_the_last_good_checkpoint():
    """Values become huge after three epochs; from what is kept, the training ends as if not."""
    good = csr_array(np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32))
    bad = good.copy()
    options = options_of("ae", encoder=[4], decoder=[4], latent_activation="linear")
    how = {"epochs": 9, "batch_size": 4, "lr": 0.01, "batch_seed": 0, "noise_seed": 0,
           "device": CPU}  # fmt: skip
    kept: list[bytes] = []

    def spoil(row):
        if row["epoch"] == 3:
            bad.data[:] = 1e30

    model = build("ae", 5, 2, seed=0, **options)
    with pytest.raises(RunError, match=r"\binf\b.*\b4\b") as caught:
        train(
            model, bad, **how, on_epoch=spoil, keep=lambda n, b, take: kept.append(take().pack())
        )
    assert caught.value.kind == Kind.DIVERGED
    assert all(torch.isfinite(t).all() for c in kept for t in unpack(c).tensors.values())
    whole, resumed = (build("ae", 5, 2, seed=0, **options) for _ in range(2))
    train(whole, good, **how, on_epoch=lambda row: None)
    train(resumed, good, **how, on_epoch=lambda row: None, start=unpack(kept[-1]))
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_between_two_steps_leads_to_the_same_end():
    """From every step of a training, also within an epoch."""
    rng = np.random.default_rng(0)
    x = csr_array(rng.poisson(0.3, (50, 30)).astype(np.float32))
    options = options_of("vsc", **NARROW, beta=1.0, c_end=200.0, spike_warmup=0.5)
    how = {"epochs": 3, "batch_size": 16, "lr": 0.01, "batch_seed": 1, "noise_seed": 2,
           "device": CPU, "on_epoch": lambda row: None}  # fmt: skip
    kept: list[Checkpoint] = []
    first = build("vsc", 30, 3, seed=0, **options)
    history = train(first, x, **how, keep=lambda n, b, take: kept.append(unpack(take().pack())))
    assert len(kept) == 3 * (4 + 1)
    for checkpoint in kept:
        other = build("vsc", 30, 3, seed=9, **options)
        again = train(other, x, **how, start=checkpoint)
        pd.testing.assert_frame_equal(
            history.drop(columns="seconds"), again.drop(columns="seconds"), check_exact=True
        )
        for a, b in zip(first.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b)


def test_every_bit_of_a_checkpoint_counts():
    checkpoint = Checkpoint(
        {"a": torch.arange(3.0), "b": torch.zeros(())}, [{"epoch": 1}], (6, 2, 32), 0.5
    )
    whole = checkpoint.pack()
    assert unpack(whole).history == [{"epoch": 1}]
    missed = []
    for bit in range(8 * len(whole)):
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << bit % 8
        try:
            found = unpack(bytes(spoilt))
        except ValueError:
            continue
        if found.history != [{"epoch": 1}] or not torch.equal(
            found.tensors["a"], torch.arange(3.0)
        ):
            missed.append(bit)
    assert missed == []


X = csr_array(np.random.default_rng(0).poisson(0.5, (40, 20)).astype(np.float32))
NARROW = {"encoder": [8], "branch": None, "decoder": [8]}


def findings(model, latent: np.ndarray) -> str:
    return "\n".join(diagnose(model, X, latent, batch_size=16, device=CPU))


def test_what_is_wrong_with_a_latent_space_is_said():
    latent = np.random.default_rng(1).normal(size=(40, 3))
    model = build("vae", 20, 3, seed=0, **options_of("vae", beta=1.0, **NARROW))
    assert findings(model, latent) == ""
    with torch.no_grad():
        for head in (model.mu, model.sigma):
            head.weight[1:].zero_()
            head.bias[1:].zero_()
    assert "2 of 3 latent features tell nothing" in findings(model, latent)
    assert "latent_dim=1 may help" in findings(model, latent)
    with torch.no_grad():
        for head in (model.mu, model.sigma):
            head.weight.zero_()
            head.bias.zero_()
    assert "posterior collapse" in findings(model, latent)
    model = build("vsc", 20, 3, seed=0, **options_of("vsc", beta=1.0, **NARROW))
    with torch.no_grad():
        model.gate.bias.copy_(torch.tensor([99.0, -1.0, -1.0]))
        model.gate.weight.zero_()
    assert (
        "1 of 3 latent features are on for every cell: gates of 1; model.gate=sigmoid"
        in findings(model, latent)
    )
    latent[:, 1:] = 0
    assert "2 of 3 latent features are the same" in findings(model, latent)


def test_fewer_clusters_than_asked_for_is_said(scvae, tmp_path):
    """Cells of two kinds, all of a kind alike."""
    table = pd.DataFrame(np.repeat([[9, 0, 1], [0, 9, 1]], 10, axis=0), columns=list("xyz"))
    table.index = [f"c{i}" for i in range(20)]
    table.to_csv(tmp_path / "t.csv")
    result = scvae(
        "train", "data=file", "data.path=t.csv", "model=pca", "latent_dim=2", "map_3d=false",
        "cluster.n_clusters=5", "tsne.perplexity=5", "tsne.max_iter=250", "hydra.run.dir=r",
    )  # fmt: skip
    said = "k-means finds 2 clusters on the latent space, of the 5 asked for"
    assert said in result.err
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    assert said in record["warnings"]


def test_only_one_process_writes_to_a_folder(tmp_path):
    record = {"status": "running", "command": "scvae train", "versions": versions(), "git": None}
    first = RunWriter(tmp_path, record)
    with pytest.raises(InputError) as caught:
        RunWriter(tmp_path, record, resumes=Run(tmp_path))
    assert (caught.value.kind, caught.value.value) == (Kind.BUSY, tmp_path)
    first.end(status="failed")
    RunWriter(tmp_path, record, resumes=Run(tmp_path)).end(status="done")
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
