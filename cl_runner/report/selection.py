"""What honesty costs: what each way of choosing picks among the same runs, and how that does on the test set."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from cl_runner.report.comparison import minus
from cl_runner.report.protocols import ORACLE, Protocol, of_runs
from cl_runner.report.scores import LESS_IS_BETTER, score_of
from cl_runner.report.settings import labels, shown
from cl_runner.report.summary import Summary, choices, grouped
from cl_runner.report.words import first_in_words, runs_in_words, seeds_in_words
from cl_runner.results.intervals import intervals, seed_means


def picks(runs: pd.DataFrame, keys: Sequence[str], metric: str, given: Protocol = ORACLE) -> pd.DataFrame:
    """What each protocol picks of each problem and method, with its test scores: a row per seed.

    Args:
        runs: of `Runs.table`, all of one score.
        keys: what tells settings apart, as `distinguishing` gives them.
        metric: what is chosen and judged by.
        given: a protocol whose first tasks, or seeds, take the place of the usual ones (`protocols.of_runs`).

    Returns:
        Columns: those of `keys` that are of the benchmark; `method`, null where the choice is among all of them;
        `protocol` by its name, `samples` it chose by; `setting` that it picked, in words, `seed` and `metric`. A
        protocol by seeds has no scores of those that chose. What has but one setting leaves no choice, and no rows.
    """
    problems = [key for key in keys if key.partition(".")[0] == "benchmark"]
    others = [key for key in keys if key not in problems]
    by_problem = runs.groupby(problems, dropna=False) if problems else [((), runs)]
    rows = [
        dict(zip(problems, problem, strict=True)) | pick
        for problem, part in by_problem
        for pick in _picks(grouped(part, others), others, metric, given)
    ]
    return pd.DataFrame(rows, columns=[*problems, "method", "protocol", "samples", "setting", "seed", metric])


def _picks(runs: pd.DataFrame, keys: Sequence[str], metric: str, given: Protocol) -> Iterator[dict[str, Any]]:
    settings = runs.drop_duplicates("group").set_index("group").sort_index()
    by_method = {shown(method): rows for method, rows in settings.groupby("method")} if "method" in keys else {}
    among: dict[str | None, pd.DataFrame] = ({} if len(by_method) == 1 else {None: settings}) | by_method
    ways = [
        (name, protocol, choices(runs, metric, protocol), _by_seed(protocol.judging(runs), metric))
        for name, protocols in of_runs(runs, given).items()
        for protocol in protocols
    ]
    for method, rows in among.items():
        told = keys if method is None else [key for key in keys if key != "method"]
        names = dict(zip(rows.index, labels(rows, told), strict=True))
        for name, protocol, choice, scores in ways:
            known = choice[choice.index.isin(rows.index)]
            if len(rows) < 2 or known.empty:
                continue
            best = known.sort_values(ascending=metric in LESS_IS_BETTER, kind="stable").index[0]
            pick = {
                "method": method,
                "protocol": name,
                "samples": protocol.samples,
                "setting": names[best],
            }
            yield from ({**pick, "seed": seed, metric: score} for seed, score in scores.loc[best].items())


def _by_seed(runs: pd.DataFrame, metric: str) -> pd.Series:
    return seed_means(runs, ["group"], [metric])[metric]


def costs_of(picked: pd.DataFrame, runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row per problem, method and protocol of what was `picked` (by `picks`) of `runs`.

    Columns: `setting` (where halves of the seeds pick different ones: both), by how many `seeds` it is judged, their
    mean M of the metric with `M_low` and `M_high`, and the mean `difference` to what the test set itself picks, over
    the seeds that both have, with `difference_low` and `difference_high`; `same`: both are one setting.
    """
    if picked.empty:
        return picked
    choice = [*picked.columns[: picked.columns.get_loc("protocol")]]
    oracle = picked.loc[picked["protocol"] == ORACLE.name, [*choice, "seed", "setting", metric]]
    paired = picked.merge(oracle, on=[*choice, "seed"], how="left", suffixes=("", "_of_oracle"))
    paired["difference"] = minus(paired[metric], paired[f"{metric}_of_oracle"])
    ways = [*choice, "protocol", "samples"]
    by_way = [rows for _, rows in paired.groupby(ways, dropna=False, sort=False)]
    found = pd.DataFrame([rows.iloc[0][ways] for rows in by_way]).reset_index(drop=True)
    found["setting"] = [_told(rows["setting"]) for rows in by_way]
    found["seeds"] = [len(rows) for rows in by_way]
    least, most = score_of(runs).range_of([metric])
    for name, ends in ((metric, (least, most)), ("difference", (least - most, most - least))):
        low, high = intervals([rows[name].dropna().to_numpy()[None] for rows in by_way], *ends)
        found[name] = [rows[name].mean() for rows in by_way]
        found[f"{name}_low"], found[f"{name}_high"] = low[:, 0], high[:, 0]
    found["same"] = pd.Series([(rows["setting"] == rows["setting_of_oracle"]).all() for rows in by_way], dtype=bool)
    return found


def _told(settings: pd.Series) -> str:
    counts = settings.value_counts(sort=False)
    if len(counts) == 1:
        return str(counts.index[0])
    return "; ".join(f"{name} ({runs_in_words(count, 'seed')})" for name, count in counts.items())


def among_in_words(costs: pd.DataFrame, summary: Summary) -> list[str]:
    """For each row of `costs` among what was chosen: its problem if there are several, and its method."""
    problems = labels(costs, summary.problems)
    everything = "all methods" if summary.methods else "all settings"
    return [
        f"{problem}: {method}" if problem else method
        for problem, method in zip(problems, costs["method"].fillna(everything), strict=True)
    ]


def way_in_words(protocol: str) -> str:
    """What chose, by the name of a protocol in `picks`."""
    name, _, value = protocol.partition("=")
    if name == "first_tasks":
        return first_in_words(int(value))
    if name == "seeds":
        return "other seeds" if value == "halves" else seeds_in_words([*map(int, value.split(","))])
    return "test set (oracle)" if name == "test" else name
