"""The runs of a search: composed by Hydra as the jobs of a sweep, trained as stacks, some tasks at a time."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar

from hydra.types import HydraContext
from omegaconf import DictConfig

from cl_runner.errors import DamagedError
from cl_runner.results.files import is_complete, mark_dropped, position_of
from cl_runner.results.locks import mark_failed_unless_locked
from cl_runner.sweeps.directories import Directories
from cl_runner.sweeps.jobs import Job, divided
from cl_runner.sweeps.prepare import Prepared
from cl_runner.sweeps.search.progress import SearchProgress
from cl_runner.sweeps.search.scores import score_after
from cl_runner.sweeps.stacked import room
from cl_runner.sweeps.workers import Workers

Name = TypeVar("Name", bound=Hashable)


class Trainer:
    """Trains runs of one sweep by the `count` workers of a pool, which stay for all of the search."""

    def __init__(
        self, context: HydraContext, sweep: DictConfig, pool: Workers, count: int, progress: SearchProgress
    ) -> None:
        self._context, self._sweep = context, sweep
        self._pool, self._count, self._progress = pool, count, progress
        self._directories = Directories(Path(sweep.hydra.sweep.dir), ())

    def begin(self, overrides: Mapping[Name, Sequence[str]], first: int) -> "Runs[Name]":
        """Compose a run of each list of overrides, which has a name; the first is the job of the number `first`."""
        self._progress.composes(len(overrides))
        jobs = list(overrides.values())
        prepared = Prepared(self._context, self._sweep, jobs, first, self._progress, directories=self._directories)
        return Runs(self, prepared, dict(enumerate(overrides, first)))

    def within(self, directory: Path) -> str:
        """The name of a run's directory, within that of the sweep."""
        return directory.relative_to(self._sweep.hydra.sweep.dir).as_posix()

    def train(self, prepared: Prepared, jobs: Sequence[Job], since: int) -> dict[Path, str]:
        """Train jobs, each directory once, until their number of tasks is done, of which `since` were; those that have
        come so far are left alone. Gives why some failed, by directory.
        """
        if not any(map(_is_behind, jobs)):
            return {}
        settings = self._sweep.hydra.launcher
        fitting, at_once = room(jobs, self._count, settings.workers is None, self._pool)
        stacks: list[list[Job]] = []
        # Cut as if all were behind, so that a search that goes on has the stacks of one that was not stopped.
        for stack in divided(jobs, settings.size or fitting, at_once, standing=lambda _: None):
            behind = list(filter(_is_behind, stack))
            stacks += divided(behind, len(behind), 1)
        self._progress.trains(sum(map(len, stacks)))

        def report(stack: Sequence[Job], fraction: float) -> None:
            prepared.begun(stack)
            done = fraction * stack[0].config.benchmark.tasks - since
            self._progress.advance(stack, min(1.0, max(0.0, done / (_until(stack[0]) - since))))

        failures: dict[Path, str] = {}
        for job, failure in self._pool.run(stacks, at_once, report):
            if failure is not None:
                mark_failed_unless_locked(job.directory, failure)
                failures[job.directory] = failure
            if failure is not None or is_complete(job.directory):
                prepared.ended(job, failure)
        return failures


class Runs(Generic[Name]):
    """Runs that are trained together, by a name each.

    Several names may have one run, where their settings differ in nothing that acts.

    Attributes:
        jobs: those that could be composed.
        failed: why others could not be, or failed later.
        scores: after the tasks trained last, such that more is better; None where there is nothing to average yet.
    """

    def __init__(self, trainer: Trainer, prepared: Prepared, names: Mapping[int, Name]) -> None:
        self._trainer, self._prepared = trainer, prepared
        self.jobs = {names[number]: job for number, job in prepared.runs.items()}
        self.failed = {names[number]: reason for number, reason in prepared.refused.items()}
        self.scores: dict[Name, float | None] = {}

    def train(self, names: Iterable[Name], since: int, until: int) -> list[Name]:
        """Train runs, of which `since` tasks are done, until `until` are; gives the names of all that did not fail."""
        jobs = {name: replace(self.jobs[name], until=until) for name in names}
        distinct = list({job.directory: job for job in jobs.values()}.values())
        failures = self._trainer.train(self._prepared, distinct, since)
        for name, job in jobs.items():
            try:
                if job.directory not in failures:
                    self.scores[name] = score_after(job.directory, job.config, until)
            except DamagedError as error:
                failures[job.directory] = str(error)
        self.failed |= {name: failures[job.directory] for name, job in jobs.items() if job.directory in failures}
        return [name for name in jobs if name not in self.failed]

    def drop(self, names: Iterable[Name], task: int, others: Iterable[Name]) -> None:
        """Mark runs that are given up after a task, but for those that `others` go on with."""
        going_on = {self.jobs[name].directory for name in others}
        for directory in {self.jobs[name].directory for name in names} - going_on:
            if not is_complete(directory):
                mark_dropped(directory, task)


def _until(job: Job) -> int:
    return job.until or job.config.benchmark.tasks


def _is_behind(job: Job) -> bool:
    """Whether a run is not yet where it is to be trained to."""
    return not is_complete(job.directory) and (position_of(job.directory) or (0,))[0] < _until(job)
