"""When to save a run's state: now and then, and when a signal asks the process to leave.

SIGTERM is what a scheduler sends before it kills, SIGUSR1 what it sends some time before the time limit.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Self

from cl_runner.errors import StoppedError

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))

# Seconds from a signal until the process leaves with the state that it last saved: schedulers kill soon after.
PATIENCE = 7.0

_received: list[int] = []
_computing = False


def listen() -> None:
    """From now on a signal ends what is done: at once, or while there are `Pauses` once a state is saved."""
    for number in SIGNALS:
        signal.signal(number, _note)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _leave)


def pass_on(children: Callable[[], Iterable[int]], received: list[int]) -> None:
    """From now on a signal joins `received` and goes to these processes; it ends this one if there are none."""

    def handle(number: int, _: FrameType | None) -> None:
        received.append(number)
        _received.append(number)
        if not tell(children(), number):
            raise StoppedError(number)

    for number in SIGNALS:
        signal.signal(number, handle)


@contextmanager
def held_back() -> Iterator[None]:
    """A signal or Ctrl-C that comes meanwhile is answered afterwards. For what must be done as a whole, and for what
    takes moments and may lose its exception, as Hydra's composing does where a clean-up fails because of it.
    """
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number)) for number in (*SIGNALS, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def leave_if_told() -> None:
    """To be called where something went wrong, which may be so because a signal interrupted it.

    Raises:
        StoppedError: there was one.
    """
    if _received:
        raise StoppedError(_received[0])


def tell(processes: Iterable[int], number: int) -> bool:
    """Send a signal; returns whether there were any processes."""
    told = list(processes)
    for process in told:
        # It may just have ended.
        with suppress(ProcessLookupError):
            os.kill(process, number)
    return bool(told)


def ignore() -> None:
    """From now on a signal does nothing."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def deaf_to_the_terminal() -> Iterator[None]:
    """Processes that are started meanwhile are ended neither by Ctrl-C nor with the terminal."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]
    # What is ignored stays so in a program that is started.
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


class Pauses:
    """When a stack of runs is to say where it stands. While this is entered a signal waits for the next state, for
    seconds only.

    Args:
        minutes: between two states, and from now to the first.
    """

    def __init__(self, minutes: float) -> None:
        self._seconds = 60 * minutes
        self._next = time.monotonic() + self._seconds

    def __enter__(self) -> Self:
        global _computing
        _computing = True
        leave_if_told()
        return self

    def __exit__(self, *_: object) -> None:
        global _computing
        _computing = False
        _leave_in(0)

    def due(self) -> bool:
        """Whether to save."""
        return bool(_received) or time.monotonic() >= self._next

    def saved(self) -> None:
        """The state was saved.

        Raises:
            StoppedError: a signal had asked for it.
        """
        self._next = time.monotonic() + self._seconds
        leave_if_told()


def _note(number: int, _: FrameType | None) -> None:
    if _received:
        return
    _received.append(number)
    if not _computing:
        raise StoppedError(number)
    _leave_in(PATIENCE)


def _leave(*_: object) -> None:
    raise StoppedError(_received[0])


def _leave_in(seconds: float) -> None:
    """Have `_leave` called, and again every second, for its exception may be lost; 0 takes it back."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds, 1)
