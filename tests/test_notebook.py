"""What a notebook shows of `fit` and `plot_loss`: run by a kernel, outputs looked at."""

from pathlib import Path

import nbformat
import numpy as np
import pytest
from matplotlib.figure import Figure
from nbclient import NotebookClient

import scvae_cli
from scvae_cli.errors import InputError, Kind

RUNS = Path(__file__).parent / "formats" / "1"

CELLS = [
    """
import anndata, numpy as np, warnings, scvae_cli
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
adata = anndata.AnnData(rng.poisson(rng.gamma(1.0, 2.0, (60, 20))).astype(np.float32))
small = dict(model="vae", likelihood="nb", latent_dim=2)
run = scvae_cli.fit(adata, **small, epochs=150, progress=True)
""",
    "quiet = scvae_cli.fit(adata, **small, epochs=2, inplace=False)",
    """
from matplotlib import pyplot, rcParams
pyplot.close(pyplot.figure())  # the first one makes pyplot interactive
before = repr(rcParams)
ax = run.plot_loss()
assert repr(rcParams) == before
""",
    "run.plot_loss('likelihood')",
]


@pytest.fixture(scope="module")
def outputs() -> list[list]:
    """Outputs of each cell."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", allow_errors=True)
    client.execute()
    return [cell.outputs for cell in notebook.cells]


def test_progress_is_one_line_that_changes(outputs):
    (line,) = outputs[0]  # changes are of the same output
    assert line.output_type == "display_data"
    assert line.data["text/plain"].startswith("loss ")
    assert line.data["text/plain"].endswith(" s")
    assert "\n" not in line.data["text/plain"]


def test_without_progress_nothing_is_shown(outputs):
    assert outputs[1] == []


def test_the_loss_is_drawn_below_its_cell(outputs):
    (figure,) = outputs[2]
    assert figure.output_type == "display_data"
    assert len(figure.data["image/png"]) > 1000


def test_another_term_is_refused(outputs):
    (error,) = outputs[3]
    assert error.output_type == "error"
    assert "term=likelihood: no such choice (there are total, reconstruction, kl)" in error.evalue


@pytest.mark.parametrize(
    ("name", "term", "n_lines"),
    [
        ("vae", "total", 1),
        ("vae", "kl", 3),
        ("ensemble", "total", 2),
        ("decoded", "validation", 2),
    ],
)
def test_the_lines_are_the_history(name, term, n_lines):
    """Of each member of an ensemble, of each latent feature; a dot where the weights were kept."""
    run = scvae_cli.load(RUNS / name)
    ax = Figure().subplots()
    assert run.plot_loss(term, ax=ax) is ax
    drawn = {tuple(np.asarray(line.get_ydata(), float)) for line in ax.get_lines()}
    assert len(ax.get_lines()) == n_lines
    of_members = run.history.groupby("member") if "member" in run.history else [(1, run.history)]
    for _, history in of_members:
        assert tuple(history[term]) in drawn


def test_what_was_not_trained_has_no_loss():
    with pytest.raises(InputError, match="not trained") as refused:
        scvae_cli.load(RUNS / "pca").plot_loss()
    assert refused.value.kind == Kind.EMPTY
