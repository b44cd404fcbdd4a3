"""The sweeper `hydra/sweeper=cl_runner`: the jobs of a sweep, batch by batch.

It differs from Hydra's own in four ways. A sweep may be a union of grids. One that is refused leaves the record of the
sweep before. What is wrong with a job of a stacked sweep is found by the launcher alone: Hydra's composes every job
once more beforehand and gives up the whole sweep for one that is wrong, in which time the launcher composes and writes
it. And where a sweep has batches, a job that fails keeps none of them from being begun.
"""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from cl_runner.config.sweep_schema import LAUNCHERS
from cl_runner.errors import ConfigError, RefusedError, WrongCommandError
from cl_runner.results.files import mark_failed
from cl_runner.signals import held_back
from cl_runner.sweeps.grids import union_of_grids


def sweep(config: DictConfig, presets: ConfigLoader, launcher: Launcher, given: Sequence[str]) -> list[JobReturn]:
    """Have the jobs of a sweep launched.

    Args:
        config: of the sweep, which is recorded in its directory before any job is composed.
        presets: from which jobs are composed.
        launcher: is set up.
        given: the overrides of the command line.

    Raises:
        WrongCommandError: no jobs or far too many, or several presets that are sweeps of their own.
        RefusedError: none of the jobs could be begun.
        Exception: the reason of a job that failed.
    """
    settings = config.hydra.sweeper
    jobs = union_of_grids(settings.params or {}, settings.grids or {}, given, presets, settings.zipped)
    _refuse_sweeps_within(config, presets, jobs)
    record = Path(config.hydra.sweep.dir) / "multirun.yaml"
    before = record.read_bytes() if record.exists() else None
    record.parent.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, record)
    ours = type(launcher).__name__ in LAUNCHERS
    # Of others none begins the next only where the one before has not failed.
    size = settings.max_batch_size or len(jobs) if ours or not settings.fail_fast else 1
    if not ours:
        _compose(config, presets, jobs)
    returns: list[JobReturn] = []
    refused: RefusedError | None = None
    wrong: dict[Path, str] = {}
    for first in range(0, len(jobs), size):
        batch = jobs[first : first + size]
        try:
            returns += launcher.launch(batch, initial_job_idx=first)
        except RefusedError as error:
            refused = error
            wrong.update(error.reasons)
        if settings.fail_fast and (refused or any(job.status == JobStatus.FAILED for job in returns)):
            break
    if refused and not returns:
        if before is not None:
            # What lies there is still that of the sweep before.
            record.write_bytes(before)
        raise refused
    for directory, reason in wrong.items():
        # Other batches were begun.
        mark_failed(directory, reason)
    for job in returns:
        # Raises the reason if it failed.
        _ = job.return_value
    if refused:
        raise ConfigError("no job of a batch could be begun") from refused
    return returns


def _refuse_sweeps_within(config: DictConfig, presets: ConfigLoader, jobs: Sequence[Sequence[str]]) -> None:
    """A preset's own sweep is that of the command that names it alone; among others it would be passed over."""
    own = config.hydra.sweeper
    named = {entry.partition("=")[2]: None for job in jobs for entry in job if entry.startswith("experiment=")}
    for name in named:
        if name == config.hydra.runtime.choices.experiment:
            continue
        overrides = [*config.hydra.overrides.hydra, f"experiment={name}"]
        composed = presets.load_configuration(config.hydra.job.config_name, overrides, RunMode.RUN)
        if any(composed.hydra.sweeper.get(key) != own.get(key) for key in ("params", "grids", "zipped")):
            raise WrongCommandError(
                f"experiment: got {','.join(named)}, and {name} is a sweep of its own, allowed: "
                f"one such preset a sweep, cl-run -m experiment={name}"
            )


def _compose(config: DictConfig, presets: ConfigLoader, jobs: Sequence[Sequence[str]]) -> None:
    """Finds what is wrong with jobs before a launcher that is not ours begins any of them."""
    for job in jobs:
        with held_back():
            presets.load_sweep_config(config, list(job))
