"""Composing the jobs of a sweep: each gets its directory, one that is wrong is named, one that is finished skipped."""

import logging
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from cl_runner.checks import checked, from_composition
from cl_runner.config import INCIDENTAL
from cl_runner.errors import ConfigError, RefusedError, RunError
from cl_runner.files import COMPLETE, FAILED, mark_failed, naming
from cl_runner.idle import unused_settings
from cl_runner.sweeps import Job
from cl_runner.terminal import SweepProgress

_log = logging.getLogger("cl_runner")


class Prepared:
    """The jobs of a sweep, composed by Hydra.

    Args:
        context, sweep: Hydra's, and the sweep's config.
        job_overrides: of each job.
        first: number of the first job.
        progress: is told of every job.
        here: whether this machine trains them, and so must have their device.
        at_work: directories of jobs that are computed elsewhere, or are to be.

    Attributes:
        jobs: to be computed.
        elsewhere: those at work.
    """

    def __init__(
        self,
        context: HydraContext,
        sweep: DictConfig,
        job_overrides: Sequence[Sequence[str]],
        first: int,
        progress: SweepProgress,
        *,
        here: bool = True,
        at_work: Collection[Path] = (),
    ) -> None:
        setup_globals()
        self._overrides = dict(enumerate(job_overrides, first))
        self._progress = progress
        self._returns: dict[int, JobReturn] = {}
        self._refused = 0
        self.jobs: list[Job] = []
        self.elsewhere: list[Job] = []
        taken: set[Path] = set()
        for number, overrides in self._overrides.items():
            progress.composing(number - first)
            try:
                self._returns[number], job = _prepared(context, sweep, list(overrides), number, taken, at_work, here)
            except RunError as error:
                progress.failed(number, overrides, str(error))
                self._returns[number] = _FailedJob(error)
                self._refused += 1
                continue
            if job is None:
                progress.skipped()
            elif job.directory in at_work:
                self.elsewhere.append(job)
            else:
                self.jobs.append(job)
                progress.warn(unused_settings(job.config, overrides))
        configure_log(sweep.hydra.hydra_logging, sweep.hydra.verbose)

    def failed(self, job: Job, reason: str) -> None:
        """A job could not be computed."""
        self._progress.failed(job.number, self._overrides[job.number], reason)
        self._returns[job.number] = _FailedJob(RunError(reason))

    @property
    def returns(self) -> list[JobReturn]:
        """What Hydra expects of each job; that of a failed one raises its reason when its value is asked for.

        Raises:
            RefusedError: no job could be composed.
        """
        if self._refused == len(self._overrides):
            raise RefusedError
        return [self._returns[number] for number in sorted(self._returns)]


def _prepared(
    context: HydraContext,
    sweep: DictConfig,
    overrides: list[str],
    number: int,
    taken: set[Path],
    at_work: Collection[Path],
    here: bool,
) -> tuple[JobReturn, Job | None]:
    """Have Hydra compose a job and write its directory, which joins those `taken` by others; no job where a finished
    run lies, and nothing is written where others are at work.

    Raises:
        ConfigError: a setting is wrong, or the finished run has others.
    """
    directory = Path(sweep.hydra.sweep.dir) / str(number)
    try:
        composed = context.config_loader.load_sweep_config(sweep, overrides)
        with open_dict(composed):
            composed.hydra.job.id = composed.hydra.job.num = number
        directory = Path(composed.hydra.sweep.dir) / str(composed.hydra.sweep.subdir)
        if directory in taken:
            raise ConfigError(f"hydra.sweep.subdir: gives {directory} to two jobs, allowed: one for each")
        known = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
        finished = (directory / COMPLETE).exists()
        if finished or directory in at_work:
            _check_same(directory, composed)
            taken.add(directory)
        if finished:
            return known, None
        config = checked(composed, here=here)
        if directory in at_work:
            return known, Job(number, config, directory)
    except (HydraException, OmegaConfBaseException, ConfigError) as error:
        reason = error if isinstance(error, ConfigError) else from_composition(error)
        if directory not in {*taken, *at_work} and not (directory / COMPLETE).exists():
            mark_failed(directory, str(reason))
        raise reason from error

    def log_warnings(_: DictConfig) -> None:
        for line in unused_settings(config, overrides):
            _log.warning(line)

    taken.add(directory)
    with naming(directory):
        # The reason of an earlier try says nothing of this one.
        (directory / FAILED).unlink(missing_ok=True)
        result = run_job(
            task_function=log_warnings,
            config=composed,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=context,
        )
    return result, Job(number, config, directory)


def _check_same(directory: Path, composed: DictConfig) -> None:
    before, now = (
        dict(_flat(OmegaConf.to_container(config)))
        for config in (OmegaConf.load(directory / ".hydra" / "config.yaml"), composed)
    )
    for key in now:
        if key in before and before[key] != now[key] and key not in INCIDENTAL:
            raise ConfigError(
                f"{key}: got {now[key]}, but {directory} holds a run with {before[key]}, "
                "allowed: the same settings, or another hydra.sweep.dir"
            )


def _flat(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class _FailedJob(JobReturn):
    """Raises the reason when Hydra asks for the job's value; Hydra's own would print the overrides of the first once
    more."""

    def __init__(self, error: RunError) -> None:
        super().__init__(status=JobStatus.FAILED)
        self._error = error

    @property  # type: ignore[misc] # nobody sets it
    def return_value(self) -> Any:
        raise self._error
