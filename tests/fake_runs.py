"""Run directories made by hand: what `cl-run` writes, as far as the report reads it."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

METHODS: dict[str, dict[str, Any]] = {
    "finetune": {"penalty": "none", "mask": "none", "ewc_lambda": 0.0},
    "ewc": {"penalty": "ewc", "mask": "none", "ewc_lambda": 10.0},
    "global_mask": {"penalty": "ewc", "mask": "global", "ewc_lambda": 0.0},
    "layerwise_mask": {"penalty": "ewc", "mask": "layerwise", "ewc_lambda": 0.0},
}


def write_config(directory: Path, method: str, seed: int, settings: Mapping[str, Any]) -> None:
    """A config of `settings` with dotted keys; `directory` is then an unfinished run."""
    config: dict[str, Any] = {
        "benchmark": {"name": "permuted_digits", "tasks": 2, "train_samples": None},
        "model": {"name": "mlp", "hidden": [100, 100]},
        "train": {"epochs": 10, "learning_rate": 0.001},
        "method": {"name": method, **METHODS[method]},
        "freeze": 0.0,
        "seed": seed,
        "device": "auto",
        "threads": None,
        "data_dir": "${oc.env:CL_RUNNER_DATA,data}",
    }
    for key, value in settings.items():
        group, _, name = key.rpartition(".")
        (config[group] if group else config)[name] = value
    (directory / ".hydra").mkdir(parents=True)
    (directory / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))


def write_run(
    directory: Path,
    accuracy: float,
    seed: int = 0,
    method: str = "ewc",
    metrics: Mapping[str, float | None] | None = None,
    **settings: Any,
) -> Path:
    """A finished run on two tasks; keys of `settings` have `__` for a dot. Metrics not given follow from `accuracy`."""
    write_config(directory, method, seed, _dotted(settings))
    matrix = np.array([[0.9, 0.1], [2 * accuracy - 0.8, 0.8]])
    _write_results(directory, "accuracy", matrix, matrix[1, 0] - 0.9, metrics)
    return directory


def write_regression_run(
    directory: Path,
    mse: float,
    seed: int = 0,
    method: str = "ewc",
    metrics: Mapping[str, float | None] | None = None,
    **settings: Any,
) -> Path:
    """The same as `write_run`, of a run that is scored by its mean squared error: 0.01 on a task just learned."""
    benchmark = {"benchmark.name": "regression", "benchmark.family": "regression", "benchmark.dataset": "curve"}
    write_config(directory, method, seed, benchmark | _dotted(settings))
    matrix = np.array([[0.01, 1.0], [2 * mse - 0.01, 0.01]])
    _write_results(directory, "mse", matrix, 0.01 - matrix[1, 0], metrics)
    return directory


def _dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("__", "."): value for key, value in settings.items()}


def _write_results(
    directory: Path,
    score: str,
    matrix: NDArray[np.float64],
    transfer: float,
    metrics: Mapping[str, float | None] | None,
) -> None:
    found = {
        f"average_{score}": matrix[1].mean(),
        f"learning_{score}": matrix.diagonal().mean(),
        "backward_transfer": transfer,
        "forward_transfer": 0.0,
        "average_forgetting": -transfer,
    }
    rows = [[1, *matrix[0].tolist()], [2, *matrix[1].tolist()]]
    _write_table(directory / f"{score}_matrix.csv", ["after_task", "task_1", "task_2"], rows)
    bins = [[task, layer, -3 + 0.25 * k, 10 + k] for task in (1, 2) for layer in (0, 1) for k in range(4)]
    _write_table(directory / "significance_histograms.csv", ["task", "layer", "low", "count"], bins)
    (directory / "metrics.json").write_text(json.dumps({**found, **(metrics or {}), "per_task": {}}))


def write_failure(directory: Path, reason: str) -> None:
    """A job that failed before its config was composed."""
    directory.mkdir(parents=True)
    (directory / "failed.json").write_text(json.dumps({"reason": reason}))


def _write_table(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
