"""Whether the launcher and the sweeper of a sweep have settings that they can do with."""

import shutil
from pathlib import Path

from omegaconf import DictConfig

from cl_runner.config.descriptions import describe
from cl_runner.config.ranges import check_ranges
from cl_runner.config.schema import LAUNCHERS, SlurmLauncherConfig, SweeperConfig
from cl_runner.errors import ConfigError

_LAUNCHER, _SWEEPER = "hydra.launcher", "hydra.sweeper"


def check_launcher(settings: DictConfig, sweep: Path) -> bool:
    """Whether the launcher of a sweep into this directory is one of ours.

    Raises:
        ConfigError: its settings are out of range, or it submits to SLURM where there is none, or has no use for the
            directory's name.
    """
    schema = LAUNCHERS.get(settings._target_.rpartition(".")[2]) if isinstance(settings, DictConfig) else None
    if schema is None:
        return False
    check_ranges(settings, schema, f"{_LAUNCHER}.")
    if "timeout_min" in settings and settings.signal_delay_s >= 60 * settings.timeout_min:
        raise ConfigError(
            f"{_LAUNCHER}.signal_delay_s: got {settings.signal_delay_s} with {_LAUNCHER}.timeout_min="
            f"{settings.timeout_min}, allowed: less than that limit, {60 * settings.timeout_min} seconds"
        )
    if "timeout_min" in settings and set(str(sweep.resolve())) & set("%\\\n"):
        # SLURM and submitit put numbers of jobs in for `%`, and the others end what they read of it.
        raise ConfigError(
            f"hydra.sweep.dir: got {str(sweep.resolve())!r}, allowed: a path without %, backslashes and ends of lines"
        )
    if schema is SlurmLauncherConfig and shutil.which("sbatch") is None:
        raise ConfigError(
            "hydra/launcher: got slurm, but this machine has no SLURM (sbatch is not found), "
            "allowed: stacked, slurm_local"
        )
    return True


def check_sweeper(settings: DictConfig) -> None:
    """Raises `ConfigError` if batches are of no size, or grids are not overrides by the names of grids."""
    # What is no sweeper at all Hydra refuses; one of its own has no grids.
    if not isinstance(settings, DictConfig) or not settings._target_.endswith(("GridSweeper", "BasicSweeper")):
        return
    check_ranges(settings, SweeperConfig, f"{_SWEEPER}.")
    grids = settings.get("grids") or {}
    if not all(isinstance(grid, DictConfig) for grid in grids.values()):
        raise ConfigError(f"{_SWEEPER}.grids: got {grids}, allowed: {describe(f'{_SWEEPER}.grids')}")
