"""Means over seeds with their intervals, a row per setting, best first."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cl_runner.report.protocols import ORACLE, Protocol
from cl_runner.report.scores import LESS_IS_BETTER, Score, score_of, with_validation
from cl_runner.report.settings import labels, shown
from cl_runner.results.intervals import intervals, seed_means


@dataclass(frozen=True)
class Summary:
    """`table` has a row per setting, by benchmark and then best first: the columns `keys`, the numbers of `seeds` and
    `runs`, and for each metric M its mean `M`, `M_low` and `M_high`. `runs` are the runs with their row in it as column
    `setting`.

    Best is meant of column `choice`, the mean that `protocol` chooses by, which is NaN where that, or what judges it,
    is not there. All else is of the test set, but for `validation_M` of runs with validation samples.

    `problems` are those of `keys` that say what is to be learned; metrics of different problems do not compare.
    `methods` are all methods of the report, by alphabet.
    """

    table: pd.DataFrame
    runs: pd.DataFrame
    keys: list[str]
    metric: str
    methods: list[str]
    protocol: Protocol

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
            found.append((name, Summary(table, runs, keys, self.metric, self.methods, self.protocol)))
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


def summarise(runs: pd.DataFrame, keys: Sequence[str], metric: str, protocol: Protocol = ORACLE) -> Summary:
    """The summary of `runs` (of `Runs.table`, all of one score) grouped by `keys`, the first of them the setting that
    `protocol` (of `resolved`) chooses by `metric`. Runs that only choose are in no other number.

    Means are over seeds: runs of one seed in a group, which are no evidence of what another seed would give, are
    averaged first. A metric that one of a group's runs lacks has no mean in that group (NaN).
    """
    keys, score = list(keys), score_of(runs)
    runs = grouped(runs, keys)
    choice = choices(runs, metric, protocol)
    runs = protocol.judging(runs)
    metrics = with_validation(runs, score.metrics)
    means = seed_means(runs, ["group"], metrics)
    samples = [rows.to_numpy().T for _, rows in means.groupby("group")]
    table = runs[[*keys, "group"]].drop_duplicates("group").sort_values("group").reset_index(drop=True)
    table["seeds"] = [values.shape[1] for values in samples]
    table["runs"] = runs.groupby("group").size().to_numpy()
    low, high = intervals(samples, *score.range_of(metrics))
    for number, name in enumerate(metrics):
        table[name] = [values[number].mean() for values in samples]
        table[f"{name}_low"], table[f"{name}_high"] = low[:, number], high[:, number]
    table["choice"] = table["group"].map(choice)
    order = [*(key for key in keys if key.partition(".")[0] == "benchmark"), "choice"]
    ascending = [True] * (len(order) - 1) + [metric in LESS_IS_BETTER]
    table = table.sort_values(order, ascending=ascending, kind="stable", ignore_index=True)
    setting = runs["group"].map(pd.Series(table.index, index=table.pop("group")))
    methods = sorted({shown(method) for method in table["method"]}) if "method" in keys else []
    runs = runs.drop(columns="group").assign(setting=setting)
    return Summary(table, runs, keys, metric, methods, protocol)


def grouped(runs: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """`runs` with the number of their setting by `keys` as column `group`."""
    return runs.assign(group=runs.groupby(list(keys), dropna=False).ngroup() if keys else 0)


def choices(runs: pd.DataFrame, metric: str, protocol: Protocol) -> pd.Series:
    """By `group` of `runs` the mean over seeds that `protocol` chooses by.

    Without groups that have a run, among those to choose or to judge by, that lacks the metric, or have none of these.
    """
    choosing = _means(protocol.choosing(runs, metric), "choice")
    return choosing[choosing.index.isin(_means(protocol.judging(runs), metric).index)]


def _means(runs: pd.DataFrame, metric: str) -> pd.Series:
    by_group = seed_means(runs, ["group"], [metric])[metric].groupby("group")
    return by_group.mean()[by_group.count() == by_group.size()]


def pareto_front(gains: NDArray[np.float64], costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the points `(n,)` no other point beats: with as much gain and as little cost, and better in one."""
    better = (gains[None] >= gains[:, None]) & (costs[None] <= costs[:, None])
    strictly = (gains[None] > gains[:, None]) | (costs[None] < costs[:, None])
    return ~(better & strictly).any(axis=1) & np.isfinite(gains + costs)
