"""The launcher `hydra/launcher=stacked`: the jobs of a sweep, composed by Hydra, computed as a few stacks.

Every job gets the directory that a single run would have left. One that is finished is skipped, one that is wrong is
named before anything is computed, one that fails on the way leaves its reason in `failed.json`; the others go on.
"""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn
from hydra.types import HydraContext
from omegaconf import DictConfig
from rich.console import Console

from cl_runner.limits import cores
from cl_runner.results.locks import mark_failed_unless_locked
from cl_runner.sweeps.jobs import Job, divided, largest_stack
from cl_runner.sweeps.prepare import Prepared, fails_fast
from cl_runner.sweeps.progress import SweepProgress
from cl_runner.sweeps.workers import Workers


def launch(
    context: HydraContext,
    sweep: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    first: int,
) -> list[JobReturn]:
    """Run the jobs of a sweep; the first has the number `first`.

    Returns:
        What Hydra expects of each job; that of a failed one raises its reason when its value is asked for.
    """
    size, workers = sweep.hydra.launcher.size, sweep.hydra.launcher.workers
    count = min(workers or cores(), len(job_overrides))
    fail_fast = fails_fast(sweep)
    with (
        Workers(count, fail_fast=fail_fast) as pool,
        SweepProgress(Console(stderr=True), len(job_overrides)) as progress,
    ):
        prepared = Prepared(context, sweep, job_overrides, first, progress)
        progress.loading()
        jobs = [] if fail_fast and prepared.failed else prepared.jobs
        fitting, at_once = room(jobs, count, workers is None, pool) if jobs else (1, 1)
        stacks = divided(jobs, size or fitting, at_once)
        progress.computing(stacks)

        def report(stack: Sequence[Job], fraction: float) -> None:
            prepared.begun(stack)
            progress.advance(stack, fraction)

        for job, failure in pool.run(stacks, at_once, report):
            if failure is not None:
                mark_failed_unless_locked(job.directory, failure)
            prepared.ended(job, failure)
        if fail_fast and prepared.failed:
            progress.left()
        progress.finish(Path(sweep.hydra.sweep.dir))
    return prepared.returns


def room(jobs: Sequence[Job], count: int, count_is_free: bool, pool: Workers) -> tuple[int, int]:
    """How many of such jobs a stack may hold, and how many stacks to compute at the same time, by `count` workers or,
    if that is free, fewer.
    """
    free = pool.free_memory()
    threads = max(job.config.threads or 1 for job in jobs)
    on_cpu = all(job.config.device == "cpu" or (job.config.device == "auto" and "cuda" not in free) for job in jobs)
    at_once = count
    if count_is_free:
        # More threads than cores are many times slower, not a little.
        at_once = max(1, min(count, cores() // threads)) if on_cpu else 1
    memory = free["cpu"] if on_cpu else free.get("cuda", free["cpu"])
    return min(largest_stack(job.config, memory // at_once, on_cpu=on_cpu) for job in jobs), at_once
