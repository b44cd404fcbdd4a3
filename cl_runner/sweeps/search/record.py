"""What a search has asked and was told, `search.json` in its directory: all that it needs to go on as undisturbed.

It is replaced as a whole, and is on the disk before anything that rests on it is trained.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from cl_runner.errors import ConfigError, DamagedError
from cl_runner.results.files import write_durably
from cl_runner.results.reading import TABLE, parse_json, read_bytes
from cl_runner.sweeps.search.space import Value

SEARCH = "search.json"
_FORMAT = 1
_STATES = ("asked", "complete", "dropped", "failed")


@dataclass
class Trial:
    """A setting that is tried.

    `values` are those of the space, `attributes` what Optuna's sampler and pruner remember of it. Scores are such that
    more is better: `scores` by the number of tasks trained, of all its seeds so far, over which they are means;
    `by_seed` those at the end of each seed that it outlasted, and `value` their mean once there are no more.
    `directories` are the names of its runs', by seed; `reason` is why it failed.
    """

    number: int
    values: dict[str, Value]
    attributes: dict[str, Any]
    state: Literal["asked", "complete", "dropped", "failed"] = "asked"
    scores: dict[int, float] = field(default_factory=dict)
    by_seed: dict[int, float] = field(default_factory=dict)
    value: float | None = None
    directories: dict[int, str] = field(default_factory=dict)
    reason: str = ""


@dataclass
class Record:
    """Of a search: the `settings` that it cannot change, by key; its trials, batch by batch, of which only the last
    batch may still be asked; how many `jobs` the batches that are told had; and the `result`, once there is one.
    """

    settings: dict[str, Any]
    trials: list[Trial] = field(default_factory=list)
    jobs: int = 0
    result: dict[str, Any] | None = None

    @property
    def told(self) -> list[Trial]:
        """The trials whose outcome is known."""
        return [trial for trial in self.trials if trial.state != "asked"]

    @property
    def asked(self) -> list[Trial]:
        """The others, which are one batch."""
        return [trial for trial in self.trials if trial.state == "asked"]

    @property
    def best(self) -> Trial | None:
        """The first of the complete trials with the highest value; None if none is complete."""
        complete = [trial for trial in self.trials if trial.value is not None]
        return max(complete, key=lambda trial: trial.value or 0.0, default=None)


def write(sweep: Path, record: Record) -> None:
    """Replace the record in a sweep's directory."""
    content = json.loads(json.dumps({"format": _FORMAT, **asdict(record)}, allow_nan=False))
    text = json.dumps({**content, "checksum": _checksum(content)}, indent=1, allow_nan=False) + "\n"
    write_durably([(sweep / SEARCH, text.encode())])


def read(sweep: Path) -> Record | None:
    """The record in a sweep's directory; None if there is none.

    Raises:
        DamagedError: it is not as a search writes it.
    """
    file = sweep / SEARCH
    if not file.exists():
        return None
    content = parse_json(file, read_bytes(file, TABLE))
    if not isinstance(content, dict) or content.pop("checksum", None) != _checksum(content):
        raise DamagedError(
            file, "it is damaged (its checksum differs): without it the search begins anew, and finds its runs again"
        )
    if content.pop("format", None) != _FORMAT:
        raise DamagedError(file, f"it is of another version of cl-runner, allowed: format {_FORMAT}")
    trials = [Trial(**trial) for trial in content.pop("trials")]
    for trial in trials:
        for name in ("scores", "by_seed", "directories"):
            setattr(trial, name, {int(key): value for key, value in getattr(trial, name).items()})
    return Record(**content, trials=trials)


def check_same(sweep: Path, record: Record, settings: Mapping[str, Any], trials: int) -> None:
    """Raises `ConfigError` if a search with these settings is not the one recorded; it may have more trials."""
    for key in {**record.settings, **settings}:
        before, now = record.settings.get(key), settings.get(key)
        if before != now:
            raise ConfigError(
                f"{key}: got {_shown(now)}, but {sweep} holds a search with {_shown(before)}, allowed: the same "
                "settings, or another hydra.sweep.dir"
            )
    if trials < len(record.trials):
        raise ConfigError(
            f"hydra.sweeper.trials: got {trials}, but {sweep} holds a search with {len(record.trials)}, allowed: as "
            "many or more, or another hydra.sweep.dir"
        )


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
