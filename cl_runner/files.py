"""Writing files so that none is ever half-written under its own name."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Written first: whose the directory is, see `cl_runner.record`.
RECORD = "run.json"
# Written last: a run whose directory holds it is complete.
COMPLETE = "metrics.json"
# What an unfinished run goes on from.
STATE = "state.safetensors"
# Held by the process that is at work in a run's directory.
LOCK = ".lock"
# In the directory of a sweep: which overrides led to which of its directories.
JOBS = "jobs.json"
# Holds the reason why a run failed.
FAILED = "failed.json"


def run_directories(folders: Iterable[Path]) -> Iterator[Path]:
    """The directories of runs in and below `folders`, each once, those with numbers in their order."""
    seen: set[Path] = set()
    for folder in folders:
        for place, inner, files in os.walk(folder):
            directory = Path(place)
            composed = ".hydra" in inner and (directory / ".hydra" / "config.yaml").exists()
            # Jobs of a sweep are numbered: 10 comes after 9.
            inner[:] = sorted((name for name in inner if name[0] != "."), key=lambda name: (name.zfill(12), name))
            run = composed or not {RECORD, COMPLETE, FAILED}.isdisjoint(files)
            if run and directory.resolve() not in seen:
                seen.add(directory.resolve())
                yield directory


def position_of(directory: Path) -> tuple[int, ...] | None:
    """Task, epoch and step at which the run in `directory` stands, by its state's header; None if there is no state.

    One that cannot be read stands nowhere else: it gives an empty tuple.
    """
    try:
        with (directory / STATE).open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            state = json.loads(header["__metadata__"]["state"])
            return state["task"], state["epoch"], state["step"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError):
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
    """Write to a temporary file beside `path` and rename it, so that `path` is whole or absent."""
    temporary = path.with_name(f".{path.name}.tmp")
    with naming(path):
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            # Half a file would go on filling a disk that is full.
            temporary.unlink(missing_ok=True)


def mark_failed(directory: Path, reason: str) -> None:
    """Leave the reason why the run in `directory` failed, if that can be written: whoever calls this tells it too."""
    with suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(directory / FAILED, (json.dumps({"reason": reason}, ensure_ascii=False) + "\n").encode())
