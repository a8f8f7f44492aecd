"""Cells without a type: they are trained on and shown, and left out of the scores."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import adjusted_rand_score, homogeneity_score

from scvae_cli.data.sources import load
from scvae_cli.errors import InputError, Kind
from scvae_cli.launch.compose import compose
from scvae_cli.results.colours import COLOURS, GREY, by_size
from scvae_cli.results.figures.style import by_cluster, by_type
from scvae_cli.results.map_data import map_data

TINY = [
    "tsne.perplexity=8", "tsne.max_iter=250", "cluster.n_init=2", "map_3d=false", "latent_dim=3",
]  # fmt: skip
N = 90
KIND = np.arange(N) % 3


@pytest.fixture(scope="module")
def cells() -> anndata.AnnData:
    """Ninety cells; in `part`, the first ten and every ninth have no type."""
    rng = np.random.default_rng(0)
    x = rng.poisson(3 * rng.gamma(2.0, 1.0, (3, 40))[KIND]).astype(np.float32)
    types = np.array(["B", "NA", "T"])[KIND]
    part = types.astype(object)
    part[(np.arange(N) % 9 == 0) | (np.arange(N) < 10)] = None
    obs = pd.DataFrame({"whole": types, "part": pd.Categorical(part)}, [f"c{i}" for i in range(N)])
    obs["words"] = [t or "Unknown" for t in part]
    obs["empty"] = [t or "" for t in part]
    obs["own"] = [t or "unlabelled" for t in part]
    obs["two"] = [t or ("Unknown" if i % 2 else "doublet") for i, t in enumerate(part)]
    obs["clusters"] = np.where([t is None for t in part], np.nan, KIND)
    obs["Int64"] = obs["clusters"].astype("Int64")
    obs["bool"] = KIND == 0
    obs["int"] = KIND
    obs["floats"] = pd.Categorical(KIND / 2)
    obs["measured"] = KIND / 2
    obs["one"] = pd.Categorical([t if t == "B" else None for t in part])
    obs["none"] = pd.Categorical([None] * N, categories=["B"])
    return anndata.AnnData(csr_matrix(x), obs, pd.DataFrame(index=[f"g{i}" for i in range(40)]))


@pytest.fixture
def file(cells, tmp_path):
    cells.write_h5ad(tmp_path / "c.h5ad")
    return tmp_path / "c.h5ad"


def prepared(file, *options: str, said=None):
    found = compose(["data=file", f"data.path='{file}'", *options]).data.model_dump()
    return load(**found, say=(said if said is not None else []).append)


SAME = {  # the same cells without a label, said in many ways
    "missing": ["data.label_key=part"],
    "a word": ["data.label_key=words", "data.unlabelled=Unknown"],
    "words": ["data.label_key=two", "data.unlabelled=[Unknown,doublet]"],
    "empty": ["data.label_key=empty"],
    "as runs write it": ["data.label_key=own"],
    "absent from the csv": ["data.labels=absent.csv"],
    "empty in the csv": ["data.labels=empty.csv"],
    "a word in the csv": ["data.labels=words.csv", "data.unlabelled=[Unknown]"],
}


@pytest.mark.parametrize("how", SAME)
def test_no_label_is_no_label_however_it_is_said(file, cells, tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    cells.obs["words"].to_csv("words.csv")
    cells.obs["empty"].to_csv("empty.csv")
    cells.obs["empty"][cells.obs["empty"] != ""].to_csv("absent.csv")
    said: list[str] = []
    dataset = prepared(file, *SAME[how], said=said)
    assert dataset.cell_types == ("B", "NA", "T")
    known = cells.obs["part"].notna().to_numpy()
    n = int((~known).sum())
    assert dataset.n_unlabelled == n
    np.testing.assert_array_equal(dataset.labels, np.where(known, KIND, -1))
    assert list(dataset.types[known]) == list(cells.obs["whole"][known])
    assert set(dataset.types[~known]) == {"unlabelled"}
    assert f"{n} of 90 cells have no label, such as c0; they are trained on" in said[-1]


def test_whole_labels_are_what_they_were():
    """The fingerprint of cells that all have a type, which runs of before have recorded."""
    dataset = load(**compose(["data=pbmc68k"]).data.model_dump())
    assert dataset.n_unlabelled == 0
    assert dataset.fingerprint()[:16] == "9f25161e879a9771"


@pytest.mark.parametrize(
    ("key", "types"),
    [
        ("bool", ("False", "True")),
        ("int", ("0", "1", "2")),
        ("Int64", ("0", "1", "2")),
        ("clusters", ("0", "1", "2")),
        ("floats", ("0.0", "0.5", "1.0")),
        ("words", ("B", "NA", "T", "Unknown")),
    ],
)
def test_kinds_of_labels(file, key, types):
    assert prepared(file, f"data.label_key={key}").cell_types == types


@pytest.mark.parametrize(
    ("options", "kind", "key", "fact"),
    [
        (["label_key=measured"], Kind.VALUE, "label_key", " 0.5"),
        (["label_key=one"], Kind.EMPTY, "label_key", ", B"),
        (["label_key=none"], Kind.EMPTY, "label_key", "90 of 90 cells"),
        (["unlabelled=Unknown"], Kind.CONFLICT, "unlabelled", "data.label_key or data.labels"),
        (["label_key=bool", "unlabelled=[true]"], Kind.EMPTY, "label_key", ", False"),
        (["label_key=part", "unlabelled=[[a]]"], Kind.VALUE, "unlabelled.0", ""),
    ],
)
def test_labels_that_are_refused(file, options, kind, key, fact):
    with pytest.raises(InputError) as caught:
        prepared(file, *(f"data.{option}" for option in options))
    assert (caught.value.kind, caught.value.key) == (kind, f"data.{key}")
    assert fact in str(caught.value)


def test_a_word_that_no_cell_has_is_said(file):
    said: list[str] = []
    prepared(file, "data.label_key=words", "data.unlabelled=[Unknwn]", said=said)
    assert "data.unlabelled=Unknwn: no cell has this label" in said


@pytest.mark.parametrize("name", ["nan", "NaN", "<NA>", "n/a", "null", "Unknown"])
def test_what_stands_for_no_type_is_doubted_and_can_be_left_out(cells, tmp_path, name):
    cells = cells.copy()
    cells.obs["words"] = [{"Unknown": name, "NA": "A"}.get(t, t) for t in cells.obs["words"]]
    cells.write_h5ad(tmp_path / "c.h5ad")
    words = ["data=file", f"data.path='{tmp_path / 'c.h5ad'}'", "data.label_key=words"]
    warned: list[str] = []
    assert name in load(**compose(words).data.model_dump(), warn=warned.append).cell_types
    n, (text,) = (cells.obs["words"] == name).sum(), warned
    assert f"has {name} ({n} cells)" in text
    *_, fix, _ = text.split('"')
    warned.clear()
    dataset = load(**compose([*words, fix]).data.model_dump(), warn=warned.append)
    assert (set(dataset.cell_types), warned) == ({"A", "B", "T"}, [])
    assert (dataset.labels == -1).sum() == n


@pytest.mark.parametrize("model", ["pca", "vsc"])
def test_partly_labelled_cells_train_and_the_others_are_scored(file, scvae, tmp_path, model):
    base = ["data=file", "data.path=c.h5ad", "data.label_key=part", *TINY, f"model={model}"]
    epochs = [] if model == "pca" else ["epochs=3"]
    result = scvae("train", *base, *epochs, "h5ad=true", "hydra.run.dir=r")
    assert result.code == 0, result.err
    assert "18 of 90 cells have no label" in result.err
    cells = pd.read_csv(tmp_path / "r" / "cells.csv", keep_default_na=False)
    scores = json.loads((tmp_path / "r" / "scores.json").read_text())
    known = (cells["cell_type"] != "unlabelled").to_numpy()
    assert known.sum() == 72
    assert set(cells["cell_type"][known]) == {"B", "NA", "T"}
    for space, column in (("tsne", "cluster"), ("latent", "latent_cluster")):
        truth, found = cells["cell_type"][known], cells[column].astype(int)[known]
        assert scores[space]["ari"] == pytest.approx(adjusted_rand_score(truth, found))
        assert scores[space]["hom"] == pytest.approx(homogeneity_score(truth, found))
    assert scores["n_clusters"] == 3
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    assert record["data"]["n_unlabelled"] == 18
    assert sum(record["data"]["cell_types"].values()) == 72
    assert "3 cell types, 18 cells without a label" in scvae("show", "r").out
    if model == "vsc":
        latents = pd.read_csv(tmp_path / "r" / "latents.csv", keep_default_na=False)
        assert set(latents["cell_type"]) == {"B", "NA", "T"}
    written = anndata.read_h5ad(tmp_path / "r" / "cells.h5ad")
    assert written.obs["cell_type"].isna().sum() == 18
    again = prepared(tmp_path / "r" / "cells.h5ad", "data.label_key=cell_type")
    assert again.n_unlabelled == 18
    assert scvae("train", *base, *epochs, "trained=r", "hydra.run.dir=r2").code == 0


def test_what_is_mapped_has_to_have_labels(file, cells, scvae, tmp_path):
    few = cells.copy()
    few.obs["part"] = pd.Categorical(["B", "T", *[None] * (N - 2)])
    few.write_h5ad(tmp_path / "few.h5ad")
    base = ["train", "data=file", "data.path=few.h5ad", "data.label_key=part", *TINY, "model=pca"]
    result = scvae(*base, "tsne.max_cells=20")
    result.refused(Kind.EMPTY, "tsne.max_cells")
    assert scvae(*base).code == 0


def test_cells_without_a_type_are_grey_and_last():
    names = ("a", "b", "unlabelled")
    groups = np.array([0, 1, 1, *[2] * 9])
    styles = by_type(groups, names).styles
    assert [style.colour for style in styles] == [*COLOURS[1::-1], GREY]
    assert list(by_size(np.bincount(groups), names)) == [1, 0, 2]
    (main,) = by_cluster(groups, names, np.zeros(12, int)).styles
    assert main.label() == "0  b (17 % of 12)"


@pytest.mark.parametrize("n_typed", [0, 5])
def test_clusters_of_cells_without_types_have_colours_of_their_own(n_typed):
    """On figures and on the page; cells of the first clusters may have types."""
    clusters = np.arange(60) % 20
    names = [*[f"type {i}" for i in range(n_typed)], "unlabelled"]
    labels = np.minimum(clusters, n_typed)
    styles = by_cluster(labels, names, clusters).styles
    assert len({style.colour for style in styles} - {GREY}) == 20
    assert n_typed or styles[7].label() == "7  (3)"
    types = [None if label == n_typed else names[label] for label in labels]
    table = pd.DataFrame({"cell": map(str, range(60)), "cell_type": types, "cluster": clusters})
    table[["tsne_1", "tsne_2"]] = 0.0
    looks = json.loads(map_data({"r": table})["run-0"])["clusterings"]["cluster"]["looks"]
    assert [look[0] for look in looks] == [style.colour for style in styles]


def test_cells_without_a_type_are_grey_and_last_on_the_page():
    table = pd.DataFrame({"cell": list("abcdef"), "cell_type": ["unlabelled"] * 4 + ["x", "z"]})
    table[["tsne_1", "tsne_2"]] = 0.0
    table["cluster"] = 0
    data = {key: json.loads(block) for key, block in map_data({"r": table}).items()}
    look = data["look"]
    assert look["names"] == ["x", "z", "unlabelled"]
    assert [own[0] for own in look["looks"]] == [*COLOURS[:2], GREY]
    assert data["run-0"]["clusterings"]["cluster"]["titles"] == ["0: x (17 % of 6)"]
