"""Differences between settings, paired: a run of one is compared with the run of the other that shares its seed."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cl_runner.errors import ConfigError
from cl_runner.report.scores import LESS_IS_BETTER, score_of
from cl_runner.report.settings import BOOKKEEPING, NAMES, acting_apart, distinguishing, idle, select, shown, varying
from cl_runner.report.summary import Summary
from cl_runner.results.intervals import ENOUGH_SEEDS, intervals, seed_means

# Settings that one choice sets together: where the two sides have nothing in common in these, they belong to what is
# compared, and no longer to what has to agree.
_FAMILIES = {"method": ("method", "freeze"), "benchmark": ("benchmark", "train"), "model": ("model",)}

# Means of the same numbers in another order may differ by so much.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Comparison:
    """`first` minus `second`; `table` has a row per metric: `metric`, `difference`, `low`, `high`, `seeds`, `pairs`.
    `agree` says in how many seeds the difference has the sign of the mean.

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
    cells of a seed, and the mean of that over seeds. The interval is of so many seeds and not of so many pairs, since
    the runs of one seed share the order of the data. All `runs` are of one score.

    Raises:
        ConfigError: a condition names no run, a run fulfils both, or no two runs can be paired.
    """
    conditions = [_split(first), _split(second)]
    sides = []
    for of_side in conditions:
        side = runs
        for condition in of_side:
            side = select(side, settings, condition, "--compare")
        sides.append(side)
    one, two = sides
    both = pd.concat(sides)
    if one.index.intersection(two.index).size:
        raise ConfigError(f"--compare: the same runs fulfil {first} and {second}, allowed: two that exclude each other")
    keys = [condition.partition("=")[0] for of_side in conditions for condition in of_side]
    named = list(dict.fromkeys(NAMES.get(key, key) for key in keys))
    families = {family for key in named for family in _FAMILIES.get(key.partition(".")[0], ())}
    differing = varying(both, [key for key in settings if key not in {*BOOKKEEPING, *named}])
    apart = [
        key
        for key in differing
        if not _shared(one, two, key)
        and (key.partition(".")[0] in families or idle(one[key]).all() or idle(two[key]).all())
    ]
    matched = [key for key in differing if key not in apart]
    pooled = [key for key in [*apart, *named] if varying(one, [key]) or varying(two, [key])]
    cells = [*matched, "seed"]
    score = score_of(runs)
    metrics = score.metrics
    means = [_cell_means(side, cells, metrics) for side in sides]
    paired = means[0].add_suffix("_1").join(means[1].add_suffix("_2"), how="inner")
    if paired.empty:
        lacking = [key for key in cells if not _shared(one, two, key)]
        reason = f"they share no value of {', '.join(lacking)}" if lacking else f"no two agree in {', '.join(cells)}"
        raise ConfigError(f"--compare: no run of {first} has a partner in {second}: {reason}")
    differences = pd.DataFrame({name: minus(paired[f"{name}_1"], paired[f"{name}_2"]) for name in metrics})
    by_seed = seed_means(differences.reset_index("seed"), [], metrics).to_numpy()
    least, most = score.range_of(metrics)
    low, high = intervals([by_seed.T], least - most, most - least)
    table = pd.DataFrame({"metric": metrics, "difference": by_seed.mean(axis=0)})
    # A zero has no sign.
    agree = ((np.sign(by_seed) == np.sign(table["difference"].to_numpy())) & (by_seed != 0)).sum(axis=0)
    table = table.assign(low=low[0], high=high[0], seeds=len(by_seed), pairs=len(paired), agree=agree)
    alone = (len(one) - _partnered(one, cells, paired), len(two) - _partnered(two, cells, paired))
    _, follows = distinguishing(both, settings)
    told = [key for key in acting_apart(both, matched) if key not in follows]
    values = {key: list(dict.fromkeys(paired.index.get_level_values(key))) for key in told}
    averaged = {key: several for key, several in values.items() if len(several) > 1}
    return Comparison(first, second, table, told, averaged, pooled, alone)


def leads(summary: Summary) -> pd.DataFrame:
    """By how much the chosen setting (the first row) leads each other one on the test set, over the seeds both have.

    Columns `lead` (positive: the chosen is better), `low`, `high`, `seeds`, `ahead` (in how many of these the chosen is
    better), and `same`: the two gave the same numbers, so that they are one setting in effect. `clear`: there are
    `ENOUGH_SEEDS`, and the interval lies above 0. `apart`: so does one that allows for the choice of the best, by
    Bonferroni's correction for all pairs of settings; `behind`: that one lies below 0, which can be of a setting that
    was not chosen on the test set. The index is that of `summary.table`, without the chosen.
    """
    score, metric, others = summary.score, summary.metric, summary.table.index[1:]
    means = seed_means(summary.runs, ["setting"], score.metrics)
    sign = -1 if metric in LESS_IS_BETTER else 1
    best = means.loc[summary.table.index[0]]
    samples, same = [], []
    for other in others:
        seeds = best.index.intersection(means.loc[other].index)
        ours, theirs = best.loc[seeds], means.loc[other].loc[seeds]
        samples.append(sign * minus(ours[metric], theirs[metric]).to_numpy()[None])
        same.append(len(seeds) > 0 and np.allclose(ours, theirs, rtol=0, atol=_ROUNDING, equal_nan=True))
    pairs = len(others) * (len(others) + 1) / 2
    least, most = score.range_of([metric])
    (low, high), (surely, at_most) = (
        intervals(samples, least - most, most - least, 1 - missed) if samples else (np.empty((0, 1)),) * 2
        for missed in (0.05, 0.05 / max(1, pairs))
    )
    seeds = np.array([values.size for values in samples], dtype=int)
    enough = seeds >= ENOUGH_SEEDS
    found = {
        "lead": [values.mean() if values.size else np.nan for values in samples],
        "low": low[:, 0],
        "high": high[:, 0],
        "seeds": seeds,
        "ahead": [int((values > 0).sum()) for values in samples],
        "same": same,
        "clear": enough & (low[:, 0] > 0),
        "apart": enough & (surely[:, 0] > 0),
        "behind": enough & (at_most[:, 0] < 0),
    }
    return pd.DataFrame(found, index=others)


def _split(conditions: str) -> list[str]:
    try:
        return shlex.split(conditions) or [""]
    except ValueError as error:
        raise ConfigError(f"--compare {conditions}: {error}") from error


def minus(first: pd.Series, second: pd.Series) -> pd.Series:
    """The difference, without what rounding leaves of none."""
    difference = first - second
    return difference.mask(difference.abs() < _ROUNDING, 0.0)


def _cell_means(runs: pd.DataFrame, cells: list[str], metrics: list[str]) -> pd.DataFrame:
    # As text, so that null equals null.
    return seed_means(runs.assign(**{key: runs[key].map(shown) for key in cells}), cells[:-1], metrics)


def _partnered(runs: pd.DataFrame, cells: list[str], paired: pd.DataFrame) -> int:
    keys = pd.MultiIndex.from_frame(runs[cells].map(shown))
    flat = paired.index if isinstance(paired.index, pd.MultiIndex) else pd.MultiIndex.from_arrays([paired.index])
    return int(keys.isin(flat).sum())


def _shared(one: pd.DataFrame, two: pd.DataFrame, key: str) -> bool:
    return not set(one[key].map(shown)).isdisjoint(two[key].map(shown))
