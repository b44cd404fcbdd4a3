import pytest
import torch
from conftest import network_of

from cl_runner.seeding import generator
from cl_runner.stack import ACTIVATIONS, Layout, Stack


def test_layout_views_cover_the_buffer_once() -> None:
    layout = Layout((4, 3, 2), runs=5)
    buffer = torch.zeros(layout.numel)
    for weight, bias in layout.layers(buffer):
        weight += 1
        bias += 1
    assert layout.per_run == 3 * 5 + 2 * 4
    assert torch.equal(buffer, torch.ones(layout.numel))


def test_spread_and_totals_go_by_run() -> None:
    layout = Layout((4, 3, 2), runs=3)
    values = torch.tensor([1.0, 10.0, 100.0])
    assert torch.equal(layout.totals(layout.spread(values)), values * layout.per_run)
    assert all((part == 10).all() for part in layout.named(layout.spread(values), run=1).values())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward_and_backward_equal_autograd(activation: str) -> None:
    stack = Stack([5, 4, 6, 3], activation, seeds=[1, 2], dtype=torch.float64)
    inputs = torch.randn(2, 8, 5, dtype=torch.float64)
    signal = torch.randn(2, 8, 3, dtype=torch.float64)
    activations = stack.forward(inputs)
    stack.backward(activations, signal)
    for run in range(2):
        network = network_of(stack, run, activation)
        outputs = network(inputs[run])
        outputs.backward(signal[run])
        torch.testing.assert_close(activations[-1][run], outputs.detach(), rtol=1e-12, atol=1e-12)
        gradients = stack.layout.named(stack.gradient, run).values()
        for found, parameter in zip(gradients, network.parameters(), strict=True):
            torch.testing.assert_close(found, parameter.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_signals_of_several_losses_are_those_of_each(activation: str) -> None:
    stack = Stack([5, 4, 6, 3], activation, seeds=[1, 2], dtype=torch.float64)
    activations = stack.forward(torch.randn(2, 8, 5, dtype=torch.float64))
    several = torch.randn(2, 3, 8, 3, dtype=torch.float64)
    together = stack.signals(activations, several.flatten(1, 2))
    for number in range(3):
        alone = stack.signals(activations, several[:, number])
        for joined, single in zip(together, alone, strict=True):
            torch.testing.assert_close(joined.unflatten(1, (3, 8))[:, number], single)


def test_initial_weights_are_those_of_torch_linear() -> None:
    stack = Stack([5, 4, 3], "relu", seeds=[11, 3])
    with torch.random.fork_rng():
        torch.manual_seed(generator(3, "weights").initial_seed())
        linears = [torch.nn.Linear(5, 4), torch.nn.Linear(4, 3)]
    for (weight, bias), linear in zip(stack.layers, linears, strict=True):
        assert torch.equal(weight[1], linear.weight)
        assert torch.equal(bias[1], linear.bias)


def test_initial_weights_do_not_depend_on_neighbours() -> None:
    alone, among = Stack([5, 4, 3], "relu", seeds=[3]), Stack([5, 4, 3], "relu", seeds=[8, 3, 3])
    for name, tensor in alone.layout.named(alone.parameters, 0).items():
        assert torch.equal(tensor, among.layout.named(among.parameters, 1)[name])
        assert torch.equal(tensor, among.layout.named(among.parameters, 2)[name])
        assert not torch.equal(tensor, among.layout.named(among.parameters, 0)[name])


def test_a_fresh_network_at_a_later_task_differs() -> None:
    stack = Stack([5, 4, 3], "relu", seeds=[3])
    first = stack.parameters.clone()
    stack.initialise(task=1)
    assert not torch.equal(first, stack.parameters)
    stack.initialise(task=0)
    assert torch.equal(first, stack.parameters)
