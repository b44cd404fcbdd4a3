"""What an array task computes on its node."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from submitit import JobEnvironment
from submitit.helpers import Checkpointable

from cl_runner.config.imports import search_also
from cl_runner.errors import StoppedError, from_system
from cl_runner.results.files import has_failed, is_complete, position_of
from cl_runner.results.locks import mark_failed_unless_locked
from cl_runner.signals import ignore
from cl_runner.sweeps.jobs import Job, divided
from cl_runner.sweeps.queue import slurm_state
from cl_runner.sweeps.workers import Workers


class ArrayTask(Checkpointable):
    """Stacks that are computed one after the other; what is finished or failed is skipped, so it can be called again.

    Stopped by SIGUSR1, which comes some time before the time limit, or by SIGTERM in favour of another job, it has
    itself requeued. SIGTERM to a job that its user cancelled, or that SLURM requeues itself, ends it; so does SIGUSR1
    before anything was computed, which would happen again.

    Args:
        stacks: of jobs.
        started_in: where the sweep was started, and code of one's own is looked for.
    """

    def __init__(self, stacks: Sequence[Sequence[Job]], started_in: Path) -> None:
        self._stacks, self._started_in = stacks, started_in

    def __call__(self) -> None:
        """Called by submitit, on the node."""
        # Saves this object for the next time, has the cluster requeue its job, and ends the process.
        requeue: Any = signal.getsignal(getattr(signal, f"SIG{JobEnvironment.USR_SIG}"))
        search_also(str(self._started_in))
        before = self._positions()
        try:
            self._compute()
        except StoppedError as error:
            # SIGTERM follows on a requeue.
            ignore()
            print(error, file=sys.stderr, flush=True)
            at_limit = error.number == signal.SIGUSR1
            if at_limit and self._positions() == before:
                print("nothing was computed before the time limit: raise hydra.launcher.timeout_min", file=sys.stderr)
            elif at_limit or slurm_state() == "RUNNING":
                requeue(error.number, None)
            # submitit would print any other exception with its traceback.
            sys.exit(error.exit_code)
        except OSError as error:
            print(from_system(error), file=sys.stderr, flush=True)
            sys.exit(from_system(error).exit_code)

    def _positions(self) -> list[tuple[int, ...] | None]:
        return [position_of(job.directory) for stack in self._stacks for job in stack]

    def _compute(self) -> None:
        stacks = [part for stack in self._stacks for part in _unfinished(stack)]
        if not stacks:
            return
        with Workers(1) as workers:
            for job, failure in workers.run(stacks, 1, lambda *_: None):
                if failure is not None:
                    mark_failed_unless_locked(job.directory, failure)
                    print(f"{job.directory}: {failure}", flush=True)


def _unfinished(stack: Sequence[Job]) -> list[list[Job]]:
    """What is left of a stack, parted where its runs stand at different points."""
    left = [job for job in stack if not (is_complete(job.directory) or has_failed(job.directory))]
    return divided(left, len(stack), 1)
