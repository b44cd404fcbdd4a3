"""Run directories made by hand: what `cl-run` writes, as far as the report reads it."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from cl_runner.config.plain_settings import checked_settings
from cl_runner.metrics import SCORES, ScoreName, continual_metrics
from cl_runner.results import record

_DEFAULTS = """
benchmark: {name: permuted_digits, family: permuted, dataset: digits, tasks: 2, classes_per_task: 10, scenario: domain,
  normalize: true, train_samples: null, test_samples: null}
model: {name: mlp, hidden: [100, 100], activation: relu}
train: {epochs: 10, first_epochs: null, iterations: null, batch_size: 32, optimizer: adam, learning_rate: 0.001,
  momentum: 0.0, weight_decay: 0.0, curve_points: 10}
fisher: {estimator: exact, samples: null, batch_size: 128}
method: {name: ewc, joint: false, penalty: none, ewc_lambda: 0.0, update: sum, gamma: 1.0, alpha: 0.5, mask: none,
  mask_source: latest, unit: parameter, soft: false, l1_lambda: 0.0}
checkpoint: {minutes: 5.0}
data_dir: ${oc.env:CL_RUNNER_DATA,data}
freeze: 0.0
seed: 0
device: auto
plots: auto
threads: null
"""
REGRESSION = {
    "benchmark.name": "regression",
    "benchmark.family": "regression",
    "benchmark.dataset": "curve",
    "benchmark.classes_per_task": 1,
}
VALIDATED = {"benchmark.validation": 0.1}
METHODS: dict[str, dict[str, Any]] = {
    "finetune": {"penalty": "none", "mask": "none", "ewc_lambda": 0.0},
    "ewc": {"penalty": "ewc", "mask": "none", "ewc_lambda": 10.0},
    "global_mask": {"penalty": "ewc", "mask": "global", "ewc_lambda": 0.0},
    "layerwise_mask": {"penalty": "ewc", "mask": "layerwise", "ewc_lambda": 0.0},
}


def write_config(directory: Path, method: str, seed: int, settings: Mapping[str, Any]) -> None:
    """A config of `settings` with dotted keys; `directory` is then an unfinished run."""
    named = {f"method.{key}": value for key, value in METHODS[method].items()}
    config = _config({"method.name": method, **named, "seed": seed, **settings})
    (directory / ".hydra").mkdir(parents=True)
    (directory / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))


def _config(settings: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(_DEFAULTS)
    for key, value in settings.items():
        group, _, name = key.rpartition(".")
        (config[group] if group else config)[name] = value
    return config


def write_run(
    directory: Path,
    accuracy: float,
    seed: int = 0,
    method: str = "ewc",
    metrics: Mapping[str, float | None] | None = None,
    validation: float | None = None,
    **settings: Any,
) -> Path:
    """A finished run on two tasks; keys of `settings` have `__` for a dot.

    All follows from `accuracy`, but for the metrics given: null, or what was learned or forgotten. `validation` is the
    accuracy over validation samples, of which there are none without it.
    """
    tasks = settings.get("benchmark__tasks", 2)
    held_out = None if validation is None else _matrix(validation, tasks)
    write_config(directory, method, seed, ({} if validation is None else VALIDATED) | _dotted(settings))
    write_results(directory, "accuracy", _matrix(accuracy, tasks), metrics, held_out)
    return directory


def _matrix(accuracy: float, tasks: int) -> NDArray[np.float64]:
    if tasks == 1:
        return np.array([[0.1], [accuracy]])
    first = min(max(2 * accuracy - 0.8, 0), 1)
    return np.array([[0.1, 0.1], [0.9, 0.1], [first, 2 * accuracy - first]])


def write_regression_run(
    directory: Path,
    mse: float,
    seed: int = 0,
    method: str = "ewc",
    metrics: Mapping[str, float | None] | None = None,
    **settings: Any,
) -> Path:
    """The same as `write_run`, of a run that is scored by its mean squared error: 0.01 on a task just learned."""
    write_config(directory, method, seed, REGRESSION | _dotted(settings))
    matrix = np.array([[1.0, 1.0], [0.01, 1.0], [2 * mse - 0.01, 0.01]])
    write_results(directory, "mse", matrix, metrics)
    return directory


def _dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("__", "."): value for key, value in settings.items()}


def write_results(
    directory: Path,
    score: ScoreName,
    matrix: NDArray[np.float64],
    metrics: Mapping[str, float | None] | None = None,
    validation: NDArray[np.float64] | None = None,
) -> None:
    """What a finished run with this matrix `(T + 1, T)` leaves, as far as reports read it, of three layers. The metrics
    given are of the test set; `validation` is the matrix over validation samples.
    """
    given = dict(metrics or {})
    learned, forgotten = given.get(f"learning_{score}"), given.get("average_forgetting")
    if learned is not None:
        matrix[1, 0] = matrix[2, 1] = learned
    if forgotten is not None and score == "mse":
        matrix[2, 0] = matrix[1, 0] + forgotten
    elif forgotten is not None:
        matrix[1, 0] = matrix[2, 0] + forgotten
    null = [name for name, value in given.items() if value is None]
    tasks = range(1, matrix.shape[1] + 1)
    splits = {"": matrix} if validation is None else {"": matrix, "validation_": validation}
    rows = [
        [after, task, *(cell for found in splits.values() for cell in (f"{found[after, task - 1]:.7g}", 0.5, 10**6))]
        for after in range(len(matrix))
        for task in tasks
    ]
    tested = [f"{split}{name}" for split in splits for name in (score, "loss", "samples")]
    _write_table(directory / f"{score}.csv", ["after_task", "eval_task", *tested], rows)
    _write_table(
        directory / f"{score}_matrix.csv",
        ["after_task", *(f"task_{task}" for task in tasks)],
        [[after, *(f"{value:.7g}" for value in matrix[after])] for after in tasks],
    )
    # All of the last layer's significance is zero.
    bins = [[task, layer, -3 + 0.25 * k, 10 + k] for task in tasks for layer in (0, 1) for k in range(4)]
    _write_table(directory / "significance_histograms.csv", ["task", "layer", "low", "count"], bins)
    known, none = [-2.5, -2.5, -3, -2.1, 4 / 50], ["", "", "", "", 1]
    _write_table(
        directory / "significance.csv",
        ["task", "layer", "mode", "median", "p5", "p95", "zero_share"],
        [[task, layer, *(none if layer == 2 else known)] for task in tasks for layer in range(3)],
    )
    _write_table(
        directory / "layers.csv",
        ["task", "layer", "parameters", "frozen", "zero_weights", "l1_norm"],
        [[task, layer, 50, 0, 0, 1] for task in tasks for layer in range(3)],
    )
    found = continual_metrics(matrix, score) | dict.fromkeys(null)
    if validation is not None:
        found["validation"] = continual_metrics(validation, score)
    (directory / "metrics.json").write_text(json.dumps(found))


def write_record(directory: Path) -> None:
    """The record of a finished run: its settings as Hydra wrote them, or others, and its files' checksums."""
    stored = directory / ".hydra" / "config.yaml"
    if stored.exists():
        config = yaml.safe_load(stored.read_text())
    else:
        regression = REGRESSION if (directory / "mse.csv").exists() else {}
        (table,) = (directory / f"{score}.csv" for score in SCORES if (directory / f"{score}.csv").exists())
        with table.open() as file:
            tasks = max(int(row["after_task"]) for row in csv.DictReader(file))
        config = _config({**regression, "benchmark.tasks": tasks})
    record.write_record(directory, record.Record(checked_settings(config)))
    metrics = directory / "metrics.json"
    metrics.write_text(json.dumps({"format": record.FORMAT, **json.loads(metrics.read_text())}))
    record.complete(directory, {}, metrics.read_bytes())


def write_failure(directory: Path, reason: str) -> None:
    """A job that failed before its config was composed."""
    directory.mkdir(parents=True)
    (directory / "failed.json").write_text(json.dumps({"reason": reason}))


def _write_table(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
