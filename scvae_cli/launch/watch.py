"""Watch the jobs of a sweep while they run, wherever they do."""

from contextlib import suppress
from threading import Event, Thread
from time import perf_counter

from scvae_cli.console import Jobs, minutes, stage_name
from scvae_cli.errors import InputError
from scvae_cli.launch.plan import Job, Sweep
from scvae_cli.results.table import results, write_csv
from scvae_cli.runs.run import Run, find

INTERVAL = 0.5  # seconds between looks at how jobs are


class Watch:
    """Keeps results.csv and the terminal up to date while jobs run.

    Jobs may be in other processes or on other machines: their folders tell how they are.

    Args:
        sweep: its folder, all jobs, and those that have a result already.
        view: the terminal.
    """

    def __init__(self, sweep: Sweep, view: Jobs) -> None:
        self._folder, self._plan, self._view = sweep.folder, sweep.plan, view
        self._runs: dict[str, Run] = {}
        for job in sweep.done:
            run = find(self._folder / job.name)
            assert run is not None
            self._runs[job.name] = run
        self._before = len(sweep.done)
        self._start = perf_counter()
        self._over = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._look()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        """Show jobs that have ended since the last look, and how the others are."""
        running, new = [], False
        for job in self._plan:
            if job.name in self._runs:
                continue
            try:
                run = Run(self._folder / job.name)
                if run.status != "unfinished":
                    run.read_all()
            except (InputError, OSError):  # it has not begun, is damaged, or goes away
                continue
            if run.status == "unfinished":
                running.append(f"{job.name}: {_state(run)}")
                continue
            self._runs[job.name] = run
            new = True
            self._view.ended(self._line(job, run), run.warnings, failed=run.status == "failed")
        ended = len(self._runs) - self._before
        left = len(self._plan) - len(self._runs)
        seconds = (perf_counter() - self._start) / ended * left if ended else None
        failed = sum(run.status == "failed" for run in self._runs.values())
        self._view.update(len(self._runs) - failed, running, failed, left - len(running), seconds)
        if new:
            runs = [self._runs[job.name] for job in self._plan if job.name in self._runs]
            with suppress(OSError):  # of a full disk, the end of the sweep tells
                write_csv(self._folder / "results.csv", results(runs))

    def _line(self, job: Job, run: Run) -> str:
        """Say in a line how a job ended."""
        number = f"[{len(self._runs):>{len(str(len(self._plan)))}}/{len(self._plan)}]"
        if run.status == "failed":
            return f"{number} {job.name}  failed: {run.record.get('reason')}"
        seconds = minutes(sum(run.record.get("seconds", {}).values()))
        measures = (("tsne_nmi", "NMI"), ("tsne_ari", "ARI"), ("tsne_silhouette", "silhouette"))
        scores = [
            f"{word} {run.flat_scores[name]:.3f}"
            for name, word in measures
            if name in run.flat_scores
        ]
        return f"{number} {job.name}  {' '.join(scores)}  took {seconds}"


def _state(run: Run) -> str:
    """Return the stage that a run is in, and how far: `train, epoch 20 of 200`."""
    stage = stage_name(run.record.get("stage", "start"))
    return ", ".join(filter(None, (stage, run.record.get("progress"))))
