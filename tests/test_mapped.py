"""Values that lie on disk: the same results, nothing left over, and what a full disk leads to."""

import json
import mmap
import os
import shutil

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import PLAIN
from scipy.sparse import csr_array, csr_matrix

from benchmarks.faults import disks
from scvae_cli import mapped
from scvae_cli.data import pieces, space_for, streamed
from scvae_cli.data.announcer import Announcer
from scvae_cli.data.asked import Options
from scvae_cli.data.dataset import Recipe, labelled
from scvae_cli.data.holdout import split_molecules
from scvae_cli.errors import InputError, Kind
from scvae_cli.launch.compose import compose
from scvae_cli.mapped import Collected, is_mapped, will_need
from scvae_cli.models.batches import place
from scvae_cli.rows import Rows
from scvae_cli.runs.run import Run
from scvae_cli.runs.same import essential

N, GENES = 300, 60
QUICK = [*PLAIN, "tsne.max_iter=250", "tsne.perplexity=10", "cluster.n_init=2"]
WORDS = ["train", "data=file", "data.path=c.h5ad", "data.genes=30", "data.label_key=kind", *QUICK]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Files of these tests are large, and pieces small."""
    monkeypatch.setattr(streamed, "LARGE", 0)
    monkeypatch.setattr(pieces, "PIECE", 3000)


@pytest.fixture
def path(tmp_path):
    rng = np.random.default_rng(0)
    x = csr_matrix(rng.poisson(rng.gamma(0.3, 4.0, GENES), (N, GENES)), dtype=np.float32)
    obs = pd.DataFrame({"kind": list("uvw") * 100}, index=[f"c{i}" for i in range(N)])
    anndata.AnnData(x, obs).write_h5ad(tmp_path / "c.h5ad")
    return tmp_path / "c.h5ad"


def asked(path, on_disk) -> Options:
    words = ["data=file", f"data.path={path}", "data.genes=30", f"data.on_disk={on_disk}"]
    values = compose(words).data.model_dump()
    return Options(**{key: values[key] for key in values if key not in ("name", "scale")})


def read(path, on_disk, folder):
    said: list[str] = []
    options = asked(path, on_disk)
    announcer = Announcer(said.append, said.append, lambda *n: None, folder)
    return streamed.read_in_pieces(options, announcer).x, " ".join(said)


def same(a, b):
    parts = "data", "indices", "indptr"
    return all(getattr(a, part).tobytes() == getattr(b, part).tobytes() for part in parts)


def test_a_file_on_disk_has_the_bytes_of_memory_and_no_name(path, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    ours, said = read(path, "true", folder)
    theirs, nothing = read(path, "false", folder)
    assert is_mapped(ours)
    assert not is_mapped(theirs)
    assert same(ours, theirs)
    assert f"on disk (0.0 GB in {folder}" in said
    assert "on disk" not in nothing
    assert list(folder.iterdir()) == []  # so that it goes with the process
    for of in (csr_matrix(ours), csr_array(ours), csr_array(csr_matrix(ours))):
        assert mapped._map_of(of.data) is not None  # scipy copies nothing


@pytest.mark.parametrize(("free", "on_disk"), [(1e9, False), (5e4, True)])
def test_values_go_to_disk_if_they_would_take_half_of_the_free_memory(
    path, tmp_path, monkeypatch, free, on_disk
):
    monkeypatch.setattr(space_for, "free_memory", lambda: free)
    x, _ = read(path, "auto", tmp_path)
    assert 8 * x.nnz * 2 > 5e4
    assert is_mapped(x) == on_disk
    assert not is_mapped(read(path, "auto", None)[0])  # where nobody names a folder


def test_a_run_gives_the_same_bytes(path, scvae, tmp_path):
    words = [*WORDS, "model=vae", "likelihood=nb", "epochs=2", "validation=cells", "batch_size=64"]
    for on_disk in ("true", "false"):
        result = scvae(*words, f"data.on_disk={on_disk}", f"hydra.run.dir=disk-{on_disk}")
        assert result.code == 0, result.err
    ours, others = (
        {p.name: p.read_bytes() for p in (tmp_path / name).iterdir() if p.is_file()}
        for name in ("disk-true", "disk-false")
    )
    assert {*ours} == {*others}
    for name in ("latent.csv", "cells.csv", "model.safetensors", "scores.json", "genes.csv"):
        assert ours[name] == others[name], name
    settings = [essential(Run(tmp_path / name).settings) for name in ("disk-true", "disk-false")]
    assert settings[0] == settings[1]  # where values lie is nothing that a result depends on


def test_molecules_that_are_left_lie_on_disk_too(tmp_path):
    rng = np.random.default_rng(1)
    counts = rng.poisson(2.0, (N, GENES))
    totals = counts.sum(axis=1) + 50
    x = csr_array(np.log1p(counts / totals[:, None] * 1e4).astype(np.float32))
    names = np.array([f"c{i}" for i in range(N)]), np.array([f"g{i}" for i in range(GENES)])
    cells = labelled("mine", x, np.full(N, "T"), *names, Recipe("counts", 1e4, totals))
    parts = [split_molecules(cells, 0.3, 0, folder) for folder in (tmp_path, None)]
    (left, held), (in_memory, too) = parts
    assert is_mapped(left.x)
    assert is_mapped(held)
    assert same(left.x, in_memory.x)
    assert same(held, too)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_are_needed_next_are_asked_for(tmp_path, monkeypatch):
    """Every byte of their values and indices, and nothing beyond the files."""
    x = csr_array(np.random.default_rng(0).poisson(0.5, (4000, 30)).astype(np.float32))
    with Collected(x.shape, x.nnz, tmp_path) as collected:
        for start in range(0, 4000, 1000):
            collected.add(x[start : start + 1000])
        ours = collected.matrix()
    assert same(ours, x)
    wanted: list[tuple[int, int]] = []

    class Pages:
        def madvise(self, how, start, length):
            assert how == mmap.MADV_WILLNEED
            wanted.append((start, start + length))

    rows = np.array([3999, 0, 1777])
    monkeypatch.setattr(mapped, "_map_of", lambda values: Pages())
    will_need(ours, rows)
    ends = 4 * ours.indptr
    for part in (wanted[:3], wanted[3:]):
        for row, (start, stop) in zip(rows, part, strict=True):
            assert start % mmap.PAGESIZE == 0
            assert start <= ends[row]
            assert stop == ends[row + 1]
    monkeypatch.undo()
    monkeypatch.setattr(Rows, "will_need", lambda rows, index: wanted.append(tuple(index)))
    for values in (x, ours):
        wanted.clear()
        place(values, None, None, torch.device("cpu")).expect(torch.tensor([5, 2]))
        assert wanted == ([(5, 2)] if values is ours else [])


@pytest.fixture
def small_disk(tmp_path):
    if not disks.may_mount():
        pytest.skip("this process may not mount a small disk")
    with disks.small_disk(tmp_path, 2**17) as disk:
        yield disk


def test_a_disk_that_fills_up_while_values_are_written(path, scvae, small_disk, monkeypatch):
    """Of which it seemed to have room: others write there, too."""
    taken = small_disk / "taken"
    taken.write_bytes(b"0" * 14 * 2**12)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9e9, 0, 9e9))
    monkeypatch.setattr("scvae_cli.runs.writer.RESERVE", 2**15)
    run = small_disk / "r"
    words = [*WORDS, "model=pca", "latent_dim=2", "data.on_disk=true", f"hydra.run.dir={run}"]
    result = scvae(*words)
    assert result.code == 1
    assert [line for line in result.err.splitlines() if "No space left on device" in line]
    assert "Traceback" not in result.err
    record = json.loads((run / "run.json").read_text())
    assert (record["status"], record["stage"]) == ("failed", "load")
    named = 512 * sum(file.stat().st_blocks for file in small_disk.rglob("*") if file.is_file())
    disk = os.statvfs(small_disk)
    assert (disk.f_blocks - disk.f_bfree) * disk.f_bsize <= named + 2**13  # no values


def test_a_disk_without_room_is_refused(path, scvae, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 0, 9))
    result = scvae(*WORDS, "data.on_disk=true", "hydra.run.dir=r")
    assert "on the disk of" in result.refused(Kind.UNAVAILABLE, "data.on_disk")
    assert not (tmp_path / "r").exists()


def test_a_file_that_is_cut_while_values_are_written(path, scvae, tmp_path, monkeypatch):
    add = Collected.add

    def cut(self, x):
        if self.n_values + x.nnz == self.most:  # else there is more to read, of which nothing is
            os.truncate(path, path.stat().st_size // 2)
        add(self, x)

    monkeypatch.setattr(Collected, "add", cut)
    result = scvae(*WORDS, "data.on_disk=true", "model=pca", "latent_dim=2", "hydra.run.dir=r")
    assert result.code == 1, result.err
    assert result.error is not None, result.err
    assert result.error.kind == Kind.DIFFERS
    assert "Traceback" not in result.err
    assert json.loads((tmp_path / "r" / "run.json").read_text())["status"] == "failed"


def test_z_scores_are_not_for_the_disk(path, scvae):
    scvae(*WORDS, "data.on_disk=true", "data.scale=10").refused(Kind.CONFLICT, "data.on_disk")


def test_what_is_read_whole_goes_to_disk_if_asked(path, tmp_path, monkeypatch):
    from scvae_cli.data.sources import load

    monkeypatch.setattr(streamed, "LARGE", 10**9)
    words = ["data=file", f"data.path={path}", "data.label_key=kind"]
    ours, theirs = (
        load(**compose([*words, f"data.on_disk={there}"]).data.model_dump(), folder=tmp_path)
        for there in ("true", "auto")
    )
    assert is_mapped(ours.x)
    assert not is_mapped(theirs.x)
    assert ours.fingerprint() == theirs.fingerprint()


def test_no_folder_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        Collected((1, 1), 1, tmp_path / "nowhere")
    how = asked(tmp_path, "true"), Announcer(print, print, print, tmp_path)
    with pytest.raises(InputError) as caught:
        space_for.folder_for(10**15, *how)
    assert caught.value.kind == Kind.UNAVAILABLE
