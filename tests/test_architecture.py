"""The rooms of the house and what each may import; one library, one door."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "scvae_cli"
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if not path.name.startswith("__")
)
# Small modules of the package itself that stand below every room.
GROUND = {
    "atomic", "caches", "columns", "covariates", "errors", "garbage", "interrupts", "mapped",
    "measures", "options", "processes", "rows", "streams", "threads", "untrusted", "visible",
    "widths",
}  # fmt: skip
# What each room, or module of the package itself, may import beside itself and the ground.
# "analysis.stats" stands for that module alone.
RULES = {
    "commands": {
        "analysis", "choice", "config", "console", "data", "launch", "models", "paper", "results",
        "runs", "saved", "trained", "settings"},
    "launch": {"config", "console", "data", "pipeline", "results", "runs", "settings"},
    "paper": {"analysis", "data", "results", "runs"},
    "choice": {"analysis", "data", "results", "runs", "saved", "trained"},
    "results": {"analysis.stats", "runs"},
    "pipeline": {"config", "console", "runs", "stages"},
    "stages": {"analysis", "config", "console", "data", "models", "results", "runs", "settings"},
    "runs": set(),
    "data": set(),
    "models": set(),
    "analysis": {"models"},
    "trained": {"analysis", "config", "data", "models", "results.figures.loss_panel", "runs"},
    "saved": {"analysis", "models", "runs", "settings", "trained"},
    "fitting": {
        "config", "console", "data", "launch", "notebook", "pipeline", "runs", "saved",
        "trained"},
    "notebook": {"console"},
    "cli": {"commands", "launch"},
    "config": set(),
    "settings": {"config"},
    "console": set(),
}  # fmt: skip
DOORS = {
    "matplotlib": {"results"}, "rich": {"console"}, "hydra": {"launch"},
    "jinja2": {"results"}, "scanpy": {"data"}, "seaborn": {"results"},
    "mlflow": {"stages"}, "umap": {"analysis"}, "IPython": {"notebook"}, "numba": {"models"},
}  # fmt: skip
LONGEST_MODULE, LONGEST_FUNCTION = 300, 45


def room(module: str) -> str:
    return module.split(".")[0]


@cache
def imported(module: str) -> frozenset[str]:
    """Modules, other than the module's own, that it imports anywhere; ours without scvae_cli."""
    names = set()
    for node in ast.walk(ast.parse(source(module))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return frozenset(name.removeprefix("scvae_cli.") for name in names)


def source(module: str) -> str:
    return (PACKAGE / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


def ours(module: str) -> frozenset[str]:
    """Modules of ours that it imports."""
    return imported(module) & {*MODULES}


@pytest.mark.parametrize("name", RULES)
def test_a_room_imports_only_what_its_rule_allows(name):
    allowed = RULES[name] | GROUND | {name}
    wrong = {
        (module, other)
        for module in MODULES
        if room(module) == name
        for other in ours(module)
        if room(other) not in allowed and other not in allowed
    }
    assert wrong == set()


def test_every_module_is_in_a_room():
    assert {room(module) for module in MODULES} <= {*RULES, *GROUND}


def test_the_ground_imports_nothing_above_it():
    assert all(ours(module) <= GROUND for module in GROUND)


def test_no_imports_in_a_circle():
    left = {module: ours(module) for module in MODULES}
    while free := {module for module, others in left.items() if not others & {*left}}:
        left = {module: others for module, others in left.items() if module not in free}
    assert left == {}


@pytest.mark.parametrize("library", DOORS)
def test_one_library_one_door(library):
    users = {room(m) for m in MODULES if any(n.split(".")[0] == library for n in imported(m))}
    assert users <= DOORS[library]


def test_there_is_no_utils():
    names = {part for module in MODULES for part in module.split(".")}
    assert not {"utils", "helpers", "common", "misc"} & names


def test_no_module_and_no_function_is_long():
    long = []
    for module in MODULES:
        text = source(module)
        if (lines := text.count("\n")) > LONGEST_MODULE:
            long.append(f"{module}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long.append(f"{module}.{node.name}: {lines} lines")
    assert long == []


def test_a_run_does_not_wait_for_what_it_may_not_need():
    slow = ["igraph", "matplotlib", "requests", "scanpy", "umap"]
    code = f"import scvae_cli.pipeline, sys; print([m for m in {slow} if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
