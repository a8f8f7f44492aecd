"""Write the reproduction of the report as a page: tables, figures and verdicts.

Every number on the page is computed from the tables of `evidence`, except the numbers of the
report and of its authors' repository (github.com/okunator/Variational-Autoencoders), which are
given as theirs.
"""

from collections.abc import Mapping
from pathlib import Path

from scipy.stats import binomtest

from scvae_cli.atomic import write_file
from scvae_cli.paper.audit import AUDIT
from scvae_cli.paper.beta import beta
from scvae_cli.paper.chance import chance
from scvae_cli.paper.claims import claims
from scvae_cli.paper.collect import ACTIVE, collect
from scvae_cli.paper.evidence import NAMES, Evidence, read
from scvae_cli.paper.figures import CAPTIONS, draw, figure
from scvae_cli.paper.scores import published_numbers, scores, summary
from scvae_cli.results.markdown import table
from scvae_cli.runs.run import Run


def write(
    done: Mapping[str, Run],
    failed: Mapping[str, str],
    to: Path,
    labels: str | None,
    command: str,
) -> tuple[Path, list[dict[str, str]]]:
    """Write the tables and figures into reproduction/, and reproduction.md from the tables.

    Args:
        done: the runs that ended well, by their names in `paper.plan`.
        failed: why the other runs failed, by name.
        to: folder to write to.
        labels: csv file with other labels to score against, or None.
        command: the command that makes this page.

    Returns:
        The page's file, and the rows of its summary: NMI and ARI on the 2-D map.

    Raises:
        InputError: the other labels cannot be read.
    """
    folder = to / "reproduction"
    evidence = collect(done, failed, labels=labels, command=command)
    drawn = draw(done, evidence)
    evidence.about["figures"] = list(drawn)
    evidence.write(folder)
    for name, png in drawn.items():
        write_file(folder / f"{name}.png", png)
    written = read(folder)
    path = to / "reproduction.md"
    write_file(path, text(written).encode())
    return path, summary(written)


