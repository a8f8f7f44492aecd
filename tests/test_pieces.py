"""Large files are read in pieces: the same cells come out, and a file that changes is refused."""

import json
import os

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from test_stores import write_10x

from scvae_cli.data import pieces, streamed
from scvae_cli.data.announcer import Announcer
from scvae_cli.data.asked import Options
from scvae_cli.data.prepared import read_whole
from scvae_cli.errors import InputError, Kind
from scvae_cli.launch.compose import compose


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Files of these tests are large, and pieces small."""
    monkeypatch.setattr(streamed, "LARGE", 0)
    monkeypatch.setattr(pieces, "PIECE", 5000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Counts of 400 cells, as X of an h5ad and of a zarr, in a layer, in raw, and as 10x's .h5.

    There, some features are no genes, some genes are of another genome, and two share a symbol.
    """
    rng = np.random.default_rng(0)
    x = csr_matrix(rng.poisson(rng.gamma(0.3, 2.0, 120), (400, 120)), dtype=np.float32)
    obs = pd.DataFrame(
        {"plate": rng.choice(list("abc"), 400, p=[0.6, 0.37, 0.03]), "kind": list("uv") * 200},
        index=[f"c{i}" for i in range(400)],
    )
    var = pd.DataFrame({"id": [f"E{i}" for i in range(120)]}, [f"g{i}" for i in range(120)])
    cells = anndata.AnnData(x, obs, var, layers={"logs": x.log1p()})
    folder = tmp_path_factory.mktemp("large")
    cells.write_zarr(folder / "c.zarr")
    cells.raw = cells.copy()
    cells.write_h5ad(folder / "c.h5ad")
    write_10x(
        folder / "c.h5", x, barcodes=cells.obs_names, names=["g0", "g0", *cells.var_names[2:]],
        feature_type=["Gene Expression"] * 110 + ["Antibody Capture"] * 10,
        genome=["GRCh38"] * 80 + ["mm10"] * 40,
    )  # fmt: skip
    return folder


def asked(path, *words) -> Options:
    values = compose(["data=file", f"data.path='{path}'", *words]).data.model_dump()
    return Options(**{key: values[key] for key in values if key not in ("name", "scale")})


def both(options: Options):
    """What is prepared of a file in pieces and whole, and what is said besides."""
    said: list[list[str]] = []
    prepared = []
    for read in (streamed.read_in_pieces, read_whole):
        said.append([])
        prepared.append(
            read(options, Announcer(said[-1].append, said[-1].append, lambda *n: None))
        )
    ours = [text for text in said[0] if "in pieces" not in text]
    assert len(said[0]) == len(ours) + 1
    assert ours == said[1]
    return prepared


CASES = {
    "the most variable": ("c.h5ad", "data.genes=30"),
    "of a zarr": ("c.zarr", "data.genes=30"),
    "of raw, by other names": ("c.h5ad", "data.genes=30", "data.raw=true", "data.gene_names=id"),
    "all genes": ("c.h5ad", "data.min_cells=150"),
    "of 10x's": ("c.h5", "data.genes=30"),
    "all of one genome of 10x's": ("c.h5", "data.genome=mm10"),
    "of 10x's, by ids": ("c.h5", "data.gene_names=gene_ids", "data.genes=30", "data.keep=[E5]"),
    "within batches": ("c.h5ad", "data.genes=30", "data.batch_key=plate"),
    "by deviance": ("c.h5ad", "data.genes=30", "data.genes_by=deviance", "data.min_genes=40"),
    "by deviance, within batches, and another gene": (
        "c.h5ad", "data.genes=30", "data.genes_by=deviance", "data.batch_key=plate",
        "data.keep=[g5,E6,kind]", "data.min_genes=40", "data.min_cells=100",
    ),
}  # fmt: skip


