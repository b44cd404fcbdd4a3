"""When to save a run's state: now and then, and when a signal asks the process to leave.

SIGTERM is what a scheduler sends before it kills, SIGUSR1 what it sends some time before the time limit.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Self

from cl_runner.errors import StoppedError

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))

# Seconds from a signal until the process leaves with the state that it last saved: schedulers kill soon after.
PATIENCE = 7.0

_received: list[int] = []
_computing = False


def answer(number: int, handler: Any) -> Any:
    """From now on `handler` answers a signal, as by `signal.signal`; gives what did before.

    Only the main thread may say so. In another nothing changes.
    """
    if threading.current_thread() is threading.main_thread():
        return signal.signal(number, handler)
    return signal.getsignal(number)


def listen() -> None:
    """From now on a signal ends what is done: at once, or while there are `Pauses` once a state is saved."""
    for number in SIGNALS:
        answer(number, _note)


@contextmanager
def listening() -> Iterator[None]:
    """Listen until it is left; then signals are answered as before."""
    names = (*SIGNALS, *(getattr(signal, name) for name in ("SIGALRM", "SIGPIPE") if hasattr(signal, name)))
    before = {number: signal.getsignal(number) for number in names}
    listen()
    try:
        yield
    finally:
        _received.clear()
        for number, handler in before.items():
            # None is that of another library, which cannot be set again.
            if handler is not None:
                answer(number, handler)


def pass_on(children: Callable[[], Iterable[int]], received: list[int]) -> None:
    """From now on a signal joins `received` and goes to these processes; it ends this one if there are none."""

    def handle(number: int, _: FrameType | None) -> None:
        received.append(number)
        _received.append(number)
        if not tell(children(), number):
            raise StoppedError(number)

    for number in SIGNALS:
        answer(number, handle)


@contextmanager
def held_back() -> Iterator[None]:
    """A signal or Ctrl-C that comes meanwhile is answered afterwards. For what must be done as a whole, and for what
    takes moments and may lose its exception, as Hydra's composing does where a clean-up fails because of it.
    """
    came: list[int] = []
    before = {number: answer(number, lambda number, _: came.append(number)) for number in (*SIGNALS, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            answer(number, handler)
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
        answer(number, signal.SIG_IGN)


@contextmanager
def deaf_to_the_terminal() -> Iterator[None]:
    """Processes that are started meanwhile are ended neither by Ctrl-C nor with the terminal."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]
    # What is ignored stays so in a program that is started.
    before = [answer(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            answer(number, handler)


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
        # Without a signal the timer may be somebody else's.
        if _received:
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
        answer(signal.SIGALRM, _leave)
        signal.setitimer(signal.ITIMER_REAL, seconds, 1)
