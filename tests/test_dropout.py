"""Hidden units that training leaves out."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from conftest import MakeConfig, network_of, tiny_pair
from test_keep_optimizer import SMALL
from test_runner import Silent
from torch import Tensor

from cl_runner.benchmarks.base import make_benchmark
from cl_runner.benchmarks.datasets import Dataset
from cl_runner.engine.dropout import make_dropout
from cl_runner.engine.mlp import ACTIVATIONS, MLPStack
from cl_runner.engine.seeding import generator
from cl_runner.errors import ConfigError
from cl_runner.methods.method import Method
from cl_runner.results.run import load_run
from cl_runner.runs.fisher import fisher_diagonal
from cl_runner.runs.loop import run_stack
from cl_runner.runs.training import train_task


def thinned(network: torch.nn.Module, inputs: Tensor, scales: Sequence[Tensor]) -> Tensor:
    """The outputs `(B, C)` of plain PyTorch for samples `(B, D)`, each hidden layer times its scales `(B, width)`."""
    linear, *others = network.children()
    found: Tensor = linear(inputs)
    for activate, layer, scale in zip(others[::2], others[1::2], scales, strict=True):
        found = layer(activate(found) * scale)
    return found


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward_and_backward_equal_autograd(activation: str) -> None:
    # Three rows of two streams, each with a rate of its own.
    stack = MLPStack([5, 4, 6, 3], activation, seeds=[1, 2, 2], dtype=torch.float64)
    inputs = torch.randn(2, 5, 8, dtype=torch.float64)
    signal = torch.randn(3, 3, 8, dtype=torch.float64)
    dropout = make_dropout(stack, [0.5, 0.0, 0.2], task=0)
    assert dropout is not None
    scales = dropout.scales(dropout.drawn(1, 0, 8))
    forward = stack.forward(inputs, scales)
    stack.backward(forward, signal)
    for run, stream in enumerate([0, 1, 1]):
        network = network_of(stack, run, activation)
        outputs = thinned(network, inputs[stream].T, scales[run].T.split([4, 6], 1))
        outputs.backward(signal[run].T)
        torch.testing.assert_close(forward.outputs[run].T, outputs.detach(), rtol=1e-12, atol=1e-12)
        gradients = stack.layout.named(stack.gradient, run).values()
        for found, parameter in zip(gradients, network.parameters(), strict=True):
            torch.testing.assert_close(found, parameter.grad, rtol=1e-10, atol=1e-12)


def test_training_is_plain_pytorch_with_the_units_that_the_seed_draws(make_config: MakeConfig, tiny: Dataset) -> None:
    config = make_config("train.epochs=2", "train.batch_size=20")
    rates = [0.5, 0.2, 0.0]
    benchmark, stack = tiny_pair(config, tiny, [4, 4, 4])
    networks = [network_of(stack, row, "relu").double() for row in range(3)]
    for row, rate in enumerate(rates):
        optimizer = torch.optim.Adam(networks[row].parameters(), lr=config.train.learning_rate)
        source = generator(4, "batches", 1)
        for epoch in (1, 2):
            (pool,) = benchmark.train.samples([1])
            order = pool[torch.randperm(len(pool), generator=source)]
            for step, ids in enumerate(order.split(20)):
                numbers = torch.rand(len(ids), 13, generator=generator(4, "dropout", 1, epoch, step)).double()
                scales = (numbers >= rate) / (1 - rate)
                inputs = benchmark.train.inputs_of(ids[None], [1])[0].T
                loss = torch.nn.functional.cross_entropy(
                    thinned(networks[row], inputs, scales.split([7, 6], 1)),
                    benchmark.train.labels_of(ids[None])[0],
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    method, dropout = Method(stack, [config] * 3), make_dropout(stack, rates, 1)
    list(train_task(stack, method, benchmark, 1, [1], config.train, dropout=dropout))
    for row, network in enumerate(networks):
        parameters = stack.layout.named(stack.parameters, row).values()
        for found, parameter in zip(parameters, network.parameters(), strict=True):
            torch.testing.assert_close(found, parameter.detach(), rtol=1e-8, atol=1e-10)


def test_units_give_on_average_what_they_give_without() -> None:
    rates = [0.0, 0.1, 0.5, 0.9]
    stack = MLPStack([3, 50, 50, 2], "relu", [0] * 4)
    dropout = make_dropout(stack, rates, task=0)
    assert dropout is not None
    scales = torch.cat([dropout.scales(dropout.drawn(1, step, 200)) for step in range(10)], 2)
    assert scales.shape == (4, 100, 2000)
    kept = scales > 0
    # Five deviations of the means of 200000 draws are below this.
    for row, rate in enumerate(rates):
        assert float(kept[row].float().mean()) == pytest.approx(1 - rate, abs=0.006)
        assert float(scales[row].mean()) == pytest.approx(1, abs=0.04)
    assert kept[0].all()
    # A row with a larger rate drops what the one before drops, and more.
    assert all((~kept[row - 1] <= ~kept[row]).all() for row in (1, 2, 3))
    # Neither are neighbours in step, unit or sample alike.
    centred = scales[2] - 1
    for one, other in [(centred[1:], centred[:-1]), (centred[:, 1:], centred[:, :-1])]:
        assert abs(float((one * other).mean())) < 0.02
    assert abs(float((centred[:, :200] * centred[:, 200:400]).mean())) < 0.05


def test_numbers_are_those_of_seed_task_epoch_and_step() -> None:
    stack = MLPStack([3, 5, 2], "relu", [1, 2])
    found = [make_dropout(stack, [0.5, 0.5], task) for task in (0, 1)]
    assert found[0] is not None
    assert found[1] is not None
    known = found[0].drawn(1, 0, 16)
    others = [found[1].drawn(1, 0, 16), found[0].drawn(2, 0, 16), found[0].drawn(1, 1, 16), known.flip(0)]
    assert torch.equal(known, found[0].drawn(1, 0, 16))
    # However far a batch is filled up.
    assert torch.equal(known, found[0].drawn(1, 0, 32)[..., :16])
    assert not any(torch.equal(known, other) for other in others)


def test_tests_and_fisher_information_are_of_the_whole_network(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(*SMALL, "model.dropout=0.5")
    run_stack([config], [tmp_path], Silent())
    run, benchmark = load_run(tmp_path), make_benchmark(config.benchmark, "unused", [0], "cpu")
    network = run.network(3)
    for task in range(3):
        (ids,) = benchmark.test.samples([task])
        right = network(benchmark.test.inputs_of(ids[None], [task])[0].T).argmax(1)
        accuracy = (right == benchmark.test.labels_of(ids[None])[0]).float().mean()
        assert run.matrix[3, task] == pytest.approx(float(accuracy))
    stack = MLPStack([64, 9, 8, 10], "relu", [0])
    for target, tensor in zip(stack.layout.named(stack.parameters, 0).values(), network.parameters(), strict=True):
        target.copy_(tensor.detach())
    fisher = stack.layout.named(fisher_diagonal(stack, benchmark, 2, config.fisher), 0)
    for name, values in run.significance[3].items():
        torch.testing.assert_close(values, fisher[name])


def test_without_a_rate_nothing_is_drawn() -> None:
    assert make_dropout(MLPStack([3, 5, 2], "relu", [0, 1]), [0.0, 0.0], 0) is None


def test_a_module_of_ones_own_has_none(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"^model\.dropout: got 0\.5 with model\.kind=module, allowed: 0$"):
        make_config("model=module", "model.target=own_nets.convolutional", "model.dropout=0.5")
