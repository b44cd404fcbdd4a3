"""What a run recorded, read back and checked: nothing here is taken from a file without being held against what a run
writes, against the file's checksum where the run's record has it, and against what it is a mean of.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_runner.config.schema import Config
from cl_runner.errors import DamagedError
from cl_runner.metrics import SCORES, ScoreName, continual_metrics, metric_names
from cl_runner.results.files import COMPLETE, RECORD, TASKS
from cl_runner.results.reading import SETTINGS, TABLE, parse_json, read_bytes
from cl_runner.results.record import HYDRA, Stored, read_stored, settings_of
from cl_runner.results.tables import VALIDATION, Table, columns_of, is_whole, parse_table

# Tables have seven digits.
_EXACT = 2e-6


@dataclass(frozen=True)
class Scores:
    """Scores of a run over its test samples, or over its validation samples: `name` of what, the `matrix` `(T + 1, T)`
    (row 0 untrained), and its metrics, which are None of a run that is not complete.
    """

    name: ScoreName
    matrix: NDArray[np.float64]
    metrics: Mapping[str, Any] | None


class RunFiles:
    """The files of the run in `directory`.

    Whatever is asked for raises `DamagedError` if it is missing, or not as a run writes it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def complete(self) -> bool:
        """Whether the run is."""
        return (self.directory / COMPLETE).exists()

    @cached_property
    def stored(self) -> Stored:
        """Whose the directory is, as plain data."""
        try:
            found = read_stored(self.directory)
        except FileNotFoundError as error:
            raise DamagedError(self.directory, f"it has neither {RECORD} nor {HYDRA}") from error
        if self.complete and "format" in self._metrics and "format" not in found.content:
            raise DamagedError(self.directory / RECORD, "is missing, or holds nothing")
        digest = found.content.get("files", {}).get(COMPLETE)
        if self.complete and digest not in (None, hashlib.sha256(self._read_metrics).hexdigest()):
            # One of the two is damaged, or another run's.
            raise DamagedError(self.directory / COMPLETE, f"it has another checksum than {RECORD}")
        return found

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is known of a run's computation."""
        if not self.stored.content:
            raise DamagedError(self.directory / RECORD, "is missing, or holds nothing")
        return self.stored.content

    @property
    def checksums(self) -> Mapping[str, str] | None:
        """SHA-256 by name relative to the directory; None of an older run, which has none, and of an unfinished one."""
        return self.stored.content.get("files") or None

    @cached_property
    def settings(self) -> Config:
        """The settings of the run."""
        return settings_of(self.stored)

    def has_left(self, name: str) -> bool:
        """Whether the run is one that left this file: an older or unfinished one is taken to have left all."""
        return self.checksums is None or name in self.checksums

    def read(self, name: str, most: int = TABLE) -> bytes:
        """The content of a file by its name relative to the directory."""
        content = read_bytes(self.directory / name, most)
        if self.checksums is not None and self.checksums.get(name) != hashlib.sha256(content).hexdigest():
            known = "it has another checksum than" if name in self.checksums else "it is not among the files of"
            raise DamagedError(self.directory / name, f"{known} {RECORD}")
        return content

    @cached_property
    def scores(self) -> Scores:
        """The test scores, from the table of every test, and the metrics, which are held against them."""
        return self._scores_of(
            "", {key: value for key, value in self._metrics.items() if key not in ("format", "validation")}
        )

    @cached_property
    def validation(self) -> Scores | None:
        """The same over the validation samples; None of a run that had none."""
        if not self._validated:
            return None
        found = self._metrics.get("validation", {})
        if not isinstance(found, dict):
            raise DamagedError(self.directory / COMPLETE, "validation: no metrics by name")
        return self._scores_of(VALIDATION, found)

    def _scores_of(self, split: str, metrics: Mapping[str, Any]) -> Scores:
        name, found = self._score, self._every_test
        file, values, samples = self.directory / f"{name}.csv", found[f"{split}{name}"], found[f"{split}samples"]
        if name == "accuracy" and (abs(values * samples - (values * samples).round()) > 1e-6 * samples).any():
            raise DamagedError(file, f"{split}accuracy: is no share of the samples")
        tasks = int(found["eval_task"].max())
        matrix = values.reshape(tasks + 1, tasks)
        if self.complete:
            self._hold_against(matrix, name, split, metrics)
        return Scores(name, matrix, metrics or None)

    @cached_property
    def _validated(self) -> bool:
        """Whether there are validation scores: as settings say or, if these cannot be read, the table's header."""
        if self._known_settings:
            return self._known_settings.benchmark.validation is not None
        return VALIDATION.encode() in self.read(f"{self._score}.csv").partition(b"\n")[0]

    @cached_property
    def _every_test(self) -> Table:
        """The table of every test, a line for each task after each number of tasks."""
        name = self._score
        file = self.directory / f"{name}.csv"
        found = parse_table(file, self.read(file.name), columns_of(file.name, name, validated=self._validated))
        after, task = found["after_task"], found["eval_task"]
        tasks = int(task.max(initial=0))
        rows, columns = np.arange(tasks + 1), np.arange(1, tasks + 1)
        if (
            not tasks
            or len(task) != (tasks + 1) * tasks
            or not np.array_equal(after, np.repeat(rows, tasks))
            or not np.array_equal(task, np.tile(columns, tasks + 1))
        ):
            raise DamagedError(file, "it has not a line for each task after each number of tasks")
        known = self._known_settings
        kind = known.benchmark.family if known else "own"
        # What a benchmark of one's own is scored by is its own matter.
        other = kind != "own" and (kind == "regression") != (name == "mse")
        if known and (known.benchmark.tasks != tasks or other):
            raise DamagedError(file, f"it is not of {known.benchmark.tasks} tasks of {known.benchmark.family}")
        return found

    def table(self, name: str) -> dict[str, NDArray[np.float64]]:
        """The columns of a table by its name; `ValueError` if runs have no such table."""
        score, matrix = self.scores.name, self.scores.matrix
        found = self._parsed(name, score, matrix.shape[1])
        if name == f"{score}.csv":
            return found
        known = self._known_settings
        layers = len(known.model.hidden) + 1 if known and known.model.kind == "mlp" else None
        matrices = [scores.matrix for scores in (self.scores, self.validation) if scores]
        whole = is_whole(name, found, matrices, layers)
        if whole and name == f"{score}_matrix.csv":
            whole = np.array_equal(np.stack(list(found.values())[1:], axis=1), matrix[1:])
        if whole and name == "training.csv":
            whole = _last_epochs(found) == _last_epochs(self._parsed("learning_curves.csv", score, matrix.shape[1]))
        if whole and name == "significance_histograms.csv" and self.checksums is None and self.complete:
            whole = self._counts_are_whole(found)
        if not whole:
            raise DamagedError(self.directory / name, "lines are missing, or not those of this run")
        return found

    @cached_property
    def tasks(self) -> dict[int, dict[str, Any]]:
        """What each task is, by its number from 1, as `Benchmark.described` gives it."""
        file = self.directory / TASKS
        found = parse_json(file, self.read(TASKS))
        if not isinstance(found, dict) or list(found) != [str(task) for task in range(1, len(found) + 1)]:
            raise DamagedError(file, "not a description of each task")
        return {int(task): what for task, what in found.items()}

    def _parsed(self, name: str, score: ScoreName, tasks: int) -> dict[str, NDArray[np.float64]]:
        columns = columns_of(name, score, tasks, self._parts, validated=self._validated)
        return parse_table(self.directory / name, self.read(name), columns)

    @property
    def _parts(self) -> list[str]:
        """The names of the method's parts of one's own, which have a column each in a table."""
        try:
            return list(self.settings.method.parts)
        except DamagedError:
            # What is wrong with another setting is no matter here.
            return []

    def _counts_are_whole(self, histograms: Table) -> bool:
        """Whether every parameter whose significance is not zero is counted in a bin."""
        layers, shares = self.table("layers.csv"), self.table("significance.csv")
        columns = (layers["task"], layers["layer"], layers["parameters"], shares["zero_share"])
        return all(
            abs(histograms["count"][(histograms["task"] == task) & (histograms["layer"] == layer)].sum() - wanted)
            <= 1e-6 * size
            for task, layer, size, zeros in zip(*columns, strict=True)
            for wanted in [size * (1 - zeros)]
        )

    @property
    def _score(self) -> ScoreName:
        present = [name for name in SCORES if (self.directory / f"{name}.csv").exists()]
        if len(present) == 1:
            return present[0]
        found = "both" if present else "neither"
        raise DamagedError(self.directory, f"it has {found} of {' and '.join(f'{name}.csv' for name in SCORES)}")

    @cached_property
    def _known_settings(self) -> Config | None:
        """None if they cannot be read: that is for those to name who ask for them."""
        try:
            return self.settings
        except DamagedError:
            return None

    @cached_property
    def _read_metrics(self) -> bytes:
        return read_bytes(self.directory / COMPLETE, SETTINGS)

    @cached_property
    def _metrics(self) -> Mapping[str, Any]:
        """Of a run that is complete."""
        file = self.directory / COMPLETE
        if not self.complete:
            return {}
        found = parse_json(file, self._read_metrics)
        if not isinstance(found, dict):
            raise DamagedError(file, "no metrics by name")
        return found

    def _hold_against(
        self, matrix: NDArray[np.float64], score: ScoreName, split: str, given: Mapping[str, Any]
    ) -> None:
        """Raises `DamagedError` if the metrics of a split are not those of its matrix; what is null says nothing."""
        file = self.directory / COMPLETE
        missing = {*metric_names(score), "per_task"} - given.keys()
        if missing:
            raise DamagedError(file, f"it has no {', '.join(split + name for name in sorted(missing))}")
        parts = given["per_task"]
        if not isinstance(parts, dict) or not parts.keys() >= set(metric_names(score)):
            raise DamagedError(file, "per_task: a list is missing")
        # Forward transfer is left out where tasks have outputs of their own, which version 0.1 did not.
        right = continual_metrics(matrix, score, shared=parts["forward_transfer"] != [])
        right_parts, scale = right["per_task"], float(abs(matrix).max())
        for name in metric_names(score):
            for value, wanted in ((given[name], right[name]), (parts[name], right_parts[name])):
                nullable = name in metric_names(score)[2:]
                if not (value is None and nullable) and not _same(value, wanted, scale):
                    raise DamagedError(file, f"{split}{name} is not what {score}.csv gives")


def _same(value: Any, wanted: Any, scale: float) -> bool:
    """Whether a metric, or its list by task, has the digits that tables keep; `scale` is of the scores."""
    if type(value) is not type(wanted):
        return False
    given, right = (found if isinstance(found, list) else [found] for found in (value, wanted))
    # By hand, as NumPy takes a hundred times as long over so few.
    return len(given) == len(right) and all(
        isinstance(one, int | float) and not isinstance(one, bool) and abs(one - two) <= _EXACT * (abs(two) + scale)
        for one, two in zip(given, right, strict=True)
    )


def _last_epochs(found: Table) -> dict[float, float]:
    return dict(zip(found["task"], found["epoch"], strict=True))
