"""One process at a time in the directory of a run or a sweep."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cl_runner.errors import LockedError
from cl_runner.files import LOCK, mark_failed

# Seconds to wait for a lock, which `is_locked` may hold for an instant.
_PATIENCE = 1


@contextmanager
def locked(directories: Sequence[Path]) -> Iterator[None]:
    """Keep other processes out of directories of runs or sweeps; the system lets them in again when this one dies.

    Raises:
        LockedError: another one is in one of them.
    """
    _allow_open_files(len(directories))
    with ExitStack() as held:
        for directory in directories:
            directory.mkdir(parents=True, exist_ok=True)
            # The same within this process, which may hold it already.
            lock = FileLock(directory.absolute() / LOCK, is_singleton=True)
            try:
                held.enter_context(lock.acquire(timeout=_PATIENCE))
            except Timeout as error:
                raise LockedError(f"{directory}: another process is at work here") from error
        yield


def _allow_open_files(count: int) -> None:
    """A lock is an open file, and the usual limit of 1,024 less than a large stack's."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 512
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def is_locked(directory: Path) -> bool:
    """Whether a process is at work in a run's directory; on Windows, where this cannot be asked, False."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        with (directory / LOCK).open("rb") as file:
            # It is let go of when the file is closed.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def mark_failed_unless_locked(directory: Path, reason: str) -> None:
    """Leave the reason why a run failed, unless another process is at work on it: its word counts."""
    if not is_locked(directory):
        mark_failed(directory, reason)
