"""README and the pages below docs/ that it leads to say what is true: commands, files, numbers."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scanpy
import yaml
from conftest import DRAWN, FAST

from benchmarks.latents.questions import gaps
from benchmarks.latents.sets import CIRCULAR
from benchmarks.latents.tables import BY, means, overall, ranking, read, verdicts
from scvae_cli.analysis.stats import paired
from scvae_cli.choice.plan import CANDIDATES
from scvae_cli.results.means import brief, differences, summarise
from scvae_cli.results.verdict import verdict
from scvae_cli.runs.files import FILES, files_of

ROOT = Path(__file__).parents[1]
PAGES = {
    name: (ROOT / name).read_text()
    for name in (
        "README.md", "docs/usage.md", "docs/sweeps.md", "docs/which-model.md", "docs/report.md",
        "docs/your-data.md",  # whose commands tests/test_files.py runs
        "docs/pipelines.md",
    )
}  # fmt: skip
README, USAGE, SWEEPS, WHICH, REPORT = list(PAGES.values())[:5]
MARKDOWN = [
    path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")) if "_build" not in path.parts
]
LINE = r"^(?:\$ )?(scvae (?:train|compare|embed|verify|data) [^#\n]+?)\s*(?:#.*)?$"
COMMANDS = list(
    dict.fromkeys(
        c for page in (README, USAGE, SWEEPS, WHICH) for c in re.findall(LINE, page, re.M)
    )
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", USAGE, flags=re.S)


def test_there_are_commands():
    assert len(COMMANDS) >= 20


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory) -> Path:
    """Where the sweep is kept that commands are about."""
    return tmp_path_factory.mktemp("sweeps") / "outputs"


def give_sweep(scvae, sweeps: Path, outputs: Path) -> None:
    """Put a sweep of two models and two seeds, made once, into a folder for outputs."""
    if sweeps.exists():
        shutil.copytree(sweeps, outputs, symlinks=True)
        return
    words = [*FAST, "model=pca,ae", "seed=0,1"]
    assert scvae("train", "-m", *words).code == 0
    shutil.copytree(outputs, sweeps, symlinks=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs_or_fails_as_shown(scvae, run_of, sweeps, tmp_path, command):
    (tmp_path / "my" / "experiment").mkdir(parents=True)
    (tmp_path / "my" / "experiment" / "wide.yaml").write_text(blocks("yaml")[0])
    arguments = shlex.split(command)[1:]
    shown = re.search(rf"^\$ {re.escape(command)}\n(.*)$", USAGE, flags=re.M)
    if shown:
        result = scvae(*arguments)
        assert (result.code, result.err.strip()) == (2, shown[1])
        return
    if "outputs/latest" in command:
        shutil.copytree(run_of(*FAST, "model=pca"), tmp_path / "outputs" / "latest")
        result = scvae(*arguments)
        assert result.code == 0, result.err
        return
    if arguments[0] == "compare" or "resume=" in command:
        give_sweep(scvae, sweeps, tmp_path / "outputs")
        (sweep,) = (tmp_path / "outputs").glob("*/*-sweep")
        there = sweep if "resume=" in command else sweep.parent
        command = re.sub(r"outputs/\d\S+", str(there.relative_to(tmp_path)), command)
        result = scvae(*shlex.split(command)[1:])
        assert result.code == 0, result.err
        return
    if "pbmc.h5ad" in command:
        cells = scanpy.datasets.pbmc68k_reduced().raw.to_adata()
        cells.obs["cell_type"] = scanpy.datasets.pbmc68k_reduced().obs["bulk_labels"]
        cells.obs["sample"] = ["a", "b"] * (cells.n_obs // 2)
        cells.X = cells.X.expm1().rint()  # counts, or nearly so
        cells.write_h5ad(tmp_path / "pbmc.h5ad")
        arguments = [a.replace("data.genes=2000", "data.genes=300") for a in arguments]
        fast = [k for k in FAST if not k.startswith("data")] if arguments[0] == "train" else []
        result = scvae(*arguments, *fast)
        assert result.code == 0, result.err
        return
    if "experiment=report" in command:
        arguments.append("--cfg=job")  # it needs the report's cells
    before = COMMANDS[COMMANDS.index(command) - 1]  # the run that this one goes on from
    if "trained=" in command or arguments[0] == "embed":
        assert "hydra.run.dir=" in before
        assert scvae(*shlex.split(before)[1:], *FAST).code == 0
    if arguments[0] == "embed":
        assert scvae(*arguments).code == 0
        return
    given = {a.split("=")[0] for a in arguments}
    kept = [a for a in FAST if a.split("=")[0] not in given]
    fewer = {"seed=range(0,10)": "seed=range(0,2)", "data.n_cells=5000": "data.n_cells=500"}
    arguments = [fewer.get(argument, argument) for argument in arguments]
    result = scvae(*arguments[:1], *kept, *arguments[1:])
    assert result.code == 0, result.err


def test_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = {
        t for page in PAGES.values() for t in re.findall(r"(?:`|^)make ([\w-]+)", page, re.M)
    }
    assert len(targets) >= 8
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


def test_the_tree_is_the_run_folder(run_of):
    named = set(re.findall(r"[├└]── (\S+?)/?\s", USAGE))
    found = {path.name for path in run_of(*FAST, *DRAWN).iterdir()}
    assert named == found
    for name in files_of("vsc"):
        if "/" not in name:
            assert re.search(rf"── {re.escape(name)} +{re.escape(FILES[name].holds)}\n", USAGE), (
                name
            )


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site give them."""
    prose = re.sub(r"^```.*?^```", "", page, flags=re.M | re.S)
    titles = re.findall(r"^#+ (.*)$", prose, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", t.lower()).strip().replace(" ", "-") for t in titles}


@pytest.mark.parametrize("name", [str(path.relative_to(ROOT)) for path in MARKDOWN])
def test_links_lead_somewhere(name):
    page = (ROOT / name).read_text()
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page):
        place = (ROOT / name).parent / target if target else ROOT / name
        assert place.exists(), target
        assert not anchor or anchor in anchors(place.read_text()), f"{target}#{anchor}"


