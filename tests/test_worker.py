"""The process beside a sweep: what it returns and raises, and what its death costs."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from posix import _exit

import pandas as pd
import pytest
from conftest import FAST

from scvae_cli.launch.worker import Worker, WorkerDiedError


def test_a_worker_returns_raises_and_starts_again_after_its_death():
    with Worker() as worker:
        assert worker.call(math.hypot, 3.0, 4.0) == 5.0
        first = worker.call(os.getpid)
        assert first != os.getpid()
        with pytest.raises(ValueError, match="math domain"):
            worker.call(math.sqrt, -1.0)
        assert worker.call(os.getpid) == first
        with pytest.raises(WorkerDiedError, match="exit code 3"):
            worker.call(_exit, 3)  # not os._exit: `make coverage` has another there
        with pytest.raises(WorkerDiedError, match="SIGSEGV"):
            worker.call(signal.raise_signal, signal.SIGSEGV)
        assert worker.call(os.getpid) not in (first, os.getpid())


def children(pid: int) -> list[int]:
    """Processes that this one started."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123
        return [int(word) for word in file.read().split()]


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs /proc")  # noqa: PTH110
def test_a_job_whose_process_is_killed_costs_only_itself(tmp_path):
    grid = [*FAST, "tsne.max_iter=250", "model=vae", "epochs=100000,2"]
    command = [sys.executable, "-m", "scvae_cli", "train", "-m", *grid, "hydra.sweep.dir=s"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    (first, second) = "000-vae-synthetic-epochs100000", "001-vae-synthetic-epochs2"
    record = tmp_path / "s" / first / "run.json"
    while process.poll() is None and not (
        record.exists() and json.loads(record.read_text()).get("stage") == "train"
    ):
        time.sleep(0.02)
    # The worker, and multiprocessing's tracker of resources.
    victims = [
        child for child in children(process.pid)
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]  # fmt: skip
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    told = process.communicate()[1]
    assert process.returncode == 1
    rows = pd.read_csv(tmp_path / "s" / "results.csv").set_index("run")
    assert rows["status"].to_dict() == {first: "failed", second: "done"}
    assert rows.loc[first, "reason"].startswith("its process ended: killed")
    assert "1 of 2 runs have no result" in told
    assert not [*(tmp_path / "s" / first).glob(".[lr]*")]  # neither a lock nor a reserve stays
