"""What a command shows, which may fail without its failing too: results are in files."""

import errno
import io
import logging
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_log = logging.getLogger("cl_runner")


class _Outlet(io.FileIO):
    """A file descriptor that takes whatever is written: once it cannot be written to, all is dropped."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write some of `data`; returns of how many bytes the caller is rid."""
        while self.error is None:
            try:
                written = super().write(data)
            except OSError as error:
                self.error = error
                break
            if written is not None:
                return written
            # Others have set the terminal so that it does not wait; it is full for now.
            select.select([], [self], [])
        return memoryview(data).nbytes


_outlets: dict[str, _Outlet] = {}


def shield() -> None:
    """From now on neither the terminal nor the environment decides whether this process succeeds.

    Output may be closed, full, read by nobody, or unable to encode what is written. And matplotlib is imported as it
    came: a notebook passes on the name of a backend that may not be here, and a file of the user's may be damaged.
    """
    os.environ |= {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
    for name in ("COLUMNS", "LINES"):
        # Of a terminal of unknown size; in one of no width nothing would be shown.
        if os.environ.get(name) == "0":
            del os.environ[name]
    if os.name == "nt":
        return
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The next file that is opened would have its number, and hold what is said on it.
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, descriptor)
            if nowhere != descriptor:
                os.close(nowhere)
    for descriptor, name in enumerate(("stdout", "stderr"), 1):
        before = getattr(sys, name)
        outlet = _outlets[name] = _Outlet(descriptor, "w", closefd=False)
        lines = outlet.isatty() or name == "stderr" or (before is not None and before.write_through)
        encoding = before.encoding if before else "utf-8"
        stream = io.TextIOWrapper(io.BufferedWriter(outlet), encoding, "backslashreplace", line_buffering=lines)
        setattr(sys, name, stream)


def lost_output() -> OSError | None:
    """Why standard output is incomplete, so far; None if it is not, or if nobody wanted to read on."""
    if sys.stdout:
        with suppress(OSError):
            sys.stdout.flush()
    error = _outlets["stdout"].error if "stdout" in _outlets else None
    return None if error is None or error.errno == errno.EPIPE else error


def warn(line: str) -> None:
    """Say something on standard error, if that works."""
    if sys.stderr:
        with suppress(OSError):
            print(f"warning: {line}", file=sys.stderr)


@contextmanager
def harmless(what: str) -> Iterator[None]:
    """Turns errors into a warning, on standard error and in the log: `what`, and why."""
    try:
        yield
    except Exception as error:
        line = f"{what}: {type(error).__name__}: {error}"
        _log.warning(line)
        warn(line)
