"""What was submitted for a sweep, kept in its folder `.submitit`, and where the cluster says that it stands."""

import json
import math
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

from cl_runner.errors import DamagedError
from cl_runner.results.files import write_durably
from cl_runner.results.reading import TABLE, parse_json, read_bytes

# Of records, scripts and logs, in the directory of a sweep.
FOLDER = ".submitit"
# Of a job that SLURM will not start or go on with by itself: https://slurm.schedmd.com/job_state_codes.html
_ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
_WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}

# Seconds that squeue may take.
_PATIENCE = 30

Cluster = Literal["slurm", "local"]


@dataclass(frozen=True)
class Submission:
    """Array tasks that were submitted together.

    `tasks` are the names of the directories of each one's runs, by its id (`ARRAY_INDEX` or `JOB`; a process of this
    machine's, if the cluster is "local"). `started` is when these processes were, in seconds since the machine was: its
    clock may be set meanwhile.
    """

    cluster: Cluster
    host: str
    tasks: Mapping[str, Sequence[str]]
    started: Mapping[str, float]


class Place(NamedTuple):
    """Where an array task stands; `words` are the cluster's."""

    state: Literal["running", "waiting", "ended", "unknown"]
    words: str


def submission_of(cluster: Cluster, tasks: Mapping[str, Sequence[str]]) -> Submission:
    """A submission from this machine, just now."""
    started: dict[str, float] = {}
    for task in tasks if cluster == "local" else ():
        # One that has ended at once is not there.
        with suppress(psutil.NoSuchProcess):
            started[task] = _started(psutil.Process(int(task)))
    return Submission(cluster, socket.gethostname(), tasks, started)


def _started(process: psutil.Process) -> float:
    """Seconds from the machine's start to that of a process."""
    return process.create_time() - psutil.boot_time()


def record(sweep: Path, submission: Submission) -> None:
    """Add a submission to those of a sweep, in a file that no other process writes, nor is written again."""
    number = max((_number(file) for file in _files(sweep)), default=0) + 1
    content = json.dumps(asdict(submission), indent=2) + "\n"
    write_durably([(sweep / FOLDER / f"submission_{number:04}_{secrets.token_hex(4)}.json", content.encode())])


def recorded(sweep: Path) -> list[Submission]:
    """The submissions of a sweep, the latest last; those whose record is damaged are left out."""
    return [found for found in map(_submission, _files(sweep)) if isinstance(found, Submission)]


def damaged(sweep: Path) -> list[str]:
    """A line for each record of a submission that cannot be read.

    What was submitted then may be submitted again: no two processes work on one run.
    """
    return [found for found in map(_submission, _files(sweep)) if isinstance(found, str)]


def _files(sweep: Path) -> list[Path]:
    return sorted((sweep / FOLDER).glob("submission_*.json"), key=lambda file: (_number(file), file.name))


def _number(file: Path) -> int:
    number = file.stem.split("_")[1]
    return int(number) if number.isdecimal() else 0


def _submission(file: Path) -> Submission | str:
    """A submission as it was recorded, or why it cannot be read."""
    try:
        content = parse_json(file, read_bytes(file, TABLE))
    except DamagedError:
        content = None
    match content:
        case {
            "cluster": "slurm" | "local" as cluster,
            "host": str(host),
            "tasks": dict(tasks),
            "started": dict(started),
        } if (
            all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in tasks.values())
            and all(isinstance(seconds, int | float) for seconds in started.values())
            and (cluster == "slurm" or all(task.isdecimal() for task in tasks))
        ):
            return Submission(cluster, host, tasks, started)
    return f"{file} is damaged; what was submitted then is not known"


def places(sweep: Path, submissions: Sequence[Submission]) -> dict[str, Place]:
    """Where each of the array tasks of a sweep's submissions stands. One that the cluster has forgotten has ended."""
    found: dict[str, Place] = {}
    if any(submission.cluster == "slurm" for submission in submissions):
        # Whoever submitted them; others may look.
        found = _queue((sweep / FOLDER).stat().st_uid)
    return {
        task: _process(submission, task)
        if submission.cluster == "local"
        else found.get(task, found.get("", Place("ended", "")))
        for submission in submissions
        for task in submission.tasks
    }


def _queue(user: int) -> dict[str, Place]:
    """The array tasks of a user; if SLURM does not answer, what is to be said of each, under an empty name."""
    columns = "%F|%K|%T|%r"
    command = ["squeue", "--noheader", "--array", "--states=all", f"--user={user}", f"--format={columns}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True).stdout
    except FileNotFoundError:
        return {"": Place("unknown", "this machine has no SLURM to ask")}
    except subprocess.TimeoutExpired:
        return {"": Place("unknown", f"SLURM does not answer: squeue took more than {_PATIENCE} seconds")}
    except subprocess.CalledProcessError as error:
        return {"": Place("unknown", f"SLURM does not answer: {last_line(error.stderr) or 'squeue failed'}")}
    return dict(_parsed(answer.splitlines()))


def _parsed(lines: Iterable[str]) -> Iterable[tuple[str, Place]]:
    for line in lines:
        job, index, state, reason = [*line.split("|", 3), "", "", ""][:4]
        words = state if reason in ("", "None") else f"{state} ({reason})"
        known: Literal["running", "waiting", "ended"] = "running"
        if state in _WAITING:
            known = "waiting"
        elif state in _ENDED:
            known = "ended"
        yield job if index == "N/A" else f"{job}_{index}", Place(known, words)


def _process(submission: Submission, task: str) -> Place:
    """Whether the process is still there; its number may be another's by now."""
    if submission.host != socket.gethostname():
        return Place("unknown", f"submitted on {submission.host}, to be asked there")
    try:
        process = psutil.Process(int(task))
        # The kernel rounds when it itself started to seconds.
        same = abs(_started(process) - submission.started.get(task, math.inf)) < 2
        alive = same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        alive = False
    return Place("running", "") if alive else Place("ended", "")


def cancel(submissions: Iterable[Submission]) -> None:
    """Have array tasks end: those at work once they have saved their state."""
    for submission in submissions:
        if submission.cluster == "slurm":
            # Of those that have ended it says nothing.
            subprocess.run(
                ["scancel", "--quiet", *submission.tasks], capture_output=True, timeout=_PATIENCE, check=False
            )
            continue
        for task in submission.tasks:
            if _process(submission, task).state == "running":
                # It may just have ended.
                with suppress(ProcessLookupError):
                    os.kill(int(task), signal.SIGTERM)


def log_of(sweep: Path, task: str) -> Path:
    """Where an array task's standard error goes, as submitit names it."""
    return sweep / FOLDER / f"{task}_0_log.err"


def last_line(text: str) -> str:
    """The last line that is not empty."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def slurm_state() -> str:
    """Of the job that this process belongs to, in SLURM's words; empty outside of SLURM, or if it does not answer."""
    job, array = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_ARRAY_JOB_ID")
    if job is None:
        return ""
    if array is not None:
        # One of the tasks has the id of the whole array.
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    command = ["squeue", "--noheader", f"--jobs={job}", "--format=%T"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
