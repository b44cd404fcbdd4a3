"""What a search judges a run by: its objective, as far as the run has come."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cl_runner.config.schema import Config
from cl_runner.errors import DamagedError
from cl_runner.metrics import SCORES, ScoreName, continual_metrics, less_is_better, objective
from cl_runner.results.reading import TABLE, read_bytes
from cl_runner.results.tables import VALIDATION, columns_of, parse_table


def score_after(directory: Path, config: Config, tasks: int) -> float | None:
    """The objective of a run as if its first `tasks` tasks were all, such that more is better: over its validation
    samples, or its test samples where it has no others. None where there is nothing to average yet.

    Raises:
        DamagedError: its table is missing or damaged.
    """
    name, matrix = _matrix(directory, tasks, validated=config.benchmark.validation is not None)
    metrics = continual_metrics(matrix, name, shared=config.benchmark.scenario == "domain")
    value = objective(metrics, config.objective)
    return -value if value is not None and less_is_better(config.objective, name) else value


def _matrix(directory: Path, tasks: int, *, validated: bool) -> tuple[ScoreName, NDArray[np.float64]]:
    """Scores after each number of tasks up to `tasks`, `(tasks + 1, tasks)`."""
    name: ScoreName = next((name for name in SCORES if (directory / f"{name}.csv").exists()), "accuracy")
    file = directory / f"{name}.csv"
    found = parse_table(file, read_bytes(file, TABLE), columns_of(file.name, name, validated=validated))
    # One that goes on, or was stopped, may have more lines.
    wanted = (found["after_task"] <= tasks) & (found["eval_task"] <= tasks)
    values = found[f"{VALIDATION if validated else ''}{name}"][wanted]
    if len(values) != (tasks + 1) * tasks:
        raise DamagedError(file, f"it has not a line for each task after {tasks} tasks")
    return name, values.reshape(tasks + 1, tasks)
