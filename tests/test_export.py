"""`scvae export`: a copy that works elsewhere, in which no file says where it was made."""

import base64
import errno
import getpass
import gzip
import html
import json
import platform
import re
import shutil
import socket
import sys
import zlib
from pathlib import Path
from urllib.parse import quote

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import PLAIN, representative
from PIL import Image
from scipy.sparse import csr_matrix

import scvae_cli
from scvae_cli.atomic import _place
from scvae_cli.cli import main
from scvae_cli.errors import Kind
from scvae_cli.launch.places import quoted
from scvae_cli.runs.files import json_text, read_json, sha256_of
from scvae_cli.runs.run import Run

USER, HOST = "quetzal7", "secrethost"
HOME = f"häuser & 'gärten'/{USER}"  # what JSON, HTML, YAML, shells and Hydra each write otherwise
DATA = "the <data> of 2026"
TINY = ["tsne.perplexity=5", "tsne.max_iter=250", "cluster.n_init=1", *PLAIN]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Somebody's home with a file of cells, a run of them and a sweep, in `work`."""
    home = tmp_path_factory.mktemp("export") / HOME
    (home / "work").mkdir(parents=True)
    (home / DATA).mkdir()
    _write_cells(home / DATA / "cells.h5ad", home)
    labels = pd.DataFrame({"cell": [f"c{i}" for i in range(60)], "type": ["a", "b"] * 30})
    labels.to_csv(home / DATA / "types.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        somebody(patch, home)
        patch.chdir(home / "work")
        words = ["model=vae", "epochs=2", "latent_dim=2", "model.encoder=[8]", "model.branch=null",
                 "model.decoder=[8]", *TINY]  # fmt: skip
        cells = [f"../{DATA}/cells.h5ad", f"data.labels={home / DATA / 'types.csv'}"]
        more = ["h5ad=true", "figures.format=svg", "logger=tensorboard", "multiqc=true",
                "output_dir='~/out'"]  # fmt: skip
        run, sweep = quoted(home / "work" / "first"), quoted(home / "work" / "sweep")
        for command in (
            ["train", *cells, *words, *more, f"hydra.run.dir={run}"],
            ["train", *cells, *words, "trained=../work/first", "hydra.run.dir=second"],
            ["train", "-m", *cells, *words, "seed=0,1", f"hydra.sweep.dir={sweep}"],
        ):
            patch.setattr("sys.argv", ["scvae", *command])
            main(command)
    with h5py.File(home / "work" / "first" / "cells.h5ad", "r+") as file:
        file["uns"].attrs["made in"] = f"{home}/some where"
    _accept(home / "work" / "first", "cells.h5ad")
    return home


def _accept(run: Path, name: str) -> None:
    """Writes a file's checksum into run.json as if the run had written the file so."""
    record = read_json(run, "run")
    record["files"][name] = sha256_of(run / name)
    (run / "run.json").write_bytes(json_text(record))


def somebody(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Makes this process somebody's, on a machine of that name."""
    patch.setenv("HOME", str(home))
    patch.setattr(getpass, "getuser", lambda: USER)
    patch.setattr(platform, "node", lambda: HOST)
    patch.setattr(socket, "gethostname", lambda: HOST)


def _write_cells(path: Path, home: Path) -> None:
    rng = np.random.default_rng(0)
    rates = rng.gamma(1.0, 2.0, (2, 20))[np.arange(60) % 2]
    obs = pd.DataFrame({"from": ["x", "y"] * 30}, index=[f"c{i}" for i in range(60)])
    cells = anndata.AnnData(csr_matrix(rng.poisson(rates).astype(np.float32)), obs)
    cells.uns["image"] = {"path": str(home / DATA / "tissue.png"), "other": "/nfs/lab/x y.png"}
    cells.uns["many"] = np.array([f"{home}/a.png", "kept"])
    cells.write_h5ad(path)


def _full_disk(run) -> str:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def exported(scvae, home, tmp_path, monkeypatch):
    """Exports a run or the sweep, and returns the copy."""

    def export(name: str) -> Path:
        with monkeypatch.context() as patch:
            somebody(patch, home)
            patch.chdir(home / "work")
            result = scvae("export", name, "--to", str(tmp_path / "copy"))
            assert result.code == 0, result.err
            assert "new checksums: run.json, config.yaml" in result.err
        return tmp_path / "copy"

    return export


def forms(text: str) -> set[bytes]:
    """A text as files may have it."""
    written = {
        text, json.dumps(text)[1:-1], html.escape(text), html.escape(text, quote=False),
        quote(text), text.replace("'", "''"), text.replace("'", "\\'"), text.replace('"', '""'),
    }  # fmt: skip
    written |= {json.dumps(html.escape(text))[1:-1], html.escape(json.dumps(text)[1:-1])}
    return {w.encode() for w in written} | {text.encode("utf-16-le")}


def inside(path: Path):
    """The bytes of a file, and of what is packed in it."""
    contents = path.read_bytes()
    yield path.name.encode() + contents
    if path.suffix == ".h5ad":
        with h5py.File(path) as file:
            found: list[str] = []
            file.visititems(lambda _, item: found.extend(_texts(item)))
        yield "\n".join(found).encode()
    for packed in [contents, *_decoded(contents)]:
        if packed[:2] == b"\x1f\x8b":
            yield gzip.decompress(packed)
        if packed[:4] == b"\x89PNG":
            from io import BytesIO

            yield repr(Image.open(BytesIO(packed)).info).encode()
        yield packed


def _decoded(contents: bytes):
    """What is written in base64, unpacked where it can be."""
    for text in re.findall(rb"[A-Za-z0-9+/]{40,}={0,2}", contents):
        decoded = base64.b64decode(text[: len(text) // 4 * 4])
        yield decoded
        for form in (zlib.MAX_WBITS, -zlib.MAX_WBITS):
            try:
                yield zlib.decompress(decoded, form)
            except zlib.error:
                continue


def _texts(item) -> list[str]:
    if isinstance(item, h5py.Dataset) and h5py.check_string_dtype(item.dtype):
        return [*map(str, np.ravel(item.asstr()[()]))]
    return [str(value) for value in item.attrs.values()]


def leaks(folder: Path, home: Path) -> set[tuple[str, str]]:
    """Each file with each private text that it has."""
    private = [str(home), USER, HOST, "work/first", DATA, "/nfs/lab", "häuser", sys.prefix]
    texts = {text: forms(text) for text in private}
    return {
        (path.name, text)
        for path in folder.rglob("*")
        if path.is_file()
        for contents in inside(path)
        for text, written in texts.items()
        if any(form in contents for form in written)
    }


@pytest.mark.parametrize("name", representative(["first", "sweep", "second"], 2))
def test_no_file_says_where_it_was_made(exported, home, name):
    found = {file for file, _ in leaks(home / "work" / name, home)}
    assert {"run.json", "report.html", "config.yaml"} <= found  # or there was nothing to find
    assert leaks(exported(name), home) == set()


def test_the_copy_loads_embeds_shows_and_verifies(scvae, exported, home, tmp_path):
    copy = exported("first")
    run, before = scvae_cli.load(copy), scvae_cli.load(home / "work" / "first")
    cells = anndata.read_h5ad(home / DATA / "cells.h5ad")
    assert np.array_equal(run.embed(cells), before.embed(cells))
    assert run.latent.equals(before.latent)
    assert run.scores == before.scores
    assert Run(copy).is_intact
    assert "status    done\n" in scvae("show", "copy").out
    shown = scvae("show", "copy").out
    assert "data.path=cells.h5ad" in shown
    assert "\nexported  20" in shown
    assert scvae("compare", "copy").code == 0
    line = scvae("verify", "copy").refused(Kind.MISSING, "data.path")
    assert "in the folder that has the file" in line
    for file in (home / DATA).iterdir():
        shutil.copy(file, tmp_path)
    result = scvae("verify", "copy")
    assert result.code == 0, result.err + result.out
    assert result.out.count("identical") == len(result.out.splitlines()) - 1
    cells[:, ::-1].copy()[:50].write_h5ad(tmp_path / "cells.h5ad")  # others of that name
    assert "are not those of the run" in scvae("verify", "copy").err
    of_h5ad = anndata.read_h5ad(copy / "cells.h5ad")
    assert of_h5ad.uns["image"]["path"] == "tissue.png"
    assert list(of_h5ad.uns["many"]) == ["a.png", "kept"]
    assert np.array_equal(of_h5ad.obsm["X_scvae"], before.latent.to_numpy(np.float32))


def test_a_model_of_another_run_is_trained_to_verify(scvae, exported, home, tmp_path):
    copy = exported("second")
    assert scvae_cli.load(copy).config.trained == "first"
    for file in (home / DATA).iterdir():
        shutil.copy(file, tmp_path)
    assert "model.safetensors    identical" in scvae("verify", "copy").out
    assert scvae_cli.load(copy).config.output_dir == "outputs"


def test_an_export_says_what_differs_and_is_not_resumed(scvae, exported, tmp_path):
    copy = exported("first")
    record = read_json(copy, "run")
    for_multiqc = {"scores_mqc.tsv", "history_mqc.tsv", "map_2d_mqc.html"}
    left = {".hydra", "scvae.log", "tensorboard"} | for_multiqc
    assert record["exported"]["left_out"] == sorted(left)
    assert {"run.json", "config.yaml", "report.html", "cells.h5ad"} == {
        *record["exported"]["changed"]
    }
    assert "is an export" in scvae("train", "resume=copy").refused(Kind.CONFLICT, "resume")
    (copy / "latent.csv").unlink()
    assert "`scvae export` the run itself again" in scvae("show", "copy").out
    assert "again" in scvae("export", "copy", "--to", "more").refused(Kind.DAMAGED)


def test_a_sweep_goes_with_its_runs(scvae, exported, home):
    copy = exported("sweep")
    shown = scvae("show", "copy").out
    assert "2 of 2 are done" in shown
    before = pd.read_csv(home / "work" / "sweep" / "summary.csv")
    assert pd.read_csv(copy / "summary.csv").equals(before)
    assert "is an export" in scvae("train", "resume=copy").refused(Kind.CONFLICT, "resume")
    page = (copy / "report.html").read_text()
    (job,) = [p.name for p in copy.iterdir() if p.name.startswith("000")]
    assert f"{job}/report.html" in page


def test_what_a_killed_export_left_goes_with_the_next(scvae, home, tmp_path):
    shutil.copytree(home / "work" / "second", tmp_path / "r")
    left = tmp_path / f".x.writing-{_place()}-{2**22 + 1}-0123abcd"  # no process has this number
    (left / "x").mkdir(parents=True)
    assert scvae("export", "r", "--to", "x").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"r", "x"}


def test_what_cannot_be_exported_leaves_nothing(scvae, home, tmp_path, monkeypatch):
    shutil.copytree(home / "work" / "first", tmp_path / "r")
    (tmp_path / "there").mkdir()
    before = {*tmp_path.iterdir()}
    assert "give another" in scvae("export", "r", "--to", "there").refused(Kind.EXISTS)
    scvae("export", "r", "--to", "no/where").refused(Kind.MISSING)
    scvae("export", "r", "--to", "r/x").refused(Kind.CONFLICT)
    scvae("export", "there", "--to", "x").refused(Kind.MISSING)
    scvae("export", "r").refused(Kind.MISSING)
    with monkeypatch.context() as patch:
        patch.setattr("scvae_cli.commands.export.run_page", _full_disk)
        line = scvae("export", "r", "--to", "x").refused(Kind.UNAVAILABLE)
        assert "x: cannot be written (No space left on device)" in line
    cells = (tmp_path / "r" / "cells.csv").read_text().replace("c0,", f"{tmp_path}/r,")
    (tmp_path / "r" / "cells.csv").write_text(cells)
    assert "did not end well" in scvae("export", "r", "--to", "x").refused(Kind.DAMAGED)
    _accept(tmp_path / "r", "cells.csv")
    _accept(tmp_path / "r", "report.html")
    line = scvae("export", "r", "--to", "x").refused(Kind.UNSAFE)
    assert f"cells.csv: has the folder {tmp_path}/r in it" in line
    assert {*tmp_path.iterdir()} == before


def test_a_sweep_that_is_not_done_is_refused(scvae, home, tmp_path):
    shutil.copytree(home / "work" / "sweep", tmp_path / "s")
    (job,) = (tmp_path / "s").glob("001-*")
    shutil.rmtree(job)
    assert job.name in scvae("export", "s", "--to", "x").refused(Kind.MISSING)
    assert not (tmp_path / "x").exists()


def test_paths_in_free_text_lose_their_folders(scvae, home, tmp_path, monkeypatch):
    """Of a failed run of a sweep: what went wrong, which names files, and no path of settings."""
    shutil.copytree(home / "work" / "sweep", tmp_path / "s")
    (job,) = (tmp_path / "s").glob("001-*")
    record = read_json(job, "run") | {"status": "failed"}
    record["reason"] = f"{tmp_path}/s/x.csv: full; see ~ada/log/a.txt, /opt/a/b.py, "
    record["reason"] += f"file:///opt/c/d.txt, https://x.org/e/f and 1/2/3 of {USER}"
    (job / "run.json").write_bytes(json_text(record))
    somebody(monkeypatch, tmp_path)
    result = scvae("export", "s", "--to", "copy")
    assert result.code == 0
    assert f"run.json has the word {USER}, a name of yours" in result.err
    reason = read_json(tmp_path / "copy" / job.name, "run")["reason"]
    expected = "x.csv: full; see a.txt, b.py, d.txt, https://x.org/e/f and 1/2/3 of"
    assert reason == f"{expected} {USER}"
    assert "x.csv: full" in scvae("show", "copy").err
