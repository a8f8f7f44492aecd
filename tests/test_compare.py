"""`scvae compare`: which run is which, figures of any setting, and a folder that is whole."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import FAST
from scipy import stats

from scvae_cli.results.means import by_seed, differences, summarise
from scvae_cli.results.pages import write_summary
from scvae_cli.results.table import _has_one_fit, results
from scvae_cli.results.verdict import verdict
from scvae_cli.runs.run import Run


@pytest.fixture
def twins(run_of, tmp_path):
    """Jobs of two sweeps, one lr each, that have the same names."""
    source = run_of(*FAST, "model=ae")
    for sweep, lr in (("a", 0.001), ("b", 0.003)):
        for seed in (0, 1):
            folder = tmp_path / sweep / f"job{seed}"
            shutil.copytree(source, folder)
            config = (folder / "config.yaml").read_text()
            config = re.sub(r"^lr: .*", f"lr: {lr}", config, flags=re.M)
            (folder / "config.yaml").write_text(
                re.sub(r"^seed: 0", f"seed: {seed}", config, flags=re.M)
            )
            record = json.loads((folder / "run.json").read_text())
            record["warnings"] = [f"of {lr}"] if seed else []
            (folder / "run.json").write_text(json.dumps(record))
    return tmp_path


def test_runs_of_one_name_are_told_apart(scvae, twins):
    path = twins / "b" / "job0" / "run.json"
    path.write_text(path.read_text().replace('"status": "done"', '"status": "failed"'))
    result = scvae("compare", "a", "b", "--to", "c")
    assert result.code == 0, result.err
    names = ["a/job0", "a/job1", "b/job0", "b/job1"]
    assert pd.read_csv("c/results.csv")["run"].tolist() == names
    page = (twins / "c" / "report.html").read_text()
    for name in names:
        assert f'<a href="../{name}/report.html">{name}</a>' in page
    links = re.findall(r'"link": ?"([^"]*)"', page)  # of the first runs of settings that are done
    assert links == ["../a/job0/report.html", "../b/job1/report.html"]
    assert "warning: of 0.003 (b/job1)\n" in result.err
    assert "  b/job0: failed" in result.err


def test_a_run_that_did_not_end_may_still_run(scvae, twins):
    path = twins / "b" / "job0" / "run.json"
    path.write_text(path.read_text().replace('"status": "done"', '"status": "running"'))
    assert (
        "  job0: unfinished, killed, or still running\n" in scvae("compare", "b", "--to", "c").err
    )
    text = (twins / "c" / "summary.md").read_text()
    assert "- job0: unfinished, killed, or still running\n" in text


def test_a_setting_asked_for_twice_counts_once(scvae, twins):
    once, again = (scvae("compare", "a", "b", *["--by", "lr"] * n, "--json") for n in (1, 2))
    assert json.loads(again.out) == json.loads(once.out)


@pytest.mark.parametrize(("key", "n_seeds"), [("seed", "1"), ("lr", "2")])
def test_by_a_number_alone(scvae, twins, key, n_seeds):
    result = scvae("compare", "a", "b", "--by", key, "--to", "c")
    assert result.code == 0, result.err
    assert (twins / "c" / "figures" / f"scores_by_{key}.png").exists()
    rows = [line.split() for line in result.out.splitlines() if line.strip()]
    assert [row[1] for row in rows[1:3]] == [n_seeds, n_seeds]
    assert "over model" not in result.err
    assert (
        f"Varied: {'lr, seed' if key == 'lr' else 'seed'}."
        in (twins / "c" / "summary.md").read_text()
    )


def test_a_comparison_is_whole_or_not_there(scvae, twins, monkeypatch):
    def broken(folder, *arguments, **how):
        write_summary(folder, *arguments, **how)
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr("scvae_cli.commands.compare.write_summary", broken)
    result = scvae("compare", "a", "--to", "c")
    assert result.code == 1
    assert "No space left on device; nothing was kept" in result.err
    assert sorted(path.name for path in twins.iterdir()) == ["a", "b"]
    assert Run(twins / "a" / "job0").status == "done"


def test_settings_that_agree_in_six_digits_are_not_averaged_together():
    table = pd.DataFrame(
        {
            "run": list("abcd"), "model": "vae", "lr": [0.00100000001, 0.001] * 2,
            "seed": [0, 0, 1, 1], "status": "done", "tsne_nmi": [0.1, 0.9, 0.2, 0.8],
        }
    )  # fmt: skip
    names, scores = by_seed(table, ["model", "lr"], "tsne_nmi")
    assert names == ["vae, lr 0.00100000001", "vae, lr 0.001"]
    assert scores.tolist() == [[0.1, 0.9], [0.2, 0.8]]
    assert differences(table, ["model", "lr"])["mean"].tolist() == pytest.approx([-0.7])


def test_runs_whose_model_no_seed_changes_are_known(scvae, run_of, tmp_path):
    """Principal components of all molecules; not where each seed holds out others."""
    kinds = {"pca": ["model=pca"], "held": ["model=pca", "validation=molecules"],
             "random": ["model=projection"]}  # fmt: skip
    paths = [run_of(*FAST, *words) for words in kinds.values()]
    assert results([Run(path).read_all() for path in paths])["one_fit"].to_list() == [
        True, False, False,
    ]  # fmt: skip
    # What `trained=RUN` clusters again was trained with this seed, and RUN with no other.
    settings = {"model": "vae", "trained": "r", "embedding": "mean", "seed": 0}
    assert not _has_one_fit(settings)
    assert _has_one_fit({**settings, "model": "pca"})


def test_runs_of_one_seed_are_one_value_of_a_mean():
    """By scipy: averaged within a seed, as the verdict does; more of one seed tell no more."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "run": [f"r{i}" for i in range(12)], "model": "vae",
            "tsne.perplexity": [10, 20, 30] * 4, "seed": np.repeat([0, 1, 2, 3], 3),
            "status": "done", "tsne_nmi": rng.random(12),
        }
    )  # fmt: skip
    (row,) = summarise(table, ["model"]).to_dict("records")
    of_seeds = table.groupby("seed")["tsne_nmi"].mean()
    low, high = stats.t.interval(0.95, 3, of_seeds.mean(), stats.sem(of_seeds))
    assert row["n"] == 4
    assert (row["tsne_nmi_low"], row["tsne_nmi_high"]) == pytest.approx((low, high))
    (row,) = summarise(table[table["seed"] == 0], ["model"]).to_dict("records")
    assert row["n"] == 1
    assert np.isnan(row["tsne_nmi_low"])
    table = pd.concat([table, table.assign(model="ae")])
    table.iloc[[0, 4], table.columns.get_loc("status")] = "failed"
    assert "in no mean: 2 of 12 of vae." in verdict(table, ["model"], "tsne_nmi")[0]