def test_every_page_is_linked():
    """By the README, if people read it without the site, and by the site's lists of pages."""
    docs = ROOT / "docs"
    there = {str(p.relative_to(docs).with_suffix("")) for p in MARKDOWN if docs in p.parents}
    of_the_site = {"contributing", "changelog", "security"}  # README links the files they show
    linked = set(re.findall(r"\]\(docs/([\w-]+)\.md\)", README))
    assert linked == {name for name in there if "/" not in name} - of_the_site
    lists = re.findall(r"^```{toctree}\n(.*?)^```", (docs / "index.md").read_text(), re.M | re.S)
    pages = [re.sub(r".*<(.*)>", r"\1", line) for one in lists for line in one.split("\n")]
    assert there - {"index"} == {page for page in pages if page and page[0] != ":"}


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 75


def test_the_preset_does_what_it_says(scvae, tmp_path):
    (tmp_path / "my" / "experiment").mkdir(parents=True)
    (tmp_path / "my" / "experiment" / "wide.yaml").write_text(blocks("yaml")[0])
    assert scvae("train", "--config-dir", "my", "experiment=wide", *FAST).code == 0
    config = yaml.safe_load((tmp_path / "outputs" / "latest" / "config.yaml").read_text())
    assert config["model"]["encoder"] == [512, 128]
    assert config["beta"] == 4.0


def test_numbers_of_the_reproduction_are_the_pages():
    """The page repeats rows of the tables that `make paper` wrote."""
    page = (ROOT / "docs" / "reproduction.md").read_text().splitlines()
    rows = [line for line in REPORT.splitlines() if line.startswith("| ") and "±" in line]
    assert len(rows) >= 6
    for row in rows:
        assert row in page, row


def test_the_sweep_of_models_is_that_of_its_csv():
    table = pd.read_csv(ROOT / "docs" / "sweeps" / "models.csv")
    shown = ["tsne_nmi", "tsne_ari", "latent_nmi", "latent_ari"]
    (line,) = verdict(table, ["model"], "tsne_nmi")
    assert line in " ".join(README.split())
    words = " ".join(SWEEPS.split())
    assert line in words
    lines = [" ".join(line.split()) for line in SWEEPS.splitlines()]
    for row in brief(summarise(table, ["model"]), ["model"], shown):
        assert " ".join(row.values()) in lines, row
    assert f"Its runs took {table['seconds'].sum():.0f} s in all" in words
    (line,) = verdict(table, ["model"], "latent_nmi")
    assert "Cannot be told from it: vae; vsc (" in line


BETA = ROOT / "docs" / "sweeps" / "beta.csv"


@pytest.mark.skipif(not BETA.exists(), reason="docs/sweeps/beta.csv comes with `make sweep-beta`")
def test_the_sweep_of_beta_is_that_of_its_csv():
    gaps = differences(pd.read_csv(BETA), ["model", "beta"])
    same = gaps["a"].str.split(",").str[0] == gaps["b"].str.split(",").str[0]
    gaps = gaps[same & (gaps["score"] == "tsne_nmi")]
    assert len(gaps) == 12
    assert ((gaps["low"] < 0) & (gaps["high"] > 0)).all()
    assert "None of the twelve pairs of betas of one model can be told apart" in SWEEPS


def test_the_table_of_latent_spaces_is_that_of_the_page():
    tables = read(ROOT / "docs" / "benchmark")
    by = [means(tables, "latent", name) for name in BY]
    head, _, *rows = re.findall(r"^\| (.*) \|$", WHICH, flags=re.M)
    assert len(rows) == sum(about["kind"] != CIRCULAR for about in tables.labels.values())
    methods = [name.strip("`") for name in head.split(" | ")[1:]]
    for labels, *cells in (row.split(" | ") for row in rows):
        for method, cell in zip(methods, cells, strict=True):
            assert cell == " / ".join(f"{one.at[method, labels]:.3f}" for one in by)


