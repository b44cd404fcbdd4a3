"""The tables that a run writes: their columns, what each may hold, and which lines there must be."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import combinations
from pathlib import Path
from typing import SupportsFloat

import numpy as np
from numpy.typing import NDArray

from cl_runner.errors import DamagedError
from cl_runner.metrics import ScoreName
from cl_runner.results.significance import BIN_WIDTH

Table = Mapping[str, NDArray[np.float64]]

# How columns begin that are of validation samples.
VALIDATION = "validation_"


@dataclass(frozen=True)
class Column:
    """What a table's column holds: numbers from `low` to `high`, `whole` ones or not; an `empty` field is NaN."""

    low: float = 0
    high: float = math.inf
    whole: bool = False
    empty: bool = False


_COUNT, _AMOUNT, _SHARE = Column(whole=True), Column(), Column(high=1)
_LOSS = Column(-math.inf)
# More than float32 has of powers of ten.
_LOG = Column(-60, 60)
_LOG_OR_NONE, _SHARE_OR_NONE = Column(-60, 60, empty=True), Column(high=1, empty=True)


def columns_of(
    name: str, score: ScoreName, tasks: float = math.inf, parts: Iterable[str] = (), *, validated: bool = False
) -> dict[str, Column]:
    """The columns of a table by its name, of a run scored by `score`, with at most so many tasks, whose method has
    `parts` of one's own, and which was tested on validation samples too if it is `validated`.

    Raises:
        ValueError: runs have no such table.
    """
    task, value = Column(1, tasks, whole=True), _SHARE if score == "accuracy" else _AMOUNT
    tested = {score: value, "loss": _LOSS, "samples": Column(1, whole=True)}
    splits = ("", VALIDATION) if validated else ("",)
    known = {
        f"{score}.csv": {
            "after_task": Column(0, tasks, whole=True),
            "eval_task": task,
            **{f"{split}{name}": column for split in splits for name, column in tested.items()},
        },
        "learning_curves.csv": {
            "task": task,
            "epoch": Column(1, whole=True),
            "eval_task": task,
            **{f"{split}{score}": value for split in splits},
        },
        "training.csv": {
            "task": task,
            "epoch": Column(1, whole=True),
            **dict.fromkeys(("data_loss", "penalty", "l1", *parts), _LOSS),
            **dict.fromkeys(("seconds", "samples_per_second"), _AMOUNT),
        },
        "significance.csv": {
            "task": task,
            "layer": _COUNT,
            **dict.fromkeys(("mode", "median", "p5", "p95"), _LOG_OR_NONE),
            "zero_share": _SHARE,
        },
        "significance_histograms.csv": {"task": task, "layer": _COUNT, "low": _LOG, "count": _COUNT},
        "layers.csv": {
            "task": task,
            "layer": _COUNT,
            "parameters": Column(1, whole=True),
            **dict.fromkeys(("frozen", "zero_weights"), _COUNT),
            "l1_norm": _AMOUNT,
        },
        "mask_overlap.csv": {
            "task": task,
            "other": task,
            "layer": _COUNT,
            **dict.fromkeys(("jaccard", "chance"), _SHARE_OR_NONE),
        },
        f"{score}_matrix.csv": {
            "after_task": task,
            **{f"task_{number}": value for number in range(1, tasks + 1 if isinstance(tasks, int) else 1)},
        },
    }
    if name not in known:
        raise ValueError(f"name: got {name}, allowed: one of {', '.join(known)}")
    return known[name]


def is_whole(name: str, found: Table, matrices: Sequence[NDArray[np.float64]], layers: int | None) -> bool:
    """Whether a table of a run has every line that it is to have, in order.

    `matrices` `(T + 1, T)` are of its test scores and of its validation scores, if it has such; `layers` is the number
    of layers, None if it is not known.
    """
    matrix = matrices[0]
    every_task = np.arange(1, matrix.shape[1] + 1)
    if "after_task" in found:
        return np.array_equal(found["after_task"], every_task)
    if name == "learning_curves.csv":
        return _curves_are_whole(found, matrices)
    if name == "significance_histograms.csv":
        return _bins_are_whole(found)
    if name == "training.csv":
        epochs = np.bincount(found["task"].astype(int), minlength=len(matrix))[1:]
        return epochs.min() > 0 and _lines(found, 2) == [
            (task, epoch) for task in every_task for epoch in range(1, epochs[task - 1] + 1)
        ]
    tasks = list(combinations(every_task, 2)) if name == "mask_overlap.csv" else [(task,) for task in every_task]
    count = layers or len(found["layer"]) // max(1, len(tasks))
    return (
        bool(tasks)
        and count > 0
        and _lines(found, len(tasks[0]) + 1) == [(*task, layer) for task in tasks for layer in range(count)]
    )


