"""From folders to a table of finished runs, and a list of what was left out of it."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from cl_runner.config import values_before
from cl_runner.files import COMPLETE, FAILED, run_directories
from cl_runner.metrics import SCORES, metric_names
from cl_runner.report.identity import Repeat, take_repeats
from cl_runner.report.scores import METRICS
from cl_runner.report.settings import BOOKKEEPING, FOLDER, NAMES, as_column
from cl_runner.status import reason_of

# libyaml's parser is ten times as fast, but not in every build of PyYAML.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Of settings that a run may be older than.
_BEFORE = {NAMES.get(key, key): value for key, value in values_before()}


@dataclass(frozen=True)
class LeftOut:
    """A run that no number of the report contains; `state` is failed, unfinished, unreadable or duplicate."""

    directory: Path
    state: str
    reason: str


@dataclass(frozen=True)
class Runs:
    """`table` has a row per finished run: `directory`, the columns `settings`, `score` (of `SCORES`), and `METRICS`.

    Columns of settings are named as on the command line: `method`, `freeze`, `method.ewc_lambda`. A setting that does
    nothing in a run is null there, and `repeats` are runs that differ from one of the table in nothing else. Accuracies
    are from 0 to 1. A metric that is null, or that a run of such a score does not have, is NaN.
    """

    table: pd.DataFrame
    settings: list[str]
    left_out: list[LeftOut]
    repeats: list[Repeat]


def collect(folders: Iterable[Path], by_folder: bool = False) -> Runs:
    """Every run in and below `folders`; of runs with the same settings and seed the first one only.

    With `by_folder` the one of `folders` that a run lies in is a setting, too: `FOLDER`.
    """
    folders = list(folders)
    found: dict[Path, dict[str, Any]] = {}
    left_out: list[LeftOut] = []
    for directory in run_directories(folders):
        if (directory / COMPLETE).exists():
            try:
                found[directory] = _BEFORE | _settings(directory) | _metrics(directory)
                if by_folder:
                    found[directory][FOLDER] = _folder_of(directory, folders)
            except (OSError, ValueError, yaml.YAMLError) as error:
                left_out.append(LeftOut(directory, "unreadable", _one_line(error)))
        elif (directory / FAILED).exists():
            left_out.append(LeftOut(directory, "failed", _failure(directory)))
        else:
            left_out.append(LeftOut(directory, "unfinished", f"it has no {COMPLETE}: interrupted, or still running"))
    settings = list(dict.fromkeys(key for row in found.values() for key in row if key not in ("score", *METRICS)))
    repeats = take_repeats(found, [key for key in settings if key == "seed" or key not in BOOKKEEPING])
    left_out += [_duplicate(repeat) for repeat in repeats if not repeat.idle]
    columns = {key: as_column([row.get(key) for row in found.values()]) for key in settings}
    columns["score"] = pd.Series([row["score"] for row in found.values()], dtype=object)
    metrics = {name: pd.Series([row.get(name) for row in found.values()], dtype=float) for name in METRICS}
    table = pd.DataFrame({"directory": [str(directory) for directory in found]} | columns | metrics)
    return Runs(table, settings, left_out, [repeat for repeat in repeats if repeat.idle])


def _folder_of(directory: Path, folders: Sequence[Path]) -> str:
    """The innermost one, as it was given."""
    return str(max((folder for folder in folders if directory.is_relative_to(folder)), key=lambda it: len(it.parts)))


def _duplicate(repeat: Repeat) -> LeftOut:
    but = "" if repeat.alike else ", but other numbers"
    return LeftOut(repeat.directory, "duplicate", f"same settings and seed as {repeat.first}{but}")


def _settings(directory: Path) -> dict[str, Any]:
    file = directory / ".hydra" / "config.yaml"
    config = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    if not isinstance(config, Mapping) or not isinstance(config.get("seed"), int):
        raise ValueError(".hydra/config.yaml: it has no seed")
    return {NAMES.get(key, key): value for key, value in _flat(config, "")}


def _flat(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _metrics(directory: Path) -> dict[str, Any]:
    content = json.loads((directory / COMPLETE).read_text(encoding="utf-8"))
    averages = {score: f"average_{score}" for score in SCORES}
    known = content if isinstance(content, Mapping) else {}
    score = next((score for score, name in averages.items() if known.get(name) is not None), None)
    if score is None:
        raise ValueError(f"{COMPLETE}: it has no {' or '.join(averages.values())}")
    metrics = {name: math.nan if known.get(name) is None else known[name] for name in metric_names(score)}
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isinf(value):
            raise ValueError(f"{COMPLETE}: {name} is no number but {value!r}")
    return {"score": score, **metrics}


def _failure(directory: Path) -> str:
    reason, overrides = reason_of(directory), _overrides(directory)
    return f"{reason} ({overrides})" if overrides else reason


def _overrides(directory: Path) -> str:
    """What the run's command line set."""
    try:
        found = yaml.load((directory / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"), _Loader)
    except (OSError, yaml.YAMLError):
        return ""
    return " ".join(map(str, found)) if isinstance(found, list) else ""


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{Path(error.filename).name}: {error.strerror}" if error.filename else str(error)
    if isinstance(error, json.JSONDecodeError):
        return f"{COMPLETE}: not valid JSON: {error}"
    if isinstance(error, yaml.YAMLError):
        return ".hydra/config.yaml: not valid YAML: " + " ".join(str(error).split())
    return " ".join(str(error).split())
