import torch

from cl_runner.engine.mlp import MLPStack
from cl_runner.methods.l1 import L1Proximal, soft_threshold
from cl_runner.methods.settings import L1Settings


def test_soft_threshold_minimises_its_objective() -> None:
    # argmin over x of (x − v)²/2 + t |x|, on a grid.
    grid = torch.linspace(-3, 3, 60_001, dtype=torch.float64)
    for value in (-2.0, -0.4, 0.0, 0.3, 1.7):
        for threshold in (0.0, 0.4, 1.0):
            best = grid[(0.5 * (grid - value).square() + threshold * grid.abs()).argmin()]
            found = torch.tensor([value], dtype=torch.float64)
            soft_threshold(found, torch.tensor([threshold], dtype=torch.float64))
            torch.testing.assert_close(found[0], best, atol=1e-4, rtol=0)


def test_small_values_become_exactly_zero() -> None:
    values = torch.tensor([0.05, -0.05, 0.1, 2.0])
    soft_threshold(values, torch.full((4,), 0.1))
    assert values.tolist()[:3] == [0.0, 0.0, 0.0]
    assert not values[:3].signbit().any()


def test_biases_and_runs_without_l1_are_left_alone() -> None:
    stack = MLPStack((4, 3, 2), "relu", [0, 1])
    layout, parameters = stack.layout, stack.parameters
    part = L1Proximal(stack, [None, L1Settings(5.0, learning_rate=0.1)])
    part.prepare()
    before = parameters.clone()
    part.on_update()
    for run in range(2):
        old, new = layout.named(before, run), layout.named(parameters, run)
        for name in old:
            if run == 1 and name.endswith("weight"):
                expected = old[name].sign() * (old[name].abs() - 0.5).clamp(min=0)
                torch.testing.assert_close(new[name], expected)
            else:
                assert torch.equal(new[name], old[name])


def test_value_is_the_l1_norm_of_the_weights() -> None:
    stack = MLPStack((4, 3, 2), "relu", [0, 1])
    layout, parameters = stack.layout, stack.parameters
    part = L1Proximal(stack, [L1Settings(strength, learning_rate=0.1) for strength in (1.0, 5.0)])
    part.prepare()
    norms = [
        sum(tensor.abs().sum() for name, tensor in layout.named(parameters, run).items() if "weight" in name)
        for run in range(2)
    ]
    torch.testing.assert_close(part.value(), torch.tensor([norms[0], 5 * norms[1]]))
