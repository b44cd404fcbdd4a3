"""When to save a run's state: now and then, and when a signal asks the process to leave.

SIGTERM is what a scheduler sends before it kills, SIGUSR1 what it sends some time before the time limit.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TypeVar

from cl_runner.errors import StoppedError

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))

T = TypeVar("T")

_received: list[int] = []


def listen() -> None:
    """From now on a signal asks for a pause; where nothing could be saved it ends what is done, at once."""
    for number in SIGNALS:
        signal.signal(number, _note)


def pass_on(children: Callable[[], Iterable[int]], received: list[int]) -> None:
    """From now on a signal joins `received` and goes to these processes; it ends this one if there are none."""

    def handle(number: int, _: FrameType | None) -> None:
        received.append(number)
        told = list(children())
        for child in told:
            # It may just have ended.
            with suppress(ProcessLookupError):
                os.kill(child, number)
        if not told:
            raise StoppedError(number)

    for number in SIGNALS:
        signal.signal(number, handle)


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
    """When training is to say where it stands.

    Args:
        minutes: between two states, and from now to the first.
    """

    def __init__(self, minutes: float) -> None:
        self._seconds = 60 * minutes
        self._next = time.monotonic() + self._seconds

    def due(self) -> bool:
        """Whether to save."""
        return bool(_received) or time.monotonic() >= self._next

    def saved(self) -> None:
        """The state was saved.

        Raises:
            StoppedError: a signal had asked for it.
        """
        self._next = time.monotonic() + self._seconds
        if _received:
            raise StoppedError(_received[0])


_steps_are_asked = False


def uninterrupted(steps: Iterator[T]) -> Iterator[T]:
    """The same; while one is made a signal waits until `Pauses.due` is asked, instead of ending what is done."""
    global _steps_are_asked
    while True:
        _steps_are_asked = True
        try:
            made = next(steps)
        except StopIteration:
            return
        finally:
            _steps_are_asked = False
        yield made


def _note(number: int, _: FrameType | None) -> None:
    _received.append(number)
    if not _steps_are_asked:
        raise StoppedError(number)
