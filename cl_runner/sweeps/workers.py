"""Stacks computed side by side, each by a process of its own, or one after the other by this one.

The cores of a processor gain more from a stack each than from sharing every small operation of one, and one that is
busy elsewhere holds up its own stack alone.
"""

import multiprocessing
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import ModuleType, TracebackType
from typing import Any, Self

import psutil

from cl_runner.errors import DataError, LaunchError, RunError, StoppedError, explained, from_system, is_for_all
from cl_runner.results.files import LOG, is_complete
from cl_runner.signals import answer, listen, pass_on, tell
from cl_runner.sweeps.computing import GRACE, compute, compute_and_send, free_memory, prepare
from cl_runner.sweeps.jobs import Job, divided

# Elsewhere copies of a process are not safe with all that torch loads.
_FORKS = sys.platform == "linux"


class Workers:
    """`count` processes; with one, all is computed in this process.

    What they need is imported from now on, while jobs are still being composed. If they are to `fail_fast`, no further
    stack is begun once a job has failed, and those at work save their state and end.
    """

    def __init__(self, count: int, *, fail_fast: bool = False) -> None:
        self._count, self._fail_fast = count, fail_fast
        self._messages: Connection | None = None
        self._pool: Executor = _Here()
        self._signals: list[int] = []
        # Whether a job has failed, and the others are to be left.
        self._failed = False
        # Whether stacks are computed, which a signal lets be saved; before, it ends this process at once.
        self._at_work = False
        # Others of this process, which may be a program of somebody else's, and are left alone.
        self._others = {child.pid for child in multiprocessing.active_children()}
        self._others |= {child.pid for child in psutil.Process().children()}
        if count > 1:
            if hasattr(signal, "SIGPIPE"):
                # One that is written to when the process at its other end has just ended must not end this one.
                answer(signal.SIGPIPE, signal.SIG_IGN)
            if _FORKS:
                from multiprocessing import forkserver

                # One process imports, and the workers are its copies.
                forkserver.set_forkserver_preload(["cl_runner.sweeps.preload"])
                with _starting():
                    forkserver.ensure_running()

    def __enter__(self) -> Self:
        if self._count > 1:
            pass_on(lambda: self._pids() if self._at_work else [], self._signals)
        else:
            listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Left alone they would finish what they compute, and then take torch's modules apart for a second.
        for child in self._children():
            child.kill()
        if kind:
            # The process whose copies they are may still be importing, and hold on to the output of this one meanwhile.
            for process in psutil.Process().children():
                # It may just have ended.
                with suppress(psutil.Error):
                    if process.pid not in self._others and "multiprocessing.forkserver" in " ".join(process.cmdline()):
                        process.kill()
        self._pool.shutdown(cancel_futures=True)

    def free_memory(self) -> dict[str, int]:
        """Free bytes by kind of device, as a worker sees them.

        Raises:
            LaunchError: no worker can be started.
        """
        self._messages = self._messages or self._start()
        with _starting():
            with _without_main():
                future = self._pool.submit(free_memory)
            found: dict[str, int] = future.result()
        return found

    def run(
        self, stacks: Sequence[Sequence[Job]], at_once: int, report: Callable[[Sequence[Job], float], None]
    ) -> Iterator[tuple[Job, str | None]]:
        """Compute stacks, `at_once` at the same time. One that ends by an error is halved until the run is found whose
        error it is, or each has the memory that it needs. Once a process was killed they are computed one by one, so
        that a run is blamed for its own process alone.

        Args:
            stacks: each of jobs with a common schedule.
            at_once: at most the number of workers.
            report: is told of a stack and the fraction of it that is done.

        Yields:
            Each job once it ended, with the reason if it failed; nothing of those that are left as another failed.

        Raises:
            StoppedError: a signal asked for it.
            LaunchError: no process can be started.
            OSError: nothing can be written any more (`is_for_all`), so that no further stack was begun.
        """
        for job, failure in self._ended(stacks, at_once, report):
            self._failed = self._failed or (self._fail_fast and failure is not None)
            if not self._fail_fast or failure is not None or is_complete(job.directory):
                yield job, failure

    def _ended(
        self, stacks: Sequence[Sequence[Job]], at_once: int, report: Callable[[Sequence[Job], float], None]
    ) -> Iterator[tuple[Job, str | None]]:
        waiting, running = deque(stacks), dict[Future[list[str | None]], Sequence[Job]]()
        named = {jobs[0].number: jobs for jobs in stacks}
        self._messages, broken = self._messages or self._start(), False
        refused: OSError | None = None
        latest: float | None = None
        self._at_work = True
        while waiting or running:
            if self._signals or self._failed or refused:
                waiting.clear()
            if (self._signals or self._failed) and self._count > 1:
                # A process may not have listened yet.
                tell(self._pids(), self._signals[0] if self._signals else signal.SIGTERM)
                latest = latest or time.monotonic() + GRACE
                if time.monotonic() > latest:
                    # It is in the midst of one long operation, and goes on from the state that it has.
                    break
            if broken and waiting and not running:
                self._end()
                at_once, broken = 1, False
                # Ends the sweep where none can be started any more.
                self.free_memory()
            while waiting and len(running) < at_once and not broken:
                jobs = waiting.popleft()
                named[jobs[0].number] = jobs
                report(jobs, 0.0)
                try:
                    running[self._submit(jobs, report)] = jobs
                except BrokenProcessPool:
                    # One that had nothing to do was killed.
                    waiting.appendleft(jobs)
                    broken = True
            done = wait(running, timeout=0.1, return_when=FIRST_COMPLETED).done
            while self._messages and self._messages.poll():
                number, fraction = self._messages.recv()
                report(named[number], fraction)
            for future in done:
                jobs = running.pop(future)
                try:
                    yield from zip(jobs, future.result(), strict=True)
                    if not self._failed:
                        report(jobs, 1.0)
                except StoppedError as error:
                    if not self._failed:
                        self._signals.append(error.number)
                except DataError as error:
                    # A stack has its data in common.
                    yield from ((job, None if is_complete(job.directory) else str(error)) for job in jobs)
                except (RunError, OSError, BrokenProcessPool) as error:
                    if isinstance(error, OSError) and is_for_all(error):
                        refused = refused or error
                        continue
                    # A process that was killed was so for its memory, most likely. Its fellows end with it.
                    killed = isinstance(error, BrokenProcessPool)
                    if (self._signals or self._failed) and killed:
                        # Or it had not listened yet when it was told to leave.
                        continue
                    broken = broken or killed
                    left = [job for job in jobs if not is_complete(job.directory)]
                    yield from ((job, None) for job in jobs if job not in left)
                    report(jobs, 0.0)
                    if len(left) > 1:
                        waiting.extendleft(reversed(_halves(left)))
                    elif left and at_once > 1 and killed:
                        waiting.appendleft(left)
                    else:
                        yield from ((job, _reason(error, job)) for job in left)
        self._at_work = False
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
            self._pool = ProcessPoolExecutor(self._count, mp_context=context, initializer=prepare, initargs=(writing,))
        return reading

    def _end(self) -> None:
        """Wait until the processes of a broken pool, which tells them to leave, are gone: they hold runs' locks."""
        for child in self._children():
            child.join(GRACE)
            child.kill()
        self._pool.shutdown()
        self._messages = None

    def _submit(self, jobs: Sequence[Job], report: Callable[[Sequence[Job], float], None]) -> Future[list[str | None]]:
        if self._count > 1:
            with _without_main():
                return self._pool.submit(compute_and_send, jobs, self._fail_fast)
        return self._pool.submit(compute, jobs, lambda fraction: report(jobs, fraction), self._fail_fast)

    def _children(self) -> list[BaseProcess]:
        """The processes that compute, and no others of this one."""
        return [child for child in multiprocessing.active_children() if child.pid not in self._others]

    def _pids(self) -> list[int]:
        return [child.pid for child in self._children() if child.pid]


