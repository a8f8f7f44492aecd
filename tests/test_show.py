"""`scvae show` and `scvae data` tell what the files hold."""

import json
from pathlib import Path

import pytest
import scanpy
import yaml
from conftest import DRAWN, FAST, told_as_json

from scvae_cli.errors import Kind
from scvae_cli.runs.files import files_of


def facts(out: str) -> dict[str, str]:
    rows = [line.split(None, 1) for line in out.splitlines() if line and not line.startswith(" ")]
    return {row[0]: row[1] for row in rows if len(row) == 2}


def test_show_a_run(scvae, tmp_path):
    words = [*FAST, *DRAWN, "model=vae", "hydra.run.dir=r", "multiqc=true", "quiet=true"]
    result = scvae("train", *words)
    assert (result.code, result.out) == (0, "r\n")
    assert all(line.startswith("warning: ") for line in result.err.splitlines())
    result = scvae("show", "r")
    assert result.code == 0, result.err
    told = facts(result.out)
    assert told["status"] == "done"
    assert told["data"] == "synthetic, 150 cells x 200 genes, 4 cell types"
    assert told["model"] == "model vae, beta 2.0, latent_dim 6, epochs 2, seed 0, embedding mean"
    nmi = json.loads((tmp_path / "r" / "scores.json").read_text())["latent"]["nmi"]
    assert f"latent space    {nmi:.3f}" in result.out

    value = told_as_json(scvae("show", "r", "--json"), "show RUN")
    assert (value["kind"], value["path"], value["status"]) == ("run", "r", "done")
    scores = json.loads((tmp_path / "r" / "scores.json").read_text())
    assert value["scores"] == {space: scores[space] for space in ("tsne", "latent")}
    assert value["settings"] == yaml.safe_load((tmp_path / "r" / "config.yaml").read_text())
    assert value["data"]["cell_types"] == {
        "type_1": 38, "type_2": 38, "type_3": 37, "type_4": 37,
    }  # fmt: skip
    made = {*files_of("multiqc")} - {*files_of()}
    assert made == {name for name in value["files"] if "_mqc" in name}
    assert value["damaged"] == []

    before = {name: (tmp_path / "r" / name).read_bytes() for name in made}
    assert len(before) == 3
    (tmp_path / "r" / "map_2d_mqc.html").unlink()
    (tmp_path / "r" / "scores_mqc.tsv").write_text("nothing")
    value = told_as_json(scvae("show", "r", "--json"), "show RUN")
    assert sorted(value["damaged"]) == ["map_2d_mqc.html", "scores_mqc.tsv"]
    scvae("verify", "r", "--json").refused(Kind.DAMAGED)
    assert scvae("train", "resume=r").code == 0
    assert {name: (tmp_path / "r" / name).read_bytes() for name in made} == before


def test_show_a_sweep_with_a_run_that_failed(scvae):
    words = ["-m", *FAST, "model=vae", "lr=1e-3,1e30", "hydra.sweep.dir=s"]
    assert scvae("train", *words).code == 1
    failed = next(Path("s").glob("001-*"))
    assert facts(scvae("show", str(failed)).out)["status"].startswith("failed: the loss is")
    result = scvae("show", "s")
    assert result.code == 0
    told = facts(result.out)
    assert told["runs"] == "1 of 2 are done; `scvae train resume=s` runs the other 1"
    assert told["data"] == "150 cells x 200 genes, 4 cell types"
    assert "map NMI" in result.out
    assert f"{failed.name}: failed, the loss is" in result.err
    told = told_as_json(scvae("show", "s", "--json"), "show SWEEP")
    assert (told["n_jobs"], told["n_done"], told["not_begun"]) == (2, 1, [])
    assert [run["status"] for run in told["runs"]] == ["done", "failed"]
    assert [run["setting"] for run in told["runs"]] == [
        {"model": "vae", "lr": lr, "seed": 0} for lr in (1e-3, 1e30)
    ]
    assert told["runs"][1]["reason"].startswith("the loss is")
    done, lost = told["means"]
    assert (done["n"], done["failed"], lost["n"], lost["failed"]) == (1, 0, 0, 1)
    nmi = told["runs"][0]["scores"]["tsne"]["nmi"]
    assert done["scores"]["tsne_nmi"] == {"mean": nmi, "sd": None, "low": None, "high": None}
    assert scvae("show", ".").refused(Kind.MISSING).endswith("sums up the runs below it")


def test_data_of_scanpy(scvae):
    """What scanpy says of the same cells."""
    cells = scanpy.datasets.pbmc68k_reduced()
    result = scvae("data", "pbmc68k")
    told = facts(result.out)
    assert told["cells"] == str(cells.n_obs)
    assert told["genes"].startswith(f"{cells.raw.n_vars}, ")
    density = cells.raw.X.nnz / (cells.n_obs * cells.raw.n_vars)
    assert told["non-zeros"] == f"{100 * density:.1f} %"
    largest = cells.obs["bulk_labels"].value_counts()
    line = next(x for x in result.out.splitlines() if largest.index[0] in x)
    assert line.split()[-2] == str(largest.iloc[0])
    told = told_as_json(scvae("data", "pbmc68k", "--json"), "data NAME-or-FILE")
    assert (told["n_cells"], told["n_genes"]) == cells.raw.shape
    assert told["share_nonzero"] == pytest.approx(density)
    assert told["cell_types"] == largest.to_dict()


def test_data_of_a_file(scvae, tmp_path):
    cells = scanpy.datasets.pbmc68k_reduced().raw.to_adata()
    cells.obs = cells.obs[["bulk_labels", "louvain", "n_genes"]].assign(
        sample=["a", "b"] * 350, barcode=cells.obs_names
    )
    path = tmp_path / "it's \u00e9=1 .h5ad"
    cells.write_h5ad(path)
    result = scvae("data", path.name)
    assert (result.code, facts(result.out)["cells"]) == (0, "700")
    assert "values are logged: expm1(x) is whole multiples of each cell's least" in result.err
    rows = [line.split() for line in result.out.split("may be")[1].splitlines()]
    shown = {row[0]: (row[1], row[-1]) for row in rows if row}
    assert shown == {
        "bulk_labels": ("10", "types"), "louvain": ("11", "clusters"), "sample": ("2", "batches"),
    }  # fmt: skip
    assert "no cell types; data.label_key=bulk_labels takes them" in result.err
    result = scvae("data", path.name, "data.label_key=louvain")
    assert "data.label_key=louvain has whole numbers, as a clustering has" in result.err
    assert "data.label_key" not in scvae("data", path.name, "data.label_key=bulk_labels").err


@pytest.mark.parametrize(
    ("command", "kind", "key", "named"),
    [
        ("show", Kind.MISSING, None, "RUN"),
        ("show nowhere", Kind.MISSING, None, "nowhere: "),
        ("data", Kind.MISSING, None, "NAME-or-FILE"),
        ("data pbmc86k", Kind.MISSING, "data.path", "=pbmc86k: "),
        ("data synthetic data.n_cells=x", Kind.VALUE, "data.n_cells", "=x: "),
    ],
)
def test_mistakes_are_one_line(scvae, command, kind, key, named):
    result = scvae(*command.split())
    assert result.refused(kind, key) == result.err.rstrip("\n")
    assert named in result.err
