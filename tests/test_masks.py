import pytest
import torch
from torch import Tensor

from cl_runner.masks import GradientMask, MaskRule, frozen_parameters, most_significant
from cl_runner.stack import Layer, Layout

SIZES = (9, 7, 6, 5)


def random_layers(seed: int = 0) -> list[Layer]:
    source = torch.Generator().manual_seed(seed)
    layout = Layout(SIZES, runs=1)
    layers = layout.layers(torch.rand(layout.numel, generator=source))
    # Orders of magnitude between the layers, as the Fisher information has.
    return [Layer(weight[0] * 10.0**depth, bias[0] * 10.0**depth) for depth, (weight, bias) in enumerate(layers)]


def flat(layers: list[Layer]) -> Tensor:
    return torch.cat([part.flatten() for layer in layers for part in layer])


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
    layout = Layout(SIZES, runs=2)
    parameters = torch.randn(layout.numel)
    rules = [MaskRule("global", 0.3, source, "parameter"), MaskRule("none", 0.3, source, "parameter")]
    mask = GradientMask(layout, rules, parameters)
    fishers = [torch.rand(layout.numel, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    for fisher in fishers:
        mask.consolidate(parameters, fisher)
    by_task = [torch.cat([part.flatten() for part in layout.named(fisher, 0).values()]) for fisher in fishers]
    found = torch.cat([part.flatten() for part in layout.named(mask.trainable, 0).values()]) == 0

    def top(significance: Tensor) -> Tensor:
        return significance >= significance.sort(descending=True).values[round(0.3 * len(significance)) - 1]

    expected = {
        "latest": lambda: top(by_task[-1]),
        "sum": lambda: top(by_task[0] + by_task[1] + by_task[2]),
        "max": lambda: top(torch.stack(by_task).max(0).values),
        "union": lambda: top(by_task[0]) | top(by_task[1]) | top(by_task[2]),
    }[source]()
    assert torch.equal(found, expected)
    assert all((part == 1).all() for part in layout.named(mask.trainable, 1).values())


def test_restoring_undoes_a_step_on_what_is_frozen_only() -> None:
    layout = Layout(SIZES, runs=1)
    parameters = torch.randn(layout.numel)
    mask = GradientMask(layout, [MaskRule("layerwise", 0.6, "latest", "parameter")], parameters)
    stepped = parameters + 1
    mask.restore(stepped)
    assert torch.equal(stepped, parameters + 1)
    mask.consolidate(parameters, torch.rand(layout.numel))
    mask.restore(stepped)
    frozen = mask.trainable == 0
    assert torch.equal(stepped[frozen].view(torch.int32), parameters[frozen].view(torch.int32))
    assert torch.equal(stepped[~frozen], parameters[~frozen] + 1)


def test_random_layers_are_distinct() -> None:
    values = flat(random_layers())
    assert len(values.unique()) == len(values)
