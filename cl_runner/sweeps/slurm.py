"""The launchers `hydra/launcher=slurm` and `slurm_local`: the jobs of a sweep as array tasks of a cluster.

Jobs are composed here and cut into stacks; each array task computes one (`cl_runner.sweeps.array_task`). What is left
by any of them is found in the runs' directories alone, so this process may leave, and the sweep be started again.
"""

import io
import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from cl_runner.benchmarks.image_files import make_available
from cl_runner.config.schema import Config
from cl_runner.config.sweep_schema import SlurmLauncherConfig, SlurmLocalLauncherConfig
from cl_runner.errors import ClusterError, DataError
from cl_runner.limits import available_memory, cores
from cl_runner.results.locks import locked
from cl_runner.signals import deaf_to_the_terminal, held_back
from cl_runner.sweeps.jobs import Job, divided, largest_stack
from cl_runner.sweeps.prepare import Prepared, fails_fast
from cl_runner.sweeps.progress import SweepProgress
from cl_runner.sweeps.queue import FOLDER, Cluster, cancel, damaged, last_line, record, recorded, submission_of
from cl_runner.sweeps.status import statuses

_GIB = 2**30
# Taken for granted where nothing is said of it.
_MEMORY, _MEMORY_OF_GPU = 4 * _GIB, 16 * _GIB
_ANY_NUMBER = 100_000
# Seconds between two looks at what is submitted: the first, and at most.
_FIRST_LOOK, _LAST_LOOK = 1.0, 15.0
# States of a job that is looked at once more, and then given up.
_GONE = ("lost", "unreadable")


def launch(
    context: HydraContext, sweep: DictConfig, job_overrides: Sequence[Sequence[str]], first: int, cluster: Cluster
) -> list[JobReturn]:
    """Submit the jobs of a sweep that are neither finished nor with the cluster; the first has the number `first`.

    Returns:
        What Hydra expects of each job; that of a failed one raises its reason when its value is asked for.

    Raises:
        ClusterError: nothing could be submitted.
    """
    settings = OmegaConf.to_object(sweep.hydra.launcher)
    assert isinstance(settings, SlurmLocalLauncherConfig)
    directory = Path(sweep.hydra.sweep.dir)
    with SweepProgress(Console(stderr=True), len(job_overrides)) as progress:
        (directory / FOLDER).mkdir(parents=True, exist_ok=True)
        # Of two processes that start the same sweep, the second finds with the cluster what the first submitted.
        with locked([directory], patience=-1):
            progress.warn(damaged(directory))
            at_work = _at_work(directory)
            here = cluster == "local"
            prepared = Prepared(context, sweep, job_overrides, first, progress, here=here, at_work=at_work)
            fail_fast = fails_fast(sweep)
            if prepared.jobs and not (fail_fast and prepared.failed):
                _stage(prepared.jobs)
                tasks = _cut(prepared.jobs, settings)
                names = [[str(job.directory.relative_to(directory)) for job in chain(*task)] for task in tasks]
                # What is submitted is recorded, whatever comes.
                with held_back():
                    ids = _submit(tasks, directory, settings)
                    record(directory, submission_of(cluster, dict(zip(ids, names, strict=True))))
                progress.submitted([stack for task in tasks for stack in task], ids)
        progress.elsewhere(len(prepared.elsewhere))
        try:
            if settings.wait:
                _watch(prepared, directory, progress, fail_fast=fail_fast)
        finally:
            progress.finish(directory)
    return prepared.returns


def _at_work(sweep: Path) -> set[Path]:
    """The directories of the jobs that wait or are computed."""
    found = statuses(sweep)
    unknown = next((job for job in found if job.state == "unknown"), None)
    if unknown:
        raise ClusterError(f"nothing was submitted, {unknown.directory} may still be computed: {unknown.words}")
    return {job.directory for job in found if job.state in ("running", "waiting")}


def _stage(jobs: Iterable[Job]) -> None:
    """Download what is missing here and now: nodes may have no way out, or would all do it at once."""
    for dataset, data_dir in {(job.config.benchmark.dataset, job.config.data_dir) for job in jobs}:
        try:
            make_available(dataset, data_dir)
        except DataError as error:
            raise ClusterError(f"nothing was submitted: {error}") from error


