"""Shared by all tests: the command, as a person would use it, and the real data if any."""

import gc
import json
import os
import re
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from scvae_cli import CONF
from scvae_cli.cli import main
from scvae_cli.errors import Kind, UserError

if "PYTEST_XDIST_WORKER" in os.environ:  # tests beside each other, each on one core
    os.environ |= {"OMP_NUM_THREADS": "1", "LOKY_MAX_CPU_COUNT": "1"}

# Python looks for garbage after every 700 objects: some 10 % of a run that is as short as here.
gc.set_threshold(50_000, 20, 20)

# The files that take longest come first, so that processes beside each other end together.
LONGEST = [
    "test_sweep.py", "test_run.py", "test_faults.py", "test_report.py", "test_readme.py",
    "test_files.py", "test_pbmc3k.py", "test_choose.py", "test_team.py", "test_paper.py",
    "test_stores.py", "test_hostile.py", "test_likelihoods.py", "test_covariates.py",
    "test_trained.py", "test_tampered.py", "test_export.py", "test_notebook.py", "test_loggers.py",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort tests by their file."""
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


def representative(values: Iterable[Any], kept: int = 1) -> list[Any]:
    """Values that are like each other, all but the first of them marked as slow.

    A tuple has a value for each of several parameters.
    """
    each = [value if isinstance(value, tuple) else (value,) for value in values]
    later = [pytest.param(*value, marks=pytest.mark.slow) for value in each[kept:]]
    return [*(pytest.param(*value) for value in each[:kept]), *later]


PLAIN = ["map_3d=false", "figures.format=null"]  # for tests that look at neither
DRAWN = ["figures.format=png"]  # after it, for tests that look at figures
# A run of seconds whose cells are told apart by a trained model and not by an untrained one.
SMALL = [
    "data=synthetic",
    "data.n_cells=300",
    "data.n_genes=200",
    "data.n_types=4",
    "data.umis=300",
    "data.gene_sd=1",
    "data.markers=0.2",
    "data.fold=6",
    "batch_size=64",
    "lr=0.002",
    "cluster.n_init=10",
    "tsne.max_iter=300",
    "figures.dpi=60",
    *PLAIN,
]
# Half as many cells, whose map takes half the time, for tests that do not look at what was learnt.
FAST = [*SMALL, "data.n_cells=150", "epochs=2"]


def options_of(name: str, **changes: object) -> dict[str, object]:
    """A model's options as conf/ has them, but for changes; widths as small as tests like."""
    options = OmegaConf.to_container(OmegaConf.load(CONF / "model" / f"{name}.yaml"))
    del options["name"]
    if "encoder" in options:
        options["likelihood"] = "gaussian"
    if "sigma" in options:
        options["beta"] = 2.0
    return {**options, **changes}


@dataclass
class Result:
    code: int
    out: str
    err: str
    error: UserError | None = None  # the last one that was made, in this process

    def refused(self, kind: Kind, key: str | None = None) -> str:
        """Check that bad input was refused in one line, for this reason; return the line."""
        assert self.error is not None, self.err
        assert (self.code, self.error.kind, self.error.key) == (2, kind, key), self.err
        lines = [line for line in self.err.splitlines() if line.startswith("scvae: ")]
        assert lines == [f"scvae: {self.error}"]
        assert "Traceback" not in self.err
        return lines[0]


PAGE = (Path(__file__).parents[1] / "docs" / "pipelines.md").read_text()


def told_as_json(result: Result, command: str) -> dict:
    """What a command printed, which must be JSON and nothing else, under the keys of the page."""
    assert all(line.startswith("warning: ") for line in result.err.splitlines()), result.err
    value = json.loads(result.out, parse_constant=pytest.fail)
    rows = PAGE.split(f"\n`scvae {command} --json`\n")[1].split("\n`scvae")[0].split("\n## ")[0]
    heads = re.findall(r"^\| (`.*?) \|", rows, re.M)
    assert {*value} == {key for head in heads for key in re.findall(r"`(\w+)`", head)}
    return value


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """A cache for all tests, and not the user's."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["SCVAE_CACHE_DIR"] = str(folder)
    return folder


@pytest.fixture(autouse=True, scope="session")
def interruptible():
    """Signals reach what tests start, also where they were ignored for them (nohup, `... &`)."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def run_of(tmp_path_factory):
    """Makes the run of these settings, once for all tests that ask for it.

    They read it, or change a copy.
    """
    made: dict[tuple[str, ...], Path] = {}

    def make(*settings: str) -> Path:
        if settings not in made:
            folder = tmp_path_factory.mktemp("run")
            words = ["train", *settings, "hydra.run.dir=r"]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("sys.argv", ["scvae", *words])
                patch.chdir(folder)
                main(words)
            made[settings] = folder / "r"
        return made[settings]

    return make


class Here:
    """Does in this process what a worker does in its own, which takes seconds to start."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    def close(self) -> None:
        pass


@pytest.fixture
def scvae(capfd, monkeypatch, tmp_path):
    """Runs `scvae ARGUMENTS` in this process, jobs of sweeps too, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scvae_cli.launch.sweep.Worker", Here)

    errors: list[UserError] = []
    make = UserError.__init__

    def record(error: UserError, *arguments: object) -> None:
        make(error, *arguments)
        errors.append(error)

    monkeypatch.setattr(UserError, "__init__", record)

    def run(*arguments: str) -> Result:
        capfd.readouterr()
        errors.clear()
        monkeypatch.setattr("sys.argv", ["scvae", *arguments])
        code = 0
        try:
            main(list(arguments))
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capfd.readouterr()
        return Result(code, captured.out, captured.err, errors[-1] if errors else None)

    return run


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data that tests may use."""
    folder = os.environ.get("SCVAE_DATA_DIR")
    if not folder:
        pytest.skip("SCVAE_DATA_DIR is not set")
    return Path(folder)
