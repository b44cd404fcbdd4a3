"""One process at a time in the directory of a run or a sweep."""

import errno
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from filelock import FileLock, Timeout

from cl_runner.errors import LockedError, RunError
from cl_runner.results.files import LOCK, mark_failed, naming

# Seconds to wait for a lock, which `is_locked` may hold for an instant.
_PATIENCE = 1
# What a file system without locks, or one that has lost its server of locks, answers.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def locked(directories: Sequence[Path], patience: float = _PATIENCE) -> Iterator[None]:
    """Keep other processes out of directories of runs or sweeps; the system lets them in again when this one dies.

    Args:
        directories: which are created if they are not there.
        patience: seconds to wait for whoever is in one of them; below 0 as long as that takes.

    Raises:
        LockedError: another one is in one of them.
        RunError: their file system has no locks.
    """
    _allow_open_files(len(directories))
    with ExitStack() as held:
        for directory in directories:
            directory.mkdir(parents=True, exist_ok=True)
            if directory == directories[0]:
                _check_locks(directory)
            # The same within this process, which may hold it already.
            lock = FileLock(directory.absolute() / LOCK, is_singleton=True)
            try:
                with naming(directory / LOCK):
                    held.enter_context(lock.acquire(timeout=patience))
            except Timeout as error:
                raise LockedError(f"{directory}: another process is at work here") from error
        yield


def _check_locks(directory: Path) -> None:
    """Refuse a file system without locks: what filelock makes do with there would stay when this process is killed."""
    if sys.platform == "win32":
        return
    import fcntl

    with naming(directory), TemporaryFile(dir=directory) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise RunError(
                f"{directory}: its file system has no locks ({error.strerror}), and nothing would keep a second "
                "process from a run: choose a directory elsewhere by hydra.run.dir or hydra.sweep.dir"
            ) from error


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
    except BlockingIOError:
        return True
    except OSError:
        # None is there, or what is there cannot be opened, by nobody else of ours either.
        return False
    return False


def mark_failed_unless_locked(directory: Path, reason: str) -> None:
    """Leave the reason why a run failed, unless another process is at work on it: its word counts."""
    if not is_locked(directory):
        mark_failed(directory, reason)
