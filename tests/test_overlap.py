import math
from pathlib import Path

import numpy as np
import pytest
import torch

from cl_runner.engine.mlp import mlp_layout
from cl_runner.methods.settings import MaskSettings
from cl_runner.results.figures import draw_mask_overlap
from cl_runner.results.tensors import mlp_layers
from cl_runner.runs.overlap import chance, jaccard, mask_overlaps

SIZES = (6, 5, 4)
LAYERS = mlp_layers(2)
NOTHING, SOME = [False] * 4, [True, True, False, False]


def named(values: torch.Tensor) -> dict[str, torch.Tensor]:
    layout = mlp_layout(SIZES, 1)
    return layout.named(torch.cat([values, values.new_zeros(layout.numel - len(values))]), 0)


def rule(fraction: float, *, kind: str = "layerwise", unit: str = "parameter", soft: bool = False) -> MaskSettings:
    return MaskSettings(kind, fraction, "union", unit, soft, "free")


def every_output(_: int) -> int:
    return SIZES[-1]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (SOME, SOME, 1.0),
        (SOME, [False, False, True, True], 0.0),
        (SOME, [False, True, True, False], 1 / 3),
        (SOME, [True, True, True, False], 2 / 3),
        (SOME, NOTHING, 0.0),
        (NOTHING, NOTHING, math.nan),
    ],
)
def test_jaccard_index_of_hand_made_sets(first: list[bool], second: list[bool], expected: float) -> None:
    assert jaccard(np.array(first), np.array(second)) == pytest.approx(expected, nan_ok=True)


def test_chance_in_closed_form() -> None:
    assert chance(50, 50, 100) == pytest.approx(1 / 3)
    assert chance(70, 70, 100) == pytest.approx(0.49 / 0.91)
    assert chance(100, 30, 100) == pytest.approx(0.3)
    assert chance(10, 0, 100) == 0
    assert math.isnan(chance(0, 0, 100))


def test_chance_is_what_random_sets_have() -> None:
    source = np.random.default_rng(0)
    size, first, second = 2000, 500, 1200
    found = [jaccard(source.permutation(size) < first, source.permutation(size) < second) for _ in range(300)]
    assert np.mean(found) == pytest.approx(chance(first, second, size), rel=0.005)


@pytest.mark.parametrize("kind", ["global", "layerwise"])
@pytest.mark.parametrize("unit", ["parameter", "neuron"])
def test_the_same_significance_overlaps_wholly(kind: str, unit: str) -> None:
    tensors = named(torch.rand(59, generator=torch.Generator().manual_seed(0)))
    scaled = {name: 3 * tensor for name, tensor in tensors.items()}
    for item in mask_overlaps({1: tensors, 2: scaled}, LAYERS, rule(0.5, kind=kind, unit=unit), every_output):
        assert item.jaccard == 1 or math.isnan(item.chance)


def test_overlap_of_known_sets() -> None:
    # Layer 0 has 35 parameters, layer 1 has 24: of four tenths, 14 and 10 are frozen.
    upwards = torch.arange(59.0)
    shifted = torch.cat([upwards[:35].roll(4), upwards[35:].roll(-5)])
    found = mask_overlaps({1: named(upwards), 2: named(shifted), 3: named(-upwards)}, LAYERS, rule(0.4), every_output)
    assert [(item.task, item.other, item.layer) for item in found] == [
        (1, 2, 0),
        (1, 2, 1),
        (1, 3, 0),
        (1, 3, 1),
        (2, 3, 0),
        (2, 3, 1),
    ]
    # A roll by k of the 14, or 10, largest leaves all but k of them in place; the other way round none.
    assert [item.jaccard for item in found[:4]] == pytest.approx([10 / 18, 5 / 15, 0, 0])
    assert {item.layer: item.chance for item in found} == pytest.approx({0: chance(14, 14, 35), 1: chance(10, 10, 24)})


def test_a_global_mask_may_freeze_different_numbers_in_a_layer() -> None:
    first, second = torch.ones(59), torch.ones(59)
    first[:35] += 1
    second[35:] += 1
    # Half of 59 parameters are 30: all in layer 0 for the first task; the 24 of layer 1 and 6 of layer 0 for the other.
    layer_0, layer_1 = mask_overlaps(
        {1: named(first), 2: named(second)}, LAYERS, rule(30 / 59, kind="global"), every_output
    )
    assert layer_0[3:] == pytest.approx((6 / 30, (30 * 6 / 35) / (36 - 30 * 6 / 35)))
    assert layer_1[3:] == (0, 0)


def test_neurons_overlap_as_their_parameters_do() -> None:
    source = torch.Generator().manual_seed(1)
    by_task = {task: named(torch.rand(59, generator=source)) for task in (1, 2)}
    chosen = []
    for tensors in by_task.values():
        sums = tensors["layers.0.weight"].sum(1) + tensors["layers.0.bias"]
        chosen.append(set(sums.argsort(descending=True)[:3].tolist()))
    common = len(chosen[0] & chosen[1])
    first = mask_overlaps(by_task, LAYERS, rule(0.6, unit="neuron"), every_output)[0]
    assert first.jaccard == pytest.approx(7 * common / (7 * (6 - common)))
    assert first.chance == pytest.approx(chance(21, 21, 35))


def test_a_soft_mask_overlaps_as_the_hard_one() -> None:
    source = torch.Generator().manual_seed(2)
    by_task = {task: named(torch.rand(59, generator=source)) for task in (1, 2, 3)}
    soft, hard = rule(0.3, soft=True), rule(0.3)
    assert mask_overlaps(by_task, LAYERS, soft, every_output) == mask_overlaps(by_task, LAYERS, hard, every_output)


def test_where_nothing_is_frozen_the_figure_is_blank(tmp_path: Path) -> None:
    rows = [
        {"task": 1, "other": 2, "layer": 0, "jaccard": math.nan, "chance": math.nan},
        {"task": 1, "other": 2, "layer": 1, "jaccard": 0.5, "chance": 0.25},
    ]
    draw_mask_overlap(rows, "a run", tmp_path / "mask_overlap.png")
    assert (tmp_path / "mask_overlap.png").read_bytes().startswith(b"\x89PNG")
