"""Composing the jobs of a sweep: each gets its directory, one that is wrong is named, one that is finished skipped."""

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from cl_runner.config.composing import Composed, Composer
from cl_runner.config.hydra_files import HydraFiles
from cl_runner.config.refusals import refusal
from cl_runner.config.schema import Config
from cl_runner.errors import ConfigError, RefusedError, RunError, explained, from_system, is_for_all
from cl_runner.methods.acting import unused_settings
from cl_runner.metrics import objective
from cl_runner.results.files import DROPPED, FAILED, LOG, is_complete, mark_failed, metrics_in, naming
from cl_runner.results.record import Record, remove_unsaved, taken_up_by_others, write_record
from cl_runner.runs.checks import typed
from cl_runner.runs.machine import check_cores, check_device
from cl_runner.signals import held_back
from cl_runner.sweeps.directories import Directories
from cl_runner.sweeps.job_callbacks import JobCallbacks
from cl_runner.sweeps.jobs import Job
from cl_runner.sweeps.progress import JobsProgress

_log = logging.getLogger("cl_runner")


def fails_fast(sweep: DictConfig) -> bool:
    """Whether no job is begun any more once one has failed; sweepers of others cannot ask for it."""
    return bool(sweep.hydra.sweeper.get("fail_fast", False))


