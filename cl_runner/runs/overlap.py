"""How much of what one task's mask freezes another task's freezes too."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cl_runner.methods.mask import unit_scales, unit_significance
from cl_runner.methods.settings import MaskSettings


class Overlap(NamedTuple):
    """Of what two tasks freeze in one layer, tasks from 1, layers from 0; see `jaccard` and `chance`."""

    task: int
    other: int
    layer: int
    jaccard: float
    chance: float


def mask_overlaps(
    significance: Mapping[int, Mapping[str, Tensor]],
    layers: Sequence[Sequence[str]],
    rule: MaskSettings,
    outputs_of: Callable[[int], int],
) -> list[Overlap]:
    """The overlap of every two tasks in every layer, by the tasks, then the layer.

    A task freezes what its own significance says, whatever the rule's source. Of a soft mask it counts what is frozen
    altogether. Whole neurons overlap as their parameters do, for those of a layer have equally many. By chance is
    meant that the earlier task draws from the units that were counted then, and the later one, which counts these and
    maybe more outputs, from its own.

    Args:
        significance: by task, in their order, tensors by their names.
        layers: the names of each layer's.
        rule: how the run's masks are made.
        outputs_of: how many outputs the first so many tasks have.
    """
    hard = replace(rule, soft=False)
    sets = {
        task: _frozen([[tensors[name] for name in layer] for layer in layers], hard, outputs_of(task))
        for task, tensors in significance.items()
    }
    found = []
    for (task, mine), (other, theirs) in combinations(sets.items(), 2):
        for layer, (first, second) in enumerate(zip(mine, theirs, strict=True)):
            widened = np.pad(first, (0, second.size - first.size))
            by_chance = chance(first.sum(), second.sum(), second.size)
            found.append(Overlap(task, other, layer, jaccard(widened, second), by_chance))
    return found


def jaccard(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """|A ∩ B| / |A ∪ B| of two sets of the same n things, bool `(n,)`; NaN if both are empty."""
    either = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / either if either else float("nan")


def chance(first: int, second: int, size: int) -> float:
    """Jaccard index of sets of `first` and `second` things that have in common what random ones have on average,
    first · second / size, the second drawn from `size` things and the first from these or some of them; NaN if both
    are empty.
    """
    common = first * second / size
    return float(common / (first + second - common)) if first + second else float("nan")


def _frozen(layers: Sequence[Sequence[Tensor]], rule: MaskSettings, used: int) -> list[NDArray[np.bool_]]:
    """Which of the units that count are frozen, by layer."""
    return [scales.numpy() == 0 for scales in unit_scales(unit_significance(layers, rule, used), rule)]
