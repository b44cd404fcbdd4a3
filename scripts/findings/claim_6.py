"""Claim 6: at equal freeze a global mask is ahead of a layer-wise one."""

from collections.abc import Mapping, Sequence

import pandas as pd

from cl_runner.report.words import runs_in_words
from findings.global_or_layerwise import Condition, conditions, counted, draw, problems
from findings.mask_causes import advice, by_room, of_layers, of_not_learning, of_outputs, own_outputs, tally
from findings.page import Finding, Verdict
from findings.results import average_score
from findings.statistics import by_seed, mean_share

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
# Problem, freeze and tasks of a trial in which the global mask had 91 %, the layer-wise one 88 %.
_TRIAL = ("permuted MNIST, relu", 0.5, 3)


def finding(results: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """A condition is a freeze of a problem after so many tasks; it is clear if the interval leaves out 0.

    The claim holds if at least half of the conditions are clear for the global mask, and no more for the layer-wise
    one than chance makes so. It is refuted if no more are clear for the global mask than that. Conditions that differ
    in the number of tasks are of the same runs: they are counted to show where each wins, not as independent trials.
    """
    parts, old = problems(results), counted(results)
    found, of_old = ([item for name, rows in by.items() for item in conditions(name, rows)] for by in (parts, old))
    own = of_outputs(own_outputs(parts, old), [item for item in found if item.problem in old], of_old)
    verdict, words = _verdict(found)
    return [
        Finding(
            name="global_or_layerwise",
            title="One threshold for the network, or one for each layer?",
            claim="At equal freeze a global mask is ahead of a layer-wise one.",
            verdict=verdict,
            words=words,
            answer=_answer(found, own),
            figure=draw(found, _seeds(parts)),
            table=_table(parts, found),
        )
    ]


def _verdict(found: Sequence[Condition]) -> tuple[Verdict, str]:
    ahead, behind = tally(found)
    counts = f"the global mask is clearly ahead in {ahead} and behind in {behind} of {len(found)} conditions"
    by_chance = _BY_CHANCE * len(found)
    if ahead >= len(found) / 2 and behind <= by_chance:
        return "confirmed", f"{counts}."
    if ahead <= by_chance:
        return "refuted", f"{counts}."
    roomy, _ = by_room(found)
    ahead, behind = tally(roomy)
    return "depends", (
        f"{counts}; ahead in {ahead} and behind in {behind} of the {len(roomy)} in which tasks share their outputs and "
        "it freezes less of the first layer than a layer-wise mask and no layer whole."
    )


def _answer(found: Sequence[Condition], own: str) -> str:
    parts = {item.problem: [other for other in found if other.problem == item.problem] for item in found}
    lines = [f"- {name}: {_of_problem(part)}" for name, part in parts.items()]
    trial = [item for item in found if (item.problem, item.freeze, item.tasks) == _TRIAL]
    lines += [f"- where an earlier trial had +3: {_shown(item)}, {item.problem}" for item in trial]
    causes = [of_layers(found), own, of_not_learning(found), advice(found)]
    return "\n\n".join(
        ["Average accuracy, global minus layer-wise, in percentage points:", "\n".join(lines), *filter(None, causes)]
    )


def _of_problem(part: Sequence[Condition]) -> str:
    ahead, behind = tally(part)
    low, high = (end(part, key=lambda condition: condition.ahead.mean) for end in (min, max))
    return (
        f"global clearly ahead in {ahead}, layer-wise in {behind} of {len(part)} conditions; from "
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
                    f"{words} at the end, %": mean_share(by_seed(of_freeze[of_freeze["method"] == method])).percent()
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
