"""The launcher `hydra/launcher=stacked`: the jobs of a sweep, composed by Hydra, computed as a few stacks.

Every job gets the directory that a single run would have left. One that is finished is skipped, one that is wrong is
named before anything is computed, one that fails on the way leaves its reason in `failed.json`; the others go on.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from cl_runner.checks import checked, from_composition, unused_settings
from cl_runner.config import INCIDENTAL
from cl_runner.errors import ConfigError, RunError
from cl_runner.files import COMPLETE, mark_failed
from cl_runner.sweeps import Job, divided, largest_stack
from cl_runner.terminal import SweepProgress
from cl_runner.workers import Workers

_log = logging.getLogger("cl_runner")


def launch(
    context: HydraContext,
    sweep: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    first: int,
    *,
    size: int | None,
    workers: int | None,
) -> list[JobReturn]:
    """Run the jobs of a sweep.

    Args:
        context, sweep: Hydra's, and the sweep's config.
        job_overrides: of each job.
        first: number of the first job.
        size: of a stack, at most; None to take it from free memory.
        workers: stacks computed at the same time; None for one on each core, or one on a GPU.

    Returns:
        What Hydra expects of each job; that of a failed one raises its reason when its value is asked for.
    """
    setup_globals()
    count = min(workers or _cores(), len(job_overrides))
    returns: dict[int, JobReturn] = {}
    jobs: list[Job] = []
    taken: set[Path] = set()
    with (
        Workers(count, str(sweep.benchmark.dataset)) as pool,
        SweepProgress(Console(stderr=True), len(job_overrides)) as progress,
    ):
        for number, overrides in enumerate(job_overrides, first):
            progress.composing(number - first)
            try:
                returns[number], job = _prepared(context, sweep, list(overrides), number, taken)
            except RunError as error:
                progress.failed(number, overrides, str(error))
                returns[number] = _FailedJob(error)
                continue
            if job is None:
                progress.skipped()
            else:
                jobs.append(job)
                progress.warn(unused_settings(job.config, overrides))
        configure_log(sweep.hydra.hydra_logging, sweep.hydra.verbose)

        progress.loading()
        stacks, at_once = _planned(jobs, size, count, workers is None, pool)
        progress.computing(stacks)
        for job, failure in pool.run(stacks, at_once, progress.advance):
            if failure is None:
                progress.done()
                continue
            mark_failed(job.directory, failure)
            progress.failed(job.number, job_overrides[job.number - first], failure)
            returns[job.number] = _FailedJob(RunError(failure))
        progress.finish(Path(sweep.hydra.sweep.dir))
    return [returns[number] for number in sorted(returns)]


def _prepared(
    context: HydraContext, sweep: DictConfig, overrides: list[str], number: int, taken: set[Path]
) -> tuple[JobReturn, Job | None]:
    """Have Hydra compose a job and write its directory, which joins those `taken` by others; no job to compute where
    a finished run lies.

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
        if (directory / COMPLETE).exists():
            _check_same(directory, composed)
            taken.add(directory)
            return JobReturn(overrides=overrides, status=JobStatus.COMPLETED), None
        config = checked(composed)
    except (HydraException, OmegaConfBaseException, ConfigError) as error:
        reason = error if isinstance(error, ConfigError) else from_composition(error)
        if directory not in taken and not (directory / COMPLETE).exists():
            mark_failed(directory, str(reason))
        raise reason from error

    def log_warnings(_: DictConfig) -> None:
        for line in unused_settings(config, overrides):
            _log.warning(line)

    taken.add(directory)
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
                f"{key}: got {now[key]}, but {directory} holds a finished run with {before[key]}, "
                "allowed: the same settings, or another hydra.sweep.dir"
            )


def _flat(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _planned(
    jobs: Sequence[Job], size: int | None, count: int, count_is_free: bool, pool: Workers
) -> tuple[list[list[Job]], int]:
    """The stacks, and how many of them to compute at the same time."""
    if not jobs:
        return [], 1
    free = pool.free_memory()
    threads = max(job.config.threads or 1 for job in jobs)
    on_cpu = all(job.config.device == "cpu" or (job.config.device == "auto" and "cuda" not in free) for job in jobs)
    at_once = count
    if count_is_free:
        # More threads than cores are many times slower, not a little.
        at_once = max(1, min(count, _cores() // threads)) if on_cpu else 1
    memory = free["cpu"] if on_cpu else free.get("cuda", free["cpu"])
    fitting = min(largest_stack(job.config, memory // at_once, on_cpu=on_cpu) for job in jobs)
    return divided(jobs, size or fitting, at_once), at_once


class _FailedJob(JobReturn):
    """Raises the reason when Hydra asks for the job's value; Hydra's own would print the overrides of the first once
    more."""

    def __init__(self, error: RunError) -> None:
        super().__init__(status=JobStatus.FAILED)
        self._error = error

    @property  # type: ignore[misc] # nobody sets it
    def return_value(self) -> Any:
        raise self._error


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
