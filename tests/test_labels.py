"""Types of new cells: `scvae embed --labels`, `predict_types`, and how docs/labels.md counts."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from conftest import PLAIN
from scipy.sparse import csr_matrix
from scipy.spatial.distance import cdist

import scvae_cli
from benchmarks.labels import page
from benchmarks.labels.scores import bins, count
from benchmarks.labels.sets import _plates, _protocols
from scvae_cli.analysis.transfer import Transferred, transfer
from scvae_cli.cli import main
from scvae_cli.errors import InputError, Kind

DOCS = Path(__file__).parents[1] / "docs"


def blobs(*centres: tuple[float, float], n: int = 40, seed: int = 0) -> np.ndarray:
    """Places (n * n_centres, 2) around centres."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(centre, 1, (n, 2)) for centre in centres])


def test_shares_and_distances_are_those_of_all_distances_computed():
    reference, new = blobs((0, 0), (2, 0), (0, 2)), blobs((0, 0), (3, 3), seed=1)
    types = np.repeat(["b", "a", "c"], 40)
    got = transfer(reference, types, new, n_neighbors=7, probability=0.6, quantile=0.9)
    far = cdist(new, reference)
    near = np.argsort(far, axis=1)[:, :7]
    weights = 1 / np.take_along_axis(far, near, axis=1)
    shares = np.stack(
        [(weights * (types[near] == name)).sum(1) / weights.sum(1) for name in "abc"], axis=1
    )
    own = cdist(reference, reference)
    np.fill_diagonal(own, np.inf)
    limit = np.quantile(np.sort(own, axis=1)[:, :7].mean(axis=1), 0.9)
    distance = np.sort(far, axis=1)[:, :7].mean(axis=1) / limit
    np.testing.assert_allclose(got.probability, shares.max(1))
    np.testing.assert_allclose(got.distance, distance)
    expected = np.array(list("abc"), dtype=object)[shares.argmax(1)]
    expected[(shares.max(1) < 0.6) | (distance > 1)] = "unknown"
    assert got.cell_types.tolist() == expected.tolist()
    assert {*expected} == {"a", "b", "c", "unknown"}


def test_cells_far_away_and_cells_between_types_are_unknown():
    reference, types = blobs((-9, 0), (9, 0), (0, 0)), np.repeat(["left", "right", "x"], 40)
    mixed = np.random.default_rng(2).permutation(np.repeat(["p", "q", "r", "s"], 10))
    types = np.where(types == "x", np.tile(mixed, 3), types)
    new = np.array([[-9.0, 0], [9, 0], [0, 90], [0, 0]])
    got = transfer(reference, types, new)
    assert got.cell_types.tolist() == ["left", "right", "unknown", "unknown"]
    assert (got.distance > 1).tolist() == [False, False, True, False]
    assert got.probability[3] < 0.5


def test_many_cells_give_nearly_the_limit_that_all_would(monkeypatch):
    reference, new = blobs((0, 0), n=3000), blobs((0, 0), n=50, seed=1)
    types = np.repeat("t", 3000)
    whole = transfer(reference, types, new)
    monkeypatch.setattr("scvae_cli.analysis.transfer.MOST", 1000)
    some = transfer(reference, types, new)
    assert not np.array_equal(some.distance, whole.distance)
    np.testing.assert_allclose(some.distance, whole.distance, rtol=0.2)
    assert transfer(reference, types, new[:1]).cell_types.shape == (1,)


TINY = [
    "tsne.perplexity=8", "tsne.max_iter=250", "cluster.n_init=1", *PLAIN, "latent_dim=3",
    "model=pca",
]  # fmt: skip


