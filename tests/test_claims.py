"""Numbers that comments of conf/ and the README give are those of the pages in docs/."""

import re
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.latents.tables import BY, means, ranking, read
from benchmarks.training import beside, growth, on_disk
from benchmarks.training.page import on_a_gpu
from scvae_cli import CONF

ROOT = Path(__file__).parents[1]
README = " ".join((ROOT / "README.md").read_text().split())
USAGE = " ".join((ROOT / "docs" / "usage.md").read_text().split())
REPRODUCTION = (ROOT / "docs" / "reproduction.md").read_text()
MEASURES = ("NMI", "ARI", "HOM", "COM")
COLUMNS = {"report": 3, "corrected": 4, "code": 5}  # of the page's table of scores on the map


def comments(preset: str) -> str:
    lines = (CONF / "experiment" / f"{preset}.yaml").read_text().splitlines()
    return " ".join(line.removeprefix("# ") for line in lines if line.startswith("#"))


def on_the_map(measure: str, model: str) -> list[str]:
    section = REPRODUCTION.split("### k-means on the 2-D map")[1].split("\n### ")[0]
    (row,) = re.findall(rf"^\| {measure} \| {model} \|.*$", section, flags=re.M)
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.mark.parametrize(
    "preset",
    [f"{kind}/{m}" for kind in COLUMNS for m in ("ae", "vae", "vsc", "pca")
     if m != "pca" or kind == "corrected"],
)  # fmt: skip
def test_presets_expect_what_the_reproduction_found(preset):
    kind, model = preset.split("/")
    expected = comments(preset).split("Expect")[1]
    for measure in MEASURES:
        cells = on_the_map(measure, model.upper())
        cell = cells[COLUMNS[kind]]
        cell = cells[COLUMNS["report"]] if cell == "the same" else cell
        assert f"{measure} {cell.split(' ')[0][1:]}" in expected


def test_best_is_what_the_page_chooses_and_expects_what_it_found():
    tables, said = read(ROOT / "docs" / "benchmark"), comments("best")
    best = str(ranking(tables).index[0])
    assert f"/experiment/choose/{best}\n" in (CONF / "experiment" / "best.yaml").read_text()
    facs = "FACS, 10 populations"
    for by in BY:
        mean = means(tables, "latent", by).at[best, facs]
        assert f"{mean:.3f}"[1:] + f" by {by}" in said


def test_one_start_of_kmeans_scatters_as_the_settings_say():
    section = REPRODUCTION.split("## Where chance comes in")[1].split("\n## ")[0]
    last = [float(row.split("|")[-2]) for row in re.findall(r"^\| \w+ \| NMI .*$", section, re.M)]
    assert len(last) == 3
    low, high = (f"{value:.3f}"[1:] for value in (min(last), max(last)))
    assert f"with 1, NMI has an sd of {low} to {high}" in (CONF / "config.yaml").read_text()


def test_the_demo_is_a_run_of_the_sweep():
    """`model=vsc`, seed 0, beta 2: the first job of its model in docs/sweeps/models.csv."""
    runs = pd.read_csv(ROOT / "docs" / "sweeps" / "models.csv")
    run = runs[(runs["model"] == "vsc") & (runs["seed"] == 0)].iloc[0]
    for space, name in (("tsne", "2-D map"), ("latent", "latent space")):
        scores = " ".join(f"{run[f'{space}_{m.lower()}']:.3f}" for m in MEASURES)
        assert f"{name} {scores}" in README


def test_speeds_are_those_of_the_pages():
    page = (ROOT / "docs" / "performance.md").read_text()
    ratios = [float(r) for r in re.findall(r"^\| (?:AE|VAE|VSC) \|.*\| ([\d.]+) \(", page, re.M)]
    (wide,) = re.findall(r"^\| VAE, theirs.*\| ([\d.]+) \(", page, flags=re.M)
    assert f"{min(ratios)} to {max(ratios)} times faster than a plain dense loop" in USAGE
    theirs = f"{float(wide):.0f} times faster than one of the authors' network, which is larger"
    assert theirs in USAGE
    on_gpu = pd.read_csv(ROOT / "docs" / "performance" / "cuda.csv")
    assert on_a_gpu(on_gpu) in page
    for name, module in (("growth", growth), ("on_disk", on_disk)):
        table = pd.read_csv(ROOT / "docs" / "performance" / f"{name}.csv")
        assert module.part(table) in page
    million = on_gpu.query("n_cells == 1_000_000 and who == 'ours'").set_index("batch_size")
    small, large = (f"{million.loc[batch, 'seconds']:.1f} s in batches" for batch in (256, 4096))
    assert f"takes {small} of 256, and {large} of 4,096" in USAGE
    assert "H100" in million["card"].iloc[0]
    beside_scvi = pd.read_csv(ROOT / "docs" / "performance" / "scvi.csv")
    assert beside.part(beside_scvi) in page
    ratio, above = beside_scvi["ratio"], beside_scvi["above"]
    assert f"takes scVI {ratio.min():.1f} to {ratio.max():.1f} times as long as ours" in USAGE
    assert f"and ours {above.min():.1f} to {above.max():.1f} times as long as its matrix" in USAGE
    race = read(ROOT / "docs" / "benchmark").about["race"]
    assert f"the fastest epoch is {race['fastest']} times as fast as scVI's" in USAGE
    assert f"in five turns it was {race['least']} to {race['most']} times" in USAGE
