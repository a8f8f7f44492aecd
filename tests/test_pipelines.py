"""What other programs read and run: MultiQC, Snakemake, a shell for Nextflow, hadolint.

`make pipelines` runs these tests with the programs, which live in an environment of their own.
"""

import base64
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from textwrap import dedent

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import DRAWN, SMALL
from PIL import Image

import scvae_cli
from scvae_cli.cli import main

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / "workflows" / "snakemake" / "Snakefile"
MODULES = ROOT / "workflows" / "nf-core" / "modules" / "local" / "scvae"
OURS = str(Path(sys.executable).parent / "scvae")
QUICK = ["tsne.max_iter=250", "tsne.perplexity=10", "data.label_key=cell_type"]


def program(name: str) -> str:
    """The path of a program, or the reason why there is none."""
    folder = os.environ.get("SCVAE_PIPELINES")
    if not folder:
        pytest.skip("SCVAE_PIPELINES is not set; `make pipelines` sets it")
    path = Path(folder) / name
    assert path.exists(), path
    return str(path)


def call(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    words = list(map(str, command))
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with counts: pbmc.h5ad and second.h5ad."""
    path = tmp_path_factory.mktemp("pipelines")
    random = np.random.default_rng(0)
    types = random.integers(0, 3, 160)
    means = random.gamma(1, 1, 60) * np.exp(random.normal(0, 1.5, (3, 60)))
    cells = anndata.AnnData(random.poisson(3 * means[types]).astype("float32"))
    cells.obs_names = [f"cell {i}" for i in range(160)]
    cells.var_names = [f"gene {i}" for i in range(60)]
    cells.obs["cell_type"] = [f"type {i}" for i in types]
    cells[:120].copy().write_h5ad(path / "pbmc.h5ad")
    cells[120:].copy().write_h5ad(path / "second.h5ad")
    return path


@pytest.fixture(scope="module")
def runs(folder) -> dict[str, Path]:
    """Runs by the names that MultiQC should give them; two have folders of one name."""
    program("multiqc")  # without it, nobody looks at them
    words = [*SMALL, *DRAWN, "epochs=12", "model=vae", "validation=cells"]
    words.append("figures.dpi=300")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for place, seed, name in (("a/run", 0, "true"), ("b/run", 1, "true"), ("c/run", 2, "s-3")):
            place = f"hydra.run.dir={place}"
            main(["train", *words, place, f"seed={seed}", f"multiqc={name}", "quiet=true"])
    return {"a/run": folder / "a/run", "b/run": folder / "b/run", "s-3": folder / "c/run"}


@pytest.fixture(scope="module")
def results(folder) -> Path:
    """What the workflow wrote."""
    settings = {
        "scvae": OURS, "multiqc": program("multiqc"), "settings": QUICK, "seeds": 1,
        "candidates": ["pca-10"], "new": {"second": "second.h5ad"}, "types": True,
    }  # fmt: skip
    (folder / "mine.yaml").write_text(yaml.safe_dump(settings))
    snakemake(folder)
    return folder / "results"


def snakemake(folder: Path, *flags: str) -> str:
    words = ["--snakefile", WORKFLOW, "--configfile", "mine.yaml", "--cores", "2", *flags]
    words += ["--set-threads", "choose=1"]  # two processes would load all libraries twice
    done = call(program("snakemake"), *words, cwd=folder)
    return done.stdout + done.stderr


# ---- Snakemake


def test_the_workflow_goes_from_counts_to_a_choice_to_further_cells(folder, results):
    told = json.loads((results / "data.json").read_text())
    cells = anndata.read_h5ad(folder / "pbmc.h5ad")
    assert (told["n_cells"], told["n_genes"], told["values"]) == (120, 60, "counts")
    assert told["cell_types"] == cells.obs["cell_type"].value_counts().to_dict()

    choice = results / "pbmc"
    assert {*pd.read_csv(choice / "choice.csv")["candidate"]} == {"pca-sqrt", "pca-10"}
    chosen = choice / "chosen"
    assert chosen.resolve() == next(choice.glob("chosen-*"))
    run = scvae_cli.load(chosen)
    second = anndata.read_h5ad(results / "embedded" / "second.h5ad")
    latent = run.embed(anndata.read_h5ad(folder / "second.h5ad"))
    assert np.array_equal(second.obsm["X_scvae"], latent)
    assert (second.obs["scvae_cell_type"] == second.obs["cell_type"]).mean() > 0.8
    named = pd.read_csv(results / "embedded" / "second.csv")
    assert list(named["cell"]) == [f"cell {i}" for i in range(120, 160)]


def test_the_workflow_has_nothing_left_to_do(folder, results):
    assert "Nothing to be done" in snakemake(folder, "--dry-run")


# ---- MultiQC


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, float_precision="round_trip")


@pytest.fixture(scope="module")
def report(folder, runs, results) -> dict[str, object]:
    """MultiQC's report on runs and a sweep: its data, and its page."""
    words = ["--no-version-check", "--strict", "--no-ansi", "--outdir", "mq"]
    done = call(program("multiqc"), *words, "a", "b", "c", results, cwd=folder)
    assert "Lint" not in done.stderr, done.stderr
    data = json.loads((folder / "mq" / "multiqc_data" / "multiqc_data.json").read_text())
    return {**data, "page": (folder / "mq" / "multiqc_report.html").read_text()}


def test_multiqc_has_the_scores_of_each_run(report, runs, results):
    shown = report["report_saved_raw_data"]["multiqc_scvae_scores_table"]
    jobs = {f"pbmc/{path.name}": path for path in (results / "pbmc").glob("00*")}
    everything = {**runs, **jobs, "pbmc": results / "pbmc" / "chosen"}
    assert {*shown} == {*everything}
    assert len(shown) == 6
    for name, path in everything.items():
        run = scvae_cli.load(path)
        row = shown[name]
        scores = json.loads((path / "scores.json").read_text())
        assert {k: row[f"{s}_{k}"] for s in ("tsne", "latent") for k in scores[s]} == {
            k: scores[s][k] for s in ("tsne", "latent") for k in scores[s]
        }
        assert row["n_cells"] == len(run.cells), name


def test_multiqc_has_the_loss_of_each_epoch(report, runs):
    (lines,) = [
        data for name, data in report["report_saved_raw_data"].items() if "scvae_loss" in name
    ]
    assert {*lines} == {line for name in runs for line in (name, f"{name}, held out")}
    for name, path in runs.items():
        history = table(path / "history.csv").set_index("epoch")
        for line, column in ((name, "total"), (f"{name}, held out", "validation")):
            drawn = {int(epoch): value for epoch, value in lines[line].items()}
            assert drawn == history[column].to_dict()
    (plot,) = [plot for name, plot in report["report_plot_data"].items() if "scvae_loss" in name]
    (curves,) = plot["datasets"]
    for curve in curves["lines"]:  # a line from left to right: epoch 2 comes before epoch 10
        assert [int(epoch) for epoch, _ in curve["pairs"]] == list(range(1, 13))


def test_multiqc_has_the_means_of_a_sweep(report, results):
    shown = report["report_saved_raw_data"]["multiqc_scvae_sweep_means_table"]
    means = table(results / "pbmc" / "summary.csv")
    assert len(means) == len(shown) == 2
    for _, row in means.iterrows():
        (told,) = [t for name, t in shown.items() if name.endswith(row["experiment"])]
        assert told["n"] == row["n"] == 1
        for key in ("tsne_nmi_mean", "latent_ari_mean"):
            assert told[key] == row[key]


def test_multiqc_has_a_map_of_each_run_and_one_of_the_sweep(report, runs, results):
    page = report["page"]
    heads = re.findall(r"<h3[^>]*>\s*(?:<[^>]*>\s*)*([^<]+?)\s*<", page)
    maps = [head for head in heads if head.startswith("Map")]
    assert sorted(maps) == ["Map of a/run", "Map of b/run", "Map of pbmc", "Map of s-3",
                            "Maps of pbmc"]  # fmt: skip
    assert len({*re.findall(r"data:image/png;base64,[\w+/=]{2000,}", page)}) >= len(maps)
    assert not list((results / "pbmc").glob("0*/map_2d_mqc.html"))


def test_a_map_is_as_wide_as_a_report_needs(runs):
    for path in runs.values():
        picture = re.search(r"base64,([^\"]+)", (path / "map_2d_mqc.html").read_text())
        with Image.open(io.BytesIO(base64.b64decode(picture[1]))) as shown:
            assert shown.width == 1417
        with Image.open(path / "figures" / "map_2d.png") as drawn:
            assert drawn.width > 2000


# ---- Nextflow, which is not here: its scripts, as a shell runs them


def script_of(module: str, **values: str) -> str:
    """The script of a module, with these values in place of Nextflow's."""
    text = re.search(r'script:.*?"""\n(.*?)"""', (MODULES / module / "main.nf").read_text(), re.S)
    names = {f"${{{key.replace('__', '.')}}}": value for key, value in values.items()}
    script = dedent(text[1]).replace("\\\\", "\\")
    for name, value in names.items():
        script = script.replace(name, value)
    assert not re.search(r"(?<!\\)\$", script), script
    return script.replace("\\$", "$")


def test_the_module_embeds_further_cells(folder, results):
    script = script_of(
        "embed", run="results/pbmc/chosen", cells="second.h5ad", args="--labels", prefix="out",
        task__process="SCVAE_EMBED",
    )  # fmt: skip
    path = f"{Path(OURS).parent}{os.pathsep}{os.environ['PATH']}"
    call("env", f"PATH={path}", "bash", "-euo", "pipefail", "-c", script, cwd=folder)
    for ending in ("csv", "h5ad"):
        assert (folder / f"out.{ending}").exists()
    assert (folder / "out.csv").read_bytes() == (results / "embedded/second.csv").read_bytes()
    versions = yaml.safe_load((folder / "versions.yml").read_text())
    assert versions == {"SCVAE_EMBED": {"scvae-cli": scvae_cli.__version__}}


@pytest.mark.parametrize("module", ["choose", "embed"])
def test_a_module_is_described(module):
    meta = yaml.safe_load((MODULES / module / "meta.yml").read_text())
    text = (MODULES / module / "main.nf").read_text()
    assert {*meta["output"]} == {*re.findall(r"emit: (\w+)", text)}
    assert f"process {meta['name'].upper()} {{" in text
    pinned = yaml.safe_load((MODULES / module / "environment.yml").read_text())["dependencies"]
    assert pinned[-1] == {"pip": [f"scvae-cli[joblib]=={scvae_cli.__version__}"]}
    assert f"container 'scvae-cli:{scvae_cli.__version__}'" in text


# ---- containers


def test_hadolint_finds_nothing_in_the_dockerfile():
    assert call(program("hadolint"), "Dockerfile", cwd=ROOT).stdout == ""


def test_images_get_all_that_an_installation_needs():
    """The same files in both, and all that the wheel is made of."""
    ignore = (ROOT / ".dockerignore").read_text()
    docker = {line[1:] for line in ignore.splitlines() if line.startswith("!")}
    listed = re.search(r"%files\n(.*?)\n\n", (ROOT / "containers/scvae.def").read_text(), re.S)[1]
    pairs = [line.split() for line in listed.splitlines()]
    assert all(there == f"/src/{here}" for here, there in pairs)
    assert {here for here, _ in pairs} == {name.partition("/install.sh")[0] for name in docker}
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        "pyproject.toml", "requirements.lock", "containers/install.sh",
        project["project"]["readme"], *project["project"]["license-files"],
        *wheel["packages"], *wheel["force-include"],
    }  # fmt: skip
    assert docker == needed
