"""Means over seeds with 95 % intervals, by the percentile bootstrap over seeds of `cl_runner.report.summary`."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cl_runner.report import words
from cl_runner.report.summary import intervals


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` seeds with its interval from `low` to `high`, NaN where there is but one seed."""

    mean: float
    low: float
    high: float
    n: int

    def percent(self) -> str:
        """`63.8 % [61.0, 66.9]`."""
        return words.estimate(pd.Series({"score": self.mean, "score_low": self.low, "score_high": self.high}), "score")

    def points(self) -> str:
        """A difference in percentage points: `+2.3 [-0.5, +4.0]`."""
        return words.points(self.mean, self.low, self.high)


def by_seed(rows: pd.DataFrame, column: str = "score") -> pd.Series:
    """The mean of `column` over the rows of each seed, seeds being what the bootstrap draws."""
    return rows.groupby("seed")[column].mean()


def estimate(values: pd.Series) -> Estimate:
    """The mean of the values of seeds."""
    (low,), (high,) = intervals([values.to_numpy(dtype=float)[None]])
    return Estimate(float(values.mean()), float(low[0]), float(high[0]), len(values))


def paired_difference(first: pd.Series, second: pd.Series) -> Estimate:
    """`first` minus `second`, each by seed, over the seeds that both have."""
    return estimate((first - second).dropna())


def curve(rows: pd.DataFrame, along: str, column: str = "score") -> pd.DataFrame:
    """Means of `column` over seeds for each value of `along` (the index): `mean`, `low`, `high`, `n`."""
    seeds = rows.pivot_table(index=along, columns="seed", values=column)
    values = seeds.to_numpy(dtype=float)
    (low,), (high,) = intervals([values])
    return pd.DataFrame({"mean": np.mean(values, axis=1), "low": low, "high": high, "n": seeds.shape[1]}, seeds.index)
