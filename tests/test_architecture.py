"""Imports go one way: cli -> launch -> pipeline -> stages; one library, one door."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "scvae_cli"
LEAVES = {
    "arguments", "atomic", "caches", "errors", "batches", "dataset", "signals", "strangers",
    "threads", "visible",
}  # fmt: skip
ALLOWED = {
    "worker": {"streams"},
    "cli": {"apply", "compare", "launch", "paper", "show", "streams", "sweep", "verify"},
    "verify": {"config", "console", "launch", "provenance", "run_dir"},
    "apply": {"config", "console", "files", "launch", "run_dir", "trained"},
    "trained": {"config", "embed", "files", "models", "preprocess", "run_dir", "values"},
    "show": {"console", "data", "launch", "run_dir", "summary"},
    "run_dir": {"record"},
    "sweep": {
        "compare", "config", "console", "data", "launch", "presets", "provenance", "run_dir",
        "summary", "worker",
    },
    "compare": {"config", "console", "run_dir", "summary"},
    "summary": {"config", "figures", "provenance", "report", "run_dir", "stats"},
    "report": {"figures"},
    "paper": {"console", "launch", "reproduction", "run_dir"},
    "reproduction": {"audit", "evidence", "paper_figures", "run_dir", "stats"},
    "paper_figures": {"evidence", "figures", "run_dir", "stats"},
    "evidence": {"cluster", "data", "run_dir", "score"},
    "launch": {"config", "console", "pipeline", "presets", "provenance", "run_dir", "summary"},
    "pipeline": {
        "checkpoint", "cluster", "config", "console", "data", "diagnose", "embed", "figures",
        "models", "run_dir", "score", "sparsity", "train", "tsne",
    },
    "celltypes": {"neighbours"},
    "data": {"celltypes", "files", "preprocess", "tables", "tenx", "values"},
    "files": {"mtx", "stores", "tables", "values"},
    "mtx": {"tables"},
    "batches": {"losses"},
    "models": {"likelihoods", "losses"},
    "train": {"checkpoint", "losses", "models"},
    "diagnose": {"losses", "models", "tsne"},
    "embed": {"models"},
    "sparsity": {"models"},
}  # fmt: skip
DOORS = {"matplotlib": {"figures"}, "rich": {"console"}, "hydra": {"launch", "presets", "sweep"}}
MODULES = sorted(p.stem for p in PACKAGE.glob("*.py") if not p.stem.startswith("__"))


def imported(module: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    ours = {name.split(".")[1] for name in imported(module) if name.startswith("scvae_cli.")}
    assert (ours & set(MODULES)) - LEAVES <= ALLOWED.get(module, set())


@pytest.mark.parametrize("library", DOORS)
def test_one_library_one_door(library):
    users = {m for m in MODULES if any(n.split(".")[0] == library for n in imported(m))}
    assert users == DOORS[library]


def test_there_is_no_utils():
    assert not {"utils", "helpers", "common", "misc"} & set(MODULES)


def test_a_run_does_not_wait_for_what_it_may_not_need():
    slow = ["igraph", "matplotlib", "plotly", "scanpy"]
    code = f"import scvae_cli.pipeline, sys; print([m for m in {slow} if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
