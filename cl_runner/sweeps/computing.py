"""What a process computes for a sweep: a stack, or what a worker does besides."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from cl_runner.collector import without_collector
from cl_runner.errors import RunError, unforeseen
from cl_runner.signals import PATIENCE, ignore, leave_if_told, listen
from cl_runner.sweeps.jobs import Job

if TYPE_CHECKING:
    from cl_runner.runs.training import Epoch

# Seconds that a worker has to save what it computes and end.
GRACE = PATIENCE + 1

# In a worker: where it tells how far it is, a stack being named by its first job's number. All of them write to one
# pipe, which takes a message whole or not at all; a queue has a lock, and a process that is killed may hold it.
_messages: Connection
# In a worker: whether it computes nothing.
_idle = threading.Event()
_idle.set()


@without_collector()
def compute(jobs: Sequence[Job], report: Callable[[float], None], fail_fast: bool) -> list[str | None]:
    """Train a stack, or `fail_fast` until a job fails; returns for each job why it failed, or None."""
    from cl_runner.runs.drawing import draw_all
    from cl_runner.runs.loop import run_stack

    configs, directories = [job.config for job in jobs], [job.directory for job in jobs]
    try:
        progress = _Fractions(report)
        recorders = run_stack(configs, directories, progress, until=jobs[0].until, fail_fast=fail_fast)
        if jobs[0].config.plots == "all":
            draw_all(configs, recorders)
    except Exception as error:
        leave_if_told()
        if isinstance(error, RunError | OSError):
            raise
        raise unforeseen(error) from None
    return [recorder.failure for recorder in recorders]


def prepare(messages: Connection) -> None:
    """Ready a new process: the launching one is told how far it is, and it alone answers Ctrl-C."""
    global _messages
    _messages = messages
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ignore()
    launching = multiprocessing.parent_process()
    assert launching
    threading.Thread(target=_leave_after, args=[launching], daemon=True).start()


def _leave_after(launching: BaseProcess) -> None:
    """Once the launching process is gone, killed perhaps, save what is computed and end."""
    launching.join()
    if hasattr(signal, "pthread_kill"):
        # The thread that computes is the one to be told.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        _idle.wait(GRACE)
    os._exit(1)


def free_memory() -> dict[str, int]:
    """Free bytes by kind of device."""
    from cl_runner.engine import device

    return device.free_memory()


def compute_and_send(jobs: Sequence[Job], fail_fast: bool) -> list[str | None]:
    """In a worker, the same. A signal has the state of the stack saved."""

    def report(fraction: float) -> None:
        # Where nobody is left to be told, `_leave_after` has the rest saved.
        with suppress(BrokenPipeError):
            _messages.send((jobs[0].number, fraction))

    _idle.clear()
    listen()
    try:
        return compute(jobs, report, fail_fast)
    finally:
        # One that has nothing to do must not end, which would be the end of all.
        ignore()
        _idle.set()


class _Fractions:
    """The progress of a stack, told as the fraction of its epochs that is done."""

    def __init__(self, report: Callable[[float], None]) -> None:
        self._report = report

    def epoch(self, task: int, tasks: int, epoch: "Epoch") -> None:
        self._report((task - 1 + epoch.number / epoch.count) / tasks)

    def task(self, *_: object) -> None:
        pass
