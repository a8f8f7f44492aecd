"""One training by two processes that torchrun starts, against the same by one process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FAST
from safetensors.numpy import load_file

TINY = [*FAST, "cluster.n_init=1"]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
MODELS = {
    "vsc": ["model=vsc", "batch_size=200"],  # 300 cells: batches of two sizes
    "counts": ["model=vae", "likelihood=nb", "updates=9", "epochs=null", "validation=molecules",
               "validation_share=0.2", "batch_size=299"],  # whose last batch is of one cell
}  # fmt: skip


def start(folder: Path, *words: str) -> subprocess.Popen:
    team = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    command = [sys.executable, *team, "-m", "scvae_cli", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    environment["FORCE_COLOR"] = "1"  # as notebooks have it
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


def children(pid: int) -> list[int]:
    asked = ["pgrep", "-P", str(pid)]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    return [int(child) for child in done.stdout.split()]


def environment_of(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def trained(folder: Path) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    history = pd.read_csv(folder / "history.csv").drop(columns="seconds")
    return history, load_file(folder / "model.safetensors")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
@pytest.mark.parametrize("name", [pytest.param("vsc", marks=pytest.mark.slow), "counts"])
def test_two_processes_train_as_one_does(run_of, tmp_path, name, device):
    """On one GPU, too, which they share."""
    words = [*TINY, *MODELS[name], f"device={device}"]
    process = start(tmp_path, "train", *words, "hydra.run.dir=2")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert err.count("k-means on") + out.count("k-means on") == 1  # one of them speaks
    assert "\x1b[" not in out + err  # where there is no terminal, nothing moves
    (history, weights), (other, others) = trained(run_of(*words)), trained(tmp_path / "2")
    assert np.allclose(history, other, rtol=1e-3, atol=1e-4), (history - other).abs().max()
    assert weights.keys() == others.keys()
    for key in weights:
        assert np.allclose(weights[key], others[key], rtol=1e-2, atol=1e-4), key
    record = json.loads((tmp_path / "2" / "run.json").read_text())
    assert (record["processes"], record["device"]) == (2, device)


def test_a_process_that_dies_ends_the_run_with_a_checkpoint(tmp_path):
    words = [*TINY, "model=vae", "epochs=100000", "device=cpu", "hydra.run.dir=r"]
    process = start(tmp_path, "train", *words)
    record = tmp_path / "r" / "run.json"
    until = time.monotonic() + 120
    while not (
        record.exists() and "epoch" in (json.loads(record.read_text()).get("progress") or "")
    ):
        assert time.monotonic() < until
        time.sleep(0.2)
    (other,) = (c for c in children(process.pid) if b"RANK=1" in environment_of(c))
    os.kill(other, signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    told = json.loads(record.read_text())
    assert told["status"] == "failed"
    # On a slow machine torchrun ends this process before it has noticed.
    lost = "another process of the training has ended; resume=FOLDER continues"
    assert told["reason"] in (lost, "interrupted")
    assert (tmp_path / "r" / "checkpoint.safetensors").exists()
    assert err.count("scvae: ") == 1


@pytest.mark.parametrize("words", [["show", "r"], ["train", "-m", "seed=1,2"]])
def test_what_several_processes_cannot_do(scvae, monkeypatch, words):
    for key, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(key, value)
    result = scvae(*words)
    assert result.code == 2
    assert "start it without torchrun" in result.err
