"""The errors that end a run, each with the exit code of the process."""

import errno
import sysconfig
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from signal import Signals

# Where code lies that is nobody's own.
_OTHERS = (str(Path(__file__).parent), *(sysconfig.get_paths()[kind] for kind in ("stdlib", "purelib", "platlib")))


class RunError(Exception):
    """An error whose message is one line for the user; no traceback is shown."""

    exit_code = 1


class UnforeseenError(RunError):
    """An error that has no words for the user, in a line; `trace` is its traceback."""

    trace = ""


class ConfigError(RunError):
    """A setting that is unknown, of the wrong type or out of range."""

    exit_code = 2


class WrongCommandError(ConfigError):
    """An option of the command line, or a sweep as a whole, that is refused before anything is composed."""


class RefusedError(ConfigError):
    """A sweep, or a batch of one, none of whose jobs could be begun, for `reasons` that were told, by directory."""

    def __init__(self, reasons: Mapping[Path, str]) -> None:
        super().__init__("; ".join(dict.fromkeys(reasons.values())))
        self.reasons = reasons


class JobError(RunError):
    """A job of a sweep failed for a reason that was told; the others went on."""

    def __init__(self, reason: RunError) -> None:
        super().__init__(str(reason))
        self.exit_code = reason.exit_code


class EndingError(BaseException):
    """Carries the `reason` for the end of a run, or of a sweep before it began, through Hydra's code.

    It is no `Exception`, of which Hydra would make a warning, or a failed job.
    """

    def __init__(self, reason: RunError) -> None:
        super().__init__(reason)
        self.reason = reason


class DataError(RunError):
    """A data file that is missing, truncated or altered."""


class ResourceError(RunError):
    """Too little memory for the run."""


class StateError(RunError):
    """A resumable state that is damaged, of another run, or beside tables that are shorter than it says."""


class DamagedError(RunError):
    """A file of a run that is missing, damaged, or not what a run writes; `problem` says in what way."""

    def __init__(self, file: Path, problem: str) -> None:
        super().__init__(f"{file}: {problem}")
        self.file, self.problem = file, problem

    def within(self, directory: Path) -> str:
        """The message, in which a file of `directory` has its name there."""
        inside = self.file.is_relative_to(directory) and self.file != directory
        return f"{self.file.relative_to(directory)}: {self.problem}" if inside else self.problem

    def __reduce__(self) -> tuple[type["DamagedError"], tuple[Path, str]]:
        return DamagedError, (self.file, self.problem)


class NotSavedError(RunError):
    """Tensors that a complete run did not leave, as its `save` had it."""

    def __init__(self, file: Path) -> None:
        super().__init__(f"{file} was not saved by the run: to have it, train the run with save=all, elsewhere")
        self.file = file

    def __reduce__(self) -> tuple[type["NotSavedError"], tuple[Path]]:
        return NotSavedError, (self.file,)


class LockedError(RunError):
    """Another process is at work in the run's directory."""


class SweepError(RunError):
    """A sweep as a whole ends, for a reason that is no job's."""


class LaunchError(SweepError):
    """What is to compute a sweep cannot be started."""


class ClusterError(LaunchError):
    """A cluster that does not answer, or refuses what is submitted."""


class StoppedError(BaseException):
    """A signal asked the process to leave.

    As that of Ctrl-C it is no `Exception`, for it may come at any point: whoever deals with what goes wrong there, as
    OmegaConf does and Hydra, would take it for that.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {Signals(number).name}; the same command goes on from the last saved state")
        # As shells have it of a process that a signal ended.
        self.exit_code = 128 + number
        self.number = number

    def __reduce__(self) -> tuple[type["StoppedError"], tuple[int]]:
        return StoppedError, (self.number,)


class DivergenceError(RunError):
    """A loss or parameter that became infinite or not a number."""


def from_system(error: OSError) -> RunError:
    """One line for what the system refused."""
    # One that is not the system's has words and no number; with a file's name they would be left out.
    words = error.strerror or " ".join(map(str, error.args)) or type(error).__name__
    return RunError(f"{error.filename or 'input or output'}: {words}")


def in_words(error: BaseException) -> str:
    """What code of one's own has raised, in a line, with the place in that code."""
    line = " ".join(traceback.format_exception_only(error)[-1].split())
    if isinstance(error, SyntaxError):
        return f"{line} ({error.filename}, line {error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OTHERS)]
    return f"{line} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else line


def unforeseen(error: Exception) -> UnforeseenError:
    """The same in a line, without the objects that it holds, some of which cannot go from one process to another."""
    found = UnforeseenError(in_words(error))
    found.trace = "".join(traceback.format_exception(error))
    return found


def explained(error: Exception, log: Path) -> RunError:
    """One line for an error of a job. If it is unforeseen its traceback goes to the end of the job's `log`."""
    if isinstance(error, OSError) and error.filename:
        return from_system(error)
    if isinstance(error, RunError) and not isinstance(error, UnforeseenError):
        return error
    found = error if isinstance(error, UnforeseenError) else unforeseen(error)
    with suppress(OSError), log.open("a", encoding="utf-8") as file:
        file.write(found.trace)
    return RunError(f"{found} (its traceback is in {log.name})")


def is_for_all(error: Exception) -> bool:
    """Whether whatever is written next will be refused too: the disk or a quota is full, or is not to be written to."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class ContractError(AssertionError):
    """A part of a method does not keep what parts promise (`cl_runner.testing`)."""
