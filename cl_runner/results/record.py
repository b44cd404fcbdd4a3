"""A run's own record, `run.json`: its settings, who has computed it, and at its end the checksums of its files.

It is written before anything else that a run leaves, by whoever holds its lock or that of its sweep, and names its own
checksum. What Hydra writes into `.hydra/` is for people, and means what the environment of its reader says.
"""

import hashlib
import json
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cl_runner.config.plain_settings import checked_settings
from cl_runner.config.schema import Config
from cl_runner.errors import ConfigError, DamagedError
from cl_runner.results.files import COMPLETE, RECORD, TASKS, has_state, is_complete, write_atomically, write_durably
from cl_runner.results.reading import SETTINGS, parse_json, parse_yaml, read_bytes
from cl_runner.results.versions import changes, session

# Where Hydra writes a run's settings.
HYDRA = ".hydra/config.yaml"
_TENSORS = "*/task_*.safetensors"
# Of a record, named in the metrics too: where it is, there was one.
FORMAT = 1


@dataclass(frozen=True)
class Record:
    """Of one run: its settings; by whom it was computed, one entry each time it was taken up; once it is finished also
    what is known of its computation, and the SHA-256 of each of its files by their relative names.
    """

    settings: Config
    sessions: Sequence[Mapping[str, Any]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def write_record(directory: Path, record: Record) -> None:
    """Replace the record in a run's directory."""
    write_atomically(directory / RECORD, _as_json(record))


@dataclass(frozen=True)
class Stored:
    """What a run's directory says of whose it is, as plain data: `settings` in `file` are still to be checked.
    `content` is all else of the record; of a run from before there were records what it said of its computation, if
    anything.
    """

    file: Path
    settings: Any
    content: Mapping[str, Any]


def read_stored(directory: Path) -> Stored:
    """The record of the run in `directory`; of one from before there were records, its settings as Hydra wrote them.

    Raises:
        FileNotFoundError: it holds neither of the two.
        DamagedError: it is not what a run writes.
    """
    file, by_hydra = directory / RECORD, directory / HYDRA
    # A power failure may leave empty what nobody relied on yet.
    content = parse_json(file, read_bytes(file, SETTINGS)) if _is_there(file) else {}
    if not isinstance(content, dict):
        raise DamagedError(file, "not a record of a run")
    if "format" not in content:
        if not _is_there(by_hydra):
            raise FileNotFoundError(f"{directory}: nothing says whose it is")
        return Stored(by_hydra, parse_yaml(by_hydra, read_bytes(by_hydra, SETTINGS)), content)
    if content["format"] != FORMAT:
        raise DamagedError(file, f"format: got {content['format']!r:.20}, allowed: {FORMAT}, of this version")
    if content.pop("checksum", None) != _checksum(content):
        raise DamagedError(file, "it is damaged (its checksum differs)")
    sessions, files = content.get("sessions"), content.get("files")
    if not isinstance(sessions, list) or not all(isinstance(item, dict) for item in sessions):
        raise DamagedError(file, "sessions: not a list of them")
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise DamagedError(file, "files: no checksums by name")
    return Stored(file, content.pop("settings", None), content)


def read_record(directory: Path) -> Record:
    """The same as a checked record. A setting that the run did not know has the value that runs had before it.

    Raises:
        FileNotFoundError, DamagedError: as `read_stored`, and for settings that no run has.
    """
    stored = read_stored(directory)
    content = dict(stored.content)
    # Of a run from before there were records, which had one session and no checksums.
    sessions = content.pop("sessions", [content] if content else [])
    files = content.pop("files", {})
    return Record(settings_of(stored), sessions, content, files)


def settings_of(stored: Stored) -> Config:
    """The settings, checked; raises `DamagedError` for what no run has."""
    try:
        return checked_settings(stored.settings)
    except ConfigError as error:
        raise DamagedError(stored.file, str(error)) from error


def taken_up_by_others(directory: Path) -> str:
    """In which versions whoever would go on with the unfinished run in `directory` differs from who began it, in one
    line; empty if in none, or if it would begin anew.
    """
    try:
        record = read_record(directory) if has_state(directory) else None
    except (FileNotFoundError, DamagedError):
        record = None
    differing = changes(record.sessions[-1], session(record.settings)) if record and record.sessions else ""
    if not differing:
        return ""
    return f"{directory} goes on by other code than it was begun ({differing}): it may not be what either gives alone"


def begin_session(runs: Iterable[tuple[Path, Config, bool]]) -> None:
    """Record that runs are computed from now on: the directory and the settings of each, and whether it goes on from a
    state or begins anew.
    """
    write_durably(
        (directory / RECORD, _as_json(Record(config, [*(sessions_of(directory) if goes_on else []), session(config)])))
        for directory, config, goes_on in runs
    )


def sessions_of(directory: Path) -> Sequence[Mapping[str, Any]]:
    """By whom the run in `directory` was computed so far, as far as that can be read."""
    try:
        return read_record(directory).sessions
    except (FileNotFoundError, DamagedError):
        return []


def complete(directory: Path, facts: Mapping[str, Any], metrics: bytes, unsaved: Collection[Path] = ()) -> None:
    """Record what is known of a run's computation, and the checksums of the files that it leaves, all but those
    `unsaved`, and of that with its metrics, which will be written last.
    """
    written = {*directory.glob("*.csv"), *directory.glob(TASKS), *directory.glob(_TENSORS)}.difference(unsaved)
    files = {path.relative_to(directory).as_posix(): _digest(path) for path in sorted(written)}
    files[COMPLETE] = hashlib.sha256(metrics).hexdigest()
    write_record(directory, replace(read_record(directory), facts=facts, files=files))


def remove_unsaved(directory: Path) -> None:
    """Delete the tensors that the complete run in `directory` is not to leave, which its record has no checksums of.

    Until it was complete it needed them. One that is killed right then still has them.
    """
    tensors = list(directory.glob(_TENSORS))
    try:
        files = read_stored(directory).content.get("files") if tensors else None
    except (FileNotFoundError, DamagedError):
        files = None
    if not files:
        return
    for path in tensors:
        if path.relative_to(directory).as_posix() not in files:
            path.unlink(missing_ok=True)
    for folder in {path.parent for path in tensors}:
        # One that holds something stays.
        with suppress(OSError):
            folder.rmdir()


def belongs(record: Record, directory: Path) -> bool:
    """Whether a complete run's metrics are those that its record names; true of a run without checksums."""
    digest = record.files.get(COMPLETE)
    return digest is None or not is_complete(directory) or _digest(directory / COMPLETE) == digest


def _as_json(record: Record) -> bytes:
    content = {
        "format": FORMAT,
        "settings": asdict(record.settings),
        "sessions": list(record.sessions),
        **record.facts,
        "files": dict(record.files),
    }
    return (json.dumps({**content, "checksum": _checksum(content)}, indent=2, allow_nan=False) + "\n").encode()


def _is_there(file: Path) -> bool:
    try:
        status = file.lstat()
        return status.st_size > 0 or not stat.S_ISREG(status.st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
