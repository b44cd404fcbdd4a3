"""cl-runner from Python: what the command does, in a process that is its caller's and is left as it was."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd

from cl_runner.cli.main import command
from cl_runner.cli.process import put_back
from cl_runner.cli.start import CheckBeforeStart
from cl_runner.errors import JobError, WrongCommandError
from cl_runner.report.table import runs_table
from cl_runner.results.run import Run, load_run

# What is put back afterwards is the process's, and not a thread's.
_ONE_AT_A_TIME = threading.RLock()


def run(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> Run:
    """Train a run, as `cl-run OVERRIDES` does.

    Args:
        overrides: settings as on the command line, such as `["method=ewc", "hydra.run.dir=outputs/ewc"]`.
        config_dir: a folder with presets of one's own, as `--config-dir`.

    Raises:
        ConfigError: a setting is wrong; nothing was created.
        RunError: the run failed. What was recorded stays.
        StoppedError, KeyboardInterrupt: stopped by a signal. Called again with the same `hydra.run.dir` it goes on.
    """
    return load_run(_carried_out([], overrides, config_dir))


def sweep(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> pd.DataFrame:
    """Train a sweep as stacks, as `cl-run -m hydra/launcher=stacked OVERRIDES` does; another launcher may be chosen.

    Args:
        overrides: settings as on the command line, such as `["freeze=0.5,0.9", "seed=range(0,10)"]`.
        config_dir: a folder with presets of one's own, as `--config-dir`.

    Returns:
        The table `cl_runner.report.table.runs_table` of the sweep's directory: a row per run with its `directory`,
        `seed`, the settings that vary, metrics, and the reason why it `failed`, if it did.

    Raises:
        ConfigError: a setting is wrong, or no job could be begun.
        RunError: the sweep ended before all jobs were begun. What was recorded stays.
        StoppedError, KeyboardInterrupt: stopped by a signal. Called again with the same `hydra.sweep.dir` it goes on.
    """
    chosen = any(override.lstrip("+").startswith("hydra/launcher=") for override in overrides)
    launcher = [] if chosen else ["hydra/launcher=stacked"]
    return runs_table(_carried_out(["-m"], [*launcher, *overrides], config_dir))


def _carried_out(options: Sequence[str], overrides: Sequence[str], config_dir: str | Path | None) -> Path:
    """The directory of the run or sweep that was trained."""
    for override in overrides:
        if override.startswith("-") or override.lstrip("+").startswith("hydra.mode="):
            raise WrongCommandError(f"overrides: got {override}, allowed: settings as key=value, but for hydra.mode")
    folder = [] if config_dir is None else [f"--config-dir={config_dir}"]
    with _ONE_AT_A_TIME, put_back():
        # A job's failure is in the table.
        with suppress(JobError):
            command([*options, *folder, *overrides])
        assert CheckBeforeStart.directory is not None
        return CheckBeforeStart.directory.absolute()