def text(evidence: Evidence) -> str:
    """Return the page."""
    sections = [
        _head(evidence),
        claims(evidence),
        scores(evidence),
        published_numbers(evidence),
        _maps(evidence),
        _latents(evidence),
        chance(evidence),
        beta(evidence),
        _losses_and_times(evidence),
        _audit(evidence),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _head(evidence: Evidence) -> str:
    """Return the title, what the page was made from, and how to read its numbers."""
    failed = evidence.runs[evidence.runs["status"] == "failed"]
    notes = [
        f"\n\n**{run.run}** failed and is in no mean: {run.reason.split(';')[0]}."
        for run in failed.itertuples()
    ]
    certainty = (
        "A value is a mean over seeds ± half the width of its 95 % confidence interval (Student's "
        "t). A difference whose interval holds 0 cannot be told from chance; intervals are not "
        "corrected for their number."
        if len(evidence.runs_of("report", "vae")) > 1
        else "With one seed there are no intervals, and nothing can be told from chance."
    )
    return f"""# The report, reproduced

{_made_by(evidence)}

The report is "Variational autoencoders for single-cell transcriptomics data"; section numbers are
its own. *As described* is its text (`experiment=report/...`): the variational models embed one
random sample of each cell's posterior. *Corrected* embeds the posterior mean
(`experiment=corrected/...`), from the same trainings. *Code* is what its authors' published code
does (`experiment=code/...`, one seed). All numbers are computed from the tables in
[reproduction/](reproduction).

{certainty}{"".join(notes)}{_share_failed(evidence)}"""


def _made_by(evidence: Evidence) -> str:
    """Return the sentence on command, cells, runs and versions."""
    about = evidence.about
    versions, commits = about["versions"], about["commits"]
    n_seeds = len(evidence.runs_of("report", "vae"))
    return (
        f"Made by `{about['command']}` from 10x Genomics' raw counts: {about['n_cells']:,} cells, "
        f"{about['n_genes']:,} genes, {about['n_types']} cell types; "
        f"{(evidence.runs['status'] == 'done').sum()} runs, "
        f"{_number(n_seeds, 'seed')} a model, {_number(about['threads'], 'thread')}, "
        f"Python {versions['python']}, torch {versions['torch']}, scikit-learn "
        f"{versions['scikit-learn']}, scvae {versions['scvae-cli']}"
        f"{' at ' + ', '.join(commits) if commits else ''}."
    )


def _share_failed(evidence: Evidence) -> str:
    """Return how often trainings of the AE collapse, with a 95 % interval of the rate."""
    n_failed = evidence.n_failed("report", "ae")
    if not n_failed:
        return ""
    n = n_failed + len(evidence.runs_of("report", "ae"))
    low, high = binomtest(n_failed, n).proportion_ci()
    return (
        f"\n\n{n_failed} of {n} trainings of the AE failed: the rate may be from {100 * low:.1f} "
        f"to {100 * high:.0f} % (95 %). Comparisons of the AE are given with and without failed "
        "trainings."
    )


def _maps(evidence: Evidence) -> str:
    """Return the section of the figures that are not shown in another."""
    drawn = evidence.about["figures"]
    shown = [name for name in CAPTIONS if name in drawn and name not in ("beta", "losses")]
    return "\n\n".join(["## Figures drawn again", *map(figure, shown)])


def _latents(evidence: Evidence) -> str:
    """Return the section on how many of the latent features the models use."""
    rows = []
    for model in ("ae", "vae", "vsc"):
        used = evidence.runs_of("corrected", model)["used"].astype(int)
        rows.append([NAMES[model], ", ".join(map(str, used)), f"{used.mean():.1f}"])
    return f"""## Latent features in use

Of {evidence.about["n_latent"]}, those whose posterior mean (the AE's z) has a variance over \
cells above {ACTIVE:g}
(Burda, Grosse & Salakhutdinov 2016), seed by seed. The ReLU on the AE's z leaves some at 0 for all
cells.

{table(["", "in use", "mean"], rows)}"""


def _number(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _losses_and_times(evidence: Evidence) -> str:
    """Return the section on the losses over epochs and the seconds of a training."""
    rows = []
    for kind, title in (("report", "as described"), ("corrected", "solved"), ("code", "code")):
        for model in NAMES:
            if (kind == "corrected") != (model == "pca"):
                continue
            seconds = evidence.runs_of(kind, model)["seconds"]
            if len(seconds):
                spread = f"{seconds.min():.1f} to {seconds.max():.1f}"
                rows.append(
                    [NAMES[model], title, f"{seconds.median():.1f}", spread, str(len(seconds))]
                )
    return f"""## Losses and times

{figure("losses")}

Seconds to train, all in this one set of runs on one machine, on which other work shows in the
largest numbers. The report gives 3 to 5 minutes for the AE and 17 to 25 for the others (3.4).

{table(["", "", "median", "least to most", "runs"], rows)}"""


def _audit(evidence: Evidence) -> str:
    """Return the section that compares the report with its authors' code."""
    losses = {f"code_{model}": _final_loss(evidence, model) for model in ("ae", "vae")}
    rows = [[p.number, p.report, p.code, p.shown.format(**losses)] for p in AUDIT]
    return f"""## Audit: the report against its code

{table(["", "the report", "its authors' code", "shown by"], rows)}{_z_scores(evidence)}"""


def _final_loss(evidence: Evidence, model: str) -> str:
    """Return the loss of a cell at the end of a code preset, which the audit cites."""
    losses = evidence.runs_of("code", model)["total"]
    return f"{losses.mean():,.0f}" if len(losses) else "(not run)"


def _z_scores(evidence: Evidence) -> str:
    """Return the sentence on the runs on z-scores; nothing if there are none."""
    results = []
    for model in ("ae", "vae"):
        runs = evidence.runs_of("scaled", model)
        for run, nmi in zip(runs.itertuples(), evidence.scores_of(runs, "nmi"), strict=True):
            kl = f", KL at the end {run.kl:,.0f}" if run.kl else ""
            results.append(f"{NAMES[model]} NMI {nmi:.3f}{kl}")
    if not results:
        return ""
    return (
        "\n\nThe code on Seurat's z-scores (`data.scale=10`, one seed, 2-D map): "
        f"{'; '.join(results)}."
    )
