"""What a process that is submitted does not take over from the one that submits it: its job, its output."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import submitit

# Of SLURM's variables, those that say which cluster is meant, and with what authority; the others are of the job that
# this process is in, if it is in one.
_OF_THE_CLUSTER = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT"}
# Of sbatch's, which win over a batch file, those that say whose job it is and where; others would undo what the batch
# file says, of memory, say, or that it needs this environment (SBATCH_EXPORT).
_OF_THE_SITE = {"account", "clusters", "constraint", "partition", "qos", "reservation", "wckey"}


@contextmanager
def outside_of_jobs(options: dict[str, Any]) -> Iterator[None]:
    """The environment as outside of any job of SLURM, and without what would win over these options of sbatch."""
    before = dict(os.environ)
    given = options | options.get("additional_parameters", {})
    kept = {f"SBATCH_{name.upper()}" for name in _OF_THE_SITE if not given.get(name)} | _OF_THE_CLUSTER
    for name in before:
        if name.startswith(("SLURM_", "SBATCH_", "SRUN_", "SALLOC_")) and name not in kept:
            del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(before)


class Detached(submitit.LocalExecutor):
    """Starts processes that hold none of this one's files: whoever reads its output would wait for their end."""

    def _submit_command(self, command: str) -> Any:
        folder = Path(self.folder)
        with (
            Path(os.devnull).open() as nothing,
            (folder / "setup.log").open("a") as log,
            _standard_streams(nothing.fileno(), log.fileno()),
        ):
            return super()._submit_command(command)


@contextmanager
def _standard_streams(read: int, written: int) -> Iterator[None]:
    """Standard input, output and error of what is started meanwhile."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved: dict[int, int] = {}
    for number in range(3):
        # One of them may be closed.
        with suppress(OSError):
            saved[number] = os.dup(number)
        os.dup2(written if number else read, number)
    try:
        yield
    finally:
        for number in range(3):
            if number in saved:
                os.dup2(saved[number], number)
                os.close(saved[number])
            else:
                os.close(number)
