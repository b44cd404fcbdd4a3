"""What runs are scored by, accuracy or mean squared error: how its values are shown, and which runs compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cl_runner.errors import ConfigError
from cl_runner.metrics import SCORES, metric_names
from cl_runner.results.tables import VALIDATION

if TYPE_CHECKING:
    import pandas as pd

METRICS = list(dict.fromkeys(name for score in SCORES for name in metric_names(score)))
# The columns of a table of runs that are what came out; the matrices are as `cl_runner.metrics` has them.
RESULTS = ["score", *(f"{on}{name}" for on in ("", VALIDATION) for name in [*METRICS, "matrix"])]
LESS_IS_BETTER = ("average_mse", "learning_mse", "average_forgetting")


@dataclass(frozen=True)
class Score:
    """A score by its `name`, and in `words`; all metrics of its runs share its unit.

    Shown are values times `scale`: by the format `form`, or `short` where room is scarce; a difference is so many
    `steps`. `highest` is the most a shown value can be, None if there is no bound; the least is zero.
    """

    name: str
    words: str
    unit: str
    steps: str
    scale: float
    form: str
    short: str
    highest: float | None

    @property
    def metrics(self) -> list[str]:
        """The metrics of its runs."""
        return metric_names(self.name)

    @property
    def average(self) -> str:
        """Its metric at the end, over all tasks."""
        return f"average_{self.name}"

    @property
    def learned(self) -> str:
        """Its metric right after each task was learned."""
        return f"learning_{self.name}"

    @property
    def less_is_better(self) -> bool:
        """Whether a low score is a good one."""
        return self.average in LESS_IS_BETTER

    def range_of(self, metrics: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The least and the most that each of these metrics can be, both `(M,)`."""
        top = np.inf if self.highest is None else self.highest / self.scale
        scores = np.isin([name.removeprefix(VALIDATION) for name in metrics], [self.average, self.learned])
        # The others are differences of scores.
        return np.where(scores, 0.0, -top), np.full(len(metrics), top)

    def unit_of(self, metric: str) -> str:
        """The unit of a metric, with a space before it; empty where the metric's name says it."""
        return "" if self.unit in metric.split("_") else f" {self.unit}"

    def label(self, metric: str) -> str:
        """A metric and its unit in words: `average accuracy in %`."""
        unit = self.unit_of(metric)
        return metric.replace("_", " ") + (f" in{unit}" if unit else "")

    def number(self, value: float) -> str:
        """A value as text, without unit; zero has no minus."""
        return f"{self.scale * value:z{self.form}}".rstrip(".")

    def signed(self, value: float) -> str:
        """A difference as text, without unit."""
        return f"{self.scale * value:+z{self.form}}".rstrip(".")


_KNOWN = {
    "accuracy": Score("accuracy", "accuracy", "%", "percentage points", 100, ".1f", ".0f", 100),
    "mse": Score("mse", "mean squared error", "mse", "mse", 1, "#.3g", ".2g", None),
}


def score_of(runs: pd.DataFrame) -> Score:
    """What `runs` (of `judged`), which have one score, are scored by."""
    return _KNOWN[runs["score"].iloc[0]]


def with_validation(runs: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    """`metrics`, and the columns of the same over validation samples if any of `runs` has these."""
    columns = [f"{VALIDATION}{name}" for name in metrics]
    return [*metrics, *columns] if runs.reindex(columns=columns).notna().any(axis=None) else list(metrics)


def judged(runs: pd.DataFrame, metric: str | None) -> tuple[pd.DataFrame, str, str]:
    """The runs of one score that have `metric`, the metric, and a note on the other runs (empty: none are left out).

    Runs of different scores do not compare. Where both have the metric, or none is given, accuracy goes first.

    Raises:
        ConfigError: no run has the metric; the message says what there is.
    """
    present = [score for score in SCORES if (runs["score"] == score).any()]
    having = [score for score in present if metric is None or metric in metric_names(score)]
    if not having:
        allowed = dict.fromkeys(name for score in present for name in metric_names(score))
        raise ConfigError(f"--metric {metric}: no finished run has it, allowed: {', '.join(allowed)}")
    score = _KNOWN[having[0]]
    by = metric or score.average
    others = runs[runs["score"] != score.name]
    if others.empty:
        return runs, by, ""
    other = score_of(others)
    benchmarks = ",".join(others["benchmark"].unique())
    option = f"--where benchmark={benchmarks}" if by in other.metrics else f"--metric {other.average}"
    count = "1 run is" if len(others) == 1 else f"{len(others)} runs are"
    note = f"{count} left out, scored by {other.words} and not by {score.words}: see {option}"
    return runs[runs["score"] == score.name], by, note
