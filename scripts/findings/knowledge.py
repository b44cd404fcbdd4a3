"""How well tasks are known, on benchmarks that are scored by accuracy and by mean squared error alike."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from findings.known import KNOWN
from findings.statistics import Estimate, by_seed, estimate, paired_difference


@dataclass(frozen=True)
class Benchmark:
    """The runs of a sweep on one benchmark.

    `scores` has, beside what `findings.results.load` gives, the column `known`: the accuracy, or of an mse 1 where it
    is below `known.KNOWN`, else 0. Changes of it down to `-tolerance` count as none.
    """

    name: str
    scores: pd.DataFrame
    tolerance: float
    regression: bool

    @classmethod
    def curves(cls, scores: pd.DataFrame) -> Self:
        """Of the regression; one seed in ten is tolerated."""
        return cls("regression", scores.assign(known=(scores["score"] < KNOWN).astype(float)), 0.1, True)

    @classmethod
    def images(cls, scores: pd.DataFrame) -> Self:
        """Of permuted MNIST; three points of accuracy are tolerated."""
        return cls("permuted MNIST", scores.assign(known=scores["score"]), 0.03, False)

    @property
    def seeds(self) -> int:
        return self.scores["seed"].nunique()

    def about_same(self, change: Estimate) -> bool | None:
        """Whether nothing was lost but what is tolerated; None where it is more, but the interval reaches there."""
        if change.mean >= -self.tolerance:
            return True
        return False if change.below(-self.tolerance) else None

    def typical_mse(self, rows: pd.DataFrame) -> str:
        """The geometric mean over seeds, as text; of accuracies a dash."""
        if not self.regression:
            return "–"
        return _geometric(estimate(np.log10(by_seed(rows)))).number(".2g")

    def mse_ratio(self, first: pd.DataFrame, second: pd.DataFrame) -> str:
        """By what factor the typical mse of `first` differs from that of `second`, as text; of accuracies a dash."""
        if not self.regression:
            return "–"
        return _geometric(paired_difference(np.log10(by_seed(first)), np.log10(by_seed(second)))).number(".2g")


def _geometric(logarithm: Estimate) -> Estimate:
    mean, low, high = (10**value for value in (logarithm.mean, logarithm.low, logarithm.high))
    return Estimate(mean, low, high, logarithm.n)
