"""What the numbers say, in plain sentences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cl_runner.report.collect import LeftOut
from cl_runner.report.comparison import FEW_SEEDS, Comparison, leads
from cl_runner.report.scores import LESS_IS_BETTER, Score
from cl_runner.report.settings import BOOKKEEPING, shown, varying
from cl_runner.report.summary import Summary


@dataclass(frozen=True)
class Verdict:
    """Which setting to use for a problem, and how sure that is.

    `answer` names it with mean, interval and n, `lead` compares it with the next best, `cautions` say where the
    evidence is weak. `rivals` are the best's leads over the others, from `cl_runner.report.comparison.leads`.
    """

    problem: str
    answer: str
    lead: str
    cautions: list[str]
    rivals: pd.DataFrame


def verdict(problem: str, part: Summary) -> Verdict:
    """The verdict on one problem, from its part of the summary."""
    metric, names = part.metric, part.labels()
    best = part.table.iloc[0]
    rivals = leads(part)
    words = metric.replace("_", " ")
    if math.isnan(best[metric]):
        return Verdict(problem, f"No setting can be named: its runs have no {words}.", "", [], rivals)
    name = names.iloc[0]
    n = int(best["n"])
    which = "lowest" if metric in LESS_IS_BETTER else "highest"
    place = f"the {which} of {len(names)} settings" if len(names) > 1 else "the only setting here"
    mean, interval = estimate(best, metric, part.score)
    value = f"{mean}{part.score.unit_of(metric)} {interval}".strip()
    answer = f"Use {name}: {words} {value} ({runs_in_words(n)}), {place}."
    twins = [names[row] for row in rivals.index[rivals["same"]]]
    others = rivals[~rivals["same"] & part.table.loc[rivals.index, metric].notna()]
    cautions = []
    if twins:
        cautions.append(f"{_listed(twins)} gave the very same numbers: what tells them apart has no effect.")
    lead = "" if others.empty else _lead(others, names, part.score)
    seeds = part.runs.loc[part.runs["setting"] == part.table.index[0], "seed"].nunique()
    if seeds == 1:
        interval = ", so there is no interval" if n == 1 else ", which the interval thus leaves out"
        cautions.append(f"One seed says nothing of the spread between seeds{interval}. Run more seeds.")
    elif seeds < FEW_SEEDS:
        cautions.append(f"{seeds} seeds are few: such intervals are too narrow. Run {FEW_SEEDS} or more to be sure.")
    if len(names) > 1 and seeds > 1:
        cautions.append("The best of several is in part the luckiest: on new seeds expect it to do a little worse.")
    return Verdict(problem, answer, lead, cautions, rivals)


def _lead(others: pd.DataFrame, names: pd.Series, score: Score) -> str:
    following = others.iloc[0]
    against = f"Its lead over the next best, {names[others.index[0]]},"
    if following["seeds"] < 2:
        return f"{against} cannot be judged: the two share {runs_in_words(int(following['seeds']), 'seed')}."
    lead, low, high = following[["lead", "low", "high"]]
    seeds = int(following["seeds"])
    size = f"is {difference(lead, low, high, score)} {score.steps}, paired over {seeds} seeds"
    clear = "clear, as the interval lies above 0" if low > 0 else "not clear, as the interval reaches 0"
    if low > 0 and seeds < FEW_SEEDS:
        clear += f", though {seeds} seeds are weak evidence"
    close = int((~(others["low"] > 0)).sum())
    open_ones = f" In all, {close} of {len(others)} others cannot be told from it." if len(others) > 1 and close else ""
    return f"{against} {size}: {clear}.{open_ones}"


def estimate(row: pd.Series, metric: str, score: Score) -> tuple[str, str]:
    """Mean and interval without their unit: `63.8` and `[61.0, 66.9]`, which is empty where there is none."""
    if math.isnan(row[metric]):
        return "–", ""
    low, high = row[f"{metric}_low"], row[f"{metric}_high"]
    interval = "" if math.isnan(low) else f"[{score.number(low)}, {score.number(high)}]"
    return score.number(row[metric]), interval


def difference(mean: float, low: float, high: float, score: Score) -> str:
    """A difference and its interval, in the score's steps: `+2.3 [-0.5, +4.0]`."""
    if math.isnan(mean):
        return "–"
    return score.signed(mean) + ("" if math.isnan(low) else f" [{score.signed(low)}, {score.signed(high)}]")


def runs_in_words(count: int, noun: str = "run") -> str:
    """`1 run`, `4 runs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def pooled_over(runs: pd.DataFrame, settings: Sequence[str], keys: Sequence[str], follows: dict[str, str]) -> list[str]:
    """Settings that vary within the groups by `keys`, over which means are thus taken; not what follows from one."""
    free = [key for key in settings if key not in {*BOOKKEEPING, *keys, *follows}]
    if not keys:
        return varying(runs, free)
    grouped = runs.groupby(list(keys), dropna=False)
    return [key for key in varying(runs, free) if (grouped[key].nunique(dropna=False) > 1).any()]


def in_common(runs: pd.DataFrame, settings: Sequence[str]) -> dict[str, str]:
    """The settings that are the same in all `runs`, with their values."""
    vary = varying(runs, settings)
    return {key: shown(runs[key].iloc[0]) for key in settings if key not in vary}


def comparison_in_words(found: Comparison) -> list[str]:
    """How runs were paired, and which were not."""
    row = found.table.iloc[0]
    agree = ", ".join(["seed", *found.matched])
    seeds = runs_in_words(int(row["seeds"]), "seed")
    lines = [f"{runs_in_words(int(row['pairs']), 'pair')} over {seeds}, which agree in {agree}."]
    if found.averaged:
        over = "; ".join(f"{key}={', '.join(values)}" for key, values in found.averaged.items())
        lines.append(f"The difference is a mean over {over}, paired value by value; --where picks one of them.")
    if found.pooled:
        lines.append(f"Each side is averaged over {', '.join(found.pooled)}, in which pairs need not agree.")
    if any(found.alone):
        first, second = (runs_in_words(count) for count in found.alone)
        lines.append(f"Left out, having no partner: {first} of {found.first}, {second} of {found.second}.")
    if row["seeds"] == 1:
        lines.append("One seed gives no interval.")
    elif row["seeds"] < FEW_SEEDS:
        lines.append(f"Of so few seeds (fewer than {FEW_SEEDS}) intervals are too narrow.")
    return lines


def left_out_in_words(left_out: Sequence[LeftOut]) -> str:
    """`2 failed, 1 unfinished`; empty if there are none."""
    states = [item.state for item in left_out]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _listed(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(names[:most]) + more
