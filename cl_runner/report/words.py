"""What the numbers say, in plain sentences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cl_runner.report.collect import LeftOut
from cl_runner.report.comparison import Comparison, leads
from cl_runner.report.identity import Repeat
from cl_runner.report.protocols import ORACLE, Protocol, shared_tasks
from cl_runner.report.scores import LESS_IS_BETTER, Score
from cl_runner.report.settings import BOOKKEEPING, acting_apart, idle, shown, varying
from cl_runner.report.summary import Summary, grouped
from cl_runner.results.intervals import ENOUGH_SEEDS


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
    metric, names, protocol = part.metric, part.labels(), part.protocol
    best = part.table.iloc[0]
    rivals = leads(part)
    words = metric.replace("_", " ")
    if math.isnan(best["choice"]):
        lacking = words if protocol == ORACLE else f"{words}, or none to choose by"
        return Verdict(problem, f"No setting can be named: its runs have no {lacking}.", "", [], rivals)
    name, count = names.iloc[0], _seeds_in_words(best)
    mean, interval = estimate(best, metric, part.score)
    value = f"{mean}{part.score.unit_of(metric)} {interval}".strip()
    valued = int(part.table["choice"].notna().sum())
    which = "lowest" if metric in LESS_IS_BETTER else "highest"
    place = f"the {which} of {valued} settings" if valued > 1 else "the only setting here"
    if valued < len(names):
        place += f" that {'has' if valued == 1 else 'have'} one in every run"
    answer = f"use {name}: {words} {value} ({count})"
    if len(names) == 1:
        answer = f"U{answer[1:]}, {place}."
    elif protocol == ORACLE:
        answer = f"{chosen_in_words(part)}: {answer}, {place}."
    else:
        by = f"{part.score.number(best['choice'])}{part.score.unit_of(metric)}"
        answer = f"{chosen_in_words(part)}: {answer}. Its {choice_in_words(protocol, metric)}, {by}, is {place}."
    twins = [names[row] for row in rivals.index[rivals["same"]]]
    others = rivals[~rivals["same"] & part.table.loc[rivals.index, "choice"].notna()]
    cautions = []
    if twins:
        cautions.append(f"{_listed(twins)} gave the very same numbers: what tells them apart has no effect.")
    tied = [names[row] for row in others.index if math.isclose(part.table.loc[row, "choice"], best["choice"])]
    if tied:
        cautions.append(f"{_listed(tied)} came out as well as {name}: which of them is named is arbitrary.")
    lead = "" if others.empty else _lead(others, names, part)
    per_seed = part.runs.groupby(["setting", "seed"]).size().groupby("setting").nunique()
    if uneven := [names[row] for row in per_seed.index[per_seed > 1]]:
        cautions.append(f"{_listed(uneven)}: not every seed has as many runs, so that seeds may differ for that alone.")
    if best["seeds"] == 1:
        interval = ", so there is no interval" if best["runs"] == 1 else ", and runs of one seed are no evidence of it"
        cautions.append(f"One seed says nothing of the spread between seeds{interval}. Run more seeds.")
    elif best["seeds"] < ENOUGH_SEEDS:
        cautions.append(f"{int(best['seeds'])} seeds are few. Run {ENOUGH_SEEDS} at least to call a lead clear.")
    if valued > 1 and best["seeds"] > 1:
        cautions.append(_luck_in_words(protocol))
    return Verdict(problem, answer, lead, cautions, rivals)


def chosen_in_words(part: Summary) -> str:
    """How the first setting was chosen, and what it is judged by: `Chosen by validation, judged by test`."""
    protocol, by_test = part.protocol, part.protocol.samples == "test"
    chosen = "Chosen on the test set" if by_test else "Chosen by validation"
    if protocol.tasks is not None:
        judged = "on that of all" if by_test else "by test of all"
        first = "first" if protocol.tasks == 1 else f"first {protocol.tasks}"
        return f"{chosen} of the {first} of {shared_tasks(part.runs)} tasks, judged {judged}"
    if protocol.seeds:
        judged = "on it" if by_test else "by test"
        return f"{chosen} with {seeds_in_words(protocol.seeds)}, judged {judged} with the others"
    return chosen if by_test else f"{chosen}, judged by test"


def only_choosing(runs: pd.DataFrame, part: Summary) -> str:
    """Which of `runs` are in no number of the summary, as they chose what the others judge; empty if none are."""
    seeds, choosing = part.protocol.seeds, len(runs) - len(part.runs)
    if not seeds:
        return ""
    lost = grouped(runs, part.keys)["group"].nunique() - len(part.table)
    without = f"; {runs_in_words(lost, 'setting')} ran with no others" if lost else ""
    return f"{runs_in_words(choosing)} of {seeds_in_words(seeds)} only chose, and judge nothing here{without}."


def choice_in_words(protocol: Protocol, metric: str) -> str:
    """What is best of the setting that was chosen: `validation average accuracy of seeds 0, 1`."""
    words = metric.replace("_", " ")
    words = words if protocol.samples == "test" else f"validation {words}"
    if protocol.tasks is not None:
        return f"{words} of the {first_in_words(protocol.tasks)}"
    return f"{words} of {seeds_in_words(protocol.seeds)}" if protocol.seeds else words


def first_in_words(tasks: int) -> str:
    """`first task`, `first 3 tasks`."""
    return "first task" if tasks == 1 else f"first {tasks} tasks"


def seeds_in_words(seeds: Sequence[int], most: int = 6) -> str:
    """`seed 1`, `seeds 0, 1`, and `10 seeds` of many."""
    if len(seeds) > most:
        return f"{len(seeds)} seeds"
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"


def _luck_in_words(protocol: Protocol) -> str:
    """What of the luck of a choice is in the numbers that are shown of it."""
    if protocol == ORACLE:
        return "The best of several is in part the luckiest: on new seeds expect it to do a little worse."
    by_test = protocol.samples == "test"
    if protocol.seeds and by_test:
        return "These seeds took no part in the choice, but the test set did: on new samples it may do a little worse."
    if protocol.seeds:
        return "Neither the test set nor these seeds took part in the choice: nothing of its luck is in these numbers."
    if by_test:
        return "Part of the test set and these seeds took part in the choice: on new seeds it may do a little worse."
    return "The test set took no part in the choice, but these seeds did: on new seeds it may do a little worse."


def _lead(others: pd.DataFrame, names: pd.Series, part: Summary) -> str:
    following, score, by_test = others.iloc[0], part.score, part.protocol == ORACLE
    next_best = "next best" if by_test else "next in the choice"
    against = f"Its lead over the {next_best}, {names[others.index[0]]},"
    seeds = int(following["seeds"])
    if seeds < 2:
        return f"{against} cannot be judged: the two share {runs_in_words(seeds, 'seed')}."
    lead, low, high = following[["lead", "low", "high"]]
    where = "" if by_test else " on the test set"
    size = f"is {difference(lead, low, high, score)} {score.steps}{where}, paired over {seeds} seeds"
    if seeds < ENOUGH_SEEDS:
        ahead = int(following["ahead"])
        so_far = f"these {seeds} agree in sign" if ahead == seeds else f"it is ahead in {ahead} of these {seeds}"
        clear = f"{ENOUGH_SEEDS} seeds at least are needed to call a lead clear; {so_far}"
    elif following["clear"]:
        clear = "clear, as the interval lies above 0"
    elif high < 0 and not by_test:
        clear = "it is behind, as the interval lies below 0"
    elif high < 0:
        clear = "on the seeds that both have it is behind, and ahead only by its other seeds"
    else:
        clear = "not clear, as the interval reaches 0"
    said = f"{against} {size}: {clear}."
    if len(others) == 1 or others["clear"].all():
        return said
    # Of many settings that are equally good, the last come out clearly behind the first by chance.
    behind = int(others["behind"].sum())
    close = int((~others["apart"]).sum()) - behind
    told = f"{close} of {len(others)} others cannot be told from it" + (f", {behind} came out better" if behind else "")
    return f"{said} Allowing for the choice among so many, {told}."


def _seeds_in_words(row: pd.Series) -> str:
    """`5 seeds`, and where there are several of a seed, how many runs: `5 seeds, 20 runs`."""
    seeds = runs_in_words(int(row["seeds"]), "seed")
    return seeds if row["runs"] == row["seeds"] else f"{seeds}, {runs_in_words(int(row['runs']))}"


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


def counts_shown(table: pd.DataFrame) -> list[str]:
    """Which of the counts to show of a summary: the seeds, and the runs if these are more anywhere."""
    return ["seeds"] if table["runs"].equals(table["seeds"]) else ["seeds", "runs"]


def pooled_over(runs: pd.DataFrame, settings: Sequence[str], keys: Sequence[str], follows: dict[str, str]) -> list[str]:
    """Settings that vary within the groups by `keys`, over which means are thus taken; not what follows from one."""
    free = acting_apart(runs, [key for key in settings if key not in {*BOOKKEEPING, *keys, *follows}])
    if not keys:
        return free
    grouped = runs.groupby(list(keys), dropna=False)
    return [key for key in free if (grouped[key].nunique(dropna=False) > 1).any()]


def in_common(runs: pd.DataFrame, settings: Sequence[str]) -> dict[str, str]:
    """The settings that are the same in all `runs`, with their values; not those that do nothing."""
    vary = varying(runs, settings)
    return {key: shown(runs[key].iloc[0]) for key in settings if key not in vary and not idle(runs[key]).all()}


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
    elif row["seeds"] < ENOUGH_SEEDS:
        agreeing = found.table.loc[found.table["agree"] == found.table["seeds"], "metric"].tolist()
        agree = f"; these {row['seeds']} agree in sign of {_and(agreeing)}" if len(agreeing) else ""
        lines.append(f"{ENOUGH_SEEDS} seeds at least are needed to call a difference clear{agree}.")
    if (found.table[["difference", "low", "high"]].fillna(0) == 0).all(axis=None):
        lines.append("On average the two gave the very same numbers.")
    return lines


def repeats_in_words(repeats: Sequence[Repeat]) -> list[str]:
    """Which runs count no second time, as what tells them from others does nothing."""
    by_reason: dict[tuple[tuple[str, str], ...], list[Repeat]] = {}
    for repeat in repeats:
        by_reason.setdefault(tuple(repeat.idle.items()), []).append(repeat)
    lines = []
    for causes, found in by_reason.items():
        keys, reasons = ", ".join(key for key, _ in causes), "; ".join(dict.fromkeys(reason for _, reason in causes))
        them, differ = ("it", "differs") if len(found) == 1 else ("them", "differ")
        unlike = [repeat for repeat in found if not repeat.alike]
        but = f" Of {them} {len(unlike)} came out with other numbers: {unlike[0].directory}." if unlike else ""
        lines.append(
            f"{runs_in_words(len(found))} {differ} from another only in {keys}, which does nothing in {them} "
            f"({reasons}): the same run counts once.{but}"
        )
    return lines


def left_out_in_words(left_out: Sequence[LeftOut]) -> str:
    """`2 failed, 1 unfinished`; empty if there are none."""
    states = [item.state for item in left_out]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _and(metrics: Sequence[str]) -> str:
    *others, last = (name.replace("_", " ") for name in metrics)
    return f"{', '.join(others)} and {last}" if others else last


def _listed(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(names[:most]) + more
