from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cl_runner.engine.mlp import Linear, MLPStack, mlp_layout
from cl_runner.methods.mask import GradientMask, most_significant, soft_scale, update_scales
from cl_runner.methods.settings import MaskSettings

SIZES = (9, 7, 6, 5)


def random_layers(seed: int = 0) -> list[Linear]:
    source = torch.Generator().manual_seed(seed)
    layout = mlp_layout(SIZES, rows=1)
    layers = layout.layers(torch.rand(layout.numel, generator=source))
    # Orders of magnitude between the layers, as the Fisher information has.
    return [Linear(weight[0] * 10.0**depth, bias[0] * 10.0**depth) for depth, (weight, bias) in enumerate(layers)]


def flat(layers: Sequence[Sequence[Tensor]]) -> Tensor:
    return torch.cat([part.flatten() for layer in layers for part in layer])


def frozen_parameters(layers: list[Linear], fraction: float, *, layerwise: bool, unit: str) -> list[Linear]:
    kind = "layerwise" if layerwise else "global"
    scales = update_scales(layers, MaskSettings(kind, fraction, "latest", unit, soft=False, unused="free"), SIZES[-1])
    assert all(((part == 0) | (part == 1)).all() for layer in scales for part in layer)
    return [Linear(weight == 0, bias == 0) for weight, bias in scales]


def mask_of(*rules: MaskSettings | None) -> GradientMask:
    return GradientMask(MLPStack(SIZES, "relu", list(range(len(rules)))), rules)


def test_ties_are_broken_by_index() -> None:
    assert most_significant(torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0]), 3).tolist() == [True, True, False, True, False]
    assert most_significant(torch.zeros(1000), 10).nonzero().flatten().tolist() == list(range(10))


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.737, 0.9, 1.0])
def test_layerwise_freezes_the_exact_fraction_of_every_layer(fraction: float) -> None:
    layers = random_layers()
    for layer, frozen in zip(
        layers, frozen_parameters(layers, fraction, layerwise=True, unit="parameter"), strict=True
    ):
        size = sum(part.numel() for part in layer)
        values, chosen = torch.cat([part.flatten() for part in layer]), torch.cat([part.flatten() for part in frozen])
        assert chosen.sum() == round(fraction * size)
        if 0 < chosen.sum() < size:
            assert values[chosen].min() >= values[~chosen].max()


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.737, 0.9, 1.0])
def test_global_freezes_the_exact_fraction_of_the_network(fraction: float) -> None:
    layers = random_layers()
    values, chosen = flat(layers), flat(frozen_parameters(layers, fraction, layerwise=False, unit="parameter"))
    assert chosen.sum() == round(fraction * len(values))
    if 0 < chosen.sum() < len(values):
        assert values[chosen].min() >= values[~chosen].max()


@pytest.mark.parametrize("layerwise", [False, True])
def test_neurons_are_frozen_whole_by_summed_significance(layerwise: bool) -> None:
    layers = random_layers()
    frozen = frozen_parameters(layers, 0.5, layerwise=layerwise, unit="neuron")
    scores, chosen = [], []
    for layer, mask in zip(layers, frozen, strict=True):
        assert (mask.weight == mask.bias[:, None]).all()
        scores.append(layer.weight.sum(1) + layer.bias)
        chosen.append(mask.bias)
        if layerwise:
            assert mask.bias.sum() == round(0.5 * len(mask.bias))
    if not layerwise:
        assert torch.cat(chosen).sum() == round(0.5 * sum(SIZES[1:]))
        assert torch.cat(scores)[torch.cat(chosen)].min() >= torch.cat(scores)[~torch.cat(chosen)].max()


