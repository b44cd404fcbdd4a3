"""Stacks computed side by side, each by a process of its own, or one after the other by this one.

The cores of a processor gain more from a stack each than from sharing every small operation of one, and one that is
busy elsewhere holds up its own stack alone.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cl_runner.collector import without_collector
from cl_runner.errors import (
    LockedError,
    ResourceError,
    RunError,
    StateError,
    StoppedError,
    from_system,
    is_for_all,
)
from cl_runner.files import is_complete
from cl_runner.interruption import PATIENCE, ignore, listen, pass_on, tell
from cl_runner.sweeps import Job

if TYPE_CHECKING:
    from cl_runner.training import Epoch

# Parts of scikit-learn that digits need, a second to import.
_OF_DATASET = {"digits": ["sklearn.datasets", "sklearn.model_selection"]}

# Elsewhere copies of a process are not safe with all that torch loads.
_FORKS = sys.platform == "linux"

# Seconds that a worker has to save what it computes and end.
_GRACE = PATIENCE + 1

# In a worker: where it tells how far it is, a stack being named by its first job's number. All of them write to one
# pipe, which takes a message whole or not at all; a queue has a lock, and a process that is killed may hold it.
_messages: Connection
# In a worker: whether it computes nothing.
_idle = threading.Event()
_idle.set()


class Workers:
    """`count` processes; with one, all is computed in this process.

    What they need for `dataset` is imported from now on, while jobs are still being composed.
    """

    def __init__(self, count: int, dataset: str) -> None:
        self._count = count
        self._messages: Connection | None = None
        self._pool: Executor = _Here()
        self._signals: list[int] = []
        if count > 1 and _FORKS:
            from multiprocessing import forkserver

            # One process imports, and the workers are its copies.
            forkserver.set_forkserver_preload(["cl_runner.preload", *_OF_DATASET.get(dataset, [])])
            with _starting():
                forkserver.ensure_running()

    def __enter__(self) -> Self:
        if self._count > 1:
            pass_on(_children, self._signals)
        else:
            listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Left alone they would finish what they compute, and then take torch's modules apart for a second.
        for child in multiprocessing.active_children():
            child.kill()
        self._pool.shutdown(cancel_futures=True)

    def free_memory(self) -> dict[str, int]:
        """Free bytes by kind of device, as a worker sees them."""
        self._messages = self._messages or self._start()
        found: dict[str, int] = self._pool.submit(_free_memory).result()
        return found

    def run(
        self, stacks: Sequence[Sequence[Job]], at_once: int, report: Callable[[Sequence[Job], float], None]
    ) -> Iterator[tuple[Job, str | None]]:
        """Compute stacks, `at_once` at the same time. One that runs out of memory is halved; once a process was killed
        they are computed one by one, so that a run is blamed for its own process alone.

        Args:
            stacks: each of jobs with a common schedule.
            at_once: at most the number of workers.
            report: is told of a stack and the fraction of it that is done.

        Yields:
            Each job once it ended, with the reason if it failed.

        Raises:
            StoppedError: a signal asked for it.
            OSError: nothing can be written any more (`is_for_all`), so that no further stack was begun.
        """
        waiting, running = deque(stacks), dict[Future[list[str | None]], Sequence[Job]]()
        named = {jobs[0].number: jobs for jobs in stacks}
        self._messages, broken = self._messages or self._start(), False
        refused: OSError | None = None
        while waiting or running:
            if self._signals or refused:
                waiting.clear()
            if self._signals and self._count > 1:
                # A process may not have listened yet.
                tell(_children(), self._signals[0])
            if broken and waiting and not running:
                self._end()
                self._messages, at_once, broken = self._start(), 1, False
            while waiting and len(running) < at_once and not broken:
                jobs = waiting.popleft()
                named[jobs[0].number] = jobs
                running[self._submit(jobs, report)] = jobs
            done = wait(running, timeout=0.1, return_when=FIRST_COMPLETED).done
            while self._messages and self._messages.poll():
                number, fraction = self._messages.recv()
                report(named[number], fraction)
            for future in done:
                jobs = running.pop(future)
                try:
                    yield from zip(jobs, future.result(), strict=True)
                    report(jobs, 1.0)
                except StoppedError as error:
                    self._signals.append(error.number)
                except (ResourceError, StateError, LockedError, BrokenProcessPool) as error:
                    # A process that was killed was so for its memory, most likely. Its fellows end with it. What is
                    # wrong with the state or the directory of one run shows at once, and is no fault of the others.
                    if self._signals and isinstance(error, BrokenProcessPool):
                        # Or it had not listened yet when it was told to leave.
                        continue
                    broken = broken or isinstance(error, BrokenProcessPool)
                    left = [job for job in jobs if not is_complete(job.directory)]
                    yield from ((job, None) for job in jobs if job not in left)
                    report(jobs, 0.0)
                    if len(left) > 1:
                        waiting.extendleft([left[len(left) // 2 :], left[: len(left) // 2]])
                    elif left and at_once > 1 and isinstance(error, BrokenProcessPool):
                        waiting.appendleft(left)
                    else:
                        reason = "its process was killed" if isinstance(error, BrokenProcessPool) else str(error)
                        yield from ((job, reason) for job in left)
                except (RunError, OSError) as error:
                    if isinstance(error, OSError) and is_for_all(error):
                        refused = refused or error
                        continue
                    reason = str(from_system(error) if isinstance(error, OSError) else error)
                    yield from ((job, None if is_complete(job.directory) else reason) for job in jobs)
        if self._signals:
            raise StoppedError(self._signals[0])
        if refused:
            raise refused

    def _start(self) -> Connection | None:
        """Start processes, if any are wanted; gives where they tell how far they are."""
        if self._count == 1:
            return None
        context = multiprocessing.get_context("forkserver" if _FORKS else "spawn")
        with _starting():
            reading, writing = context.Pipe(duplex=False)
            self._pool = ProcessPoolExecutor(self._count, mp_context=context, initializer=_prepare, initargs=(writing,))
        return reading

    def _end(self) -> None:
        """Wait until the processes of a broken pool, which tells them to leave, are gone: they hold runs' locks."""
        for child in multiprocessing.active_children():
            child.join(_GRACE)
            child.kill()
        self._pool.shutdown()

    def _submit(self, jobs: Sequence[Job], report: Callable[[Sequence[Job], float], None]) -> Future[list[str | None]]:
        if self._count > 1:
            return self._pool.submit(_compute_and_send, jobs)
        return self._pool.submit(_compute, jobs, lambda fraction: report(jobs, fraction))


