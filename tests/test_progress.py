"""What a person sees while a run or a sweep is under way."""

import io
import json
import re
from types import SimpleNamespace

import pytest
from rich.console import Console as Rich

from scvae_cli import console as shown
from scvae_cli.console import Console, Jobs
from scvae_cli.launch.watch import Watch
from scvae_cli.runs import writer as writing
from scvae_cli.runs.writer import RunWriter

RECORD = {"status": "running", "versions": {}, "command": "scvae train"}


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 80 columns, with what was written to it."""
    file = io.StringIO()

    def rich(*, quiet=False, **options):
        return Rich(file=file, force_terminal=True, width=80, color_system=None, quiet=quiet)

    monkeypatch.setattr(shown, "Rich", rich)
    return file


def lines(file) -> list[str]:
    """Lines that were drawn, without the terminal's control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", file.getvalue()).replace("\r", "\n").split("\n")


def test_a_stage_shows_how_far_it_is_and_reports_it(terminal):
    told: list[str] = []
    with Console().stage("tsne_2d", told.append) as stage:
        for done in (0, 50, 100):
            stage.step(done, 200, "iteration")
            stage._bar.progress.refresh()
        row = {"epoch": 3, "reconstruction": 12345.678, "kl": 4.321, "total": 12350.0}
        stage.progress({**row, "validation": 1e4}, 200)
        stage._bar.progress.refresh()
        stage.say("done")
    assert told == [*(f"iteration {n} of 200" for n in (0, 50, 100)), "epoch 3 of 200"]
    drawn = lines(terminal)
    assert any("t-SNE 2-D" in line and "iteration 100 of 200" in line for line in drawn)
    assert any(re.search(r"iteration 100 of 200 +\(\d+ s left\)", line) for line in drawn)
    assert any(re.search(r"epoch 3 of 200, loss 12350", line) for line in drawn)
    assert any(re.fullmatch(r"  t-SNE 2-D done +took \d+\.\d s", line) for line in drawn)
    assert max(map(len, drawn)) <= 80


def test_quiet_shows_only_what_went_wrong_and_the_folder(terminal, tmp_path):
    console = Console(quiet=True, live=False)
    with console.busy("loading"), console.stage("train") as stage:
        stage.progress({"epoch": 3, "reconstruction": 1.0, "kl": 1.0, "total": 2.0}, 4)
    with console.jobs(3, 0) as jobs:
        jobs.update(1, ["one"], 0, 1, None)
        jobs.ended("[1/3] a job that is done")
        jobs.ended("[2/3] a job that failed", failed=True)
        jobs.ended("[3/3] a job", ["that warns"])
    console.line("a line")
    console.table([{"a": "table"}])
    console.facts([("a", "fact")])
    console.scores({"2-D map": {"nmi": 0.5}})
    console.warn("a warning")
    console.error("an error")
    console.folder(tmp_path)
    assert terminal.getvalue().splitlines() == [
        "[2/3] a job that failed", "[3/3] a job", "    warning: that warns",
        "warning: a warning", "scvae: an error", str(tmp_path),
    ]  # fmt: skip


def test_a_record_tells_how_far_its_stage_is(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "SELDOM", 0.0)
    writer = RunWriter(tmp_path, RECORD)

    def record():
        return json.loads((tmp_path / "run.json").read_text())

    writer.note_progress("epoch 3 of 9")
    assert record()["progress"] == "epoch 3 of 9"
    monkeypatch.setattr(writing, "SELDOM", 100.0)
    writer.note_progress("epoch 4 of 9")
    assert record()["progress"] == "epoch 3 of 9"
    monkeypatch.setattr(writing, "SELDOM", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(writing, "write_file", no_room)
        writer.note_progress("epoch 5 of 9")  # no reason to end the run
    writer.end(status="done")
    assert "progress" not in record()


def no_room(*_):
    raise OSError(28, "No space left on device")


def test_a_sweep_shows_what_its_jobs_do(terminal, tmp_path):
    names = [f"00{i}-vae-synthetic-beta{i}" for i in range(3)]
    for name, progress in zip(names[:2], ("epoch 20 of 200", None), strict=True):
        (tmp_path / name).mkdir()
        record = {**RECORD, "stage": "train" if progress else "tsne_3d", "progress": progress}
        (tmp_path / name / "run.json").write_text(json.dumps(record))
    plan = [SimpleNamespace(name=name) for name in names]
    view = Jobs(
        Rich(file=terminal, force_terminal=True, width=80, color_system=None), 3, 0,
        quiet=False, live=True,
    )  # fmt: skip
    with view.shown:
        Watch(SimpleNamespace(folder=tmp_path, plan=plan, done=[]), view)._look()
    drawn = [line.rstrip() for line in lines(terminal)]
    assert any(line.endswith("0 done, 2 running, 0 failed, 1 waiting") for line in drawn)
    assert f"  {names[0]}: train, epoch 20 of 200" in drawn
    assert f"  {names[1]}: t-SNE 3-D" in drawn