def assert_same(ours, theirs):
    assert ours.x.shape == theirs.x.shape
    for part in ("data", "indices", "indptr"):
        assert getattr(ours.x, part).tobytes() == getattr(theirs.x, part).tobytes()
    assert list(ours.genes) == list(theirs.genes)
    assert ours.cells.obs.equals(theirs.cells.obs)
    assert ours.recipe.totals.tobytes() == theirs.recipe.totals.tobytes()
    assert list(ours.recipe.counted) == list(theirs.recipe.counted)
    assert (ours.kept is None) == (theirs.kept is None)
    assert ours.kept is None or ours.kept.equals(theirs.kept)


@pytest.mark.parametrize("name", CASES)
def test_pieces_give_the_bytes_of_the_whole(folder, name):
    file, *words = CASES[name]
    assert_same(*both(asked(folder / file, *words)))


def test_real_counts_give_the_same_bytes(real_data, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", 1_000_000)
    path = real_data / "zheng_facs" / "zheng_facs_raw.h5ad"
    assert_same(*both(asked(path, "data.genes=1000", "data.min_cells=3")))


def test_no_piece_is_larger_than_it_may_be(folder):
    from scvae_cli.data.stores import opened

    with opened(folder / "c.h5ad") as file:
        stored = pieces.on_disk(file, folder / "c.h5ad", "X")
    rows, sizes = zip(*((rows, x.nnz) for rows, x in stored.read()), strict=True)
    assert max(sizes) <= 5000
    assert len(sizes) > 3
    covered = np.concatenate([np.arange(400)[r] for r in rows])
    assert list(covered) == list(range(400))


def test_what_is_no_count_is_read_whole(folder):
    silent = Announcer(*[lambda *words: None] * 3)
    assert streamed.read_in_pieces(asked(folder / "c.h5ad", "data.layer=logs"), silent) is None
    streamed_too = asked(folder / "c.h5ad", "data.values=logged")
    assert streamed.read_in_pieces(streamed_too, silent) is None


@pytest.mark.parametrize(("bad", "said"), [(np.nan, "NaN"), (-1.0, "negative")])
def test_values_of_no_use_are_refused(folder, tmp_path, bad, said):
    cells = anndata.read_h5ad(folder / "c.h5ad")
    cells.X.data[-1] = bad
    cells.write_h5ad(tmp_path / "c.h5ad")
    with pytest.raises(InputError) as caught:
        streamed.read_in_pieces(asked(tmp_path / "c.h5ad"), Announcer(*[print] * 3))
    assert caught.value.kind == Kind.CONTENT
    assert said in caught.value.reason


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def change(path):
    """Other values of the same number, so that nothing but the time of the change tells."""
    with path.open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(first)
    os.utime(path, ns=(1, 1))


def remove(path):
    path.unlink()


@pytest.mark.parametrize("spoil", [cut, change, remove])
def test_a_file_that_changes_while_it_is_read_ends_the_run(
    folder, scvae, tmp_path, monkeypatch, spoil
):
    """In the second pass, when the first one has counted all."""
    path = tmp_path / "c.h5ad"
    path.write_bytes((folder / "c.h5ad").read_bytes())
    read, calls = pieces.Pieces._rows, []

    def spoiled(self, element, rows):
        calls.append(rows)
        if len(calls) > 1 and rows.start == 0:
            spoil(path)
        return read(self, element, rows)

    monkeypatch.setattr(pieces.Pieces, "_rows", spoiled)
    words = ["data=file", "data.path=c.h5ad", "data.genes=30", "data.label_key=kind"]
    result = scvae("train", *words, "model=pca", "latent_dim=2", "hydra.run.dir=r")
    assert result.code == 1
    assert (result.error.kind, result.error.value) == (Kind.DIFFERS, path.relative_to(tmp_path))
    assert [line for line in result.err.splitlines() if "changed while it was read" in line]
    assert "Traceback" not in result.err
    assert json.loads((tmp_path / "r" / "run.json").read_text())["status"] == "failed"