class Prepared:
    """The jobs of a sweep, composed by Hydra. Those that differ in nothing that acts are one.

    Args:
        context, sweep: Hydra's, and the sweep's config.
        job_overrides: of each job.
        first: number of the first job.
        progress: is told of every job.
        here: whether this machine trains them, and so must have their device.
        at_work: directories of jobs that are computed elsewhere, or are to be.
        directories: of the sweep, where they are known.

    Attributes:
        jobs: to be computed.
        elsewhere: those at work.
        runs: all that could be composed, by the number of the job; jobs that are one have the first of them.
        refused: why the others could not be.
    """

    def __init__(
        self,
        context: HydraContext,
        sweep: DictConfig,
        job_overrides: Sequence[Sequence[str]],
        first: int,
        progress: JobsProgress,
        *,
        here: bool = True,
        at_work: Collection[Path] = (),
        directories: Directories | None = None,
    ) -> None:
        setup_globals()
        self._sweep, self._here, self._progress = sweep, here, progress
        self._overrides = dict(enumerate(job_overrides, first))
        self._at_work = set(at_work)
        self._directories = directories or Directories(Path(sweep.hydra.sweep.dir), at_work)
        self._callbacks = JobCallbacks(context)
        self._composer, self._files = Composer(context.config_loader, sweep), HydraFiles()
        self._returns: dict[int, JobReturn] = {}
        # Of jobs that are one, the number of the first by its directory.
        self._first: dict[Path, int] = {}
        self._same: dict[int, int] = {}
        # Why jobs could not be composed, by directory.
        self._wrong: dict[Path, str] = {}
        # Lines on settings that do nothing, by key, and the keys of those that do something in some job.
        self._idle: dict[str, str] = {}
        self._acting: set[str] = set()
        self.jobs: list[Job] = []
        self.elsewhere: list[Job] = []
        self.runs: dict[int, Job] = {}
        self.refused: dict[int, str] = {}
        progress.warn(self._directories.damaged.values())
        for number, overrides in self._overrides.items():
            progress.composing(number - first)
            try:
                with held_back():
                    self._prepare(number, list(overrides))
            except Exception as error:
                # What one job is refused, a name that is too long or a file that is gone, is no matter of the others.
                if is_for_all(error):
                    raise
                reason = explained(error, Path(sweep.hydra.sweep.dir) / LOG)
                progress.failed(number, overrides, str(reason))
                self._returns[number] = _FailedJob(reason)
                self.refused[number] = str(reason)
        # What one of the swept methods does not use, another does.
        progress.warn(line for key, line in self._idle.items() if key not in self._acting)
        if len(self._wrong) < len(self._overrides):
            self._directories.save()
            for directory, words in self._wrong.items():
                mark_failed(directory, words)
        configure_log(sweep.hydra.hydra_logging, sweep.hydra.verbose)

    def begun(self, jobs: Iterable[Job]) -> None:
        """Jobs are computed from now on, if they were not before."""
        for job in jobs:
            self._callbacks.begun(job.number, self._returns[job.number])

    def ended(self, job: Job, failure: str | None) -> None:
        """A job is complete, or could not be computed for a reason."""
        if failure is None:
            self._returns[job.number].return_value = _value(job)
        self._callbacks.ended(self._returns[job.number], failure)
        if failure is None:
            self._progress.done()
        else:
            self._failed(job, failure)

    def _failed(self, job: Job, reason: str) -> None:
        self._progress.failed(job.number, self._overrides[job.number], reason)
        self._returns[job.number] = _FailedJob(RunError(reason))

    @property
    def failed(self) -> bool:
        """Whether a job has failed, or could not be composed."""
        return any(isinstance(found, _FailedJob) for found in self._returns.values())

    @property
    def returns(self) -> list[JobReturn]:
        """What Hydra expects of each job: the value of one that is complete is its objective, of one that is not yet
        None; that of a failed one raises its reason when it is asked for.

        Raises:
            RefusedError: no job could be composed.
        """
        if len(self._wrong) == len(self._overrides):
            raise RefusedError(self._wrong)
        return [self._returns[self._same.get(number, number)] for number in self._overrides]

    def _prepare(self, number: int, overrides: list[str]) -> None:
        """Have Hydra compose a job and write its directory; nothing is written where a finished run lies, or others are
        at work.

        Raises:
            ConfigError: a setting is wrong.
        """
        known = None
        try:
            composed = self._composed(overrides)
            config = typed(composed.settings).with_save(in_sweep=True)
            known = self._directories.of(config)
            finished = known is not None and is_complete(known)
            if not finished:
                check_cores(composed.whole, here=self._here)
                if self._here:
                    check_device(config.device)
            directory = known or self._directories.new(composed.whole, number, config)
        except (HydraException, OmegaConfBaseException, ConfigError) as error:
            reason = error if isinstance(error, ConfigError) else refusal(error)
            if known is None or known in self._at_work:
                known = self._directories.of_failed(overrides, number)
                self._directories.leads(overrides, known)
            self._wrong[known] = str(reason)
            raise reason from error
        self._directories.leads(overrides, directory)
        unused = self._unused(config, overrides)
        if directory in self._first:
            self._same[number] = self._first[directory]
            self.runs[number] = self.runs[self._first[directory]]
            self._progress.same()
            return
        self._first[directory] = number
        job = self.runs[number] = Job(number, config, directory)
        self._returns[number] = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
        # One that was at work may have finished meanwhile.
        if known and (finished or directory not in self._at_work):
            self._progress.found(directory, finished=finished)
        if finished:
            self._returns[number].return_value = _value(job)
            remove_unsaved(directory)
            self._progress.warn(_lacking(job))
            return
        if directory in self._at_work:
            self.elsewhere.append(job)
            return
        self._progress.warn(filter(None, [taken_up_by_others(directory)]))
        try:
            self._returns[number] = self._written(composed.whole, directory, overrides, unused)
            if not known:
                write_record(directory, Record(config))
        except OSError as error:
            if not is_for_all(error):
                mark_failed(directory, str(from_system(error)))
            raise
        self.jobs.append(job)

    def _composed(self, overrides: list[str]) -> Composed:
        try:
            return self._composer.composed(overrides)
        except Exception as error:
            # Of wrong presets Hydra raises what it happens to stumble over.
            raise refusal(error) from error

    def _unused(self, config: Config, overrides: Sequence[str]) -> Collection[str]:
        """Lines on the settings given that do nothing in this job; these and the others are remembered."""
        idle = unused_settings(config, overrides)
        self._idle = idle | self._idle
        self._acting |= {override.partition("=")[0].lstrip("+") for override in overrides} - idle.keys()
        return idle.values()

    def _written(
        self, composed: DictConfig, directory: Path, overrides: Sequence[str], warnings: Iterable[str]
    ) -> JobReturn:
        """What Hydra gives of a job whose directory it has written."""

        def log_warnings(_: DictConfig | None = None) -> None:
            for line in warnings:
                _log.warning(line)

        with naming(directory):
            with open_dict(composed):
                composed.hydra.sweep.subdir = os.path.relpath(directory, composed.hydra.sweep.dir)
            # What came of an earlier try says nothing of this one.
            for name in (FAILED, DROPPED):
                (directory / name).unlink(missing_ok=True)
            if self._callbacks.wanted or composed.hydra.job.chdir:
                return run_job(
                    task_function=log_warnings,
                    config=composed,
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                    hydra_context=self._callbacks.silent,
                )
            self._files.write(composed)
            log_warnings()
        return JobReturn(overrides=overrides, status=JobStatus.COMPLETED)


def _lacking(job: Job) -> Iterator[str]:
    """What a finished job was trained without saving, though it is asked for now."""
    save = job.config.save
    task = {"all": 1, "last": job.config.benchmark.tasks}.get(save)
    if task and not (job.directory / f"checkpoints/task_{task}.safetensors").exists():
        yield f"runs that are finished were saved with less than save={save}, and stay so: another directory has all"


def _value(job: Job) -> float | None:
    return objective(metrics_in(job.directory), job.config.objective)


class _FailedJob(JobReturn):
    """Raises the reason when Hydra asks for the job's value; Hydra's own would print the overrides of the first once
    more."""

    def __init__(self, error: RunError) -> None:
        super().__init__(status=JobStatus.FAILED)
        self._error = error

    @property  # type: ignore[misc] # nobody sets it
    def return_value(self) -> Any:
        raise self._error
