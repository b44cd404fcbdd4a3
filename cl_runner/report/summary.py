"""Means over runs with bootstrap intervals, a row per setting, best first."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from cl_runner.report.scores import LESS_IS_BETTER, Score, score_of
from cl_runner.report.settings import labels, shown

_RESAMPLES = 9999
# Numbers drawn at a time, which bounds the memory.
_BATCH = 4_000_000


@dataclass(frozen=True)
class Summary:
    """`table` has a row per setting, by benchmark and then best first: the columns `keys`, `n` (runs), and for each
    metric M its mean `M`, `M_low` and `M_high`. `runs` are the runs with their row in it as column `setting`.

    `problems` are those of `keys` that say what is to be learned; metrics of different problems do not compare.
    `methods` are all methods of the report, by alphabet.
    """

    table: pd.DataFrame
    runs: pd.DataFrame
    keys: list[str]
    metric: str
    methods: list[str]

    @property
    def score(self) -> Score:
        """What the runs are scored by."""
        return score_of(self.runs)

    @property
    def problems(self) -> list[str]:
        """Keys of the benchmark."""
        return [key for key in self.keys if key.partition(".")[0] == "benchmark"]

    def parts(self) -> list[tuple[str, "Summary"]]:
        """The summary of each problem by itself, with the problem in words (empty if there is but one)."""
        if not self.problems:
            return [("", self)]
        keys = [key for key in self.keys if key not in self.problems]
        by = self.table.groupby(self.problems, dropna=False, sort=False).ngroup()
        names = labels(self.table[~by.duplicated()], self.problems)
        found = []
        for problem, name in enumerate(names):
            table = self.table[by == problem]
            runs = self.runs[self.runs["setting"].isin(table.index)]
            found.append((name, Summary(table, runs, keys, self.metric, self.methods)))
        return found

    @property
    def method(self) -> pd.Series:
        """The method of each row of `table`; empty where that is not among the keys."""
        return self.table["method"].map(shown) if "method" in self.table else pd.Series("", index=self.table.index)

    def labels(self) -> pd.Series:
        """A short name for each row of `table`; a single one, told from nothing, has its method's."""
        names = labels(self.table, self.keys)
        if names == [""]:
            methods = {shown(method) for method in self.runs["method"]} if "method" in self.runs else set()
            names = [methods.pop() if len(methods) == 1 else "all runs"]
        return pd.Series(names, index=self.table.index)


def summarise(runs: pd.DataFrame, keys: Sequence[str], metric: str) -> Summary:
    """The summary of `runs` (of `Runs.table`, all of one score) grouped by `keys`, sorted by `metric`.

    A metric that one of a group's runs lacks has no mean in that group (NaN).
    """
    keys, metrics = list(keys), score_of(runs).metrics
    group = runs.groupby(keys, dropna=False).ngroup().to_numpy() if keys else np.zeros(len(runs), dtype=int)
    samples = [runs.loc[group == number, metrics].to_numpy().T for number in range(group.max() + 1)]
    table = runs[keys].assign(group=group).drop_duplicates("group").sort_values("group").reset_index(drop=True)
    table["n"] = [values.shape[1] for values in samples]
    low, high = intervals(samples)
    for number, name in enumerate(metrics):
        table[name] = [values[number].mean() for values in samples]
        table[f"{name}_low"], table[f"{name}_high"] = low[:, number], high[:, number]
    order = [*(key for key in keys if key.partition(".")[0] == "benchmark"), metric]
    ascending = [True] * (len(order) - 1) + [metric in LESS_IS_BETTER]
    table = table.sort_values(order, ascending=ascending, kind="stable", ignore_index=True)
    row_of_group = np.empty(len(table), dtype=int)
    row_of_group[table.pop("group")] = table.index
    methods = sorted({shown(method) for method in table["method"]}) if "method" in keys else []
    return Summary(table, runs.assign(setting=row_of_group[group]), keys, metric, methods)


def intervals(samples: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % intervals of the means of several samples, by the percentile bootstrap (Efron & Tibshirani 1993, ch. 13).

    Each sample `(M, n)` holds M quantities of n runs; whole runs are drawn, the same for all M. Returns the lower and
    the upper ends, both `(len(samples), M)`. NaN where n is 1, as one run says nothing of the spread, and where a
    value is missing.
    """
    sizes = np.array([values.shape[1] for values in samples])
    low = np.full((len(samples), len(samples[0])), np.nan)
    high = low.copy()
    # Samples of equal size are drawn from together.
    for size in np.unique(sizes[sizes > 1]):
        (which,) = np.nonzero(sizes == size)
        stacked = np.stack([samples[int(number)] for number in which])
        whole = np.isfinite(stacked).all(axis=2)
        if not whole.any():
            continue
        values = stacked[whole]
        found = stats.bootstrap(
            (values,),
            np.mean,
            axis=-1,
            vectorized=True,
            method="percentile",
            n_resamples=_RESAMPLES,
            batch=max(1, _BATCH // values.size),
            rng=np.random.default_rng(0),
        ).confidence_interval
        for ends, found_ends in ((low, found.low), (high, found.high)):
            filled = np.full(whole.shape, np.nan)
            filled[whole] = found_ends
            ends[which] = filled
    return low, high


def pareto_front(gains: NDArray[np.float64], costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the points `(n,)` no other point beats: with as much gain and as little cost, and better in one."""
    better = (gains[None] >= gains[:, None]) & (costs[None] <= costs[:, None])
    strictly = (gains[None] > gains[:, None]) | (costs[None] < costs[:, None])
    return ~(better & strictly).any(axis=1) & np.isfinite(gains + costs)
