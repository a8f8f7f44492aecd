"""What ends a command from outside: signals, closed pipes, full disks, folders that go away."""

import errno
import io
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from conftest import FAST

import scvae_cli
from benchmarks.command import ROOT
from benchmarks.faults import runs
from scvae_cli import atomic, interrupts, streams
from scvae_cli.atomic import clear, replacing, write_file
from scvae_cli.interrupts import HungUp, Terminated, exit_code, held, listening, undisturbed
from scvae_cli.launch.execute import fault
from scvae_cli.runs.claim import discard, lock, unlock
from scvae_cli.runs.provenance import versions
from scvae_cli.runs.run import Run
from scvae_cli.runs.writer import MOVED, RunWriter

HERE = os.getpid()


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [(signal.SIGHUP, HungUp, 129), (signal.SIGTERM, Terminated, 143)],
)
def test_the_first_signal_ends_and_later_ones_change_nothing(number, kind, code):
    recorded = []

    @listening()
    def work() -> None:
        try:
            os.kill(HERE, number)
        finally:
            os.kill(HERE, number)
            os.kill(HERE, signal.SIGHUP)
            recorded.append("why it ended")

    with pytest.raises(kind) as caught:
        work()
    assert recorded
    assert exit_code(caught.value) == code
    assert signal.getsignal(number) == signal.SIG_DFL


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listening(), held() as mark:
            os.kill(HERE, signal.SIGHUP)
        assert mark.came is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_is_held_is_not_ended_by_a_shell_that_hangs_up_twice():
    reached = []

    @listening()
    def work(number: int) -> None:
        with held() as mark:
            os.kill(HERE, number)
            os.kill(HERE, number)  # of Ctrl-C: a person who will not wait
            reached.append(mark.came)

    with pytest.raises(HungUp):
        work(signal.SIGHUP)
    assert reached == [HungUp]
    with pytest.raises(KeyboardInterrupt):
        work(signal.SIGINT)
    assert reached == [HungUp]


def test_nothing_disturbs_what_must_not_be():
    with undisturbed():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(HERE, number)
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_streams_do_not_fail():
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    like = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    for number, lost in ((writer, None), (full, errno.ENOSPC)):
        stream = streams.unfailing(number, like)
        for _ in range(3):
            print("\N{GREEK SMALL LETTER BETA}" * 10_000, file=stream, flush=True)
        error = streams.lost(stream)
        assert (error and error.errno) == lost
        os.close(number)


def test_what_has_no_bytes_is_written_all_the_same(tmp_path):
    with (tmp_path / "t").open("wb") as file:
        like = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        print(
            "\N{GREEK SMALL LETTER BETA}-cell \udcff ±1",
            file=streams.unfailing(file.fileno(), like),
        )
    assert (tmp_path / "t").read_bytes() == b"\\u03b2-cell \\udcff +-1\n"


