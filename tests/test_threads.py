"""How many threads there are, how they wait, and where what is compiled is kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scvae_cli import caches
from scvae_cli.threads import available, for_step


@pytest.mark.parametrize(("value", "most"), [("1", 1), ("1,4", 1), ("100000", None), ("x", None)])
def test_omp_num_threads_is_a_limit(monkeypatch, value, most):
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert available() == min(most or 10**6, len(os.sched_getaffinity(0)))


def test_affinity_is_a_limit(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert available() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_small_step_takes_one_thread():
    assert for_step(8, batch_size=256, layer_size=765 * 128) == 1
    assert for_step(8, batch_size=256, layer_size=13_714 * 128) == 8


@pytest.mark.parametrize(
    ("environment", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")]
)
def test_threads_wait_asleep_unless_the_user_has_chosen(environment, policy):
    code = (
        "import os, sys\nfrom scvae_cli.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: pass\n"
        "print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    kept = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    told = subprocess.run(
        [sys.executable, "-c", code], env={**kept, **environment}, capture_output=True, text=True
    )
    assert told.stdout.splitlines()[-1] == f"{policy} False"


@pytest.mark.parametrize(
    ("writable", "given"),
    [({"scanpy"}, None), ({"numba"}, None), (set(), None), (set(), "/somewhere")],
)
def test_numba_has_a_place_for_what_it_compiles(monkeypatch, writable, given, tmp_path):
    """Where neither scanpy's folder nor the user's cache can be written, one of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", given or "")
    monkeypatch.setattr(caches, "_can_write", lambda folder: folder.name in writable)
    caches.let_numba_cache()
    there = os.environ["NUMBA_CACHE_DIR"]
    if writable or given:
        assert there == (given or "")
    else:
        assert Path(there).stat().st_mode & 0o077 == 0  # nobody else can put code there
