"""How sure a mean over seeds is."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

# Of fewer seeds no lead is called clear: where nothing differs, four agree in sign in one case of eight.
ENOUGH_SEEDS = 5


def seed_means(runs: pd.DataFrame, by: list[str], metrics: list[str]) -> pd.DataFrame:
    """The mean of each of `metrics` over the runs of a group, `by` some columns and the seed.

    NaN where a run lacks the metric, which pandas would leave out.
    """
    grouped = runs.groupby([*by, "seed"], dropna=False)[metrics]
    return grouped.mean().where(grouped.count().eq(grouped.size(), axis=0))


def intervals(
    samples: Sequence[NDArray[np.float64]],
    least: ArrayLike = -np.inf,
    most: ArrayLike = np.inf,
    confidence: float = 0.95,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intervals of the means of several samples, by Student's t (Student 1908, The probable error of a mean).

    Each sample `(M, n)` holds M quantities of n seeds. What a mean can be, `least` to `most` `(M,)`, ends the interval
    too: it would not cover more by what lies beyond. Returns the lower and the upper ends, both `(len(samples), M)`.
    NaN where n is 1, as one seed says nothing of the spread, and where a value is missing.
    """
    low = np.full((len(samples), len(samples[0])), np.nan)
    high = low.copy()
    for number, values in enumerate(samples):
        seeds = values.shape[1]
        if seeds < 2:
            continue
        mean = values.mean(axis=1)
        reach = stats.t.ppf((1 + confidence) / 2, seeds - 1) * stats.sem(values, axis=1)
        low[number], high[number] = np.maximum(mean - reach, least), np.minimum(mean + reach, most)
    return low, high
