"""How much the masks of two tasks overlap, by how many tasks they are apart."""

from collections.abc import Iterable

import pandas as pd

from findings.results import table
from findings.statistics import by_seed


def overlaps(results: pd.DataFrame) -> pd.DataFrame:
    """A row for every two tasks and layer of every run: `mask_overlap.csv` with `apart`, `other` − `task`, and
    `overlap`.

    That is what the Jaccard index is above chance, as a fraction of what it could be: 0 for random sets, 1 for the
    same. It is 0 too where both sets are empty, or the whole layer, for then they say nothing.
    """
    found = table(results, "mask_overlap.csv")
    above = (found["jaccard"] - found["chance"]) / (1 - found["chance"])
    return found.assign(apart=found["other"] - found["task"], overlap=above.fillna(0))


def at(frame: pd.DataFrame, setting: str, layer: int, apart: int) -> pd.Series:
    """The mean overlap by seed in a layer of the tasks that are so many apart."""
    return of_all(frame[frame["apart"] == apart], setting, layer)


def fall(frame: pd.DataFrame, setting: str, layer: int, far: int) -> pd.Series:
    """By seed, by how much neighbours overlap more than tasks so `far` apart."""
    return at(frame, setting, layer, 1) - at(frame, setting, layer, far)


def with_first(frame: pd.DataFrame, setting: str, layer: int, task: int) -> pd.Series:
    """The overlap by seed of a task with the first."""
    return of_all(frame[(frame["task"] == 1) & (frame["other"] == task)], setting, layer)


def of_all(frame: pd.DataFrame, setting: str, layer: int, column: str = "overlap") -> pd.Series:
    """The mean by seed over all pairs of tasks."""
    return by_seed(frame[(frame["setting"] == setting) & (frame["layer"] == layer)], column)


def share(frame: pd.DataFrame, setting: str, layer: int, task: int) -> float:
    """About what share of a layer this task and the next one freeze each: what would give their chance overlap."""
    pair = frame[(frame["task"] == task) & (frame["other"] == task + 1)]
    chance = float(of_all(pair, setting, layer, "chance").mean())
    return 2 * chance / (1 + chance)


def mean(parts: Iterable[pd.Series]) -> pd.Series:
    """Of several measures of each seed."""
    return pd.concat(list(parts), axis=1).mean(axis=1)
