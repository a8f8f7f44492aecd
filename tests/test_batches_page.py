"""docs/batches.md: what is compared, and that the page is made of its tables."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from benchmarks.batches.page import COLUMNS, TOTALS, against, allowed, means, render
from benchmarks.batches.scores import scored
from benchmarks.batches.sets import MEANING, OURS, all_sets
from scvae_cli.analysis.align import ROUNDS, WIDTH
from scvae_cli.data.sources import load
from scvae_cli.launch.compose import compose

DOCS = Path(__file__).parents[1] / "docs"
YOUR_DATA = (DOCS / "your-data.md").read_text()


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    return pd.read_csv(DOCS / "batches" / "scores.csv")


def test_the_page_is_made_of_its_tables(tmp_path):
    shutil.copytree(DOCS / "batches", tmp_path / "batches")
    render(tmp_path)
    assert (tmp_path / "batches.md").read_text() == (DOCS / "batches.md").read_text()


def test_differences_are_paired_by_seed(scores):
    here = scores[(scores["set"] == "simulated")].pivot_table("overall", "seed", "method")
    both = here[["batches", "pca-sqrt"]].dropna()
    interval = ttest_rel(both["batches"], both["pca-sqrt"]).confidence_interval()
    gap = against(scores, "simulated", "pca-sqrt", "overall")
    assert (gap.low, gap.high) == pytest.approx((interval.low, interval.high))
    assert against(scores[scores["method"] != "scvi"], "simulated", "scvi", "overall") is None


def test_every_method_is_explained(scores):
    assert {*scores["method"]} <= {*MEANING}
    assert {*OURS} < {*MEANING}
    assert {*COLUMNS, *TOTALS} <= {*scores}


def test_the_page_on_ones_own_cells_says_what_the_page_says(scores):
    for name in scores["set"].unique():
        found = means(scores, name)
        for method in ("batches", "scvi", "harmony", "pca-sqrt"):
            if method in found:
                each = [found[method][total].mean for total in TOTALS]
                assert " / ".join(f"{value:.3f}" for value in each) in YOUR_DATA, (name, method)
        overall = {m: found[m]["overall"].mean for m in ("batches", "scvi", "harmony")}
        assert max(overall, key=lambda method: overall[method]) == "batches", "so says the README"
        for total in ("batch_correction", "bio_conservation"):
            assert against(scores, name, "scvi", total).high > 0, "so does this"


def test_differences_that_it_gives_are_the_pages(scores):
    for total in ("batch_correction", "bio_conservation"):
        for name in ("protocols", "plates"):
            gap = against(scores, name, "scvi", total)
            assert f"{gap.mean:+.3f} ± {gap.half:.3f}" in YOUR_DATA


def test_batches_are_aligned_as_was_chosen():
    chosen = pd.read_csv(DOCS / "batches" / "chosen.csv")
    assert allowed(chosen).index[0] == (ROUNDS, WIDTH)


def test_a_setting_that_loses_types_on_one_set_is_not_allowed():
    rows = [
        ("a", 0, 0.0, 0.5, 0.90, 0.7), ("b", 0, 0.0, 0.5, 0.90, 0.7),
        ("a", 1, 0.1, 0.7, 0.90, 0.8), ("b", 1, 0.1, 0.6, 0.88, 0.8),
        ("a", 5, 0.1, 0.9, 0.99, 0.9), ("b", 5, 0.1, 0.9, 0.80, 0.9),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["set", "rounds", "width", *TOTALS])
    assert [*allowed(table.assign(method="batches")).index] == [(1, 0.1), (0, 0.0)]


@pytest.mark.parametrize("method", OURS)
def test_methods_are_settings(method):
    """Each is composed; only the one that is not told lacks the set's batches."""
    cells = all_sets(Path("/nowhere"))["simulated"]
    told = "data.batch_key=plate"
    config = compose(f"{OURS[method].format(told=cells.told)} {cells.words}".split())
    assert config.data.n_batches == 3
    assert (told in OURS[method].format(told=told)) == (method != "not told")


def test_latent_spaces_are_scored_against_the_cells_batches(tmp_path):
    words = "data=synthetic data.n_cells=200 data.n_genes=100 data.n_batches=2 data.n_types=3"
    dataset = load(**compose([*words.split(), "model=pca"]).data.model_dump())
    batch = dataset.covariates.batches[0]
    rng = np.random.default_rng(0)
    apart = np.eye(3)[dataset.labels] * 9 + rng.normal(size=(200, 3))
    for seed, points in enumerate((apart, apart + 99 * batch[:, None])):
        folder = tmp_path / f"scvi-{seed}"
        folder.mkdir()
        order = rng.permutation(200)
        table = pd.DataFrame(points[order], dataset.cells[order], ["z1", "z2", "z3"])
        table.rename_axis("cell").to_csv(folder / "latent.csv")
    mixed, islands = (row for _, row in scored(dataset, tmp_path).iterrows())
    assert mixed["ilisi"] > 0.8
    assert islands["ilisi"] < 0.05
    assert mixed["nmi"] > 0.95
    assert (tmp_path / "scores" / "scvi-0.csv").exists()
