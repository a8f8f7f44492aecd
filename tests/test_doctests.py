"""The examples in docstrings are run, in a folder with a run and a file of other cells."""

import doctest
import importlib
from pathlib import Path

import pytest

from scvae_cli.cli import main

PACKAGE = Path(__file__).parents[1] / "scvae_cli"
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with outputs/latest and new.h5ad, of some cells of that run."""
    import anndata

    path = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        main([
            "train", "data=synthetic", "data.n_cells=60", "data.n_genes=40", "data.n_types=3",
            "data.umis=200", "data.gene_sd=1", "model=vae", "latent_dim=3", "epochs=2",
            "batch_size=32", "tsne.perplexity=8", "tsne.max_iter=250", "cluster.n_init=1",
            "map_3d=false", "h5ad=true",
        ])  # fmt: skip
    cells = anndata.read_h5ad(path / "outputs" / "latest" / "cells.h5ad")
    anndata.AnnData(cells.X, cells.obs, cells.var)[:20].write_h5ad(path / "new.h5ad")
    return path


def test_what_a_notebook_calls_has_an_example():
    names = {"scvae_cli", "scvae_cli.trained", "scvae_cli.data.sources", "scvae_cli.data.dataset"}
    assert names <= set(MODULES)


@pytest.mark.filterwarnings("ignore:the network decodes")  # ten updates are few
@pytest.mark.parametrize("module", MODULES)
def test_examples_do_what_they_say(folder, monkeypatch, module):
    monkeypatch.chdir(folder)
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0
