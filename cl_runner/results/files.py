"""Writing files so that none is ever half-written under its own name, nor after a power failure."""

import errno
import json
import os
import secrets
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# Is told of what cannot be read, and why.
Unread = Callable[[Path, str], object]

# Written first: whose the directory is, see `cl_runner.results.record`.
RECORD = "run.json"
# What each of a run's tasks is.
TASKS = "tasks.json"
# Written last: a run whose directory holds it, with metrics in it, is complete.
COMPLETE = "metrics.json"
# What an unfinished run goes on from.
STATE = "state.safetensors"
# Held by the process that is at work in a run's directory.
LOCK = ".lock"
# In the directory of a sweep: which overrides led to which of its directories.
JOBS = "jobs.json"
# Holds the reason why a run failed.
FAILED = "failed.json"
# Of a run that a search gave up: after which of its tasks.
DROPPED = "dropped.json"
# Of a run: its warnings and errors. Hydra writes it too: see conf/config.yaml.
LOG = "cl_runner.log"
# Files that the disk is asked for at the same time: it writes them together.
_AT_ONCE = 16
_TEMPORARY = ".tmp"
# Bytes of a state's header, as safetensors has it, and of a file of metrics.
_LONGEST_HEADER, _LONGEST_METRICS = 100_000_000, 2**22


def directories(folders: Iterable[Path], unread: Unread) -> Iterator[tuple[Path, set[str]]]:
    """Every directory in and below `folders`, with the names of what is in it; those whose names begin with a dot are
    left out.

    Links are followed, and each directory is given once, by its own name if that is below `folders`. Those with numbers
    are in their order, as jobs of a sweep are numbered: 10 comes after 9.
    """
    seen: set[tuple[int, int]] = set()
    waiting, linked = list(folders)[::-1], deque[Path]()
    while waiting or linked:
        directory = waiting.pop() if waiting else linked.popleft()
        try:
            status = directory.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(directory) as found:
                entries = sorted(found, key=lambda entry: (entry.name.zfill(12), entry.name))
            shown = [entry for entry in entries if entry.name[0] != "."]
            inner = [directory / entry.name for entry in shown if entry.is_dir(follow_symlinks=False)]
            links = [directory / entry.name for entry in shown if entry.is_symlink()]
        except OSError as error:
            unread(directory, error.strerror or str(error))
            continue
        yield directory, {entry.name for entry in entries}
        waiting += inner[::-1]
        for link in links:
            target = _status(link)
            if target is None:
                unread(link, "a link that leads nowhere")
            elif stat.S_ISDIR(target.st_mode):
                linked.append(link)


def run_directories(folders: Iterable[Path], unread: Unread) -> Iterator[Path]:
    """The directories of runs in and below `folders`, as `directories` finds them.

    `unread` is told of each directory that cannot be read, and why.
    """
    for directory, names in directories(folders, unread):
        if names & {COMPLETE, FAILED, RECORD} or (".hydra" in names and _status(directory / ".hydra" / "config.yaml")):
            yield directory


def _status(path: Path) -> os.stat_result | None:
    """Of what `path` leads to; None if it leads nowhere, or where nobody is let in."""
    try:
        return path.stat()
    except OSError:
        return None


def is_complete(directory: Path) -> bool:
    """Whether the run in `directory` is: its metrics are there and can be read.

    A file says nothing by being there: after a power failure there are empty ones.
    """
    return not {"average_accuracy", "average_mse"}.isdisjoint(metrics_in(directory))


def metrics_in(directory: Path) -> dict[str, Any]:
    """The metrics of the run in `directory`, unchecked; nothing if there are none that can be read."""
    return _object_in(directory / COMPLETE)


def has_failed(directory: Path) -> bool:
    """Whether it is marked there that the run in `directory` failed, and why."""
    return "reason" in _object_in(directory / FAILED)


def dropped_after(directory: Path) -> int | None:
    """After which task (from 1) a search gave up the run in `directory`; None if none did."""
    task = _object_in(directory / DROPPED).get("after_task")
    return task if type(task) is int else None


def _object_in(file: Path) -> dict[str, Any]:
    """What a file of JSON holds; nothing if it is missing, damaged, or holds something else."""
    try:
        status = file.stat()
        # A pipe would keep its reader waiting.
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LONGEST_METRICS:
            return {}
        found = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def has_state(directory: Path) -> bool:
    """Whether there is anything to go on from: what a power failure left empty is worth no more than no file."""
    try:
        return (directory / STATE).stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False


def position_of(directory: Path) -> tuple[int, ...] | None:
    """Task, epoch and step at which the run in `directory` stands, by its state's header; None if there is no state.

    One that cannot be read stands nowhere else: it gives an empty tuple.
    """
    if not has_state(directory):
        return None
    try:
        if not stat.S_ISREG((directory / STATE).stat().st_mode):
            return ()
        with (directory / STATE).open("rb") as file:
            header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), _LONGEST_HEADER)))
            state = json.loads(header["__metadata__"]["state"])
            position = state["task"], state["epoch"], state["step"]
        return position if all(type(part) is int and part >= 0 for part in position) else ()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError, RecursionError):
        return ()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Has an error of the system name `path`; one of writing, as to a full disk, names nothing by itself."""
    try:
        yield
    except OSError as error:
        # One that is not the system's has words of its own, which a name would replace.
        if error.errno is not None:
            error.filename = str(path)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside `path` and rename it, so that `path` is whole or absent.

    A power failure may empty it until it is given to `sync`: see `write_durably`. If `path` is a link, that is replaced
    and not what it points to.
    """
    _write_all([(path, content)], lambda _: None)


def write_durably(contents: Iterable[tuple[Path, bytes]]) -> None:
    """Write files as `write_atomically` does, each of which outlasts a power failure.

    None has its name before all are on the disk, so that many take little longer than one. What they rely on is to be
    given to `sync` before.
    """
    _write_all(contents, sync)


def _write_all(contents: Iterable[tuple[Path, bytes]], sync: Callable[[Iterable[Path]], None]) -> None:
    written: dict[Path, Path] = {}
    try:
        for path, content in contents:
            # A name that nobody knows is no other process's, and no link laid out for it.
            temporary = path.with_name(f".{secrets.token_hex(8)}{_TEMPORARY}")
            with naming(path):
                written[temporary] = path
                with temporary.open("xb") as file:
                    file.write(content)
        sync(written)
        for temporary, path in written.items():
            with naming(path):
                temporary.replace(path)
        sync(path.parent for path in written.values())
    finally:
        # Half a file would go on filling a disk that is full.
        for temporary in written:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def clear_temporaries(directory: Path) -> None:
    """Delete what killed processes were writing in `directory`; nobody may be writing there now."""
    for left in directory.glob(f".*{_TEMPORARY}"):
        left.unlink(missing_ok=True)


def sync(paths: Iterable[Path]) -> None:
    """Have the system put files, and of directories the names in them, onto the disk; returns once they are there."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(_sync, dict.fromkeys(paths)):
            pass


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        # Windows has no such thing.
        return
    with naming(path):
        descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            # Some file systems cannot be asked, for directories above all.
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(descriptor)


def mark_dropped(directory: Path, task: int) -> None:
    """Leave word that a search gave up the run in `directory` after a task (from 1)."""
    write_atomically(directory / DROPPED, (json.dumps({"after_task": task}) + "\n").encode())


def mark_failed(directory: Path, reason: str) -> None:
    """Leave the reason why the run in `directory` failed, if that can be written: whoever calls this tells it too."""
    with suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(directory / FAILED, (json.dumps({"reason": reason}, ensure_ascii=False) + "\n").encode())