def _cut(jobs: Sequence[Job], settings: SlurmLocalLauncherConfig) -> list[list[list[Job]]]:
    """The stacks of each array task: on a cluster one. Without, nobody queues what is submitted, so there are as many
    tasks as may run at the same time.
    """
    on_gpu = bool(settings.gpus_per_node) or any(job.config.device == "cuda" for job in jobs)
    if isinstance(settings, SlurmLauncherConfig):
        on_gpu = on_gpu or settings.gres is not None
        at_once = settings.array_parallelism or 1
        memory = int(settings.mem_gb * _GIB) if settings.mem_gb else _MEMORY
    else:
        at_once = settings.array_parallelism or (1 if on_gpu else max(1, cores() // _threads(jobs)))
        memory = available_memory() // at_once
    fitting = min(largest_stack(job.config, _MEMORY_OF_GPU if on_gpu else memory, on_cpu=not on_gpu) for job in jobs)
    stacks = divided(jobs, settings.size or fitting, at_once)
    if isinstance(settings, SlurmLauncherConfig):
        return [[stack] for stack in stacks]
    return [stacks[start::at_once] for start in range(min(at_once, len(stacks)))]


def _threads(jobs: Iterable[Job]) -> int:
    return max(job.config.threads or 1 for job in jobs)


def _submit(tasks: Sequence[Sequence[Sequence[Job]]], sweep: Path, settings: SlurmLocalLauncherConfig) -> list[str]:
    """Submit array tasks; gives the id of each."""
    # The signal that submitit has sent before the time limit, which saves states and requeues.
    os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "USR1"
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    from cl_runner.sweeps.array_task import ArrayTask
    from cl_runner.sweeps.detaching import Detached, outside_of_jobs

    folder = (sweep / FOLDER).resolve()
    executor: submitit.SlurmExecutor | submitit.LocalExecutor
    options: dict[str, Any] = {}
    if isinstance(settings, SlurmLauncherConfig):
        options = _options(settings, _threads(job for task in tasks for job in chain(*task)))
        executor = submitit.SlurmExecutor(folder, max_num_timeout=settings.max_num_timeout)
        executor.update_parameters(**options)
    else:
        executor = Detached(folder)
        executor.update_parameters(
            timeout_min=settings.timeout_min,
            signal_delay_s=settings.signal_delay_s,
            gpus_per_node=settings.gpus_per_node or 0,
            setup=settings.setup,
        )
    try:
        # submitit prints what its error says too.
        with deaf_to_the_terminal(), redirect_stderr(io.StringIO()), outside_of_jobs(options), executor.batch():
            handles = [
                executor.submit(ArrayTask([_at_absolute_paths(stack) for stack in task], Path.cwd())) for task in tasks
            ]
    except (FailedJobError, FailedSubmissionError) as error:
        said = [line for line in str(error).splitlines() if "--help" not in line]
        raise ClusterError(f"nothing was submitted: {last_line(chr(10).join(said))}") from error
    return [handle.job_id for handle in handles]


def _at_absolute_paths(stack: Sequence[Job]) -> list[Job]:
    """As the directory of a node, or one that `setup` goes to, is another; a variable is the node's to look up."""
    return [replace(job, directory=job.directory.resolve(), config=_with_absolute_data(job.config)) for job in stack]


def _with_absolute_data(config: Config) -> Config:
    path = config.benchmark.path
    benchmark = replace(config.benchmark, path=_absolute(path) if path else None)
    return replace(config, data_dir=_absolute(config.data_dir), benchmark=benchmark)


def _absolute(path: str) -> str:
    return path if path.startswith(("$", "~")) else str(Path(path).absolute())


def _options(settings: SlurmLauncherConfig, threads: int) -> dict[str, Any]:
    """What submitit makes options of sbatch of."""
    cpus = settings.cpus_per_task or threads
    return {
        "job_name": settings.name,
        "partition": settings.partition,
        "qos": settings.qos,
        "account": settings.account,
        "constraint": settings.constraint,
        "exclude": settings.exclude,
        "gres": settings.gres,
        "gpus_per_node": settings.gpus_per_node,
        "cpus_per_task": cpus,
        # From SLURM 22.05 on the steps of a job do not take this over; and on a whole node they are as many as fit.
        "srun_args": ["--ntasks=1", f"--cpus-per-task={cpus}"],
        "mem": f"{math.ceil(settings.mem_gb * 1024)}M" if settings.mem_gb else None,
        "time": settings.timeout_min,
        "signal_delay_s": settings.signal_delay_s,
        "array_parallelism": settings.array_parallelism or _ANY_NUMBER,
        "setup": settings.setup,
        # When a node fails, SLURM starts the task anew.
        "additional_parameters": {"requeue": True, "export": "ALL"}
        | dict(map(_option, settings.additional_parameters)),
    }


def _option(text: str) -> tuple[str, str | bool]:
    """An option of sbatch; one without a value is switched on."""
    name, _, value = text.removeprefix("--").partition("=")
    return name, value or True


def _watch(prepared: Prepared, sweep: Path, progress: SweepProgress, *, fail_fast: bool) -> None:
    """Wait until every job is finished, has failed or is lost, and say so. If they are to `fail_fast`, the others are
    cancelled once one has failed, and waited for no longer than until they have saved their state.
    """
    left = {job.directory: job for job in (*prepared.jobs, *prepared.elsewhere)}
    suspects: set[Path] = set()
    pause = _FIRST_LOOK
    while left and not (fail_fast and prepared.failed):
        time.sleep(pause)
        pause = min(1.2 * pause, _LAST_LOOK)
        found = [status for status in statuses(sweep) if status.directory in left]
        for status in found:
            job = left[status.directory]
            if status.state not in ("waiting", "unknown"):
                prepared.begun([job])
            if status.state == "finished":
                prepared.ended(job, None)
            elif status.state == "failed":
                prepared.ended(job, status.words)
            elif status.directory in suspects and status.state in _GONE:
                prepared.ended(job, f"{status.state}: {status.words}")
            else:
                continue
            del left[status.directory]
        # A shared file system may show what a job wrote some seconds after its end.
        suspects = {status.directory for status in found if status.state in _GONE}
        progress.waiting(Counter(status.state for status in found if status.directory in left))
    if fail_fast and prepared.failed:
        cancel(recorded(sweep))
        while any(status.state in ("waiting", "running") for status in statuses(sweep)):
            time.sleep(_FIRST_LOOK)
        progress.left()
