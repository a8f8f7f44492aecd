"""The README says what is true: its commands work, its files are there."""

import re
import shlex
from pathlib import Path

import pytest
import scanpy
import yaml
from conftest import FAST

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(
    r"^(?:\$ )?(scvae (?:train|compare|embed|verify) [^#\n]+?)\s*(?:#.*)?$", README, flags=re.M
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def test_there_are_commands():
    assert len(COMMANDS) >= 7


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs_or_fails_as_shown(scvae, tmp_path, command):
    (tmp_path / "my" / "experiment").mkdir(parents=True)
    (tmp_path / "my" / "experiment" / "wide.yaml").write_text(blocks("yaml")[0])
    arguments = shlex.split(command)[1:]
    shown = re.search(rf"^\$ {re.escape(command)}\n(.*)$", README, flags=re.M)
    if shown:
        result = scvae(*arguments)
        assert (result.code, result.err.strip()) == (2, shown[1])
        return
    if arguments[0] in ("compare", "verify") or "resume=" in command:
        assert scvae("train", "-m", *FAST, "model=pca,ae", "seed=0,1").code == 0
        (sweep,) = (tmp_path / "outputs").glob("*/*-sweep")
        there = sweep if "resume=" in command else sweep.parent
        command = re.sub(r"outputs/\d\S+", str(there.relative_to(tmp_path)), command)
        result = scvae(*shlex.split(command)[1:])
        assert result.code == 0, result.err
        return
    if "data=file" in command:
        cells = scanpy.datasets.pbmc68k_reduced().raw.to_adata()
        cells.obs["cell_type"] = scanpy.datasets.pbmc68k_reduced().obs["bulk_labels"]
        cells.X = cells.X.expm1().rint()  # counts, or nearly so
        cells.write_h5ad(tmp_path / "pbmc.h5ad")
        arguments[-1] = "data.genes=300"
        result = scvae(*arguments, *[k for k in FAST if not k.startswith("data")])
        assert result.code == 0, result.err
        return
    if "experiment=report" in command:
        arguments.append("--cfg=job")  # it needs the report's cells
    before = COMMANDS[COMMANDS.index(command) - 1]  # the run that this one goes on from
    if "trained=" in command or arguments[0] == "embed":
        assert "hydra.run.dir=" in before
        assert scvae(*shlex.split(before)[1:], *FAST, "map_3d=false").code == 0
    if arguments[0] == "embed":
        assert scvae(*arguments).code == 0
        return
    given = {a.split("=")[0] for a in arguments}
    kept = [a for a in [*FAST, "map_3d=false"] if a.split("=")[0] not in given]
    arguments = [a.replace("range(0,10)", "range(0,2)") for a in arguments]
    result = scvae(*arguments[:1], *kept, *arguments[1:])
    assert result.code == 0, result.err


def test_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^)make ([\w-]+)", README, flags=re.M):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


def test_the_tree_is_the_run_folder(scvae, tmp_path):
    assert scvae("train", *FAST).code == 0
    named = set(re.findall(r"[├└]── (\S+?)/?\s", README))
    found = {path.name for path in (tmp_path / "outputs" / "latest").iterdir()}
    assert named == found


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_preset_does_what_it_says(scvae, tmp_path):
    (tmp_path / "my" / "experiment").mkdir(parents=True)
    (tmp_path / "my" / "experiment" / "wide.yaml").write_text(blocks("yaml")[0])
    assert scvae("train", "--config-dir", "my", "experiment=wide", *FAST).code == 0
    config = yaml.safe_load((tmp_path / "outputs" / "latest" / "config.yaml").read_text())
    assert config["model"]["encoder"] == [512, 128]
    assert config["beta"] == 4.0


def test_numbers_of_the_reproduction_are_the_pages():
    """The README repeats rows of the tables that `make paper` wrote."""
    page = (ROOT / "docs" / "reproduction.md").read_text().splitlines()
    section = README.split("## The report, reproduced")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and "±" in line]
    assert len(rows) >= 6
    for row in rows:
        assert row in page, row
