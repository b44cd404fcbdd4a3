"""Differences between settings, paired: a run of one is compared with the run of the other that shares its seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cl_runner.errors import ConfigError
from cl_runner.report.scores import LESS_IS_BETTER, score_of
from cl_runner.report.settings import BOOKKEEPING, NAMES, distinguishing, select, shown, varying
from cl_runner.report.summary import Summary, intervals

# Below so many seeds, percentile intervals are clearly too narrow.
FEW_SEEDS = 10
# Settings that one choice sets together: where the two sides have nothing in common in these, they belong to what is
# compared, and no longer to what has to agree.
_FAMILIES = {"method": ("method", "freeze"), "benchmark": ("benchmark", "train"), "model": ("model",)}


@dataclass(frozen=True)
class Comparison:
    """`first` minus `second`; `table` has a row per metric: `metric`, `difference`, `low`, `high`, `seeds`, `pairs`.

    Runs were paired where they agree in the seed and in the settings `matched`. Of these, `averaged` have several
    values, over which the difference is a mean. Each side was averaged over the settings `pooled`, which vary within
    it and belong to what is compared. `alone` counts the runs of each side that found no partner.
    """

    first: str
    second: str
    table: pd.DataFrame
    matched: list[str]
    averaged: dict[str, list[str]]
    pooled: list[str]
    alone: tuple[int, int]


def compare(runs: pd.DataFrame, settings: Sequence[str], first: str, second: str) -> Comparison:
    """The paired comparison of two conditions, each `key=value`, or several of these with spaces between.

    Each side's mean in every cell (the seed and the settings that have to agree), their difference, its mean over the
    cells of a seed, and the mean of that over seeds. Seeds are what the bootstrap draws, since the runs of one seed
    share the order of the data. All `runs` are of one score.

    Raises:
        ConfigError: a condition names no run, a run fulfils both, or no two runs can be paired.
    """
    sides = []
    for conditions in (first, second):
        side = runs
        for condition in conditions.split() or [""]:
            side = select(side, settings, condition, "--compare")
        sides.append(side)
    one, two = sides
    if one.index.intersection(two.index).size:
        raise ConfigError(f"--compare: the same runs fulfil {first} and {second}, allowed: two that exclude each other")
    keys = [condition.partition("=")[0] for condition in f"{first} {second}".split()]
    named = list(dict.fromkeys(NAMES.get(key, key) for key in keys))
    families = {family for key in named for family in _FAMILIES.get(key.partition(".")[0], ())}
    differing = varying(pd.concat(sides), [key for key in settings if key not in {*BOOKKEEPING, *named}])
    apart = [key for key in differing if key.partition(".")[0] in families and not _shared(one, two, key)]
    matched = [key for key in differing if key not in apart]
    pooled = [key for key in [*apart, *named] if varying(one, [key]) or varying(two, [key])]
    cells = [*matched, "seed"]
    metrics = score_of(runs).metrics
    means = [_cell_means(side, cells, metrics) for side in sides]
    paired = means[0].add_suffix("_1").join(means[1].add_suffix("_2"), how="inner")
    if paired.empty:
        lacking = [key for key in cells if not _shared(one, two, key)]
        reason = f"they share no value of {', '.join(lacking)}" if lacking else f"no two agree in {', '.join(cells)}"
        raise ConfigError(f"--compare: no run of {first} has a partner in {second}: {reason}")
    differences = pd.DataFrame({name: paired[f"{name}_1"] - paired[f"{name}_2"] for name in metrics})
    by_seed = _complete_mean(differences.reset_index("seed"), ["seed"], metrics)
    low, high = intervals([by_seed.to_numpy().T])
    table = pd.DataFrame({"metric": metrics, "difference": by_seed.to_numpy().mean(axis=0)})
    table = table.assign(low=low[0], high=high[0], seeds=len(by_seed), pairs=len(paired))
    alone = (len(one) - _partnered(one, cells, paired), len(two) - _partnered(two, cells, paired))
    _, follows = distinguishing(pd.concat(sides), settings)
    told = [key for key in matched if key not in follows]
    values = {key: list(dict.fromkeys(paired.index.get_level_values(key))) for key in told}
    averaged = {key: several for key, several in values.items() if len(several) > 1}
    return Comparison(first, second, table, told, averaged, pooled, alone)


def leads(summary: Summary) -> pd.DataFrame:
    """By how much the best setting (the first row) leads each other one, over the seeds that both have.

    Columns `lead` (positive: the best is better), `low`, `high`, `seeds`, and `same`: the two gave the same numbers,
    so that they are one setting in effect. The index is that of `summary.table`, without the best.
    """
    means = _complete_mean(summary.runs, ["setting", "seed"], summary.score.metrics)
    sign = -1 if summary.metric in LESS_IS_BETTER else 1
    best = means.loc[summary.table.index[0]]
    samples, same = [], []
    for other in summary.table.index[1:]:
        seeds = best.index.intersection(means.loc[other].index)
        ours, theirs = best.loc[seeds], means.loc[other].loc[seeds]
        samples.append(sign * (ours[summary.metric] - theirs[summary.metric]).to_numpy()[None])
        same.append(len(seeds) > 0 and np.array_equal(ours, theirs, equal_nan=True))
    low, high = intervals(samples) if samples else (np.empty((0, 1)), np.empty((0, 1)))
    lead = [values.mean() if values.size else np.nan for values in samples]
    seeds = [values.size for values in samples]
    found = {"lead": lead, "low": low[:, 0], "high": high[:, 0], "seeds": seeds, "same": same}
    return pd.DataFrame(found, index=summary.table.index[1:])


def _complete_mean(runs: pd.DataFrame, by: list[str], metrics: list[str]) -> pd.DataFrame:
    """Means by group of `metrics`; NaN where a run lacks the metric, which pandas would leave out."""
    grouped = runs.groupby(by, dropna=False)[metrics]
    return grouped.mean().where(grouped.count().eq(grouped.size(), axis=0))


def _cell_means(runs: pd.DataFrame, cells: list[str], metrics: list[str]) -> pd.DataFrame:
    # As text, so that null equals null.
    return _complete_mean(runs.assign(**{key: runs[key].map(shown) for key in cells}), cells, metrics)


def _partnered(runs: pd.DataFrame, cells: list[str], paired: pd.DataFrame) -> int:
    keys = pd.MultiIndex.from_frame(runs[cells].map(shown))
    flat = paired.index if isinstance(paired.index, pd.MultiIndex) else pd.MultiIndex.from_arrays([paired.index])
    return int(keys.isin(flat).sum())


def _shared(one: pd.DataFrame, two: pd.DataFrame, key: str) -> bool:
    return not set(one[key].map(shown)).isdisjoint(two[key].map(shown))