@pytest.mark.parametrize("source", ["latest", "sum", "max", "union"])
def test_sources_of_significance(source: str) -> None:
    mask = mask_of(MaskSettings("global", 0.3, source, "parameter", soft=False, unused="free"), None)
    layout = mask.stack.layout
    fishers = [torch.rand(layout.numel, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    for task, fisher in enumerate(fishers):
        mask.end(task, fisher, SIZES[-1])
    by_task = [torch.cat([part.flatten() for part in layout.named(fisher, 0).values()]) for fisher in fishers]
    found = torch.cat([part.flatten() for part in layout.named(mask.scale, 0).values()]) == 0

    def top(significance: Tensor) -> Tensor:
        return significance >= significance.sort(descending=True).values[round(0.3 * len(significance)) - 1]

    expected = {
        "latest": lambda: top(by_task[-1]),
        "sum": lambda: top(by_task[0] + by_task[1] + by_task[2]),
        "max": lambda: top(torch.stack(by_task).max(0).values),
        "union": lambda: top(by_task[0]) | top(by_task[1]) | top(by_task[2]),
    }[source]()
    assert torch.equal(found, expected)
    assert all((part == 1).all() for part in layout.named(mask.scale, 1).values())


def test_restoring_undoes_a_step_on_what_is_frozen_only() -> None:
    mask = mask_of(MaskSettings("layerwise", 0.6, "latest", "parameter", soft=False, unused="free"))
    parameters, before = mask.stack.parameters, mask.stack.parameters.clone()
    mask.prepare()
    parameters += 1
    mask.on_update()
    assert torch.equal(parameters, before + 1)
    parameters.copy_(before)
    mask.end(0, torch.rand_like(parameters), SIZES[-1])
    mask.prepare()
    parameters += 1
    mask.on_update()
    frozen = mask.scale == 0
    assert torch.equal(parameters[frozen].view(torch.int32), before[frozen].view(torch.int32))
    assert torch.equal(parameters[~frozen], before[~frozen] + 1)


def soft_scales_by_definition(layers: list[Linear], fraction: float, *, layerwise: bool, unit: str) -> list[Linear]:
    """Number by number, in plain Python."""
    units: list[list[float]] = []
    for weight, bias in layers:
        neurons = [[*row, own] for row, own in zip(weight.tolist(), bias.tolist(), strict=True)]
        units.append([sum(row) for row in neurons] if unit == "neuron" else [value for row in neurons for value in row])
    found = []
    for own, layer in zip(units, layers, strict=True):
        ranked = sorted(own if layerwise else [value for other in units for value in other], reverse=True)
        threshold = ranked[max(0, round(fraction * len(ranked)) - 1)]
        scales = [min(1.0, max(0.0, 1 - value / threshold)) for value in own]
        out, into = layer.weight.shape
        rows = torch.tensor(scales, dtype=torch.float64).view(out, -1).expand(out, into + 1)
        found.append(Linear(rows[:, :-1], rows[:, -1]))
    return found


@pytest.mark.parametrize("unit", ["parameter", "neuron"])
@pytest.mark.parametrize("layerwise", [False, True])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_soft_scales_are_as_defined(fraction: float, layerwise: bool, unit: str) -> None:
    layers = [Linear(weight.double(), bias.double()) for weight, bias in random_layers()]
    kind = "layerwise" if layerwise else "global"
    found = update_scales(layers, MaskSettings(kind, fraction, "latest", unit, soft=True, unused="free"), SIZES[-1])
    expected = soft_scales_by_definition(layers, fraction, layerwise=layerwise, unit=unit)
    for mine, theirs in zip(found, expected, strict=True):
        for part, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(part, other, rtol=1e-12, atol=1e-12)
    # What a hard mask freezes stands still, to the bit; without one, the most significant unit does.
    hard = flat(frozen_parameters(layers, fraction, layerwise=layerwise, unit=unit))
    zero = flat(found) == 0
    assert torch.equal(zero, hard) if fraction else zero.any()


def test_soft_scale_in_numbers() -> None:
    significance = torch.tensor([0.0, 1.0, 2.0, 8.0, 4.0])
    nothing, largest = torch.zeros(5, dtype=torch.bool), significance >= 4
    assert soft_scale(significance, nothing).tolist() == [1, 0.875, 0.75, 0, 0.5]
    assert soft_scale(significance, largest).tolist() == [1, 0.75, 0.5, 0, 0]


def test_a_soft_mask_without_significance_leaves_all_free_that_is_not_frozen() -> None:
    nothing, some = torch.zeros(3, dtype=torch.bool), torch.tensor([True, True, False])
    assert soft_scale(torch.zeros(3), nothing).tolist() == [1, 1, 1]
    assert soft_scale(torch.zeros(3), some).tolist() == [0, 0, 1]
    assert soft_scale(torch.tensor([1.0, 0.0, 0.0]), some).tolist() == [0, 0, 1]
    # The smallest of numbers is no zero.
    assert soft_scale(torch.tensor([1e38, 1e-45, 0.0]), some).tolist() == [0, 0, 1]


def test_the_union_of_soft_masks_is_their_minimum() -> None:
    mask = mask_of(MaskSettings("layerwise", 0.2, "union", "parameter", soft=True, unused="free"))
    layout = mask.stack.layout
    fishers = [torch.rand(layout.numel, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    scales = []
    for task, fisher in enumerate(fishers):
        mask.end(task, fisher, SIZES[-1])
        layers = [Linear(weight[0], bias[0]) for weight, bias in layout.layers(fisher)]
        scales.append(flat(soft_scales_by_definition(layers, 0.2, layerwise=True, unit="parameter")).float())
    found = torch.cat([part.flatten() for part in layout.named(mask.scale, 0).values()])
    torch.testing.assert_close(found, torch.stack(scales).min(0).values, rtol=1e-5, atol=1e-6)


def test_a_soft_mask_scales_the_step_and_leaves_a_hard_one_beside_it_alone() -> None:
    source = torch.Generator().manual_seed(0)
    hard = MaskSettings("global", 0.4, "latest", "parameter", soft=False, unused="free")
    mixed, own = mask_of(replace(hard, soft=True), hard), mask_of(hard)
    layout, parameters, alone = mixed.stack.layout, mixed.stack.parameters, own.stack.parameters
    alone.copy_(layout.select(parameters, [1]))
    fisher = torch.rand(layout.numel, generator=source)
    mixed.end(0, fisher, SIZES[-1])
    own.end(0, layout.select(fisher, [1]), SIZES[-1])
    mixed.prepare()
    own.prepare()
    for _ in range(3):
        before = layout.select(parameters, [0])
        step = torch.randn(layout.numel, generator=source)
        mixed.on_gradient()
        parameters += step
        mixed.on_update()
        own.on_gradient()
        alone += layout.select(step, [1])
        own.on_update()
        scaled = before + layout.select(mixed.scale, [0]) * layout.select(step, [0])
        torch.testing.assert_close(layout.select(parameters, [0]), scaled)
        assert torch.equal(layout.select(parameters, [1]).view(torch.int32), alone.view(torch.int32))


def test_random_layers_are_distinct() -> None:
    values = flat(random_layers())
    assert len(values.unique()) == len(values)
