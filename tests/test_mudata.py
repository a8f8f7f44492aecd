"""Files of mudata: a run takes the modality of genes, and the columns that all of them share."""

import anndata
import h5py
import mudata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from test_pieces import asked, both

from scvae_cli.data import files, pieces, streamed
from scvae_cli.errors import InputError, Kind

mudata.set_options(pull_on_update=False)  # as from 0.4 on


def two(rna: str = "rna") -> mudata.MuData:
    """Counts of 60 cells, and antibodies of 50 of them and 5 others; both have kinds of their own.

    The table of all cells has their donors, in an order of its own.
    """
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(65)]
    x = csr_matrix(rng.poisson(1.0, (60, 30)), dtype=np.float32)
    of_genes = pd.DataFrame({"kind": list("uvw") * 20, "total": x.sum(1).A1}, names[:60])
    genes = anndata.AnnData(x, of_genes, pd.DataFrame(index=[f"g{i}" for i in range(30)]))
    genes.layers["twice"], genes.obsm["pca"] = 2 * x, x[:, :2].toarray()
    of_proteins = pd.DataFrame({"kind": list("yz") * 27 + ["y"]}, names[10:])
    proteins = rng.poisson(9.0, (55, 4)).astype(np.float32)
    proteins = anndata.AnnData(proteins, of_proteins, pd.DataFrame(index=list("ABCD")))
    made = mudata.MuData({"prot": proteins, rna: genes})
    made.obs["donor"] = pd.Categorical([f"d{name[-1]}" for name in made.obs_names])
    made.obs["age"] = [int(name[1:]) for name in made.obs_names]
    return made


def write(cells: mudata.MuData, path) -> None:
    cells.write_zarr(path) if path.suffix == ".zarr" else cells.write(path)


def read(path, say=lambda text: None, needed=("X",)) -> anndata.AnnData:
    return files.read(path, transpose=None, say=say, needed=needed, whole=True)


@pytest.mark.parametrize("name", ["c.h5mu", "c.zarr", "c.h5", "c.h5ad"])
def test_the_genes_are_read_with_the_columns_of_all(tmp_path, name):
    made, said = two(), list[str]()
    write(made, tmp_path / name)
    found = read(tmp_path / name, said.append)
    theirs = mudata.read_zarr if name == "c.zarr" else mudata.read_h5mu
    expected = theirs(tmp_path / name)
    np.testing.assert_array_equal(found.X.toarray(), expected["rna"].X.toarray())
    np.testing.assert_array_equal(found.layers["twice"].toarray(), 2 * found.X.toarray())
    np.testing.assert_array_equal(found.obsm["pca"], expected["rna"].obsm["pca"])
    pd.testing.assert_frame_equal(
        found.obs,
        expected["rna"].obs.join(expected.obs[["donor", "age"]]),
        check_dtype=False, check_categorical=False,
    )  # fmt: skip
    assert list(found.obs["age"]) == list(range(60))
    assert said == [f"{name}: rna is read, of prot, rna"]


@pytest.mark.parametrize("name", ["c.h5mu", "c.zarr"])
def test_a_large_one_is_read_in_pieces(tmp_path, monkeypatch, name):
    monkeypatch.setattr(streamed, "LARGE", 0)
    monkeypatch.setattr(pieces, "PIECE", 200)
    write(two(), tmp_path / name)
    words = "data.label_key=kind", "data.batch_key=donor", "data.genes=12"
    ours, whole = both(asked(tmp_path / name, *words))
    np.testing.assert_array_equal(ours.x.toarray(), whole.x.toarray())
    pd.testing.assert_frame_equal(ours.cells.obs, whole.cells.obs)
    assert list(ours.told.keys) == ["donor"]


def test_columns_that_repeat_those_of_modalities_are_not_read_twice(tmp_path):
    made = two()
    made.write(tmp_path / "c.h5mu")
    made.pull_obs()
    assert "rna:kind" in made.obs
    with h5py.File(tmp_path / "c.h5mu", "a") as file:
        anndata.io.write_elem(file, "obs", made.obs)
    assert list(read(tmp_path / "c.h5mu").obs) == ["kind", "total", "donor", "age"]


def test_names_that_occur_twice_give_the_genes_alone(tmp_path):
    said: list[str] = []
    write(two(), tmp_path / "c.h5mu")
    with h5py.File(tmp_path / "c.h5mu", "a") as file:
        file["obs/_index"][1] = file["obs/_index"][0]
    assert list(read(tmp_path / "c.h5mu", said.append).obs) == ["kind", "total"]
    assert said[1:] == ["c.h5mu: obs of all modalities is left out: names occur twice"]


def test_one_without_a_table_of_all_cells_gives_the_genes_alone(tmp_path):
    write(two(), tmp_path / "c.h5mu")
    with h5py.File(tmp_path / "c.h5mu", "a") as file:
        del file["obs"]
    assert list(read(tmp_path / "c.h5mu").obs) == ["kind", "total"]


def test_the_only_modality_is_read_whatever_its_name(tmp_path):
    said: list[str] = []
    mudata.MuData({"gex": two()["rna"]}).write(tmp_path / "c.h5mu")
    assert read(tmp_path / "c.h5mu", said.append).shape == (60, 30)
    assert said == []


def test_of_several_one_has_to_be_called_rna(tmp_path):
    write(two("gex"), tmp_path / "c.h5mu")
    with pytest.raises(InputError, match=r"no modality is called rna \(gex, prot\)") as caught:
        read(tmp_path / "c.h5mu")
    assert caught.value.kind == Kind.MISSING


def test_one_that_leads_elsewhere_is_refused(tmp_path):
    write(two(), tmp_path / "c.h5mu")
    with h5py.File(tmp_path / "c.h5mu", "a") as file:
        file["mod/prot/uns/more"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(InputError, match="mod/prot/uns/more leads to another file"):
        read(tmp_path / "c.h5mu")


def test_a_run_of_one(scvae, tmp_path):
    write(two(), tmp_path / "c.h5mu")
    words = "data.label_key=donor", "epochs=2", "batch_size=32", "tsne.perplexity=5", "h5ad=true"
    result = scvae("train", str(tmp_path / "c.h5mu"), *words)
    assert "rna is read, of prot, rna" in result.err
    cells = anndata.read_h5ad("outputs/latest/cells.h5ad")
    assert {"cell_type", "kind", "total", "donor", "age"} <= set(cells.obs)
    assert set(cells.obsm) >= {"X_scvae", "pca"}
    assert {"twice", "input_X"} == set(cells.layers)
    assert list(cells.obs["cell_type"]) == list(cells.obs["donor"])