class _Here(Executor):
    """Calls the function in this process, at once."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **named))
        except (Exception, StoppedError) as error:
            future.set_exception(error)
        return future


@contextmanager
def _without_main() -> Iterator[None]:
    """Processes that are started meanwhile do not import the program that started all: what they call is not there, and
    a script that sweeps, without an `if __name__ == "__main__"`, would sweep once more in each of them.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _starting() -> Iterator[None]:
    """Has what goes wrong with processes that are started end the sweep in one line, for it is no job's fault."""
    try:
        yield
    except (EOFError, ConnectionError, BrokenProcessPool) as error:
        raise LaunchError(
            "a process that was to compute was killed, most likely for want of memory: try fewer hydra.launcher.workers"
        ) from error
    except OSError as error:
        said = str(from_system(error) if error.filename else error.strerror or error)
        if error.errno is None:
            # A socket's name, which cannot be long.
            said = f"{tempfile.gettempdir()}: {said}, and TMPDIR says where such are"
        elif is_for_all(error) and not error.filename:
            # Semaphores are files there.
            said = f"/dev/shm: {said}"
        raise LaunchError(f"no process can be started: {said}") from error


def _halves(jobs: Sequence[Job]) -> list[list[Job]]:
    """Two stacks of one that ended by an error; more if its runs no longer stand at the same point."""
    middle = len(jobs) // 2
    return [part for half in (jobs[:middle], jobs[middle:]) for part in divided(half, len(half), 1)]


def _reason(error: Exception, job: Job) -> str:
    """Why a job failed that was computed alone."""
    if isinstance(error, BrokenProcessPool):
        return "its process was killed"
    return str(explained(error, job.directory / LOG))
