"""Means over seeds with 95 % intervals, by Student's t as in `cl_runner.results.intervals`."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cl_runner.results.intervals import ENOUGH_SEEDS, intervals


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` seeds with its interval from `low` to `high`, NaN where there is but one seed."""

    mean: float
    low: float
    high: float
    n: int

    def above(self, limit: float) -> bool:
        """Whether it is clear that the mean is above `limit`, which fewer than `ENOUGH_SEEDS` seeds cannot tell."""
        return self.n >= ENOUGH_SEEDS and self.low > limit

    def below(self, limit: float) -> bool:
        """Whether it is clear that the mean is below `limit`."""
        return self.n >= ENOUGH_SEEDS and self.high < limit

    def number(self, form: str = ".3g") -> str:
        """`0.0412 [0.0405, 0.0421]`."""
        return self._shown(f"z{form}", 1)

    def percent(self) -> str:
        """Of a share, without its unit: `63.8 [61.0, 66.9]`."""
        return self._shown("z.1f", 100)

    def points(self) -> str:
        """A difference of shares in percentage points: `+2.3 [-0.5, +4.0]`."""
        return self._shown("+z.1f", 100)

    def _shown(self, form: str, scale: float) -> str:
        mean, low, high = (f"{scale * value:{form}}" for value in (self.mean, self.low, self.high))
        return mean if np.isnan(self.low) else f"{mean} [{low}, {high}]"


def by_seed(rows: pd.DataFrame, column: str = "score") -> pd.Series:
    """The mean of `column` over the rows of each seed: what another seed would give is asked, not another row."""
    return rows.groupby("seed")[column].mean()


def estimate(values: pd.Series, least: float = -np.inf, most: float = np.inf) -> Estimate:
    """The mean of the values of seeds, which can be from `least` to `most`."""
    (low,), (high,) = intervals([values.to_numpy(dtype=float)[None]], least, most)
    return Estimate(float(values.mean()), float(low[0]), float(high[0]), len(values))


def mean_share(values: pd.Series) -> Estimate:
    """The mean of shares, such as accuracies, from 0 to 1."""
    return estimate(values, 0, 1)


def paired_difference(first: pd.Series, second: pd.Series) -> Estimate:
    """`first` minus `second`, each by seed, over the seeds that both have."""
    return estimate((first - second).dropna())


def curve(
    rows: pd.DataFrame, along: str, column: str = "score", least: float = -np.inf, most: float = np.inf
) -> pd.DataFrame:
    """Means of `column` over seeds for each value of `along` (the index): `mean`, `low`, `high`, `n`."""
    seeds = rows.pivot_table(index=along, columns="seed", values=column)
    values = seeds.to_numpy(dtype=float)
    (low,), (high,) = intervals([values], least, most)
    return pd.DataFrame({"mean": np.mean(values, axis=1), "low": low, "high": high, "n": seeds.shape[1]}, seeds.index)
