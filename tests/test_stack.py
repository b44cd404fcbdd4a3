import pytest
import torch
from conftest import network_of

from cl_runner.engine.mlp import ACTIVATIONS, MLPStack, mlp_layout
from cl_runner.engine.seeding import generator


def test_layout_views_cover_the_buffer_once() -> None:
    layout = mlp_layout((4, 3, 2), rows=5)
    buffer = torch.zeros(layout.numel)
    for weight, bias in layout.layers(buffer):
        weight += 1
        bias += 1
    assert layout.per_row == 3 * 5 + 2 * 4
    assert buffer.sum() == 5 * layout.per_row
    assert buffer.max() == 1


def test_spread_and_totals_go_by_run() -> None:
    layout = mlp_layout((4, 3, 2), rows=3)
    values = torch.tensor([1.0, 10.0, 100.0])
    assert torch.equal(layout.totals(layout.spread(values)), values * layout.per_row)
    assert all((part == 10).all() for part in layout.named(layout.spread(values), row=1).values())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward_and_backward_equal_autograd(activation: str) -> None:
    stack = MLPStack([5, 4, 6, 3], activation, seeds=[1, 2], dtype=torch.float64)
    inputs = torch.randn(2, 5, 8, dtype=torch.float64)
    signal = torch.randn(2, 3, 8, dtype=torch.float64)
    forward = stack.forward(inputs)
    stack.backward(forward, signal)
    for run in range(2):
        network = network_of(stack, run, activation)
        outputs = network(inputs[run].T)
        outputs.backward(signal[run].T)
        torch.testing.assert_close(forward.outputs[run].T, outputs.detach(), rtol=1e-12, atol=1e-12)
        gradients = stack.layout.named(stack.gradient, run).values()
        for found, parameter in zip(gradients, network.parameters(), strict=True):
            torch.testing.assert_close(found, parameter.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_squares_of_several_signals_are_the_sum_of_each(activation: str) -> None:
    stack = MLPStack([5, 4, 6, 3], activation, seeds=[1, 2], dtype=torch.float64)
    forward = stack.forward(torch.randn(2, 5, 8, dtype=torch.float64))
    several = torch.randn(2, 3, 4, 8, dtype=torch.float64)
    together, alone = torch.zeros(2, stack.layout.numel, dtype=torch.float64)
    stack.add_squared_gradients(together, forward, several.clone())
    for signal in several.split(1, 2):
        stack.add_squared_gradients(alone, forward, signal.contiguous())
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("seeds", [[1, 1, 1, 2, 2, 2], [1, 1, 2, 2, 2, 2], [1, 1, 2], [2, 1, 2, 1]])
def test_runs_of_a_stream_share_its_samples(seeds: list[int]) -> None:
    stack = MLPStack([5, 4, 3], "relu", seeds, dtype=torch.float64)
    stack.parameters += torch.randn(stack.layout.numel, dtype=torch.float64)
    inputs = torch.randn(2, 5, 8, dtype=torch.float64)
    signal = torch.randn(len(seeds), 3, 8, dtype=torch.float64)
    forward = stack.forward(inputs)
    stack.backward(forward, signal)
    squares = torch.zeros_like(stack.parameters)
    stack.add_squared_gradients(squares, forward, signal.clone()[:, :, None])
    for run, seed in enumerate(seeds):
        network = network_of(stack, run, "relu")
        outputs = network(inputs[stack.streams.index(seed)].T)
        torch.testing.assert_close(forward.outputs[run].T, outputs.detach(), rtol=1e-12, atol=1e-12)
        rows = [
            torch.autograd.grad(output, list(network.parameters()), row, retain_graph=True)
            for output, row in zip(outputs, signal[run].T, strict=True)
        ]
        for gradient, square, *parts in zip(
            stack.layout.named(stack.gradient, run).values(),
            stack.layout.named(squares, run).values(),
            *rows,
            strict=True,
        ):
            torch.testing.assert_close(gradient, torch.stack(parts).sum(0))
            torch.testing.assert_close(square, torch.stack(parts).square().sum(0))


def test_fanning_out_copies_networks() -> None:
    stack = MLPStack([5, 4, 3], "relu", seeds=[1, 2])
    more = stack.fan_out([0, 0, 1], seeds=[1, 1, 2])
    for run, parent in enumerate([0, 0, 1]):
        own, copied = stack.layout.named(stack.parameters, parent), more.layout.named(more.parameters, run)
        assert all(torch.equal(tensor, copied[name]) for name, tensor in own.items())
    more.parameters.zero_()
    assert stack.parameters.any()


def test_buffers_are_joined_run_by_run() -> None:
    layouts = [mlp_layout((4, 3, 2), runs) for runs in (2, 1)]
    buffers = [torch.randn(layout.numel) for layout in layouts]
    layout = mlp_layout((4, 3, 2), 3)
    joined = layout.joined(list(zip(layouts, buffers, strict=True)))
    for part, buffer, row, run in ((layouts[0], buffers[0], 1, 1), (layouts[1], buffers[1], 0, 2)):
        for name, tensor in part.named(buffer, row).items():
            assert torch.equal(layout.named(joined, run)[name], tensor)


def test_initial_weights_are_those_of_torch_linear() -> None:
    stack = MLPStack([5, 4, 3], "relu", seeds=[11, 3])
    with torch.random.fork_rng():
        torch.manual_seed(generator(3, "weights").initial_seed())
        linears = [torch.nn.Linear(5, 4), torch.nn.Linear(4, 3)]
    for (weight, bias), linear in zip(stack.layers, linears, strict=True):
        assert torch.equal(weight[1], linear.weight)
        assert torch.equal(bias[1], linear.bias)


def test_initial_weights_do_not_depend_on_neighbours() -> None:
    alone, among = MLPStack([5, 4, 3], "relu", seeds=[3]), MLPStack([5, 4, 3], "relu", seeds=[8, 3, 3])
    for name, tensor in alone.layout.named(alone.parameters, 0).items():
        assert torch.equal(tensor, among.layout.named(among.parameters, 1)[name])
        assert torch.equal(tensor, among.layout.named(among.parameters, 2)[name])
        assert not torch.equal(tensor, among.layout.named(among.parameters, 0)[name])


def test_a_fresh_network_at_a_later_task_differs() -> None:
    stack = MLPStack([5, 4, 3], "relu", seeds=[3])
    first = stack.parameters.clone()
    stack.initialise(task=1)
    assert not torch.equal(first, stack.parameters)
    stack.initialise(task=0)
    assert torch.equal(first, stack.parameters)
