"""Why a global mask is ahead of a layer-wise one, or behind: which layers each of the two leaves free."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from cl_runner import load_run
from findings.global_or_layerwise import WHOLE, Condition, clear
from findings.results import learning_score, runs
from findings.statistics import Estimate, by_seed, estimate

# Of accuracy, that a mask learns less.
_MUCH = 0.1


def tally(part: Sequence[Condition], of: Callable[[Condition], Estimate] = lambda item: item.ahead) -> tuple[int, int]:
    """In how many conditions a difference is clearly in favour of the global mask, and against it."""
    signs = [clear(of(item)) for item in part]
    return signs.count(1), signs.count(-1)


def by_room(found: Sequence[Condition]) -> tuple[list[Condition], list[Condition]]:
    """Of the conditions in which tasks share their outputs, those in which the global mask freezes less of the first
    layer than a layer-wise one, and no layer whole; and the others.
    """
    shared = [item for item in found if item.shared]
    return [item for item in shared if item.freer and not item.whole], [
        item for item in shared if item.whole or not item.freer
    ]


def of_layers(found: Sequence[Condition]) -> str:
    """What is kept and learned, by the layers in which the global mask freezes."""
    shared = [item for item in found if item.shared]
    by_first = [[item for item in shared if item.freer is side] for side in (True, False)]
    by_whole = [[item for item in shared if item.whole is side] for side in (True, False)]
    kept, learned = ([tally(part, of) for part in parts] for parts, of in ((by_first, _kept), (by_whole, _learned)))
    calm, others = by_room(found)
    return (
        "A lead is the sum of what is kept more and what is learned more. Where tasks share their outputs, these are "
        "to be seen by the layers in which the global mask freezes:\n\n"
        "- Keeping, by the first layer. What a global mask leaves free there, it freezes in the layers after it. Where "
        "it freezes less of the first layer than a layer-wise mask, "
        f"it keeps clearly more in {kept[0][0]} and less in {kept[0][1]} of {len(by_first[0])} conditions; elsewhere "
        f"more in {kept[1][0]} and less in {kept[1][1]} of {len(by_first[1])}.\n"
        f"- Learning, by whether a layer is frozen whole ({100 * WHOLE:g} % or more). Where the global mask does that, "
        f"it learns clearly more in {learned[0][0]} and less in {learned[0][1]} of {len(by_whole[0])} conditions; "
        f"elsewhere more in {learned[1][0]} and less in {learned[1][1]} of {len(by_whole[1])}.\n"
        "- Together: less of the first layer and no layer whole, and the global mask is clearly ahead in "
        f"{_counts(calm)}; else in {_counts(others)}."
    )


def _kept(item: Condition) -> Estimate:
    return item.kept


def _learned(item: Condition) -> Estimate:
    return item.learned


def _counts(part: Sequence[Condition]) -> str:
    ahead, behind = tally(part)
    return f"{ahead} and behind in {behind} of {len(part)} conditions"


def advice(found: Sequence[Condition]) -> str:
    """Whether those two things tell which mask to take."""
    (ahead, behind), (ahead_else, behind_else) = (tally(part) for part in by_room(found))
    if ahead > behind and ahead_else < behind_else:
        return (
            "So with shared outputs the `layers.csv` of one run tells which mask to take: the global one if it froze "
            "less than `freeze` of layer 0, and no layer whole; else a layer-wise one."
        )
    return "So these layers do not tell which mask to take: both have to be tried."


def own_outputs(parts: Mapping[str, pd.DataFrame], counted: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What it does that a layer-wise mask counts outputs of tasks to come, where tasks have outputs of their own.

    Of tasks from the second on, by `problem`, `freeze`, `task` and `seed`: `frozen`, the share of the weights to its
    own outputs that were frozen while the task was trained; and `learned`, by how much more accurate it was right after
    that where those outputs were not counted.

    Args:
        parts: results by problem.
        counted: of some of these, with masks that count those outputs.
    """
    return pd.concat([_of_problem(name, parts[name], rows) for name, rows in counted.items()], ignore_index=True)


def _of_problem(problem: str, results: pd.DataFrame, counted: pd.DataFrame) -> pd.DataFrame:
    keys = ["freeze", "task", "seed"]
    free, old = (rows[rows["method"] == "layerwise_mask"] for rows in (results, counted))
    scores = (learning_score(rows).set_index(keys)["score"] for rows in (free, old))
    learned = next(scores).sub(next(scores)).rename("learned")
    layerwise = runs(old)
    columns = (layerwise[key] for key in ("directory", "freeze", "seed", "benchmark.classes_per_task"))
    rows = [
        (freeze, task, seed, 1 - float(list(mask.values())[-2][width * (task - 1) : width * task].float().mean()))
        for directory, freeze, seed, width in zip(*columns, strict=True)
        for task, mask in load_run(directory).masks.items()
        if task > 1
    ]
    return pd.DataFrame(rows, columns=[*keys, "frozen"]).join(learned, on=keys).assign(problem=problem)


def of_outputs(found: pd.DataFrame, free: Sequence[Condition], counted: Sequence[Condition]) -> str:
    """Why a mask must leave outputs of tasks to come alone.

    Args:
        found: as by `own_outputs`.
        free, counted: the conditions of these problems, by what the layer-wise mask does with those outputs.
    """
    whole = found.groupby(["freeze", "task"])["frozen"].transform("mean") >= WHOLE
    lines = []
    for freeze, part in found.groupby("freeze"):
        taken, left = part[whole[part.index]], part[~whole[part.index]]
        if taken.empty:
            continue
        numbers = ", ".join(map(str, sorted(taken["task"].unique())))
        tasks = f"task{'s' if ',' in numbers else ''} {numbers}"
        others = f", the others by {estimate(by_seed(left, 'learned')).points()} points" if len(left) else ""
        gain = estimate(by_seed(taken, "learned")).points()
        lines.append(f"- freeze {freeze:g}, {tasks}: left alone, these are learned better by {gain} points{others}")
    if not lines:
        return ""
    return (
        f"Where tasks have outputs of their own ({'; '.join(found['problem'].unique())}) those of tasks to come have "
        "no significance yet. Masks leave them alone. Were they counted (`method.unused=counted`), a layer-wise mask "
        "would have to freeze its share of the output layer all the same, and take them once the outputs in use are "
        "frozen; a global one takes them last. All weights to the outputs of the very task that was to be learned were "
        "frozen by such a layer-wise mask at:\n\n"
        + "\n".join(lines)
        + f"\n\nThere the global mask is clearly ahead of it in {_counts(counted)}, of the one that leaves those "
        f"outputs alone in {_counts(free)}."
    )


def of_not_learning(found: Sequence[Condition]) -> str:
    """Where a layer-wise mask is ahead for learning less."""
    where = [item for item in found if item.winner < 0 and item.learned.above(_MUCH)]
    if not where:
        return ""
    names = {item.problem: sorted({other.freeze for other in where if other.problem == item.problem}) for item in where}
    listed = "; ".join(f"{name}, freeze {', '.join(f'{freeze:g}' for freeze in of)}" for name, of in names.items())
    return (
        f"In {len(where)} of {len(found)} conditions the layer-wise mask is ahead though it learns new tasks by over "
        f"{100 * _MUCH:g} points less ({listed}): it keeps the old ones by not learning the new ones."
    )
