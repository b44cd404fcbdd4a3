"""The errors that end a run, each with the exit code of the process."""

import errno
from signal import Signals


class RunError(Exception):
    """An error whose message is one line for the user; no traceback is shown."""

    exit_code = 1


class ConfigError(RunError):
    """A setting that is unknown, of the wrong type or out of range."""

    exit_code = 2


class RefusedError(ConfigError):
    """A sweep none of whose jobs could be begun, for reasons that were told."""


class DataError(RunError):
    """A data file that is missing, truncated or altered."""


class ResourceError(RunError):
    """Too little memory for the run."""


class DamagedError(RunError):
    """A file of a run that is not what a run writes."""


class StateError(RunError):
    """A resumable state that is damaged, of another run, or beside tables that are shorter than it says."""


class LockedError(RunError):
    """Another process is at work in the run's directory."""


class ClusterError(RunError):
    """A cluster that does not answer, or refuses what is submitted."""


class StoppedError(RunError):
    """A signal asked the process to leave."""

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


def is_for_all(error: OSError) -> bool:
    """Whether whatever is written next will be refused too: the disk or a quota is full, or is not to be written to."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