def test_sentences_on_latent_spaces_are_those_of_the_page():
    tables, page = read(ROOT / "docs" / "benchmark"), (ROOT / "docs" / "benchmark.md").read_text()
    order = ranking(tables)
    assert order.index[0] == "pca-sqrt"
    assert f"NMI and ARI is {order.iloc[0]:.3f}, the highest" in README
    networks = order[[name for name in order.index if not name.startswith("pca")]]
    best = f"`experiment=choose/{networks.idxmax()}`) is {networks.max():.3f}"
    said = f"network of counts ({best}"
    assert said in " ".join(README.split())
    vsc = overall(tables, ["vsc"]).loc["vsc"].mean()
    assert f"the report's VSC: {vsc:.3f}" in README
    table = overall(tables, CANDIDATES)
    assert len(table.columns) == 5
    assert all(paired(table.loc["pca-sqrt"], table.loc[name]).low <= 0 for name in table.index)
    chosen = {name: verdict.chosen for name, verdict in verdicts(tables).items()}
    others = {name for name, candidate in chosen.items() if candidate != "pca-sqrt"}
    assert others == {"CEL-seq2", "Drop-seq"}
    assert {chosen[name] for name in others} == {"vae-nb-wide"}
    (gain,) = re.findall(r"^\| decoded together \|.*\| (\S+ ± \S+) \|$", page, flags=re.M)
    assert f"gains nothing that can be told from chance: {gain}" in WHICH
    assert abs(float(gain.split(" ± ")[0])) < float(gain.split(" ± ")[1])
    for by in BY:
        table = means(tables, "latent", by)
        for network in ("ae-nb", "vae-nb", "vae-nb-wide", "vsc-nb"):
            above = table.loc[network] - table.loc["pca-20"]
            assert above["simulated, 8 types"] > 0
            assert by == "Leiden" or above["three cell lines, Drop-seq"] < 0


def test_what_helps_cannot_be_told_where_the_readme_says_so():
    tables = read(ROOT / "docs" / "benchmark")
    facs = ("FACS, 10 populations", "FACS, 5 populations")
    for a, b, labels in (
        ("vae-zinb", "vae-nb", facs),
        ("vsc-nb-sound", "vsc-nb", (*facs, "simulated, 8 types")),
    ):
        found = gaps(tables, a, b).by_labels
        assert all(gap.low <= 0 <= gap.high for name in labels for gap in found[name]), (a, b)
    found = gaps(tables, "vae-nb", "vae-gaussian").by_labels
    sentences = (
        (facs[0], 0, "below `vae-nb` by .032 ± .037"), (facs[0], 1, ".029 ± .050 (Leiden)"),
        (facs[1], 0, "above with k-means by .009 ± .005"),
        ("five cell lines, CEL-seq2", 0, ".007 ± .005"),
        ("five cell lines, CEL-seq2", 1, ".021 ± .014"),
    )  # fmt: skip
    for name, at, words in sentences:
        told = found[name][at]
        assert f"{abs(told.mean):.3f} ± {told.half:.3f}".replace("0.", ".") in words
        assert words in " ".join(WHICH.split())
    latent = gaps(tables, "vae-nb", "vae-nb-latent")
    gap = latent.over_sets
    assert f"worse by {gap.mean:.3f} ± {gap.half:.3f}".replace(" 0.", " .") in WHICH
    gap = latent.by_labels["three cell lines, Drop-seq"][0]
    assert f"by {gap.mean:.3f} ± {gap.half:.3f}".replace(" 0.", " .") in WHICH
    by = [means(tables, "latent", name) for name in BY]
    fine, simulated = (
        " / ".join(f"{one.at['vsc-nb-sound', labels]:.3f}" for one in by)
        for labels in (facs[0], "simulated, 8 types")
    )
    said = f"(`vsc-nb-sound`: {fine} on {facs[0]}; simulated: {simulated}) cannot be told from"
    assert said in " ".join(WHICH.split())
    gaussian = " / ".join(f"{one.at['vae-gaussian', 'simulated, 8 types']:.3f}" for one in by)
    assert f"nothing on the simulated cells ({gaussian})" in " ".join(WHICH.split())


def test_sentences_on_the_reproduction_are_those_of_its_page():
    page = (ROOT / "docs" / "reproduction.md").read_text()
    for number in ("+.024 ± .159", "+.058 ± .061"):
        assert number in REPORT
        assert number.replace(".", "0.").replace("+", "") in page
    assert "8 of 12 published numbers lie outside" in page
    assert "8 of the 12 numbers lie outside" in REPORT
    assert "from 0.3 to 45 %" in page
    for text in (REPORT, page):
        assert "Of 32 steps from one beta to the next, 3" in text
    cells = re.findall(
        r"^\| (?:VAE|VSC) \| [\d.]+ \| (.* ± .*) \| [\d.]+ \| [\d.]+ \|$", page, re.M
    )
    assert len(cells) == 10
    means = np.array([[float(c.split(" ")[0]) for c in row.split(" | ")] for row in cells])
    spread = np.ptp(means.reshape(2, 5, 4), axis=1)
    assert (round(spread.min(), 2), round(spread.max(), 2)) == (0.02, 0.11)
