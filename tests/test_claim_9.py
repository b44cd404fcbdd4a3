"""Claim 9's rules, on overlaps made by hand, and the overlaps themselves."""

from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from findings import claim_9
from findings.overlap import at, overlaps, share, with_first

# By layer, number of tasks apart, and kind of mask.
Level = Callable[[int, int, str], float]
SETTINGS = {"layerwise_mask, freeze=0.1": ("layerwise_mask", 0.1), "global_mask, freeze=0.5": ("global_mask", 0.5)}


def pairs(level: Level, tasks: int) -> pd.DataFrame:
    """What `overlaps` gives, of six seeds that differ a little."""
    noise = partial(np.random.default_rng(0).normal, 0, 0.005)
    rows = [
        (setting, *kind, seed, task, other, layer, level(layer, other - task, kind[0]) + noise())
        for setting, kind in SETTINGS.items()
        for seed in range(6)
        for task, other in combinations(range(1, tasks + 1), 2)
        for layer in range(4)
    ]
    columns = ["setting", "method", "freeze", "seed", "task", "other", "layer", "overlap"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(apart=frame["other"] - frame["task"], chance=0.1, jaccard=0.1 + 0.9 * frame["overlap"])


def by_depth(layer: int, apart: int, _method: str) -> float:
    """Of permuted tasks: deeper layers have more in common, and less the further tasks are apart."""
    return 0.2 * layer - 0.02 * layer * apart


@pytest.mark.parametrize(
    ("level", "verdict", "lacking"),
    [
        (lambda layer, apart, method: by_depth(layer, apart, method) + 0.3 / apart, "confirmed", ""),
        (by_depth, "refuted", "output with layerwise_mask, freeze=0.1"),
        # It falls with the angle, but by no more than by order.
        (lambda layer, apart, _: 0.9 - 0.02 * layer * apart, "refuted", "output with layerwise_mask, freeze=0.1"),
        (
            lambda layer, apart, method: by_depth(layer, apart, method) + 0.3 / apart * (method != "global_mask"),
            "depends",
            "4 of 8 layers of masks (not surely in first hidden and second hidden and last hidden and output with "
            "global_mask, freeze=0.5)",
        ),
    ],
)
def test_whether_overlap_falls_with_the_angle(level: Level, verdict: str, lacking: str) -> None:
    found, _ = claim_9.judged(pairs(level, tasks=7), pairs(by_depth, tasks=4))
    assert found.verdict == verdict
    assert lacking in found.words
    # Six steps of 30 degrees; permuted tasks are three apart at most.
    assert found.words.startswith("from 30 to 90 degrees")
    assert (found.table["n"] == 6).all()
    assert len(found.table) == 8


@pytest.mark.parametrize(
    ("level", "verdict"),
    [
        (by_depth, "confirmed"),
        (lambda layer, apart, method: 0.1 + by_depth(layer, apart, method), "refuted"),
        (lambda layer, *_: 0.02 * layer, "refuted"),
        (lambda layer, *_: 0.6 - 0.2 * layer, "refuted"),
        (lambda layer, *_: [0, 0.5, 0.4, 0.6][layer], "refuted"),
        (lambda layer, apart, method: by_depth(layer, apart, method) + 0.3 * (method == "global_mask"), "depends"),
    ],
)
def test_whether_permuted_tasks_overlap_more_with_depth(level: Level, verdict: str) -> None:
    _, found = claim_9.judged(pairs(by_depth, tasks=4), pairs(level, tasks=4))
    assert found.verdict == verdict
    assert found.table["layer"].tolist() == 2 * ["first hidden", "second hidden", "last hidden", "output"]


def test_a_rise_towards_half_a_turn_is_told() -> None:
    def answer(level: Level) -> str:
        return claim_9.judged(pairs(level, tasks=7), pairs(by_depth, tasks=4))[0].answer

    rising = answer(lambda layer, apart, _: 0.3 + 0.05 * abs(apart - 3) * (layer == 0))
    assert "at 180 degrees than at 90 by 0.15" in rising
    assert "With 2 of 2 masks it is surely higher" in rising
    assert "surely higher" not in answer(lambda _, apart, __: 0.6 / apart)


def test_overlap_is_above_chance(tmp_path: Path) -> None:
    lines = ["task,other,layer,jaccard,chance", "1,2,0,0.55,0.1", "1,3,0,0.1,0.1", "2,3,0,0.05,0.1"]
    # Nothing frozen, and everything.
    (tmp_path / "mask_overlap.csv").write_text("\n".join([*lines, "1,2,1,,", "1,3,1,1.0,1.0", "2,3,1,1.0,0.5"]))
    results = pd.DataFrame({"directory": [str(tmp_path)], "seed": 0, "setting": "mask"}).assign(
        after_task=1, eval_task=1, score=0.5
    )
    found = overlaps(results)
    assert found["overlap"].tolist() == pytest.approx([0.5, 0, -0.05 / 0.9, 0, 0, 1])
    assert at(found, "mask", 0, 1).tolist() == pytest.approx([(0.5 - 0.05 / 0.9) / 2])
    assert with_first(found, "mask", 0, 3).tolist() == pytest.approx([0])
    # Random sets of a third of a layer have the Jaccard index (1/9) / (2/3 − 1/9) = 1/5.
    assert share(found.assign(chance=0.2), "mask", 0, 2) == pytest.approx(1 / 3)
