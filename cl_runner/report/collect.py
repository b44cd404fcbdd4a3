"""From folders to a table of finished runs, and a list of what was left out of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cl_runner.config.plain_settings import dotted
from cl_runner.config.schema import Config
from cl_runner.errors import DamagedError
from cl_runner.metrics import metric_names
from cl_runner.report.identity import Repeat, take_repeats
from cl_runner.report.scores import RESULTS
from cl_runner.report.settings import BOOKKEEPING, FOLDER, NAMES, as_column
from cl_runner.results.files import COMPLETE, FAILED, dropped_after, run_directories
from cl_runner.results.reading import SETTINGS, parse_yaml, read_bytes
from cl_runner.results.recorded import RunFiles
from cl_runner.results.tables import VALIDATION
from cl_runner.sweeps.status import reason_of


@dataclass(frozen=True)
class LeftOut:
    """A run that no number of the report contains; `state` is failed, dropped, unfinished, unreadable or duplicate."""

    directory: Path
    state: str
    reason: str


@dataclass(frozen=True)
class Runs:
    """`table` has a row per finished run: `directory`, the columns `settings`, and `RESULTS`, which are `score` (of
    `SCORES`), the metrics and the `matrix` `(T + 1, T)`: of the test set and, with `validation_` before their names, of
    validation samples.

    Columns of settings are named as on the command line: `method`, `freeze`, `method.ewc_lambda`. A setting that does
    nothing in a run is null there, and `repeats` are runs that differ from one of the table in nothing else. Accuracies
    are from 0 to 1. A metric that is null, or that a run does not have, is NaN, and such a matrix None.
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
    configs: dict[Path, Config] = {}
    left_out: list[LeftOut] = []

    def unread(directory: Path, reason: str) -> None:
        left_out.append(LeftOut(directory, "unreadable", reason))

    for directory in run_directories(folders, unread):
        try:
            if (directory / COMPLETE).exists():
                configs[directory], found[directory] = _row(directory)
                if by_folder:
                    found[directory][FOLDER] = _folder_of(directory, folders)
            elif (directory / FAILED).exists():
                left_out.append(LeftOut(directory, "failed", _failure(directory)))
            elif (task := dropped_after(directory)) is not None:
                left_out.append(LeftOut(directory, "dropped", f"by the search, after task {task}"))
            else:
                left_out.append(
                    LeftOut(directory, "unfinished", f"it has no {COMPLETE}: interrupted, or still running")
                )
        except DamagedError as error:
            unread(directory, error.within(directory))
        except OSError as error:
            unread(directory, error.strerror or str(error))
    settings = list(dict.fromkeys(key for row in found.values() for key in row if key not in RESULTS))
    repeats = take_repeats(found, configs, [key for key in settings if key == "seed" or key not in BOOKKEEPING])
    left_out += [_duplicate(repeat) for repeat in repeats if not repeat.idle]
    columns = {key: as_column([row.get(key) for row in found.values()]) for key in settings}
    results = {
        name: pd.Series(
            [row.get(name) for row in found.values()],
            dtype=object if name == "score" or name.endswith("matrix") else float,
        )
        for name in RESULTS
    }
    # Names of directories need not be text, as pandas would have it.
    names = {"directory": pd.Series([str(directory) for directory in found], dtype=object)}
    table = pd.DataFrame(names | columns | results)
    return Runs(table, settings, left_out, [repeat for repeat in repeats if repeat.idle])


def _folder_of(directory: Path, folders: Sequence[Path]) -> str:
    """The innermost one, as it was given."""
    return str(max((folder for folder in folders if directory.is_relative_to(folder)), key=lambda it: len(it.parts)))


def _duplicate(repeat: Repeat) -> LeftOut:
    but = "" if repeat.alike else ", but other numbers"
    return LeftOut(repeat.directory, "duplicate", f"same settings and seed as {repeat.first}{but}")


def _row(directory: Path) -> tuple[Config, dict[str, Any]]:
    run = RunFiles(directory)
    settings = {NAMES.get(key, key): value for key, value in dotted(run.settings)}
    row = {**settings, "score": run.scores.name}
    for prefix, scores in (("", run.scores), (VALIDATION, run.validation)):
        if scores is not None:
            assert scores.metrics is not None
            row |= {f"{prefix}{name}": scores.metrics[name] for name in metric_names(scores.name)}
            row[f"{prefix}matrix"] = scores.matrix
    return run.settings, row


def _failure(directory: Path) -> str:
    reason, overrides = reason_of(directory), _overrides(directory)
    return f"{reason} ({overrides})" if overrides else reason


def _overrides(directory: Path) -> str:
    """What the run's command line set."""
    file = directory / ".hydra" / "overrides.yaml"
    try:
        found = parse_yaml(file, read_bytes(file, SETTINGS))
    except DamagedError:
        return ""
    return " ".join(map(str, found)) if isinstance(found, list) else ""
