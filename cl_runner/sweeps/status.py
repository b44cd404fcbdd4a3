"""Where each job of a sweep stands, by what its directory and the cluster tell."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from cl_runner.errors import DamagedError
from cl_runner.plain_text import printable
from cl_runner.results.files import (
    COMPLETE,
    FAILED,
    dropped_after,
    has_failed,
    is_complete,
    position_of,
    run_directories,
)
from cl_runner.results.locks import is_locked
from cl_runner.results.reading import SETTINGS, parse_json, read_bytes, read_tail
from cl_runner.sweeps.queue import FOLDER, Place, last_line, log_of, places, recorded

State = Literal["finished", "dropped", "running", "waiting", "failed", "lost", "unknown", "unreadable"]


@dataclass(frozen=True)
class JobStatus:
    """Of one job: its state, the id of its array task (empty: none), and in words what is known besides."""

    directory: Path
    state: State
    task: str
    words: str


def statuses(sweep: Path) -> list[JobStatus]:
    """Every job in and below the directory of a sweep that has a directory.

    A job is lost if it is neither finished, dropped by a search, nor failed, nothing computes it, and nothing will
    unless it is started again. It is unknown if only SLURM, which does not answer, or another machine could tell. What
    cannot be read is among them, be it a job's or not.
    """
    submissions = recorded(sweep)
    # The latest submission of a job counts.
    task_of = {name: task for submission in submissions for task, names in submission.tasks.items() for name in names}

    @cache
    def of_task() -> dict[str, Place]:
        return places(sweep, submissions)

    found: list[JobStatus] = []

    def unread(directory: Path, reason: str) -> None:
        found.append(JobStatus(directory, "unreadable", task_of.get(str(directory.relative_to(sweep)), ""), reason))

    for directory in run_directories([sweep] if sweep.exists() else [], unread):
        task = task_of.get(str(directory.relative_to(sweep)), "")
        try:
            known = _by_itself(directory)
        except OSError as error:
            unread(directory, error.strerror or str(error))
            continue
        # The cluster is asked if there is need to, which may take a while.
        state, words = known or _by_cluster(sweep, directory, task, of_task().get(task))
        found.append(JobStatus(directory, state, task, words))
    return found


def _by_itself(directory: Path) -> tuple[State, str] | None:
    if is_complete(directory):
        return "finished", ""
    if has_failed(directory):
        return "failed", reason_of(directory)
    if is_locked(directory):
        return "running", _progress(directory)
    if (task := dropped_after(directory)) is not None:
        return "dropped", f"by the search, after task {task}"
    return None


def _by_cluster(sweep: Path, directory: Path, task: str, place: Place | None) -> tuple[State, str]:
    if place is None:
        submitted = "not submitted; " if (sweep / FOLDER).exists() else ""
        return "lost", submitted + _last_state(directory)
    if place.state == "ended":
        # That it ended, which srun says last, is known.
        lines = [line for line in read_tail(log_of(sweep, task)).splitlines() if not line.startswith("srun: ")]
        said = last_line("\n".join(lines))
        return "lost", "; ".join(filter(None, [place.words, said, _last_state(directory)]))
    if place.state == "running" and place.words:
        return "running", _progress(directory)
    # A process of this machine works on one stack after the other.
    return "waiting" if place.state == "running" else place.state, place.words


def reason_of(directory: Path) -> str:
    """Why the run in `directory` failed, in one line."""
    file = directory / FAILED
    try:
        content = parse_json(file, read_bytes(file, SETTINGS))
        return printable(" ".join(str(content["reason"]).split()))
    except (DamagedError, LookupError, TypeError):
        return f"{FAILED} cannot be read"


def _progress(directory: Path) -> str:
    """The last epoch that was recorded."""
    row = last_line(read_tail(directory / "training.csv")).split(",")
    return f"task {row[0]}, epoch {row[1]}" if len(row) > 1 and row[0].isdigit() else "starting"


def _last_state(directory: Path) -> str:
    position = position_of(directory)
    damaged = [f"{name} cannot be read" for name in (COMPLETE, FAILED) if (directory / name).exists()]
    if not position:
        saved = "it has no saved state" if position is None else "its saved state cannot be read"
    else:
        saved = f"saved in task {position[0] + 1}, epoch {position[1] + 1}"
    return "; ".join([*damaged, saved])