@pytest.mark.parametrize(
    ("words", "redirected", "code", "said"),
    [
        (["--help"], ">&$CLOSED", 0, ""),
        (["train", "--help"], ">&$CLOSED", 0, ""),
        (["-sc", "query=bash"], ">&$CLOSED", 0, ""),
        (["--version"], ">/dev/full", 1, "scvae: standard output: No space left on device\n"),
        (["trian"], "2>/dev/full", 2, ""),
        (["--version"], ">&- 2>&-", 0, ""),
    ],
)
def test_nobody_reads(tmp_path, words, redirected, code, said):
    reader, writer = os.pipe()
    os.close(reader)
    line = f"exec {shlex.join([sys.executable, '-m', 'scvae_cli', *words])} {redirected}"
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "CLOSED": str(writer), "COMP_LINE": "scvae ",
    }  # fmt: skip
    result = subprocess.run(
        ["bash", "-c", line], env=environment, cwd=tmp_path, pass_fds=[writer], text=True,
        stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (result.returncode, result.stderr) == (code, said)


def test_a_run_whose_terminal_is_gone_is_done(tmp_path):
    """Its progress goes to a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    words = ["train", *FAST, "model=pca", "hydra.run.dir=r"]
    process = subprocess.run(
        [sys.executable, "-m", "scvae_cli", *words], cwd=tmp_path, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=writer, stderr=writer,
    )  # fmt: skip
    os.close(writer)
    assert process.returncode == 0
    assert '"status": "done"' in (tmp_path / "r" / "run.json").read_text()
    assert runs.leftovers(tmp_path / "r") == []


def test_ctrl_c_twice_is_no_traceback(tmp_path):
    """The second one while Python ends, which takes some tenths of a second after torch."""
    long = ["data=synthetic", "data.n_cells=3000", "model=vae", "epochs=4000"]
    process = runs.train(*long, "hydra.run.dir=r", cwd=tmp_path)
    while not (tmp_path / "r" / "genes.csv").exists() and process.poll() is None:
        time.sleep(0.05)
    for gap in (0.5, 0.05, 0.05, 0.05):
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        time.sleep(gap)
    code, said = runs.done(process)  # which looks for a traceback
    assert code == 130
    assert "`scvae train resume=r` continues it" in said


def test_a_file_is_whole_or_not_there(tmp_path):
    write_file(tmp_path / "a", b"old")

    def interrupted() -> None:
        with replacing(tmp_path / "a") as temporary:
            temporary.write_bytes(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"old"}
    with pytest.raises(OSError, match="No such file") as caught:
        write_file(tmp_path / "nowhere" / "a", b"")
    assert caught.value.filename == str(tmp_path / "nowhere" / "a")
    write_file(tmp_path / ("\N{GREEK SMALL LETTER BETA}" * 127), b"")  # of 254 bytes


def test_what_killed_writers_left_goes_and_what_living_ones_write_stays(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    place = atomic._place()
    names = {
        "dead": f".a.csv.writing-{place}-{ended.pid}-01234567",
        "living": f".a.csv.writing-{place}-{os.getppid()}-01234567",
        "elsewhere": ".a.csv.writing-76543210-1-01234567",
        "forgotten": ".b.h5ad.writing-76543210-1-01234567",
        "mine": ".writing-notes",
        "no number": f".a.csv.writing-{place}-x-01234567",
    }
    for name in names.values():
        (tmp_path / name).write_bytes(b"half")
    os.utime(tmp_path / names["forgotten"], (0, 0))

    def there() -> set[str]:
        return {key for key, name in names.items() if (tmp_path / name).exists()}

    write_file(tmp_path / "c", b"")
    assert there() == {"living", "elsewhere", "mine", "no number"}
    clear(tmp_path, locked=True)
    assert there() == {"living", "mine", "no number"}


@pytest.mark.parametrize("instead", [False, True])
def test_a_folder_that_was_moved_is_not_written_to(tmp_path, instead):
    """Also where another run has its place by now."""
    (tmp_path / "r").mkdir()
    record = {"status": "running", "command": "scvae train", "versions": versions(), "git": None}
    writer = RunWriter(tmp_path / "r", record)
    (tmp_path / "r").rename(tmp_path / "moved")
    if instead:
        (tmp_path / "r").mkdir()
        other = RunWriter(tmp_path / "r", record)
        before = {p.name: p.read_bytes() for p in (tmp_path / "r").iterdir()}
    writers = [
        lambda: writer.write_scores({}),
        lambda: writer.write_checkpoint(b""),
        lambda: writer.write_figure("loss", b""),
        lambda: writer.write_with("cells.h5ad", Path.touch),
        lambda: writer.end(status="failed"),
    ]
    for write in writers:
        with pytest.raises(OSError, match=MOVED) as caught:
            write()
    assert "continues it" in fault(caught.value, tmp_path / "r")
    assert (tmp_path / "r").exists() == instead
    if instead:
        assert {p.name: p.read_bytes() for p in (tmp_path / "r").iterdir()} == before
        other.end(status="done")
    moved = Run(tmp_path / "moved")
    RunWriter(moved.path, {"status": "running"}, resumes=moved).end()
    assert [p.name for p in (tmp_path / "moved").iterdir()] == ["run.json"]


def test_no_promise_to_resume_what_is_not_there(tmp_path):
    error = OSError(errno.EFBIG, "File too large", str(tmp_path / ".reserve"))
    assert "nothing was kept" in fault(error, tmp_path)
    assert "scvae train resume=" not in fault(error, tmp_path)
    (tmp_path / "run.json").write_text("{}")
    assert "resume" in fault(error, tmp_path)


def test_only_beginnings_of_runs_are_discarded(tmp_path):
    for name in ("run", "mine"):
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / "scvae.log").write_text("")
    (tmp_path / "mine" / "notes.txt").write_text("of a person")
    for name in ("run", "mine"):
        discard([tmp_path / name])
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    assert len(list((tmp_path / "mine").iterdir())) == 3


def test_one_of_several_has_an_empty_folder(tmp_path):
    """The others, which find it empty too, neither take nor discard it."""
    code = (
        "import sys; from pathlib import Path; from scvae_cli.runs.claim import claim\n"
        "sys.stdin.read(1)\n"
        "for i in range(40):\n"
        "    try: print(claim(Path(str(i)), exact=True)[0])\n"
        "    except Exception: pass\n"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            command, cwd=tmp_path, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]  # fmt: skip
    for process in processes:
        process.stdin.write("x")
        process.stdin.flush()
    taken = [name for process in processes for name in process.communicate()[0].split()]
    assert sorted(taken, key=int) == [str(i) for i in range(40)]


def test_a_folder_where_another_process_writes_is_not_discarded(tmp_path):
    (tmp_path / "r").mkdir()
    theirs = lock(tmp_path / "r")
    discard([tmp_path / "r"])
    assert (tmp_path / "r").is_dir()
    unlock(theirs)
    discard([tmp_path / "r"])
    assert not (tmp_path / "r").exists()


def test_interrupted_before_it_began(scvae, monkeypatch, tmp_path):
    """No folder stays behind, and nothing is said to go on from."""

    def hang_up(*_: object) -> None:
        raise HungUp

    monkeypatch.setattr("scvae_cli.launch.execute.versions", hang_up)
    result = scvae("train", *FAST, "hydra.run.dir=a/r")
    assert result.code == 129
    assert result.err == "scvae: the terminal was closed before the run began; nothing was kept\n"
    assert list(Path(tmp_path).iterdir()) == []


def test_ended_while_it_records_that_it_failed(scvae, monkeypatch, tmp_path):
    """As torchrun ends a process right after another one of its training was lost."""
    end = RunWriter.end

    def ended(writer: RunWriter, **what: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        end(writer, **what)

    monkeypatch.setattr(RunWriter, "end", ended)
    result = scvae("train", *FAST, "model=vae", "lr=1e30", "hydra.run.dir=r")
    assert result.code == 1
    run = Run(tmp_path / "r")
    assert (run.status, run.record["reason"]) == ("failed", str(result.error))


@pytest.fixture
def ignore_late(monkeypatch):
    """Let a signal come just as signals begin to be ignored; returns a list for its number."""
    ignore = interrupts.ignore
    number: list[int] = []

    def late() -> dict[int, Any]:
        if number:
            os.kill(HERE, number.pop())
        return ignore()

    monkeypatch.setattr(interrupts, "ignore", late)
    return number


@pytest.mark.parametrize("lr", ["1e-3", "1e30"])  # the run is done, or has failed
def test_ended_before_it_can_record_how_it_went(scvae, ignore_late, tmp_path, lr):
    """As Python frees a run's memory, which may take long, before it looks for signals."""
    ignore_late.append(signal.SIGTERM)
    result = scvae("train", *FAST, "model=vae", f"lr={lr}", "hydra.run.dir=r")
    assert result.code == 143
    assert result.err.count("scvae: ") == 1
    run = Run(tmp_path / "r")
    assert (run.status, run.record["reason"]) == ("failed", "interrupted")
    unlock(lock(tmp_path / "r"))


@pytest.mark.filterwarnings("ignore")  # five updates are few
def test_a_fit_that_is_ended_before_it_can_record_how_it_went(ignore_late, tmp_path):
    ignore_late.append(signal.SIGINT)
    cells = anndata.AnnData(np.random.default_rng(0).poisson(2.0, (80, 30)).astype(np.float32))
    settings = {"map_3d": False, "tsne.perplexity": 5}
    with pytest.raises(KeyboardInterrupt):
        scvae_cli.fit(cells, model="pca", folder=tmp_path / "r", settings=settings)
    run = Run(tmp_path / "r")
    assert (run.status, run.record["reason"]) == ("failed", "interrupted")
    unlock(lock(tmp_path / "r"))
