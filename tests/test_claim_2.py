"""Claim 2's rules, on levels made by hand, and the levels themselves."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
import torch
from findings import claim_2
from findings.layers import layer_names
from findings.significance import by_layer

# log10 by layer, after so many tasks of a benchmark.
Levels = Mapping[tuple[str, int], Sequence[float]]
UNTRAINED = {("regression", 0): [-7.0, -5.0, -2.0, 1.0]}


def frame(neuron: Levels, parameter: Levels | None = None) -> pd.DataFrame:
    """Levels of ten seeds by two estimators, which differ a little by seed."""
    source = np.random.default_rng(0)
    parameter = parameter or neuron
    rows = []
    for (benchmark, task), of_layers in neuron.items():
        for estimator in ("exact", "batched"):
            for seed in range(10):
                for layer, level in enumerate(of_layers):
                    noise = source.normal(0, 0.05, size=2)
                    levels = {"neuron": level + noise[0], "parameter": parameter[benchmark, task][layer] + noise[1]}
                    row = {f"{unit}_{kind}": value for unit, value in levels.items() for kind in ("mode", "median")}
                    row |= {"signal": level, "inputs": -0.5, "zeros": 0.1, "top": 0.5, "fan_in": 100}
                    row |= {"benchmark": benchmark, "task": task, "estimator": estimator, "seed": seed, "layer": layer}
                    rows.append(row)
    return pd.DataFrame(rows)


FLAT, STEEP = [0.0, 0.1, 0.0, 0.5], [-4.0, -2.0, -1.0, 0.5]


@pytest.mark.parametrize(
    ("regression", "mnist", "verdict"),
    [(STEEP, STEEP, "confirmed"), (STEEP, FLAT, "depends"), (FLAT, FLAT, "refuted"), (STEEP[::-1], STEEP, "confirmed")],
)
def test_whether_layers_are_orders_of_magnitude_apart(
    regression: list[float], mnist: list[float], verdict: str
) -> None:
    found, _ = claim_2.judged(frame({**UNTRAINED, ("regression", 1): regression, ("MNIST", 1): mnist}))
    assert found.verdict == verdict
    assert found.table["layer"].tolist() == 3 * ["first hidden", "second hidden", "last hidden", "output"]
    assert (found.table["n"] == 10).all()


def test_parameters_and_neurons_both_count() -> None:
    levels = {**UNTRAINED, ("regression", 1): STEEP, ("MNIST", 1): STEEP}
    found, _ = claim_2.judged(frame(levels, {**levels, ("MNIST", 1): FLAT}))
    assert found.verdict == "depends"
    assert "fewer than 2 for sure are 0.5 per parameter on MNIST" in found.words


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [([5, 4.5, 5.5], "confirmed"), ([5, 5, 0], "depends"), ([0, -1, 0.1], "refuted"), ([-5, -5, -5], "refuted")],
)
def test_whether_the_last_hidden_layer_is_far_above_the_first(gaps: list[float], verdict: str) -> None:
    settings = [("regression", 1), ("regression", 2), ("MNIST", 1)]
    trained = {setting: [-5.0, -2.0, gap - 5.0, 1.0] for setting, gap in zip(settings, gaps, strict=True)}
    # The untrained network has the ratio, and does not count.
    _, found = claim_2.judged(frame({**UNTRAINED, **trained}))
    assert found.verdict == verdict
    assert "The claimed ratio is that of an untrained sigmoid network." in found.answer
    assert found.table["estimator"].tolist() == 4 * ["exact", "batched"]
    assert found.table["neurons, mode, log10"].iloc[2].startswith(f"{gaps[0]:.1f} [")


def test_levels_of_a_layer() -> None:
    # The second neuron of the first layer gets no signal.
    first, second = torch.tensor([[1e-4, 1e-6], [0, 0]]), torch.tensor([[1e2, 1e2]])
    significance = {
        "layers.0.weight": first,
        "layers.0.bias": torch.tensor([1e-2, 0]),
        "layers.1.weight": second,
        "layers.1.bias": torch.tensor([1.0]),
    }
    found = by_layer(significance)
    assert found["parameter_median"].tolist() == pytest.approx([-4, 2])
    assert found["neuron_median"].tolist() == pytest.approx([np.log10(0.010101), np.log10(201)])
    assert found["signal"].tolist() == pytest.approx([-2, 0])
    assert found["inputs"].tolist() == pytest.approx([-3, 2])
    assert found["zeros"].tolist() == pytest.approx([0.5, 0])
    # Of nine parameters, the median is in the first layer, and what is above it is frozen.
    assert found["top"].tolist() == pytest.approx([1 / 6, 1])
    assert found["fan_in"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        (2, ["first hidden", "output"]),
        (3, ["first hidden", "last hidden", "output"]),
        (5, ["first hidden", "second hidden", "third hidden", "last hidden", "output"]),
    ],
)
def test_names_of_layers(layers: int, names: list[str]) -> None:
    assert layer_names(layers) == names