def cells(kinds: list[str], seed: int) -> anndata.AnnData:
    """Counts of 60 genes; cells of a kind have a rate of their own."""
    rates = {k: np.random.default_rng(ord(k)).gamma(0.7, 9, 60) for k in {*kinds}}
    x = np.random.default_rng(seed).poisson([rates[kind] for kind in kinds]) + 1
    names = [f"c{seed}-{i}" for i in range(len(kinds))]
    return anndata.AnnData(
        csr_matrix(x.astype(np.float32)),
        pd.DataFrame({"kind": kinds, "cell_type": "mine"}, index=names),
        pd.DataFrame(index=[f"GENE{i}" for i in range(60)]),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a run on types B, N and T, one on cells without types, and new.h5ad."""
    path = tmp_path_factory.mktemp("labels")
    own = cells(list("BNT") * 20 + ["B", "T"], 0)
    own.obs["kind"] = [*own.obs["kind"][:60], "unknown", "unlabelled"]
    own.write_h5ad(path / "own.h5ad")
    cells([*"BNNTTT" * 4, *"XX"], 1).write_h5ad(path / "new.h5ad")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        for name, more in (("r", ["data.label_key=kind"]), ("bare", ["cluster.n_clusters=3"])):
            words = ["data=file", "data.path=own.h5ad", f"hydra.run.dir={name}", *more]
            main(["train", *words, *TINY])
    return path


@pytest.fixture
def embed(scvae, folder, tmp_path):
    """Runs `scvae embed` on copies of the files, in a new folder."""
    for name in ("r", "bare", "new.h5ad"):
        (tmp_path / name).symlink_to(folder / name)
    return lambda *words: scvae("embed", *words)


def test_the_command_gives_types_to_the_csv_the_terminal_and_the_copy(embed, tmp_path, folder):
    result = embed("r", "new.h5ad", "--labels", "--h5ad", "out.h5ad", "data.label_key=kind")
    assert result.code == 0, result.err
    table = pd.read_csv(tmp_path / "latent.csv")
    assert list(table) == ["cell", "cell_type", "probability", "distance", "z1", "z2", "z3"]
    truth = anndata.read_h5ad(folder / "new.h5ad").obs
    assert table["cell_type"][:24].isin(["B", "N", "T", "unknown"]).all()
    right = (table["cell_type"] == truth["kind"].to_numpy())[:24]
    assert right.sum() >= 20
    unknown = table["cell_type"] == "unknown"
    assert ((table["distance"] > 1) | (table["probability"] < 0.5) == unknown).all()
    shown = {line.split()[0]: line.split()[1:] for line in result.out.splitlines() if line.strip()}
    for name in ("B", "N", "T", "unknown"):
        some = table[table["cell_type"] == name]
        mean = [f"{some['probability'].mean():.3f}"] if len(some) else []
        assert shown[name] == [str(len(some)), *mean]
    assert (
        f"kind: of 24 cells whose type the run has, {right.sum()} agree, "
        f"{24 - right.sum() - unknown[:24].sum()} differ, {unknown[:24].sum()} are unknown; "
        f"of 2 of other types, {unknown[24:].sum()} are unknown"
    ) in result.err
    out = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert list(out.obs) == [
        "kind", "cell_type", "scvae_cell_type", "scvae_probability", "scvae_distance"
    ]  # fmt: skip
    pd.testing.assert_frame_equal(out.obs[["kind", "cell_type"]], truth)
    assert out.obs["scvae_cell_type"].tolist() == table["cell_type"].tolist()
    np.testing.assert_allclose(out.obs["scvae_probability"], table["probability"], atol=1e-6)


def test_without_labels_nothing_is_added(embed, tmp_path):
    assert embed("r", "new.h5ad", "--h5ad", "out.h5ad").code == 0
    assert list(pd.read_csv(tmp_path / "latent.csv")) == ["cell", "z1", "z2", "z3"]
    out = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert list(out.obs) == ["kind", "cell_type"]
    assert "labels" not in out.uns["scvae"]


def test_options_reach_the_rule(embed, tmp_path):
    words = ["--neighbors", "1", "--probability", "0", "--quantile", "1"]
    assert embed("r", "new.h5ad", "--labels", *words).code == 0
    table = pd.read_csv(tmp_path / "latent.csv")
    assert (table["probability"] == 1).all()
    assert embed("r", "new.h5ad", "--labels", "--quantile", "0", "--to", "none.csv").code == 0
    assert (pd.read_csv(tmp_path / "none.csv")["cell_type"] == "unknown").mean() > 0.8


def test_python_gets_what_the_command_writes(embed, folder, tmp_path):
    embed("r", "new.h5ad", "--labels")
    table = pd.read_csv(tmp_path / "latent.csv")
    run = scvae_cli.load(folder / "r")
    adata = anndata.read_h5ad(folder / "new.h5ad")
    got = run.predict_types(run.embed(adata))
    assert got.cell_types.tolist() == table["cell_type"].tolist()
    np.testing.assert_allclose(got.distance, table["distance"], atol=1e-6)
    one = run.predict_types(run.embed(adata[:1].copy()))
    assert one.cell_types.tolist() == table["cell_type"][:1].tolist()


def test_cells_without_a_type_and_cells_called_unknown_have_no_say(folder):
    """The run's own latents: each cell finds itself first, where it has a say."""
    run = scvae_cli.load(folder / "r")
    options = {"n_neighbors": 1, "probability": 0, "quantile": 1}
    got = run.predict_types(run.latent.to_numpy(np.float32), **options)
    kinds = run.cells["cell_type"].to_numpy()
    assert (got.cell_types[:60] == kinds[:60]).all()
    assert (got.distance[:60] == 0).all()
    assert (got.distance[60:] > 0).all()


@pytest.mark.parametrize(
    ("words", "kind", "key"),
    [
        (["bare", "new.h5ad", "--labels"], Kind.MISSING, None),
        (["r", "new.h5ad", "--labels", "--neighbors", "60"], Kind.VALUE, "--neighbors"),
        (["r", "new.h5ad", "--labels", "--neighbors", "0"], Kind.VALUE, "--neighbors"),
        (["r", "new.h5ad", "--labels", "--probability", "1.5"], Kind.VALUE, "--probability"),
        (["r", "new.h5ad", "--labels", "--quantile", "nan"], Kind.VALUE, "--quantile"),
        (["r", "new.h5ad", "--quantile", "0.9"], Kind.CONFLICT, "--quantile"),
        (["r", "new.h5ad", "data.label_key=kind"], Kind.CONFLICT, "data.label_key"),
        (["r", "new.h5ad", "--labels", "data.label_key=x"], Kind.UNKNOWN, "data.label_key"),
    ],
)
def test_mistakes_are_one_line(embed, tmp_path, words, kind, key):
    before = {*tmp_path.iterdir()}
    embed(*words).refused(kind, key)
    assert {*tmp_path.iterdir()} == before


def test_python_is_told_what_is_wrong_with_places(folder):
    run = scvae_cli.load(folder / "r")
    for latent, kind in (
        (np.zeros((4, 2)), Kind.VALUE),
        (np.zeros(3), Kind.VALUE),
        (np.zeros((0, 3)), Kind.VALUE),
        (np.full((1, 3), np.nan), Kind.CONTENT),
    ):
        with pytest.raises(InputError) as caught:
            run.predict_types(latent)
        assert (caught.value.kind, caught.value.key) == (kind, "latent")


PREDICTED = Transferred(
    np.array(["a", "b", "unknown", "unknown", "a"], dtype=object),
    np.array([1.0, 0.6, 0.4, 0.95, 0.6]),
    np.array([0.5, 0.5, 0.5, 2.0, 0.5]),
)


def test_the_page_counts_what_is_right_lost_and_found():
    truth = np.array(["a", "a", "a", "z", "z"])
    got = count(PREDICTED, truth, truth == "z")
    third = pytest.approx(1 / 3)
    assert got == {
        "right": third, "wrong": third, "unknown": third, "far": 0.0, "found": 0.5,
        "found_far": 0.5,
    }  # fmt: skip
    rows = bins(PREDICTED, truth)
    assert [(row["low"], row["n"], row["right"]) for row in rows] == [
        (0.5, 2, 0.0),
        (0.99, 1, 1.0),
    ]


def test_no_run_has_seen_what_it_labels_nor_the_type_that_is_left_out():
    obs = pd.DataFrame({
        "plate": ["plate2", "plate3"] * 10, "protocol": ["CEL-seq2", "Drop-seq"] * 10,
        "cell_line": np.repeat(list("vwxyz"), 4),
    }, index=[f"c{i}" for i in range(20)])  # fmt: skip
    whole = anndata.AnnData(csr_matrix((20, 1), dtype=np.float32), obs)
    splits = [*_plates(whole), *_protocols(whole)]
    assert [split.what for split in splits] == [*["", *"vwxyz"] * 2, "", ""]
    for split in splits:
        assert not (split.reference & (split.new | split.left_out)).any()
        assert split.new.sum() == 10
        assert {*obs["cell_line"][split.left_out]} == {*split.what}


def test_the_page_is_made_of_its_tables(tmp_path):
    (tmp_path / "labels").symlink_to(DOCS / "labels")
    page.render(tmp_path)
    assert (tmp_path / "labels.md").read_text() == (DOCS / "labels.md").read_text()
