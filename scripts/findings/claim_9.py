"""Claim 9: tasks are alike whose masks overlap."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pandas as pd

from findings.layers import layer_names
from findings.overlap import at, fall, mean, of_all, overlaps, share, with_first
from findings.overlap_shown import depth_table, draw_by_depth, draw_by_distance, rotation_table
from findings.page import Finding, Verdict
from findings.statistics import estimate, paired_difference

NUMBER = 9
PRESETS = ["likeness_rotated", "likeness_permuted"]
_SMALL = ["benchmark.train_samples=2000", "fisher.samples=200"]
QUICK = {"likeness_rotated": ["benchmark.tasks=5", *_SMALL], "likeness_permuted": ["benchmark.tasks=4", *_SMALL]}

# An overlap above chance between minus `NEAR` and this is about chance; one above `WELL` is well above it.
NEAR, WELL = 0.05, 0.2


def finding(results: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """Two findings, on rotated and on permuted tasks."""
    return judged(*(overlaps(results[preset]) for preset in PRESETS))


def judged(rotated: pd.DataFrame, permuted: pd.DataFrame) -> list[Finding]:
    """The same from the `findings.overlap.overlaps` of the two sweeps.

    Rotations that are near are learned soon after each other, too. So what counts is by how much the overlap of near
    tasks is above that of distant ones, beyond the same difference between permuted tasks, whose inputs are not alike:
    paired by seed, from neighbours to the longest distance that both sweeps have. The claim on rotations is confirmed
    if it is above 0 in every layer of every mask, refuted if in none. The claim on permutations is confirmed if with
    every mask the overlap of the first layer is within `NEAR` of chance, rises with every layer, and is above `WELL`
    in the output layer, each with the whole interval; refuted if with none.
    """
    return [_rotations(rotated, permuted), _permutations(permuted)]


def _rotations(rotated: pd.DataFrame, permuted: pd.DataFrame) -> Finding:
    names, settings = layer_names(rotated["layer"].nunique()), list(rotated["setting"].unique())
    farthest = int(rotated["apart"].max())
    far, step = min(farthest, int(permuted["apart"].max())), 180 / farthest
    beyond = {
        setting: [
            paired_difference(fall(rotated, setting, layer, far), fall(permuted, setting, layer, far))
            for layer in range(len(names))
        ]
        for setting in settings
    }
    held = [value.above(0) for values in beyond.values() for value in values]
    lacking = {
        setting: " and ".join(name for name, value in zip(names, values, strict=True) if not value.above(0))
        for setting, values in beyond.items()
    }
    but = "; ".join(f"{layers} with {setting}" for setting, layers in lacking.items() if layers)
    where = f"{sum(held)} of {len(held)} layers of masks" + (f" (not surely in {but})" if but else "")
    return Finding(
        name="likeness_rotated",
        title="Do masks tell near rotations from far ones?",
        claim="The nearer two rotations are, the more their masks overlap.",
        verdict=_verdict(held),
        words=f"from {step:g} to {far * step:g} degrees the overlap falls by more than order explains in {where}.",
        answer=_rotations_answer(rotated, permuted, far, step),
        figure=draw_by_distance(rotated, permuted),
        table=rotation_table(rotated, permuted, sorted({1, far, farthest})),
    )


def _rotations_answer(rotated: pd.DataFrame, permuted: pd.DataFrame, far: int, step: float) -> str:
    names, settings = layer_names(rotated["layer"].nunique()), list(rotated["setting"].unique())
    listed, differences = [], []
    for layer, name in enumerate(names):
        falls = [(fall(rotated, setting, layer, far), fall(permuted, setting, layer, far)) for setting in settings]
        own, order = (mean(parts) for parts in zip(*falls, strict=True))
        differences.append(paired_difference(own, order))
        listed.append(
            f"- {name}: {estimate(own).number('.2f')}, permuted tasks {estimate(order).number('.2f')}, difference "
            f"{differences[-1].number('.2f')}"
        )
    most = names[max(range(len(names)), key=lambda layer: differences[layer].mean)]
    distant = [
        estimate(mean(at(frame, setting, len(names) - 1, far) for setting in settings)).number(".2f")
        for frame in (rotated, permuted)
    ]
    return (
        "Overlap is the Jaccard index of what the masks of two tasks freeze, above chance: 0 if they have in common "
        "what random sets of their sizes would, 1 if they are the same. Neighbouring angles are also neighbours in "
        "training, and masks of one network may be alike for that alone. How much so, permuted tasks show, whose "
        f"inputs have nothing to do with each other. From neighbours, {step:g} degrees, to tasks {far} apart, "
        f"{far * step:g} degrees, the overlap falls by, over all masks:\n\n"
        + "\n".join(listed)
        + f"\n\nIts height alone shows no likeness: in the output layer permuted tasks {far} apart overlap by "
        f"{distant[1]}, rotations {far} apart by {distant[0]}. {_budget(permuted, settings, names)}\n\n"
        f"{_turned(rotated, settings, step)}\n\nTo judge by their masks whether tasks are alike, rank within layers "
        f"and compare pairs of tasks that are equally far apart in training. Here the {most} layer told most."
    )


def _budget(permuted: pd.DataFrame, settings: Sequence[str], names: Sequence[str]) -> str:
    """That the sizes of the sets differ where a mask is free to freeze more of one layer and less of another."""
    last = int(permuted["other"].max()) - 1
    found = [
        (share(permuted, setting, layer, 1), share(permuted, setting, layer, last), setting, name)
        for setting in settings
        for layer, name in enumerate(names)
    ]
    first, later, setting, name = max(found, key=lambda it: abs(it[1] - it[0]))
    return (
        "By one threshold for the whole network the share of a layer that is frozen changes from task to task, most of "
        f"all in the {name} layer of permuted tasks ({setting}): from {100 * first:.0f} % for the first two to "
        f"{100 * later:.0f} % for the last two. Sets of unequal size cannot be the same, so this lowers the "
        "overlap of distant tasks too."
    )


def _turned(rotated: pd.DataFrame, settings: Sequence[str], step: float) -> str:
    """Whether the first layer's overlap rises again towards 180 degrees, as no effect of order could."""
    tasks = int(rotated["other"].max())
    middle = sorted({(tasks + 1) // 2, tasks // 2 + 1} - {1})
    rises = {
        setting: paired_difference(
            with_first(rotated, setting, 0, tasks), mean(with_first(rotated, setting, 0, task) for task in middle)
        )
        for setting in settings
    }
    angles = " and ".join(f"{step * (task - 1):g}" for task in middle)
    told = ", ".join(f"{rise.number('.2f')} ({setting})" for setting, rise in rises.items())
    sure = sum(rise.above(0) for rise in rises.values())
    why = (
        f" Order would not make it higher. With {sure} of {len(rises)} masks it is surely higher: the first layer "
        "knows which pixels are in use, and half a turn brings much of the digits' outline back."
        if sure
        else ""
    )
    return (
        f"In the first layer, the overlap with the first task is higher at 180 degrees than at {angles} by {told}.{why}"
    )


def _permutations(permuted: pd.DataFrame) -> Finding:
    names, settings = layer_names(permuted["layer"].nunique()), list(permuted["setting"].unique())
    held = []
    for setting in settings:
        by_depth = [of_all(permuted, setting, layer) for layer in range(len(names))]
        first, last = estimate(by_depth[0]), estimate(by_depth[-1])
        steps = [paired_difference(deeper, before) for before, deeper in pairwise(by_depth)]
        by_chance = first.above(-NEAR) and first.below(NEAR)
        held.append(by_chance and last.above(WELL) and all(step.above(0) for step in steps))
    levels = [mean(of_all(permuted, setting, layer) for setting in settings) for layer in range(len(names))]
    told = ", ".join(f"{level.mean():z.2f} in the {name}" for level, name in zip(levels, names, strict=True))
    return Finding(
        name="likeness_permuted",
        title="Do masks of permuted tasks overlap more with depth?",
        claim="Masks of permuted tasks overlap by chance in the first layer, and more in every layer after it.",
        verdict=_verdict(held),
        words=f"it is so with {sum(held)} of {len(held)} masks; above chance the overlap is {told} layer on average.",
        answer=_permutations_answer(permuted, settings, names),
        figure=draw_by_depth(permuted),
        table=depth_table(permuted),
    )


def _permutations_answer(permuted: pd.DataFrame, settings: Sequence[str], names: Sequence[str]) -> str:
    far, upper = int(permuted["apart"].max()), len(names) - 2
    near, distant = (mean(at(permuted, setting, upper, apart) for setting in settings) for apart in (1, far))
    lost = paired_difference(near, distant)
    order = (
        f"That the network's history counts, and not the tasks alone, shows in the {names[upper]} layer: the overlap, "
        f"over all masks, is {estimate(near).number('.2f')} between neighbours and {estimate(distant).number('.2f')} "
        f"between tasks {far} apart, a difference of {lost.number('.2f')}, though no two of these tasks are more alike "
        "than others.\n\n"
        if lost.above(0)
        else ""
    )
    return (
        "A permutation makes the first layer start anew: which of its weights matter to one task should say nothing "
        "about the next. Deeper layers see digits again, whatever the pixels' order, and the network goes on using the "
        f"weights that it has.\n\n{order}{_bent(permuted, settings, names)}So the depth up to which masks overlap by "
        "chance tells where in the network tasks differ. How high the overlap is above chance does not tell how alike "
        "two tasks are, unless it is compared with tasks as far apart in training."
    )


def _bent(permuted: pd.DataFrame, settings: Sequence[str], names: Sequence[str]) -> str:
    """Where tasks two apart overlap more than neighbours, against the order."""
    found = [
        (paired_difference(at(permuted, setting, layer, 2), at(permuted, setting, layer, 1)), setting, name)
        for setting in settings
        for layer, name in enumerate(names)
    ]
    more, setting, name = max(found, key=lambda it: it[0].low)
    if not more.above(0):
        return ""
    so = dict.fromkeys(setting for difference, setting, _ in found if difference.above(0))
    return (
        f"A mask can also bend what it measures: in the {name} layer ({setting}) tasks two apart overlap by "
        f"{more.number('.2f')} more than neighbours. Probably the next task, which cannot adapt what the mask of the "
        "latest one freezes, learns with other weights, and the task after that has the first ones at its disposal "
        f"again. Some layer shows this with {'; '.join(so)}.\n\n"
    )


def _verdict(held: Sequence[bool]) -> Verdict:
    if all(held):
        return "confirmed"
    return "depends" if any(held) else "refuted"
