"""Whether the launcher and the sweeper of a sweep have settings that they can do with."""

import shutil
from pathlib import Path

from omegaconf import DictConfig

from cl_runner.config.descriptions import describe
from cl_runner.config.ranges import check_ranges
from cl_runner.config.sweep_schema import (
    LAUNCHERS,
    OptunaConfig,
    SearchSweeperConfig,
    SlurmLauncherConfig,
    SweeperConfig,
)
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


def check_sweeper(config: DictConfig) -> None:
    """Whether the sweeper of a sweep has settings that it can do with.

    Raises:
        ConfigError: batches are of no size, or grids are not overrides by the names of grids; or one that searches is
            not told what runs are worth, or would look for the worst.
    """
    settings = config.hydra.sweeper
    # What is no sweeper at all Hydra refuses.
    if not isinstance(settings, DictConfig):
        return
    if settings._target_.endswith("SearchSweeper"):
        check_ranges(settings, SearchSweeperConfig, f"{_SWEEPER}.")
        chosen = config.hydra.runtime.choices.get("hydra/launcher")
        if chosen != "stacked":
            raise ConfigError(f"hydra/launcher: got {chosen} with hydra/sweeper=search, allowed: stacked")
        return
    if not settings._target_.endswith(("GridSweeper", "BasicSweeper")):
        _check_search(config)
        return
    check_ranges(settings, SweeperConfig, f"{_SWEEPER}.")
    _check_fail_fast(config)
    # Hydra's own has no grids.
    grids = settings.get("grids") or {}
    if not all(isinstance(grid, DictConfig) for grid in grids.values()):
        raise ConfigError(f"{_SWEEPER}.grids: got {grids}, allowed: {describe(f'{_SWEEPER}.grids')}")


def _check_fail_fast(config: DictConfig) -> None:
    launcher = config.hydra.launcher
    if not config.hydra.sweeper.get("fail_fast"):
        return
    if launcher.get("wait") is False:
        raise ConfigError(
            f"{_SWEEPER}.fail_fast: got true with {_LAUNCHER}.wait=false, allowed: false, as nobody looks"
        )
    if launcher._target_.rpartition(".")[2] not in (*LAUNCHERS, "BasicLauncher"):
        chosen = config.hydra.runtime.choices.get("hydra/launcher")
        raise ConfigError(
            f"{_SWEEPER}.fail_fast: got true with hydra/launcher={chosen}, which begins all jobs at once, allowed: "
            "false, or basic, stacked, slurm, slurm_local"
        )


def _check_search(config: DictConfig) -> None:
    settings = config.hydra.sweeper
    if config.hydra.launcher.get("wait") is False:
        raise ConfigError(
            f"{_LAUNCHER}.wait: got false, allowed: true, as what is tried next rests on what runs return"
        )
    if not settings._target_.endswith("OptunaSweeper"):
        return
    # A command that asks for help needs no NumPy.
    from cl_runner.metrics import ScoreName, less_is_better

    check_ranges(settings, OptunaConfig, f"{_SWEEPER}.")
    directions = ["minimize", "maximize"]
    # What a benchmark of one's own is scored by is its own matter.
    if config.benchmark.family != "own" or config.objective not in ("average", "learning"):
        score: ScoreName = "mse" if config.benchmark.family == "regression" else "accuracy"
        directions = ["minimize" if less_is_better(config.objective, score) else "maximize"]
    if settings.direction not in directions:
        raise ConfigError(
            f"{_SWEEPER}.direction: got {settings.direction} with objective={config.objective} and "
            f"benchmark={config.benchmark.name}, allowed: {' or '.join(directions)}"
        )
