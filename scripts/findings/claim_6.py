"""Claim 6: at equal freeze a global mask is ahead of a layer-wise one."""

from collections.abc import Mapping, Sequence

import pandas as pd

from cl_runner.report.words import runs_in_words
from findings.global_or_layerwise import Condition, conditions, draw, problems
from findings.page import Finding, Verdict
from findings.results import average_score
from findings.statistics import by_seed, estimate

NUMBER = 6
PRESETS = ["global_or_layerwise_permuted", "global_or_layerwise_split", "global_or_layerwise_digits"]
_SMALL = ["benchmark.tasks=3", "freeze=0.5,0.95"]
_SUBSET = ["benchmark.train_samples=1000", "fisher.samples=100"]
QUICK = {
    "global_or_layerwise_permuted": [*_SMALL, *_SUBSET, "model.activation=relu,sigmoid"],
    "global_or_layerwise_split": [*_SMALL, *_SUBSET, "benchmark.scenario=domain,task"],
    "global_or_layerwise_digits": [*_SMALL, "train.epochs=3"],
}

# Of the conditions that may be clear for a mask by chance: 2.5 % are to be expected, if there is no difference.
_BY_CHANCE = 0.05
# From this share on a layer counts as frozen whole.
_WHOLE = 0.99


def finding(results: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """A condition is a freeze of a problem after so many tasks; it is clear if the interval leaves out 0.

    The claim holds if at least half of the conditions are clear for the global mask, and no more for the layer-wise
    one than chance makes so. It is refuted if no more are clear for the global mask than that.
    """
    parts = problems(results)
    found = [condition for name, rows in parts.items() for condition in conditions(name, rows)]
    verdict, words = _verdict(found)
    return [
        Finding(
            name="global_or_layerwise",
            title="One threshold for the network, or one for each layer?",
            claim="At equal freeze a global mask is ahead of a layer-wise one.",
            verdict=verdict,
            words=words,
            answer=_answer(found),
            figure=draw(found, _seeds(parts)),
            table=_table(parts, found),
        )
    ]


def _verdict(found: Sequence[Condition]) -> tuple[Verdict, str]:
    ahead, behind = _won(found, 1), _won(found, -1)
    counts = f"the global mask is clearly ahead in {ahead} and behind in {behind} of {len(found)} conditions"
    by_chance = _BY_CHANCE * len(found)
    if ahead >= len(found) / 2 and behind <= by_chance:
        return "confirmed", f"{counts}."
    if ahead <= by_chance:
        return "refuted", f"{counts}."
    return "depends", f"{counts}."


def _won(found: Sequence[Condition], winner: int) -> int:
    return sum(condition.winner == winner for condition in found)


def _answer(found: Sequence[Condition]) -> str:
    parts = _by_problem(found)
    lines = [f"- {name}: {_of_problem(part)}" for name, part in parts.items()]
    leads = {name: _won(part, 1) - _won(part, -1) for name, part in parts.items()}
    ahead, behind = ("; ".join(name for name, lead in leads.items() if sign * lead > 0) or "none" for sign in (1, -1))
    layers = len(found[0].frozen)
    names = ["the first", *(f"layer {number}" for number in range(1, layers - 1)), "the output layer"]
    beyond = [[condition.frozen[layer] - condition.freeze for condition in found] for layer in range(layers)]
    kept = [condition.kept.mean for condition in found]
    together = [f"{name} {_rank_correlation(shares, kept)}" for name, shares in zip(names, beyond, strict=True)]
    return (
        "Average accuracy, global minus layer-wise, in percentage points:\n\n"
        + "\n".join(lines)
        + f"\n\nThe global mask is more often clearly ahead than behind in: {ahead}. It is more often behind in: "
        f"{behind}.\n\nA global mask goes where significance is highest, and leaves other layers freer than a "
        "layer-wise one would. "
        "Its lead is the sum of what it learns more and what it keeps more. What it keeps more goes, over all "
        "conditions, with the share of a layer that it freezes beyond `freeze` by these rank correlations (from -1 to "
        f"1): {', '.join(together)}. A negative one suggests that freezing this layer is at the expense of those that "
        "old tasks rest on, a positive one that it is among them. A run's `layers.csv` says what its mask froze."
    )


def _rank_correlation(one: Sequence[float], other: Sequence[float]) -> str:
    """Spearman's, which constants have none of."""
    if len(set(one)) < 2 or len(set(other)) < 2:
        return "–"
    return f"{pd.Series(one).corr(pd.Series(other), method='spearman'):+.2f}"


def _by_problem(found: Sequence[Condition]) -> dict[str, list[Condition]]:
    names = dict.fromkeys(condition.problem for condition in found)
    return {name: [condition for condition in found if condition.problem == name] for name in names}


def _of_problem(part: Sequence[Condition]) -> str:
    low, high = (end(part, key=lambda condition: condition.ahead.mean) for end in (min, max))
    return (
        f"global clearly ahead in {_won(part, 1)}, layer-wise in {_won(part, -1)} of {len(part)} conditions; from "
        f"{_shown(low)} to {_shown(high)}"
    )


def _shown(condition: Condition) -> str:
    return f"{condition.ahead.points()} (freeze {condition.freeze:g}, {condition.tasks} tasks)"


def _seeds(parts: Mapping[str, pd.DataFrame]) -> str:
    counts = {rows["seed"].nunique() for rows in parts.values()}
    return " or ".join(runs_in_words(count, "seed") for count in sorted(counts))


def _table(parts: Mapping[str, pd.DataFrame], found: Sequence[Condition]) -> pd.DataFrame:
    rows = []
    for name, results in parts.items():
        ends = average_score(results)
        for freeze in sorted(results["freeze"].unique()):
            of_freeze = ends[ends["freeze"] == freeze]
            rows.append(
                {"problem": name, "freeze": freeze}
                | {
                    f"{words} at the end, %": estimate(by_seed(of_freeze[of_freeze["method"] == method])).percent()
                    for method, words in (("global_mask", "global"), ("layerwise_mask", "layer-wise"))
                }
                | {
                    f"difference after {condition.tasks} tasks, points": condition.ahead.points()
                    for condition in found
                    if condition.problem == name and condition.freeze == freeze
                }
                | {"n": of_freeze["seed"].nunique()}
            )
    return pd.DataFrame(rows)