@contextmanager
def _starting() -> Iterator[None]:
    """Has an error of the system say that processes were to be started, and where what they need is made."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or f"starting processes (in {os.environ.get('TMPDIR', '/tmp')} or /dev/shm)"
        raise


class _Fractions:
    """The progress of a stack, told as the fraction of its epochs that is done."""

    def __init__(self, report: Callable[[float], None]) -> None:
        self._report = report

    def epoch(self, task: int, tasks: int, epoch: "Epoch") -> None:
        self._report((task - 1 + epoch.number / epoch.count) / tasks)

    def task(self, *_: object) -> None:
        pass


class _Here(Executor):
    """Calls the function in this process, at once."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **named))
        except (RunError, OSError) as error:
            future.set_exception(error)
        return future


def _prepare(messages: Connection) -> None:
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
        _idle.wait(_GRACE)
    os._exit(1)


def _free_memory() -> dict[str, int]:
    from cl_runner.environment import free_memory

    return free_memory()


def _compute_and_send(jobs: Sequence[Job]) -> list[str | None]:
    def report(fraction: float) -> None:
        # Where nobody is left to be told, `_leave_after` has the rest saved.
        with suppress(BrokenPipeError):
            _messages.send((jobs[0].number, fraction))

    _idle.clear()
    listen()
    try:
        return _compute(jobs, report)
    finally:
        # One that has nothing to do must not end, which would be the end of all.
        ignore()
        _idle.set()


def _children() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.pid]


@without_collector()
def _compute(jobs: Sequence[Job], report: Callable[[float], None]) -> list[str | None]:
    """Train a stack; returns for each job why it failed, or None."""
    from cl_runner.runner import run_stack

    draw = jobs[0].config.plots == "all"
    recorders = run_stack([job.config for job in jobs], [job.directory for job in jobs], _Fractions(report), draw=draw)
    return [recorder.failure for recorder in recorders]
