"""What is done before Hydra creates or overwrites anything: settings are checked, and the directory is taken."""

from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from cl_runner.config.ranges import check_ranges
from cl_runner.config.refusals import told
from cl_runner.config.schema import Config
from cl_runner.errors import ConfigError, DamagedError, EndingError, RunError
from cl_runner.methods.acting import difference
from cl_runner.results.files import COMPLETE, LOCK, has_state, is_complete
from cl_runner.results.locks import locked
from cl_runner.results.record import read_record, remove_unsaved
from cl_runner.runs.checks import check_parts, checked
from cl_runner.runs.machine import check_cores
from cl_runner.sweeps.checks import check_launcher, check_sweeper

# The locks of this process until it leaves, and the directories that it created to take them.
_held = ExitStack()
_created: list[Path] = []


def leave() -> None:
    """Let go of the directories that were taken; nothing stays of one in which nothing was begun."""
    for directory in reversed(_created):
        # One that holds something stays.
        with suppress(OSError):
            if [path.name for path in directory.glob("*")] == [LOCK]:
                (directory / LOCK).unlink()
            directory.rmdir()
    _created.clear()
    _held.close()


def _take(directory: Path) -> None:
    """Lock a directory, which is created if it is not there.

    Raises:
        LockedError: another process has it.
    """
    absent = [place for place in (directory, *directory.parents) if not place.exists()]
    _held.enter_context(locked([directory]))
    # Only now: another process that was quicker may have it.
    _created.extend(reversed(absent))


class CheckBeforeStart(Callback):
    """Refuses a bad config, or a directory that is another's, before Hydra creates or overwrites anything.

    Raises:
        EndingError: with the reason.
    """

    # Where Hydra writes then, which errors of the system do not tell.
    directory: ClassVar[Path | None] = None

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Called with the composed config of a single run."""
        try:
            settings = checked(config)
            directory = CheckBeforeStart.directory = _unshared(config, "run")
            _check_free(directory, settings)
            _take(directory)
            # Who held it until now may have finished.
            _check_free(directory, settings)
        except (RunError, OSError, OmegaConfBaseException) as error:
            raise EndingError(told(error)) from error

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Called with the config of a sweep, before any of its jobs is composed."""
        try:
            check_ranges(config, Config)
            check_parts(config.method.parts)
            check_sweeper(config)
            skips_finished = check_launcher(config.hydra.launcher, Path(config.hydra.sweep.dir))
            launcher = str(OmegaConf.select(config, "hydra.launcher._target_"))
            check_cores(config, here=not launcher.endswith("SlurmLauncher"))
            directory = CheckBeforeStart.directory = _unshared(config, "sweep")
            if not skips_finished and any(is_complete(path.parent) for path in directory.glob(f"*/{COMPLETE}")):
                raise ConfigError(
                    f"hydra.sweep.dir: {directory} holds finished runs, allowed: another directory, or "
                    "hydra/launcher=stacked, slurm or slurm_local, which run what is missing"
                )
            # Jobs that wait in a queue outlive the process that submits them, which takes the lock for so long itself.
            if "timeout_min" not in config.hydra.launcher:
                _take(directory)
        except (RunError, OSError, OmegaConfBaseException) as error:
            raise EndingError(told(error)) from error


def _check_free(directory: Path, settings: Config) -> None:
    """Raises `ConfigError` if a finished run lies in `directory`, or one with other settings that could go on."""
    if is_complete(directory):
        remove_unsaved(directory)
        raise ConfigError(f"hydra.run.dir: {directory} holds a finished run, allowed: another directory")
    if not has_state(directory):
        return
    try:
        other = difference(read_record(directory).settings, settings)
    except (FileNotFoundError, DamagedError):
        # What its state is of is checked again where that is read.
        return
    if other:
        key, before, now = other
        raise ConfigError(
            f"{key}: got {now}, but {directory} holds an unfinished run with {before}, allowed: the same settings, "
            "or another hydra.run.dir"
        )


def _unshared(config: DictConfig, kind: str) -> Path:
    """The directory of a run or sweep. One that is named by the time is created, as nobody else's: its name gets a
    number if another process was as quick.
    """
    node = config.hydra[kind]
    chosen = Path(node.dir)
    written: Any = OmegaConf.to_container(node, resolve=False)
    if "${now:" not in written["dir"]:
        return chosen
    _created.extend(reversed([place for place in chosen.parents if not place.exists()]))
    chosen.parent.mkdir(parents=True, exist_ok=True)
    for number in count(2):
        try:
            chosen.mkdir()
        except FileExistsError:
            chosen = Path(f"{node.dir}-{number}")
        else:
            break
    _created.append(chosen)
    if chosen != Path(node.dir):
        # As if it had been given on the command line, from which the jobs of a sweep are composed.
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.overrides.hydra.append(f"hydra.{kind}.dir='{chosen}'")
            node.dir = str(chosen)
    return chosen