def _lines(found: Table, columns: int) -> list[tuple[float, ...]]:
    """The first columns, line by line."""
    return list(zip(*list(found.values())[:columns], strict=True))


def _curves_are_whole(found: Table, matrices: Sequence[NDArray[np.float64]]) -> bool:
    """Whether at each point all tasks so far are tested, and the last point of each task is in the matrices."""
    task, epoch, tested, *scores = found.values()
    points = [(int(task), epoch) for task, epoch in zip(task[tested == 1], epoch[tested == 1], strict=True)]
    if points != sorted(set(points)) or sum(task for task, _ in points) != len(task):
        return False
    lines = [(task, epoch, number) for task, epoch in points for number in range(1, task + 1)]
    return _lines(found, 3) == lines and all(
        np.array_equal(score[task == number][-number:], matrix[number, :number])
        for score, matrix in zip(scores, matrices, strict=True)
        for number in range(1, len(matrix))
    )


def _bins_are_whole(found: Table) -> bool:
    """Whether the bins of each layer after each task are side by side, tasks and layers in order."""
    task, layer, low, _ = found.values()
    bins = np.round(low / BIN_WIDTH)
    same = (np.diff(task) == 0) & (np.diff(layer) == 0)
    later = (np.diff(task) > 0) | ((np.diff(task) == 0) & (np.diff(layer) > 0))
    return np.array_equal(bins * BIN_WIDTH, low) and bool((later | (same & (np.diff(bins) == 1))).all())


def parse_table(file: Path, content: bytes, columns: Mapping[str, Column]) -> dict[str, NDArray[np.float64]]:
    """The columns `(rows,)` of a CSV table that has just these.

    Raises:
        DamagedError: it has others, ends in the middle of a line, or holds what a column does not.
    """
    try:
        text = content.decode("ascii")
    except ValueError as error:
        raise DamagedError(file, "not a table of numbers") from error
    header, _, body = text.partition("\n")
    if header.rstrip("\r").split(",") != list(columns):
        raise DamagedError(file, f"its first line is not {','.join(columns)}")
    if not text.endswith("\n"):
        raise DamagedError(file, "its last line is cut off")
    # What `float` would take besides: inf, nan, 1_000.
    if not set(body) <= set("0123456789+-.e,\r\n"):
        raise DamagedError(file, "not a table of numbers")
    rows = list(csv.reader(StringIO(body)))
    if any(len(row) != len(columns) for row in rows):
        raise DamagedError(file, f"a line has not {len(columns)} fields")
    fields = zip(*rows, strict=True) if rows else [()] * len(columns)
    return {
        name: _column(file, name, column, values)
        for (name, column), values in zip(columns.items(), fields, strict=True)
    }


def _column(file: Path, name: str, column: Column, fields: Sequence[str]) -> NDArray[np.float64]:
    try:
        values = np.array([float(field or "nan") for field in fields])
    except ValueError as error:
        raise DamagedError(file, f"{name}: not a number") from error
    known = values[~np.isnan(values)] if column.empty else values
    wrong = ~((known >= column.low) & (known <= column.high) & np.isfinite(known))
    if column.whole:
        wrong |= known != np.floor(known)
    if wrong.any():
        kind = "whole numbers" if column.whole else "numbers"
        upper = "" if column.high == math.inf else f" to {column.high:g}"
        raise DamagedError(file, f"{name}: got {known[wrong][0]:g}, allowed: {kind} from {column.low:g}{upper}")
    return values


def short(value: SupportsFloat) -> float | str:
    """Seven significant digits, which float32 has; an empty field where there is no number."""
    number = float(value)
    return "" if math.isnan(number) else float(f"{number:.7g}")
