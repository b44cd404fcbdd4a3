"""A run's own record, `run.json`: its settings, who has computed it, and at its end the checksums of its files.

It is written before anything else, by whoever holds the run's lock, and names its own checksum. What Hydra writes into
`.hydra/` is for people: it comes before the lock, and means what the environment of its reader says.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from cl_runner.config import Config, values_before
from cl_runner.errors import DamagedError
from cl_runner.files import COMPLETE, FAILED, RECORD, STATE, has_state, write_atomically, write_durably
from cl_runner.idle import flat
from cl_runner.versions import changes, session

_FORMAT = 1
# What a run's numbers are not read from, or what has a check of its own.
_UNCHECKED = {RECORD, COMPLETE, FAILED, STATE}
_UNCHECKED_KINDS = {".png", ".log"}


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


def read_record(directory: Path) -> Record:
    """The record of the run in `directory`; of one from before there were records, its settings as Hydra wrote them.

    A setting that the run did not know has the value that runs had before it.

    Raises:
        FileNotFoundError: it holds neither of the two.
        DamagedError: it is not what a run writes.
    """
    file = directory / RECORD
    # A power failure may leave empty what nobody relied on yet.
    content = _parsed(file) if _has_content(file) else {}
    if "format" not in content:
        return Record(_stored_by_hydra(directory), [content] if content else [], content)
    if content["format"] != _FORMAT:
        raise DamagedError(f"{file}: it is of another version of cl-runner")
    if content.pop("checksum", None) != _checksum(content):
        raise DamagedError(f"{file}: it is damaged (its checksum differs)")
    parts = {name: content.pop(name) for name in ("settings", "sessions", "files")}
    return Record(_typed(parts["settings"], file), parts["sessions"], content, parts["files"])


def taken_up_by_others(directory: Path) -> str:
    """In which versions whoever would go on with the unfinished run in `directory` differs from who began it, in one
    line; empty if in none, or if it would begin anew.
    """
    sessions = sessions_of(directory) if has_state(directory) else []
    differing = changes(sessions[-1], session()) if sessions else ""
    if not differing:
        return ""
    return f"{directory} goes on by other code than it was begun ({differing}): it may not be what either gives alone"


def begin_session(runs: Iterable[tuple[Path, Config, bool]]) -> None:
    """Record that runs are computed from now on: the directory and the settings of each, and whether it goes on from a
    state or begins anew.
    """
    write_durably(
        (directory / RECORD, _as_json(Record(config, [*(sessions_of(directory) if goes_on else []), session()])))
        for directory, config, goes_on in runs
    )


def sessions_of(directory: Path) -> Sequence[Mapping[str, Any]]:
    """By whom the run in `directory` was computed so far, as far as that can be read."""
    try:
        return read_record(directory).sessions
    except (FileNotFoundError, DamagedError):
        return []


def complete(directory: Path, facts: Mapping[str, Any]) -> None:
    """Record what is known of a run's computation, and the checksums of the files that it left."""
    names = sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    files = {str(name): _digest(directory / name) for name in names if _is_checked(name)}
    write_record(directory, replace(read_record(directory), facts=facts, files=files))


def _as_json(record: Record) -> bytes:
    content = {
        "format": _FORMAT,
        "settings": asdict(record.settings),
        "sessions": list(record.sessions),
        **record.facts,
        "files": dict(record.files),
    }
    return (json.dumps({**content, "checksum": _checksum(content)}, indent=2, allow_nan=False) + "\n").encode()


def _has_content(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _is_checked(name: Path) -> bool:
    hidden = any(part.startswith(".") for part in name.parts)
    return not hidden and str(name) not in _UNCHECKED and name.suffix not in _UNCHECKED_KINDS


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _parsed(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedError(f"{file}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise DamagedError(f"{file}: it holds no settings")
    return content


def _stored_by_hydra(directory: Path) -> Config:
    file = directory / ".hydra" / "config.yaml"
    if not _has_content(file):
        raise FileNotFoundError(f"{directory}: nothing says whose it is")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise DamagedError(f"{file}: not valid YAML: {error}") from error
    return _typed(content, file)


def _typed(content: Any, file: Path) -> Config:
    known = dict(values_before()) | flat(content)
    config = _built(Config, known, "", file)
    assert isinstance(config, Config)
    return config


def _built(schema: type, known: Mapping[str, Any], prefix: str, file: Path) -> Any:
    hints = get_type_hints(schema)
    values = {}
    for item in fields(schema):
        key = f"{prefix}{item.name}"
        if is_dataclass(hints[item.name]):
            values[item.name] = _built(hints[item.name], known, f"{key}.", file)
        elif key in known:
            values[item.name] = known[key]
        else:
            raise DamagedError(f"{file}: it has no {key}")
    return schema(**values)
